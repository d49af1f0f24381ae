//! Reports, in the format and at the place that were asked for.

use std::path::Path;

use anyhow::{Context as _, bail};
use placet_simulator::{Effect, Explanation, Paint};

use crate::output::{self, Format};

/// Writes the report to `file`, or to standard output.
pub(crate) fn show(effect: &Effect, file: Option<&Path>, format: Format) -> anyhow::Result<()> {
    let text = match format {
        Format::Table if file.is_none() => placet_simulator::text(effect, output::PAINT),
        Format::Table => placet_simulator::text(effect, Paint::default()),
        Format::Json => placet_simulator::json(effect),
        Format::Yaml => {
            let value: serde_json::Value = serde_json::from_str(&placet_simulator::json(effect))?;
            serde_yaml::to_string(&value).context("failed to write YAML")?
        }
        Format::Markdown => placet_simulator::markdown(effect),
        Format::Junit => placet_simulator::junit(effect),
        Format::Sarif => placet_simulator::sarif(effect),
    };
    write(&text, file)
}

/// Writes an explanation to `file`, or to standard output.
pub(super) fn explanation(
    explanation: &Explanation,
    file: Option<&Path>,
    format: Format,
) -> anyhow::Result<()> {
    let text = match format {
        Format::Table if file.is_none() => placet_simulator::explained(explanation, output::PAINT),
        Format::Table => placet_simulator::explained(explanation, Paint::default()),
        Format::Json => serde_json::to_string_pretty(explanation)? + "\n",
        Format::Yaml => serde_yaml::to_string(explanation).context("failed to write YAML")?,
        Format::Markdown | Format::Junit | Format::Sarif => {
            bail!("an explanation is written as table, json or yaml")
        }
    };
    write(&text, file)
}

fn write(text: &str, file: Option<&Path>) -> anyhow::Result<()> {
    if let Some(file) = file {
        return std::fs::write(file, text)
            .with_context(|| format!("failed to write the report to {}", file.display()));
    }
    anstream::print!("{text}");
    Ok(())
}
