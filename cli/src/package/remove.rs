//! `placet package remove`.

use clap::Args;
use indicatif::HumanBytes;
use placet_package::Removed;
use serde_json::{Value, json};

use super::storage::{self, Opened};
use crate::arguments::{Common, Login};
use crate::output::{self, Answer, Format};

#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  placet package remove oci-layout:packages/chat:1.0.0
  placet package remove oci://registry.example.org/fleet/chat@sha256:…

A tag of several goes alone; a digest takes all its tags along. What refers to the package
(signatures, bills of materials, provenance) goes with it. Nodes keep what they run.")]
pub(crate) struct Remove {
    /// The package or composite: `oci-layout:DIR:TAG`, `oci://HOST/REPOSITORY:TAG`, or `@sha256:…`
    /// in the place of `:TAG`.
    pub(crate) reference: String,
    #[command(flatten)]
    pub(crate) login: Login,
}

/// `placet package remove`.
pub(crate) async fn run(arguments: &Remove, common: &Common) -> anyhow::Result<Answer> {
    // Naming a folder is too little to lose what is in it.
    let reference = &arguments.reference;
    let _: placet_package::Reference = reference.parse()?;
    let (place, selector) = storage::source(reference, &arguments.login).await?;
    let (removed, is_layout) = match &place {
        Opened::Layout(layout) => (layout.remove(&selector)?, true),
        Opened::Repository(registry, reference) => (registry.remove(reference).await?, false),
    };
    if common.output == Format::Table {
        say(reference, &removed, is_layout);
    } else {
        output::print(&value(&removed), common.output)?;
    }
    Ok(Answer::Done)
}

fn say(reference: &str, removed: &Removed, is_layout: bool) {
    anstream::println!("{reference}  {}", removed.digest);
    if !removed.stays_as.is_empty() {
        let others = removed.stays_as.join("`, `");
        anstream::eprintln!("the tag is gone; the package is still there as `{others}`");
        return;
    }
    for (kind, digest) in &removed.referrers {
        anstream::eprintln!("gone with it: {} {digest}", placet_model::visible(kind));
    }
    if is_layout {
        let (blobs, bytes) = (removed.freed.blobs, HumanBytes(removed.freed.bytes));
        let shared = removed.shared;
        anstream::eprintln!("{blobs} blobs freed ({bytes}); {shared} stay, since others hold them");
    } else {
        anstream::eprintln!("its modules go when the registry collects garbage");
    }
}

fn value(removed: &Removed) -> Value {
    let referrers = removed.referrers.iter();
    let referrers = referrers.map(|(kind, digest)| json!({"type": kind, "digest": digest}));
    json!({
        "digest": removed.digest,
        "tags": removed.tags,
        "staysAs": removed.stays_as,
        "referrers": referrers.collect::<Vec<_>>(),
        "blobs": removed.freed.blobs,
        "bytes": removed.freed.bytes,
        "shared": removed.shared,
    })
}
