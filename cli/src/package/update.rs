//! What `placet package shade` and `repack` have in common.

use clap::Args;
use placet_model::{PackageConfig, Version};
use placet_package::{Package, Reference};
use placet_packager::update::{Naming, Update, UpdateError};
use serde_json::json;

use super::place::{self, Opened, Target};
use crate::arguments::{Common, Login};
use crate::output::{self, Answer, Format};

/// What an update is made from, and where it is stored.
#[derive(Debug, Args)]
pub(crate) struct Making {
    /// The package: `oci-layout:DIR:TAG` or `oci://HOST/REPOSITORY:TAG`.
    reference: Reference,
    /// Where the update is stored: `oci-layout:DIR` or `oci://HOST/REPOSITORY` [default: beside
    /// the package].
    #[arg(long, value_name = "PLACE")]
    to: Option<String>,
    /// The version of the update [default: the next one].
    #[arg(long)]
    version: Option<Version>,
    #[command(flatten)]
    login: Login,
}

impl Making {
    /// Has `make` make the update, stores it, and says where it is and what it is.
    pub(super) async fn run(
        &self,
        common: &Common,
        make: impl FnOnce(&Package, Naming<'_>) -> Result<Update, UpdateError>,
    ) -> anyhow::Result<Answer> {
        let opened = place::open(&self.reference, &self.login).await?;
        let target = Target::new(self.to.as_deref(), &self.reference, &self.login).await?;
        let tags = target.tags().await?;
        let naming = Naming {
            version: self.version.as_ref(),
            tags: &tags,
        };
        let update = make(&opened.package, naming)?;
        store(&target, &opened, &update, common).await?;
        Ok(Answer::Done)
    }
}

async fn store(
    target: &Target,
    from: &Opened,
    update: &Update,
    common: &Common,
) -> anyhow::Result<()> {
    for warning in &update.warnings {
        output::warn(warning);
    }
    let (reference, digest) = target.store(from, update).await?;
    let config = &update.config;
    if common.output == Format::Table {
        anstream::println!("{reference}  {digest}");
        if let Some(line) = origin(config) {
            anstream::eprintln!("{line}");
        }
    } else {
        let value = json!({
            "reference": reference.to_string(),
            "digest": digest,
            "config": config,
        });
        output::print(&value, common.output)?;
    }
    Ok(())
}

/// What a package was made from, where it was made from another.
pub(super) fn origin(config: &PackageConfig) -> Option<String> {
    let derived = config.derived.as_ref()?;
    Some(placet_simulator::diff::origin(derived))
}
