//! `placet node`: joining nodes and looking at them.

use serde_json::{Value, json};

use crate::arguments::{Common, Get, NodeOrder, Token};
use crate::events::wrapped;
use crate::home::{Home, Ordered};
use crate::output::{self, Answer, Format};
use crate::resources;

const KIND: &str = "FleetNode";

/// `placet node token`.
pub(crate) async fn token(arguments: &Token, common: &Common) -> anyhow::Result<Answer> {
    let response = Home::open(common).await?.token(arguments).await?;
    if common.output != Format::Table {
        let value = json!({
            "node": arguments.node, "token": response.token,
            "addresses": response.addresses, "expires": response.expires,
        });
        output::print(&value, common.output)?;
        return Ok(Answer::Done);
    }
    anstream::eprintln!(
        "This line joins node {}; it works {}, until {}:\n",
        arguments.node,
        if arguments.every_boot {
            "whenever the node starts"
        } else {
            "once"
        },
        response.expires
    );
    anstream::println!(
        "{}",
        join_line(&arguments.node, &response.token, &response.addresses)
    );
    Ok(Answer::Done)
}

/// The line that joins a node when it is pasted into a shell.
pub(crate) fn join_line(node: &str, token: &str, addresses: &[String]) -> String {
    let addresses: Vec<_> = addresses
        .iter()
        .map(|address| format!(" --controller {address}"))
        .collect();
    let program = std::env::current_exe()
        .ok()
        .and_then(|path| path.to_str().map(str::to_owned))
        .filter(|path| {
            path.bytes()
                .all(|byte| byte.is_ascii_graphic() && !b"'\"\\$`&;|<>()*?[]#~".contains(&byte))
        })
        .unwrap_or_else(|| "placet".to_owned());
    format!(
        "{program} placetd --node {node}{} --token {token}",
        addresses.concat()
    )
}

/// `placet node list`.
pub(crate) async fn list(common: &Common) -> anyhow::Result<Answer> {
    if common.output != Format::Table {
        let (kind, name) = (KIND.to_owned(), String::new());
        return resources::get(&Get { kind, name }, common).await;
    }
    let info = placet_crds::find_kind(KIND);
    let nodes = Home::open(common).await?.get(info, "").await?;
    if nodes.is_empty() {
        anstream::eprintln!("nothing found");
        return Ok(Answer::Done);
    }
    let headings = [
        "name", "presence", "type", "class", "runs", "wanted", "verdict", "holds",
    ];
    output::table(&headings, nodes.iter().map(row).collect());
    Ok(Answer::Done)
}

/// A node in the table of all.
fn row(node: &Value) -> Vec<String> {
    let status = &node["status"];
    let (runs, wanted) = (&status["manifestDigest"], &status["preferredDigest"]);
    let wanted = if runs == wanted && !runs.is_null() {
        "the same".to_owned()
    } else {
        short_digest(wanted)
    };
    let kind = [&status["facts"]["type"], &node["spec"]["facts"]["type"]];
    let kind = kind.into_iter().find(|kind| !kind.is_null());
    vec![
        output::plain(&node["metadata"]["name"]),
        output::plain(&status["presence"]),
        kind.map_or_else(String::new, output::plain),
        output::plain(&status["class"]),
        short_digest(runs),
        wanted,
        output::plain(&status["lastVerdict"]["verdict"]),
        holds(node).join(", "),
    ]
}

/// Digests as people tell them apart.
fn short_digest(digest: &Value) -> String {
    const DIGITS: usize = 8;
    let text = output::plain(digest);
    let digits = text.rsplit(':').next().unwrap_or_default();
    digits.chars().take(DIGITS).collect()
}

/// What keeps a node from what it is to run, or sets it apart from the others (S4).
fn holds(node: &Value) -> Vec<String> {
    let (spec, status) = (&node["spec"], &node["status"]);
    let is_set = |value: &Value| value.as_bool().unwrap_or_default();
    let failed = status["failed"].as_array().map_or(0, Vec::len);
    let tests = tests(status);
    let reason = output::at(node, ".status.conditions[?(@.type==\"Ready\")].reason");
    let candidates = [
        (is_set(&spec["maintenance"]), "maintenance".to_owned()),
        (is_set(&spec["suspended"]), "suspended".to_owned()),
        (
            !spec["testMode"].is_null() || !status["committedGeneration"].is_null(),
            "test mode".to_owned(),
        ),
        (!tests.is_empty(), format!("tests {tests}")),
        (failed > 0, format!("{failed} failed")),
        (reason == "FactsMismatch", "facts mismatch".to_owned()),
        (reason == "ProtocolMismatch", "protocol mismatch".to_owned()),
    ];
    let holds = candidates.into_iter().filter(|(holds, _)| *holds);
    holds.map(|(_, text)| text).collect()
}

/// What the tests of a node in test mode have come to, in a word; empty if there are none.
fn tests(status: &Value) -> &'static str {
    let suites = status["suites"].as_array().map_or(&[][..], Vec::as_slice);
    let any = |state: &str| suites.iter().any(|suite| suite["state"] == state);
    match suites {
        [] => "",
        _ if any("Failed") => "failed",
        _ if any("Running") => "run",
        _ => "passed",
    }
}

/// `placet node commit`, `regress` and `retry`.
pub(crate) async fn order(
    action: &str,
    order: &NodeOrder,
    common: &Common,
) -> anyhow::Result<Answer> {
    let NodeOrder { name, reason } = order;
    let ordered = Home::open(common)
        .await?
        .order(name, action, reason)
        .await?;
    let (outcome, answer) = match ordered {
        Ordered::Done(outcome) => (outcome, Answer::Done),
        Ordered::Refused(why) => (why, Answer::No),
    };
    if common.output == Format::Table {
        anstream::eprintln!("{name}: {}", placet_model::visible(&outcome));
    } else {
        let value = json!({ "node": name, "do": action, "outcome": outcome });
        output::print(&value, common.output)?;
    }
    Ok(answer)
}

/// `placet node verdicts`.
pub(crate) async fn verdicts(name: &str, common: &Common) -> anyhow::Result<Answer> {
    let node = Home::open(common).await?.get_one(KIND, name).await?;
    let verdict = &node["status"]["lastVerdict"];
    if common.output != Format::Table {
        output::print(verdict, common.output)?;
        return Ok(Answer::Done);
    }
    if verdict.is_null() {
        anstream::eprintln!("node {name} was never asked");
    }
    print_verdict(verdict);
    Ok(Answer::Done)
}

/// `placet node show`.
pub(crate) async fn show(name: &str, common: &Common) -> anyhow::Result<Answer> {
    let node = Home::open(common).await?.get_one(KIND, name).await?;
    if common.output != Format::Table {
        output::print(&node, common.output)?;
        return Ok(Answer::Done);
    }
    let status = &node["status"];
    let line =
        |title: &str, value: &Value| anstream::println!("{title:<12}{}", output::plain(value));
    line("Node:", &node["metadata"]["name"]);
    line("Presence:", &status["presence"]);
    line("Class:", &status["class"]);
    for (title, key) in [
        ("Type:", "type"),
        ("Processor:", "architecture"),
        ("Location:", "location"),
    ] {
        line(title, &status["facts"][key]);
    }
    line("Generation:", &status["generation"]);
    if !status["committedGeneration"].is_null() {
        line("Stored:", &status["committedGeneration"]);
        line("Test ends:", &status["testEnds"]);
    }
    line("Runs:", &status["manifestDigest"]);
    line("Wanted:", &status["preferredDigest"]);
    line("Booted:", &status["boot"]["time"]);
    line("Answered:", &status["boot"]["answer"]);
    line("Holds:", &json!(holds(&node)));
    line("Status:", &json!(message(&node)));
    line("Roll-out:", &status["rollout"]["name"]);
    line("Ordered:", &json!(ordered(&status["lastOrder"])));
    print_processes(&status["processes"]);
    print_suites(&status["suites"]);
    print_verdict(&status["lastVerdict"]);
    Ok(Answer::Done)
}

/// What was ordered last, by whom, and what came of it.
fn ordered(order: &Value) -> String {
    if order.is_null() {
        return String::new();
    }
    let [action, author, outcome] =
        ["do", "author", "outcome"].map(|key| output::plain(&order[key]));
    format!("{action} by {author}: {outcome}")
}

fn message(node: &Value) -> String {
    output::at(node, ".status.conditions[?(@.type==\"Ready\")].message")
}

fn print_processes(processes: &Value) {
    let rows: Vec<Vec<String>> = processes
        .as_array()
        .into_iter()
        .flatten()
        .map(|process| {
            ["name", "pid", "generation", "ready"]
                .map(|key| output::plain(&process[key]))
                .to_vec()
        })
        .collect();
    if !rows.is_empty() {
        anstream::println!();
        output::table(&["process", "pid", "generation", "ready"], rows);
    }
}

fn print_suites(suites: &Value) {
    let suites = suites.as_array().map_or(&[][..], Vec::as_slice);
    if suites.is_empty() {
        return;
    }
    anstream::println!();
    let headings = ["suite", "state", "tests", "passed", "skipped", "failed"];
    output::table(&headings, suites.iter().map(suite_row).collect());
    for line in suites.iter().flat_map(failures) {
        anstream::println!("{line}");
    }
}

/// A test suite in the table of all.
fn suite_row(suite: &Value) -> Vec<String> {
    let [package, version] = ["package", "version"].map(|key| output::plain(&suite[key]));
    let numbers = ["state", "tests", "passed", "skipped", "failed"];
    let numbers = numbers.map(|key| output::plain(&suite[key]));
    let name = format!("{package} {version}");
    std::iter::once(name).chain(numbers).collect()
}

/// The tests of a suite that failed, wrapped for a terminal.
fn failures(suite: &Value) -> Vec<String> {
    let failures = suite["failures"].as_array().into_iter().flatten();
    let text = |failure: &Value| {
        let [test, why] = ["test", "why"].map(|key| output::plain(&failure[key]));
        format!("{test} failed: it {why}")
    };
    let lines = failures.flat_map(|failure| wrapped(&text(failure), 2));
    lines.collect()
}

fn print_verdict(verdict: &Value) {
    let Ok(verdict) = serde_json::from_value::<placet_model::Verdict>(verdict.clone()) else {
        return;
    };
    anstream::println!(
        "\nLast verdict: {} (on {}, {})",
        verdict.verdict,
        verdict.rollout,
        verdict.time
    );
    for record in &verdict.records {
        anstream::println!("  {record}");
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::{failures, holds, row, suite_row};

    #[test]
    fn a_node_is_one_line_with_everything_that_holds_it() {
        let digest = |digit: &str| format!("sha256:{}", digit.repeat(64));
        let node = json!({
            "metadata": {"name": "core-1"},
            "spec": {"maintenance": true, "suspended": false, "testMode": {"seconds": 60}},
            "status": {
                "presence": "Away", "class": "core", "facts": {"type": "router"},
                "manifestDigest": digest("a"), "preferredDigest": digest("b"),
                "failed": [digest("c")], "lastVerdict": {"verdict": "veto"},
                "conditions": [{"type": "Ready", "status": "False", "reason": "FactsMismatch"}],
            },
        });
        let expected = [
            "core-1",
            "Away",
            "router",
            "core",
            "aaaaaaaa",
            "bbbbbbbb",
            "veto",
            "maintenance, test mode, 1 failed, facts mismatch",
        ];
        assert_eq!(row(&node), expected);
        let silent = json!({"metadata": {"name": "new"}, "spec": {"facts": {"type": "router"}}});
        assert_eq!(row(&silent), ["new", "", "router", "", "", "", "", ""]);
        let apart = json!({
            "metadata": {"name": "core-3"},
            "status": {"conditions": [{"type": "Ready", "reason": "ProtocolMismatch"}]},
        });
        assert_eq!(row(&apart)[7], "protocol mismatch");
        let same = json!({
            "metadata": {"name": "core-2"}, "spec": {"suspended": true},
            "status": {"manifestDigest": digest("a"), "preferredDigest": digest("a")},
        });
        assert_eq!(row(&same)[4..], ["aaaaaaaa", "the same", "", "suspended"]);
    }

    #[test]
    fn test_suites_are_a_word_in_the_list_and_a_table_of_one_node() {
        let suite = |state: &str| {
            json!({
                "package": "edge-checks", "version": "1.2.0", "state": state,
                "tests": 12, "passed": 9, "skipped": 1, "failed": 2,
                "failures": [{"test": "routes-converge", "why":
                    "exited with code 1; it wrote: no route to 10.0.0.0/8 within 30 s / 3 of 4 peers are up"}],
            })
        };
        let node = |suites: &[&str]| {
            let suites: Vec<_> = suites.iter().map(|state| suite(state)).collect();
            json!({"spec": {"testMode": {}}, "status": {"suites": suites}})
        };
        assert_eq!(holds(&node(&[])), ["test mode"]);
        assert_eq!(holds(&node(&["Passed"])), ["test mode", "tests passed"]);
        assert_eq!(
            holds(&node(&["Passed", "Running"])),
            ["test mode", "tests run"]
        );
        let failed = node(&["Passed", "Failed", "Running"]);
        assert_eq!(holds(&failed), ["test mode", "tests failed"]);
        let row = suite_row(&suite("Failed"));
        assert_eq!(row, ["edge-checks 1.2.0", "Failed", "12", "9", "1", "2"]);
        let expected = [
            "routes-converge failed: it exited with code 1; it wrote: no route to",
            "  10.0.0.0/8 within 30 s / 3 of 4 peers are up",
        ];
        assert_eq!(failures(&suite("Failed")), expected);
    }
}
