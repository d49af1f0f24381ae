//! Test suites (B8): once a change runs in test mode, the tests of its suites run one after another.
//! What is tested is stored only if none of them failed.
//!
//! **Invariant:** no test runs while processes are being changed, or outside of test mode. One that
//! runs then is asked to end, and a change waits until it has.

use std::sync::Arc;
use std::time::Duration;

use placet_model::{Digest, NodeManifest, PackageName, ProcessName, ProcessSpec};

use super::process::{KILL_AGAIN, death};
use super::{Effect, Machine, Moment, Order, find};
use crate::link::{Exit, Signal};

/// A test says with this code that it does not apply here, as for automake and many others.
const SKIPPED: i32 = 77;

/// Of each of the last lines of a test that failed, so many characters are kept.
const LINE_MOST: usize = 120;

/// A package that is a test suite, and what became of its tests.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::agent) struct Suite {
    pub(in crate::agent) package: PackageName,
    pub(in crate::agent) version: String,
    pub(in crate::agent) tests: Vec<(ProcessName, Outcome)>,
}

/// What became of a test.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::agent) enum Outcome {
    /// It has not run yet.
    Waiting,
    Passed,
    Skipped,
    /// Why.
    Failed(String),
}

impl Outcome {
    fn of(exit: &Exit, output: &[String], late: Option<u64>) -> Self {
        let how = match (late, exit) {
            (None, Exit::Code(0)) => return Self::Passed,
            (None, Exit::Code(SKIPPED)) => return Self::Skipped,
            (None, exit) => exit.to_string(),
            (Some(seconds), _) => format!("did not end within {seconds} s"),
        };
        let cut = |line: &String| line.chars().take(LINE_MOST).collect();
        let output: Vec<_> = output.iter().map(cut).collect();
        Self::Failed(death(&how, &output))
    }
}

impl Suite {
    /// Those that have tests, and none has run yet.
    fn all_of(manifest: &NodeManifest) -> Vec<Self> {
        let suites = manifest.suites().map(|package| {
            let tests = manifest.tests(package).into_iter();
            Self {
                package: package.name.clone(),
                version: package.version.to_string(),
                tests: tests
                    .map(|test| (test.name.clone(), Outcome::Waiting))
                    .collect(),
            }
        });
        suites.filter(|suite| !suite.tests.is_empty()).collect()
    }
}

/// The suites of what runs in test mode.
#[derive(Debug)]
pub(super) struct Suites {
    /// The manifest that they belong to.
    of: Digest,
    all: Vec<Suite>,
    run: Option<Run>,
}

/// The test that runs.
#[derive(Debug)]
struct Run {
    process: ProcessName,
    /// None until the keeper has said it.
    pid: Option<u32>,
    spec: ProcessSpec,
    /// When its time is up; when it is killed, if it was asked to end.
    due: Moment,
    end: End,
}

/// Whether a test was asked to end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum End {
    /// It ends by itself.
    Own,
    /// Its time was up.
    Late,
    /// Something else is to be done: it runs anew later, if it does.
    Stopped,
}

impl Run {
    fn limit(&self) -> Duration {
        Duration::from_secs(self.spec.ready_seconds.into())
    }

    /// Asks it to end.
    fn terminate(&mut self, end: End, now: Moment) -> Option<Effect> {
        self.due = now + Duration::from_secs(self.spec.stop_seconds.into());
        self.end = end;
        self.signal(Signal::Terminate)
    }

    fn signal(&self, signal: Signal) -> Option<Effect> {
        let process = self.process.clone();
        self.pid.map(|pid| Effect::Signal {
            process,
            pid,
            signal,
        })
    }
}

impl Suites {
    pub(super) fn deadline(&self) -> Option<Moment> {
        self.run.as_ref().map(|run| run.due)
    }

    /// The first test that has not run yet.
    fn waiting(&self) -> Option<&ProcessName> {
        let mut tests = self.all.iter().flat_map(|suite| &suite.tests);
        let waiting = tests.find(|(_, outcome)| *outcome == Outcome::Waiting)?;
        Some(&waiting.0)
    }

    fn is_over(&self) -> bool {
        self.run.is_none() && self.waiting().is_none()
    }

    fn note(&mut self, test: &ProcessName, outcome: &Outcome) {
        let mut tests = self.all.iter_mut().flat_map(|suite| &mut suite.tests);
        if let Some(found) = tests.find(|(name, _)| name == test) {
            found.1 = outcome.clone();
        }
    }

    /// The first test that failed.
    fn failure(&self) -> Option<(&Suite, &ProcessName, &str)> {
        self.all.iter().find_map(|suite| {
            suite
                .tests
                .iter()
                .find_map(|(test, outcome)| match outcome {
                    Outcome::Failed(why) => Some((suite, test, why.as_str())),
                    Outcome::Waiting | Outcome::Passed | Outcome::Skipped => None,
                })
        })
    }
}

/// Which tests are to run.
impl Machine {
    /// The suites of what runs in test mode.
    pub(in crate::agent) fn suites(&self) -> &[Suite] {
        let suites = self.suites.as_ref().map(|it| it.all.as_slice());
        suites.unwrap_or_default()
    }

    /// True where what runs in memory goes back by itself. A node that stores nothing is not in test
    /// mode.
    fn is_in_test_mode(&self) -> bool {
        self.test.as_ref().is_some_and(|test| test.ends.is_some())
    }

    /// All tests are to run where a change `is_new`, and those that have not run yet otherwise.
    pub(super) fn schedule_tests(&mut self, is_new: bool) {
        let of = self.current.digest;
        let all = match &self.suites {
            _ if !self.is_in_test_mode() => Vec::new(),
            Some(known) if known.of == of && !is_new => known.all.clone(),
            _ => Suite::all_of(&self.current.manifest),
        };
        // One that was asked to end is waited for, whatever becomes of the others.
        let run = self.suites.take().and_then(|suites| suites.run);
        let is_any = !all.is_empty() || run.is_some();
        self.suites = is_any.then_some(Suites { of, all, run });
    }

    /// Starts the next test, unless one runs or something else is to be done first.
    pub(super) fn go_on_testing(&mut self) {
        let Some(suites) = &mut self.suites else {
            return;
        };
        if self.work.is_some() || suites.run.is_some() {
            return;
        }
        let test = suites.waiting().cloned();
        let Some((test, spec)) = test.and_then(|test| {
            let (_, spec) = find(&self.current.manifest, &test)?;
            Some((test, spec.clone()))
        }) else {
            return;
        };
        let run = Run {
            process: test.clone(),
            pid: None,
            due: self.now,
            spec,
            end: End::Own,
        };
        suites.run = Some(Run {
            due: self.now + run.limit(),
            ..run
        });
        self.effects.push(Effect::Start {
            process: test,
            generation: Arc::clone(&self.current),
        });
        self.effects.push(Effect::Report);
    }

    /// A person wants to see the tests again.
    pub(super) fn retest(&mut self) {
        if self.work.is_none() && self.suites.as_ref().is_some_and(Suites::is_over) {
            self.schedule_tests(true);
            self.go_on_testing();
        }
    }

    /// An order that can be obeyed now. One to store what runs has to wait until its tests have
    /// ended, and any other until the one has ended that runs.
    pub(super) fn after_tests(&mut self, order: Order) -> Option<Order> {
        let Some(suites) = &self.suites else {
            return Some(order);
        };
        let stores = self.stores_what_runs(&order);
        if suites.is_over() || (!stores && suites.run.is_none()) {
            return Some(order);
        }
        if !stores {
            self.stop_tests();
        }
        self.next = Some(order);
        None
    }

    fn stores_what_runs(&self, order: &Order) -> bool {
        order.to.digest == self.current.digest && order.test.is_none()
    }

    /// Why what runs in test mode may not be stored.
    pub(super) fn why_not_stored(&self) -> Option<String> {
        let (suite, test, why) = self.suites.as_ref()?.failure()?;
        let Suite {
            package, version, ..
        } = suite;
        Some(format!(
            "test {test} of suite {package} {version} failed: it {why}. Change what it finds, or \
             have the tests run anew (`placet node retry`), or go back (`placet node regress`)"
        ))
    }
}

/// The test that runs.
impl Machine {
    fn run(&mut self) -> Option<&mut Run> {
        self.suites.as_mut()?.run.as_mut()
    }

    /// True if `name` is the test that runs, of which the keeper may not have been heard yet.
    pub(super) fn is_test(&mut self, name: &ProcessName, pid: u32) -> bool {
        let run = self.run();
        run.is_some_and(|run| run.process == *name && run.pid.unwrap_or(0) == pid)
    }

    /// Takes note of the number of a test; false if it is none.
    pub(super) fn test_started(&mut self, name: &ProcessName, pid: u32) -> bool {
        let now = self.now;
        let run = self.run();
        let Some(run) = run.filter(|run| run.process == *name && run.pid.is_none()) else {
            return false;
        };
        run.pid = Some(pid);
        let signal = if run.end == End::Own {
            run.due = now + run.limit();
            None
        } else {
            run.terminate(run.end, now)
        };
        self.effects.extend(signal);
        true
    }

    /// Asks the test that runs to end: it runs anew, if it does.
    pub(super) fn stop_tests(&mut self) {
        let now = self.now;
        let run = self.run().filter(|run| run.end != End::Stopped);
        if let Some(run) = run {
            let signal = run.terminate(End::Stopped, now);
            self.effects.extend(signal);
        }
    }

    /// Asks a test to end whose time is up, and kills one that does not.
    pub(super) fn end_late_test(&mut self) {
        let now = self.now;
        let Some(run) = self.run().filter(|run| run.due <= now) else {
            return;
        };
        let signal = match run.end {
            End::Own if run.pid.is_none() => {
                // The keeper has not said yet that it was executed.
                run.due = now + run.limit();
                None
            }
            End::Own => run.terminate(End::Late, now),
            End::Late | End::Stopped => {
                run.due = now + KILL_AGAIN;
                run.signal(Signal::Kill)
            }
        };
        self.effects.extend(signal);
    }

    pub(super) fn test_ended(&mut self, exit: &Exit, output: &[String]) {
        let Some(suites) = &mut self.suites else {
            return;
        };
        let Some(run) = suites.run.take() else {
            return;
        };
        self.effects.push(Effect::Retire(run.process.clone()));
        let late = (run.end == End::Late).then_some(run.limit().as_secs());
        if run.end != End::Stopped {
            let outcome = Outcome::of(exit, output, late);
            suites.note(&run.process, &outcome);
            let test = &run.process;
            self.say(match outcome {
                Outcome::Failed(why) => format!("test {test} failed: it {why}"),
                Outcome::Skipped => format!("test {test} does not apply here"),
                Outcome::Passed | Outcome::Waiting => format!("test {test} passed"),
            });
        }
        self.after_test();
    }

    /// What is to be done next: an order that waited, or the next test.
    fn after_test(&mut self) {
        self.effects.push(Effect::Report);
        if self.work.is_none() {
            self.do_next();
        }
    }

    /// Does what was waited for; an order that is refused leaves the tests to go on.
    pub(super) fn do_next(&mut self) {
        if let Some(order) = self.next.take() {
            self.activate(order);
        }
        self.go_on_testing();
    }
}
