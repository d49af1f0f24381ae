//! Whose turn it is: canaries, waves, windows and pauses (C-D3).

use std::collections::BTreeMap;
use std::sync::Arc;

use jiff::{SignedDuration, Timestamp};
use placet_model::{NodeName, Strategy};

use super::fleet::{Fleet, after};
use super::standing::Standing;
use super::window::window_opens;
use crate::plan::WaitingOn;

/// Where the classes of a roll-out are.
#[derive(Default)]
pub(super) struct Waves<'a> {
    classes: BTreeMap<&'a str, ClassWaves<'a>>,
    paused: bool,
}

/// Where one class is.
struct ClassWaves<'a> {
    strategy: &'a Strategy,
    /// The wave of each node that takes part.
    of: BTreeMap<&'a NodeName, usize>,
    /// The first wave that is not through.
    current: Option<usize>,
    /// How many nodes of it are not through.
    left: usize,
    /// Until when the waves before it are watched.
    watched: Option<Timestamp>,
    opens: Option<Timestamp>,
    now: Timestamp,
}

/// A node that takes part, before it is put into a wave.
struct Member<'a> {
    name: &'a NodeName,
    selected: &'a std::collections::BTreeSet<usize>,
    is_through: bool,
    /// When it had changed, if it has.
    changed: Option<Timestamp>,
    /// When it was told to; the end of time if it was not.
    begun: Timestamp,
}

impl<'a> Waves<'a> {
    pub(super) fn new(fleet: &'a Fleet<'a>, standings: &BTreeMap<NodeName, Standing>) -> Self {
        let mut members = BTreeMap::<&str, Vec<Member>>::new();
        for (name, standing) in standings {
            if let Some(member) = member(fleet, name, standing) {
                let class = fleet.target.nodes[name].class.as_str();
                members.entry(class).or_default().push(member);
            }
        }
        let classes = members.into_iter().filter_map(|(class, members)| {
            let first = members.first()?;
            let strategy = fleet.target.nodes.get(first.name)?.strategy.as_ref();
            Some((class, ClassWaves::new(strategy, members, fleet.now())))
        });
        Self {
            classes: classes.collect(),
            paused: fleet.rollout.is_some_and(|rollout| rollout.paused),
        }
    }

    /// What a node waits for before it may begin to change; none if it is its turn.
    pub(super) fn gate(&self, class: &str, name: &NodeName) -> Option<WaitingOn> {
        self.classes
            .get(class)?
            .gate(name)
            .or_else(|| self.closed(class))
    }

    /// What no node of a class may pass, whatever its wave.
    pub(super) fn closed(&self, class: &str) -> Option<WaitingOn> {
        if self.paused {
            return Some(WaitingOn::Paused);
        }
        let class = self.classes.get(class)?;
        (class.opens != Some(class.now)).then_some(WaitingOn::Window(class.opens))
    }

    /// True for the nodes of a class that change first, alone.
    pub(super) fn is_canary(&self, class: &str, name: &NodeName) -> bool {
        let class = self.classes.get(class);
        class.is_some_and(|class| class.strategy.canaries > 0 && class.of.get(name) == Some(&0))
    }

    /// How many nodes of each class take part.
    pub(super) fn members(&self) -> impl Iterator<Item = (&'a str, &'a Strategy, usize)> {
        let classes = self.classes.iter();
        classes.map(|(name, class)| (*name, class.strategy, class.of.len()))
    }

    /// Every time at which a turn may come.
    pub(super) fn times(&self) -> impl Iterator<Item = Timestamp> {
        let unfinished = self
            .classes
            .values()
            .filter(|class| class.current.is_some());
        unfinished
            .flat_map(|class| [class.opens, class.watched])
            .flatten()
    }
}

/// Those that are or were to change take part; those that the roll-out does without do not.
fn member<'a>(fleet: &'a Fleet<'a>, name: &NodeName, standing: &Standing) -> Option<Member<'a>> {
    let node = fleet.node(name)?;
    let begun = node.state.and_then(|state| state.activating);
    let takes_part = begun.is_some() || !matches!(standing, Standing::Arrived | Standing::Out(_));
    takes_part.then(|| Member {
        name: node.name,
        selected: &node.target.waves,
        is_through: match standing {
            Standing::Arrived | Standing::Out(_) => true,
            // Whether it counts as through is for a person to say, or for the threshold.
            Standing::Objects { halts, .. } => *halts,
            _ => false,
        },
        changed: node
            .state
            .filter(|_| matches!(standing, Standing::Arrived))
            .and_then(|state| state.ended.or(state.activating)),
        begun: begun.unwrap_or(Timestamp::MAX),
    })
}

impl<'a> ClassWaves<'a> {
    fn new(strategy: &'a Strategy, mut members: Vec<Member<'a>>, now: Timestamp) -> Self {
        // Whoever has begun keeps the place that it had.
        members.sort_by_key(|member| (member.begun, member.name));
        let of = assign(strategy, &members);
        let waiting = members.iter().filter(|member| !member.is_through);
        let current = waiting.clone().map(|member| of[member.name]).min();
        let left = waiting.filter(|member| Some(of[member.name]) == current);
        let before = members
            .iter()
            .filter(|member| Some(of[member.name]) < current);
        let watch = SignedDuration::from_secs(strategy.verify_seconds.into());
        let changed = before.filter_map(|member| member.changed).max();
        Self {
            strategy,
            current,
            left: left.count(),
            watched: changed
                .map(|changed| after(changed, watch))
                .filter(|until| *until > now),
            opens: window_opens(&strategy.windows, now),
            of,
            now,
        }
    }

    fn gate(&self, name: &NodeName) -> Option<WaitingOn> {
        let (own, current) = (*self.of.get(name)?, self.current?);
        if own > current {
            return Some(WaitingOn::Wave {
                earlier: self.label(current),
                left: self.left,
            });
        }
        self.watched.map(WaitingOn::Verification)
    }

    fn label(&self, wave: usize) -> Arc<str> {
        match wave
            .checked_sub(1)
            .map(|index| self.strategy.waves.get(index))
        {
            None => "canary".into(),
            Some(Some(wave)) => wave.name.as_str().into(),
            Some(None) => "last".into(),
        }
    }
}

/// The wave of each member: 0 for canaries, then the declared ones, then one for the rest.
fn assign<'a>(strategy: &Strategy, members: &[Member<'a>]) -> BTreeMap<&'a NodeName, usize> {
    let canaries = usize::try_from(strategy.canaries).unwrap_or(usize::MAX);
    let mut of: BTreeMap<_, _> = members
        .iter()
        .take(canaries)
        .map(|member| (member.name, 0))
        .collect();
    for (index, wave) in strategy.waves.iter().enumerate() {
        let left = members
            .iter()
            .filter(|member| !of.contains_key(member.name));
        let taken: Vec<_> = match wave.percent {
            Some(percent) => left.take(share(members.len(), percent)).collect(),
            None => left.filter(|it| it.selected.contains(&index)).collect(),
        };
        of.extend(taken.into_iter().map(|member| (member.name, index + 1)));
    }
    for member in members {
        of.entry(member.name).or_insert(strategy.waves.len() + 1);
    }
    of
}

/// So many percent, rounded up.
fn share(of: usize, percent: u32) -> usize {
    let percent = usize::try_from(percent).unwrap_or(100);
    of.saturating_mul(percent).div_ceil(100)
}
