//! The packages that files of declarations name, and the same files with other references.

use std::ops::Range;

use placet_model::visible;
use serde::Deserialize;
use serde_yaml::Spanned;

use crate::yaml::options;
use crate::{Fault, Object, SourceFile, load};

/// A package or boot image as a file of declarations names it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NamedPackage {
    /// The file.
    pub file: String,
    /// The line of the reference, counted from 1.
    pub line: usize,
    /// The column of the reference, counted from 1.
    pub column: usize,
    /// The name.
    pub name: String,
    /// The version.
    pub version: String,
    /// Where the package is said to be.
    pub reference: String,
    /// The bytes of the reference in the file.
    span: Range<usize>,
}

#[derive(Deserialize)]
struct Resource {
    spec: Spec,
}

#[derive(Deserialize)]
#[serde(default, rename_all = "camelCase")]
#[derive(Default)]
struct Spec {
    packages: Vec<Entry>,
    boot_images: Vec<Entry>,
}

#[derive(Deserialize)]
struct Entry {
    name: String,
    version: String,
    reference: Spanned<String>,
}

/// The packages and boot images that `files` name, in the order of the text.
///
/// # Errors
///
/// The files are not valid declarations: everything that [`load`] says.
pub fn named_packages(files: &[SourceFile]) -> Result<Vec<NamedPackage>, Vec<Fault>> {
    load(files)?;
    let mut named = Vec::new();
    for file in files {
        named.extend(read(file).map_err(|fault| vec![fault])?);
    }
    Ok(named)
}

/// The same files, with the references that `other` gives in the place of those that they have.
/// Comments and everything else stay as they are.
///
/// # Guarantees
///
/// The result declares the same resources but for those references.
///
/// # Errors
///
/// The files are not valid declarations, or a reference cannot be replaced by itself, since an
/// alias stands for it somewhere else.
pub fn with_references(
    files: &[SourceFile],
    other: impl Fn(&NamedPackage) -> Option<String>,
) -> Result<Vec<SourceFile>, Vec<Fault>> {
    let mut objects = load(files)?;
    let mut replaced = Vec::new();
    let mut changes = Vec::new();
    for file in files {
        let mut text = file.text.clone();
        let named = read(file).map_err(|fault| vec![fault])?;
        // From the end, so that what comes before stays where it is.
        for named in named.into_iter().rev() {
            let Some(reference) = other(&named).filter(|it| *it != named.reference) else {
                continue;
            };
            text.replace_range(named.span.clone(), &quoted(&reference));
            changes.push((named, reference));
        }
        let name = file.name.clone();
        replaced.push(SourceFile { name, text });
    }
    for object in &mut objects {
        change(object, &changes);
    }
    if load(&replaced).ok().as_ref() == Some(&objects) {
        return Ok(replaced);
    }
    let faults = changes.into_iter().map(|(named, _)| {
        named.fault(
        "this reference cannot be replaced by itself; write every reference out, without aliases",
    )
    });
    Err(faults.collect())
}

fn change(object: &mut Object, changes: &[(NamedPackage, String)]) {
    let replace = |name: &str, version: &str, reference: &mut String| {
        let found = changes.iter().find(|(named, _)| {
            (named.name.as_str(), named.version.as_str()) == (name, version)
                && named.reference == *reference
        });
        if let Some((_, new)) = found {
            reference.clone_from(new);
        }
    };
    match object {
        Object::PackageSet(set) => {
            for entry in &mut set.spec.packages {
                let (name, version) = (entry.name.as_str(), entry.version.to_string());
                replace(name, &version, &mut entry.reference);
            }
        }
        Object::NodeClass(class) => {
            for image in &mut class.spec.boot_images {
                let (name, version) = (image.name.as_str(), image.version.to_string());
                replace(name, &version, &mut image.reference);
            }
        }
        Object::GitSource(_) | Object::FleetNode(_) | Object::Rollout(_) => {}
    }
}

fn read(file: &SourceFile) -> Result<Vec<NamedPackage>, Fault> {
    let documents: Vec<Option<Resource>> =
        serde_yaml::from_multiple_with_options(&file.text, options())
            .map_err(|error| unread(file, &error.to_string()))?;
    let mut named = Vec::new();
    for document in documents.into_iter().flatten() {
        let Spec {
            packages,
            boot_images,
        } = document.spec;
        for entry in packages.into_iter().chain(boot_images) {
            let found = entry.named(file);
            named.push(found.ok_or_else(|| unread(file, "a reference has no place"))?);
        }
    }
    named.sort_by_key(|it| it.span.start);
    Ok(named)
}

impl Entry {
    fn named(self, file: &SourceFile) -> Option<NamedPackage> {
        let place = self.reference.referenced;
        let number = |it: u64| usize::try_from(it).ok();
        let start = number(place.span().byte_offset()?)?;
        let span = start..start + number(place.span().byte_len()?)?;
        // A place that is not one of the text would be replaced in vain, or worse.
        file.text.get(span.clone())?;
        Some(NamedPackage {
            file: file.name.clone(),
            line: number(place.line())?,
            column: number(place.column())?,
            name: self.name,
            version: self.version,
            reference: self.reference.value,
            span,
        })
    }
}

impl NamedPackage {
    /// What is wrong with the reference, at its place.
    pub fn fault(&self, message: impl Into<String>) -> Fault {
        Fault {
            file: visible(&self.file).to_string(),
            line: Some(self.line),
            column: Some(self.column),
            field: "reference".to_owned(),
            message: message.into(),
        }
    }
}

fn unread(file: &SourceFile, why: &str) -> Fault {
    Fault {
        file: visible(&file.name).to_string(),
        line: None,
        column: None,
        field: String::new(),
        message: format!("the references cannot be read: {}", visible(why)),
    }
}

/// A scalar, wherever it stands.
fn quoted(reference: &str) -> String {
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b"/:@._+-".contains(&byte);
    if reference.bytes().all(is_plain) {
        return reference.to_owned();
    }
    serde_json::Value::from(reference).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    const FILE: &str = "\
# Packages of the é fleet.
apiVersion: placet.dev/v1alpha1
kind: PackageSet
metadata: {name: chat}
spec:
  packages:
    - name: chat
      version: 1.0.0
      reference: \"oci-layout:chat:1.0.0\" # built here
    - {name: clock, version: 2.0.0, reference: oci-layout:clock:2.0.0}
---
apiVersion: placet.dev/v1alpha1
kind: NodeClass
metadata: {name: core}
spec:
  selector: {types: [core]}
  packageSets: [chat]
  bootImages:
    - name: base
      version: 3.0.0
      reference: 'oci-layout:base:3.0.0'
      install: [boot-install]
      confirm: [boot-confirm]
";

    fn files(text: &str) -> [SourceFile; 1] {
        let (name, text) = ("fleet.yaml".to_owned(), text.to_owned());
        [SourceFile { name, text }]
    }

    #[test]
    fn references_are_replaced_and_nothing_else() {
        let named = named_packages(&files(FILE)).unwrap();
        let seen: Vec<_> = named
            .iter()
            .map(|it| (it.name.as_str(), it.line, it.reference.as_str()))
            .collect();
        assert_eq!(
            seen,
            [
                ("chat", 9, "oci-layout:chat:1.0.0"),
                ("clock", 10, "oci-layout:clock:2.0.0"),
                ("base", 21, "oci-layout:base:3.0.0"),
            ]
        );
        let other = |it: &NamedPackage| match it.name.as_str() {
            "chat" => Some("oci://[::1]:5000/chat:1".to_owned()),
            "clock" => Some("oci://r.example/clock:1".to_owned()),
            _ => None,
        };
        let replaced = with_references(&files(FILE), other).unwrap();
        let wanted = FILE
            .replace("oci-layout:chat:1.0.0", "oci://[::1]:5000/chat:1")
            .replace("oci-layout:clock:2.0.0", "oci://r.example/clock:1");
        assert_eq!(replaced[0].text, wanted);
    }

    #[test]
    fn what_stands_for_something_else_too_is_refused_at_its_place() {
        let text = FILE
            .replace("\"oci-layout:chat:1.0.0\"", "&it oci-layout:chat:1.0.0")
            .replace("reference: oci-layout:clock:2.0.0", "reference: *it");
        let other = |it: &NamedPackage| {
            let is_chat = it.name == "chat";
            is_chat.then(|| "oci://r.example/chat:1".to_owned())
        };
        match with_references(&files(&text), other) {
            // Either both are told apart, or it is refused; never is the other one changed.
            Ok(replaced) => {
                let named = named_packages(&replaced).unwrap();
                assert_eq!(named[1].reference, "oci-layout:chat:1.0.0");
            }
            Err(faults) => {
                let told = faults[0].to_string();
                assert!(told.starts_with("fleet.yaml:9:"), "{told}");
            }
        }
    }
}
