//! Places at which a test lets the store fail as a crash would.

use std::io;
#[cfg(test)]
use std::sync::Arc;

/// Decides at each named place whether the store goes on. Outside tests it always does.
#[derive(Clone, Default)]
pub(crate) struct Fault {
    #[cfg(test)]
    stops_at: Option<Arc<dyn Fn(&'static str) -> bool + Send + Sync>>,
}

impl Fault {
    /// A store that fails wherever `stops_at` says so.
    #[cfg(test)]
    pub(crate) fn new(stops_at: impl Fn(&'static str) -> bool + Send + Sync + 'static) -> Self {
        Self {
            stops_at: Some(Arc::new(stops_at)),
        }
    }

    #[cfg_attr(
        not(test),
        expect(
            clippy::unused_self,
            clippy::unnecessary_wraps,
            reason = "it does something in tests only"
        )
    )]
    pub(super) fn at(&self, place: &'static str) -> io::Result<()> {
        #[cfg(test)]
        if self.stops_at.as_ref().is_some_and(|stops| stops(place)) {
            return Err(io::Error::other(format!("stopped at {place}")));
        }
        let _ = place;
        Ok(())
    }
}

impl std::fmt::Debug for Fault {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Fault").finish_non_exhaustive()
    }
}
