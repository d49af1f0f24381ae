//! Which process id belongs to which supervised process: by its process group, which nobody but
//! the keeper makes for it.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use nix::unistd::{Pid, getpgid, getppid};
use placet_model::ProcessName;

use crate::family::parent;
use crate::vote::Who;

/// What the keeper says of a process that it started arrives within this time.
const NEWS_WITHIN: Duration = Duration::from_millis(500);

#[derive(Clone, Default)]
pub(super) struct Groups(Arc<Inner>);

#[derive(Default)]
struct Inner {
    known: Mutex<Known>,
    changed: Condvar,
}

#[derive(Default)]
struct Known {
    names: BTreeMap<i32, ProcessName>,
    /// Groups of which the keeper had nothing to say: they are not waited for again.
    strangers: BTreeSet<i32>,
}

impl Groups {
    pub(super) fn add(&self, pid: u32, process: ProcessName) {
        let mut known = self.lock();
        known.strangers.remove(&pid.cast_signed());
        known.names.insert(pid.cast_signed(), process);
        self.0.changed.notify_all();
    }

    pub(super) fn remove(&self, pid: u32) {
        self.lock().names.remove(&pid.cast_signed());
    }

    /// For the vote service, which has to be called on a runtime with several threads.
    pub(super) fn who(&self) -> Who {
        let (groups, keeper) = (self.clone(), getppid());
        Arc::new(move |pid| {
            let group = getpgid(Some(Pid::from_raw(pid))).ok()?;
            groups.find(group.as_raw(), keeper)
        })
    }

    /// A process may speak before the keeper's word that it was started has arrived; then that
    /// is waited for.
    fn find(&self, group: i32, keeper: Pid) -> Option<ProcessName> {
        let known = self.lock();
        if let Some(name) = known.names.get(&group) {
            return Some(name.clone());
        }
        if known.strangers.contains(&group) || parent(Pid::from_raw(group)) != Some(keeper) {
            return None;
        }
        drop(known);
        tokio::task::block_in_place(|| self.wait(group))
    }

    fn wait(&self, group: i32) -> Option<ProcessName> {
        let unknown = |known: &mut Known| !known.names.contains_key(&group);
        let waited = self
            .0
            .changed
            .wait_timeout_while(self.lock(), NEWS_WITHIN, unknown);
        let (mut known, _) = waited.unwrap_or_else(PoisonError::into_inner);
        let name = known.names.get(&group).cloned();
        if name.is_none() {
            known.strangers.insert(group);
        }
        name
    }

    fn lock(&self) -> MutexGuard<'_, Known> {
        self.0.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name() -> ProcessName {
        "chat".parse().unwrap()
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn a_child_of_the_keeper_is_waited_for_once() {
        let groups = Groups::default();
        // Seen from here, this process is such a child, and its parent is the keeper.
        let own = std::process::id();
        let keeper = getppid();
        assert_eq!(groups.find(own.cast_signed(), keeper), None);
        assert!(groups.lock().strangers.contains(&own.cast_signed()));
        groups.add(own, name());
        assert_eq!(groups.find(own.cast_signed(), keeper), Some(name()));
        groups.remove(own);
        let late = groups.clone();
        let task = tokio::task::spawn_blocking(move || late.add(own, name()));
        assert_eq!(groups.find(own.cast_signed(), keeper), Some(name()));
        task.await.unwrap();
    }

    #[test]
    fn others_are_not_waited_for() {
        // Without a runtime, waiting would panic.
        assert_eq!(Groups::default().find(1, getppid()), None);
    }
}
