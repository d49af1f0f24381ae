//! The examples are what newcomers start from: they build, and their declarations hold.

use std::fs;
use std::path::Path;

use placet_crds::SourceFile;
use placet_tests::packages;

fn examples() -> &'static Path {
    Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../examples"))
}

#[test]
fn every_example_package_builds() {
    for name in ["greet", "chat", "clock", "metrics"] {
        assert!(packages().join(name).join("index.json").is_file(), "{name}");
    }
}

#[test]
fn the_example_fleet_is_valid_and_names_every_part() {
    let mut files = Vec::new();
    for entry in fs::read_dir(examples().join("fleet")).unwrap().flatten() {
        let name = entry.file_name().to_string_lossy().into_owned();
        files.push(SourceFile {
            name,
            text: fs::read_to_string(entry.path()).unwrap(),
        });
    }
    let objects = placet_crds::load(&files).unwrap_or_else(|faults| panic!("{faults:#?}"));
    let desired = placet_crds::desired(
        "main@sha1:0000000000000000000000000000000000000000",
        &objects,
    );
    let desired = desired.unwrap_or_else(|faults| panic!("{faults:#?}"));
    assert_eq!(desired.nodes.len(), 4);
    assert_eq!(
        desired
            .package_sets
            .values()
            .flat_map(|set| &set.packages)
            .count(),
        4
    );
    assert!(placet_crds::not_carried_out(&objects).is_empty());
}
