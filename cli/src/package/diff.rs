//! `placet package diff`.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::Context as _;
use clap::Args;
use placet_model::{Digest, ModuleType, PackageConfig, SymbolLists};
use placet_package::{Package, Reference, Selector, check_tag};
use placet_packager::Glob;
use placet_simulator::diff::{self, ModuleDiff, PackageSide, Status};
use serde_json::Value;

use super::place;
use crate::arguments::{Common, Login};
use crate::output::{self, Answer, Format};

#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  placet package diff oci-layout:packages/chat:1.0.0 :1.1.0
  placet package diff oci://registry.example.org/fleet/chat:1.0.0 oci-layout:packages/chat:1.1.0
  placet package diff oci-layout:packages/chat:1.0.0 :1.1.0 --type library --status changed
  placet package diff oci-layout:packages/chat:1.0.0 :1.1.0 -o markdown

Exit code 0: nothing that a node could notice; 1: something differs.")]
pub(crate) struct Arguments {
    /// The package compared with: `oci-layout:DIR:TAG` or `oci://HOST/REPOSITORY:TAG`.
    from: Reference,
    /// The package looked at; `:TAG` and `@sha256:…` alone are of the same layout or repository.
    to: String,
    /// List these modules alone; `*` stays within a folder, `**` does not; may be given several
    /// times.
    #[arg(long, value_name = "PATH")]
    path: Vec<Glob>,
    /// List modules of this type alone (`process`, `library`, `plugin`, `parser-file`, `data`,
    /// `boot-image`); may be given several times.
    #[arg(long = "type", value_name = "TYPE", value_parser = module_type)]
    types: Vec<ModuleType>,
    /// List modules with this function alone; may be given several times.
    #[arg(long, value_name = "NAME")]
    function: Vec<String>,
    /// List modules of this status alone; may be given several times [default: all but unchanged].
    #[arg(long, value_name = "STATUS", value_parser = status_parser())]
    status: Vec<String>,
    #[command(flatten)]
    login: Login,
}

fn module_type(text: &str) -> Result<ModuleType, String> {
    let found = serde_json::from_value(Value::String(text.to_owned()));
    found.map_err(|_| "it is process, library, plugin, parser-file, data or boot-image".to_owned())
}

fn status_parser() -> clap::builder::PossibleValuesParser {
    clap::builder::PossibleValuesParser::new(Status::ALL.map(Status::word))
}

/// Prints what differs.
pub(super) async fn run(arguments: &Arguments, common: &Common) -> anyhow::Result<Answer> {
    let to = relative(&arguments.from, &arguments.to)?;
    let from = place::open(&arguments.from, &arguments.login).await?;
    let to = place::open(&to, &arguments.login).await?;
    let wanted = diff::symbols_wanted(&from.package.config, &to.package.config);
    from.fetch_symbols(&wanted).await?;
    to.fetch_symbols(&wanted).await?;
    let (from, to) = (&from.package, &to.package);
    let mut symbols = symbols(from, &wanted)?;
    symbols.extend(self::symbols(to, &wanted)?);
    let mut diff = diff::diff(side(from, &symbols), side(to, &symbols));
    diff.retain(|module| arguments.wants(module));
    match common.output {
        Format::Table => anstream::print!("{}", diff::text(&diff, output::PAINT)),
        Format::Markdown => anstream::print!("{}", diff::markdown(&diff)),
        format => output::print(&serde_json::to_value(&diff)?, format)?,
    }
    Ok(if diff.changed {
        Answer::No
    } else {
        Answer::Done
    })
}

/// The package that `text` names, which may be `:TAG` or `@DIGEST` beside `from`.
fn relative(from: &Reference, text: &str) -> anyhow::Result<Reference> {
    let selector = if let Some(tag) = text.strip_prefix(':') {
        check_tag(tag).map_err(|why| anyhow::anyhow!("`{text}` names no package: {why}"))?;
        Selector::Tag(tag.to_owned())
    } else if let Some(digest) = text.strip_prefix('@') {
        let digest = digest.parse();
        Selector::Digest(digest.with_context(|| format!("`{text}` names no package"))?)
    } else {
        return Ok(text.parse()?);
    };
    Ok(match from {
        Reference::Layout { dir, .. } => {
            let dir = dir.clone();
            Reference::Layout { dir, selector }
        }
        Reference::Registry(remote) => Reference::Registry(remote.with(selector)),
    })
}

/// The lists of symbols of `package` that are `wanted`.
fn symbols(
    package: &Package,
    wanted: &BTreeSet<Digest>,
) -> anyhow::Result<BTreeMap<Digest, SymbolLists>> {
    let mut lists = BTreeMap::new();
    for module in &package.config.modules {
        let digest = module.elf.as_ref().and_then(|facts| facts.symbols);
        let Some(digest) = digest.filter(|digest| wanted.contains(digest)) else {
            continue;
        };
        if let Some(list) = package.symbols(module)? {
            lists.insert(digest, list);
        }
    }
    Ok(lists)
}

fn side<'a>(package: &'a Package, symbols: &'a BTreeMap<Digest, SymbolLists>) -> PackageSide<'a> {
    let config: &PackageConfig = &package.config;
    PackageSide {
        digest: package.digest,
        config,
        symbols,
    }
}

impl Arguments {
    fn wants(&self, module: &ModuleDiff) -> bool {
        let path = module.path.as_str();
        let by_path = self.path.is_empty() || self.path.iter().any(|it| it.covers(path, true));
        let by_type = self.types.is_empty() || self.types.contains(&module.kind);
        let function = module.function.as_ref();
        let by_function =
            self.function.is_empty() || function.is_some_and(|it| self.function.contains(it));
        let by_status = if self.status.is_empty() {
            module.status != Status::Unchanged
        } else {
            self.status.iter().any(|it| it == module.status.word())
        };
        by_path && by_type && by_function && by_status
    }
}
