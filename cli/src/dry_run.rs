//! `placet rollout dry-run`, `placet apply --dry-run`: what would a change do, and who would object?

use std::path::PathBuf;

use placet_model::{DryRunAnswer, DryRunReport, VerdictKind, visible};
use serde_json::json;

use crate::arguments::Common;
use crate::home::{Applied, Home, Tried};
use crate::output::{self, Answer, Format};
use crate::resources;

/// Asks, and prints what comes of it. The answer is no if somebody would object.
pub(crate) async fn run(
    files: &[PathBuf],
    seconds: u32,
    common: &Common,
) -> anyhow::Result<Answer> {
    let files = resources::read_all(files)?;
    let report = match Home::open(common).await?.dry_run(files, seconds).await? {
        Tried::Refused(problems) => return Ok(resources::refused(&problems)),
        Tried::Answered(answered) => return print_answered(&answered, common.output),
        Tried::Report(report) => report,
    };
    match common.output {
        Format::Table => print(&report),
        format => output::print(&serde_json::to_value(&report)?, format)?,
    }
    Ok(if report.is_clean() {
        Answer::Done
    } else {
        Answer::No
    })
}

/// Prints what an API server passed on of the nodes' answers.
fn print_answered(tried: &Applied, format: Format) -> anyhow::Result<Answer> {
    let Applied {
        results,
        warnings,
        problems,
    } = tried;
    let answers = warnings.iter();
    let is_clean = problems.is_empty()
        && answers
            .filter_map(|line| DryRunReport::summary_is_clean(line))
            .all(|it| it);
    if format == Format::Table {
        for result in results {
            anstream::println!("{} (dry run)", visible(result));
        }
        for line in warnings {
            let style = match DryRunReport::summary_is_clean(line) {
                Some(true) => output::GOOD,
                Some(false) => output::WAIT,
                None => output::BAD,
            };
            anstream::println!("{style}{}{}", visible(line), style.render_reset());
        }
    } else {
        let value = json!({ "results": results, "warnings": warnings, "problems": problems });
        output::print(&value, format)?;
    }
    Ok(match resources::refused(problems) {
        Answer::Done if is_clean => Answer::Done,
        _ => Answer::No,
    })
}

fn print(report: &DryRunReport) {
    for result in &report.results {
        anstream::println!("{} (dry run)", visible(result));
    }
    for (title, lines) in [("Problem", &report.problems), ("Note", &report.notes)] {
        for line in lines {
            anstream::println!("{title}: {}", visible(line));
        }
    }
    if !report.changes.is_empty() {
        anstream::println!();
    }
    for line in &report.changes {
        anstream::println!("{line}");
    }
    if !report.nodes.is_empty() {
        anstream::println!();
        output::table(&["node", "modules", "processes", "answer"], rows(report));
        anstream::println!();
    }
    for line in report.lines() {
        anstream::println!("{}{line}{}", output::BAD, output::BAD.render_reset());
    }
    let style = if report.is_clean() {
        output::GOOD
    } else {
        output::WAIT
    };
    anstream::println!("{style}{}{}", report.summary(), style.render_reset());
}

fn rows(report: &DryRunReport) -> Vec<Vec<String>> {
    let rows = report.nodes.iter().map(|node| {
        vec![
            node.node.to_string(),
            node.modules.to_string(),
            node.processes.join(", "),
            answer(&node.answer),
        ]
    });
    rows.collect()
}

/// The word for an answer, and who gave it where there is only one.
fn answer(answer: &DryRunAnswer) -> String {
    let word = answer.to_string();
    match answer {
        DryRunAnswer::Verdict(verdict) if verdict.verdict != VerdictKind::Accept => {
            let mut who: Vec<_> = verdict
                .records
                .iter()
                .filter(|record| VerdictKind::from(record.answer) == verdict.verdict)
                .map(|record| record.process.to_string())
                .collect();
            who.dedup();
            match &who[..] {
                [] => word,
                who => format!("{word} of {}", who.join(", ")),
            }
        }
        _ => word,
    }
}
