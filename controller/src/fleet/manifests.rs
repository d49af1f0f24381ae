//! What nodes run, in memory once however many nodes run it.

use std::collections::BTreeMap;

use placet_model::Digest;
use placet_planner::Running;

/// Manifests that nodes announced, by digest.
#[derive(Debug, Clone, Default)]
pub(crate) struct Manifests {
    known: BTreeMap<Digest, Running>,
    /// When there are more, it is looked which of them nobody has any more.
    most: usize,
}

impl Manifests {
    /// The same manifest, as others have it too.
    pub(super) fn shared(&mut self, running: Running) -> Running {
        if self.known.len() > self.most {
            self.known.retain(|_, known| !known.is_alone());
            self.most = 2 * self.known.len() + 2;
        }
        let digest = running.digest();
        self.known.entry(digest).or_insert(running).clone()
    }
}

#[cfg(test)]
mod tests {
    use placet_model::{ChosenPackage, NodeManifest};

    use super::*;

    fn manifest(number: u32) -> Running {
        let package = ChosenPackage {
            name: "base".parse().unwrap(),
            version: format!("1.0.{number}").parse().unwrap(),
            digest: Digest::of(b"base"),
            test: false,
            requires: Vec::new(),
            requires_remote: Vec::new(),
        };
        let manifest = NodeManifest {
            packages: vec![package],
            ..NodeManifest::default()
        };
        manifest.into()
    }

    #[test]
    fn a_manifest_of_many_nodes_is_kept_once_and_not_longer_than_they_have_it() {
        let mut manifests = Manifests::default();
        let used = manifests.shared(manifest(0));
        for number in 1..100 {
            let again = manifests.shared(manifest(0));
            assert!(std::ptr::eq(again.manifest(), used.manifest()));
            manifests.shared(manifest(number));
        }
        assert!(manifests.known.len() < 8, "{}", manifests.known.len());
    }
}
