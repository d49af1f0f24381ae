//! The one loop that owns what is known, and turns news into what is done.
//!
//! A turn takes all the news that has come, notes it, plans, and collects what follows; then, in
//! this order: everything is written in one transaction, sessions that must end are ended, orders
//! are given, people are answered. So nothing influences a step before it is durable, and an order
//! that was given is one that a restarted controller knows of.
//!
//! **Invariant:** the loop waits for nobody. Orders go into bounded channels, and a session whose
//! channel is full is ended.

mod advance;
mod apply;
mod boot;
pub(crate) mod decide;
pub(crate) mod declared_dry_runs;
mod drift;
pub(crate) mod dry_run;
mod feed;
mod hear;
mod manifests;
pub(crate) mod news;
mod node_order;
pub(crate) mod objects;
pub(crate) mod orders;
mod recover;
mod refusal;
mod report;
mod seen;
mod sources;
pub(crate) mod suites;
#[cfg(test)]
mod tests;
pub(crate) mod trials;
pub(crate) mod turn;
pub(crate) mod world;

use std::collections::BTreeMap;
use std::num::NonZeroU64;
use std::sync::Arc;
use std::time::{Duration, Instant};

use jiff::{SignedDuration, Timestamp};
use placet_crds::{FleetNode, FleetNodeSpec, Object, find_kind};
use placet_model::NodeName;
use tokio::sync::{mpsc, watch};

use self::dry_run::DryRuns;
use self::news::{News, Said, Session};
pub(crate) use self::refusal::Refusal;
use self::turn::Turn;
use self::world::World;
use crate::home::{Home, HomeError, Owner};
use crate::shared::{Shared, Wanted};

/// News that is worked off in one turn at most: enough for a whole fleet's verdicts, few enough
/// that a turn stays short.
const NEWS_MOST: usize = 4_096;

/// Timers are looked at this often at least, since a machine may sleep.
const LOOK: Duration = Duration::from_mins(1);

/// The loop and all that it owns.
pub(crate) struct Fleet {
    home: Home,
    world: World,
    sessions: BTreeMap<NodeName, Session>,
    dry_runs: DryRuns,
    shared: Arc<Shared>,
    wanted: watch::Sender<Wanted>,
    /// The time of the turn before.
    last: Timestamp,
    wake: Option<Timestamp>,
}

impl Fleet {
    /// The fleet as `home` remembers it; what can be read of it says that nobody is connected yet.
    pub(crate) fn recover(
        home: Home,
        shared: Arc<Shared>,
        wanted: watch::Sender<Wanted>,
    ) -> Result<Self, HomeError> {
        let now = Timestamp::now();
        let mut world = World::recover(&home, now)?;
        world.is_patient = matches!(home, Home::Kubernetes(_));
        let mut fleet = Self {
            last: world.latest(),
            home,
            world,
            sessions: BTreeMap::new(),
            dry_runs: DryRuns::default(),
            shared,
            wanted,
            wake: None,
        };
        fleet.turn(Vec::new())?;
        Ok(fleet)
    }

    /// The same, of which so many roll-outs are kept.
    pub(crate) fn keeping(mut self, rollouts: NonZeroU64) -> Self {
        self.world.rollouts_kept = Some(rollouts);
        self
    }

    /// Works off news until nobody can bring any more.
    ///
    /// # Errors
    ///
    /// The home failed: nothing can be done safely any more, and what was not written was not done.
    pub(crate) async fn run(mut self, mut news: mpsc::Receiver<News>) -> Result<(), HomeError> {
        loop {
            let mut batch = Vec::new();
            // Cancel safe: nothing is taken unless it is returned.
            tokio::select! {
                taken = news.recv_many(&mut batch, NEWS_MOST) => {
                    if taken == 0 {
                        return Ok(());
                    }
                }
                () = tokio::time::sleep(self.until_wake()) => {}
            }
            let turn = tokio::task::spawn_blocking(move || {
                let result = self.turn(batch);
                result.map(|()| self)
            });
            self = turn
                .await
                .expect("a turn neither panics nor is cancelled")?;
        }
    }

    fn until_wake(&self) -> Duration {
        let left = |wake: Timestamp| Duration::try_from(wake.duration_since(Timestamp::now()));
        let plan = self.wake.map(|wake| left(wake).unwrap_or(Duration::ZERO));
        let dry_runs = self.dry_runs.next_end();
        let dry_runs = dry_runs.map(|end| end.saturating_duration_since(Instant::now()));
        plan.into_iter().chain(dry_runs).fold(LOOK, Duration::min)
    }

    /// One turn.
    fn turn(&mut self, news: Vec<News>) -> Result<(), HomeError> {
        let telemetry = self.shared.telemetry.clone();
        let _turning = telemetry.turn_begins();
        let mut turn = Turn::new(self.next_time());
        let (mut looks, mut inquiries) = (Vec::new(), Vec::new());
        for one in news {
            match one {
                News::Look(reply) => looks.push(reply),
                // A session begins with its welcome, which what is heard in this turn decides.
                News::DryRun(inquiry) => inquiries.push(inquiry),
                one => self.hear(one, &mut turn),
            }
        }
        self.world.hear_orders(&mut turn);
        self.world.advance(&mut turn);
        self.world.answer_hails(&mut turn);
        self.world.report_all(&mut turn);
        let plan = self.world.plan.as_ref().and_then(|plan| plan.wake);
        self.wake = plan.into_iter().chain(self.world.next_due()).min();
        let committed = self.home.commit(&turn.writes)?;
        turn::log_events(&turn.writes, &self.world);
        telemetry.wrote(&turn.writes);
        telemetry.count(&turn.happened);
        self.world.written(committed);
        self.shared.set_permits(
            self.world.permits(),
            self.world.running(),
            self.world.ran_before(),
        );
        self.want();
        for (node, why) in std::mem::take(&mut turn.cut) {
            self.end_session(&node, why);
        }
        for (node, welcome) in std::mem::take(&mut turn.welcomes) {
            self.welcome(&node, welcome);
        }
        for (node, order) in std::mem::take(&mut turn.node_orders) {
            self.send(&node, order, None);
        }
        for order in std::mem::take(&mut turn.orders) {
            self.give(order);
        }
        for inquiry in inquiries {
            self.inquire(*inquiry);
        }
        self.settle_dry_runs(turn.now);
        telemetry.stands(&self.world, self.sessions.len());
        for reply in std::mem::take(&mut turn.replies) {
            reply();
        }
        for reply in looks {
            // Whoever asked may have gone.
            let _ = reply.send(Box::new(self.world.clone()));
        }
        Ok(())
    }

    /// Strictly later than every turn before, even if the clock was set back, so that what was
    /// noted in one turn is older than what is heard in the next.
    fn next_time(&mut self) -> Timestamp {
        let after_last = self.last.checked_add(SignedDuration::from_micros(1));
        self.last = Timestamp::now().max(after_last.unwrap_or(self.last));
        self.last
    }

    fn hear(&mut self, news: News, turn: &mut Turn) {
        let world = &mut self.world;
        match news {
            News::Renewed(node) => turn.tell("renewed", feed::node(&node)),
            News::Seen(seen) => world.seen(seen, turn),
            News::Looked(looked) => world.looked(*looked, turn),
            News::Resolved { declared, catalog } => world.resolved(declared, catalog),
            News::Tried { begun, outcome } => world.tried(&begun, *outcome, turn),
            News::Hello {
                node,
                session,
                announcement,
            } => {
                if world.hello(&node, session.id, *announcement, turn) {
                    // The newest session wins; dropping the older one ends it.
                    self.sessions.insert(node, session);
                }
            }
            News::Apart { node, why } => world.apart(&node, why, turn),
            News::Said {
                node,
                session,
                what,
                permit,
            } => {
                match *what {
                    Said::Verdict(verdict) if dry_run::is_trial(&verdict) => {
                        self.answered(&node, session, verdict);
                    }
                    what => world.said(&node, session, what, turn),
                }
                drop(permit);
            }
            News::Gone { node, session } => {
                world.gone(&node, session, turn);
                self.lose_answers(&node, session);
                if self
                    .sessions
                    .get(&node)
                    .is_some_and(|open| open.id == session)
                {
                    self.sessions.remove(&node);
                }
            }
            news => self.hear_people(news, turn),
        }
    }

    /// What somebody waits for an answer to.
    fn hear_people(&mut self, news: News, turn: &mut Turn) {
        let world = &mut self.world;
        match news {
            News::Joined { node, reply } => {
                self.joined(&node, turn);
                turn.answer(reply, ());
            }
            News::Apply {
                files,
                author,
                reply,
            } => {
                let result = world.apply(&files, &author, turn);
                turn.answer(reply, result);
            }
            News::Delete { kind, name, reply } => {
                let refusal = || Err(Refusal::absent(format!("`{kind}` is not a kind")));
                let info = find_kind(kind);
                let result = info.map_or_else(refusal, |info| world.delete(info, &name, turn));
                turn.answer(reply, result);
            }
            News::Decide { ruling, reply } => {
                let result = world.decide(ruling, turn);
                turn.answer(reply, result);
            }
            News::OrderNode {
                node,
                instruction,
                reply,
            } => {
                let result = world.order_node(&node, instruction, turn);
                turn.answer(reply, result);
            }
            // Looks and dry runs are answered at the end of the turn; all else has been heard.
            _ => {}
        }
    }

    /// A node that nobody declares becomes visible all the same.
    fn joined(&mut self, node: &NodeName, turn: &mut Turn) {
        if self.world.objects.node(node).is_none() {
            let object = Object::FleetNode(FleetNode::new(node.as_str(), FleetNodeSpec::default()));
            self.world.put(object, Owner::Controller, turn);
            self.world.redeclare_quietly();
        }
        self.world.join(node, turn);
    }

    /// Tells the observers what to look at.
    fn want(&self) {
        let wanted = Wanted::of(&self.world);
        self.wanted.send_if_modified(|now| {
            let is_news = *now != wanted;
            if is_news {
                *now = wanted;
            }
            is_news
        });
    }
}
