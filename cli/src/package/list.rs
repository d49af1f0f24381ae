//! `placet package list`.

use std::path::Path;
use std::sync::Arc;

use anyhow::Context as _;
use clap::Args;
use futures_util::{StreamExt as _, TryStreamExt as _, stream};
use indicatif::HumanBytes;
use placet_model::visible;
use placet_package::registry::{Registry, RegistryReference};
use placet_package::{Layout, Listed, Selector, list};
use serde_json::{Value, json};

use super::storage::{self, Opened};
use crate::arguments::{Common, Login};
use crate::output::{self, Answer, Format};

#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  placet package list packages/chat
  placet package list oci://registry.example.org/fleet/chat     One repository
  placet package list oci://registry.example.org -o json        All, where the registry lists them")]
pub(crate) struct List {
    /// The layout (`oci-layout:DIR` or its folder), repository (`oci://HOST/REPOSITORY`) or registry
    /// (`oci://HOST`).
    #[arg(value_name = "LAYOUT_OR_REGISTRY")]
    pub(crate) place: String,
    #[command(flatten)]
    pub(crate) login: Login,
}

/// Repositories that are looked at in the same time.
const AT_ONCE: usize = 4;

/// `placet package list`.
pub(crate) async fn run(arguments: &List, common: &Common) -> anyhow::Result<Answer> {
    let places = places(&arguments.place, &arguments.login).await?;
    let lists: Vec<_> = places
        .iter()
        .map(|(prefix, opened)| async move {
            let (listed, others) = list(opened.place()).await?;
            anyhow::Ok((prefix, opened, listed, others))
        })
        .collect();
    let found: Vec<_> = stream::iter(lists).buffered(AT_ONCE).try_collect().await?;
    let others: usize = found.iter().map(|(.., others)| others).sum();
    let rows = found.iter().flat_map(|(prefix, opened, listed, _)| {
        let rows = listed.iter();
        rows.map(move |listed| (prefix.as_str(), *opened, listed))
    });
    if common.output == Format::Table {
        let headings = ["tag", "package", "version", "bytes", "created", "digest"];
        output::table(
            &headings,
            rows.map(|(prefix, _, it)| row(prefix, it)).collect(),
        );
    } else {
        let values: Vec<Value> = rows.map(|(_, opened, it)| value(opened, it)).collect();
        output::print(&json!({"packages": values}), common.output)?;
    }
    if others > 0 {
        anstream::eprintln!("{others} tags name other things than packages");
    }
    Ok(Answer::Done)
}

/// What is looked at, and what stands before its tags in the table.
async fn places(text: &str, login: &Login) -> anyhow::Result<Vec<(String, Opened)>> {
    if !storage::is_registry(text) {
        let folder = text.strip_prefix("oci-layout:").unwrap_or(text);
        let layout = Layout::open(Path::new(folder))?;
        return Ok(vec![(String::new(), Opened::Layout(layout))]);
    }
    let rest = text.split_once("://").map_or("", |(_, rest)| rest);
    if rest.trim_end_matches('/').contains('/') {
        let repository = storage::repository(text)?;
        let registry = Arc::new(storage::connect(&repository, login).await?);
        return Ok(vec![(
            String::new(),
            Opened::Repository(registry, repository),
        )]);
    }
    // A registry is named by a reference to anything in it.
    let any = storage::repository(&format!("{}/any", text.trim_end_matches('/')))?;
    let registry = Arc::new(storage::connect(&any, login).await?);
    all(&registry, &any).await
}

async fn all(
    registry: &Arc<Registry>,
    any: &RegistryReference,
) -> anyhow::Result<Vec<(String, Opened)>> {
    let names = registry.repositories().await.with_context(|| {
        let host = &any.host;
        format!("the registry does not tell its repositories; name one: oci://{host}/REPOSITORY")
    })?;
    let opened = names.into_iter().map(|repository| {
        let prefix = format!("{repository}:");
        let reference = RegistryReference {
            repository,
            ..any.clone()
        };
        (prefix, Opened::Repository(Arc::clone(registry), reference))
    });
    Ok(opened.collect())
}

fn row(prefix: &str, listed: &Listed) -> Vec<String> {
    let tags: Vec<_> = listed
        .tags
        .iter()
        .map(|tag| visible(&format!("{prefix}{tag}")).to_string())
        .collect();
    let name = visible(&listed.name);
    let date = listed.created.split('T').next().unwrap_or_default();
    vec![
        if tags.is_empty() {
            "-".to_owned()
        } else {
            tags.join(" ")
        },
        if listed.is_composite {
            format!("{name} (composite)")
        } else {
            name.to_string()
        },
        visible(&listed.version).to_string(),
        // A number stays with its unit.
        HumanBytes(listed.bytes).to_string().replace(' ', "\u{a0}"),
        visible(date).to_string(),
        listed.digest.short(),
    ]
}

fn value(opened: &Opened, listed: &Listed) -> Value {
    let selector = match listed.tags.first() {
        Some(tag) => Selector::Tag(tag.clone()),
        None => Selector::Digest(listed.digest),
    };
    json!({
        "reference": opened.name(&selector),
        "name": listed.name,
        "version": listed.version,
        "kind": if listed.is_composite { "composite" } else { "package" },
        "tags": listed.tags,
        "digest": listed.digest,
        "bytes": listed.bytes,
        "created": listed.created,
    })
}
