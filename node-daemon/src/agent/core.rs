//! The one task that owns the agent's state.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::{Duration, Instant};

use placet_model::{Digest, ModulePath, ProcessName, Verdict};
use placet_protocol::wire::{FromNode, ToNode};
use tokio::sync::{Mutex, mpsc, oneshot, watch};
use tokio::task::AbortHandle;
use tonic::transport::Channel;
use tracing::Span;

use super::cure::Cures;
use super::drift::{self, Looked};
use super::fetching::Line;
use super::groups::Groups;
use super::keeper::KeeperLink;
use super::machine::{Beginning, Effect, Event, Known, Machine, Moment, Resume, find_service};
use super::stale::Stale;
use super::{AgentError, boot, boot_id, launch, test_mode};
use crate::Fatal;
use crate::arguments::{Settings, StartAlone};
use crate::link::{self, Command, Entry};
use crate::rest::Rest;
use crate::store::{Depth, Generation, Store};
use crate::vote::Voters;

/// Something for the core to take note of.
pub(super) enum Input {
    Keeper(link::Event),
    KeeperGone,
    /// A session was opened: it gets the Hello first and everything that is told from then on.
    Attach {
        session: u64,
        sender: mpsc::UnboundedSender<FromNode>,
        channel: Channel,
    },
    /// A session ended.
    Detach {
        session: u64,
    },
    Order(ToNode),
    Machine(Event),
    /// The processes were asked.
    Asked(Box<Verdict>),
    /// The processes were asked in a dry run.
    Tried(Box<Verdict>),
    /// A staging needs room: what nobody needs is to be removed, but not these modules.
    MakeRoom {
        wanted: BTreeSet<Digest>,
        done: oneshot::Sender<()>,
    },
    /// It is time to look at what is on the disk.
    Look(Depth),
    /// What was found there.
    Looked(Arc<Generation>, Looked),
    /// The boot loader was asked whether the node runs the image of this generation.
    Confirmed(Arc<Generation>, Result<(), String>),
    /// What processes run was looked at while this generation was the running one.
    LookedAtRunning(Arc<Generation>, Vec<Stale>),
    /// Staging ended: modules and bytes that travelled.
    Staged {
        rollout: String,
        change_digest: Digest,
        outcome: Result<super::staging::Done, String>,
    },
}

/// How other tasks reach the core.
#[derive(Clone)]
pub(super) struct Handle(mpsc::UnboundedSender<Input>);

impl Handle {
    /// Inputs after the core has ended are of no interest: the process ends with it.
    pub(super) fn send(&self, input: Input) {
        let _ = self.0.send(input);
    }
}

/// What a node says that is not to start by itself.
const WAITS: &str = "nothing is started before a controller was reached (--start-alone no)";

pub(super) struct Core {
    pub(super) settings: Settings,
    pub(super) store: Store,
    pub(super) voters: Voters,
    pub(super) machine: Machine,
    /// What is to be resumed once the controller was reached, while nothing is started before.
    resume: Option<Resume>,
    pub(super) handle: Handle,
    pub(super) boot_id: String,
    pub(super) epoch: u64,
    /// The trace of the change that was ordered last, for what is logged of it.
    pub(super) trace: Span,
    pub(super) failed: BTreeMap<Digest, String>,
    /// What had drifted at the last look.
    pub(super) drift: Looked,
    /// What processes run in place of what they should.
    pub(super) stale: Vec<Stale>,
    /// What is done about them.
    pub(super) cures: Cures,
    /// The boot image that the node should run, and why it is known not to.
    pub(super) other_image: Option<(ModulePath, String)>,
    /// Open questions, by node change digest.
    pub(super) asking: BTreeMap<Digest, AbortHandle>,
    /// Dry runs that are not answered yet, by name.
    pub(super) trying: BTreeMap<String, AbortHandle>,
    /// The last verdict given.
    pub(super) verdict: Option<Box<Verdict>>,
    /// Staging under way, by node change digest.
    pub(super) staging: BTreeMap<Digest, AbortHandle>,
    /// What all fetches share.
    pub(super) line: Arc<Line>,
    /// Held by what writes to the store.
    pub(super) staging_turn: Arc<Mutex<()>>,
    /// Generations staged and not released, by node change digest.
    pub(super) staged: BTreeMap<Digest, u64>,
    /// The channel of the newest session, for fetching.
    pub(super) channel: watch::Sender<Option<Channel>>,
    keeper: mpsc::UnboundedSender<Command>,
    sessions: BTreeMap<u64, mpsc::UnboundedSender<FromNode>>,
    groups: Groups,
    inputs: mpsc::UnboundedReceiver<Input>,
    started: Instant,
}

impl Core {
    /// Takes over what runs, and brings it in line with what is committed.
    pub(super) async fn start(
        settings: Settings,
        store: Store,
        keeper: KeeperLink,
    ) -> Result<(Self, Handle), Fatal> {
        let (sender, inputs) = mpsc::unbounded_channel();
        let handle = Handle(sender.clone());
        let (table, keeper) = keeper.open(sender).await?;
        let (life, processes) = entries(table)?;
        let groups = Groups::default();
        let store = test_mode::with_memory(store, &settings.memory, &life);
        let (committed, test) = test_mode::running(&store)?;
        test_mode::point(&store, committed.number, &settings.run);
        let is_boot = processes.iter().all(|process| process.exit.is_some());
        let drift = drift::at_start(&store, &committed, is_boot);
        let resume = resume(&store, &processes)?;
        let known = known(&store, &committed, processes, &groups);
        let served: Vec<_> = known.iter().map(|known| known.process.clone()).collect();
        let boot_id = boot_id(&life)?;
        let is_alone = is_boot && resume.is_none();
        let found = Beginning {
            current: committed,
            test,
            known,
            resume,
            restarted_for: boot::restarted_for(&store, &boot_id),
        };
        let (machine, effects, resume) = begin(settings.start_alone, found);
        let mut core = Self {
            voters: Voters::new(&settings.run, groups.who()),
            boot_id,
            epoch: store.epoch()?,
            trace: Span::none(),
            failed: store.failed()?,
            line: Arc::new(Line::new(settings.fetches)),
            drift,
            stale: Vec::new(),
            cures: Cures::default(),
            other_image: None,
            settings,
            store,
            resume,
            machine,
            handle: handle.clone(),
            asking: BTreeMap::new(),
            trying: BTreeMap::new(),
            verdict: None,
            staging: BTreeMap::new(),
            staging_turn: Arc::default(),
            staged: BTreeMap::new(),
            channel: watch::Sender::new(None),
            keeper,
            sessions: BTreeMap::new(),
            groups,
            inputs,
            started: Instant::now(),
        };
        core.go(&served, effects);
        if is_alone {
            core.ask_after_boot();
        }
        Ok((core, handle))
    }

    /// Begins with what the machine has decided; `served` processes run already.
    fn go(&mut self, served: &[ProcessName], effects: Vec<Effect>) {
        for process in served {
            self.serve(process);
        }
        self.perform(effects);
        self.tell_users();
        drift::schedule(self.settings.looks, &self.handle);
    }

    /// Takes one input after another until the keeper is gone.
    pub(super) async fn run(mut self) -> Result<(), Fatal> {
        let mut rest = Rest::after(Instant::now());
        loop {
            let deadline = self.machine.deadline().map(|at| self.started + at);
            // All arms are cancel safe: an input that is not taken stays in the channel.
            tokio::select! {
                () = until(rest.due()) => {
                    rest.take(Instant::now());
                    continue;
                }
                input = self.inputs.recv() => match input {
                    None | Some(Input::KeeperGone) => {
                        tracing::info!("agent ends: its keeper is gone");
                        return Ok(());
                    }
                    Some(input) => self.take(input),
                },
                () = until(deadline) => self.take(Input::Machine(Event::Tick)),
            }
            rest = Rest::after(Instant::now());
        }
    }

    fn take(&mut self, input: Input) {
        let _trace = self.trace_of(&input).entered();
        match input {
            Input::KeeperGone => {}
            Input::Keeper(event) => self.keeper_says(event),
            Input::Attach {
                session,
                sender,
                channel,
            } => {
                let _ = sender.send(self.hello());
                self.sessions.insert(session, sender);
                self.channel.send_replace(Some(channel));
            }
            Input::Detach { session } => drop(self.sessions.remove(&session)),
            Input::Order(order) => self.obey(order),
            Input::Machine(event) => self.decide(event),
            Input::Asked(verdict) => self.asked(verdict),
            Input::Tried(verdict) => self.tried(&verdict),
            Input::Look(depth) => {
                self.look(depth);
                self.look_at_running();
            }
            Input::Confirmed(generation, confirmed) => self.confirmed(&generation, confirmed),
            Input::LookedAtRunning(generation, found) => self.looked_at_running(&generation, found),
            Input::Looked(generation, looked) => self.looked(&generation, looked),
            Input::MakeRoom { wanted, done } => {
                self.remove_unused(&wanted);
                let _ = done.send(());
            }
            Input::Staged {
                rollout,
                change_digest,
                outcome,
            } => {
                self.staged(rollout, change_digest, outcome);
            }
        }
    }

    /// What is logged of an input belongs to the change, as long as one is made.
    fn trace_of(&self, input: &Input) -> Span {
        let is_of_change = match input {
            Input::Asked(_) | Input::Staged { .. } => true,
            Input::Machine(_) | Input::Keeper(_) => self.machine.is_busy(),
            _ => false,
        };
        if is_of_change {
            self.trace.clone()
        } else {
            Span::none()
        }
    }

    fn keeper_says(&mut self, event: link::Event) {
        let event = match event {
            link::Event::Started { process, pid } => {
                self.groups.add(pid, process.clone());
                Event::Started { process, pid }
            }
            link::Event::Notify {
                process,
                pid,
                notice,
            } => match self.noticed(process, pid, &notice) {
                Some(event) => event,
                None => return,
            },
            link::Event::Exited {
                process,
                pid,
                exit,
                output,
            } => {
                self.groups.remove(pid);
                Event::Exited {
                    process,
                    pid,
                    exit,
                    output,
                }
            }
            link::Event::Table { .. } => return,
        };
        self.decide(event);
    }

    /// What a notice of a process means to the machine.
    fn noticed(&self, process: ProcessName, pid: u32, notice: &link::Notice) -> Option<Event> {
        match notice {
            link::Notice::Ready => Some(Event::Ready { process, pid }),
            link::Notice::Reloading => Some(Event::Reloading { process, pid }),
            link::Notice::ExtendTimeout(micros) => {
                let by = Duration::from_micros(*micros);
                Some(Event::Extended { process, pid, by })
            }
            link::Notice::MainPid(main) => {
                self.groups.add(*main, process.clone());
                let main = *main;
                Some(Event::Main { process, pid, main })
            }
            link::Notice::Stopping | link::Notice::Status(_) => {
                tracing::debug!(%process, ?notice, "{process} gives notice");
                None
            }
        }
    }

    /// Lets the machine decide, and does what it decides.
    pub(super) fn decide(&mut self, event: Event) {
        let was_busy = self.machine.is_busy();
        let effects = self.machine.handle(event, self.started.elapsed());
        self.perform(effects);
        if was_busy {
            self.look_at_running();
        }
    }

    /// The controller was reached: what waited for that is started.
    pub(super) fn begin(&mut self) {
        if self.machine.is_waiting() {
            let resume = self.resume.take().map(Box::new);
            self.decide(Event::Begin(resume));
        }
    }

    pub(super) fn now(&self) -> Moment {
        self.started.elapsed()
    }

    pub(super) fn order_keeper(&self, command: Command) {
        let _ = self.keeper.send(command);
    }

    /// Tells every controller session. What is told while there is none is in the next Hello.
    pub(super) fn tell(&self, message: &FromNode) {
        for session in self.sessions.values() {
            let _ = session.send(message.clone());
        }
    }

    pub(super) fn serve(&self, process: &ProcessName) {
        if let Err(error) = self.voters.serve(process) {
            tracing::error!("{}", crate::Chain(&error));
        }
    }
}

/// Takes over what runs, or starts what is committed, unless that has to wait for a controller: then
/// `resume` stays. What runs already is not held up by an agent that starts anew.
/// What the keeper has.
fn entries(table: link::Event) -> Result<(String, Vec<Entry>), AgentError> {
    match table {
        link::Event::Table { life, processes } => Ok((life, processes)),
        _ => Err(AgentError::Keeper(std::io::Error::other(
            "it did not begin with its table",
        ))),
    }
}

/// The machine that goes on with what was found, or waits with what it will resume.
fn begin(alone: StartAlone, found: Beginning) -> (Machine, Vec<Effect>, Option<Resume>) {
    if alone == StartAlone::No && found.known.is_empty() && found.current.number != 0 {
        let machine = Machine::waiting(found.current, found.restarted_for);
        let say = Effect::Say(WAITS.to_owned());
        return (machine, vec![say], found.resume);
    }
    let (machine, effects) = Machine::start(found, Moment::ZERO);
    (machine, effects, None)
}

async fn until(deadline: Option<Instant>) {
    match deadline {
        Some(at) => tokio::time::sleep_until(at.into()).await,
        None => std::future::pending().await,
    }
}

/// What the keeper has, with the generations that belong to it.
fn known(
    store: &Store,
    committed: &Arc<Generation>,
    entries: Vec<Entry>,
    groups: &Groups,
) -> Vec<Known> {
    let mut loaded = BTreeMap::from([(committed.number, Arc::clone(committed))]);
    let mut load = |number: u64| {
        let generation = loaded.entry(number).or_insert_with(|| {
            // A process of a generation that is lost is brought in line as if it were foreign.
            Arc::new(store.load(number).unwrap_or_else(|error| {
                tracing::error!("{}", crate::Chain(&error));
                Generation::pristine()
            }))
        });
        Arc::clone(generation)
    };
    let alive = entries.into_iter().filter(|entry| entry.exit.is_none());
    alive
        .map(|entry| {
            groups.add(entry.pid, entry.process.clone());
            groups.add(entry.main, entry.process.clone());
            let origin = load(entry.generation);
            let ready = entry.ready || launch::is_settled(&origin, &entry);
            Known {
                handled: load(entry.handled_generation),
                process: entry.process,
                pid: entry.pid,
                main: entry.main,
                origin,
                ready,
            }
        })
        .collect()
}

/// What the journal says; what it says of staging is finished by the controller's next order.
fn resume(store: &Store, entries: &[Entry]) -> Result<Option<Resume>, Fatal> {
    let journal = store.journal()?;
    if let Some(staging) = journal.staging {
        tracing::warn!(manifest = %staging.manifest, "found the staging for {} unfinished: it is begun again when the controller asks for it", staging.rollout);
        if let Err(error) = store.note_staging(None) {
            tracing::warn!("{}", crate::Chain(&error));
        }
    }
    let Some(note) = journal.activating else {
        return Ok(None);
    };
    match (store.load(note.from), store.load(note.to)) {
        (Ok(from), Ok(to)) => {
            let (from, to) = (Arc::new(from), Arc::new(to));
            let from_test = note.from_test.clone().and_then(|test| {
                let stored = Arc::new(store.load(test.stored).ok()?);
                Some(test_mode::of_note(test, stored, Moment::ZERO))
            });
            let ended = entries.iter().filter_map(|entry| {
                let exit = entry.exit.as_ref()?;
                let is_new = [entry.generation, entry.handled_generation].contains(&note.to)
                    && find_service(&to.manifest, &entry.process).is_some();
                is_new.then(|| (entry.process.clone(), exit.to_string()))
            });
            let ended = ended.collect();
            Ok(Some(Resume {
                note,
                from,
                from_test,
                to,
                ended,
            }))
        }
        (Err(_), _) | (_, Err(_)) if journal.booting.is_some() => {
            tracing::info!(
                "the node restarted for the change of {}, and what was in memory is gone: the change goes on when the controller orders it again",
                note.rollout
            );
            store.note_activating(None)?;
            Ok(None)
        }
        (Err(error), _) | (_, Err(error)) => {
            tracing::error!(
                "the change of {} was cut off and cannot be gone on with, what is committed stays: {}",
                note.rollout,
                crate::Chain(&error)
            );
            store.note_activating(None)?;
            Ok(None)
        }
    }
}
