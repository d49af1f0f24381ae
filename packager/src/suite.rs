//! Packages of purpose `test`: their processes are tests, which run once and end (B8).

use std::path::Path;

use placet_model::{ProcessKind, Purpose, StateFormats};

use crate::error::{Error, ModuleFault};
use crate::file::{PackageFile, ProcessEntry};
use crate::yaml;

/// Refuses a suite without tests, and tests that are described as services.
pub(crate) fn check(package_yaml: &Path, file: &PackageFile) -> Result<(), Error> {
    if file.purpose != Purpose::Test {
        return Ok(());
    }
    let modules = file.modules.iter();
    let mut tests = modules
        .filter_map(|entry| Some((entry, entry.value.process.as_ref()?)))
        .peekable();
    if tests.peek().is_none() {
        return Err(Error::NoTests {
            place: yaml::place(package_yaml, None),
        });
    }
    for (entry, process) in tests {
        if let Some(field) = of_services(process) {
            return Err(Error::Module {
                place: yaml::place(package_yaml, Some(entry.referenced)),
                module: entry.value.to_string(),
                fault: Box::new(ModuleFault::Test(field)),
            });
        }
    }
    Ok(())
}

/// The first field that means something of a service alone.
fn of_services(process: &ProcessEntry) -> Option<&'static str> {
    let fields = [
        ("kind: self-managing", process.kind != ProcessKind::Simple),
        ("notify", process.notify),
        ("health", process.health.is_some()),
        ("state", process.state != StateFormats::default()),
        ("storedDescriptors", process.stored_descriptors > 0),
        ("follows", !process.follows.is_empty()),
        ("rules", !process.rules.is_empty()),
        ("voteCommand", process.vote_command.is_some()),
        ("voteLogic", process.vote_logic.is_some()),
    ];
    let found = fields.into_iter().find(|(_, is_set)| *is_set);
    found.map(|(field, _)| field)
}
