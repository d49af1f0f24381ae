//! Who begins to change now, of those that are ready to (C-D3, D7).

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use placet_model::{Digest, NodeName, RolloutPhase, Strategy};

use super::Moment;
use super::fleet::{Fleet, Node};
use super::standing::Standing;
use crate::plan::WaitingOn;
use crate::remote::Mixture;

/// Groups of bound nodes that begin in one turn at most; each costs a look at the whole fleet, and
/// the others begin when the first of these have changed.
const GROUPS_MOST: usize = 64;

/// What the ready nodes wait for; those that are not in it begin now.
#[derive(Default)]
pub(super) struct Turns {
    pub(super) waiting: BTreeMap<NodeName, WaitingOn>,
}

/// How many nodes of each class are changing, and may be.
struct Budget<'a> {
    fleet: &'a Fleet<'a>,
    changing: BTreeMap<&'a str, u32>,
    most: BTreeMap<&'a str, u32>,
}

impl Turns {
    pub(super) fn of(moment: &Moment) -> Self {
        let mut turns = Self::default();
        if moment.phase != RolloutPhase::Activating {
            return turns;
        }
        let (fleet, waves) = (moment.fleet, &moment.waves);
        // Whoever may begin if others need it to; and whose turn it is.
        let (mut available, mut next) = (BTreeSet::new(), Vec::new());
        for node in ready(moment) {
            let class = node.target.class.as_str();
            if waves.closed(class).is_none() {
                available.insert(node.name.clone());
            }
            match waves.gate(class, node.name) {
                Some(waiting) => drop(turns.waiting.insert(node.name.clone(), waiting)),
                None => next.push(node.name.clone()),
            }
        }
        if next.is_empty() {
            return turns;
        }
        let mut budget = Budget::new(moment);
        let mixture = Mixture::new(fleet.target, fleet.observed);
        if mixture.has_requirements() {
            turns.begin_together(&mixture, (next, &available), &mut budget, moment);
        } else {
            for name in next {
                turns.begin(&name, &mut budget);
            }
        }
        turns
    }

    /// One node begins, if not too many of its class are changing.
    fn begin(&mut self, name: &NodeName, budget: &mut Budget) {
        let alone = BTreeSet::from([name.clone()]);
        match budget.refuses(&alone) {
            Some(unavailable) => {
                let waiting = WaitingOn::Budget { unavailable };
                self.waiting.insert(name.clone(), waiting);
            }
            None => budget.take(&alone),
        }
    }

    /// Nodes that remote requirements bind begin together, so that each mixture that the fleet comes
    /// to satisfies what holds now; those that cannot wait.
    fn begin_together(
        &mut self,
        mixture: &Mixture,
        (next, available): (Vec<NodeName>, &BTreeSet<NodeName>),
        budget: &mut Budget,
        moment: &Moment,
    ) {
        let is_changing = |standing: &Standing| matches!(standing, Standing::Changing { .. });
        let changing = moment.standings.iter();
        let mut moving: BTreeSet<NodeName> = changing
            .filter(|(_, standing)| is_changing(standing))
            .map(|(name, _)| name.clone())
            .collect();
        let mut groups = 0;
        let mut refused = BTreeMap::<(String, Option<Digest>), WaitingOn>::new();
        for name in next {
            if moving.contains(&name) {
                continue;
            }
            let kind = kind_of(moment.fleet, &name);
            let waiting = if let Some(waiting) = refused.get(&kind) {
                waiting.clone()
            } else {
                let alone = BTreeSet::from([name.clone()]);
                match mixture.group(&alone, &moving, available) {
                    Err(unmet) => WaitingOn::Requirement(Arc::from(unmet)),
                    Ok(group) => match budget.refuses(&group) {
                        None if groups < GROUPS_MOST
                            && let Some(unmet) = mixture.breaks_after_tests(&moving, &group) =>
                        {
                            WaitingOn::AfterTests(Arc::new(unmet))
                        }
                        None if groups < GROUPS_MOST => {
                            groups += 1;
                            budget.take(&group);
                            for member in &group {
                                self.waiting.remove(member);
                            }
                            moving.extend(group);
                            refused.clear();
                            continue;
                        }
                        unavailable => WaitingOn::Budget {
                            unavailable: unavailable.unwrap_or(0),
                        },
                    },
                }
            };
            refused.insert(kind, waiting.clone());
            self.waiting.insert(name, waiting);
        }
    }
}

/// Nodes of one kind are refused for one reason.
fn kind_of(fleet: &Fleet, name: &NodeName) -> (String, Option<Digest>) {
    let node = fleet.node(name);
    let class = node.map_or_else(String::new, |node| node.target.class.clone());
    let change = node.and_then(|node| node.change);
    (class, change.map(|change| change.change_digest))
}

/// Nodes that agree, are there, and have fetched everything.
fn ready<'a>(moment: &'a Moment<'a>) -> impl Iterator<Item = Node<'a>> {
    let agreed = moment
        .standings
        .iter()
        .filter(|(_, standing)| matches!(standing, Standing::Agreed { .. }));
    agreed
        .filter_map(|(name, _)| moment.fleet.node(name))
        .filter(|node| node.is_connected() && node.is_staged() && node.change.is_some())
}

impl<'a> Budget<'a> {
    fn new(moment: &'a Moment<'a>) -> Self {
        let fleet = moment.fleet;
        let mut changing = BTreeMap::new();
        for (name, standing) in &moment.standings {
            if let (Standing::Changing { .. }, Some(node)) =
                (standing, fleet.target.nodes.get(name))
            {
                *changing.entry(node.class.as_str()).or_default() += 1;
            }
        }
        let mut sizes = BTreeMap::<&str, (u32, &Strategy)>::new();
        for node in fleet.target.nodes.values() {
            sizes.entry(&node.class).or_insert((0, &node.strategy)).0 += 1;
        }
        let most = sizes.into_iter();
        let most = most.map(|(class, (size, strategy))| (class, most_of(strategy, size)));
        Self {
            fleet,
            changing,
            most: most.collect(),
        }
    }

    fn by_class(&self, group: &BTreeSet<NodeName>) -> BTreeMap<&'a str, u32> {
        let mut count = BTreeMap::new();
        for node in group
            .iter()
            .filter_map(|name| self.fleet.target.nodes.get(name))
        {
            *count.entry(node.class.as_str()).or_default() += 1;
        }
        count
    }

    /// How many are changing of a class that has no room for its part of the group. A group that is
    /// larger than the limit goes once nobody else of its class is changing: it can never be less.
    fn refuses(&self, group: &BTreeSet<NodeName>) -> Option<u32> {
        self.by_class(group).into_iter().find_map(|(class, more)| {
            let changing = self.changing.get(class).copied().unwrap_or(0);
            let most = self.most.get(class).copied().unwrap_or(u32::MAX);
            (changing > 0 && changing.saturating_add(more) > most).then_some(changing)
        })
    }

    fn take(&mut self, group: &BTreeSet<NodeName>) {
        for (class, more) in self.by_class(group) {
            *self.changing.entry(class).or_default() += more;
        }
    }
}

/// A limit of none would be a roll-out that never moves.
pub(crate) fn most_of(strategy: &Strategy, size: u32) -> u32 {
    let share = strategy
        .max_unavailable_percent
        .map(|percent| u64::from(size) * u64::from(percent) / 100);
    let share = share.map(|share| u32::try_from(share).unwrap_or(u32::MAX));
    let limits = strategy.max_unavailable.into_iter().chain(share);
    limits.min().map_or(u32::MAX, |most| most.max(1))
}
