//! The same for packages alone.

use placet_model::{Architecture, Digest, PackageConfig};
use serde::Serialize;

use super::{Configuration, Entangled, entangled};
use crate::alone::{architectures, node};

/// What hangs together on nodes of one architecture that have some packages and nothing else.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct OfPackages {
    /// The architecture of the nodes; `neutral` where no module is for a particular one.
    pub architecture: Architecture,
    /// What hangs together.
    #[serde(flatten)]
    pub entangled: Entangled,
}

/// What hangs together where nodes have these packages, in this order, and nothing else; for each
/// architecture.
pub fn of_packages(packages: &[(Digest, &PackageConfig)], cuts: usize) -> Vec<OfPackages> {
    let architectures = architectures(packages.iter().map(|(_, config)| *config)).into_iter();
    let of = |architecture| {
        let manifest = node(packages, &architecture);
        let one = Configuration {
            manifest: &manifest,
            nodes: 1,
        };
        OfPackages {
            entangled: entangled(&[one], cuts),
            architecture,
        }
    };
    architectures.map(of).collect()
}
