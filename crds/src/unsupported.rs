//! What can be declared but is not carried out yet. Each of these is said, never passed over.

use crate::fault::{Finding, Step};
use crate::{Fault, GitSourceSpec, Object, PackageSetSpec};

/// Every field set in `objects` that this version does not carry out. The faults name the resource
/// in the place of a file; [`crate::locate`] finds the file.
pub fn not_carried_out(objects: &[Object]) -> Vec<Fault> {
    let mut faults = Vec::new();
    for object in objects {
        let fields = match object {
            Object::GitSource(it) => source(&it.spec),
            Object::PackageSet(it) => package_set(&it.spec),
            Object::NodeClass(_) | Object::FleetNode(_) | Object::Rollout(_) => Vec::new(),
        };
        faults.extend(fields.into_iter().map(|mut path| {
            path.insert(0, Step::Key("spec".to_owned()));
            let message = "this version does not carry it out; the rest of the resource counts";
            Finding::new(&path, message).into_fault(&object.id(), None)
        }));
    }
    faults
}

type Paths = Vec<Vec<Step>>;

/// The paths of those fields that are set.
fn set(fields: &[(&str, bool)]) -> Paths {
    let set = fields.iter().filter(|(_, is_set)| *is_set);
    set.map(|(path, _)| {
        path.split('.')
            .map(|key| Step::Key(key.to_owned()))
            .collect()
    })
    .collect()
}

fn source(spec: &GitSourceSpec) -> Paths {
    set(&[("pullRequests", spec.pull_requests.is_some())])
}

fn package_set(spec: &PackageSetSpec) -> Paths {
    let mut paths = Vec::new();
    for (index, entry) in spec.packages.iter().enumerate() {
        let fields = set(&[("before", !entry.before.is_empty())]);
        paths.extend(fields.into_iter().map(|field| {
            let entry = [Step::Key("packages".to_owned()), Step::Index(index)];
            entry.into_iter().chain(field).collect()
        }));
    }
    paths
}
