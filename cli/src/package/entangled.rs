//! `package entangled`: which modules of packages can only change together.

use anyhow::bail;
use clap::Args;
use placet_model::{Digest, PackageName, Version};
use placet_package::Reference;
use placet_simulator::entangled::{OfPackages, of_packages};
use serde::Serialize;

use super::place;
use crate::arguments::{Common, Login};
use crate::entangled::Shape;
use crate::output::Answer;

#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  placet package entangled oci-layout:packages/chat:1.0.0
  placet package entangled oci-layout:packages/chat:1.0.0 oci-layout:packages/base:2.1.0
  placet package entangled oci://registry.example.org/fleet/chat:1.0.0 -o json
  placet package entangled oci-layout:packages/chat:1.0.0 --dot | dot -Tsvg > chat.svg")]
pub(crate) struct Arguments {
    /// The packages of a node, in its order: `oci-layout:DIR:TAG` or `oci://HOST/REPOSITORY:TAG`, or
    /// `@sha256:…` in the place of `:TAG`.
    #[arg(required = true, value_name = "PACKAGE")]
    packages: Vec<Reference>,
    /// Look at nodes of this architecture alone [default: each that some module is for].
    #[arg(long, value_name = "ARCHITECTURE")]
    architecture: Option<String>,
    #[command(flatten)]
    shape: Shape,
    #[command(flatten)]
    login: Login,
}

/// What hangs together in packages.
#[derive(Serialize)]
struct Report {
    packages: Vec<PackageVersion>,
    entangled: Vec<OfPackages>,
}

#[derive(Serialize)]
struct PackageVersion {
    name: PackageName,
    version: Version,
    digest: Digest,
}

/// Prints what hangs together.
pub(super) async fn run(arguments: &Arguments, common: &Common) -> anyhow::Result<Answer> {
    let mut opened = Vec::new();
    for reference in &arguments.packages {
        opened.push(place::open(reference, &arguments.login).await?.package);
    }
    let packages: Vec<_> = opened.iter().map(|it| (it.digest, &it.config)).collect();
    let mut entangled = of_packages(&packages, arguments.shape.cuts);
    if let Some(wanted) = &arguments.architecture {
        entangled.retain(|it| it.architecture.0 == *wanted);
        if entangled.is_empty() {
            bail!("no module of the packages is for architecture `{wanted}`");
        }
    }
    if arguments.shape.is_graph() && entangled.len() > 1 {
        let names: Vec<_> = entangled
            .iter()
            .map(|it| it.architecture.0.as_str())
            .collect();
        bail!(
            "a graph is of one architecture: name it with --architecture ({})",
            names.join(", ")
        );
    }
    let report = Report {
        packages: packages
            .iter()
            .map(|(digest, config)| PackageVersion {
                name: config.name.clone(),
                version: config.version.clone(),
                digest: *digest,
            })
            .collect(),
        entangled,
    };
    let is_mixed = report.entangled.len() > 1;
    let parts = report.entangled.iter().map(|it| {
        let heading = is_mixed.then_some(it.architecture.0.as_str());
        (heading.unwrap_or_default(), &it.entangled)
    });
    arguments.shape.print(&report, parts, common)?;
    Ok(Answer::Done)
}
