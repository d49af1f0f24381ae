//! What can be declared but is not carried out yet. Each of these is said, never passed over.

use crate::fault::{Finding, Step};
use crate::{Fault, Object};

/// Every field set in `objects` that this version does not carry out. The faults name the resource
/// in the place of a file; [`crate::locate`] finds the file.
pub fn not_carried_out(objects: &[Object]) -> Vec<Fault> {
    let wanting = objects.iter().filter(
        |object| matches!(object, Object::GitSource(it) if it.spec.pull_requests.is_some()),
    );
    let faults = wanting.map(|object| {
        let path = ["spec", "pullRequests"].map(|key| Step::Key(key.to_owned()));
        let message = "this version does not carry it out, and the rest of the resource counts; have the git host run `placet check` for pull requests";
        Finding::new(&path, message).into_fault(&object.id(), None)
    });
    faults.collect()
}
