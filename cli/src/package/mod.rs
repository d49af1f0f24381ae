//! `placet package`: the build environment.

pub(crate) mod api;
pub(crate) mod attached;
pub(crate) mod build;
pub(crate) mod composite;
pub(crate) mod copy;
pub(crate) mod deps;
pub(crate) mod diff;
mod documents;
pub(crate) mod entangled;
mod follow;
pub(crate) mod import;
pub(crate) mod key;
pub(crate) mod list;
pub(crate) mod place;
mod progress;
pub(crate) mod prune;
pub(crate) mod pull;
pub(crate) mod push;
pub(crate) mod remove;
pub(crate) mod repack;
pub(crate) mod shade;
pub(crate) mod sign;
pub(crate) mod signature;
mod storage;
pub(crate) mod stub;
pub(crate) mod tags;
mod update;
pub(crate) mod verify;
mod voucher;

use anyhow::Context as _;
use placet_model::PackageConfig;
use placet_package::Reference;
use serde_json::json;

use crate::arguments::{Common, Inspect, PackageCommand};
use crate::output::{self, Answer, Format};

/// `placet package`.
pub(crate) async fn run(command: PackageCommand, common: &Common) -> anyhow::Result<Answer> {
    match command {
        PackageCommand::Api(arguments) => api::run(arguments, common),
        PackageCommand::Build(arguments) => build::run(arguments, common).await,
        PackageCommand::Schema => schema(),
        PackageCommand::Deps(_) => unreachable!("handled before the runtime starts"),
        PackageCommand::Inspect(arguments) => inspect(&arguments, common).await,
        PackageCommand::Import(arguments) => import::run(arguments, common).await,
        PackageCommand::Key(command) => key::run(&command, common),
        PackageCommand::Sign(arguments) => sign::run(&arguments, common).await,
        PackageCommand::Verify(arguments) => verify::run(&arguments, common).await,
        PackageCommand::Attached(arguments) => attached::list(&arguments, common).await,
        PackageCommand::Sbom(arguments) => attached::sbom(&arguments, common).await,
        PackageCommand::Provenance(arguments) => attached::provenance(&arguments, common).await,
        PackageCommand::Push(arguments) => push::run(&arguments, common).await,
        PackageCommand::Pull(arguments) => pull::run(&arguments, common).await,
        PackageCommand::Copy(arguments) => copy::run(&arguments, common).await,
        PackageCommand::Composite(command) => composite::run(&command, common).await,
        PackageCommand::List(arguments) => list::run(&arguments, common).await,
        PackageCommand::Tags(arguments) => tags::run(&arguments, common).await,
        PackageCommand::Remove(arguments) => remove::run(&arguments, common).await,
        PackageCommand::Prune(arguments) => prune::run(&arguments, common),
        PackageCommand::Diff(arguments) => diff::run(&arguments, common).await,
        PackageCommand::Entangled(arguments) => entangled::run(&arguments, common).await,
        PackageCommand::Shade(arguments) => shade::run(&arguments, common).await,
        PackageCommand::Repack(arguments) => repack::run(&arguments, common).await,
        PackageCommand::Signature(arguments) => signature::run(&arguments, common),
        PackageCommand::Stub(arguments) => stub::run(&arguments, common),
    }
}

/// `placet package schema`.
fn schema() -> anyhow::Result<Answer> {
    output::print(&placet_packager::schema(), Format::Json)?;
    Ok(Answer::Done)
}

/// `placet package inspect`.
async fn inspect(arguments: &Inspect, common: &Common) -> anyhow::Result<Answer> {
    let reference: Reference = arguments.reference.parse()?;
    let opened = place::open(&reference, &arguments.login)
        .await
        .with_context(|| format!("failed to open {}", arguments.reference))?;
    let package = &opened.package;
    if common.output == Format::Table {
        print_config(&package.digest, &package.config);
    } else {
        let value = json!({"digest": package.digest, "config": package.config});
        output::print(&value, common.output)?;
    }
    Ok(Answer::Done)
}

fn print_config(digest: &placet_model::Digest, config: &PackageConfig) {
    anstream::println!("Package:  {} {}", config.name, config.version);
    if let Some(description) = &config.description {
        anstream::println!("About:    {}", placet_model::visible(description));
    }
    if let Some(license) = &config.license {
        anstream::println!("License:  {}", placet_model::visible(license));
    }
    anstream::println!("Digest:   {digest}");
    anstream::println!("Built:    {}", config.created);
    if let Some(origin) = update::origin(config) {
        anstream::println!("Made of:  {origin}");
    }
    for requirement in &config.requires {
        anstream::println!("Requires: {} {}", requirement.package, requirement.version);
    }
    for upgrade in &config.upgrades {
        anstream::println!("Upgrades: {} {}", upgrade.package, upgrade.version);
    }
    anstream::println!();
    let rows = config.modules.iter().map(|module| {
        let needs = module.elf.as_ref().map_or_else(String::new, |elf| {
            elf.needed
                .iter()
                .map(|soname| placet_model::visible(soname).to_string())
                .collect::<Vec<_>>()
                .join(" ")
        });
        let signature = module.signature.to_string();
        let is_random = config.shaded().is_some_and(|it| it.contains(&module.path));
        let random = if is_random { " (random)" } else { "" };
        vec![
            module.path.to_string(),
            module.kind.to_string(),
            module.architecture.to_string(),
            module.size.to_string(),
            format!("{}{random}", &signature[..signature.len().min(16)]),
            needs,
        ]
    });
    output::table(
        &["module", "type", "for", "bytes", "signature", "needs"],
        rows.collect(),
    );
}
