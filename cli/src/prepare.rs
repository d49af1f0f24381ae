//! `placet rollout prepare`: every node fetches and stores what it is to run, then all start
//! together (S3).

use std::io::IsTerminal as _;
use std::time::{Duration, Instant};

use anyhow::bail;
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use placet_crds::find_kind;
use placet_model::RolloutPhase;
use serde_json::{Value, json};

use crate::arguments::{Common, Prepare};
use crate::home::Home;
use crate::output::{self, Answer, Format};
use crate::{resources, rollout};

/// How often the state of the fleet is asked for.
const EVERY: Duration = Duration::from_millis(300);

/// How far the nodes of a roll-out are.
struct Standing {
    /// Nodes that have everything.
    ready: usize,
    /// Nodes that have begun to change before they could be made to wait.
    begun: usize,
    /// The others, each with what it waits for.
    waiting: Vec<(String, String)>,
    phase: RolloutPhase,
    objections: Vec<String>,
}

/// `placet rollout prepare`.
pub(crate) async fn run(arguments: &Prepare, common: &Common) -> anyhow::Result<Answer> {
    let home = Home::open(common).await?;
    let name = &arguments.name;
    if let Err(refused) = rollout::set_paused(&home, name, true).await? {
        return Ok(refused);
    }
    let standing = wait(&home, arguments).await?;
    let is_ready = standing.waiting.is_empty() && standing.objections.is_empty();
    if is_ready
        && arguments.start
        && let Err(refused) = rollout::set_paused(&home, name, false).await?
    {
        return Ok(refused);
    }
    say(&standing, arguments, common)?;
    Ok(if is_ready { Answer::Done } else { Answer::No })
}

/// Waits until every node is ready, somebody objects, or the time is over.
async fn wait(home: &Home, arguments: &Prepare) -> anyhow::Result<Standing> {
    let begun = Instant::now();
    let within = arguments
        .within
        .map(|seconds| Duration::from_secs(seconds.into()));
    let bar = bar();
    loop {
        let standing = look(home, &arguments.name).await?;
        bar.set_length((standing.ready + standing.waiting.len()) as u64);
        bar.set_position(standing.ready as u64);
        let is_late = within.is_some_and(|within| begun.elapsed() >= within);
        let is_over = standing.waiting.is_empty() || !standing.objections.is_empty();
        if is_over || is_late || standing.phase.is_over() {
            bar.finish_and_clear();
            return Ok(standing);
        }
        tokio::time::sleep(EVERY).await;
    }
}

fn bar() -> ProgressBar {
    let target = if std::io::stderr().is_terminal() {
        ProgressDrawTarget::stderr()
    } else {
        ProgressDrawTarget::hidden()
    };
    let bar = ProgressBar::with_draw_target(Some(0), target);
    if let Ok(style) = ProgressStyle::with_template("ready [{bar:30}] {pos} of {len} nodes") {
        bar.set_style(style.progress_chars("=> "));
    }
    bar
}

async fn look(home: &Home, name: &str) -> anyhow::Result<Standing> {
    let rollout = home.get_one("Rollout", name).await?;
    let status = &rollout["status"];
    let Ok(phase) = serde_json::from_value(status["phase"].clone()) else {
        bail!("{name} has no phase yet: try again in a moment");
    };
    let objections = status["hold"]["objections"].as_array();
    let mut standing = Standing {
        ready: 0,
        begun: 0,
        waiting: Vec::new(),
        phase,
        objections: objections
            .into_iter()
            .flatten()
            .map(output::plain)
            .collect(),
    };
    let nodes = home.get(find_kind("FleetNode"), "").await?;
    for node in nodes.iter().filter(|node| differs(node)) {
        if has_begun(node, name) {
            standing.begun += 1;
            continue;
        }
        match what_for(node) {
            None => standing.ready += 1,
            Some(why) => standing
                .waiting
                .push((output::at(node, ".metadata.name"), why)),
        }
    }
    Ok(standing)
}

/// True if the node is to run something else than it does.
fn differs(node: &Value) -> bool {
    let status = &node["status"];
    let preferred = &status["preferredDigest"];
    !preferred.is_null() && *preferred != status["manifestDigest"]
}

fn has_begun(node: &Value, rollout: &str) -> bool {
    let latest = &node["status"]["rollout"];
    latest["name"] == rollout && !latest["state"]["activating"].is_null()
}

/// What a node waits for that has not everything; one that waits for the end of the pause has.
fn what_for(node: &Value) -> Option<String> {
    let conditions = node["status"]["conditions"].as_array();
    let ready = conditions
        .into_iter()
        .flatten()
        .find(|condition| condition["type"] == "Ready");
    let message = ready.map_or_else(String::new, |ready| output::plain(&ready["message"]));
    (!message.contains("the roll-out is paused")).then_some(message)
}

fn say(standing: &Standing, arguments: &Prepare, common: &Common) -> anyhow::Result<()> {
    let Standing {
        ready,
        begun,
        waiting,
        phase,
        objections,
    } = standing;
    let name = &arguments.name;
    if common.output != Format::Table {
        let waiting: Vec<_> = waiting
            .iter()
            .map(|(node, why)| json!({ "node": node, "waitsFor": why }))
            .collect();
        let value = json!({
            "rollout": name, "ready": ready, "begun": begun, "notReady": waiting, "phase": phase,
            "objections": objections,
        });
        return output::print(&value, common.output);
    }
    if !objections.is_empty() {
        resources::refused(objections);
    }
    let all = ready + waiting.len();
    anstream::println!("{ready} of {all} nodes that are to change have everything");
    if *begun > 0 {
        anstream::println!("{begun} more have begun to change, and do not start with them");
    }
    if !waiting.is_empty() {
        let rows = waiting
            .iter()
            .map(|(node, why)| vec![node.clone(), why.clone()]);
        output::table(&["not ready", "why"], rows.collect());
    }
    let is_ready = waiting.is_empty() && objections.is_empty();
    match (is_ready, arguments.start) {
        (true, true) => anstream::println!("{name} starts"),
        (true, false) => {
            anstream::println!("`placet rollout resume {name}` has them start together");
        }
        (false, _) => anstream::println!("{name} stays paused"),
    }
    Ok(())
}
