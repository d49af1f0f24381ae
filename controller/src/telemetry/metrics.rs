//! What is counted where it happens.

use std::time::Duration;

use placet_model::{DecisionKind, RolloutPhase, VerdictKind};
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::{Registry, Unit};

use super::health::Role;
use crate::home::Write;

/// Two labels at most, from closed sets.
pub(super) type One = [(&'static str, &'static str); 1];
pub(super) type Two = [(&'static str, &'static str); 2];
type OfSource = [(&'static str, String); 2];

/// From a millisecond to a minute.
const SHORT: [f64; 15] = [
    0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0,
];

/// From ten milliseconds to a day: people and wide networks take part.
const LONG: [f64; 16] = [
    0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 300.0, 1_800.0, 10_800.0,
    86_400.0,
];

/// Something that is counted once it is durable.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Happened {
    /// A node answered, and so many of its processes objected.
    Verdict { kind: VerdictKind, vetoes: usize },
    /// Everybody has answered.
    Tallied {
        /// Since the first node was asked.
        asked: Option<Duration>,
        /// Since the change was heard of.
        heard: Option<Duration>,
    },
    /// A roll-out came to wait for a person.
    Held,
    /// A person decided.
    Decided(&'static str),
    /// A node has all that it needs.
    Staged { bytes: u64 },
    /// A node could not fetch what it needs.
    NotStaged,
    /// A node runs what it was told to.
    Activated,
    /// A node gave back what it was told to run.
    Regressed,
    /// A roll-out came to its end.
    Ended {
        phase: RolloutPhase,
        /// Since the change was heard of.
        heard: Option<Duration>,
    },
}

/// What a look at a repository came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fetch {
    /// There is another commit.
    Changed,
    /// There is nothing new.
    Unchanged,
    /// What is there is not taken.
    Refused,
    /// Nobody knows what is there.
    Failed,
}

/// What became of an admission review.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Review {
    /// `validate` or `mutate`.
    pub(crate) webhook: &'static str,
    /// `allowed`, `refused` or `malformed`.
    pub(crate) result: &'static str,
}

/// The words that labels are made of, so that every series is there from the start.
const VERDICTS: [&str; 5] = ["accept", "defer", "noAnswer", "error", "veto"];
const DECISIONS: [&str; 3] = ["skip", "force", "abort"];
const ENDS: [&str; 3] = ["Done", "Aborted", "Superseded"];
const WRITES: [&str; 4] = ["object", "removal", "status", "event"];
const WEBHOOKS: [&str; 2] = ["validate", "mutate"];
const REVIEWS: [&str; 3] = ["allowed", "refused", "malformed"];

/// Everything that is counted.
#[derive(Debug, Default)]
pub(super) struct Metrics {
    verdicts: Family<One, Counter>,
    vetoes: Counter,
    votes: Seconds<true>,
    commit_to_tally: Seconds<true>,
    commit_to_verified: Seconds<true>,
    holds: Counter,
    decisions: Family<One, Counter>,
    staged_bytes: Counter,
    staged: Family<One, Counter>,
    activations: Counter,
    regressions: Counter,
    ends: Family<One, Counter>,
    fetches: Family<OfSource, Counter>,
    fetch_duration: Seconds<true>,
    pub(super) requests: Family<Two, Counter>,
    pub(super) request_duration: Seconds<false>,
    writes: Family<One, Counter>,
    leader: Gauge,
    terms: Counter,
    reviews: Family<Two, Counter>,
    review_duration: Seconds<false>,
    turns: Seconds<false>,
}

/// A histogram of seconds, of things that take long or not.
#[derive(Debug, Clone)]
pub(super) struct Seconds<const IS_LONG: bool>(Histogram);

impl<const IS_LONG: bool> Default for Seconds<IS_LONG> {
    fn default() -> Self {
        Self(if IS_LONG {
            Histogram::new(LONG)
        } else {
            Histogram::new(SHORT)
        })
    }
}

impl<const IS_LONG: bool> Seconds<IS_LONG> {
    pub(super) fn observe(&self, took: Duration) {
        self.0.observe(took.as_secs_f64());
    }

    fn observe_some(&self, took: Option<Duration>) {
        if let Some(took) = took {
            self.observe(took);
        }
    }
}

impl Metrics {
    /// All of them, registered, with every series of a closed set at zero.
    pub(super) fn register(registry: &mut Registry) -> Self {
        let metrics = Self::default();
        metrics.register_votes(registry);
        metrics.register_nodes(registry);
        metrics.register_surroundings(registry);
        metrics.register_own(registry);
        metrics.begin();
        metrics
    }

    fn register_votes(&self, registry: &mut Registry) {
        registry.register(
            "verdicts",
            "Verdicts of nodes to proposals, by kind",
            self.verdicts.clone(),
        );
        registry.register(
            "vetoes",
            "Objections of processes in those verdicts",
            self.vetoes.clone(),
        );
        let seconds = |registry: &mut Registry, name: &str, help: &str, of: &Seconds<true>| {
            registry.register_with_unit(name, help, Unit::Seconds, of.0.clone());
        };
        let help = "From the first proposal of a roll-out until everybody has answered";
        seconds(registry, "votes_duration", help, &self.votes);
        let help = "From hearing of a commit until everybody has answered";
        seconds(registry, "commit_to_tally", help, &self.commit_to_tally);
        let help = "From hearing of a commit until everything runs as it declares";
        seconds(
            registry,
            "commit_to_verified",
            help,
            &self.commit_to_verified,
        );
        registry.register(
            "holds",
            "Holds, in which a roll-out waits for a person",
            self.holds.clone(),
        );
        registry.register(
            "decisions",
            "Decisions of people on holds, by kind",
            self.decisions.clone(),
        );
        registry.register(
            "rollout_ends",
            "Roll-outs that came to an end, by the phase in which they did",
            self.ends.clone(),
        );
    }

    fn register_nodes(&self, registry: &mut Registry) {
        registry.register_with_unit(
            "staged",
            "Bytes of modules that nodes fetched to stage a change",
            Unit::Bytes,
            self.staged_bytes.clone(),
        );
        registry.register(
            "stagings",
            "Changes that nodes staged, by result",
            self.staged.clone(),
        );
        registry.register(
            "activations",
            "Changes that nodes made",
            self.activations.clone(),
        );
        registry.register(
            "regressions",
            "Changes that nodes were told to make and gave back",
            self.regressions.clone(),
        );
    }

    fn register_surroundings(&self, registry: &mut Registry) {
        registry.register(
            "git_fetches",
            "Looks at repositories, by source and result",
            self.fetches.clone(),
        );
        registry.register_with_unit(
            "git_fetch_duration",
            "How long looks at repositories take",
            Unit::Seconds,
            self.fetch_duration.0.clone(),
        );
        registry.register(
            "api_requests",
            "Requests to the API server, by verb and result",
            self.requests.clone(),
        );
        registry.register_with_unit(
            "api_request_duration",
            "How long the API server takes until it begins to answer",
            Unit::Seconds,
            self.request_duration.0.clone(),
        );
        registry.register(
            "admission_reviews",
            "Admission reviews, by webhook and result",
            self.reviews.clone(),
        );
        registry.register_with_unit(
            "admission_review_duration",
            "How long answers to admission reviews take",
            Unit::Seconds,
            self.review_duration.0.clone(),
        );
    }

    fn register_own(&self, registry: &mut Registry) {
        registry.register(
            "writes",
            "Changes that were made durable, by what was written",
            self.writes.clone(),
        );
        registry.register("leader", "1 while this replica leads", self.leader.clone());
        registry.register(
            "leader_terms",
            "Times that this replica came to lead",
            self.terms.clone(),
        );
        registry.register_with_unit(
            "loop_turn_duration",
            "How long turns of the fleet's loop take",
            Unit::Seconds,
            self.turns.0.clone(),
        );
    }

    fn begin(&self) {
        for (family, key, values) in [
            (&self.verdicts, "verdict", &VERDICTS[..]),
            (&self.decisions, "kind", &DECISIONS),
            (&self.ends, "phase", &ENDS),
            (&self.writes, "what", &WRITES),
            (&self.staged, "result", &["staged", "failed"]),
        ] {
            for value in values {
                drop(family.get_or_create(&[(key, value)]));
            }
        }
        for webhook in WEBHOOKS {
            for result in REVIEWS {
                let labels = [("webhook", webhook), ("result", result)];
                drop(self.reviews.get_or_create(&labels));
            }
        }
        for verb in super::api::VERBS {
            let labels = [("verb", verb), ("result", "ok")];
            drop(self.requests.get_or_create(&labels));
        }
    }

    pub(super) fn count(&self, happened: &Happened) {
        match *happened {
            Happened::Verdict { kind, vetoes } => {
                let labels = [("verdict", verdict(kind))];
                self.verdicts.get_or_create(&labels).inc();
                self.vetoes.inc_by(vetoes as u64);
            }
            Happened::Tallied { asked, heard } => {
                self.votes.observe_some(asked);
                self.commit_to_tally.observe_some(heard);
            }
            Happened::Held => drop(self.holds.inc()),
            Happened::Decided(kind) => drop(self.decisions.get_or_create(&[("kind", kind)]).inc()),
            Happened::Staged { bytes } => {
                self.staged_bytes.inc_by(bytes);
                self.staged.get_or_create(&[("result", "staged")]).inc();
            }
            Happened::NotStaged => {
                self.staged.get_or_create(&[("result", "failed")]).inc();
            }
            Happened::Activated => drop(self.activations.inc()),
            Happened::Regressed => drop(self.regressions.inc()),
            Happened::Ended { phase, heard } => {
                self.ends
                    .get_or_create(&[("phase", phase_word(phase))])
                    .inc();
                if phase == RolloutPhase::Done {
                    self.commit_to_verified.observe_some(heard);
                }
            }
        }
    }

    pub(super) fn wrote(&self, writes: &[Write]) {
        for write in writes {
            let what = match write {
                Write::Put { .. } => "object",
                Write::Remove { .. } => "removal",
                Write::Status { .. } => "status",
                Write::Event { .. } => "event",
            };
            self.writes.get_or_create(&[("what", what)]).inc();
        }
    }

    pub(super) fn fetched(&self, source: &str, fetch: Fetch, took: Duration) {
        self.fetches.get_or_create(&of_source(source, fetch)).inc();
        self.fetch_duration.observe(took);
    }

    pub(super) fn forget_source(&self, source: &str) {
        for fetch in [
            Fetch::Changed,
            Fetch::Unchanged,
            Fetch::Refused,
            Fetch::Failed,
        ] {
            self.fetches.remove(&of_source(source, fetch));
        }
    }

    pub(super) fn reviewed(&self, review: Review, took: Duration) {
        let labels = [("webhook", review.webhook), ("result", review.result)];
        self.reviews.get_or_create(&labels).inc();
        self.review_duration.observe(took);
    }

    pub(super) fn turned(&self, took: Duration) {
        self.turns.observe(took);
    }

    pub(super) fn is(&self, role: &Role) {
        let leads = matches!(role, Role::Opens | Role::Leads);
        let led = self.leader.set(i64::from(leads)) == 1;
        if leads && !led {
            self.terms.inc();
        }
    }
}

/// The word of a decision, as it stands in its resource.
pub(crate) fn decision(kind: &DecisionKind) -> &'static str {
    match kind {
        DecisionKind::Skip => "skip",
        DecisionKind::Force { .. } => "force",
        DecisionKind::Abort => "abort",
    }
}

fn verdict(kind: VerdictKind) -> &'static str {
    match kind {
        VerdictKind::Accept => "accept",
        VerdictKind::Defer => "defer",
        VerdictKind::NoAnswer => "noAnswer",
        VerdictKind::Error => "error",
        VerdictKind::Veto => "veto",
    }
}

pub(super) fn phase_word(phase: RolloutPhase) -> &'static str {
    match phase {
        RolloutPhase::Blocked => "Blocked",
        RolloutPhase::Proposing => "Proposing",
        RolloutPhase::Held => "Held",
        RolloutPhase::Staging => "Staging",
        RolloutPhase::Activating => "Activating",
        RolloutPhase::Halted => "Halted",
        RolloutPhase::Done => "Done",
        RolloutPhase::Aborted => "Aborted",
        RolloutPhase::Superseded => "Superseded",
    }
}

fn of_source(source: &str, fetch: Fetch) -> OfSource {
    let result = match fetch {
        Fetch::Changed => "changed",
        Fetch::Unchanged => "unchanged",
        Fetch::Refused => "refused",
        Fetch::Failed => "failed",
    };
    [("source", source.to_owned()), ("result", result.to_owned())]
}
