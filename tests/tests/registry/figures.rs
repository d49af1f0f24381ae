//! What it takes to import a large package of Debian and to push it; pushing it again sends nothing.
//!
//! `PLACET_PROGRAM=$PWD/target/release/placet PLACET_FULL=1 cargo test -p placet-tests --test registry figures`
//! keeps the figures of a release build.

use std::fs;
use std::path::Path;
use std::process::Stdio;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use placet_tests::command::command;
use placet_tests::{RegistryServer, debs, evidence, is_full, median, placet, thousandths};
use serde_json::json;

use crate::proxy::{Fate, Proxy};
use crate::text;

/// A command of the program under test.
struct Ran {
    seconds: f64,
    /// Peak of its resident memory in MiB.
    mebibytes: f64,
    said: String,
}

/// Runs a command of the program under test, which must succeed.
fn measured(arguments: &[&str]) -> Ran {
    let begun = Instant::now();
    let mut child = command(arguments)
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let status = format!("/proc/{}/status", child.id());
    let mut peak = 0;
    // The system forgets the peak with the process.
    while child.try_wait().unwrap().is_none() {
        let status = fs::read_to_string(&status).unwrap_or_default();
        let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
        let kibibytes = line.and_then(|line| line.trim().trim_end_matches(" kB").parse().ok());
        peak = peak.max(kibibytes.unwrap_or(0));
        thread::sleep(Duration::from_millis(1));
    }
    let seconds = begun.elapsed().as_secs_f64();
    let output = child.wait_with_output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success(), "{arguments:?}: {said}");
    Ran {
        seconds,
        mebibytes: f64::from(peak) / 1024.0,
        said,
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_large_package_is_imported_and_pushed_once() {
    let names = ["frr", "libssl3", "nginx", "haproxy", "unbound", "rpm"];
    let (Some(debs), Some(server)) = (debs(&names), RegistryServer::open()) else {
        return;
    };
    let deb = debs.iter().max_by_key(|deb| size(deb)).unwrap();
    let sent = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&sent);
    let proxy = Proxy::before(server.port(), move |request, _| {
        let is_upload = ["POST", "PATCH", "PUT"]
            .iter()
            .any(|it| request.starts_with(it));
        if is_upload && request.contains("/blobs/") {
            count.fetch_add(1, Ordering::Relaxed);
        }
        Fate::Pass
    })
    .await;
    let folder = tempfile::tempdir().unwrap();
    let rounds = if is_full() { 5 } else { 1 };
    let (mut imports, mut pushes, mut sent_again) = (Vec::new(), Vec::new(), 0);
    for round in 0..rounds {
        let layout = text(&folder.path().join(round.to_string()));
        let to = format!("oci-layout:{layout}");
        let deb = text(deb);
        let import = [
            "package",
            "import",
            &deb,
            "--to",
            &to,
            "--drop-set-id",
            "--absolute-links",
        ];
        let place = proxy.at(&format!("debian/round-{round}"));
        let push = ["package", "push", &layout, &place];
        imports.push(measured(&import));
        pushes.push(measured(&push));
        let uploads = sent.swap(0, Ordering::Relaxed);
        assert!(uploads > 0, "{}", pushes[round].said);
        let again = measured(&push);
        sent_again += sent.load(Ordering::Relaxed);
        assert_eq!(sent_again, 0, "{}", again.said);
        assert!(again.said.contains("0 blobs travelled"), "{}", again.said);
    }
    keep(deb, &imports, &pushes, sent_again);
}

fn size(deb: &Path) -> u64 {
    fs::metadata(deb).unwrap().len()
}

fn keep(deb: &Path, imports: &[Ran], pushes: &[Ran], sent_again: usize) {
    let seconds = |all: &[Ran]| thousandths(median(all.iter().map(|it| it.seconds).collect()));
    let peak = |all: &[Ran]| thousandths(median(all.iter().map(|it| it.mebibytes).collect()));
    let is_release = placet()
        .components()
        .any(|part| part.as_os_str() == "release");
    evidence(
        "import",
        &json!({
            "build": if is_release { "release" } else { "debug" },
            "package": deb.file_name().unwrap().to_string_lossy(),
            "bytes": size(deb),
            "rounds": imports.len(),
            "importSeconds": seconds(imports),
            "importPeakMebibytes": peak(imports),
            "pushSeconds": seconds(pushes),
            "pushPeakMebibytes": peak(pushes),
            "blobRequestsOfSecondPushes": sent_again,
        }),
    );
}
