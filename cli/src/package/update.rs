//! What `placet package shade` and `repack` have in common.

use clap::Args;
use placet_model::{Digest, PackageConfig, Version};
use placet_package::{Package, Reference};
use placet_packager::update::{Naming, Update, UpdateError};
use serde_json::json;

use super::documents::Documents;
use super::place::{self, Target};
use super::voucher::{Voucher, vouch};
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
    voucher: Voucher,
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
        let key = self.voucher.open()?;
        let opened = place::open(&self.reference, &self.login).await?;
        let target = Target::new(self.to.as_deref(), &self.reference, &self.login).await?;
        let tags = target.tags().await?;
        let naming = Naming {
            version: self.version.as_ref(),
            tags: &tags,
        };
        let update = make(&opened.package, naming)?;
        for warning in &update.warnings {
            output::warn(warning);
        }
        let (reference, digest) = target.store(&opened, &update).await?;
        let documents = Documents::of(&reference.to_string(), &self.login).await?;
        for document in &update.documents(&digest, &self.voucher.builder()) {
            documents.attach(document).await?;
        }
        vouch(&documents.reference, &self.login, key.as_ref()).await?;
        print(&reference, &digest, &update.config, common)?;
        Ok(Answer::Done)
    }
}

fn print(
    reference: &Reference,
    digest: &Digest,
    config: &PackageConfig,
    common: &Common,
) -> anyhow::Result<()> {
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
