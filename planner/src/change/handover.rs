//! What becomes of the saved state of a process that is started anew (C-S6): planned ahead, for the
//! way there and for the way back.

use std::collections::BTreeSet;

use placet_model::{Handover, Module, NodeManifest, ProcessSpec, StateFormat, Transfer};

/// A process as one of the manifests has it.
#[derive(Clone, Copy)]
pub(super) struct Side<'m> {
    pub(super) manifest: &'m NodeManifest,
    pub(super) module: &'m Module,
    pub(super) spec: &'m ProcessSpec,
}

/// `None` for a process that saves nothing, before and after.
pub(super) fn handover(old: Side<'_>, new: Side<'_>) -> Option<Handover> {
    let handover = Handover {
        there: transfer(old, new),
        back: transfer(new, old),
    };
    let saves_nothing = |transfer: &Transfer| *transfer == Transfer::Nothing;
    (!saves_nothing(&handover.there) || !saves_nothing(&handover.back)).then_some(handover)
}

fn transfer(from: Side<'_>, to: Side<'_>) -> Transfer {
    let saves = &from.spec.state.saves;
    if saves.is_empty() {
        return Transfer::Nothing;
    }
    let unknown: BTreeSet<StateFormat> =
        saves.difference(&to.spec.state.restores).cloned().collect();
    if unknown.is_empty() {
        return Transfer::Hitless;
    }
    let entry = to.manifest.get(&to.module.path);
    let package = entry.and_then(|entry| {
        let mut packages = to.manifest.packages.iter();
        packages.find(|package| package.name == entry.package)
    });
    Transfer::Cold {
        unknown,
        to: package.map_or_else(String::new, |package| {
            format!("{} {}", package.name, package.version)
        }),
    }
}
