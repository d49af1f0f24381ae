//! `placet rollout`: changes under way and past.

use placet_crds::{find_kind, full_name};
use placet_model::{Decision, RolloutPhase};
use serde_json::Value;

use crate::arguments::{Common, Decide, Get, RolloutCommand};
use crate::events::Event;
use crate::home::{Decided, Home};
use crate::output::{self, Answer, Format};
use crate::{dry_run, prepare, resources};

const KIND: &str = "Rollout";

/// `placet rollout`.
pub(crate) async fn run(command: RolloutCommand, common: &Common) -> anyhow::Result<Answer> {
    match command {
        RolloutCommand::List => list(common).await,
        RolloutCommand::Show { name } => show(&name, common).await,
        RolloutCommand::Watch { name } => watch(name.as_deref(), common).await,
        RolloutCommand::DryRun(arguments) => {
            dry_run::run(&arguments.file, arguments.within, common).await
        }
        RolloutCommand::Decide(arguments) => decide(&arguments, common).await,
        RolloutCommand::Pause(arguments) => pause(&arguments.name, true, common).await,
        RolloutCommand::Resume(arguments) => pause(&arguments.name, false, common).await,
        RolloutCommand::Prepare(arguments) => prepare::run(&arguments, common).await,
    }
}

async fn list(common: &Common) -> anyhow::Result<Answer> {
    let arguments = Get {
        kind: KIND.to_owned(),
        name: String::new(),
    };
    resources::get(&arguments, common).await
}

/// `placet rollout show`.
async fn show(name: &str, common: &Common) -> anyhow::Result<Answer> {
    let home = Home::open(common).await?;
    let rollout = home.get_one(KIND, name).await?;
    if common.output != Format::Table {
        output::print(&rollout, common.output)?;
        return Ok(Answer::Done);
    }
    let nodes = home.get(find_kind("FleetNode"), "").await?;
    let status = &rollout["status"];
    print_head(&rollout);
    print_nodes(name, &nodes);
    print_objections(&nodes, name);
    print_decisions(&status["decisions"]);
    if let Some(hold) = status["hold"]["number"].as_u64() {
        print_ways_on(name, hold);
    }
    Ok(Answer::Done)
}

fn print_head(rollout: &Value) {
    let status = &rollout["status"];
    let is_dry_run = rollout["spec"]["dryRun"] == true;
    let what = if is_dry_run { "Dry run: " } else { "Roll-out:" };
    anstream::println!("{what}  {}", output::at(rollout, ".metadata.name"));
    anstream::println!("Revision:  {}", output::at(rollout, ".spec.to"));
    if !is_dry_run {
        let digest = output::at(rollout, ".spec.planDigest");
        // Enough to tell plans apart; `-o json` has it whole.
        anstream::println!("Plan:      {}", digest.get(..19).unwrap_or(&digest));
    }
    for (title, link) in [("Tried in: ", "dryRun"), ("Followed: ", "followedBy")] {
        if let Some(name) = status[link].as_str() {
            anstream::println!("{title} {}", placet_model::visible(name));
        }
    }
    let phase = output::plain(&status["phase"]);
    let style = phase_style(&phase);
    anstream::println!("Phase:     {style}{phase}{}", style.render_reset());
    let lines = |list: &str| status[list].as_array().cloned().unwrap_or_default();
    for problem in lines("problems") {
        anstream::println!("Problem:   {}", output::plain(&problem));
    }
    if is_dry_run {
        for veto in lines("vetoes") {
            anstream::println!("{}{}{:#}", output::BAD, output::plain(&veto), output::BAD);
        }
        let said = r#".status.conditions[?(@.type=="Ready")].message"#;
        anstream::println!("{}", output::at(rollout, said));
    }
}

/// The colour in which a phase is shown.
pub(crate) fn phase_style(phase: &str) -> anstyle::Style {
    match phase {
        "Done" => output::GOOD,
        "Held" | "Halted" | "Blocked" => output::BAD,
        _ => output::WAIT,
    }
}

fn print_nodes(name: &str, nodes: &[Value]) {
    let rows: Vec<Vec<String>> = nodes
        .iter()
        .filter(|node| node["status"]["rollout"]["name"] == name)
        .map(|node| {
            let status = &node["status"];
            let state = &status["rollout"]["state"];
            vec![
                output::at(node, ".metadata.name"),
                output::plain(&state["verdict"]["verdict"]),
                progress(state),
                output::plain(&status["generation"]),
            ]
        })
        .collect();
    if !rows.is_empty() {
        anstream::println!();
        output::table(&["node", "verdict", "progress", "generation"], rows);
    }
}

fn progress(state: &Value) -> String {
    let activation = &state["activation"];
    if !activation["done"].is_null() {
        "changed".to_owned()
    } else if let Some(why) = activation["failed"].as_str() {
        format!("gave it back: {}", placet_model::visible(why))
    } else if !state["activating"].is_null() {
        "changing".to_owned()
    } else if let Some(why) = state["stageError"].as_str() {
        format!("cannot fetch: {}", placet_model::visible(why))
    } else if state["verdict"].is_null() {
        "asked".to_owned()
    } else {
        "answered".to_owned()
    }
}

/// Every objection, with the modules concerned and the change that it answers to.
fn print_objections(nodes: &[Value], name: &str) {
    let verdicts = nodes
        .iter()
        .filter(|node| node["status"]["rollout"]["name"] == name)
        .filter_map(|node| {
            let verdict = &node["status"]["rollout"]["state"]["verdict"];
            serde_json::from_value::<placet_model::Verdict>(verdict.clone()).ok()
        });
    for verdict in verdicts {
        for line in verdict.objections() {
            anstream::println!("\n{}{line}{}", output::BAD, output::BAD.render_reset());
        }
        for record in verdict
            .records
            .iter()
            .filter(|record| record.answer != placet_model::Answer::Accept)
        {
            let modules: Vec<_> = record.modules.iter().map(ToString::to_string).collect();
            if !modules.is_empty() {
                anstream::println!("  about {} at {}", modules.join(", "), record.time);
            }
            anstream::println!("  change {}", record.change_digest);
        }
    }
}

fn print_decisions(decisions: &Value) {
    for decision in decisions.as_array().into_iter().flatten() {
        if let Ok(decision) = serde_json::from_value::<Decision>(decision.clone()) {
            print_decision(&decision);
        }
    }
}

fn print_decision(decision: &Decision) {
    anstream::println!(
        "\nHold {}: {} by {} at {}: {}",
        decision.hold,
        decision.kind,
        placet_model::visible(&decision.author),
        decision.time,
        placet_model::visible(&decision.reason)
    );
    for overridden in &decision.overrides {
        anstream::println!("  overrides {}", placet_model::visible(overridden));
    }
}

fn print_ways_on(name: &str, hold: u64) {
    anstream::eprintln!("\nHold {hold} waits for a person:");
    for (way, what) in [
        ("--skip", "change the nodes that accepted, leave the others"),
        ("--force", "change all the same"),
        ("--abort", "give the change up"),
    ] {
        anstream::eprintln!("  placet rollout decide {name} {way} --reason …");
        anstream::eprintln!("      {}{what}{}", output::DIM, output::DIM.render_reset());
    }
}

/// `placet rollout watch`.
async fn watch(name: Option<&str>, common: &Common) -> anyhow::Result<Answer> {
    let home = Home::open(common).await?;
    if let Some(name) = name {
        home.get_one(KIND, name).await?;
    }
    let mut feed = home.watch(name).await?;
    while let Some(event) = feed.next().await? {
        print_event(&event, common.output)?;
        if name.is_some() && event.ends_rollout() {
            break;
        }
    }
    Ok(Answer::Done)
}

fn print_event(event: &Event, format: Format) -> anyhow::Result<()> {
    match format {
        Format::Table => event
            .lines()
            .iter()
            .for_each(|line| anstream::println!("{line}")),
        Format::Json => anstream::println!("{}", event.to_json()),
        Format::Yaml | Format::Markdown | Format::Junit | Format::Sarif => {
            anstream::println!("---");
            output::print(&event.to_json(), format)?;
        }
    }
    Ok(())
}

/// `placet rollout decide`.
async fn decide(arguments: &Decide, common: &Common) -> anyhow::Result<Answer> {
    let home = Home::open(common).await?;
    match home.decide(arguments).await? {
        Decided::Taken(decision) => match common.output {
            Format::Table => print_decision(&decision),
            format => output::print(&serde_json::to_value(&decision)?, format)?,
        },
        Decided::Written(text) => anstream::eprintln!("{text}"),
        Decided::Refused(why) => return Ok(resources::refused(&[why])),
    }
    Ok(Answer::Done)
}

/// Pauses or resumes a roll-out; says whether it was so already.
///
/// # Errors
///
/// The inner error is the answer to whoever asked: it is refused.
pub(crate) async fn set_paused(
    home: &Home,
    name: &str,
    paused: bool,
) -> anyhow::Result<Result<bool, Answer>> {
    let rollout = home.get_one(KIND, name).await?;
    let phase = serde_json::from_value::<RolloutPhase>(rollout["status"]["phase"].clone());
    if phase.is_ok_and(RolloutPhase::is_over) {
        let phase = output::plain(&rollout["status"]["phase"]);
        let text = format!("{name} is over (its phase is {phase})");
        return Ok(Err(resources::refused(&[text])));
    }
    let is_paused = rollout["spec"]["paused"].as_bool().unwrap_or_default();
    if is_paused != paused {
        let applied = home.pause(&rollout, paused).await?;
        if !applied.problems.is_empty() {
            return Ok(Err(resources::refused(&applied.problems)));
        }
    }
    Ok(Ok(is_paused == paused))
}

/// `placet rollout pause` and `placet rollout resume`.
async fn pause(name: &str, paused: bool, common: &Common) -> anyhow::Result<Answer> {
    let home = Home::open(common).await?;
    let is_already = match set_paused(&home, name, paused).await? {
        Ok(is_already) => is_already,
        Err(refused) => return Ok(refused),
    };
    if common.output != Format::Table {
        output::print(&home.get_one(KIND, name).await?, common.output)?;
        return Ok(Answer::Done);
    }
    let word = if paused { "paused" } else { "resumed" };
    let already = if is_already { " already" } else { "" };
    anstream::println!("{} {word}{already}", full_name(KIND, name));
    Ok(Answer::Done)
}
