//! Metrics and health of a controller that does its work, read over HTTP.

use std::time::{Instant, SystemTime, UNIX_EPOCH};

use placet_model::DecisionKind;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use crate::bench::{Bench, PATIENCE};
use crate::node::Node;
use crate::openmetrics::Scrape;
use crate::story::settled;

fn count(scrape: &Scrape, name: &str) -> f64 {
    scrape.value(name, &[]).unwrap()
}

/// An answer: status, head and body.
async fn get(bench: &Bench, path: &str) -> (u16, String, String) {
    let mut stream = TcpStream::connect(bench.metrics()).await.unwrap();
    let question = format!("GET {path} HTTP/1.1\r\nHost: placet\r\n\r\n");
    stream.write_all(question.as_bytes()).await.unwrap();
    let mut answer = String::new();
    // One question a connection: the controller closes it.
    stream.read_to_string(&mut answer).await.unwrap();
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    let status = head[9..12].parse().unwrap();
    (status, head.to_lowercase(), body.to_owned())
}

pub(crate) async fn scrape(bench: &Bench) -> Scrape {
    let (status, head, body) = get(bench, "/metrics").await;
    assert_eq!(status, 200);
    assert!(
        head.contains("content-type: application/openmetrics-text; version=1.0.0"),
        "{head}"
    );
    Scrape::read(&body).unwrap()
}

/// Scrapes until a sample has this value: a turn's numbers come with its end, and others after it.
async fn until(bench: &Bench, name: &str, labels: &[(&str, &str)], value: f64) -> Scrape {
    let began = Instant::now();
    loop {
        let scrape = scrape(bench).await;
        let found = scrape.value(name, labels);
        if found == Some(value) {
            return scrape;
        }
        assert!(
            began.elapsed() < PATIENCE,
            "{name}{labels:?} is {found:?}, not {value}"
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_roll_out_is_told_in_numbers() {
    let bench = Bench::start().await;
    let (first, _second, mut feed) = settled(&bench).await;
    let core = |presence, state| [("class", "core"), ("presence", presence), ("state", state)];
    let settled = until(&bench, "placet_nodes", &core("connected", "upToDate"), 2.0).await;
    check_settled(&bench, &settled);
    let done = [("phase", "Done")];

    first.vetoes(Some("3 open sessions"));
    let commit = bench.commit_version("1.1.0", &["core-1", "core-2"]);
    feed.named("tally").await;
    let held = until(&bench, "placet_open_holds", &[], 1.0).await;
    let later = scrape(&bench).await;
    let age = |of: &Scrape| count(of, "placet_oldest_hold_age_seconds");
    assert!(age(&held) > 0.0 && age(&later) > age(&held));
    for (verdict, before) in [("veto", 0.0), ("accept", 2.0)] {
        let labels = [("verdict", verdict)];
        let found = later.value("placet_verdicts_total", &labels);
        assert_eq!(found, Some(before + 1.0), "{verdict}");
    }
    assert_eq!(later.value("placet_vetoes_total", &[]), Some(1.0));
    assert_eq!(later.value("placet_holds_total", &[]), Some(1.0));
    assert_eq!(
        later.value("placet_votes_duration_seconds_count", &[]),
        Some(2.0)
    );
    assert_eq!(
        later.value("placet_commit_to_tally_seconds_count", &[]),
        Some(2.0)
    );
    assert!(count(&later, "placet_commit_to_tally_seconds_sum") > 0.0);
    assert_eq!(
        later.value("placet_nodes", &core("connected", "waiting")),
        Some(2.0)
    );
    let fleet = |result| [("source", "fleet"), ("result", result)];
    let changed = later.value("placet_git_fetches_total", &fleet("changed"));
    assert_eq!(changed, Some(2.0));

    bench.decide("ro-2", 0, DecisionKind::Skip).await.unwrap();
    feed.verified(&commit).await;
    let after = until(&bench, "placet_rollout_ends_total", &done, 2.0).await;
    assert_eq!(after.value("placet_open_holds", &[]), Some(0.0));
    let skip = [("kind", "skip")];
    assert_eq!(after.value("placet_decisions_total", &skip), Some(1.0));
    assert_eq!(after.value("placet_activations_total", &[]), Some(3.0));
    until(&bench, "placet_nodes", &core("connected", "leftOut"), 1.0).await;
}

/// What is told of a fleet of two that was brought to its first version.
fn check_settled(bench: &Bench, settled: &Scrape) {
    let done = [("phase", "Done")];
    assert_eq!(settled.value("placet_rollouts", &done), Some(1.0));
    assert_eq!(settled.value("placet_rollout_ends_total", &done), Some(1.0));
    for (name, value) in [
        ("placet_connected_nodes", 2.0),
        ("placet_activations_total", 2.0),
        ("placet_regressions_total", 0.0),
        ("placet_vetoes_total", 0.0),
        ("placet_open_holds", 0.0),
        ("placet_oldest_hold_age_seconds", 0.0),
        ("placet_leader", 1.0),
        ("placet_commit_to_verified_seconds_count", 1.0),
    ] {
        assert_eq!(settled.value(name, &[]), Some(value), "{name}");
    }
    let travelled = bench.travelled("core-1") + bench.travelled("core-2");
    let travelled = f64::from(u32::try_from(travelled).unwrap());
    let staged = count(settled, "placet_staged_bytes_total");
    assert!(staged > 0.0 && staged <= travelled, "{staged}");
}

#[tokio::test(flavor = "multi_thread")]
async fn nodes_that_fail_and_nodes_that_go_are_told() {
    let bench = Bench::start().await;
    let (first, second, mut feed) = settled(&bench).await;
    first
        .script
        .send_modify(|script| script.fails = Some("chatd died at start"));
    bench.commit_version("1.1.0", &["core-1", "core-2"]);
    feed.named("failed").await;
    until(&bench, "placet_regressions_total", &[], 1.0).await;
    drop(second);
    feed.named("nodeLost").await;
    let scrape = until(&bench, "placet_connected_nodes", &[], 1.0).await;
    let nodes = &scrape.families["placet_nodes"].samples;
    let away = nodes.iter().filter(|it| it.labels["presence"] == "away");
    let away: Vec<f64> = away.map(|it| it.value).collect();
    assert_eq!(away, [1.0]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_repository_that_is_away_is_told_until_nobody_declares_it() {
    let bench = Bench::start().await;
    bench.follow().await;
    let fleet = |result| [("source", "fleet"), ("result", result)];
    std::fs::rename(bench.path("fleet"), bench.path("elsewhere")).unwrap();
    let name = "placet_git_fetches_total";
    let began = Instant::now();
    let before = loop {
        let scrape = scrape(&bench).await;
        if scrape.value(name, &fleet("failed")).is_some() {
            break scrape;
        }
        assert!(began.elapsed() < PATIENCE);
    };
    let age =
        |scrape: &Scrape| scrape.value("placet_git_last_fetch_age_seconds", &[("source", "fleet")]);
    assert!(age(&scrape(&bench).await).unwrap() > age(&before).unwrap());
    bench.delete("gitsource", "fleet").await;
    let began = Instant::now();
    while scrape(&bench).await.value(name, &fleet("failed")).is_some() {
        assert!(began.elapsed() < PATIENCE);
    }
    assert_eq!(age(&scrape(&bench).await), None);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_number_of_series_does_not_grow_with_the_fleet() {
    let bench = Bench::start().await;
    let samples = |scrape: &Scrape| -> usize {
        let families = scrape.families.values();
        families.map(|family| family.samples.len()).sum()
    };
    let mut nodes = Vec::new();
    let mut series = Vec::new();
    for number in 0..6 {
        nodes.push(Node::join(&bench, &format!("edge-{number}")).await);
        let connected = f64::from(number + 1);
        let scrape = until(&bench, "placet_connected_nodes", &[], connected).await;
        series.push(samples(&scrape));
    }
    assert_eq!(series[5], series[1], "{series:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn health_and_the_process_itself_are_told() {
    let bench = Bench::start().await;
    assert_eq!(get(&bench, "/healthz").await.0, 200);
    let (status, _, body) = get(&bench, "/readyz").await;
    assert_eq!((status, body.as_str()), (200, "this replica leads\n"));
    assert_eq!(get(&bench, "/").await.0, 404);
    let scrape = scrape(&bench).await;
    let value = |name| scrape.value(name, &[]).unwrap();
    assert!(value("process_cpu_seconds_total") > 0.0);
    assert!(value("process_resident_memory_bytes") > 1e6);
    assert!(value("process_open_fds") > 3.0);
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
    let now = now.as_secs_f64();
    let started = value("process_start_time_seconds");
    assert!(started <= now + 1.0 && started > now - 3_600.0, "{started}");
    let build = &scrape.families["placet_build"].samples[0];
    assert_eq!(build.labels["version"], env!("CARGO_PKG_VERSION"));
    assert!(value("placet_loop_turn_duration_seconds_count") > 0.0);
    let is_ours = |name: &&str| name.starts_with("placet_") || name.starts_with("process_");
    assert!(scrape.names().iter().all(is_ours));
}
