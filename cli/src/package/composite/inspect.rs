//! `placet package composite inspect`.

use clap::Args;
use indicatif::HumanBytes;
use placet_model::{Purpose, visible};
use placet_package::composite::{Composite, CompositePart, read_composite};
use placet_packager::source_files;
use serde_json::{Value, json};

use crate::arguments::{Common, Login};
use crate::output::{self, Answer, Format};
use crate::package::storage;

#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  placet package composite inspect oci-layout:fleet:1.2.0
  placet package composite inspect oci://registry.example.org/fleets/edge:1.2.0 -o json")]
pub(crate) struct Inspect {
    /// The composite: `oci-layout:DIR:TAG`, `oci://HOST/REPOSITORY:TAG`, or `@sha256:…` in the place
    /// of `:TAG`.
    pub(crate) reference: String,
    #[command(flatten)]
    pub(crate) login: Login,
}

/// `placet package composite inspect`.
pub(crate) async fn run(arguments: &Inspect, common: &Common) -> anyhow::Result<Answer> {
    let (from, selector) = storage::source(&arguments.reference, &arguments.login).await?;
    let composite = read_composite(from.place(), &selector).await?;
    if common.output == Format::Table {
        show(&composite);
    } else {
        output::print(&value(&composite), common.output)?;
    }
    Ok(Answer::Done)
}

fn show(composite: &Composite) {
    let Composite { name, version, .. } = composite;
    anstream::println!("Composite: {name} {}", visible(version));
    anstream::println!("Digest:    {}", composite.digest);
    anstream::println!("Built:     {}", composite.created);
    anstream::println!();
    let rows = composite.packages.iter().map(|part| {
        vec![
            part.config.name.to_string(),
            part.config.version.to_string(),
            kind(part).to_owned(),
            part.config.modules.len().to_string(),
            HumanBytes(bytes(part)).to_string(),
            part.digest.short(),
        ]
    });
    let headings = ["package", "version", "type", "modules", "bytes", "digest"];
    output::table(&headings, rows.collect());
    if composite.declarations.is_empty() {
        return;
    }
    anstream::println!();
    let rows = composite.declarations.iter().map(|file| {
        let resources = resources(std::slice::from_ref(file)).join(", ");
        vec![file.path.to_string(), resources]
    });
    output::table(&["declarations", "resources"], rows.collect());
}

fn kind(part: &CompositePart) -> &'static str {
    match part.config.purpose {
        Purpose::Boot => "boot image",
        _ => "package",
    }
}

fn bytes(part: &CompositePart) -> u64 {
    part.config.modules.iter().map(|module| module.size).sum()
}

/// What files declare, as `NodeClass/core`; nothing where they do not hold.
fn resources(files: &[placet_package::composite::Declaration]) -> Vec<String> {
    let objects = placet_crds::load(&source_files(files)).unwrap_or_default();
    let names = objects.iter();
    names
        .map(|object| format!("{}/{}", object.kind(), visible(object.name())))
        .collect()
}

fn value(composite: &Composite) -> Value {
    let packages = composite.packages.iter().map(|part| {
        json!({
            "name": part.config.name,
            "version": part.config.version,
            "type": kind(part),
            "modules": part.config.modules.len(),
            "bytes": bytes(part),
            "digest": part.digest,
        })
    });
    let declarations = composite.declarations.iter().map(|file| {
        json!({
            "path": file.path,
            "resources": resources(std::slice::from_ref(file)),
            "text": file.text,
        })
    });
    json!({
        "name": composite.name,
        "version": composite.version,
        "created": composite.created,
        "digest": composite.digest,
        "packages": packages.collect::<Vec<_>>(),
        "declarations": declarations.collect::<Vec<_>>(),
    })
}
