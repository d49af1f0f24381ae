//! Activation and supervision against a virtual clock and a world that does as it is told.

use std::collections::VecDeque;
use std::fmt::Write as _;

use expect_test::{Expect, expect};
use placet_model::NodeManifest;
use proptest::prelude::*;

use super::*;
use crate::link::Signal;
use crate::testing::{entry, file, manifest, needs, process, self_managing, with};

mod boot;
mod chance;
mod health;
mod renew;
mod soak;
mod suite;
mod test;

/// How the processes of a world behave; all are well-behaved by default.
#[derive(Debug, Default, Clone)]
struct Habits {
    /// They end with an error when they are started from this generation.
    die_in: BTreeMap<&'static str, u64>,
    /// They never say that they are ready in this generation.
    never_ready_in: BTreeMap<&'static str, u64>,
    /// They do not end on SIGTERM.
    stubborn: BTreeSet<&'static str>,
    /// What they do when told of a change; they handle it by default.
    on_change: BTreeMap<&'static str, OnChange>,
    /// The disk refuses to swap to this generation.
    no_commit: Option<u64>,
    /// For how long changes are watched.
    soak: Duration,
    /// They end with an error when they have run so long from this generation.
    die_after: BTreeMap<&'static str, (u64, Duration)>,
    /// The generations with whose boot image the node does not come up.
    bad_images: BTreeSet<u64>,
    /// What goes wrong with the boot loader.
    loader_refuses: Option<BootStep>,
    /// What their health commands say, one answer after the other; then only that all is well.
    health: BTreeMap<&'static str, VecDeque<Result<(), String>>>,
    /// How tests end, and after how long; the others pass after a second.
    tests: BTreeMap<&'static str, (i32, Duration)>,
}

#[derive(Debug, Clone, Copy)]
enum OnChange {
    AskDefault,
    Exit,
}

impl Beginning {
    /// A node on which nothing runs yet.
    fn of(current: Arc<Generation>) -> Self {
        Self {
            current,
            test: None,
            known: Vec::new(),
            resume: None,
            restarted_for: None,
        }
    }
}

/// Keeper, disk and processes.
struct World {
    machine: Machine,
    habits: Habits,
    generations: Vec<Arc<Generation>>,
    committed: u64,
    test: Option<store::Test>,
    note: Option<Activating>,
    running: BTreeMap<ProcessName, Known>,
    /// The generation in which each process thinks it lives.
    believes: BTreeMap<ProcessName, u64>,
    next_pid: u32,
    /// The generation whose boot image the node runs, and the one that is tried next.
    image: u64,
    armed: Option<u64>,
    /// The note about a restart for a boot image, and whether that is over.
    booting: Option<(Digest, bool)>,
    now: Moment,
    inbox: VecDeque<Event>,
    /// Processes that are about to die.
    doomed: Vec<(Moment, ProcessName, u32)>,
    /// What the keeper has to say to the next agent of processes that ended.
    ended: BTreeMap<ProcessName, String>,
    transcript: String,
}

impl World {
    /// A node that runs generation 1 of these manifests.
    fn new(manifests: impl IntoIterator<Item = NodeManifest>, habits: Habits) -> Self {
        let numbers = 1..;
        let generations: Vec<_> = numbers
            .zip(manifests)
            .map(|(number, manifest)| generation(number, manifest))
            .collect();
        let first = Arc::clone(&generations[0]);
        let (machine, effects) = Machine::start(Beginning::of(first), Moment::ZERO);
        let mut world = Self {
            machine,
            habits,
            generations,
            committed: 1,
            test: None,
            note: None,
            running: BTreeMap::new(),
            believes: BTreeMap::new(),
            next_pid: 101,
            image: 1,
            armed: None,
            booting: None,
            now: Moment::ZERO,
            inbox: VecDeque::new(),
            doomed: Vec::new(),
            ended: BTreeMap::new(),
            transcript: String::new(),
        };
        world.perform(effects);
        world.settle();
        world.transcript.clear();
        world
    }

    fn order(&self, from: u64, to: u64) -> Order {
        Order {
            rollout: "r".to_owned(),
            change_digest: Digest::of(b"change"),
            from: self.generation(from).digest,
            to: self.generation(to),
            overridden: BTreeSet::new(),
            announced: Announcements::new(),
            soak: self.habits.soak,
            test: None,
        }
    }

    fn generation(&self, number: u64) -> Arc<Generation> {
        Arc::clone(&self.generations[usize::try_from(number).unwrap() - 1])
    }

    fn activate(&mut self, from: u64, to: u64) {
        let order = self.order(from, to);
        self.inbox.push_back(Event::Activate(order));
        self.settle();
    }

    /// Lets events and time pass until nothing is left to happen.
    fn settle(&mut self) {
        for _ in 0..200 {
            if !self.step() {
                return;
            }
        }
    }

    /// One event, or the next deadline; false if there is neither.
    fn step(&mut self) -> bool {
        let event = match self.inbox.pop_front() {
            Some(event) => event,
            None => match (self.next_death(), self.machine.deadline()) {
                (Some(index), at) if at.is_none_or(|at| self.doomed[index].0 <= at) => {
                    self.dies(index);
                    return true;
                }
                (_, Some(at)) => {
                    self.now = self.now.max(at);
                    Event::Tick
                }
                (_, None) => return false,
            },
        };
        let effects = self.machine.handle(event, self.now);
        self.perform(effects);
        true
    }

    fn next_death(&self) -> Option<usize> {
        let indices = 0..self.doomed.len();
        indices.min_by_key(|index| self.doomed[*index].0)
    }

    /// A process ends by itself, if it still runs.
    fn dies(&mut self, index: usize) {
        let (at, process, pid) = self.doomed.remove(index);
        self.now = self.now.max(at);
        let runs = self.running.get(&process);
        if let Some(known) = runs.filter(|known| known.pid == pid) {
            let is_service = find_service(&known.origin.manifest, &process).is_some();
            let code = if is_service {
                3
            } else {
                self.end_of(&process).0
            };
            let how = if is_service { "dies" } else { "ends" };
            self.line(&format!("{process} ({pid}) {how}"));
            self.exit(&process, pid, Exit::Code(code));
        }
    }

    /// How a test ends.
    fn end_of(&self, test: &ProcessName) -> (i32, Duration) {
        let end = self.habits.tests.get(test.as_str()).copied();
        end.unwrap_or((0, Duration::from_secs(1)))
    }

    /// The agent dies and another one takes over.
    fn crash(&mut self) {
        self.inbox.clear();
        let resume = self.note.clone().map(|note| Resume {
            from: self.generation(note.from),
            from_test: note.from_test.clone().map(|test| self.test(&test)),
            to: self.generation(note.to),
            note,
            ended: std::mem::take(&mut self.ended),
        });
        let known = self.running.values().cloned().collect();
        let test = self.test.as_ref().map(|test| self.test(test));
        let runs = self
            .test
            .as_ref()
            .map_or(self.committed, |test| test.generation);
        let restarted = self.booting.filter(|(_, is_over)| *is_over);
        let found = Beginning {
            test,
            known,
            resume,
            restarted_for: restarted.map(|(manifest, _)| manifest),
            ..Beginning::of(self.generation(runs))
        };
        let (machine, effects) = Machine::start(found, self.now);
        self.machine = machine;
        self.perform(effects);
    }

    fn test(&self, test: &store::Test) -> Test {
        Test {
            stored: self.generation(test.stored),
            rollout: test.rollout.clone(),
            change_digest: test.change_digest,
            ends: test.ends,
        }
    }

    fn perform(&mut self, effects: Vec<Effect>) {
        for effect in effects {
            self.perform_one(effect);
        }
    }

    fn perform_one(&mut self, effect: Effect) {
        match effect {
            Effect::Start {
                process,
                generation,
            } => self.start(process, generation),
            Effect::Signal {
                process,
                pid,
                signal,
            } => self.signal(&process, pid, signal),
            Effect::Mark {
                process,
                pid,
                generation,
            } => {
                let known = self
                    .running
                    .get_mut(&process)
                    .filter(|known| known.pid == pid);
                if let Some(known) = known {
                    known.handled = generation;
                }
            }
            Effect::Prepare(Notice { work, process, .. }) => {
                self.line(&format!("prepare {process}"));
                self.inbox.push_back(Event::Prepared { work, process });
            }
            Effect::Tell(notice, outcome) => self.told(notice.work, notice.process, outcome),
            Effect::Boot {
                work,
                step,
                generation,
            } => self.boot(work, step, generation.number),
            Effect::NoteBoot(manifest) => self.booting = manifest.map(|it| (it, false)),
            Effect::Retire(process) => self.line(&format!("retire {process}")),
            Effect::Note(note) => self.note = note,
            Effect::Fail { reason, .. } => self.line(&format!("record failure: {reason}")),
            Effect::Commit { stored, test } => self.commit(stored, test),
            Effect::Answer { outcome, .. } => match outcome {
                Ok(generation) => self.line(&format!("answer: generation {}", generation.number)),
                Err(error) => self.line(&format!("answer: {error}")),
            },
            Effect::Look { process, pid, .. } => self.look(process, pid),
            Effect::GiveNotice { outcome, .. } => match outcome {
                None => self.line("notice: it begins"),
                Some(outcome) => self.line(&format!("notice: {outcome:?}")),
            },
            Effect::Report | Effect::Say(_) => {}
        }
    }

    fn start(&mut self, process: ProcessName, generation: Arc<Generation>) {
        let pid = self.next_pid;
        self.next_pid += 1;
        let number = generation.number;
        self.believes.insert(process.clone(), number);
        self.line(&format!("start {process} from {number} as {pid}"));
        self.inbox.push_back(Event::Started {
            process: process.clone(),
            pid,
        });
        if find_service(&generation.manifest, &process).is_none() {
            let after = self.end_of(&process).1;
            self.doomed.push((self.now + after, process.clone(), pid));
        }
        let name = process.as_str();
        let notifies = find(&generation.manifest, &process).unwrap().1.notify;
        let known = Known {
            process: process.clone(),
            pid,
            main: pid,
            origin: Arc::clone(&generation),
            handled: generation,
            ready: true,
        };
        if self.habits.die_in.get(name) == Some(&number) {
            let output = vec!["first".to_owned(), "cannot open lib\u{1b}".to_owned()];
            self.inbox.push_back(Event::Exited {
                process,
                pid,
                exit: Exit::Code(127),
                output,
            });
            return;
        }
        if let Some((of, after)) = self.habits.die_after.get(name)
            && *of == number
        {
            let at = self.now + *after;
            self.doomed.push((at, process.clone(), pid));
        }
        let silent = self.habits.never_ready_in.get(name) == Some(&number);
        self.running.insert(
            process.clone(),
            Known {
                ready: notifies && !silent,
                ..known
            },
        );
        if notifies && !silent {
            self.inbox.push_back(Event::Ready { process, pid });
        }
    }

    fn signal(&mut self, process: &ProcessName, pid: u32, signal: Signal) {
        self.line(&format!("{signal:?} {process} ({pid})").to_lowercase());
        let runs = self
            .running
            .get(process)
            .is_some_and(|known| known.pid == pid);
        if runs && (signal == Signal::Kill || !self.habits.stubborn.contains(process.as_str())) {
            self.exit(process, pid, Exit::Signal(15));
        }
    }

    fn exit(&mut self, process: &ProcessName, pid: u32, exit: Exit) {
        self.running.remove(process);
        let process = process.clone();
        self.inbox.push_back(Event::Exited {
            process,
            pid,
            exit,
            output: Vec::new(),
        });
    }

    fn commit(&mut self, stored: u64, test: Option<store::Test>) {
        match &test {
            Some(test) => {
                let (number, left) = (
                    test.generation,
                    test.ends.map(|ends| ends.saturating_sub(self.now)),
                );
                self.line(&format!("test {number} over {stored} for {left:?}"));
            }
            None => self.line(&format!("commit {stored}")),
        }
        if self.habits.no_commit == Some(stored) {
            let refused = Err("disk full".to_owned());
            return self.inbox.push_back(Event::Committed(refused));
        }
        self.committed = stored;
        self.test = test;
        self.inbox.push_back(Event::Committed(Ok(())));
    }

    fn look(&mut self, process: ProcessName, pid: u32) {
        let answers = self.habits.health.get_mut(process.as_str());
        let answer = answers.and_then(VecDeque::pop_front).unwrap_or(Ok(()));
        let says = answer.as_ref().err().map_or("well", String::as_str);
        self.line(&format!("look at {process} ({pid}): {says}"));
        self.inbox.push_back(Event::Looked {
            process,
            pid,
            answer,
        });
    }

    fn told(&mut self, work: u64, process: ProcessName, outcome: Outcome) {
        self.line(&format!("tell {process}: {outcome:?}"));
        // The world has no process that was told of another generation than 1 and 2.
        let number = if outcome == Outcome::Activated { 2 } else { 1 };
        self.believes.insert(process.clone(), number);
        let habit = self.habits.on_change.get(process.as_str());
        if let Some(OnChange::Exit) = habit {
            let pid = self.running[&process].pid;
            self.exit(&process, pid, Exit::Code(0));
        } else {
            let handled = habit.is_none();
            self.inbox.push_back(Event::Told {
                work,
                process,
                handled,
            });
        }
    }

    fn line(&mut self, text: &str) {
        writeln!(self.transcript, "{} {text}", self.now.as_millis()).unwrap();
    }

    fn check(&self, expected: &Expect) {
        expected.assert_eq(&self.transcript);
    }

    fn pids(&self) -> BTreeMap<&str, u32> {
        self.running
            .values()
            .map(|known| (known.process.as_str(), known.pid))
            .collect()
    }
}

fn generation(number: u64, manifest: NodeManifest) -> Arc<Generation> {
    Arc::new(Generation::new(number, manifest, BTreeMap::new()))
}

/// `a` and `b` depend on the library, `b` and the self-managing `s` start later; `c` is alone.
fn fleet(library: &[u8]) -> NodeManifest {
    let late = |module| with(module, |spec| spec.start_order = 10);
    let notifies = |module| with(module, |spec| spec.notify = true);
    manifest([
        entry(file("lib", "0644", library)),
        entry(notifies(needs(process("a", "a"), "lib"))),
        entry(late(needs(process("b", "b"), "lib"))),
        entry(process("c", "c")),
        entry(late(self_managing(needs(process("s", "s"), "lib")))),
    ])
}

/// The fleet without `c`, and with the new `d`.
fn other(library: &[u8]) -> NodeManifest {
    let mut manifest = fleet(library);
    manifest
        .modules
        .retain(|entry| entry.module.path.as_str() != "c");
    manifest.modules.push(entry(process("d", "d")));
    manifest
        .modules
        .sort_by(|one, other| one.module.path.cmp(&other.module.path));
    manifest
}

#[test]
fn processes_start_in_ascending_order_and_later_ones_when_earlier_ones_are_ready() {
    let mut world = World::new([fleet(b"1")], Habits::default());
    world.running.clear();
    world.crash();
    world.settle();
    world.check(&expect![[r"
          400 start a from 1 as 105
          400 start c from 1 as 106
          600 start b from 1 as 107
          600 start s from 1 as 108
    "]]);
}

#[test]
fn an_activation_touches_whom_the_change_touches_in_the_prescribed_order() {
    let mut world = World::new([fleet(b"1"), fleet(b"2")], Habits::default());
    world.activate(1, 2);
    world.check(&expect![[r"
        400 notice: it begins
        400 prepare s
        400 commit 2
        400 terminate b (103)
        400 terminate a (101)
        400 start a from 2 as 105
        400 start b from 2 as 106
        400 tell s: Activated
        600 notice: Activated
        600 answer: generation 2
    "]]);
}

#[test]
fn obsolete_processes_are_stopped_and_new_ones_started() {
    let mut world = World::new([fleet(b"1"), other(b"1")], Habits::default());
    world.activate(1, 2);
    world.check(&expect![[r"
        400 notice: it begins
        400 commit 2
        400 terminate c (102)
        400 retire c
        400 start d from 2 as 105
        600 notice: Activated
        600 answer: generation 2
    "]]);
}

#[test]
fn a_self_managing_process_that_asks_for_the_default_is_restarted() {
    let habits = Habits {
        on_change: BTreeMap::from([("s", OnChange::AskDefault)]),
        ..Habits::default()
    };
    let mut world = World::new([fleet(b"1"), fleet(b"2")], habits);
    world.activate(1, 2);
    world.check(&expect![[r"
        400 notice: it begins
        400 prepare s
        400 commit 2
        400 terminate b (103)
        400 terminate a (101)
        400 start a from 2 as 105
        400 start b from 2 as 106
        400 tell s: Activated
        400 terminate s (104)
        400 start s from 2 as 107
        600 notice: Activated
        600 answer: generation 2
    "]]);
}

#[test]
fn a_self_managing_process_may_handle_the_change_by_ending() {
    let habits = Habits {
        on_change: BTreeMap::from([("s", OnChange::Exit)]),
        ..Habits::default()
    };
    let mut world = World::new([fleet(b"1"), fleet(b"2")], habits);
    world.activate(1, 2);
    world.check(&expect![[r"
        400 notice: it begins
        400 prepare s
        400 commit 2
        400 terminate b (103)
        400 terminate a (101)
        400 start a from 2 as 105
        400 start b from 2 as 106
        400 tell s: Activated
        400 start s from 2 as 107
        600 notice: Activated
        600 answer: generation 2
    "]]);
}

#[test]
fn an_overridden_process_is_told_and_restarted_regardless() {
    let mut world = World::new([fleet(b"1"), fleet(b"2")], Habits::default());
    let mut order = world.order(1, 2);
    order.overridden.insert("s".parse().unwrap());
    world.inbox.push_back(Event::Activate(order));
    world.settle();
    world.check(&expect![[r"
        400 notice: it begins
        400 prepare s
        400 commit 2
        400 terminate b (103)
        400 terminate s (104)
        400 terminate a (101)
        400 start a from 2 as 105
        400 start b from 2 as 106
        400 start s from 2 as 107
        600 notice: Activated
        600 answer: generation 2
    "]]);
}

#[test]
fn a_process_that_dies_at_start_gives_the_change_back() {
    let habits = Habits {
        die_in: BTreeMap::from([("b", 2)]),
        ..Habits::default()
    };
    let mut world = World::new([fleet(b"1"), fleet(b"2")], habits);
    world.activate(1, 2);
    world.check(&expect![[r"
        400 notice: it begins
        400 prepare s
        400 commit 2
        400 terminate b (103)
        400 terminate a (101)
        400 start a from 2 as 105
        400 start b from 2 as 106
        400 tell s: Activated
        400 record failure: b exited with code 127; it wrote: first / cannot open lib\u{1b}
        400 commit 1
        400 terminate a (105)
        400 start a from 1 as 107
        400 start b from 1 as 108
        400 tell s: Regressed
        600 notice: Regressed
        600 answer: b exited with code 127; it wrote: first / cannot open lib\u{1b}
    "]]);
}

#[test]
fn a_process_that_does_not_become_ready_gives_the_change_back() {
    let habits = Habits {
        never_ready_in: BTreeMap::from([("a", 2)]),
        ..Habits::default()
    };
    let mut world = World::new([fleet(b"1"), fleet(b"2")], habits);
    world.activate(1, 2);
    world.check(&expect![[r"
        400 notice: it begins
        400 prepare s
        400 commit 2
        400 terminate b (103)
        400 terminate a (101)
        400 start a from 2 as 105
        5400 terminate a (105)
        5400 record failure: a did not become ready within 5 s
        5400 commit 1
        5400 start a from 1 as 106
        5400 start b from 1 as 107
        5600 notice: Regressed
        5600 tell s: Failed
        5600 answer: a did not become ready within 5 s
    "]]);
}

#[test]
fn a_swap_that_fails_changes_nothing_and_those_that_prepared_hear_of_it() {
    let habits = Habits {
        no_commit: Some(2),
        ..Habits::default()
    };
    let mut world = World::new([fleet(b"1"), fleet(b"2")], habits);
    let before = world
        .pids()
        .into_iter()
        .map(|(name, pid)| (name.to_owned(), pid))
        .collect::<Vec<_>>();
    world.activate(1, 2);
    world.check(&expect![[r"
        400 notice: it begins
        400 prepare s
        400 commit 2
        400 notice: Failed
        400 tell s: Failed
        400 answer: disk full
    "]]);
    let after: Vec<_> = world
        .pids()
        .into_iter()
        .map(|(name, pid)| (name.to_owned(), pid))
        .collect();
    assert_eq!(before, after);
}

#[test]
fn a_process_that_ignores_the_signal_is_killed_when_its_time_is_up() {
    let habits = Habits {
        stubborn: BTreeSet::from(["a"]),
        ..Habits::default()
    };
    let mut world = World::new([fleet(b"1"), fleet(b"2")], habits);
    world.activate(1, 2);
    world.check(&expect![[r"
        400 notice: it begins
        400 prepare s
        400 commit 2
        400 terminate b (103)
        400 terminate a (101)
        5400 kill a (101)
        5400 start a from 2 as 105
        5400 start b from 2 as 106
        5400 tell s: Activated
        5600 notice: Activated
        5600 answer: generation 2
    "]]);
}

#[test]
fn a_process_that_dies_by_itself_is_started_again_with_growing_pauses() {
    let mut world = World::new([fleet(b"1")], Habits::default());
    for _ in 0..4 {
        let pid = world.pids()["c"];
        world.exit(&"c".parse().unwrap(), pid, Exit::Code(1));
        world.settle();
    }
    world.check(&expect![[r"
        500 start c from 1 as 105
        900 start c from 1 as 106
        1500 start c from 1 as 107
        2500 start c from 1 as 108
    "]]);
}

#[test]
fn an_order_that_does_not_fit_is_refused_and_one_that_is_done_is_answered() {
    let mut world = World::new([fleet(b"1"), fleet(b"2"), fleet(b"3")], Habits::default());
    world.activate(2, 3);
    world.activate(3, 1);
    let text = world.transcript.clone();
    assert!(text.contains("but this node runs"), "{text}");
    assert!(text.ends_with("answer: generation 1\n"), "{text}");
    assert!(!text.contains(" start "), "{text}");
}

#[test]
fn an_order_that_comes_while_another_is_obeyed_waits() {
    let mut world = World::new([fleet(b"1"), fleet(b"2"), fleet(b"3")], Habits::default());
    let (first, second) = (world.order(1, 2), world.order(2, 3));
    world
        .inbox
        .extend([Event::Activate(first), Event::Activate(second)]);
    world.settle();
    let answers: Vec<_> = world
        .transcript
        .lines()
        .filter(|line| line.contains("answer"))
        .collect();
    assert_eq!(answers.len(), 2, "{answers:?}");
    assert!(
        answers[0].ends_with("generation 2") && answers[1].ends_with("generation 3"),
        "{answers:?}"
    );
}

#[test]
fn after_a_crash_exactly_the_stale_processes_are_restarted() {
    let mut world = World::new([fleet(b"1"), fleet(b"2")], Habits::default());
    let order = world.order(1, 2);
    world.inbox.push_back(Event::Activate(order));
    while !world.transcript.contains("commit 2") {
        world.step();
    }
    world.crash();
    world.transcript.clear();
    world.settle();
    world.check(&expect![[r"
        400 terminate a (101)
        400 start a from 2 as 105
        400 start b from 2 as 106
        400 tell s: Activated
        600 notice: Activated
        600 answer: generation 2
    "]]);
}

#[test]
fn a_crash_before_the_swap_leaves_everything_as_it_was() {
    let mut world = World::new([fleet(b"1"), fleet(b"2")], Habits::default());
    let order = world.order(1, 2);
    let effects = world.machine.handle(Event::Activate(order), world.now);
    world.perform(effects);
    assert!(world.note.is_some());
    world.crash();
    world.transcript.clear();
    world.settle();
    world.check(&expect![""]);
    assert_eq!(world.note, None);
}

/// What a world may do while one change goes through it.
fn habits() -> impl Strategy<Value = Habits> {
    let names = || prop::sample::subsequence(vec!["a", "b", "c", "d", "s"], 0..=2);
    let change = prop_oneof![
        Just(None),
        Just(Some(OnChange::AskDefault)),
        Just(Some(OnChange::Exit))
    ];
    let soaks = prop::option::of(prop::sample::select(vec!["a", "b", "c", "d"]));
    let looks = prop::collection::vec(any::<bool>(), 0..4);
    let all = (names(), names(), names(), change, soaks, looks);
    all.prop_map(|(die, silent, stubborn, change, late, looks)| Habits {
        die_in: die.into_iter().map(|name| (name, 2)).collect(),
        never_ready_in: silent
            .into_iter()
            .filter(|name| *name == "a")
            .map(|name| (name, 2))
            .collect(),
        stubborn: stubborn.into_iter().collect(),
        on_change: change.into_iter().map(|change| ("s", change)).collect(),
        no_commit: None,
        soak: Duration::from_secs(if late.is_some() { 10 } else { 0 }),
        // Whoever dies late enough not to fail the start fails while the change soaks.
        die_after: late
            .into_iter()
            .map(|name| (name, (2, Duration::from_secs(4))))
            .collect(),
        bad_images: BTreeSet::new(),
        loader_refuses: None,
        health: BTreeMap::from([("a", health::answers(looks))]),
        tests: BTreeMap::new(),
    })
}

proptest! {
    /// Whatever the processes do, and however often the agent dies: in the end one generation is
    /// committed, every process runs for it, and one that was not touched was never restarted.
    #[test]
    fn every_run_ends_in_one_generation(
        habits in habits(),
        crashes in prop::collection::vec(0_usize..40, 0..4),
        replaces in any::<bool>(),
    ) {
        let target = health::watched(if replaces { other(b"2") } else { fleet(b"2") });
        let mut world = World::new([fleet(b"1"), target], habits);
        let untouched = world.pids()["c"];
        let order = world.order(1, 2);
        world.inbox.push_back(Event::Activate(order));
        for steps in crashes {
            for _ in 0..steps {
                world.step();
            }
            world.crash();
        }
        world.settle();
        prop_assert_eq!(&world.note, &None, "{}", world.transcript);
        prop_assert!(!world.machine.is_busy(), "{}", world.transcript);
        let committed = world.generation(world.committed);
        prop_assert_eq!(world.machine.current(), &committed);
        for name in committed.manifest.modules.iter().filter_map(|entry| entry.module.process.as_ref().map(|spec| &spec.name)) {
            let dies = world.habits.die_in.get(name.as_str()) == Some(&world.committed);
            if dies {
                continue;
            }
            let known = world.running.get(name);
            prop_assert!(known.is_some(), "{} does not run:\n{}", name, world.transcript);
            let stale = placet_planner::change(&known.unwrap().handled.manifest, &committed.manifest);
            let stale = stale.change_set.processes.iter().any(|process| process.name == *name);
            prop_assert!(!stale, "{} is stale:\n{}", name, world.transcript);
            let touched = !["c", "d"].contains(&name.as_str());
            prop_assert!(!touched || world.believes[name] == world.committed, "{} is misled:\n{}", name, world.transcript);
        }
        if !replaces {
            prop_assert_eq!(world.pids()["c"], untouched, "{}", world.transcript);
        }
    }
}
