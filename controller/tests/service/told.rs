//! What is written of metrics is what the controller tells: documentation, dashboard, alerts.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;

use serde_json::Value;

use crate::bench::Bench;
use crate::metrics::scrape;
use crate::openmetrics::{Family, Scrape};
use crate::story::settled;

fn read(path: &str) -> String {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    fs::read_to_string(root.join(path)).unwrap()
}

/// A controller with a source and nodes, so that everything has something to tell.
async fn told() -> Scrape {
    let bench = Bench::start().await;
    let _fleet = settled(&bench).await;
    scrape(&bench).await
}

/// Type and labels of each metric, by the name that people ask for.
fn described(scrape: &Scrape) -> BTreeMap<String, (String, BTreeSet<String>)> {
    let describe = |(name, family): (&String, &Family)| {
        let suffix = match family.kind.as_str() {
            "counter" => "_total",
            "info" => "_info",
            _ => "",
        };
        let labels = family.samples.iter().flat_map(|it| it.labels.keys());
        let labels = labels.filter(|label| *label != "le").cloned().collect();
        (format!("{name}{suffix}"), (family.kind.clone(), labels))
    };
    scrape.families.iter().map(describe).collect()
}

/// The words between backticks.
fn quoted(text: &str) -> BTreeSet<String> {
    text.split('`')
        .skip(1)
        .step_by(2)
        .map(str::to_owned)
        .collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn the_documented_metrics_are_exactly_the_exported_ones() {
    let table = read("docs/observability.md");
    let rows = table.lines().filter_map(|line| {
        let cells: Vec<&str> = line.split('|').map(str::trim).collect();
        let name = cells.get(1)?.strip_prefix('`')?.strip_suffix('`')?;
        let is_metric = name.starts_with("placet_") || name.starts_with("process_");
        let of = || (cells[2].to_owned(), quoted(cells[3]));
        is_metric.then(|| (name.to_owned(), of()))
    });
    let documented: BTreeMap<_, _> = rows.collect();
    assert_eq!(documented, described(&told().await));
}

/// Every name of a metric in a text.
fn named(text: &str) -> BTreeSet<String> {
    let words = text.split(|it: char| !it.is_ascii_alphanumeric() && it != '_');
    let is_metric = |word: &&str| word.starts_with("placet_") || word.starts_with("process_");
    words.filter(is_metric).map(str::to_owned).collect()
}

/// Everything that a dashboard asks for.
fn expressions(value: &Value, found: &mut Vec<String>) {
    match value {
        Value::Object(members) => {
            for (key, value) in members {
                match value {
                    Value::String(text) if key == "expr" || key == "query" => {
                        found.push(text.clone());
                    }
                    value => expressions(value, found),
                }
            }
        }
        Value::Array(values) => values.iter().for_each(|it| expressions(it, found)),
        _ => {}
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn dashboard_and_alerts_ask_for_what_is_told() {
    let scrape = told().await;
    let told = scrape.names();
    let dashboard: Value =
        serde_json::from_str(&read("charts/placet/dashboards/placet.json")).unwrap();
    let mut asked = Vec::new();
    expressions(&dashboard, &mut asked);
    let asked = named(&asked.join("\n"));
    let is_unknown = |name: &&String| !told.contains(name.as_str());
    assert_eq!(asked.iter().filter(is_unknown).collect::<Vec<_>>(), [""; 0]);
    let is_ours = |name: &&&str| name.starts_with("placet_");
    let base = |name: &&str| {
        let suffixes = ["_bucket", "_sum", "_count"];
        let mut suffixes = suffixes.iter();
        suffixes
            .find_map(|it| name.strip_suffix(it))
            .unwrap_or(name)
            .to_owned()
    };
    let shown: BTreeSet<String> = asked.iter().map(|name| base(&name.as_str())).collect();
    let all: BTreeSet<String> = told.iter().filter(is_ours).map(base).collect();
    assert_eq!(
        all.difference(&shown).collect::<Vec<_>>(),
        [""; 0],
        "not shown"
    );

    let rules = read("charts/placet/rules/placet.yaml");
    let asked = named(&rules);
    assert!(asked.len() > 8, "{asked:?}");
    let is_unknown = |name: &&String| {
        // Texts name histograms as a whole.
        !told.contains(name.as_str()) && !scrape.families.contains_key(*name)
    };
    assert_eq!(asked.iter().filter(is_unknown).collect::<Vec<_>>(), [""; 0]);
    let alerts = rules
        .lines()
        .filter_map(|line| line.trim().strip_prefix("- alert: "));
    let alerts: BTreeSet<String> = alerts.map(str::to_owned).collect();
    let written = quoted(&read("docs/observability.md"));
    let written = written.into_iter().filter(|it| it.starts_with("Placet"));
    assert_eq!(alerts, written.collect());
}
