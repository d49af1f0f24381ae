//! What the tests of homes write, and for whom; also of those in `tests/tests/home`.

use jiff::{SignedDuration, Timestamp};
use placet_controller::home::{NewToken, Owner, TokenUsage};
use placet_crds::{Object, SourceFile, load};
use placet_protocol::secret_hash;

/// Declarations, of which each begins with its kind.
pub(crate) fn objects(text: &str) -> Vec<Object> {
    let documents = text
        .split("---\n")
        .map(|document| format!("apiVersion: placet.dev/v1alpha1\n{}", document.trim_start()));
    let text = documents.collect::<Vec<_>>().join("---\n");
    let name = "f.yaml".to_owned();
    load(&[SourceFile { name, text }]).unwrap()
}

pub(crate) fn object(text: &str) -> Object {
    objects(text).remove(0)
}

pub(crate) fn package_set(name: &str, version: &str) -> Object {
    object(&format!(
        "kind: PackageSet\nmetadata: {{name: {name}}}\nspec:\n  packages:\n  - {{name: chat, version: {version}, reference: \"oci-layout:packages:{version}\"}}\n"
    ))
}

pub(crate) fn source(name: &str) -> Object {
    object(&format!(
        "kind: GitSource\nmetadata: {{name: {name}}}\nspec: {{url: /srv/{name}.git}}\n"
    ))
}

pub(crate) fn ann() -> Owner {
    Owner::Person {
        user: "ann".to_owned(),
    }
}

pub(crate) fn git(source: &str) -> Owner {
    Owner::Git {
        source: source.to_owned(),
    }
}

/// A token of the first hour of time, whose secret is `sesame`.
pub(crate) fn token(id: &str, node: &str, replace: bool) -> NewToken {
    NewToken {
        id: id.to_owned(),
        secret_hash: secret_hash("sesame"),
        node: node.parse().unwrap(),
        expires: Timestamp::UNIX_EPOCH + SignedDuration::from_hours(1),
        usage: TokenUsage::Once { replace },
    }
}
