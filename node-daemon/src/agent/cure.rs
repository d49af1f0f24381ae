//! Whom the policy of the class has restarted, of those that execute something else than what runs
//! should hold (C-R2).
//!
//! **Invariant:** nobody is restarted in a loop. What a process executes from an earlier generation
//! goes with the start from the current one, and one that was started from that is not restarted
//! for it; nothing else is tried again before [`PAUSE`] is over.

use std::collections::BTreeMap;
use std::time::Duration;

use placet_model::ProcessName;
use placet_protocol::wire::Policy;

use super::core::Core;
use super::machine::{Moment, Running};
use super::stale::{Origin, Stale};

/// The least time between two restarts of one process.
const PAUSE: Duration = Duration::from_mins(10);

/// What the class has this node do by itself, and what was done.
#[derive(Debug, Default)]
pub(super) struct Cures {
    restarts: bool,
    /// When each process was restarted last.
    last: BTreeMap<ProcessName, Moment>,
}

impl Cures {
    /// Those of `running` that are to be restarted for what was found, with their process ids.
    fn due(
        &mut self,
        found: &[Stale],
        running: impl Iterator<Item = Running>,
        current: u64,
        now: Moment,
    ) -> BTreeMap<ProcessName, u32> {
        if !self.restarts {
            return BTreeMap::new();
        }
        self.last
            .retain(|_, last| now.saturating_sub(*last) < PAUSE);
        let is_due = |process: &Running| {
            let helps = |stale: &Stale| {
                stale.process == process.process
                    && (stale.origin == Origin::Lost || process.generation != current)
            };
            process.ready && !self.last.contains_key(&process.process) && found.iter().any(helps)
        };
        let due = running.filter(is_due);
        let due: BTreeMap<_, _> = due.map(|it| (it.process, it.pid)).collect();
        self.last.extend(due.keys().map(|name| (name.clone(), now)));
        due
    }
}

impl Core {
    /// Takes note of what the class has this node do by itself.
    pub(super) fn follow(&mut self, policy: Policy) {
        if self.cures.restarts == policy.restart_stale {
            return;
        }
        self.cures.restarts = policy.restart_stale;
        tracing::info!(
            "processes that execute something else than what runs should hold are {}, as the class says",
            if policy.restart_stale {
                "restarted"
            } else {
                "only reported"
            }
        );
        self.look_at_running();
    }

    /// Works out whom to restart for what was found, and says so of what was found.
    pub(super) fn cure(&mut self, found: &mut [Stale]) -> BTreeMap<ProcessName, u32> {
        let (current, now) = (self.machine.current().number, self.now());
        let due = self.cures.due(found, self.machine.running(), current, now);
        for stale in found {
            stale.is_cured = due.contains_key(&stale.process);
        }
        due
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const CURRENT: u64 = 4;

    fn running(name: &str, generation: u64, ready: bool) -> Running {
        Running {
            process: name.parse().unwrap(),
            pid: 7,
            generation,
            ready,
        }
    }

    struct Node {
        cures: Cures,
        running: Vec<Running>,
    }

    impl Node {
        /// `old` was started from an earlier generation, `new` from the current one, and `slow` is
        /// not ready.
        fn new() -> Self {
            let cures = Cures {
                restarts: true,
                ..Cures::default()
            };
            let running = vec![
                running("old", 3, true),
                running("new", CURRENT, true),
                running("slow", 3, false),
            ];
            Self { cures, running }
        }

        fn due(&mut self, found: &[(&str, Origin)], seconds: u64) -> Vec<String> {
            let found: Vec<_> = found
                .iter()
                .map(|(name, origin)| Stale::of(name, *origin))
                .collect();
            let (running, now) = (self.running.clone(), Duration::from_secs(seconds));
            let due = self.cures.due(&found, running.into_iter(), CURRENT, now);
            assert!(due.values().all(|pid| *pid == 7));
            due.into_keys().map(|name| name.to_string()).collect()
        }
    }

    #[test]
    fn who_was_started_before_is_restarted_and_who_would_be_the_same_again_is_not() {
        let cases = [
            ("old", Origin::Generation, true),
            ("old", Origin::Elsewhere, true),
            ("old", Origin::Lost, true),
            // Its settings lead it there: they will again.
            ("new", Origin::Elsewhere, false),
            ("new", Origin::Generation, false),
            ("new", Origin::Lost, true),
            ("slow", Origin::Generation, false),
            ("gone", Origin::Generation, false),
        ];
        for (name, origin, is_restarted) in cases {
            let due = Node::new().due(&[(name, origin)], 0);
            assert_eq!(due == [name], is_restarted, "{name} {origin:?}");
        }
        let mut node = Node::new();
        let both = [("old", Origin::Generation), ("new", Origin::Lost)];
        assert_eq!(node.due(&both, 0), ["new", "old"]);
    }

    #[test]
    fn nobody_is_restarted_where_the_class_does_not_say_so() {
        let mut node = Node::new();
        node.cures.restarts = false;
        assert!(node.due(&[("old", Origin::Generation)], 0).is_empty());
    }

    #[test]
    fn nobody_is_restarted_twice_within_ten_minutes() {
        let mut node = Node::new();
        let found = [("new", Origin::Lost)];
        for (seconds, expected) in [
            (5, vec!["new"]),
            (6, vec![]),
            (604, vec![]),
            (605, vec!["new"]),
            (606, vec![]),
        ] {
            assert_eq!(node.due(&found, seconds), expected, "{seconds}");
        }
        let other = [("old", Origin::Generation)];
        assert_eq!(node.due(&other, 606), ["old"], "each for itself");
    }
}
