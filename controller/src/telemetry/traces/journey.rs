//! The stations of a roll-out as spans, found by comparing what is known after each turn with what
//! was known before.

use std::sync::Mutex;

use jiff::Timestamp;
use placet_model::{NodeState, RolloutPhase, TraceParent};
use placet_planner::RolloutState;

use super::{Span, child};
use crate::fleet::world::World;
use crate::telemetry::locked;
use crate::telemetry::metrics::phase_word;

/// What a change passes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Station {
    Observe,
    Resolve,
    Plan,
    Propose,
    Tally,
    Stage,
    Activate,
    Verify,
}

const STATIONS: [Station; 8] = [
    Station::Observe,
    Station::Resolve,
    Station::Plan,
    Station::Propose,
    Station::Tally,
    Station::Stage,
    Station::Activate,
    Station::Verify,
];

/// What was heard of a change before there was a roll-out for it.
#[derive(Debug, Clone, Default)]
pub(crate) struct Beginnings {
    /// A look brought news.
    pub(crate) heard: Option<Timestamp>,
    /// Its declarations are in force.
    pub(crate) accepted: Option<Timestamp>,
    /// Its packages are found.
    pub(crate) resolved: Option<Timestamp>,
    /// The roll-out that was opened for it, and when.
    pub(crate) opened: Option<(String, Timestamp)>,
}

/// The newest roll-out, as far as its spans are concerned.
#[derive(Debug, Default)]
pub(in crate::telemetry) struct Journeys(Mutex<Option<Journey>>);

#[derive(Debug)]
struct Journey {
    rollout: String,
    revision: String,
    parent: TraceParent,
    began: Timestamp,
    /// False where another controller began it: what was over by then has been told.
    is_whole: bool,
    /// When each station began and ended.
    times: [(Option<Timestamp>, Option<Timestamp>); STATIONS.len()],
    told: [bool; STATIONS.len()],
    /// Nodes that made the change or gave it back.
    activated: usize,
    nodes: usize,
    is_over: bool,
}

impl Journeys {
    /// The spans that ended with this turn.
    pub(in crate::telemetry) fn follow(&self, world: &World, now: Timestamp) -> Vec<Span> {
        let mut current = locked(&self.0);
        let mut spans = Vec::new();
        let newest = world.rollout.as_ref();
        let is_same = |journey: &Journey| newest.is_some_and(|it| it.name == journey.rollout);
        if let Some(mut old) = current.take_if(|journey| !is_same(journey))
            && !old.is_over
        {
            old.end(RolloutPhase::Superseded, now, &mut spans);
        }
        let Some(state) = newest else { return spans };
        if current.is_none() {
            *current = Journey::begin(world, state, now);
        }
        if let Some(journey) = current.as_mut().filter(|journey| !journey.is_over) {
            journey.advance(world, state, now, &mut spans);
        }
        spans
    }

    /// Another replica goes on.
    pub(in crate::telemetry) fn clear(&self) {
        *locked(&self.0) = None;
    }
}

impl Journey {
    fn begin(world: &World, state: &RolloutState, now: Timestamp) -> Option<Self> {
        let beginnings = &world.beginnings;
        let opened = beginnings.opened.as_ref();
        let opened = opened.filter(|(name, _)| *name == state.name);
        let opened = opened.map(|(_, at)| *at);
        let mut journey = Self {
            rollout: state.name.clone(),
            revision: state.revision.clone(),
            parent: world.trace(&state.name)?,
            began: opened.and(beginnings.heard).unwrap_or(now),
            is_whole: opened.is_some(),
            times: Default::default(),
            told: Default::default(),
            activated: activated(state),
            nodes: 0,
            is_over: opened.is_none() && state.phase.is_over(),
        };
        if opened.is_some() {
            let Beginnings {
                heard,
                accepted,
                resolved,
                ..
            } = *beginnings;
            journey.times[Station::Observe as usize] = (heard, accepted);
            journey.times[Station::Resolve as usize] = (accepted, resolved);
            journey.times[Station::Plan as usize] = (resolved.or(accepted), opened);
        } else {
            // What is not over by now is told as a whole; what is over has been.
            journey.look(world, state, now);
            let over = journey.times.map(|(_, ended)| ended.is_some());
            journey.told = over;
            for station in [Station::Observe, Station::Resolve, Station::Plan] {
                journey.told[station as usize] = true;
            }
        }
        Some(journey)
    }

    fn advance(
        &mut self,
        world: &World,
        state: &RolloutState,
        now: Timestamp,
        spans: &mut Vec<Span>,
    ) {
        self.look(world, state, now);
        self.tell(spans);
        if state.phase.is_over() {
            self.end(state.phase, now, spans);
        }
    }

    /// Finds out what began and what ended.
    fn look(&mut self, world: &World, state: &RolloutState, now: Timestamp) {
        use RolloutPhase::{Blocked, Held, Proposing, Staging};
        let phase = state.phase;
        self.nodes = self.nodes.max(state.nodes.len());
        let first =
            |of: fn(&NodeState) -> Option<Timestamp>| state.nodes.values().filter_map(of).min();
        let is_deciding = matches!(phase, Blocked | Proposing | Held);
        // Orders carry the time at which their turn began.
        let planned = self.times[Station::Plan as usize].1;
        let asked = first(|node| Some(node.asked));
        self.begins(
            Station::Propose,
            asked.map(|at| planned.map_or(at, |it| it.max(at))),
        );
        if self.has_begun(Station::Propose) && (world.told.tallied || !is_deciding) {
            self.ends(Station::Propose, now);
        }
        self.begins(Station::Tally, self.times[Station::Propose as usize].1);
        if !is_deciding {
            self.ends(Station::Tally, now);
        }
        self.begins(Station::Stage, first(|node| node.staging));
        if !is_deciding && phase != Staging {
            self.ends(Station::Stage, now);
        }
        self.begins(Station::Activate, first(|node| node.activating));
        let activated = activated(state);
        if activated > self.activated {
            self.activated = activated;
            // As far as is known: others may follow.
            self.times[Station::Verify as usize].0 = Some(now);
        }
        if phase.is_over() {
            let last = self.times[Station::Verify as usize].0;
            self.ends(Station::Activate, last.unwrap_or(now));
            self.begins(Station::Verify, planned);
            self.ends(Station::Verify, now);
        }
    }

    fn has_begun(&self, station: Station) -> bool {
        self.times[station as usize].0.is_some()
    }

    /// Once, whatever is found later.
    fn begins(&mut self, station: Station, at: Option<Timestamp>) {
        let (began, _) = &mut self.times[station as usize];
        *began = began.or(at);
    }

    fn ends(&mut self, station: Station, at: Timestamp) {
        let (began, ended) = &mut self.times[station as usize];
        if began.is_some() {
            *ended = ended.or(Some(at));
        }
    }

    /// Tells of stations that have ended.
    fn tell(&mut self, spans: &mut Vec<Span>) {
        for station in STATIONS {
            let index = station as usize;
            if let (Some(began), Some(ended), false) =
                (self.times[index].0, self.times[index].1, self.told[index])
            {
                self.told[index] = true;
                spans.push(self.span(station.name(), child(self.parent), (began, ended)));
            }
        }
    }

    /// Tells of what is not told yet, and of the roll-out as a whole.
    fn end(&mut self, phase: RolloutPhase, now: Timestamp, spans: &mut Vec<Span>) {
        self.is_over = true;
        for station in STATIONS {
            self.ends(station, now);
        }
        self.tell(spans);
        let mut whole = self.span("roll-out", self.parent, (self.began, now));
        whole.parent = None;
        let attributes = [
            ("placet.phase", phase_word(phase).to_owned()),
            ("placet.nodes", self.nodes.to_string()),
            ("placet.whole", self.is_whole.to_string()),
        ];
        whole.attributes.extend(attributes);
        whole.error = (phase != RolloutPhase::Done).then(|| phase_word(phase).to_lowercase());
        spans.push(whole);
    }

    fn span(
        &self,
        name: &'static str,
        own: TraceParent,
        (began, ended): (Timestamp, Timestamp),
    ) -> Span {
        Span {
            name,
            own,
            parent: Some(self.parent.span()),
            is_server: false,
            began,
            // Clocks of several turns, and one that may be set back.
            ended: ended.max(began),
            attributes: vec![
                ("placet.rollout", self.rollout.clone()),
                ("placet.revision", self.revision.clone()),
            ],
            error: None,
        }
    }
}

impl Station {
    fn name(self) -> &'static str {
        match self {
            Self::Observe => "observe",
            Self::Resolve => "resolve",
            Self::Plan => "plan",
            Self::Propose => "propose",
            Self::Tally => "tally",
            Self::Stage => "stage",
            Self::Activate => "activate",
            Self::Verify => "verify",
        }
    }
}

fn activated(state: &RolloutState) -> usize {
    let nodes = state.nodes.values();
    nodes.filter(|node| node.activation.is_some()).count()
}
