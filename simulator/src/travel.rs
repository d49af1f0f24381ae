//! What a node has to fetch (B10, C-D1).

use std::collections::BTreeMap;

use placet_model::{Digest, NodeManifest};

use crate::effect::Travel;

/// What a node that runs `from`, and holds nothing else, has to fetch for `to`: each module once,
/// and none whose bytes it keeps for an equal signature.
pub(crate) fn travel(from: &NodeManifest, to: &NodeManifest) -> Travel {
    let lacking: BTreeMap<Digest, u64> = to
        .lacks_after(from)
        .filter(|module| {
            let before = from.get(&module.path).map(|entry| &entry.module);
            before.is_none_or(|it| it.link.is_some() || it.signature != module.signature)
        })
        .map(|module| (module.digest, module.size))
        .collect();
    Travel {
        modules: lacking.len() as u64,
        bytes: lacking
            .values()
            .fold(0, |sum, size| sum.saturating_add(*size)),
    }
}
