//! `placet package repack`.

use std::str::FromStr;

use clap::Args;
use placet_model::{ModulePath, Version};
use placet_package::Reference;
use placet_packager::Glob;
use placet_packager::update::{self, Naming, Replacement};

use super::place::{self, Target};
use crate::arguments::{Common, Login};
use crate::output::Answer;

#[derive(Debug, Args)]
#[command(
    group(clap::ArgGroup::new("what").required(true).multiple(true).args(["replace", "remove"])),
    after_help = "\
Examples:
  placet package repack oci-layout:packages/chat:1.0.0 --replace usr/bin/chatd=build/chatd
  placet package repack oci-layout:packages/chat:1.0.0 --remove 'usr/share/doc/**'
  placet package repack oci://registry.example.org/fleet/chat:1.0.0 \\
      --replace etc/chat.conf=chat.conf --version 1.0.1

What the author said of a module stays; what the bytes say is read again. The version is the next
one, as 1.0.0+1.repack."
)]
pub(crate) struct Arguments {
    /// The package: `oci-layout:DIR:TAG` or `oci://HOST/REPOSITORY:TAG`.
    reference: Reference,
    /// Let this file take the place of a module; may be given several times.
    #[arg(long, value_name = "PATH=FILE")]
    replace: Vec<Pair>,
    /// Leave these modules out; `*` stays within a folder, `**` does not; may be given several
    /// times.
    #[arg(long, value_name = "PATH")]
    remove: Vec<Glob>,
    /// This simple process, which comes to reach dlopen, opens nothing that needs to be declared;
    /// may be given several times.
    #[arg(long, value_name = "PATH")]
    acknowledge_opens: Vec<ModulePath>,
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

/// A module and the file that takes its place.
#[derive(Debug, Clone)]
struct Pair(Replacement);

impl FromStr for Pair {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let pair = text.split_once('=').filter(|(_, file)| !file.is_empty());
        let (path, file) = pair.ok_or("write PATH=FILE: the module, and the file for it")?;
        let path = path.parse::<ModulePath>();
        Ok(Self(Replacement {
            path: path.map_err(|error| error.to_string())?,
            file: file.into(),
        }))
    }
}

/// Makes the update and stores it.
pub(super) async fn run(arguments: &Arguments, common: &Common) -> anyhow::Result<Answer> {
    let opened = place::open(&arguments.reference, &arguments.login).await?;
    let target = Target::new(
        arguments.to.as_deref(),
        &arguments.reference,
        &arguments.login,
    )
    .await?;
    let tags = target.tags().await?;
    let naming = Naming {
        version: arguments.version.as_ref(),
        tags: &tags,
    };
    let pairs = arguments.replace.iter();
    let replacements: Vec<_> = pairs.map(|pair| pair.0.clone()).collect();
    let may_open = arguments.acknowledge_opens.iter().cloned().collect();
    let package = &opened.package;
    let update = update::repack(package, &replacements, &arguments.remove, &may_open, naming)?;
    place::store(&target, &opened, &update, common).await?;
    Ok(Answer::Done)
}
