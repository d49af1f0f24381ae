//! Random graphs of processes and libraries, as real ELF files.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use placet_model::{ProcessKind, ProcessSpec};
use placet_tests::Sample;
use tempfile::TempDir;

use crate::software::Software;

/// What a process does about a change of what it uses.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Conduct {
    Simple,
    Handles,
    AsksForDefault,
}

/// Libraries by number; one needs and declares only such as have a smaller number.
#[derive(Debug, Clone)]
struct Library {
    needs: Vec<usize>,
    declares: Vec<usize>,
    edition: u32,
    /// Other bytes of the same program.
    build: u32,
}

#[derive(Debug, Clone)]
pub(super) struct Program {
    needs: Vec<usize>,
    /// What it declares: some of it is opened, the rest might be one day.
    declares: Vec<usize>,
    opens: Vec<usize>,
    pub(super) conduct: Conduct,
    edition: u32,
}

#[derive(Debug, Clone)]
pub(super) struct Graph {
    libraries: Vec<Library>,
    pub(super) programs: Vec<Program>,
}

pub(super) fn library(number: usize) -> String {
    format!("lib/lib{number}.so")
}

pub(super) fn program(number: usize) -> String {
    format!("p{number}")
}

impl Graph {
    pub(super) fn random(sample: &mut Sample) -> Self {
        let count = *sample.pick(&[3, 5, 7, 9]);
        let libraries: Vec<_> = (0..count)
            .map(|number| Library {
                needs: some(sample, number),
                declares: few(sample, number),
                edition: 0,
                build: 0,
            })
            .collect();
        let programs = (0..*sample.pick(&[2, 4, 6]))
            .map(|_| Program::random(sample, count))
            .collect();
        Self {
            libraries,
            programs,
        }
    }

    /// The next version: some libraries and perhaps a program have another constant, others are
    /// only built anew. Returns the paths of what really changed.
    pub(super) fn bump(&mut self, sample: &mut Sample) -> BTreeSet<String> {
        let mut changed = BTreeSet::new();
        for (number, one) in self.libraries.iter_mut().enumerate() {
            match *sample.pick(&[0, 0, 0, 0, 1, 1, 2]) {
                1 => {
                    one.edition += 1;
                    changed.insert(library(number));
                }
                2 => one.build += 1,
                _ => {}
            }
        }
        for (number, one) in self.programs.iter_mut().enumerate() {
            if *sample.pick(&[true, false, false, false, false, false]) {
                one.edition += 1;
                changed.insert(format!("bin/{}", program(number)));
            }
        }
        changed
    }

    /// What a program would have mapped had it opened all that it, or a library of it, declares.
    pub(super) fn reach(&self, number: usize) -> BTreeSet<String> {
        let program = &self.programs[number];
        let mut open: Vec<_> = [&program.needs[..], &program.declares].concat();
        let mut seen = BTreeSet::new();
        while let Some(number) = open.pop() {
            if seen.insert(number) {
                let one = &self.libraries[number];
                open.extend(one.needs.iter().chain(&one.declares));
            }
        }
        seen.into_iter().map(library).collect()
    }

    /// True if `from` needs or declares `target`; both are paths of modules.
    pub(super) fn is_edge(&self, from: &str, target: &str) -> bool {
        let of = |needs: &[usize], declares: &[usize]| {
            needs
                .iter()
                .chain(declares)
                .any(|it| library(*it) == target)
        };
        let mut libraries = self.libraries.iter().enumerate();
        let mut programs = self.programs.iter().enumerate();
        libraries.any(|(it, one)| library(it) == from && of(&one.needs, &one.declares))
            || programs.any(|(it, one)| program(it) == from && of(&one.needs, &one.declares))
    }

    pub(super) fn build(&self, workshop: &Workshop) -> Software {
        let mut software = Software::new();
        let paths = |numbers: &[usize]| numbers.iter().map(|it| library(*it)).collect::<Vec<_>>();
        for (number, one) in self.libraries.iter().enumerate() {
            let bytes = workshop.library(number, one);
            software = software.elf(&library(number), &bytes, &paths(&one.declares), None);
        }
        for (number, one) in self.programs.iter().enumerate() {
            let (name, bytes) = (program(number), workshop.program(one));
            let path = format!("bin/{name}");
            software = software.elf(&path, &bytes, &paths(&one.declares), Some(one.spec(&name)));
        }
        software
    }
}

impl Program {
    fn random(sample: &mut Sample, libraries: usize) -> Self {
        let declares = few(sample, libraries);
        let opens = declares
            .iter()
            .copied()
            .filter(|_| *sample.pick(&[true, true, false]))
            .collect();
        Self {
            needs: some(sample, libraries),
            declares,
            opens,
            conduct: *sample.pick(&[
                Conduct::Simple,
                Conduct::Simple,
                Conduct::Handles,
                Conduct::AsksForDefault,
            ]),
            edition: 0,
        }
    }

    fn spec(&self, name: &str) -> ProcessSpec {
        let conduct = match self.conduct {
            Conduct::Handles => "handle",
            Conduct::Simple | Conduct::AsksForDefault => "default",
        };
        let opens = self.opens.iter().map(|it| format!("lib{it}.so"));
        ProcessSpec {
            name: name.parse().unwrap(),
            kind: match self.conduct {
                Conduct::Simple => ProcessKind::Simple,
                Conduct::Handles | Conduct::AsksForDefault => ProcessKind::SelfManaging,
            },
            notify: true,
            arguments: [conduct.to_owned()].into_iter().chain(opens).collect(),
            stop_seconds: 5,
            ready_seconds: 10,
            ..ProcessSpec::default()
        }
    }
}

/// About a third of the numbers below `end`.
fn some(sample: &mut Sample, end: usize) -> Vec<usize> {
    (0..end)
        .filter(|_| *sample.pick(&[true, false, false]))
        .collect()
}

/// About an eighth of the numbers below `end`.
fn few(sample: &mut Sample, end: usize) -> Vec<usize> {
    (0..end)
        .filter(|_| *sample.pick(&[true, false, false, false, false, false, false, false]))
        .collect()
}

/// Where the compiler works.
pub(super) struct Workshop(TempDir);

impl Workshop {
    pub(super) fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    fn file(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn libraries(&self, numbers: &[usize]) -> Vec<PathBuf> {
        let file = |number: &usize| self.file(&format!("lib{number}.so"));
        numbers.iter().map(file).collect()
    }

    fn library(&self, number: usize, one: &Library) -> Vec<u8> {
        let (source, output) = (self.file("l.c"), self.file(&format!("lib{number}.so")));
        let edition = one.edition;
        let text = format!(
            "const int v{number} = {edition}; int f{number}(void) {{ return v{number}; }}\n"
        );
        fs::write(&source, text).unwrap();
        let mut cc = Command::new("cc");
        cc.args(["-shared", "-fPIC", "-nostdlib", "-Wl,--no-as-needed"])
            .arg(format!("-Wl,-soname,lib{number}.so"))
            .arg(format!("-Wl,--build-id=0x{:040x}", one.build + 1))
            .arg(source)
            .args(self.libraries(&one.needs));
        made(&mut cc, &output)
    }

    fn program(&self, one: &Program) -> Vec<u8> {
        let object = self.file(&format!("program-{}.o", one.edition));
        if !object.exists() {
            let headers = concat!(env!("CARGO_MANIFEST_DIR"), "/../sdk/c");
            let source = concat!(
                env!("CARGO_MANIFEST_DIR"),
                "/tests/node/precision/program.c"
            );
            let mut cc = Command::new("cc");
            cc.arg(format!("-DEDITION={}", one.edition));
            made(cc.args(["-c", "-I", headers, source]), &object);
        }
        let mut cc = Command::new("cc");
        cc.arg(object)
            .args(["-Wl,--no-as-needed"])
            .arg(format!("-Wl,-rpath-link,{}", self.0.path().display()))
            .args(self.libraries(&one.needs));
        made(&mut cc, &self.file("program"))
    }
}

fn made(cc: &mut Command, output: &Path) -> Vec<u8> {
    let status = cc.arg("-o").arg(output).status().unwrap();
    assert!(status.success(), "the C compiler failed");
    fs::read(output).unwrap()
}
