//! Processes that do all the harm they can, beside one that does none.

use std::fs;
use std::time::{Duration, Instant};

use placet_model::VerdictKind;

use crate::controller::{Controller, Session};
use crate::daemon::{Daemon, ended};
use crate::software::Software;

/// An innocent process is asked and has answered within this, however busy the others are.
const SOON: Duration = Duration::from_secs(2);

/// What the keeper may have had in memory at most, in KiB. What it has without these processes is a
/// quarter of it in a debug build.
const RESIDENT_MAX: u64 = 40 << 10;

/// A log of a process and the one before it, which are begun anew at 4 MiB, with a read of one pipe each.
const LOGS_MAX: u64 = (8 << 20) + (256 << 10);

const HOSTILE: [&str; 5] = ["deaf", "flood", "half", "hoard", "loud"];

/// All harm at once, beside `chat`, which uses the library.
fn fleet(library: &[u8], mind: &std::path::Path) -> Software {
    Software::new()
        .file("lib/greet", library)
        .voter("bin/chat", &["lib/greet"], mind)
        .actor("bin/loud", &["say:READY=1", "shout:100"], |spec| {
            spec.notify = true;
        })
        .actor("bin/half", &["say:READY=1", "half:50"], |spec| {
            spec.kind = placet_model::ProcessKind::SelfManaging;
            spec.notify = true;
        })
        .actor(
            "bin/hoard",
            &["say:READY=1", "blob:3", "hoard:2000"],
            |spec| {
                spec.notify = true;
                spec.stored_descriptors = 4;
                let formats = (0..6).map(|number| format!("blob/{number}").parse().unwrap());
                spec.state.saves = formats.collect();
            },
        )
        .actor("bin/flood", &["say:READY=1", "flood:50000"], |spec| {
            spec.notify = true;
        })
        .actor_that_needs(
            "bin/deaf",
            &["deaf", "say:READY=1"],
            &["lib/greet"],
            |spec| {
                spec.notify = true;
                spec.stop_seconds = 1;
            },
        )
}

/// The most that a process had in memory, in KiB.
fn most_resident(pid: i32) -> u64 {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    let number = line.unwrap().trim().trim_end_matches(" kB");
    number.parse().unwrap()
}

/// Asks the innocent one until the hostile ones have done what they do; returns how often, and the
/// longest that an answer took.
async fn ask_meanwhile(
    session: &mut Session,
    daemon: &Daemon,
    old: &Software,
    new: &Software,
) -> (u32, Duration) {
    let log = |name: &str| daemon.path(&format!("s/log/{name}.log"));
    let done = |name: &str, word: &str| {
        fs::read_to_string(log(name)).is_ok_and(|text| text.ends_with(word))
    };
    let (mut asked, mut longest) = (0, Duration::ZERO);
    loop {
        let is_over = done("loud", "hoarse.\n") && done("flood", "flooded.\n");
        let mut trial = session.proposal(&old.manifest, &new.manifest);
        trial.dry_run = true;
        trial.rollout = format!("dry-{asked}");
        let begun = Instant::now();
        session.propose(&trial);
        let verdict = session.verdict().await;
        longest = longest.max(begun.elapsed());
        assert_eq!(verdict.verdict, VerdictKind::Accept, "{verdict:?}");
        asked += 1;
        if is_over {
            return (asked, longest);
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_innocent_process_is_asked_in_time_beside_hostile_ones() {
    let controller = Controller::start().await;
    let mind = tempfile::tempdir().unwrap();
    fs::write(mind.path().join("handle"), "").unwrap();
    let (old, new) = (fleet(b"old", mind.path()), fleet(b"new", mind.path()));
    controller.serve(&new);
    let (daemon, mut session) = Daemon::settled(&controller, &old).await;
    let before = session.running(&["chat", "deaf"]).await;

    let (asked, longest) = ask_meanwhile(&mut session, &daemon, &old, &new).await;
    assert!(longest < SOON, "{longest:?}, asked {asked} times");
    daemon.wrote("half", "halfway").await;
    daemon.logged("at most 67108864 are kept").await;
    // What they do wrong is said, and does not fill the log.
    for (process, most) in [("hoard", 25), ("half", 25), ("flood", 50)] {
        let lines = daemon.log().matches(&format!("process={process}")).count();
        assert!(lines < most, "{lines} lines about {process}");
    }
    let resident = most_resident(daemon.keeper());
    assert!(resident < RESIDENT_MAX, "the keeper had {resident} KiB");
    for process in HOSTILE {
        let sizes = [".log", ".log.1"].map(|end| {
            let file = fs::metadata(daemon.path(&format!("s/log/{process}{end}")));
            file.map_or(0, |file| file.len())
        });
        assert!(sizes.iter().sum::<u64>() < LOGS_MAX, "{process}: {sizes:?}");
    }

    // The change goes through: the innocent one handles it, the deaf one is ended.
    let done = session.change(&old.manifest, &new.manifest).await;
    assert_eq!((done.error.as_str(), done.generation), ("", 2));
    ended(before["deaf"]).await;
    assert_eq!(session.running(&["chat"]).await["chat"], before["chat"]);
}
