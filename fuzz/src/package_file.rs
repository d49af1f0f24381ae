//! Files that people write: package files, API files and composite files.

use std::path::Path;

use placet_packager::{ApiFile, CompositeFile, Stub, Target, parse_package_file};

use super::{elf, told};

pub(crate) fn read(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else {
        return;
    };
    let path = Path::new("file.yaml");
    if let Err(error) = parse_package_file(bytes) {
        told(&error);
    }
    if let Err(error) = CompositeFile::parse(text, path) {
        told(&error);
    }
    match ApiFile::parse(text, path) {
        Ok(api) => {
            let target = Target::named("x86_64").expect("stubs are made for it");
            elf::stub(Stub::of_api(&api, &target));
            let again = ApiFile::parse(&api.to_yaml(), path);
            assert_eq!(
                again.map_err(|error| told(&error)),
                Ok(api),
                "written and read"
            );
        }
        Err(error) => drop(told(&error)),
    }
}
