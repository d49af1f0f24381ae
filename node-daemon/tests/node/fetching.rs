//! How modules arrive: as patches, and no faster than is asked for.

use std::fs;
use std::time::{Duration, Instant};

use placet_model::{Digest, NodeManifest};

use crate::controller::{Controller, Session};
use crate::daemon::Daemon;
use crate::software::Software;

/// Bytes that cannot be compressed.
fn noise(seed: u32, length: usize) -> Vec<u8> {
    let mut state = seed;
    let mut next = || {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (state >> 24) as u8
    };
    (0..length).map(|_| next()).collect()
}

fn data(content: &[u8]) -> Software {
    Software::new().file("lib/data", content)
}

/// What makes `new` of `old`.
fn patch(old: &[u8], new: &[u8]) -> Vec<u8> {
    let mut context = zstd_safe::CCtx::create();
    context.ref_prefix(old).unwrap();
    let mut patch = Vec::with_capacity(new.len());
    context.compress2(&mut patch, new).unwrap();
    patch
}

/// A node that runs `old`, and a controller that has `new` as well.
async fn node(controller: &Controller, old: &Software, new: &Software) -> (Daemon, Session) {
    controller.serve(new);
    Daemon::settled(controller, old).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_changed_module_travels_as_a_patch() {
    let controller = Controller::start().await;
    let old = noise(1, 200_000);
    let mut new = old.clone();
    new.splice(5_000..5_000, noise(2, 300));
    let (was, is) = (data(&old), data(&new));
    let (daemon, mut session) = node(&controller, &was, &is).await;
    let patch = patch(&old, &new);
    controller.patch(Digest::of(&old), Digest::of(&new), &patch);

    session.stage(&was.manifest, &is.manifest);
    let staged = session.staged().await;
    assert_eq!(
        (staged.error.as_str(), staged.bytes),
        ("", patch.len() as u64)
    );
    assert!(patch.len() < 1_000, "{}", patch.len());
    session.activate(&was.manifest, &is.manifest);
    assert_eq!(session.activated().await.error, "");
    assert_eq!(
        fs::read(daemon.path("s/committed/tree/lib/data")).unwrap(),
        new
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn where_a_patch_does_not_fit_the_whole_is_fetched() {
    let old = noise(1, 50_000);
    let (mut new, mut other) = (old.clone(), old.clone());
    new[5_000..5_100].copy_from_slice(&noise(2, 100));
    // What the new module has of the other one is not in the old one.
    for module in [&mut new, &mut other] {
        module[20_000..21_000].copy_from_slice(&noise(3, 1_000));
    }
    let bad: [(&str, Vec<u8>); 4] = [
        ("it is no patch", noise(4, 100)),
        ("it is of another base", patch(&other, &new)),
        ("it makes other bytes", patch(&old, &other)),
        ("it is larger than the module", noise(5, 60_000)),
    ];
    for (what, bad) in bad {
        let controller = Controller::start().await;
        let (was, is) = (data(&old), data(&new));
        let (daemon, mut session) = node(&controller, &was, &is).await;
        controller.patch(Digest::of(&old), Digest::of(&new), &bad);
        let done = session.change(&was.manifest, &is.manifest).await;
        assert_eq!(done.error, "", "{what}");
        let found = fs::read(daemon.path("s/committed/tree/lib/data")).unwrap();
        assert!(found == new, "{what}");
        daemon.logged("the whole is fetched").await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_patch_that_breaks_off_is_fetched_again() {
    let controller = Controller::start().await;
    let (old, mut new) = (noise(1, 50_000), noise(2, 20_000));
    new.extend_from_slice(&old);
    let (was, is) = (data(&old), data(&new));
    let (daemon, mut session) = node(&controller, &was, &is).await;
    controller.patch(Digest::of(&old), Digest::of(&new), &patch(&old, &new));
    controller.break_after(3_000);
    assert_eq!(session.change(&was.manifest, &is.manifest).await.error, "");
    assert!(fs::read(daemon.path("s/committed/tree/lib/data")).unwrap() == new);
}

#[tokio::test(flavor = "multi_thread")]
async fn modules_are_fetched_no_faster_than_is_asked_for() {
    let controller = Controller::start().await;
    let software = Software::new()
        .file("one", &noise(1, 100 << 10))
        .file("two", &noise(2, 100 << 10));
    controller.serve(&software);
    let _daemon = Daemon::join_saying(&controller, "core-1", &["--fetch-rate", "100"]);
    let mut session = controller.session().await;
    let begun = Instant::now();
    session.stage(&NodeManifest::default(), &software.manifest);
    assert_eq!(session.staged().await.error, "");
    // 200 KiB at 100 KiB a second.
    assert!(
        begun.elapsed() >= Duration::from_millis(1_950),
        "{:?}",
        begun.elapsed()
    );
}
