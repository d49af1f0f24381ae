//! `placet package repack`.

use std::str::FromStr;

use clap::Args;
use placet_model::ModulePath;
use placet_packager::Glob;
use placet_packager::update::{self, Naming, Replacement};

use super::update::Making;
use crate::arguments::Common;
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
    #[command(flatten)]
    making: Making,
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
    let pairs = arguments.replace.iter();
    let replacements: Vec<_> = pairs.map(|pair| pair.0.clone()).collect();
    let may_open = arguments.acknowledge_opens.iter().cloned().collect();
    let make = |package: &_, naming: Naming<'_>| {
        update::repack(package, &replacements, &arguments.remove, &may_open, naming)
    };
    arguments.making.run(common, make).await
}
