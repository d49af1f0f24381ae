//! `placet package attached`, `sbom` and `provenance`: what is known of a package.

use anyhow::Context as _;
use clap::Args;
use placet_model::visible;
use placet_packager::{PROVENANCE_TYPE, SBOM_TYPE};
use serde_json::{Value, json};

use super::documents::Documents;
use crate::arguments::{Common, Login};
use crate::output::{self, Answer, Format};

#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  placet package attached oci-layout:packages/chat:1.1.0
  placet package sbom oci://registry.example.org/fleet/chat:1.1.0 > chat.cdx.json
  placet package provenance packages/chat -o yaml

Nothing of it is verified; `placet package verify` says what a key vouches for.")]
pub(crate) struct About {
    /// The package: `oci-layout:DIR:TAG`, `oci://HOST/REPOSITORY:TAG`, or the folder of a layout that
    /// holds one.
    pub(crate) reference: String,
    #[command(flatten)]
    pub(crate) login: Login,
}

/// `placet package attached`.
pub(crate) async fn list(arguments: &About, common: &Common) -> anyhow::Result<Answer> {
    let documents = Documents::of(&arguments.reference, &arguments.login).await?;
    let attached = documents.attached()?;
    if common.output == Format::Table {
        let rows = attached.iter().map(|it| {
            let kind = it.predicate.as_ref().unwrap_or(&it.artifact_type);
            vec![
                visible(kind).to_string(),
                if it.is_bundle() { "signed" } else { "-" }.to_owned(),
                it.content.1.to_string(),
                it.digest.short(),
            ]
        });
        output::table(&["what", "by a key", "bytes", "digest"], rows.collect());
    } else {
        let values = attached.iter().map(|it| {
            json!({
                "artifactType": it.artifact_type,
                "predicateType": it.predicate,
                "digest": it.digest,
                "bytes": it.content.1,
            })
        });
        let value = json!({"digest": documents.package, "attached": values.collect::<Vec<_>>()});
        output::print(&value, common.output)?;
    }
    Ok(Answer::Done)
}

/// `placet package sbom`.
pub(crate) async fn sbom(arguments: &About, common: &Common) -> anyhow::Result<Answer> {
    print(arguments, SBOM_TYPE, "bill of materials", common).await
}

/// `placet package provenance`.
pub(crate) async fn provenance(arguments: &About, common: &Common) -> anyhow::Result<Answer> {
    print(arguments, PROVENANCE_TYPE, "provenance", common).await
}

/// Prints documents as they are: JSON, unless YAML is asked for. Where there are several, all.
async fn print(
    arguments: &About,
    kind: &str,
    what: &str,
    common: &Common,
) -> anyhow::Result<Answer> {
    let documents = Documents::of(&arguments.reference, &arguments.login).await?;
    let attached = documents.attached()?;
    let mut is_there = false;
    for attached in attached.iter().filter(|it| it.artifact_type == kind) {
        let content = documents.content(attached)?;
        let value: Value = serde_json::from_slice(&content)
            .with_context(|| format!("the {what} ({}) is no JSON", attached.digest))?;
        let format = match common.output {
            Format::Table => Format::Json,
            format => format,
        };
        output::print(&value, format)?;
        is_there = true;
    }
    if is_there {
        return Ok(Answer::Done);
    }
    anstream::eprintln!("{} has no {what}", documents.reference);
    Ok(Answer::No)
}
