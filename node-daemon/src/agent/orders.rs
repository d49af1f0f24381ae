//! Orders of the controller, checked before they are obeyed.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use placet_model::{Digest, NodeManifest, TraceParent, visible};
use placet_protocol::wire::to_node::Order as Ordered;
use placet_protocol::wire::{Activate, Boot, ToNode, Welcome};
use tracing::Span;

use super::core::Core;
use super::effects::log;
use super::machine::{Event, Order};
use super::{report, skew, test_mode};
use crate::store::Generation;

/// What a class may ask for: a day.
const SOAK_MOST: u32 = 86_400;

/// An order that cannot be obeyed as it is written.
#[derive(Debug, thiserror::Error)]
enum BadOrder {
    #[error("it is not readable: {}", .0.message())]
    Unreadable(#[from] tonic::Status),
    #[error("it names no digest")]
    Digest(#[from] placet_model::DigestError),
}

/// The span of what is logged in a trace; of the highest level, so that no filter takes it from a
/// line that it lets through.
fn logged(trace: TraceParent) -> Span {
    tracing::error_span!("trace", trace_id = %trace.trace_id())
}

impl Core {
    pub(super) fn obey(&mut self, order: ToNode) {
        let trace = order.traceparent.parse::<TraceParent>();
        let _trace = trace.map_or_else(|_| Span::none(), logged).entered();
        self.obey_checked(order);
    }

    fn obey_checked(&mut self, order: ToNode) {
        if order.epoch < self.epoch {
            tracing::warn!(
                "refuses an order of epoch {}: a controller of epoch {} has taken over",
                order.epoch,
                self.epoch
            );
            return;
        }
        if order.epoch > self.epoch {
            if let Err(error) = self.store.note_epoch(order.epoch) {
                // Obeying without remembering could mean obeying an older one after a crash.
                tracing::error!("refuses an order: {}", crate::Chain(&error));
                return;
            }
            self.epoch = order.epoch;
        }
        let Some(order) = order.order else {
            tracing::warn!("an order of a kind that this version does not know: ignored");
            return;
        };
        if let Err(error) = self.obey_one(order) {
            tracing::warn!("refuses an order: {error}");
        }
    }

    /// What follows from an order that was just given belongs to its trace.
    fn begin_change(&mut self) {
        self.trace = Span::current();
    }

    fn obey_one(&mut self, order: Ordered) -> Result<(), BadOrder> {
        match order {
            Ordered::Welcome(welcome) => self.welcomed(&welcome),
            Ordered::Policy(policy) => self.follow(policy),
            Ordered::ProposalJson(bytes) => {
                let proposal = match skew::proposal(&bytes) {
                    Err(why) if self.answer_unreadable(&bytes, &why) => return Ok(()),
                    proposal => proposal?,
                };
                if proposal.dry_run {
                    self.try_out(&proposal);
                } else {
                    self.begin_change();
                    self.propose(&proposal);
                }
            }
            Ordered::Release(release) if release.dry_run => self.give_up_trial(&release.rollout),
            Ordered::Release(release) => {
                self.release(release.change_digest.parse()?, release.reason);
            }
            Ordered::Stage(stage) => {
                let digest = stage.change_digest.parse()?;
                self.begin_change();
                match skew::manifest(&stage.manifest_json) {
                    Ok(manifest) => self.stage(stage.rollout, digest, manifest, stage.memory),
                    Err(why) => self.refuse_to_stage(stage, digest, &why),
                }
            }
            Ordered::Activate(activate) => self.activate(activate)?,
            Ordered::GiveBack(order) => self.decide(Event::GiveBack {
                change_digest: order.change_digest.parse()?,
                why: visible(&order.reason).to_string(),
            }),
            Ordered::Regress(order) => self.regress(&visible(&order.reason).to_string()),
            Ordered::Forget(forget) => self.forget(forget.manifest_digest.parse()?),
        }
        Ok(())
    }

    /// What the controller makes of what this node has (S2).
    fn welcomed(&mut self, welcome: &Welcome) {
        if let Some(policy) = welcome.policy {
            self.follow(policy);
        }
        let (node, committed) = (visible(&welcome.node), self.machine.current().number);
        match welcome.boot() {
            Boot::Unknown => {
                tracing::info!(
                    "the controller welcomes {node}; what it is to run is not known yet"
                );
            }
            Boot::Continue => tracing::info!(
                "the controller welcomes {node}: continue, generation {committed} is what it is to run"
            ),
            Boot::Change => tracing::info!(
                "the controller welcomes {node}: it is to run manifest {}, and lacks {} modules ({} bytes) of it",
                visible(&welcome.manifest_digest),
                welcome.modules,
                welcome.bytes
            ),
        }
        self.begin();
    }

    fn activate(&mut self, order: Activate) -> Result<(), BadOrder> {
        let change_digest: Digest = order.change_digest.parse()?;
        let (from, to): (Digest, Digest) = (order.from.parse()?, order.to.parse()?);
        let test = test_mode::limit(order.memory);
        let generation = match self.activatable(to, order.forced, test.is_some()) {
            Ok(generation) => generation,
            Err(why) => {
                tracing::warn!("refuses to activate for {}: {why}", visible(&order.rollout));
                let generation = self.machine.current().number;
                self.tell(&report::activated(
                    order.rollout,
                    change_digest,
                    generation,
                    why,
                ));
                return Ok(());
            }
        };
        let overridden: BTreeSet<_> = if order.forced {
            self.objectors(change_digest).cloned().collect()
        } else {
            BTreeSet::new()
        };
        self.begin_change();
        let announced = self.voters.announced();
        let rollout = order.rollout;
        self.decide(Event::Activate(Order {
            rollout,
            change_digest,
            from,
            to: generation,
            overridden,
            announced,
            soak: Duration::from_secs(order.soak_seconds.min(SOAK_MOST).into()),
            test,
        }));
        Ok(())
    }

    /// Back to what is stored, or was before.
    fn regress(&mut self, why: &str) {
        let earlier = match self.machine.test() {
            Some(test) => Some(Arc::clone(&test.stored)),
            None => self.earlier(),
        };
        let Some(to) = earlier else {
            return tracing::warn!("there is nothing to go back to: {why}");
        };
        self.begin_change();
        let why = why.to_owned();
        self.decide(Event::Regress { to, why });
    }

    /// The last generation that ran before, did not fail, and is still there.
    fn earlier(&self) -> Option<Arc<Generation>> {
        let now = self.machine.current().digest;
        let before = self.store.before().into_iter();
        let mut loaded = before.filter_map(|number| self.store.load(number).ok());
        let is_good = |it: &Generation| it.digest != now && !self.failed.contains_key(&it.digest);
        loaded.find(is_good).map(Arc::new)
    }

    /// A manifest that failed here may be tried again.
    fn forget(&mut self, manifest: Digest) {
        if self.failed.remove(&manifest).is_some() {
            tracing::info!("manifest {} may be tried here again", manifest.short());
            log(self.store.note_failed(&self.failed));
        }
        if manifest == self.machine.current().digest {
            self.decide(Event::Retest);
        }
        self.tell(&report::report(self.report()));
    }

    /// The generation to activate: a stored one, unless it is for a test.
    fn activatable(
        &self,
        to: Digest,
        forced: bool,
        is_test: bool,
    ) -> Result<Arc<Generation>, String> {
        let committed = self.machine.current();
        if committed.digest == to && (is_test || self.machine.test().is_none()) {
            return Ok(Arc::clone(committed));
        }
        if let Some(reason) = self.failed.get(&to).filter(|_| !forced) {
            return Err(format!(
                "manifest {to} failed here before ({reason}); it is tried again only when somebody decides so"
            ));
        }
        let found = if is_test {
            self.store.memory().and_then(|memory| memory.find(to))
        } else {
            self.store.find(to)
        };
        match found {
            Ok(Some(generation)) => Ok(Arc::new(generation)),
            Ok(None) if to == NodeManifest::default().digest() => {
                Ok(Arc::new(Generation::pristine()))
            }
            Ok(None) => Err(format!("manifest {to} is not staged here")),
            Err(error) => Err(crate::Chain(&error).to_string()),
        }
    }
}
