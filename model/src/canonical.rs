//! Canonical JSON: one byte string per value, so that digests of equal values are equal.

use serde::Serialize;
use serde_json::Value;

use crate::Digest;

/// Writes `value` as canonical JSON: object keys sorted by their UTF-8 bytes, no white space, no
/// escapes beyond those JSON requires (RFC 8785 for the values that occur here: the model has no
/// floating-point numbers).
///
/// # Panics
///
/// Never for types of this crate: their maps have string keys and they serialise without failing.
pub fn canonical_json<T: Serialize>(value: &T) -> Vec<u8> {
    let value = serde_json::to_value(value).expect("model types serialise to JSON");
    let mut out = Vec::new();
    write(&value, &mut out);
    out
}

/// The digest of the canonical JSON of `value`.
pub fn digest_of<T: Serialize>(value: &T) -> Digest {
    Digest::of(&canonical_json(value))
}

/// Sorts keys itself: whether `serde_json`'s map keeps them sorted depends on a cargo feature that
/// any crate of the build may turn on.
fn write(value: &Value, out: &mut Vec<u8>) {
    match value {
        Value::Array(items) => {
            out.push(b'[');
            for (index, item) in items.iter().enumerate() {
                if index > 0 {
                    out.push(b',');
                }
                write(item, out);
            }
            out.push(b']');
        }
        Value::Object(map) => {
            let mut entries: Vec<_> = map.iter().collect();
            entries.sort_unstable_by_key(|(key, _)| *key);
            out.push(b'{');
            for (index, (key, item)) in entries.into_iter().enumerate() {
                if index > 0 {
                    out.push(b',');
                }
                write_scalar(&Value::String(key.clone()), out);
                out.push(b':');
                write(item, out);
            }
            out.push(b'}');
        }
        scalar => write_scalar(scalar, out),
    }
}

fn write_scalar(value: &Value, out: &mut Vec<u8>) {
    serde_json::to_writer(out, value).expect("writing to memory does not fail");
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::canonical_json;

    #[test]
    fn keys_are_sorted_and_nothing_is_padded() {
        let value = json!({"b": [1, {"z": null, "a": "é\n"}], "a": true});
        let expected = "{\"a\":true,\"b\":[1,{\"a\":\"é\\n\",\"z\":null}]}";
        assert_eq!(String::from_utf8(canonical_json(&value)).unwrap(), expected);
    }
}
