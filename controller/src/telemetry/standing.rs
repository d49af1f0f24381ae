//! How things stand: taken after each turn of the fleet's loop, told when somebody asks.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Mutex;
use std::time::Instant;

use jiff::Timestamp;
use placet_model::{NodeName, RolloutPhase};
use placet_planner::{Plan, Presence, WaitingOn};
use prometheus_client::collector::Collector;
use prometheus_client::encoding::{
    DescriptorEncoder, EncodeGaugeValue, EncodeLabelSet, EncodeMetric as _,
};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::gauge::ConstGauge;
use prometheus_client::registry::Unit;

use super::locked;
use super::metrics::phase_word;
use crate::fleet::world::World;

/// The class of nodes that none claims.
const NO_CLASS: &str = "";

const OLDEST: &str = "Time for which the oldest open hold has waited; 0 without one.";

const PHASES: [RolloutPhase; 9] = [
    RolloutPhase::Blocked,
    RolloutPhase::Proposing,
    RolloutPhase::Held,
    RolloutPhase::Staging,
    RolloutPhase::Activating,
    RolloutPhase::Halted,
    RolloutPhase::Done,
    RolloutPhase::Aborted,
    RolloutPhase::Superseded,
];

/// How things stood after a turn of the loop.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Standing {
    /// Nodes by class, presence and state.
    nodes: BTreeMap<(String, &'static str, &'static str), u64>,
    sessions: usize,
    rollouts: BTreeMap<&'static str, u64>,
    /// When the open hold began.
    hold: Option<Timestamp>,
}

/// What is told, until the next turn says something else.
#[derive(Debug, Default)]
pub(super) struct Standings {
    now: Mutex<Option<Standing>>,
    /// When each repository was looked at without fail, or for the first time.
    looked: Mutex<BTreeMap<String, Instant>>,
    /// How long certificates are valid.
    certificates: Mutex<BTreeMap<&'static str, Timestamp>>,
}

impl Standing {
    /// Of a world in which so many nodes have a session.
    pub(crate) fn of(world: &World, sessions: usize) -> Self {
        let mut nodes = BTreeMap::<(&str, _, _), u64>::new();
        for (name, node) in &world.nodes {
            let wanted = world.target.as_ref().and_then(|it| it.nodes.get(name));
            let class = wanted.map_or(NO_CLASS, |wanted| &wanted.class);
            let presence = match node.seen.presence {
                Presence::NeverSeen => "neverSeen",
                Presence::Away => "away",
                Presence::Connected => "connected",
            };
            let state = match (wanted, &world.plan) {
                (Some(_), Some(plan)) => state(name, plan),
                _ => "unknown",
            };
            *nodes.entry((class, presence, state)).or_default() += 1;
        }
        let nodes = nodes.into_iter();
        let nodes = nodes.map(|((class, presence, state), count)| {
            let class = class.to_owned();
            ((class, presence, state), count)
        });
        let mut rollouts = BTreeMap::new();
        for (name, entry) in world.objects.of("Rollout") {
            // Nothing is on its way in a dry run.
            let rollout = world.objects.rollout(name);
            if rollout.is_some_and(|(_, rollout)| rollout.spec.dry_run) {
                continue;
            }
            let phase = entry.status["phase"].as_str();
            let phase = PHASES
                .map(phase_word)
                .into_iter()
                .find(|it| Some(*it) == phase);
            *rollouts.entry(phase.unwrap_or("Proposing")).or_default() += 1;
        }
        let hold = world.rollout.as_ref().and_then(|it| it.hold.as_ref());
        Self {
            nodes: nodes.collect(),
            sessions,
            rollouts,
            hold: hold.map(|hold| hold.since),
        }
    }
}

/// How a node stands to what it should run.
fn state(name: &NodeName, plan: &Plan) -> &'static str {
    match plan.held.get(name) {
        Some(WaitingOn::Failed(_)) => "failed",
        Some(WaitingOn::Activating | WaitingOn::Staging) => "changing",
        Some(
            WaitingOn::Skipped
            | WaitingOn::Aborted
            | WaitingOn::Suspended
            | WaitingOn::Maintenance(_),
        ) => "leftOut",
        Some(WaitingOn::Connection | WaitingOn::FirstContact | WaitingOn::Observation) => "unknown",
        Some(_) => "waiting",
        None if plan.nodes.contains_key(name) => "waiting",
        None => "upToDate",
    }
}

impl Standings {
    pub(super) fn set(&self, standing: Standing) {
        *locked(&self.now) = Some(standing);
    }

    pub(super) fn clear(&self) {
        *locked(&self.now) = None;
        locked(&self.looked).clear();
    }

    pub(super) fn certificate(&self, name: &'static str, until: Timestamp) {
        locked(&self.certificates).insert(name, until);
    }

    /// A repository was looked at; where that never succeeded, the first look counts.
    pub(super) fn looked_at(&self, source: &str, is_good: bool) {
        let mut looked = locked(&self.looked);
        if is_good || !looked.contains_key(source) {
            looked.insert(source.to_owned(), Instant::now());
        }
    }

    /// Forgets all other repositories, and says which they were.
    pub(super) fn keep(&self, is_kept: impl Fn(&str) -> bool) -> Vec<String> {
        let mut looked = locked(&self.looked);
        let gone = looked.extract_if(.., |source, _| !is_kept(source));
        gone.map(|(source, _)| source).collect()
    }
}

impl Collector for Standings {
    fn encode(&self, mut encoder: DescriptorEncoder) -> Result<(), fmt::Error> {
        // Whoever does not lead knows nothing of the fleet; those who sum over replicas find zero.
        let standing = locked(&self.now).clone().unwrap_or_default();
        let nodes = standing
            .nodes
            .iter()
            .map(|((class, presence, state), count)| {
                let labels = [
                    ("class", class.as_str()),
                    ("presence", presence),
                    ("state", state),
                ];
                (labels, *count)
            });
        let help = "Nodes, by class, presence and how they stand to what they should run.";
        gauges(&mut encoder, ("nodes", help, None), nodes)?;
        let phases = PHASES.map(phase_word).into_iter().map(|phase| {
            let count = standing.rollouts.get(phase).copied().unwrap_or_default();
            ([("phase", phase)], count)
        });
        let help = "Roll-outs that are kept, by phase.";
        gauges(&mut encoder, ("rollouts", help, None), phases)?;
        let looked = locked(&self.looked).clone();
        let ages = looked.iter().map(|(source, at)| {
            let labels = [("source", source.as_str())];
            (labels, at.elapsed().as_secs_f64())
        });
        let help =
            "Time since a repository was last looked at without fail, or for the first time.";
        let of = ("git_last_fetch_age", help, Some(Unit::Seconds));
        gauges(&mut encoder, of, ages)?;
        let certificates = locked(&self.certificates).clone();
        let left = certificates.iter().map(|(name, until)| {
            let left = until.duration_since(Timestamp::now());
            ([("certificate", *name)], left.as_secs_f64())
        });
        let help = "Time for which a certificate is still valid.";
        let of = ("certificate_remaining", help, Some(Unit::Seconds));
        gauges(&mut encoder, of, left)?;
        let since = |hold: Timestamp| Timestamp::now().duration_since(hold).as_secs_f64();
        let age = standing.hold.map_or(0.0, since).max(0.0);
        let of = ("oldest_hold_age", OLDEST, Some(Unit::Seconds));
        gauge(&mut encoder, of, &age)?;
        let holds = u64::from(standing.hold.is_some());
        let of = ("open_holds", "Holds that wait for a person.", None);
        gauge(&mut encoder, of, &holds)?;
        let of = ("connected_nodes", "Nodes that have a session.", None);
        gauge(&mut encoder, of, &standing.sessions)?;
        Ok(())
    }
}

/// One gauge without labels.
fn gauge<V: EncodeGaugeValue>(
    encoder: &mut DescriptorEncoder,
    (name, help, unit): (&str, &str, Option<Unit>),
    value: &V,
) -> Result<(), fmt::Error> {
    let unit = unit.as_ref();
    let mut metric = encoder.encode_descriptor(name, help, unit, MetricType::Gauge)?;
    metric.encode_gauge(value)
}

/// One gauge with labels; where there is nothing to tell, nothing is told.
fn gauges<L: EncodeLabelSet, V: EncodeGaugeValue>(
    encoder: &mut DescriptorEncoder,
    (name, help, unit): (&str, &str, Option<Unit>),
    values: impl Iterator<Item = (L, V)>,
) -> Result<(), fmt::Error> {
    let mut values = values.peekable();
    if values.peek().is_none() {
        return Ok(());
    }
    let mut metric = encoder.encode_descriptor(name, help, unit.as_ref(), MetricType::Gauge)?;
    for (labels, value) in values {
        let gauge = ConstGauge::new(value);
        gauge.encode(metric.encode_family(&labels)?)?;
    }
    Ok(())
}
