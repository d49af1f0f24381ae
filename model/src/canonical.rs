//! Canonical JSON: one byte string per value, so that digests of equal values are equal.

use std::borrow::Cow;
use std::ops::Range;

use serde::Serialize;

use crate::Digest;

/// Writes `value` as canonical JSON: object keys sorted by their UTF-8 bytes, no white space, no
/// escapes beyond those JSON requires (RFC 8785 for the values that occur here: the model has no
/// floating-point numbers).
///
/// # Panics
///
/// Never for types of this crate: their maps have string keys and they serialise without failing.
pub fn canonical_json<T: Serialize>(value: &T) -> Vec<u8> {
    let json = serde_json::to_vec(value).expect("model types serialise to JSON");
    let mut sorter = Sorter {
        rest: &json,
        out: Vec::with_capacity(json.len()),
    };
    sorter.value();
    sorter.out
}

/// The digest of the canonical JSON of `value`.
pub fn digest_of<T: Serialize>(value: &T) -> Digest {
    Digest::of(&canonical_json(value))
}

/// Copies JSON without white space, as `serde_json` writes it, and brings the members of every object
/// into the order of their keys.
struct Sorter<'j> {
    rest: &'j [u8],
    out: Vec<u8>,
}

/// A member of an object that was copied.
struct Member<'j> {
    key: Cow<'j, str>,
    /// Where it stands in the copy, key and value.
    place: Range<usize>,
}

impl<'j> Sorter<'j> {
    fn value(&mut self) {
        match self.rest.first() {
            Some(b'{') => self.object(),
            Some(b'[') => self.array(),
            Some(b'"') => {
                self.string();
            }
            _ => {
                let is_end = |byte: &u8| matches!(byte, b',' | b']' | b'}');
                let end = self.rest.iter().position(is_end);
                self.take(end.unwrap_or(self.rest.len()));
            }
        }
    }

    fn array(&mut self) {
        self.take(1);
        while !self.is_at(b']') {
            self.value();
            self.take(usize::from(self.is_at(b',')));
        }
        self.take(1);
    }

    fn object(&mut self) {
        self.take(1);
        let begin = self.out.len();
        let mut members = Vec::new();
        while !self.is_at(b'}') {
            members.push(self.member());
            if self.is_at(b',') {
                self.take(1);
            }
        }
        self.sort(begin, members);
        self.take(1);
    }

    fn member(&mut self) -> Member<'j> {
        let begin = self.out.len();
        let key = self.string();
        self.take(1);
        self.value();
        Member {
            key: unescaped(key),
            place: begin..self.out.len(),
        }
    }

    /// Takes a string, and says what it is with its quotation marks.
    fn string(&mut self) -> &'j [u8] {
        let mut end = 1;
        while self.rest.get(end).is_some_and(|byte| *byte != b'"') {
            end += if self.rest[end] == b'\\' { 2 } else { 1 };
        }
        self.take(end + 1)
    }

    /// Sorts the members, of which the first begins at `begin`.
    fn sort(&mut self, begin: usize, mut members: Vec<Member<'_>>) {
        if members.is_sorted_by(|one, other| one.key <= other.key) {
            return;
        }
        members.sort_by(|one, other| one.key.cmp(&other.key));
        let unsorted = self.out.split_off(begin);
        for (index, Member { place, .. }) in members.into_iter().enumerate() {
            if index > 0 {
                self.out.push(b',');
            }
            let place = place.start - begin..place.end - begin;
            self.out.extend_from_slice(&unsorted[place]);
        }
    }

    fn is_at(&self, byte: u8) -> bool {
        self.rest.first() == Some(&byte)
    }

    /// Copies `count` bytes.
    fn take(&mut self, count: usize) -> &'j [u8] {
        let (taken, rest) = self.rest.split_at(count);
        self.out.extend_from_slice(taken);
        self.rest = rest;
        taken
    }
}

/// The text that a JSON string stands for.
fn unescaped(string: &[u8]) -> Cow<'_, str> {
    let plain = std::str::from_utf8(&string[1..string.len() - 1]).ok();
    match plain.filter(|text| !text.contains('\\')) {
        Some(text) => Cow::Borrowed(text),
        None => Cow::Owned(serde_json::from_slice(string).expect("JSON strings stand for a text")),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::{Value, json};

    use super::canonical_json;

    #[test]
    fn keys_are_sorted_and_nothing_is_padded() {
        let value = json!({"b": [1, {"z": null, "a": "é\n"}], "a": true});
        let expected = "{\"a\":true,\"b\":[1,{\"a\":\"é\\n\",\"z\":null}]}";
        assert_eq!(String::from_utf8(canonical_json(&value)).unwrap(), expected);
    }

    /// Objects as lists of members, so that they are written in the order of the list.
    #[derive(Debug, Clone)]
    enum Json {
        Scalar(Value),
        Array(Vec<Self>),
        Object(Vec<(String, Self)>),
    }

    impl serde::Serialize for Json {
        fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
            match self {
                Self::Scalar(value) => value.serialize(serializer),
                Self::Array(items) => items.serialize(serializer),
                Self::Object(members) => {
                    serializer.collect_map(members.iter().map(|(key, value)| (key, value)))
                }
            }
        }
    }

    /// The plain way: every object as a sorted list of members.
    fn plain(json: &Json) -> String {
        let joined = |parts: Vec<String>| parts.join(",");
        match json {
            Json::Scalar(value) => value.to_string(),
            Json::Array(items) => format!("[{}]", joined(items.iter().map(plain).collect())),
            Json::Object(members) => {
                let mut members: Vec<_> = members.iter().collect();
                members.sort_by(|one, other| one.0.cmp(&other.0));
                let member =
                    |(key, value): &(String, Json)| format!("{}:{}", json!(key), plain(value));
                format!("{{{}}}", joined(members.into_iter().map(member).collect()))
            }
        }
    }

    /// Texts in which what JSON escapes is frequent.
    fn text() -> impl Strategy<Value = String> {
        "[\\\\\"{},:\\[\\]a-cé\u{1}\n\u{10000} !]{0,4}"
    }

    fn json() -> impl Strategy<Value = Json> {
        let number = any::<i64>().prop_map(|number| json!(number));
        let scalar = prop_oneof![
            number,
            any::<bool>().prop_map(|truth| json!(truth)),
            text().prop_map(|text| json!(text)),
            Just(Value::Null),
        ];
        scalar
            .prop_map(Json::Scalar)
            .prop_recursive(4, 40, 6, |inner| {
                let members = prop::collection::hash_map(text(), inner.clone(), 0..6);
                prop_oneof![
                    prop::collection::vec(inner, 0..6).prop_map(Json::Array),
                    members.prop_map(|members| Json::Object(members.into_iter().collect())),
                ]
            })
    }

    proptest! {
        #[test]
        fn members_are_sorted_by_what_their_keys_stand_for(json in json()) {
            let written = String::from_utf8(canonical_json(&json)).unwrap();
            prop_assert_eq!(&written, &plain(&json));
            serde_json::from_str::<Value>(&written).unwrap();
        }
    }
}
