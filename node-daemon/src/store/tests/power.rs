//! The power is cut, or the daemon killed, at every operation of a life with several updates.

use std::collections::BTreeMap;
use std::env;
use std::path::PathBuf;
use std::process::Command;

use nix::sys::signal::{Signal, raise};
use placet_tests::{Sample, evidence, is_full};
use serde_json::json;

use super::super::disk::Operation;
use super::cut::{Cut, Recorded};
use super::*;

/// What the daemon was sure of at one moment.
#[derive(Debug, Clone, Default)]
struct Known {
    /// How many operations were done by then.
    operations: usize,
    committed: NodeManifest,
    journal: Journal,
    epoch: u64,
    /// What is being worked on.
    wanted: NodeManifest,
}

/// A life: the operations done and what was known in between.
#[derive(Default)]
struct Life {
    steps: Vec<Recorded>,
    known: Vec<Known>,
}

impl Life {
    /// What may be found after a cut at `operation`: what was known before it, and what was to be
    /// known once the step under way was done.
    fn may_be(&self, operation: usize) -> Vec<&Known> {
        let next = self
            .known
            .partition_point(|known| known.operations <= operation);
        let last = &self.known[next.saturating_sub(1)];
        if last.operations == operation || next == self.known.len() {
            return vec![last];
        }
        vec![last, &self.known[next]]
    }

    /// The steps before each operation; one operation may be several steps.
    fn record(folder: &Path) -> Self {
        let steps: Arc<Mutex<Vec<Recorded>>> = Arc::default();
        let (seen, root) = (Arc::clone(&steps), folder.to_owned());
        let disk = Disk::watched(move |operation| {
            seen.lock().unwrap().extend(Recorded::of(operation, &root));
            Ok(())
        });
        let mut known = Vec::new();
        live(folder, disk, &mut |mut now| {
            now.operations = steps.lock().unwrap().len();
            known.push(now);
        })
        .unwrap();
        let steps = steps.lock().unwrap().clone();
        Self { steps, known }
    }
}

/// The manifests that follow each other: shared, changed and added modules, two modes of one, deep
/// folders, a link, one that is empty, and some that are stored before they are active.
fn manifests() -> Vec<NodeManifest> {
    (0..5u8)
        .map(|round| {
            let mut entries = vec![
                entry(file("usr/bin/tool", "0755", &content("tool", round))),
                entry(file(
                    "usr/lib/deep/down/library",
                    "0644",
                    &content("library", round / 2),
                )),
                entry(file("usr/lib/shared", "0644", &content("shared", 0))),
                entry(file("usr/share/copy", "0755", &content("shared", 0))),
                entry(file("usr/share/empty", "0644", b"")),
                entry(link("usr/bin/alias", "../share/copy")),
            ];
            let extra = |of| file("opt/extra", "0500", &content("extra", of));
            if round % 2 == 1 {
                entries.push(entry(extra(round)));
            }
            let mut manifest = manifest(entries);
            if round % 2 == 0 && round < 4 {
                // What becomes active in the next round.
                manifest.inactive.push(InactivePackage {
                    name: "extra".parse().unwrap(),
                    version: "1.0.0".parse().unwrap(),
                    digest: Digest::of(b"extra"),
                    modules: vec![extra(round + 1)],
                });
            }
            manifest
        })
        .collect()
}

fn content(name: &str, round: u8) -> Vec<u8> {
    format!("{name} of round {round}\n").repeat(40).into_bytes()
}

fn contents() -> BTreeMap<Digest, Vec<u8>> {
    let mut contents = vec![Vec::new()];
    for name in ["tool", "library", "shared", "extra"] {
        contents.extend((0..5).map(|round| content(name, round)));
    }
    contents
        .into_iter()
        .map(|content| (Digest::of(&content), content))
        .collect()
}

/// Fetches as the agent does: in pieces, and once more from the start where what was there before
/// turns out to be wrong.
fn fetch_all(store: &Store, manifest: &NodeManifest, base: &Generation) -> Result<(), StoreError> {
    let contents = contents();
    for missing in store.missing(manifest, base) {
        let mut modules = manifest.stored_modules();
        let module = modules.find(|module| module.digest == missing.digest);
        let module = module.unwrap();
        loop {
            let mut incoming = store.incoming(missing)?;
            let offset = usize::try_from(incoming.offset()).unwrap();
            for piece in contents[&missing.digest][offset..].chunks(300) {
                incoming.add(piece)?;
            }
            match incoming.finish(module) {
                Err(StoreError::WrongDigest { .. }) if offset > 0 => {}
                finished => break finished?,
            }
        }
    }
    Ok(())
}

/// Writes down what is sure, step by step.
struct Diary<'a> {
    now: Known,
    tell: &'a mut dyn FnMut(Known),
}

impl Diary<'_> {
    fn sure(&mut self, change: impl FnOnce(&mut Known)) {
        change(&mut self.now);
        (self.tell)(self.now.clone());
    }
}

/// Every change of the store that an agent makes for updates, one of them given back; `tell` hears
/// what is sure after each step.
fn live(folder: &Path, disk: Disk, tell: &mut dyn FnMut(Known)) -> Result<(), StoreError> {
    let store = Store::open(folder, disk)?;
    let now = Known::default();
    let mut diary = Diary { now, tell };
    for (round, wanted) in manifests().into_iter().enumerate() {
        diary.sure(|known| known.wanted = wanted);
        let epoch = round as u64 + 1;
        store.note_epoch(epoch)?;
        diary.sure(|known| known.epoch = epoch);
        activate(&store, &mut diary, round == 3)?;
    }
    Ok(())
}

/// Stages and activates what is wanted.
fn activate(store: &Store, diary: &mut Diary<'_>, gives_back: bool) -> Result<(), StoreError> {
    let wanted = diary.now.wanted.clone();
    let base = store.committed()?;
    let staging = Staging {
        rollout: "r".to_owned(),
        manifest: wanted.digest(),
    };
    store.note_staging(Some(&staging))?;
    diary.sure(|known| known.journal.staging = Some(staging));
    fetch_all(store, &wanted, &base)?;
    let generation = store.lay_out(&wanted, &base)?;
    store.note_staging(None)?;
    diary.sure(|known| known.journal.staging = None);
    let mut note = Activating {
        rollout: "r".to_owned(),
        change_digest: Digest::of(b"change"),
        from: base.number,
        to: generation.number,
        gives_back: None,
        soak_seconds: 0,
        soaks: false,
        from_test: None,
    };
    store.note_activating(Some(&note))?;
    diary.sure(|known| known.journal.activating = Some(note.clone()));
    store.commit(generation.number)?;
    diary.sure(|known| known.committed = wanted);
    let booting = Booting {
        manifest: generation.digest,
        boot_id: "this one".to_owned(),
    };
    store.note_booting(Some(&booting))?;
    diary.sure(|known| known.journal.booting = Some(booting));
    store.note_booting(None)?;
    diary.sure(|known| known.journal.booting = None);
    if gives_back {
        note.gives_back = Some("it was asked to".to_owned());
        store.note_activating(Some(&note))?;
        diary.sure(|known| known.journal.activating = Some(note));
        store.commit(base.number)?;
        diary.sure(|known| known.committed.clone_from(&base.manifest));
        store.note_failed(&BTreeMap::from([(
            generation.digest,
            "it failed".to_owned(),
        )]))?;
    }
    store.note_activating(None)?;
    diary.sure(|known| known.journal.activating = None);
    store.collect(
        &BTreeSet::from([store.committed()?.number, base.number]),
        &BTreeSet::new(),
    )?;
    diary.sure(|_| ());
    Ok(())
}

/// Looks at what is left as the agent does when it starts, and does the update again.
fn check_left(folder: &Path, may_be: &[&Known], cut: &str) {
    let store = Store::open(folder, Disk::default()).unwrap_or_else(|e| panic!("{cut}: {e:?}"));
    let committed = store.committed().unwrap_or_else(|e| panic!("{cut}: {e:?}"));
    let journal = store.journal().unwrap_or_else(|e| panic!("{cut}: {e:?}"));
    let epoch = store.epoch().unwrap_or_else(|e| panic!("{cut}: {e:?}"));
    store.failed().unwrap_or_else(|e| panic!("{cut}: {e:?}"));
    let is = |what: &dyn Fn(&Known) -> bool| may_be.iter().any(|known| what(known));
    assert!(
        is(&|known| known.committed == committed.manifest),
        "{cut}: {committed:?}"
    );
    assert!(
        is(&|known| known.journal.staging == journal.staging),
        "{cut}: {journal:?}"
    );
    assert!(
        is(&|known| known.journal.activating == journal.activating),
        "{cut}: {journal:?} is none of {may_be:#?}"
    );
    assert!(
        is(&|known| known.journal.booting == journal.booting),
        "{cut}: {journal:?}"
    );
    assert!(is(&|known| known.epoch == epoch), "{cut}: epoch {epoch}");
    if let Some(note) = &journal.activating {
        for number in [note.from, note.to] {
            store
                .load(number)
                .unwrap_or_else(|e| panic!("{cut}: {e:?}"));
        }
        assert!([note.from, note.to].contains(&committed.number), "{cut}");
    }
    check_whole(&store, cut);

    let wanted = &may_be[0].wanted;
    let now = Known {
        wanted: wanted.clone(),
        ..Known::default()
    };
    let tell = &mut drop;
    activate(&store, &mut Diary { now, tell }, false)
        .unwrap_or_else(|e| panic!("{cut}, again: {e:?}"));
    assert_eq!(store.committed().unwrap().manifest, *wanted, "{cut}");
    assert_eq!(store.journal().unwrap(), Journal::default(), "{cut}");
    check_whole(&store, cut);
}

/// In memory where there is such a folder: the model decides what a flush does here.
fn scratch() -> TempDir {
    let memory = Path::new("/dev/shm");
    if memory.is_dir() {
        tempfile::tempdir_in(memory).unwrap()
    } else {
        tempfile::tempdir().unwrap()
    }
}

/// Some of `all`, by the printed seed; all of them in a full run.
fn sampled<T: Clone>(name: &str, all: &[T], few: usize) -> Vec<T> {
    let mut sample = Sample::new(name, all.len(), few);
    if is_full() {
        return all.to_vec();
    }
    (0..sample.cases)
        .map(|_| sample.pick(all).clone())
        .collect()
}

#[test]
fn a_power_cut_anywhere_leaves_the_old_generation_or_the_new_one() {
    let recorded = scratch();
    let life = Life::record(recorded.path());
    let seeds = 0..4u64;
    let all: Vec<(usize, u64)> = (0..=life.steps.len())
        .flat_map(|step| seeds.clone().map(move |seed| (step, seed)))
        .collect();
    let mut points = sampled("power-cut", &all, 100);
    points.sort_unstable();
    let (mut disk, mut done) = (Cut::new(), 0);
    for (step, seed) in &points {
        for next in &life.steps[done..*step] {
            disk.apply(next);
        }
        done = *step;
        let left = scratch();
        disk.leave(left.path(), seed ^ (*step as u64) << 8);
        let said = format!(
            "cut before step {step} ({:?}), seed {seed}",
            life.steps.get(*step)
        );
        check_left(left.path(), &life.may_be(*step), &said);
    }
    let figures = json!({ "operations": life.steps.len(), "points": points.len() });
    evidence("power-cut", &figures);
}

/// The folder in which the process of [`a_life_that_ends_by_signal`] lives.
const FOLDER: &str = "PLACET_TEST_STORE";

/// Before which of its operations it dies.
const DIES_AT: &str = "PLACET_TEST_DIES_AT";

/// The life of the process that [`a_killed_process_leaves_the_old_generation_or_the_new_one`]
/// starts; by itself it lives to its end.
#[test]
fn a_life_that_ends_by_signal() {
    let own = tempfile::tempdir().unwrap();
    let folder = env::var_os(FOLDER).map_or(own.path().to_owned(), PathBuf::from);
    let dies_at = env::var(DIES_AT)
        .ok()
        .map(|number| number.parse::<usize>().unwrap());
    let passed = AtomicUsize::new(0);
    let root = folder.clone();
    let disk = Disk::watched(move |operation: &Operation<'_>| {
        // Counted as the record counts.
        let steps = Recorded::of(operation, &root).len();
        if dies_at.is_some_and(|at| at < passed.fetch_add(steps, Ordering::Relaxed) + steps) {
            raise(Signal::SIGKILL).unwrap();
        }
        Ok(())
    });
    live(&folder, disk, &mut drop).unwrap();
    let committed = store_at(&folder).committed().unwrap().manifest;
    assert_eq!(Some(&committed), manifests().last());
}

#[test]
fn a_killed_process_leaves_the_old_generation_or_the_new_one() {
    let recorded = scratch();
    let life = Life::record(recorded.path());
    let all: Vec<usize> = (0..life.steps.len()).collect();
    let points = sampled("killed-store", &all, 20);
    for step in &points {
        let left = scratch();
        let ended = Command::new(env::current_exe().unwrap())
            .args(["--exact", "store::tests::power::a_life_that_ends_by_signal"])
            .env(FOLDER, left.path())
            .env(DIES_AT, step.to_string())
            .output()
            .unwrap();
        let how = std::os::unix::process::ExitStatusExt::signal(&ended.status);
        assert_eq!(how, Some(9), "{}", String::from_utf8_lossy(&ended.stdout));
        // The first of the steps that one operation is may not have been done either.
        let before = step.saturating_sub(1);
        let mut may_be = life.may_be(before);
        may_be.extend(life.may_be(*step));
        check_left(left.path(), &may_be, &format!("killed at {step}"));
    }
    evidence("killed-store", &json!({ "points": points.len() }));
}
