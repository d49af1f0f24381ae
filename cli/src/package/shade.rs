//! `placet package shade`.

use clap::Args;
use placet_packager::Glob;
use placet_packager::update::{self, Naming, Shade};

use super::update::Making;
use crate::arguments::Common;
use crate::output::Answer;

#[derive(Debug, Args)]
#[command(
    group(clap::ArgGroup::new("shade").required(true).args(["white", "black", "gray"])),
    after_help = "\
Examples:
  placet package shade oci-layout:packages/chat:1.0.0 --white     Restarts nothing
  placet package shade oci-layout:packages/chat:1.0.0 --black     Restarts everything
  placet package shade oci://registry.example.org/fleet/chat:1.0.0 --gray 'usr/lib/libssl*'
  placet package shade oci-layout:packages/chat:1.0.0 --white --key keys/release.key

The bytes of the modules stay: nothing has to be stored, sent or fetched again. The version is the
next one, as 1.0.0+1.white; it satisfies whatever asks for 1.0.0."
)]
pub(crate) struct Arguments {
    /// Keep all signatures.
    #[arg(long)]
    white: bool,
    /// Make all signatures random.
    #[arg(long)]
    black: bool,
    /// Make the signatures of these modules random; `*` stays within a folder, `**` does not.
    #[arg(long, value_name = "PATH", num_args = 1..)]
    gray: Vec<Glob>,
    /// The same text gives the same random signatures [default: others each time].
    #[arg(long, value_name = "TEXT")]
    seed: Option<String>,
    #[command(flatten)]
    making: Making,
}

/// Makes the update and stores it.
pub(super) async fn run(arguments: &Arguments, common: &Common) -> anyhow::Result<Answer> {
    let shade = match (arguments.white, arguments.black) {
        (true, _) => Shade::White,
        (_, true) => Shade::Black,
        _ => Shade::Gray(arguments.gray.clone()),
    };
    let seed = match &arguments.seed {
        Some(seed) => seed.as_bytes().to_vec(),
        None => rand::random::<[u8; 32]>().to_vec(),
    };
    let make = |package: &_, naming: Naming<'_>| update::shade(package, &shade, &seed, naming);
    arguments.making.run(common, make).await
}
