//! `placet node`: joining nodes and looking at them.

use serde_json::{Value, json};

use crate::arguments::{Common, Get, Token};
use crate::home::Home;
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
        "This line joins node {}; it works once, until {}:\n",
        arguments.node,
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
    let arguments = Get {
        kind: KIND.to_owned(),
        name: String::new(),
    };
    resources::get(&arguments, common).await
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
    line("Manifest:", &status["manifestDigest"]);
    line("Roll-out:", &status["rollout"]["name"]);
    print_processes(&status["processes"]);
    print_verdict(status);
    Ok(Answer::Done)
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

fn print_verdict(status: &Value) {
    let verdict = &status["rollout"]["state"]["verdict"];
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
