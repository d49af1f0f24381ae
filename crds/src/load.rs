//! Reading declarations: YAML files that people wrote, and resources that come as JSON.

use std::collections::BTreeMap;

use placet_model::visible;
use serde_json::Value;

use crate::fault::{Finding, Step, list, nearest};
use crate::schema::{fill_defaults, prune_nulls};
use crate::unfinished::Unfinished;
use crate::yaml::{Document, read};
use crate::{
    DecisionRequest, FILE_MAX, Fault, KindInfo, Object, SourceFile, check, find_kind, kinds, rules,
};

/// Faults of one file that are told; a file that is wrong all over says so in one more.
const FAULTS_MAX: usize = 20;

/// What files declare.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Loaded {
    /// The resources.
    pub objects: Vec<Object>,
    /// Decisions of roll-outs that the files do not hold themselves.
    pub decisions: Vec<RolloutDecision>,
}

/// A decision that came as a file: a `Rollout` with its name and `spec.decision` alone.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RolloutDecision {
    /// The roll-out.
    pub rollout: String,
    /// What a person says of its hold.
    pub decision: DecisionRequest,
}

/// Reads the resources that `files` hold.
///
/// # Guarantees
///
/// What is returned has passed the schemas and rules of its kinds, has its defaults filled in, and
/// names each resource once. A `status` that a file brings along is left out, as an API server
/// does. It costs bounded time and memory and never panics, whatever the text.
///
/// # Errors
///
/// Everything that is wrong, with file, line and field; nothing is returned then.
pub fn load(files: &[SourceFile]) -> Result<Vec<Object>, Vec<Fault>> {
    let Loaded { objects, decisions } = load_all(files)?;
    if decisions.is_empty() {
        return Ok(objects);
    }
    let refuse = |decision: RolloutDecision| Fault {
        file: format!("Rollout/{}", decision.rollout),
        line: None,
        column: None,
        field: "spec.decision".to_owned(),
        message: "a decision is not taken by a file; use `placet rollout decide`".to_owned(),
    };
    let faults = decisions.into_iter().map(refuse).collect();
    Err(crate::locate(faults, files))
}

/// As [`load`], with decisions apart.
pub fn load_all(files: &[SourceFile]) -> Result<Loaded, Vec<Fault>> {
    let mut loaded = Loaded::default();
    let mut faults = Vec::new();
    let mut seen = BTreeMap::new();
    for file in files {
        let mut found = load_file(file, &mut loaded, &mut seen);
        if found.len() > FAULTS_MAX {
            let more = found.len() - FAULTS_MAX;
            found.truncate(FAULTS_MAX);
            found.push(fault(
                file,
                None,
                format!("{more} more faults in this file"),
            ));
        }
        faults.append(&mut found);
    }
    if faults.is_empty() {
        Ok(loaded)
    } else {
        Err(faults)
    }
}

/// Where a resource was declared first, by kind and name.
type Seen = BTreeMap<(String, String), String>;

fn load_file(file: &SourceFile, loaded: &mut Loaded, seen: &mut Seen) -> Vec<Fault> {
    if file.text.len() > FILE_MAX {
        let size = file.text.len();
        let message = format!("the file has {size} bytes; at most {FILE_MAX} are read: split it");
        return vec![fault(file, None, message)];
    }
    if let Some(unfinished) = Unfinished::of(&file.text) {
        return vec![fault(file, Some((unfinished.line, 1)), unfinished.message)];
    }
    let documents = match read(&file.text) {
        Ok(documents) => documents,
        Err(error) => return vec![fault(file, error.place, error.message)],
    };
    let mut faults = Vec::new();
    for document in documents {
        let Document { mut value, place } = document;
        let findings = load_document(&mut value, loaded).err().unwrap_or_default();
        faults.extend(
            findings
                .into_iter()
                .map(|finding| finding.into_fault(&file.name, Some(&place))),
        );
        faults.extend(twice(file, &value, &place, seen));
    }
    faults.sort();
    faults
}

fn load_document(value: &mut Value, loaded: &mut Loaded) -> Result<(), Vec<Finding>> {
    let info = kind_of(value).map_err(|finding| vec![finding])?;
    prune_nulls(value);
    if let Some(map) = value.as_object_mut() {
        map.remove("status");
    }
    if info.kind == "Rollout" && is_decision(value) {
        loaded.decisions.push(decision(info, value)?);
    } else {
        loaded.objects.push(object(info, value.clone(), None)?);
    }
    Ok(())
}

/// Reads `kind` first: what else a document may hold depends on it.
fn kind_of(value: &Value) -> Result<&'static KindInfo, Finding> {
    let known = || kinds().iter().map(|info| info.kind.as_str());
    let Some(map) = value.as_object() else {
        return Err(Finding::new(
            &[],
            "expected a resource: `apiVersion`, `kind`, `metadata` and `spec`",
        ));
    };
    let path = [Step::Key("kind".to_owned())];
    let Some(kind) = map.get("kind").and_then(Value::as_str) else {
        let message = format!(
            "expected the kind of the resource: one of {}",
            list(known())
        );
        return Err(Finding::new(&path, message));
    };
    let found = kinds().iter().find(|info| info.kind == kind);
    found.ok_or_else(|| {
        let meant = nearest(kind, known())
            .map(|word| format!("; did you mean `{word}`?"))
            .unwrap_or_default();
        let kind = visible(kind);
        let message = format!(
            "`{kind}` is not a kind of Placet{meant} Known: {}",
            list(known())
        );
        Finding::new(&path, message)
    })
}

/// The object in `value`, if schema and rules allow it.
fn object(info: &KindInfo, mut value: Value, old: Option<&Value>) -> Result<Object, Vec<Finding>> {
    checked(&info.schema, &info.kind, &mut value, old)?;
    Object::from_json(&info.kind, value).map_err(|error| vec![unreadable(&error)])
}

/// What passes the schema but not the type is rare: a name with `..` in it, a path that leaves its
/// tree. The type's own words say what is wrong.
fn unreadable(error: &serde_json::Error) -> Finding {
    Finding::new(&[], error.to_string())
}

fn checked(
    schema: &Value,
    kind: &str,
    value: &mut Value,
    old: Option<&Value>,
) -> Result<(), Vec<Finding>> {
    let some = |findings: Vec<Finding>| {
        if findings.is_empty() {
            Ok(())
        } else {
            Err(findings)
        }
    };
    some(check::check(schema, value))?;
    fill_defaults(schema, value);
    some(rules::unacceptable(kind, value))?;
    some(rules::broken(schema, value, old))
}

fn is_decision(value: &Value) -> bool {
    value["spec"]
        .as_object()
        .is_some_and(|spec| spec.keys().eq(["decision"]))
}

fn decision(info: &KindInfo, value: &mut Value) -> Result<RolloutDecision, Vec<Finding>> {
    let mut schema = info.schema.clone();
    schema["properties"]["spec"]["required"] = Value::Null;
    schema["properties"]["spec"]["x-kubernetes-validations"] = Value::Null;
    checked(&schema, &info.kind, value, None)?;
    let name = value["metadata"]["name"].as_str().unwrap_or_default();
    Ok(RolloutDecision {
        rollout: name.to_owned(),
        decision: serde_json::from_value(value["spec"]["decision"].clone())
            .map_err(|error| vec![unreadable(&error)])?,
    })
}

/// A fault if the resource in `value` was declared before.
fn twice(
    file: &SourceFile,
    value: &Value,
    place: &crate::yaml::Place,
    seen: &mut Seen,
) -> Option<Fault> {
    let kind = value.get("kind")?.as_str()?;
    let name = value.get("metadata")?.get("name")?.as_str()?;
    let path = ["metadata", "name"].map(|key| Step::Key(key.to_owned()));
    let here = format!("{}:{}", visible(&file.name), place.find(&path).0);
    let first = seen
        .entry((kind.to_owned(), name.to_owned()))
        .or_insert_with(|| here.clone());
    (*first != here).then(|| {
        let message = format!(
            "{} `{}` is declared twice, first at {first}; remove or rename one of the two",
            visible(kind),
            visible(name)
        );
        Finding::new(&path, message).into_fault(&file.name, Some(place))
    })
}

fn fault(file: &SourceFile, place: Option<(usize, usize)>, message: String) -> Fault {
    Fault {
        line: place.map(|(line, _)| line),
        column: place.map(|(_, column)| column),
        ..Finding::new(&[], message).into_fault(&file.name, None)
    }
}

/// Checks a resource of `kind` (or its plural or short name) that comes as JSON, by the same
/// schema and rules as [`load`]. With `old`, what it was before, transition rules hold too.
///
/// # Errors
///
/// Everything that is wrong; the faults name kind and resource in the place of a file.
pub fn validate(kind: &str, value: &Value, old: Option<&Value>) -> Result<Object, Vec<Fault>> {
    let found = find_kind(kind).ok_or_else(|| {
        let known = list(kinds().iter().map(|info| info.kind.as_str()));
        let message = format!(
            "`{}` is not a kind of Placet. Known: {known}",
            visible(kind)
        );
        vec![Finding::new(&[], message).into_fault("", None)]
    });
    let info = found?;
    let mut value = value.clone();
    prune_nulls(&mut value);
    let old = old.map(|old| {
        let mut old = old.clone();
        prune_nulls(&mut old);
        fill_defaults(&info.schema, &mut old);
        old
    });
    let name = value["metadata"]["name"].as_str().unwrap_or_default();
    let file = format!("{}/{}", info.kind, visible(name));
    object(info, value, old.as_ref()).map_err(|findings| {
        findings
            .into_iter()
            .map(|finding| finding.into_fault(&file, None))
            .collect()
    })
}
