//! What is known of a package set.

use jiff::Timestamp;
use placet_crds::{PackageSetSpec, PackageSetStatus, Reason, ResolvedPackage, State, conditions};
use placet_model::visible;
use placet_planner::{Catalog, Unresolved};

use super::{count, counted};

/// The status of a package set.
pub(crate) fn status(
    old: &PackageSetStatus,
    spec: &PackageSetSpec,
    catalog: &Catalog,
    generation: i64,
    now: Timestamp,
) -> PackageSetStatus {
    let mut packages = Vec::new();
    let mut missing = Vec::new();
    for entry in &spec.packages {
        match catalog.get(&entry.into()) {
            Some(Ok(found)) => packages.push(ResolvedPackage {
                name: found.config.name.clone(),
                version: found.config.version.clone(),
                digest: found.digest,
                reference: Some(entry.reference.clone()),
            }),
            Some(Err(why)) => {
                missing.push((reason(why), visible(why.why()).to_string()));
                // A tag that counts as it was first counts so when the package is there again.
                packages.extend(old.first(entry).cloned());
            }
            None => {
                let why = format!("{} was not looked up", visible(&entry.reference));
                missing.push((Reason::PackageFailed, why));
            }
        }
    }
    let state = match missing.into_iter().next() {
        Some((reason, first)) => State::Stalled(reason, first),
        None => State::Ready(
            Reason::Succeeded,
            format!("{} found", counted(count(packages.len()), "package")),
        ),
    };
    PackageSetStatus {
        observed_generation: Some(generation),
        last_handled_reconcile_at: old.last_handled_reconcile_at.clone(),
        conditions: conditions(&old.conditions, &state, Some(generation), now),
        ..PackageSetStatus::of(packages)
    }
}

fn reason(why: &Unresolved) -> Reason {
    match why {
        Unresolved::Missing(_) => Reason::PackageFailed,
        Unresolved::Untrusted(_) => Reason::VerificationFailed,
    }
}
