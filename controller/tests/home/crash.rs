//! `kill -9` at any instant loses nothing that was acknowledged.

use std::io::{BufRead, BufReader, Write};
use std::path::PathBuf;
use std::process::{Child, ChildStdout, Command, Stdio};

use placet_controller::home::Embedded as Home;
use serde_json::json;

use crate::declared::{ann, git, package_set, source};

/// Names the state folder to the process that is killed, and says by that that it is one.
const STATE: &str = "PLACET_TEST_CRASH_STATE";

const ROUNDS: usize = 20;

#[test]
fn what_was_acknowledged_survives_kill_9() {
    let state = tempfile::tempdir().unwrap();
    let mut acknowledged = 0;
    for round in 0..ROUNDS {
        let acks = 1 + rand::random_range(0..12);
        println!("round {round}: killed after {acks} acknowledgements");
        let last = write_until_killed(&state.path().to_owned(), acks);
        assert!(last >= acknowledged + acks, "{last} after {acknowledged}");
        acknowledged = last;
        check(&Home::open(state.path()).unwrap(), acknowledged);
    }
}

/// Starts the writer, kills it some time after so many acknowledgements, and returns the last
/// number that it acknowledged.
fn write_until_killed(state: &PathBuf, acks: u64) -> u64 {
    let mut writer = Command::new(std::env::current_exe().unwrap())
        .args([
            "--exact",
            "crash::the_process_that_is_killed",
            "--nocapture",
        ])
        .env(STATE, state)
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(writer.stdout.take().unwrap());
    let mut last = 0;
    for _ in 0..acks {
        last = next_ack(&mut lines).expect("the writer writes until it is killed");
    }
    // The writer goes on meanwhile: where it is hit differs from round to round.
    for _ in 0..rand::random_range(0..200_000_u32) {
        std::hint::spin_loop();
    }
    kill(&mut writer);
    while let Some(number) = next_ack(&mut lines) {
        last = number;
    }
    last
}

fn kill(writer: &mut Child) {
    writer.kill().unwrap();
    writer.wait().unwrap();
}

fn next_ack(lines: &mut BufReader<ChildStdout>) -> Option<u64> {
    loop {
        let mut line = String::new();
        if lines.read_line(&mut line).unwrap() == 0 {
            return None;
        }
        // A line without its end was cut off by the kill: nobody could have acted on it.
        if let Some(number) = line
            .strip_prefix("ack ")
            .and_then(|rest| rest.strip_suffix('\n'))
        {
            return Some(number.parse().unwrap());
        }
    }
}

/// Everything up to `acknowledged` is there, at most one write more, and no write by half.
fn check(home: &Home, acknowledged: u64) {
    let events = home.events(0, "").unwrap();
    let numbers: Vec<u64> = events
        .iter()
        .map(|it| it.data["n"].as_u64().unwrap())
        .collect();
    let written = numbers.len() as u64;
    assert_eq!(numbers, (1..=written).collect::<Vec<_>>());
    assert!(
        (acknowledged..=acknowledged + 1).contains(&written),
        "{written}, {acknowledged}"
    );
    let source = home.get("GitSource", "fleet").unwrap().unwrap();
    assert_eq!(source.status["n"], written);
    let kept: Vec<String> = home
        .list("PackageSet")
        .unwrap()
        .into_iter()
        .map(|it| it.name)
        .collect();
    assert_eq!(
        kept,
        [format!("set-{written}")],
        "each revision takes the place of the one before"
    );
}

/// Not a test by itself: the other one starts it as a process of its own.
#[test]
fn the_process_that_is_killed() {
    let Some(state) = std::env::var_os(STATE) else {
        return;
    };
    let home = Home::open(state.as_ref()).unwrap();
    home.apply(&source("fleet"), &ann()).unwrap();
    let events = home.events(0, "").unwrap();
    let mut output = std::io::stdout();
    for number in events.len() as u64 + 1.. {
        home.transaction(|batch| {
            let set = package_set(&format!("set-{number}"), "1.0.0");
            batch.apply(&set, &git("fleet"))?;
            batch.delete("PackageSet", &format!("set-{}", number - 1))?;
            batch.set_status("GitSource", "fleet", None, &json!({"n": number}))?;
            batch.append_event("write", "", &json!({"n": number}))
        })
        .unwrap();
        writeln!(output, "\nack {number}").unwrap();
    }
}
