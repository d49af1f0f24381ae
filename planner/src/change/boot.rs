//! Whether a change starts the whole node anew (V2).

use std::collections::BTreeMap;

use placet_model::{ModulePath, NodeManifest, NodeRestart, PackageName, Signature};

/// The boot image for which the node is started anew, if it is.
pub(super) fn restart(from: &NodeManifest, to: &NodeManifest) -> Option<NodeRestart> {
    let boot = to.boot.as_ref()?;
    if image(from) == image(to) {
        return None;
    }
    let find = |manifest: &NodeManifest, name: &PackageName| {
        let mut packages = manifest.packages.iter();
        let found = packages.find(|package| package.name == *name)?;
        Some((found.name.clone(), found.version.clone()))
    };
    let (package, version) = find(to, &boot.package)?;
    let from = from.boot.as_ref().and_then(|old| find(from, &old.package));
    Some(NodeRestart {
        package,
        version,
        from: from.map(|(name, version)| format!("{name} {version}")),
    })
}

/// True if a node that goes from one manifest to the other starts from another image then.
pub fn restarts(from: &NodeManifest, to: &NodeManifest) -> bool {
    restart(from, to).is_some()
}

/// What a node starts from, by content.
fn image(manifest: &NodeManifest) -> BTreeMap<&ModulePath, Signature> {
    let modules = manifest.boot_image();
    modules.map(|it| (&it.path, it.signature)).collect()
}
