//! Where one node stands, looked at by itself.

use jiff::Timestamp;
use placet_model::{Activation, NodeName, OnUnreachable, visible};

use super::decisions::Answered;
use super::fleet::{Fleet, Node, after};
use super::vote;
use crate::Presence;
use crate::plan::WaitingOn;

/// Where a node stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Standing {
    /// It runs its target, or was not heard to run anything else.
    Arrived,
    /// It differs, but the roll-out goes on without it.
    Out(WaitingOn),
    /// The roll-out waits until this is known.
    Pending(WaitingOn),
    /// It is to be asked.
    Ask {
        /// It had agreed; asking again is of no use while the roll-out is held.
        expired: bool,
    },
    /// It objects, and no decision has answered that.
    Objects {
        /// In these words.
        lines: Vec<String>,
        /// Why its activation failed, where that is the objection.
        failed: Option<String>,
        /// It failed in this roll-out.
        halts: bool,
    },
    /// It can be staged and activated.
    Agreed {
        /// By force of a decision.
        forced: bool,
    },
    /// It had agreed, is staged, and is asked again once it is its turn; until then it waits.
    Lapsed(WaitingOn),
    /// It was told to activate, or its processes are coming up.
    Changing {
        /// The order may be lost and is to be given again.
        repeat: bool,
        /// By force of a decision.
        forced: bool,
    },
}

/// A failed activation.
struct Failure {
    text: String,
    /// When it was told to do what failed.
    told: Timestamp,
    halts: bool,
}

impl Fleet<'_> {
    pub(super) fn standing_of(&self, name: &NodeName) -> Standing {
        let joined = self
            .node(name)
            .filter(|node| node.seen.presence != Presence::NeverSeen);
        let Some(node) = joined else {
            return Standing::Out(WaitingOn::FirstContact);
        };
        let standing = self.standing_by_itself(&node);
        if node.target.maintenance {
            spared_in_maintenance(&node, standing)
        } else {
            standing
        }
    }

    fn standing_by_itself(&self, node: &Node) -> Standing {
        if let Some(arrived) = self.arrival(node) {
            return arrived;
        }
        if node.needs_memory() && node.is_connected() && !node.seen.has_memory {
            return Standing::Out(WaitingOn::NoMemory);
        }
        if node.has_given_back() {
            return Standing::Out(WaitingOn::GivenBack);
        }
        let failure = self.failure(node);
        let answered = match failure {
            Some(failure) => match self.answered_failure(node, &failure) {
                None => return objection_of(node, failure),
                Some(Answered::Skip) => return Standing::Out(WaitingOn::Failed(failure.text)),
                forced => forced,
            },
            None => vote::answered(self, node),
        };
        let forced = match answered {
            Some(Answered::Skip) => return Standing::Out(WaitingOn::Skipped),
            Some(Answered::Force) => true,
            None => false,
        };
        if !node.is_connected() {
            return self.unreachable(node, forced);
        }
        match changing(self, node, forced) {
            Some(changing) => changing,
            None if forced => Standing::Agreed { forced },
            None => vote::standing(self, node),
        }
    }

    /// A node that has to say what it is before it can have a target.
    pub(super) fn standing_of_awaited(&self, name: &NodeName) -> Standing {
        let presence = self
            .observed
            .nodes
            .get(name)
            .map(|seen| seen.presence)
            .unwrap_or_default();
        Standing::Out(match presence {
            Presence::NeverSeen => WaitingOn::FirstContact,
            Presence::Away => WaitingOn::Connection,
            Presence::Connected => WaitingOn::Observation,
        })
    }

    /// What there is to say without looking at votes: it is where it should be, it is not to be
    /// touched, or it is unknown what it runs.
    fn arrival(&self, node: &Node) -> Option<Standing> {
        let running = node.seen.running.as_ref();
        if node.runs_its_target() && !node.has_gone_to_restart() {
            return Some(if self.is_settling(node) {
                Standing::Changing {
                    repeat: false,
                    forced: false,
                }
            } else {
                Standing::Arrived
            });
        }
        if node.target.suspended && !node.is_told() {
            return Some(Standing::Out(WaitingOn::Suspended));
        }
        if running.is_some() {
            return None;
        }
        // What it runs is unknown.
        let has_arrived = node
            .state
            .is_some_and(|state| matches!(state.activation, Some(Activation::Done(_))));
        match (node.is_connected(), self.was_done()) {
            (false, _) if has_arrived => Some(Standing::Arrived),
            (false, false) => None,
            (false, true) => Some(Standing::Out(WaitingOn::Connection)),
            (true, false) => Some(Standing::Pending(WaitingOn::Observation)),
            (true, true) => Some(Standing::Out(WaitingOn::Observation)),
        }
    }

    /// True if the roll-out changed it and the change has not soaked, or its processes are not all
    /// up yet. Once it is done, what becomes of them is no longer its business.
    fn is_settling(&self, node: &Node) -> bool {
        let was_changed = node.state.is_some_and(|state| state.activating.is_some());
        let is_up = node.seen.not_ready.is_empty() && !node.is_soaking();
        was_changed && !self.was_done() && !is_up
    }

    fn failure(&self, node: &Node) -> Option<Failure> {
        let state = node.current();
        let activating = state.and_then(|state| state.activating);
        if let Some(Activation::Failed(text)) = state.and_then(|state| state.activation.as_ref()) {
            let told = activating.unwrap_or(self.now());
            return Some(Failure {
                text: text.clone(),
                told,
                halts: true,
            });
        }
        // While it tries again by decision, the failure that it knows of is the former one.
        let is_trying = activating.is_some_and(|since| !node.seen.is_newly_connected(since));
        let has_failed = node.seen.failed.contains(&node.target.manifest_digest) && !is_trying;
        has_failed.then(|| Failure {
            text: "this manifest failed on it before".to_owned(),
            told: activating.unwrap_or(Timestamp::MIN),
            halts: activating.is_some(),
        })
    }

    fn answered_failure(&self, node: &Node, failure: &Failure) -> Option<Answered> {
        self.decisions
            .on(node.name, &[failure_line(node, failure)], failure.told)
    }

    /// A node that differs, or may differ, and has no connection.
    fn unreachable(&self, node: &Node, forced: bool) -> Standing {
        let voted = vote::by_verdict(self, node);
        if let (Some(objects @ Standing::Objects { .. }), false) = (&voted, forced) {
            return objects.clone();
        }
        let until = node
            .seen
            .away_since
            .map(|since| after(since, node.absence()));
        let policy = match until {
            Some(until) if until > self.now() => OnUnreachable::Wait,
            _ => node.target.strategy.on_unreachable,
        };
        let agreed = forced || matches!(voted, Some(Standing::Agreed { .. }));
        match policy {
            OnUnreachable::Wait if node.is_told() => Standing::Changing {
                repeat: false,
                forced,
            },
            OnUnreachable::Wait if agreed => Standing::Agreed { forced },
            OnUnreachable::Wait => Standing::Pending(WaitingOn::Connection),
            OnUnreachable::Fail if !forced => Standing::Objects {
                lines: vec![vote::unreachable_line(node)],
                failed: None,
                halts: false,
            },
            OnUnreachable::Skip | OnUnreachable::Fail => Standing::Out(WaitingOn::Connection),
        }
    }
}

/// While people work on a node, the roll-out does without it where it is away or failed. What its
/// processes object to counts all the same.
fn spared_in_maintenance(node: &Node, standing: Standing) -> Standing {
    let left_out = |why: &str| Standing::Out(WaitingOn::Maintenance(why.to_owned()));
    let is_up = node.seen.not_ready.is_empty();
    match standing {
        Standing::Objects {
            failed: Some(why), ..
        } => left_out(&why),
        Standing::Arrived | Standing::Out(_) => standing,
        Standing::Objects { ref lines, .. } if *lines != [vote::unreachable_line(node)] => standing,
        _ if !node.is_connected() => left_out("it has no connection"),
        Standing::Changing { .. } if node.runs_its_target() && !is_up => Standing::Arrived,
        _ => standing,
    }
}

/// A connected node that was told to activate. One that restarted since it agreed, or whose order
/// may be lost while its accept has expired, is asked again like any other.
fn changing(fleet: &Fleet, node: &Node, forced: bool) -> Option<Standing> {
    let state = node.current()?;
    let since = state.activating?;
    let reconnected = node.seen.is_newly_connected(since);
    match state.activation {
        // It has said that it is done, and what it runs now is about to be heard; or it is at it.
        Some(Activation::Done(_)) | None if !reconnected => Some(Standing::Changing {
            repeat: false,
            forced,
        }),
        None => {
            let agrees = matches!(vote::by_verdict(fleet, node), Some(Standing::Agreed { .. }));
            (forced || agrees).then_some(Standing::Changing {
                repeat: true,
                forced,
            })
        }
        Some(_) => None,
    }
}

fn objection_of(node: &Node, failure: Failure) -> Standing {
    Standing::Objects {
        lines: vec![failure_line(node, &failure)],
        halts: failure.halts,
        failed: Some(failure.text),
    }
}

fn failure_line(node: &Node, failure: &Failure) -> String {
    format!(
        "node {}: activation failed: {}",
        node.name,
        visible(&failure.text)
    )
}
