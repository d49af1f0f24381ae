//! `kubectl explain` answers for every field of every kind.

use std::collections::BTreeSet;
use std::sync::Mutex;
use std::thread;

use placet_crds::{KindInfo, kinds};
use placet_tests::Cluster;
use serde_json::Value;

use crate::{cluster, kubectl};

/// How many kubectl run at once.
const WORKERS: usize = 4;

/// The path of every field of a schema, with what it says of itself. Items of lists and values of
/// maps have the path of what holds them, as in `kubectl explain`.
fn fields(schema: &Value, path: &str, all: &mut Vec<(String, String)>) {
    for (name, field) in schema["properties"].as_object().into_iter().flatten() {
        let path = format!("{path}.{name}");
        let text = field["description"].as_str().unwrap_or_default();
        all.push((path.clone(), text.to_owned()));
        fields(field, &path, all);
    }
    for inner in ["items", "additionalProperties"] {
        if schema[inner].is_object() {
            fields(&schema[inner], path, all);
        }
    }
}

fn fields_of(info: &KindInfo) -> Vec<(String, String)> {
    let schema = &info.definition["spec"]["versions"][0]["schema"]["openAPIV3Schema"];
    let mut all = Vec::new();
    for part in ["spec", "status"] {
        let path = format!("{}.{part}", info.plural);
        fields(&schema["properties"][part], &path, &mut all);
    }
    all
}

/// Text without its line breaks: kubectl breaks lines as it likes.
fn words(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

/// What is wrong with what kubectl says of the field at `path`.
fn wrong(cluster: &Cluster, path: &str, description: &str) -> Option<String> {
    let said = cluster.said(&["explain", path]);
    let name = path.rsplit('.').next().unwrap_or(path);
    let is_right = said.contains(&format!("FIELD: {name} "))
        && !description.is_empty()
        && words(&said).contains(&words(description));
    (!is_right).then(|| format!("{path}: {said}"))
}

#[test]
fn every_field_of_every_kind() {
    let Some(cluster) = cluster() else { return };
    let all: Vec<_> = kinds().iter().flat_map(fields_of).collect();
    assert!(all.len() > 200, "only {} fields were found", all.len());
    let (left, faults) = (Mutex::new(all), Mutex::new(Vec::new()));
    thread::scope(|scope| {
        for _ in 0..WORKERS {
            scope.spawn(|| {
                loop {
                    let next = left.lock().expect("no worker panics").pop();
                    let Some((path, description)) = next else {
                        break;
                    };
                    let fault = wrong(cluster, &path, &description);
                    faults.lock().expect("no worker panics").extend(fault);
                }
            });
        }
    });
    let faults = faults.into_inner().expect("no worker panics");
    assert!(faults.is_empty(), "{}", faults.join("\n"));
}

#[test]
fn the_whole_tree_of_a_kind() {
    let Some(cluster) = cluster() else { return };
    for info in kinds() {
        let said = kubectl(cluster, &["explain", &info.plural, "--recursive"]);
        let shown = tree(&info.plural, &said);
        for (path, _) in fields_of(info) {
            assert!(shown.contains(&path), "{path} is missing in {said}");
        }
    }
}

/// The paths in the indented text of `kubectl explain --recursive`.
fn tree(kind: &str, said: &str) -> BTreeSet<String> {
    let mut path: Vec<&str> = Vec::new();
    let lines = said.lines().skip_while(|line| *line != "FIELDS:").skip(1);
    lines
        .filter_map(|line| {
            let name = line.trim_start();
            let depth = (line.len() - name.len()) / 2;
            let name = name.split(['\t', ' ']).next().filter(|it| !it.is_empty())?;
            path.truncate(depth.saturating_sub(1));
            path.push(name);
            Some(format!("{kind}.{}", path.join(".")))
        })
        .collect()
}
