//! What holds for the whole workspace, asked of `cargo metadata` and of the files themselves.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

use cargo_metadata::{DependencyKind, Metadata, MetadataCommand, Package};

/// Which members a member may use; the code map of `ARCHITECTURE.md`. `tests` may use all.
const EDGES: &[(&str, &[&str])] = &[
    ("placet-model", &[]),
    ("placet-rules", &[]),
    ("placet-logic", &["placet-model"]),
    ("placet-crds", &["placet-model", "placet-rules"]),
    ("placet-package", &["placet-model"]),
    (
        "placet-packager",
        &[
            "placet-crds",
            "placet-logic",
            "placet-model",
            "placet-package",
        ],
    ),
    ("placet-planner", &["placet-model", "placet-rules"]),
    (
        "placet-simulator",
        &["placet-logic", "placet-model", "placet-planner"],
    ),
    ("placet-protocol", &["placet-model"]),
    ("placet-sdk", &[]),
    (
        "placet-controller",
        &[
            "placet-crds",
            "placet-model",
            "placet-package",
            "placet-planner",
            "placet-protocol",
        ],
    ),
    (
        "placet-node-daemon",
        &[
            "placet-logic",
            "placet-model",
            "placet-package",
            "placet-planner",
            "placet-protocol",
        ],
    ),
    ("placet-examples", &["placet-sdk"]),
    (
        "placet-cli",
        &[
            "placet-controller",
            "placet-crds",
            "placet-model",
            "placet-node-daemon",
            "placet-package",
            "placet-packager",
            "placet-protocol",
            "placet-simulator",
        ],
    ),
    (
        "placet-xtask",
        &[
            "placet-crds",
            "placet-model",
            "placet-package",
            "placet-packager",
            "placet-simulator",
        ],
    ),
];

/// Crates that decide, and therefore see no runtime, no client, no randomness and no logger.
const PURE: &[&str] = &[
    "placet-logic",
    "placet-model",
    "placet-planner",
    "placet-rules",
    "placet-simulator",
];
const IMPURE: &[&str] = &[
    "tokio",
    "kube",
    "kube-client",
    "tracing",
    "anyhow",
    "rand",
    "tonic",
    "git2",
];

/// Licences that Apache-2.0 code may be built with.
const LICENCES: &[&str] = &[
    "0BSD",
    "Apache-2.0",
    "Apache-2.0 WITH LLVM-exception",
    "BSD-2-Clause",
    "BSD-3-Clause",
    "BSL-1.0",
    "CC0-1.0",
    // Of data, not of code: the certificate authorities of the images.
    "CDLA-Permissive-2.0",
    "ISC",
    "MIT",
    "MIT-0",
    "Unicode-3.0",
    "Unlicense",
    "Zlib",
];

/// What must never come in: a fresh machine has no OpenSSL headers, and one TLS provider is enough.
const BANNED: &[&str] = &[
    "openssl",
    "openssl-sys",
    "native-tls",
    "aws-lc-rs",
    "aws-lc-sys",
];

/// Crates that are there in two versions, and why nothing can be done about it here.
const TWICE: &[(&str, &str)] = &[
    (
        "base64",
        "k8s-openapi and tonic are a version behind pem and serde-saphyr",
    ),
    (
        "bit-vec",
        "proptest's bit-set is a version behind rcgen's yasna",
    ),
    (
        "darling",
        "oci-spec's derive_builder is behind kube-derive; at build time only",
    ),
    ("darling_core", "see darling"),
    ("darling_macro", "see darling"),
    ("foldhash", "see hashbrown"),
    ("tower-http", "reqwest is behind kube"),
    (
        "synstructure",
        "x509-parser's asn1-rs is behind url's; at build time only",
    ),
    (
        "object",
        "kube-client's jsonpath-rust is behind, by way of psm; at build time only",
    ),
    (
        "getrandom",
        "ring is behind; tempfile and rand have the current one",
    ),
    (
        "hashbrown",
        "prost-build's petgraph is behind indexmap; at build time only",
    ),
    (
        "itertools",
        "prost-build is behind prost-derive; at build time only",
    ),
    (
        "rand",
        "opentelemetry_sdk is a version behind; it makes no ids here",
    ),
    ("rand_core", "see rand"),
    (
        "strum",
        "jsonschema, which checks the schema in tests, and oci-spec are a version apart",
    ),
    ("strum_macros", "see strum"),
    ("syn", "derive macros are moving to 3; at build time only"),
    ("thiserror", "cel 0.13 is behind"),
    ("thiserror-impl", "see thiserror"),
    (
        "unicode-width",
        "protox's miette is behind; at build time only",
    ),
];

fn metadata() -> Metadata {
    MetadataCommand::new()
        .manifest_path(root().join("Cargo.toml"))
        .other_options([
            "--locked".to_owned(),
            "--filter-platform".to_owned(),
            "x86_64-unknown-linux-gnu".to_owned(),
        ])
        .exec()
        .expect("cargo metadata answers; is Cargo.lock current?")
}

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .parent()
        .expect("tests/ has a parent")
        .to_owned()
}

fn normal_dependencies(package: &Package) -> impl Iterator<Item = &str> {
    package
        .dependencies
        .iter()
        .filter(|dependency| dependency.kind != DependencyKind::Development)
        .map(|dependency| dependency.name.as_str())
}

#[test]
fn members_use_only_what_the_code_map_allows() {
    let metadata = metadata();
    let edges: BTreeMap<_, _> = EDGES.iter().copied().collect();
    for package in metadata.workspace_packages() {
        if package.name == "placet-tests" {
            continue;
        }
        let allowed = edges
            .get(package.name.as_str())
            .unwrap_or_else(|| panic!("{} is missing in the code map of this test", package.name));
        for dependency in normal_dependencies(package).filter(|name| name.starts_with("placet-")) {
            assert!(
                allowed.contains(&dependency),
                "{} must not use {dependency}",
                package.name
            );
        }
    }
}

#[test]
fn deciding_crates_stay_pure() {
    for package in metadata().workspace_packages() {
        if PURE.contains(&package.name.as_str()) {
            for dependency in normal_dependencies(package) {
                assert!(
                    !IMPURE.contains(&dependency),
                    "{} must not use {dependency}",
                    package.name
                );
            }
        }
    }
}

#[test]
fn every_member_inherits_lints_and_package_fields() {
    for package in metadata().workspace_packages() {
        let manifest = fs::read_to_string(&package.manifest_path).unwrap();
        assert!(
            manifest.contains("[lints]\nworkspace = true"),
            "{}: lints",
            package.name
        );
        for field in ["version", "edition", "rust-version", "license", "publish"] {
            let line = format!("{field}.workspace = true");
            assert!(manifest.contains(&line), "{}: `{line}`", package.name);
        }
    }
}

#[test]
fn versions_of_dependencies_stand_in_the_workspace_once() {
    for package in metadata().workspace_packages() {
        let manifest = fs::read_to_string(&package.manifest_path).unwrap();
        let mut in_dependencies = false;
        for line in manifest.lines() {
            if line.starts_with('[') {
                in_dependencies = line.ends_with("dependencies]");
            } else if in_dependencies && !line.trim().is_empty() && !line.starts_with('#') {
                assert!(
                    line.contains("workspace = true"),
                    "{}: `{line}`",
                    package.name
                );
            }
        }
    }
}

#[test]
fn every_workspace_dependency_is_used() {
    let metadata = metadata();
    let used: BTreeSet<String> = metadata
        .workspace_packages()
        .iter()
        .flat_map(|package| &package.dependencies)
        .map(|dependency| {
            dependency
                .rename
                .clone()
                .unwrap_or_else(|| dependency.name.clone())
        })
        .collect();
    let manifest = fs::read_to_string(root().join("Cargo.toml")).unwrap();
    let section = manifest.split("[workspace.dependencies]").nth(1).unwrap();
    for line in section
        .lines()
        .skip(1)
        .take_while(|line| !line.starts_with('['))
    {
        if let Some((name, _)) = line.split_once(" = ") {
            assert!(
                used.contains(name),
                "`{name}` stands in [workspace.dependencies], and no member uses it"
            );
        }
    }
}

#[test]
fn licences_are_allowed_ones() {
    for package in metadata().packages {
        let Some(licence) = &package.license else {
            panic!("{} {} names no licence", package.name, package.version);
        };
        assert!(
            is_allowed(licence),
            "{} {} has licence `{licence}`",
            package.name,
            package.version
        );
    }
}

/// `AND` binds less than `OR` where the latter stands in parentheses, and more where it does not:
/// the two forms that occur.
fn is_allowed(licence: &str) -> bool {
    let licence = licence.replace('/', " OR ");
    let one = |term: &str| {
        LICENCES.contains(&term.trim_matches(|c: char| c.is_whitespace() || "()".contains(c)))
    };
    if licence.contains('(') {
        licence
            .split(" AND ")
            .all(|part| part.split(" OR ").any(one))
    } else {
        licence
            .split(" OR ")
            .any(|part| part.split(" AND ").all(one))
    }
}

#[test]
fn banned_crates_are_absent() {
    for package in metadata().packages {
        assert!(
            !BANNED.contains(&package.name.as_str()),
            "{} is in the tree",
            package.name
        );
    }
}

#[test]
fn no_crate_comes_twice_without_a_reason() {
    let metadata = metadata();
    let mut versions: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    let resolve = metadata.resolve.as_ref().expect("metadata resolves");
    for node in &resolve.nodes {
        let package = &metadata[&node.id];
        versions
            .entry(package.name.to_string())
            .or_default()
            .insert(package.version.to_string());
    }
    let excused: BTreeMap<_, _> = TWICE.iter().copied().collect();
    let twice: Vec<_> = versions
        .iter()
        .filter(|(_, versions)| versions.len() > 1)
        .collect();
    for (name, versions) in &twice {
        assert!(
            excused.contains_key(name.as_str()),
            "{name} comes in versions {versions:?}"
        );
    }
    for name in excused.keys() {
        assert!(
            twice.iter().any(|(twice, _)| twice == name),
            "{name} comes once by now: drop its excuse"
        );
    }
}

#[test]
fn generated_files_are_current() {
    for (name, expected) in placet_crds::generated() {
        let path = root().join("charts/placet/definitions").join(&name);
        let found = fs::read_to_string(&path).unwrap_or_default();
        assert_eq!(
            found,
            expected,
            "{} is stale: run `cargo xtask generate`",
            path.display()
        );
    }
}

#[test]
fn documents_stay_within_their_bounds() {
    let architecture = fs::read_to_string(root().join("ARCHITECTURE.md")).unwrap();
    assert!(
        architecture.lines().count() <= 200,
        "ARCHITECTURE.md has more than 200 lines"
    );
    for member in metadata().workspace_packages() {
        let directory = member.manifest_path.parent().unwrap().file_name().unwrap();
        assert!(
            architecture.contains(&format!("`{directory}/`")),
            "ARCHITECTURE.md does not name `{directory}/`"
        );
    }
}
