//! What a manifest has to be before a tree is made of it.
//!
//! Types have checked every path and mode by itself; here they are looked at together, since two
//! harmless links can make a way out.

use std::collections::BTreeSet;

use placet_model::{Digest, Module, ModulePath, NodeManifest};

use super::StoreError;

/// Far above any node; it bounds what a broken controller can make a node do.
const MODULES_MAX: usize = 50_000;

/// Refuses a manifest from which no tree can be made safely.
///
/// # Guarantees
///
/// Every path is there once; no module stands where another needs a folder, so no path leads
/// through a symbolic link; every link, followed step by step, stays inside the tree; process names
/// are unique and their programs executable.
pub(super) fn check(manifest: &NodeManifest, digest: Digest) -> Result<(), StoreError> {
    let count = manifest.stored_modules().count();
    if count > MODULES_MAX {
        return Err(StoreError::TooMany {
            digest,
            count,
            most: MODULES_MAX,
        });
    }
    let mut processes = BTreeSet::new();
    let mut last: Option<&ModulePath> = None;
    for module in manifest.modules.iter().map(|entry| &entry.module) {
        if last.is_some_and(|last| *last >= module.path) {
            return Err(StoreError::Order {
                digest,
                path: module.path.clone(),
            });
        }
        last = Some(&module.path);
        check_folders(manifest, module, digest)?;
        check_link(module, digest)?;
        check_process(module, digest, &mut processes)?;
    }
    Ok(())
}

fn check_folders(
    manifest: &NodeManifest,
    module: &Module,
    digest: Digest,
) -> Result<(), StoreError> {
    let text = module.path.as_str();
    for (end, _) in text.match_indices('/') {
        let folder: ModulePath = text[..end]
            .parse()
            .expect("the start of a good path is one");
        if manifest.get(&folder).is_some() {
            return Err(StoreError::Folder {
                digest,
                path: folder,
            });
        }
    }
    Ok(())
}

/// `..` is taken by the kernel from where it is, not from what the text says, so it may only stand
/// where it surely means the folder above: at the start.
fn check_link(module: &Module, digest: Digest) -> Result<(), StoreError> {
    let Some(target) = &module.link else {
        return Ok(());
    };
    module
        .path
        .resolve(target)
        .map_err(|source| StoreError::Link { digest, source })?;
    let mut below = target.as_str().split('/').skip_while(|part| *part == "..");
    if below.any(|part| part == "..") {
        return Err(StoreError::LinkShape {
            digest,
            path: module.path.clone(),
        });
    }
    Ok(())
}

fn check_process<'a>(
    module: &'a Module,
    digest: Digest,
    processes: &mut BTreeSet<&'a placet_model::ProcessName>,
) -> Result<(), StoreError> {
    let Some(process) = &module.process else {
        return Ok(());
    };
    let refused = |why| StoreError::NotExecutable {
        digest,
        path: module.path.clone(),
        why,
    };
    if module.link.is_some() {
        return Err(refused(
            "it is a symbolic link; the package has to name the file that it points at",
        ));
    }
    if !module.mode.is_executable() {
        return Err(refused(
            "its mode lets nobody execute it; the package has to give it one such as 0755",
        ));
    }
    process
        .check()
        .map_err(|source| StoreError::Process { digest, source })?;
    if !processes.insert(&process.name) {
        return Err(StoreError::SameProcess {
            digest,
            process: process.name.clone(),
        });
    }
    Ok(())
}
