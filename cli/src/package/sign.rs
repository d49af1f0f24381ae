//! `placet package sign`.

use std::path::PathBuf;

use clap::Args;
use placet_package::trust::Attachment;
use placet_packager::{SigningKey, attestation, signature};
use serde_json::json;

use super::documents::Documents;
use super::key::{self, PassphraseSource};
use crate::arguments::{Common, Login};
use crate::output::{self, Answer, Format};

#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  placet package sign oci-layout:packages/chat:1.1.0 --key placet.key
  placet package sign oci://registry.example.org/fleet/chat:1.1.0 --key placet.key
  placet package sign packages/chat --key cosign.key --passphrase-file secret

The signature is stored beside the package, and what is known of the package is signed too: its bill
of materials and its provenance. `cosign verify --key` accepts it. Signing again changes nothing.")]
pub(crate) struct Sign {
    /// The package: `oci-layout:DIR:TAG`, `oci://HOST/REPOSITORY:TAG`, or the folder of a layout that
    /// holds one.
    pub(crate) reference: String,
    /// The private key, PEM; `placet package key generate` makes one, and cosign's are read too.
    #[arg(long, value_name = "PATH")]
    pub(crate) key: PathBuf,
    #[command(flatten)]
    pub(crate) passphrase: PassphraseSource,
    #[command(flatten)]
    pub(crate) login: Login,
}

/// `placet package sign`.
pub(crate) async fn run(arguments: &Sign, common: &Common) -> anyhow::Result<Answer> {
    let documents = Documents::of(&arguments.reference, &arguments.login).await?;
    let key = key::signing_key(&arguments.key, &arguments.passphrase)?;
    let signed = sign(&documents, &key).await?;
    if common.output == Format::Table {
        anstream::println!("{}", documents.reference);
        anstream::eprintln!(
            "signed with the key {}, and {signed} documents about it",
            key.public().id().short()
        );
    } else {
        let value = json!({
            "reference": documents.reference,
            "digest": documents.package,
            "key": key.public().id(),
            "documents": signed,
        });
        output::print(&value, common.output)?;
    }
    Ok(Answer::Done)
}

/// Signs a package, and each document about it that nobody can tell is true otherwise; how many there
/// were.
pub(super) async fn sign(documents: &Documents, key: &SigningKey) -> anyhow::Result<usize> {
    let mut made: Vec<Attachment> = Vec::new();
    for attached in documents.attached()? {
        if attached.is_bundle() {
            continue;
        }
        let content = documents.content(&attached)?;
        made.extend(attestation(
            key,
            &documents.package,
            &attached.artifact_type,
            &content,
        ));
    }
    // The signature comes last: with it, the package counts.
    let count = made.len();
    made.push(signature(key, &documents.package));
    for attachment in &made {
        documents.attach(attachment).await?;
    }
    Ok(count)
}
