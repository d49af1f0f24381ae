//! How fast signatures are, beside the plain MD5 of the same bytes, and what memory they take.
//!
//! `PLACET_FULL=1 cargo test --release -p placet-packager --test real figures` keeps the figures.

use std::collections::BTreeMap;
use std::env;
use std::fs::{self, File};
use std::io::Read as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

use md5::{Digest as _, Md5};
use placet_package::{file_signature, fingerprint};
use placet_tests::{evidence, is_full, median};
use serde_json::json;

use crate::child;

/// What a child process does with the files that it is told.
const WORK: &str = "PLACET_FIGURE";

/// Runs in a process of its own: the work, and then what memory it took at most.
#[test]
fn child() {
    let Ok(work) = env::var(WORK) else {
        return;
    };
    let (work, list) = work.split_once(' ').unwrap();
    let list = fs::read_to_string(list).unwrap();
    let files: Vec<_> = list.lines().map(Path::new).collect();
    match work {
        "md5" => files.iter().for_each(|path| md5(path)),
        "digest" => files.iter().for_each(|path| {
            fingerprint(&File::open(path).unwrap()).unwrap();
        }),
        threads => sign(&files, threads.parse().unwrap()),
    }
    child::tell_peak();
}

/// The plain MD5 of a file, read in pieces as large as those of signatures.
fn md5(path: &Path) {
    let mut file = File::open(path).unwrap();
    let mut piece = vec![0; 128 << 10];
    let mut md5 = Md5::new();
    loop {
        match file.read(&mut piece).unwrap() {
            0 => break,
            size => md5.update(&piece[..size]),
        }
    }
    std::hint::black_box(md5.finalize());
}

fn sign(files: &[&Path], threads: usize) {
    let next = AtomicUsize::new(0);
    thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| {
                while let Some(path) = files.get(next.fetch_add(1, Ordering::Relaxed)) {
                    let signature = file_signature(&File::open(path).unwrap());
                    std::hint::black_box(signature.unwrap());
                }
            });
        }
    });
}

/// Seconds and peak memory in KiB of one process.
fn run(work: &str, list: &Path) -> (f64, u64) {
    child::run(
        "figures::child",
        WORK,
        &format!("{work} {}", list.display()),
    )
}

/// Programs and libraries of this machine, up to so many bytes.
fn programs(most: u64) -> (Vec<PathBuf>, u64) {
    let folders = [
        "/usr/lib/x86_64-linux-gnu",
        "/usr/bin",
        "/usr/lib/gcc/x86_64-linux-gnu/12",
    ];
    let entries = folders
        .iter()
        .filter_map(|folder| fs::read_dir(folder).ok());
    let mut paths: Vec<_> = entries.flatten().flatten().map(|it| it.path()).collect();
    paths.sort();
    let mut total = 0;
    paths.retain(|path| {
        let Ok(metadata) = fs::symlink_metadata(path) else {
            return false;
        };
        let mut start = [0; 4];
        let is_elf = metadata.is_file()
            && File::open(path).is_ok_and(|mut file| file.read_exact(&mut start).is_ok())
            && start == *b"\x7fELF";
        let fits = is_elf && total + metadata.len() <= most;
        total += if fits { metadata.len() } else { 0 };
        fits
    });
    (paths, total)
}

/// A library of so many bytes, almost all of them data that are loaded, in a file with holes.
fn huge(folder: &Path, size: u64) -> PathBuf {
    fs::write(folder.join("a.s"), ".data\n.globl a\na: .quad 1\n").unwrap();
    let line = "gcc -shared -nostdlib -o huge.so a.s && readelf -lW huge.so";
    let output = Command::new("sh")
        .args(["-c", line])
        .current_dir(folder)
        .output()
        .unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    let path = folder.join("huge.so");
    let mut bytes = fs::read(&path).unwrap();
    let mut loads = text
        .lines()
        .map(str::trim_start)
        .filter(|line| line.starts_with("LOAD "));
    let offset = loads
        .next_back()
        .unwrap()
        .split_whitespace()
        .nth(1)
        .unwrap();
    let offset = u64::from_str_radix(offset.trim_start_matches("0x"), 16).unwrap();
    let count = usize::from(bytes[56]);
    let mut headers = (0..count).map(|index| 64 + 56 * index);
    let header =
        headers.find(|at| bytes[*at] == 1 && bytes[at + 8..at + 16] == offset.to_le_bytes());
    let header = header.unwrap();
    let loaded = size - offset;
    for field in [32, 40] {
        bytes[header + field..header + field + 8].copy_from_slice(&loaded.to_le_bytes());
    }
    fs::write(&path, bytes).unwrap();
    let file = File::options().write(true).open(&path).unwrap();
    file.set_len(size).unwrap();
    path
}

#[test]
fn signatures_beside_plain_md5() {
    if env::var_os(WORK).is_some() {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let list = |name: &str, files: &[PathBuf]| {
        let path = folder.path().join(name);
        let names = files.iter().map(|path| format!("{}\n", path.display()));
        fs::write(&path, names.collect::<String>()).unwrap();
        path
    };
    let (most, rounds, size) = if is_full() {
        (200 << 20, 10, 2 << 30)
    } else {
        (20 << 20, 1, 64 << 20)
    };
    let (files, bytes) = programs(most);
    let corpus = list("corpus", &files);
    let huge = list("huge", &[huge(folder.path(), size)]);
    let cores = thread::available_parallelism().unwrap().get();
    let all = cores.to_string();
    let mut seconds: BTreeMap<&str, Vec<f64>> = BTreeMap::new();
    for _ in 0..rounds {
        for work in ["md5", "1", &all, "digest"] {
            seconds.entry(work).or_default().push(run(work, &corpus).0);
        }
    }
    let seconds = |work: &str| median(seconds[work].clone());
    #[expect(clippy::cast_precision_loss, reason = "some hundred megabytes")]
    let rate = |work: &str| (bytes as f64 / seconds(work) / 1e6).round();
    let ratio = (100.0 * seconds("md5") / seconds("1")).round() / 100.0;
    let (huge_seconds, peak) = run("1", &huge);
    let (_, small) = run("1", &list("none", &[]));
    evidence(
        "signature",
        &json!({
            "files": files.len(),
            "bytes": bytes,
            "rounds": rounds,
            "megabytesPerSecond": {
                "md5": rate("md5"),
                "signature": rate("1"),
                "signatureOnAllCores": rate(&all),
                "signatureAndDigest": rate("digest"),
            },
            "cores": cores,
            "ratioToMd5": ratio,
            "largeFile": {
                "bytes": size,
                "seconds": (10.0 * huge_seconds).round() / 10.0,
                "peakKiB": peak,
                "peakKiBWithoutFile": small,
            },
        }),
    );
    assert!(
        peak < small + 4_096,
        "{peak} KiB for {size} bytes, {small} KiB without"
    );
}
