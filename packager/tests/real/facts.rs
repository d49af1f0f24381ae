//! Facts about every ELF file of real packages, compared with what other tools say of it.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use placet_package::{ElfFile, read_elf};
use tempfile::TempDir;

use crate::debian::{debs, unpack};
use crate::readelf::compare_with_readelf;

const PACKAGES: [&str; 8] = [
    "frr",
    "libssl3=oldest",
    "libssl3",
    "nginx",
    "haproxy",
    "unbound",
    "rpm",
    "librpm9",
];

/// C libraries for other processors: both word sizes, both byte orders.
const FOREIGN: [(&str, &str); 10] = [
    ("libc6-s390x-cross", "s390x"),
    ("libc6-arm64-cross", "aarch64"),
    ("libc6-armhf-cross", "arm"),
    ("libc6-i386-cross", "i686"),
    ("libc6-ppc64el-cross", "ppc64le"),
    ("libc6-ppc64-cross", "ppc64"),
    ("libc6-riscv64-cross", "riscv64"),
    ("libc6-mips-cross", "mips"),
    ("libc6-m68k-cross", "m68k"),
    ("libc6-hppa-cross", "parisc"),
];

/// Packages, each unpacked into a folder of its own.
struct Unpacked(Vec<TempDir>);

impl Unpacked {
    fn new(names: &[&str]) -> Option<Self> {
        let unpacked = debs(names)?.into_iter().map(|deb| {
            let folder = tempfile::tempdir().unwrap();
            unpack(&deb, folder.path());
            folder
        });
        Some(Self(unpacked.collect()))
    }

    /// Every ELF file that is loaded or executed.
    fn files(&self) -> Vec<PathBuf> {
        let mut files = Vec::new();
        for folder in &self.0 {
            collect(folder.path(), &mut files);
        }
        files
    }
}

fn collect(folder: &Path, files: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).unwrap().flatten() {
        let kind = entry.file_type().unwrap();
        if kind.is_dir() {
            collect(&entry.path(), files);
        } else if kind.is_file() && fs::read(entry.path()).unwrap().starts_with(b"\x7fELF") {
            files.push(entry.path());
        }
    }
}

fn read(file: &Path) -> ElfFile {
    read_elf(&fs::read(file).unwrap()).unwrap().unwrap()
}

#[test]
fn every_file_reads_as_readelf_reads_it() {
    let Some(unpacked) = Unpacked::new(&PACKAGES) else {
        return;
    };
    let files = unpacked.files();
    assert!(files.len() > 60, "{}", files.len());
    for file in files {
        compare_with_readelf(&file);
    }
}

#[test]
fn files_for_other_processors_read_as_readelf_reads_them() {
    let names = FOREIGN.map(|(name, _)| name);
    let Some(unpacked) = Unpacked::new(&names) else {
        return;
    };
    for (folder, (_, architecture)) in unpacked.0.iter().zip(FOREIGN) {
        let mut files = Vec::new();
        collect(folder.path(), &mut files);
        assert!(files.len() > 5, "{architecture}: {}", files.len());
        for file in files {
            let elf = compare_with_readelf(&file);
            assert_eq!(elf.architecture.0, architecture, "{}", file.display());
        }
    }
}

/// `elfdeps` of rpm prints `soname(version)(64bit)`.
#[test]
fn sonames_and_versions_are_those_of_elfdeps() {
    let Some(unpacked) = Unpacked::new(&PACKAGES) else {
        return;
    };
    for file in unpacked.files() {
        // Of a file that names an interpreter and may not be executed (libfrr.so.0.0.0, which tells
        // its version when it is run) elfdeps takes no requirements at all.
        fs::set_permissions(&file, fs::Permissions::from_mode(0o755)).unwrap();
        let (elf, name) = (read(&file), file.display());
        let needed = elf.facts.needed.iter().map(|soname| format!("{soname}()"));
        let versions = elf.facts.versions_needed.iter();
        let versions = versions.map(|it| format!("{}({})", it.soname, it.version));
        let expected: BTreeSet<_> = needed.chain(versions).collect();
        assert_eq!(elfdeps("--requires", &file), expected, "{name}");
        let soname = elf.facts.soname.iter();
        let versions = elf.facts.versions_provided.iter();
        let versions = soname
            .clone()
            .flat_map(|soname| versions.clone().map(move |it| format!("{soname}({it})")));
        let expected = soname.map(|soname| format!("{soname}()")).chain(versions);
        assert_eq!(elfdeps("--provides", &file), expected.collect(), "{name}");
    }
}

/// What `elfdeps` says, without what it adds: the word size, and that the loader has to know one
/// kind of hash table.
fn elfdeps(option: &str, file: &Path) -> BTreeSet<String> {
    let mut command = Command::new("/usr/lib/rpm/elfdeps");
    let output = command.arg(option).arg(file).output().unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    let lines = text.lines().filter(|line| *line != "rtld(GNU_HASH)");
    let lines = lines.map(|line| line.strip_suffix("(64bit)").unwrap().to_owned());
    lines.collect()
}

/// The part of `dpkg-shlibdeps` that reads files, asked for what it works with.
#[test]
fn sonames_and_versions_are_those_of_dpkg_shlibdeps() {
    const SCRIPT: &str = "use Dpkg::Shlibs::Objdump;
        foreach my $file (@ARGV) {
            my $object = Dpkg::Shlibs::Objdump::Object->new($file);
            print \"file $file\\n\";
            print \"needed $_\\n\" foreach @{$object->{NEEDED}};
            foreach my $symbol ($object->get_undefined_dynamic_symbols()) {
                print \"symbol $symbol->{name} $symbol->{version}\\n\" unless $symbol->{weak};
            }
        }";
    let Some(unpacked) = Unpacked::new(&PACKAGES) else {
        return;
    };
    let files = unpacked.files();
    let mut command = Command::new("perl");
    let output = command.args(["-e", SCRIPT]).args(&files).output().unwrap();
    assert!(output.status.success());
    let text = String::from_utf8(output.stdout).unwrap();
    let mut found: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
    let mut current = "";
    for line in text.lines() {
        match line.strip_prefix("file ") {
            Some(file) => current = file,
            None => found.entry(current).or_default().push(line),
        }
    }
    for file in &files {
        let (elf, name) = (read(file), file.to_str().unwrap());
        let needed = elf
            .facts
            .needed
            .iter()
            .map(|soname| format!("needed {soname}"));
        // Copies of objects that have versions (stderr) it takes for symbols of the program alone;
        // those without version it takes for wanted, as the loader does.
        let is_copied = |text: &str| text.contains('@') && elf.symbols.exported.contains(text);
        let imported = elf.symbols.imported.iter().filter(|text| !is_copied(text));
        // Symbols without version are of the version `Base` for objdump, where there are others.
        let symbols = imported.map(|text| {
            let (name, version) = text.split_once('@').unwrap_or((text, "Base"));
            format!("symbol {name} {version}")
        });
        let expected: BTreeSet<_> = needed.chain(symbols).collect();
        let lines = found.get(name).into_iter().flatten();
        let lines = lines.map(|line| match line.strip_suffix(' ') {
            Some(line) => format!("{line} Base"),
            None => (*line).to_owned(),
        });
        let lines: BTreeSet<_> = lines.collect();
        let differing: Vec<_> = lines.symmetric_difference(&expected).collect();
        assert!(differing.is_empty(), "{name}: {differing:?}");
    }
}
