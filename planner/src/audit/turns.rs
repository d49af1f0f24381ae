//! Does anybody begin who should not yet?

use std::collections::{BTreeMap, BTreeSet};

use jiff::tz::TimeZoneDatabase;
use jiff::{SignedDuration, Timestamp};
use placet_model::{Activation, NodeManifest, NodeName, Quantifier, Window};

use super::Audit;
use crate::plan::WaitingOn;

impl<'a> Audit<'a> {
    /// Nodes that are told to change now and were not before.
    fn beginners(&self) -> BTreeSet<&'a NodeName> {
        let activated = self.activated_now().into_iter();
        activated
            .filter(|name| {
                let state = self.state(name);
                state.is_none_or(|state| state.activating.is_none() || state.activation.is_some())
            })
            .collect()
    }

    /// How many nodes of a node's class may change at once.
    pub(super) fn limit(&self, name: &NodeName) -> Option<u32> {
        let node = self.target.nodes.get(name)?;
        if self.has_requirements() {
            // Bound nodes change together however many they are.
            return None;
        }
        let size = self
            .target
            .nodes
            .values()
            .filter(|it| it.class == node.class);
        let size = u32::try_from(size.count()).unwrap_or(u32::MAX);
        let percent = node.strategy.max_unavailable_percent;
        let share = percent.map(|percent| size * percent / 100);
        match (node.strategy.max_unavailable, share) {
            (Some(most), Some(share)) => Some(most.min(share)),
            (most, share) => most.or(share),
        }
    }

    /// True for a node that failed while its class bears more failures than there are.
    pub(super) fn is_spared(&self, name: &NodeName) -> bool {
        let Some(node) = self.target.nodes.get(name) else {
            return false;
        };
        let has_failed = |name: &NodeName| {
            let state = self.state(name);
            state.is_some_and(|state| matches!(state.activation, Some(Activation::Failed(_))))
        };
        let of_class = self
            .target
            .nodes
            .iter()
            .filter(|(_, it)| it.class == node.class);
        let failed = of_class.filter(|(name, _)| has_failed(name)).count();
        let most = usize::try_from(node.strategy.halt_threshold).unwrap_or(usize::MAX);
        // With fewer failures than that in all, there are fewer without a decision.
        has_failed(name) && most > 1 && (failed < most || self.has_decisions())
    }

    fn has_decisions(&self) -> bool {
        self.rollout()
            .is_some_and(|rollout| !rollout.decisions.is_empty())
    }

    pub(super) fn nobody_begins_out_of_turn(&mut self) {
        let is_paused = self.rollout().is_some_and(|rollout| rollout.paused);
        for name in self.beginners() {
            let Some(node) = self.target.nodes.get(name) else {
                continue;
            };
            if is_paused {
                self.report(Some(name), "begins to change while the roll-out is paused");
            }
            let windows = &node.strategy.windows;
            if !windows.is_empty() && !windows.iter().any(|it| is_open(it, self.observed.now)) {
                self.report(Some(name), "begins to change outside of its windows");
            }
        }
        self.canaries_go_alone();
        self.waves_follow_one_another();
    }

    fn canaries_go_alone(&mut self) {
        let mut classes = BTreeMap::<&str, (u32, u32)>::new();
        for name in self.beginners() {
            if let Some(node) = self.target.nodes.get(name) {
                let entry = classes.entry(&node.class);
                entry.or_insert((0, node.strategy.canaries)).0 += 1;
            }
        }
        for (class, (beginning, canaries)) in classes {
            let of_class = |name: &NodeName| {
                let node = self.target.nodes.get(name);
                node.is_some_and(|node| node.class == class)
            };
            let mut states = self.rollout().into_iter().flat_map(|it| &it.nodes);
            let has_begun =
                states.any(|(name, state)| of_class(name) && state.activating.is_some());
            if canaries > 0 && !has_begun && beginning > canaries && !self.has_requirements() {
                let what = format!("class {class}: more begin at first than its canaries");
                self.report(None, what);
            }
        }
    }

    /// Where waves are told apart by selector alone, nobody begins before one of an earlier wave
    /// that could, or is at it.
    fn waves_follow_one_another(&mut self) {
        if self.has_requirements() {
            return;
        }
        for name in self.beginners() {
            let Some(node) = self.target.nodes.get(name) else {
                continue;
            };
            let strategy = &node.strategy;
            if strategy.canaries > 0 || strategy.waves.iter().any(|it| it.percent.is_some()) {
                continue;
            }
            let place = |name: &NodeName| {
                let first = self.target.nodes.get(name).and_then(|it| it.waves.first());
                first.copied().unwrap_or(strategy.waves.len())
            };
            let earlier = self.plan.held.iter().find(|(other, waiting)| {
                let same = self.target.nodes.get(*other);
                same.is_some_and(|it| it.class == node.class)
                    && place(other) < place(name)
                    && matches!(
                        waiting,
                        WaitingOn::Activating | WaitingOn::Budget { .. } | WaitingOn::Connection
                    )
                    && !(matches!(waiting, WaitingOn::Connection) && self.is_done_without(other))
            });
            if let Some((earlier, _)) = earlier {
                let what = format!("begins before {earlier}, which is of an earlier wave");
                self.report(Some(name), what);
            }
        }
    }

    /// A node without connection that its policy leaves out.
    fn is_done_without(&self, name: &NodeName) -> bool {
        use placet_model::OnUnreachable;
        let node = self.target.nodes.get(name);
        node.is_some_and(|node| node.strategy.on_unreachable != OnUnreachable::Wait)
    }

    fn has_requirements(&self) -> bool {
        let targets = self.target.nodes.values().map(|node| &*node.manifest);
        let seen = self.observed.nodes.values();
        let running = seen.filter_map(|seen| seen.running.as_ref());
        let mut manifests = targets.chain(running.map(crate::Running::manifest));
        manifests.any(|it| it.packages.iter().any(|it| !it.requires_remote.is_empty()))
    }

    /// D7: what holds before a turn holds when the nodes that it sends off have changed.
    pub(super) fn requirements_hold_halfway(&mut self) {
        let beginners = self.beginners();
        if beginners.is_empty() || !self.has_requirements() {
            return;
        }
        let moving = |name: &NodeName| {
            let state = self.state(name);
            state.is_some_and(|state| state.activating.is_some() && state.activation.is_none())
        };
        let before = self.unsatisfied(&|name| moving(name));
        let after = self.unsatisfied(&|name| moving(name) || beginners.contains(name));
        for (name, what) in after.difference(&before) {
            self.report(Some(name), format!("would be left without {what}"));
        }
    }

    /// Nodes that lack what they need of others when those of `changed` run their target.
    fn unsatisfied(&self, changed: &dyn Fn(&NodeName) -> bool) -> BTreeSet<(NodeName, String)> {
        let runs = |name: &NodeName| -> Option<&NodeManifest> {
            if changed(name) {
                return self.target.nodes.get(name).map(|node| &*node.manifest);
            }
            let running = self.seen(name)?.running.as_ref()?;
            Some(running.manifest())
        };
        let mut unsatisfied = BTreeSet::new();
        for (name, own) in &self.target.nodes {
            let packages = runs(name).into_iter().flat_map(|it| &it.packages);
            let needs = packages.flat_map(|package| &package.requires_remote);
            for needed in needs.filter(|it| it.concerns(own.node_type.as_deref())) {
                let others = self.target.nodes.iter().filter(|(other, of)| {
                    *other != name
                        && needed.class.as_ref().is_none_or(|class| *class == of.class)
                        && (needed.node_type.is_none() || needed.node_type == of.node_type)
                        && needed
                            .labels
                            .iter()
                            .all(|(key, value)| of.labels.get(key) == Some(value))
                });
                let known: Vec<bool> = others
                    .filter_map(|(other, _)| runs(other))
                    .map(|manifest| {
                        manifest.packages.iter().any(|package| {
                            package.name == needed.package
                                && needed.version.matches(&package.version)
                        })
                    })
                    .collect();
                let satisfied = known.iter().filter(|satisfies| **satisfies).count();
                let holds = match needed.quantifier {
                    Quantifier::All => satisfied == known.len(),
                    Quantifier::Any => satisfied > 0,
                    Quantifier::AtLeast(least) => satisfied as u64 >= u64::from(least),
                };
                if !holds {
                    let what = format!("{} {}", needed.package, needed.version);
                    unsatisfied.insert((name.clone(), what));
                }
            }
        }
        unsatisfied
    }
}

/// Looked up the other way round: did the clock show the opening time at some minute that is no
/// longer past than the window is open?
fn is_open(window: &Window, now: Timestamp) -> bool {
    let Ok(zone) = TimeZoneDatabase::bundled().get(&window.time_zone) else {
        return false;
    };
    (0..window.minutes).any(|minutes| {
        let then = now - SignedDuration::from_mins(minutes.into());
        let clock = zone.to_datetime(then);
        let days: Vec<String> = window.days.iter().map(|day| format!("{day:?}")).collect();
        let day = format!("{:?}", clock.weekday());
        let is_its_day = days.is_empty() || days.contains(&day);
        is_its_day
            && (clock.hour(), clock.minute())
                == (
                    i8::try_from(window.hour).unwrap_or(-1),
                    i8::try_from(window.minute).unwrap_or(-1),
                )
    })
}
