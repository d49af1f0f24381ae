//! Who vouches for a package that a command makes.

use std::path::PathBuf;

use clap::Args;
use placet_packager::{Builder, SigningKey};

use super::documents::Documents;
use super::key::{PassphraseSource, signing_key};
use super::sign::sign;
use crate::arguments::Login;

/// With which key a new package is signed, and what its provenance says of who made it.
#[derive(Debug, Args)]
pub(super) struct Voucher {
    /// The private key, PEM, to sign the package with, as `placet package sign` does.
    #[arg(long, value_name = "PATH")]
    key: Option<PathBuf>,
    #[command(flatten)]
    passphrase: PassphraseSource,
    /// The platform that builds, for the provenance: a URI [default: nobody vouches for it].
    #[arg(long, env = "PLACET_BUILDER", value_name = "URI")]
    builder: Option<String>,
    /// The run of that platform, for the provenance.
    #[arg(long, env = "PLACET_INVOCATION", value_name = "TEXT")]
    invocation: Option<String>,
}

impl Voucher {
    /// Opens the key, if there is one. A passphrase is asked for before anything takes its time.
    pub(super) fn open(&self) -> anyhow::Result<Option<SigningKey>> {
        let key = self.key.as_deref();
        key.map(|file| signing_key(file, &self.passphrase))
            .transpose()
    }

    /// Who says in the provenance that they made it.
    pub(super) fn builder(&self) -> Builder {
        Builder {
            id: self.builder.clone(),
            invocation: self.invocation.clone(),
        }
    }
}

/// Signs the package that `reference` names, and what is known of it, if there is a key.
pub(super) async fn vouch(
    reference: &str,
    login: &Login,
    key: Option<&SigningKey>,
) -> anyhow::Result<()> {
    if let Some(key) = key {
        sign(&Documents::of(reference, login).await?, key).await?;
    }
    Ok(())
}
