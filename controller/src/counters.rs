//! What is counted at the server, for whoever wants to check what travelled.

use std::collections::BTreeMap;
use std::sync::Arc;

use placet_model::NodeName;

use crate::shared::Shared;

/// What a controller counts. Clones look at the same counters.
#[derive(Debug, Clone, Default)]
pub struct Counters(pub(crate) Arc<Shared>);

impl Counters {
    /// Bytes of modules that were sent to each node since the controller started.
    pub fn fetched(&self) -> BTreeMap<NodeName, u64> {
        self.0.fetched()
    }
}
