//! `placet package verify`.

use std::path::PathBuf;

use clap::Args;
use placet_package::trust::{Finding, SIGNATURE_PREDICATE, examine, verify};
use serde_json::{Value, json};

use super::documents::Documents;
use super::key;
use crate::arguments::{Common, Login};
use crate::output::{self, Answer, Format};

#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  placet package verify oci://registry.example.org/fleet/chat:1.1.0 --key placet.pub
  placet package verify packages/chat --key old.pub --key new.pub -o json

Exit code 0: one of the keys has signed it; 1: none has; 2: it cannot be told.")]
pub(crate) struct Verify {
    /// The package: `oci-layout:DIR:TAG`, `oci://HOST/REPOSITORY:TAG`, or the folder of a layout that
    /// holds one.
    pub(crate) reference: String,
    /// A public key, PEM; may be given several times: one of them has to have signed.
    #[arg(long, required = true, value_name = "PATH")]
    pub(crate) key: Vec<PathBuf>,
    #[command(flatten)]
    pub(crate) login: Login,
}

/// `placet package verify`.
pub(crate) async fn run(arguments: &Verify, common: &Common) -> anyhow::Result<Answer> {
    let keys = key::public_keys(&arguments.key)?;
    let documents = Documents::of(&arguments.reference, &arguments.login).await?;
    let evidence = documents.evidence()?;
    let verdict = verify(&documents.package, &evidence, &keys);
    let findings = examine(&documents.package, &evidence, &keys);
    if common.output == Format::Table {
        print(&findings);
        match &verdict {
            Ok(key) => anstream::eprintln!("{} is signed by {}", documents.reference, key.short()),
            Err(unsigned) => anstream::eprintln!("{unsigned}"),
        }
    } else {
        let value = json!({
            "reference": documents.reference,
            "digest": documents.package,
            "signedBy": verdict.as_ref().ok(),
            "reason": verdict.as_ref().err().map(ToString::to_string),
            "findings": findings.iter().map(value).collect::<Vec<_>>(),
        });
        output::print(&value, common.output)?;
    }
    Ok(if verdict.is_ok() {
        Answer::Done
    } else {
        Answer::No
    })
}

fn print(findings: &[Finding]) {
    let rows = findings.iter().map(|finding| {
        let what = finding.predicate.as_deref().map_or("unknown", words);
        let (key, outcome) = match &finding.outcome {
            Ok(key) => (key.short(), "good".to_owned()),
            Err(objection) => ("-".to_owned(), objection.to_string()),
        };
        vec![placet_model::visible(what).to_string(), key, outcome]
    });
    output::table(&["what", "key", "outcome"], rows.collect());
}

/// What people call it.
fn words(predicate: &str) -> &str {
    match predicate {
        SIGNATURE_PREDICATE => "signature",
        "https://cyclonedx.org/bom" => "bill of materials",
        placet_packager::PROVENANCE_PREDICATE => "provenance",
        other => other,
    }
}

fn value(finding: &Finding) -> Value {
    json!({
        "predicateType": finding.predicate,
        "key": finding.outcome.as_ref().ok(),
        "objection": finding.outcome.as_ref().err().map(ToString::to_string),
    })
}
