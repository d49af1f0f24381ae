//! What a program was built from, in `CycloneDX`: every crate that is linked into it.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;

use anyhow::Context as _;
use cargo_metadata::{DependencyKind, Metadata, MetadataCommand, Package, PackageId};
use serde_json::{Value, json};

/// The bill of materials of a package of the workspace, with the crate `data` that files beside the
/// program come from.
pub(super) fn sbom(
    package: &str,
    data: Option<&str>,
    triple: &str,
    time: i64,
) -> anyhow::Result<Value> {
    let metadata = MetadataCommand::new()
        .other_options(["--locked", "--filter-platform", triple].map(str::to_owned))
        .exec()
        .context("cargo metadata does not answer; is Cargo.lock current?")?;
    let packages = metadata.packages.iter();
    let packages: BTreeMap<&PackageId, &Package> =
        packages.map(|package| (&package.id, package)).collect();
    let root = metadata
        .workspace_packages()
        .into_iter()
        .find(|member| member.name.as_str() == package)
        .with_context(|| format!("{package} is no member of the workspace"))?;
    let sums = checksums()?;
    let linked = linked(&metadata, &root.id);
    let mut parts: Vec<&Package> = linked.keys().map(|id| packages[*id]).collect();
    parts.sort_by_key(|part| (part.name.to_string(), part.version.clone()));
    let beside = packages
        .values()
        .filter(|part| Some(part.name.as_str()) == data);
    let beside = beside.map(|part| component(part, "data", &sums));
    let components: Vec<Value> = parts
        .iter()
        .filter(|part| part.id != root.id)
        .map(|part| component(part, "library", &sums))
        .chain(beside)
        .collect();
    let dependencies: BTreeMap<String, BTreeSet<String>> = linked
        .iter()
        .map(|(id, needs)| {
            let needs = needs.iter().map(|id| name(packages[id])).collect();
            (name(packages[id]), needs)
        })
        .collect();
    let dependencies: Vec<Value> = dependencies
        .into_iter()
        .map(|(of, on)| json!({"ref": of, "dependsOn": on}))
        .collect();
    Ok(json!({
        "bomFormat": "CycloneDX",
        "specVersion": "1.6",
        "version": 1,
        "metadata": {
            "timestamp": jiff::Timestamp::from_second(time)?.to_string(),
            "component": component(root, "application", &sums),
        },
        "components": components,
        "dependencies": dependencies,
    }))
}

/// Every package that is linked in, and what each links to: neither what only tests nor what only
/// build scripts need.
fn linked<'m>(
    metadata: &'m Metadata,
    root: &'m PackageId,
) -> BTreeMap<&'m PackageId, Vec<&'m PackageId>> {
    let nodes = metadata.resolve.iter().flat_map(|resolve| &resolve.nodes);
    let nodes: BTreeMap<_, _> = nodes.map(|node| (&node.id, node)).collect();
    let mut found = BTreeMap::new();
    let mut next = vec![root];
    while let Some(id) = next.pop() {
        if found.contains_key(id) {
            continue;
        }
        let edges = nodes.get(id).into_iter().flat_map(|node| &node.deps);
        let needs: Vec<_> = edges
            .filter(|edge| {
                let mut kinds = edge.dep_kinds.iter();
                kinds.any(|kind| kind.kind == DependencyKind::Normal)
            })
            .map(|edge| &edge.pkg)
            .collect();
        next.extend(&needs);
        found.insert(id, needs);
    }
    found
}

fn name(package: &Package) -> String {
    format!("pkg:cargo/{}@{}", package.name, package.version)
}

fn component(package: &Package, kind: &str, sums: &BTreeMap<(String, String), String>) -> Value {
    let mut component = json!({
        "type": kind,
        "bom-ref": name(package),
        "name": package.name,
        "version": package.version,
        "purl": name(package),
    });
    if let Some(licence) = &package.license {
        // An old way to write OR.
        let licence = licence.replace('/', " OR ");
        component["licenses"] = json!([{"expression": licence}]);
    }
    let key = (package.name.to_string(), package.version.to_string());
    if let Some(sum) = sums.get(&key) {
        component["hashes"] = json!([{"alg": "SHA-256", "content": sum}]);
    }
    component
}

/// The digest of each crate's archive, from Cargo.lock.
fn checksums() -> anyhow::Result<BTreeMap<(String, String), String>> {
    let text = fs::read_to_string("Cargo.lock").context("failed to read Cargo.lock")?;
    let value = |entry: &str, key: &str| {
        let line = entry.lines().find_map(|line| line.strip_prefix(key));
        line.map(|rest| rest.trim_matches(['"', ' ', '=']).to_owned())
    };
    let sums = text.split("[[package]]").filter_map(|entry| {
        let key = (value(entry, "name = ")?, value(entry, "version = ")?);
        Some((key, value(entry, "checksum = ")?))
    });
    Ok(sums.collect())
}
