//! What every ELF file of this machine would load and miss, beside what the machine's own loader
//! says.
//!
//! `PLACET_FULL=1 cargo test --release -p placet-packager --test real completeness` looks at all of
//! them and keeps the figures.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, File};
use std::io::Read as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use placet_model::Architecture;
use placet_package::ElfKind;
use placet_packager::deps::{Loaded, Loader, Machine, Missing, Object, SearchOrder, Target, Tree};
use placet_tests::{Sample, evidence, is_full};
use serde_json::json;

use crate::missing::{Found, ldd};

/// Where the files are; every one of them, without an exception.
const ROOT: &str = "/usr";
/// Files that a run without `PLACET_FULL=1` looks at.
const FEW: usize = 150;
/// So many times as fast as `ldd -r` it is in a release build at least.
const TIMES_LEAST: f64 = 20.0;

/// What comes into a process, and what it misses.
#[derive(Debug, Default, PartialEq, Eq)]
struct Judgement {
    missing: Found,
    /// The files that are found, by the name under which they were needed first.
    libraries: BTreeMap<String, PathBuf>,
    /// Symbols that are missing, with the files that miss them.
    users: BTreeSet<(String, PathBuf)>,
}

impl Judgement {
    /// Without symbols that files list and nothing in them refers to: the loader never looks for these.
    fn without_unused(mut self, theirs: &Self) -> Self {
        self.users
            .retain(|user| theirs.users.contains(user) || is_referred_to(user));
        let symbols = self.users.iter().map(|(symbol, _)| symbol.clone());
        self.missing.symbols = symbols.collect();
        self
    }
}

/// True if a relocation of the file names the symbol, by what GNU readelf says.
fn is_referred_to((symbol, file): &(String, PathBuf)) -> bool {
    let mut command = Command::new("readelf");
    let output = command.arg("-rW").arg(file).output().unwrap();
    assert!(output.status.success());
    let text = String::from_utf8(output.stdout).unwrap();
    let named = |word: &str| word.split('@').next() == Some(symbol);
    text.lines().any(|line| line.split_whitespace().any(named))
}

#[test]
fn findings_are_those_of_the_loader() {
    let files = chosen(&elf_files());
    let (own, placet) = timed(|| by_placet(&files));
    let (theirs, ldd) = timed(|| files.iter().map(|path| by_ldd(path)).collect::<Vec<_>>());
    let (mut judged, mut with_findings, mut never_used) = (0, 0, 0);
    let mut differing = Vec::new();
    for ((path, own), theirs) in files.iter().zip(own).zip(theirs) {
        if let Some(theirs) = theirs {
            judged += 1;
            with_findings += usize::from(theirs.missing != Found::default());
            let own = own.map(|own| {
                let told = own.users.len();
                let own = own.without_unused(&theirs);
                never_used += told - own.users.len();
                own
            });
            if own.as_ref() != Some(&theirs) {
                differing.push(format!("{}: {own:#?}, ldd {theirs:#?}", path.display()));
            }
        } else if let Some(own) = own.filter(|_| is_loaded(path)) {
            differing.push(format!("{}: {own:#?}, ldd refuses it", path.display()));
        }
    }
    assert!(differing.is_empty(), "{}", differing.join("\n"));
    assert!(judged * 2 > files.len(), "{judged} of {}", files.len());
    let times = ldd.as_secs_f64() / placet.as_secs_f64();
    let is_debug = cfg!(debug_assertions);
    assert!(
        times > TIMES_LEAST || is_debug || !is_full(),
        "{times} times as fast"
    );
    let figures = json!({
        "files": files.len(), "judgedByLdd": judged, "withFindings": with_findings,
        "neverUsedSymbols": never_used,
        "placetSeconds": placet.as_secs_f64(), "lddSeconds": ldd.as_secs_f64(),
        "times": times,
    });
    let name = ["completeness", "completeness-debug"][usize::from(is_debug)];
    evidence(name, &figures);
}

/// All files in a full run, a sample of them otherwise.
fn chosen(files: &[PathBuf]) -> Vec<PathBuf> {
    let mut sample = Sample::new("completeness", files.len(), FEW.min(files.len()));
    if is_full() {
        return files.to_vec();
    }
    (0..sample.cases)
        .map(|_| sample.pick(files).clone())
        .collect()
}

/// What `work` gives, and how long it took once its files were in the page cache.
fn timed<T>(work: impl Fn() -> T) -> (T, Duration) {
    if is_full() {
        work();
    }
    let begun = Instant::now();
    let done = work();
    (done, begun.elapsed())
}

/// What comes with each file if it is started, or loaded alone; none for what makes no sense.
fn by_placet(files: &[PathBuf]) -> Vec<Option<Judgement>> {
    let machine = Machine::new(Path::new("/"));
    let order = SearchOrder::of_root(Path::new("/"));
    let loader = Loader::new(&machine, &order);
    let judged = files.iter().map(|path| {
        let found = machine.find(path.to_str()?)?;
        Some(judgement(&loader.load(&found)))
    });
    judged.collect()
}

fn judgement(loaded: &Loaded) -> Judgement {
    let mut judgement = Judgement::default();
    let mut seen = BTreeSet::new();
    for library in loaded.objects.iter().flat_map(|object| &object.uses) {
        if let Some(Target::Object(index)) = library.found
            && seen.insert(index)
            && !is_path_or_loader(&library.name)
        {
            let path = PathBuf::from(&loaded.objects[index].path);
            judgement.libraries.insert(library.name.clone(), path);
        }
    }
    for (index, missing) in loaded.missing() {
        if let Missing::Symbol { symbol, .. } = &missing {
            let name = symbol.split('@').next().unwrap_or_default().to_owned();
            let path = PathBuf::from(&loaded.objects[index].path);
            judgement.users.insert((name, path));
        }
        judgement.missing.add(missing);
    }
    judgement
}

/// What `ldd` lists without saying where it was found.
fn is_path_or_loader(name: &str) -> bool {
    name.contains('/') || name.starts_with("ld-linux")
}

/// `None` for what the loader refuses.
fn by_ldd(file: &Path) -> Option<Judgement> {
    let (text, is_judged) = ldd(file);
    let real = |path: &str| fs::canonicalize(path).unwrap();
    let lines = text.lines().map(str::trim);
    let found = lines.clone().filter_map(|line| {
        let (name, rest) = line.split_once(" => ")?;
        let (path, _) = rest.split_once(" (0x")?;
        Some((name.to_owned(), real(path)))
    });
    let users = lines.filter_map(|line| {
        let rest = line.strip_prefix("undefined symbol: ");
        let rest = rest.or_else(|| line.strip_prefix("symbol "))?;
        let (symbol, rest) = rest.split_once(|it: char| it.is_whitespace() || it == ',')?;
        let (_, path) = rest.rsplit_once('(')?;
        Some((symbol.to_owned(), real(path.trim_end_matches(')'))))
    });
    is_judged.then(|| Judgement {
        missing: Found::of_ldd(&text),
        libraries: found.filter(|(name, _)| !is_path_or_loader(name)).collect(),
        users: users.collect(),
    })
}

/// True of what this machine's loader can bring into a process: a program or a library for its
/// processor that has dependencies.
fn is_loaded(file: &Path) -> bool {
    let machine = Machine::new(Path::new("/"));
    let object_of = |path: &Path| Some(machine.find(path.to_str()?)?.object);
    let processor = |object: &Object| -> (Architecture, _) {
        (object.architecture.clone(), object.facts.class)
    };
    let own = object_of(&std::env::current_exe().unwrap()).unwrap();
    object_of(file).is_some_and(|object| {
        object.kind != ElfKind::Other
            && processor(&object) == processor(&own)
            && (object.facts.interpreter.is_some() || !object.facts.needed.is_empty())
    })
}

/// Every regular file below the root that begins as ELF files do, sorted.
fn elf_files() -> Vec<PathBuf> {
    let mut files = Vec::new();
    let mut folders = vec![PathBuf::from(ROOT)];
    while let Some(folder) = folders.pop() {
        // What is not to be read is not to be loaded either.
        let entries = fs::read_dir(&folder).into_iter().flatten();
        for entry in entries.filter_map(Result::ok) {
            let kind = entry.file_type().unwrap();
            if kind.is_dir() {
                folders.push(entry.path());
            } else if kind.is_file() && is_elf(&entry.path()) {
                files.push(entry.path());
            }
        }
    }
    files.sort();
    files
}

fn is_elf(path: &Path) -> bool {
    let mut magic = [0; 4];
    let read = File::open(path).and_then(|mut file| file.read_exact(&mut magic));
    read.is_ok() && magic == *b"\x7fELF"
}
