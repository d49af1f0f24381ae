//! What somebody else made of what a repository declares.

use std::collections::BTreeMap;
use std::fmt;

use placet_crds::Object;
use serde_json::Value;

/// Fields that one line names; who wants to know more compares the two.
const FIELDS_MOST: usize = 5;

/// A declared resource that is not as declared.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Drifted {
    pub(crate) kind: &'static str,
    pub(crate) name: String,
    pub(crate) how: How,
}

/// How it differs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum How {
    /// It was deleted.
    Gone,
    /// These fields are other than declared, removed or added.
    Changed(Vec<String>),
}

/// Every resource of `declared` that differs from what `observed` has of it.
///
/// # Guarantees
///
/// It looks at the spec, and at those labels and annotations that are declared: others may add
/// their own. The order is that of `declared`, and the fields are in the order of their paths.
pub(crate) fn drift<'a>(
    declared: &[Object],
    observed: impl Fn(&Object) -> Option<&'a Object>,
) -> Vec<Drifted> {
    let drifted = |object: &Object| {
        let how = match observed(object) {
            None => How::Gone,
            Some(found) => {
                let fields = changed(object, found);
                if fields.is_empty() {
                    return None;
                }
                How::Changed(fields)
            }
        };
        Some(Drifted {
            kind: object.kind(),
            name: object.name().to_owned(),
            how,
        })
    };
    declared.iter().filter_map(drifted).collect()
}

fn changed(declared: &Object, found: &Object) -> Vec<String> {
    let mut fields = Vec::new();
    differences("spec", &declared.spec(), &found.spec(), &mut fields);
    let empty = BTreeMap::new();
    let tags = |name: &str, ours: Option<&BTreeMap<_, _>>, theirs: Option<&BTreeMap<_, _>>| {
        let theirs = theirs.unwrap_or(&empty);
        let differing = ours.unwrap_or(&empty).iter();
        let differing = differing.filter(|(key, value)| theirs.get(*key) != Some(*value));
        differing
            .map(|(key, _)| format!("metadata.{name}.{key}"))
            .collect::<Vec<String>>()
    };
    let (ours, theirs) = (declared.metadata(), found.metadata());
    fields.extend(tags("labels", ours.labels.as_ref(), theirs.labels.as_ref()));
    fields.extend(tags(
        "annotations",
        ours.annotations.as_ref(),
        theirs.annotations.as_ref(),
    ));
    fields
}

/// The paths at which two values differ, as deep as objects go on both sides.
fn differences(path: &str, one: &Value, other: &Value, fields: &mut Vec<String>) {
    let (Some(one), Some(other)) = (one.as_object(), other.as_object()) else {
        if one != other {
            fields.push(path.to_owned());
        }
        return;
    };
    let keys: std::collections::BTreeSet<_> = one.keys().chain(other.keys()).collect();
    for key in keys {
        let (one, other) = (one.get(key), other.get(key));
        let path = format!("{path}.{key}");
        let null = &Value::Null;
        differences(&path, one.unwrap_or(null), other.unwrap_or(null), fields);
    }
}

impl fmt::Display for Drifted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{} ", self.kind, self.name)?;
        match &self.how {
            How::Gone => write!(f, "was deleted by somebody else"),
            How::Changed(fields) => {
                let shown = &fields[..fields.len().min(FIELDS_MOST)];
                write!(f, "was changed by somebody else: {}", shown.join(", "))?;
                match fields.len() - shown.len() {
                    0 => Ok(()),
                    more => write!(f, " and {more} more"),
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use placet_crds::{Object, SourceFile, load};

    use super::drift;

    const SET: &str = "\
apiVersion: placet.dev/v1alpha1
kind: PackageSet
metadata: {name: base, labels: {team: core}}
spec:
  packages:
    - {name: greet, version: 1.0.0, reference: \"oci-layout:greet:1.0.0\"}
";
    const NODE: &str = "\
apiVersion: placet.dev/v1alpha1
kind: FleetNode
metadata: {name: core-1}
spec: {class: core}
";

    fn objects(text: &str) -> Vec<Object> {
        let file = SourceFile {
            name: "f.yaml".to_owned(),
            text: text.to_owned(),
        };
        load(&[file]).unwrap()
    }

    #[track_caller]
    fn check(declared: &str, found: &str, expected: &[&str]) {
        let found = objects(found);
        let of = |object: &Object| {
            let mut found = found.iter();
            found.find(|it| (it.kind(), it.name()) == (object.kind(), object.name()))
        };
        let drifted = drift(&objects(declared), of);
        let texts: Vec<String> = drifted.iter().map(ToString::to_string).collect();
        assert_eq!(texts, expected);
    }

    #[test]
    fn what_is_as_declared_has_not_drifted() {
        check(SET, SET, &[]);
        let tagged = SET.replace("{team: core}", "{team: core, seen: by-others}");
        check(SET, &tagged, &[]);
    }

    #[test]
    fn what_was_deleted_or_changed_is_told_by_field() {
        let both = format!("{SET}---\n{NODE}");
        check(
            &both,
            SET,
            &["FleetNode/core-1 was deleted by somebody else"],
        );
        let moved = NODE.replace("class: core", "class: lab, suspended: true");
        let expected = "FleetNode/core-1 was changed by somebody else: spec.class, spec.suspended";
        check(NODE, &moved, &[expected]);
        let newer = SET
            .replace("version: 1.0.0", "version: 1.1.0")
            .replace("team: core", "team: lab");
        let expected =
            "PackageSet/base was changed by somebody else: spec.packages, metadata.labels.team";
        check(SET, &newer, &[expected]);
    }

    #[test]
    fn what_others_declare_beside_it_is_theirs() {
        check(SET, &format!("{SET}---\n{NODE}"), &[]);
    }
}
