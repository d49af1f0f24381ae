//! Why a composite cannot be built.

use placet_crds::Fault;
use placet_model::{PackageName, visible};

use crate::error::{Error, Place};

/// A composite that cannot be built: where, what is wrong, and what to do.
#[derive(Debug, thiserror::Error)]
pub enum CompositeError {
    /// The composite file cannot be read.
    #[error(transparent)]
    File(#[from] Error),
    /// Nothing to carry.
    #[error("{0}: `packages` names no package; a composite carries one at least")]
    NoPackages(Place),
    /// More files of declarations than one artifact should have.
    #[error("{0}: `declarations` names more than {most} files; split the composite", most = placet_package::composite::DECLARATIONS_MOST)]
    TooMany(Place),
    /// An entry of `declarations` that names nothing of use.
    #[error("{place}: `{}` cannot be taken as declarations: {why}", visible(entry))]
    Entry {
        /// Where it stands.
        place: Place,
        /// What it says.
        entry: String,
        /// What is wrong with it.
        why: String,
    },
    /// A package that is there already.
    #[error("{place}: {name} {version} is there twice; remove one of the two")]
    Twice {
        /// Where the second one stands.
        place: Place,
        /// The package.
        name: PackageName,
        /// Its version.
        version: String,
    },
    /// Declarations that do not hold.
    #[error("the declarations are not valid{}", list(.0))]
    Declarations(Vec<Fault>),
}

fn list(faults: &[Fault]) -> String {
    let lines: Vec<_> = faults.iter().map(|fault| format!("\n  {fault}")).collect();
    lines.concat()
}
