//! Package URLs: how bills of materials and vulnerability databases call packages of other formats,
//! by <https://github.com/package-url/purl-spec>.

use std::fmt::Write as _;

/// A package URL of these parts; qualifiers without a value are left out.
pub(super) fn purl(
    kind: &str,
    namespace: Option<&str>,
    name: &str,
    version: Option<&str>,
    qualifiers: &[(&str, Option<&str>)],
) -> String {
    let mut purl = format!("pkg:{kind}/");
    if let Some(namespace) = namespace {
        push_quoted(&mut purl, namespace);
        purl.push('/');
    }
    push_quoted(&mut purl, name);
    if let Some(version) = version {
        purl.push('@');
        push_quoted(&mut purl, version);
    }
    let mut separator = '?';
    for (key, value) in qualifiers {
        let Some(value) = value.filter(|value| !value.is_empty()) else {
            continue;
        };
        purl.push(separator);
        purl.push_str(key);
        purl.push('=');
        push_quoted(&mut purl, value);
        separator = '&';
    }
    purl
}

/// Everything but letters, digits and `.-_~:` is quoted.
fn push_quoted(purl: &mut String, text: &str) {
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || b".-_~:".contains(&byte) {
            purl.push(char::from(byte));
        } else {
            write!(purl, "%{byte:02X}").expect("a string takes everything");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::purl;

    #[test]
    fn parts_are_quoted_and_empty_qualifiers_left_out() {
        let deb = purl(
            "deb",
            Some("debian"),
            "libstdc++6",
            Some("1:2.3-4+b1"),
            &[("arch", Some("amd64")), ("epoch", None)],
        );
        assert_eq!(deb, "pkg:deb/debian/libstdc%2B%2B6@1:2.3-4%2Bb1?arch=amd64");
        let qualifiers = [
            ("repository_url", Some("r.example:5000/a/b")),
            ("tag", Some("1")),
        ];
        let oci = purl("oci", None, "b", Some("sha256:00"), &qualifiers);
        assert_eq!(
            oci,
            "pkg:oci/b@sha256:00?repository_url=r.example:5000%2Fa%2Fb&tag=1"
        );
    }
}
