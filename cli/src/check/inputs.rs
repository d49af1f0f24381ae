//! What a fleet is worked out from: declarations in git, packages, and what is known of nodes.

use std::path::PathBuf;

use clap::Args;

#[derive(Debug, Args)]
pub(crate) struct Inputs {
    /// A folder of the repository; it is read where it is, and not changed.
    #[arg(long, default_value = ".", value_name = "DIR")]
    pub(crate) repo: PathBuf,
    /// Folder of the declarations, from the root of the repository.
    #[arg(long, default_value = ".", value_name = "DIR")]
    pub(crate) path: String,
    /// Folder that relative package references start from [default: the root of the repository].
    #[arg(long, value_name = "DIR")]
    pub(crate) packages: Option<PathBuf>,
    /// Folder of the secrets that package sets name for their registries, each a private folder with
    /// a file for each key, as `registry/.dockerconfigjson`.
    #[arg(long, value_name = "DIR")]
    pub(crate) secrets: Option<PathBuf>,
    /// Folder where metadata of packages in registries are kept for the next time; several runs may
    /// share it [default: `placet/packages` in the user's cache folder].
    #[arg(long, value_name = "DIR")]
    pub(crate) cache: Option<PathBuf>,
    /// Take what nodes are and run from this file, as `placet fleet snapshot` writes it.
    #[arg(long, value_name = "FILE")]
    pub(crate) snapshot: Option<PathBuf>,
}
