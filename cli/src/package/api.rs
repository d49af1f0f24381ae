//! `placet package api`: the API that a library offers, as an API file.

use std::path::{Path, PathBuf};

use anyhow::{Context as _, bail};
use clap::Args;
use placet_package::ElfHeaders;
use placet_packager::ApiFile;

use crate::arguments::Common;
use crate::output::{self, Answer, Format};

#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  placet package api build/libgreet.so.1 > greet.api.yaml
  placet package api /usr/lib/x86_64-linux-gnu/libssl.so.3 --name tls --api-version 3
  placet package api libgreet.so.1 -o json | jq '.symbols[].name'
  placet package api --schema > api-file.schema.json

The file is YAML with `-o table` too. docs/api-files.md describes it.")]
pub(crate) struct Api {
    /// The library, or anything else that exports functions or objects.
    #[arg(value_name = "LIBRARY", required_unless_present = "schema")]
    library: Option<PathBuf>,
    /// Name of the API [default: the soname up to `.so`].
    #[arg(long, value_name = "NAME")]
    name: Option<String>,
    /// Version of the API [default: the soname from `.so.` on].
    #[arg(long = "api-version", value_name = "VERSION")]
    version: Option<String>,
    /// Print the JSON Schema of API files instead, for editors.
    #[arg(long, conflicts_with = "library")]
    schema: bool,
}

/// `placet package api`.
pub(crate) fn run(arguments: Api, common: &Common) -> anyhow::Result<Answer> {
    let Some(library) = &arguments.library else {
        output::print(&ApiFile::schema().to_value(), common.output)?;
        return Ok(Answer::Done);
    };
    let shown = library.display();
    let read = read(library).with_context(|| format!("failed to read `{shown}`"))?;
    let Some(mut api) = read else {
        bail!("`{shown}` exports nothing, so that it offers no API; name a shared library");
    };
    api.name = arguments.name.unwrap_or(api.name);
    api.version = arguments.version.unwrap_or(api.version);
    match common.output {
        Format::Json => {
            let value = serde_json::to_value(&api).context("failed to write JSON")?;
            output::print(&value, Format::Json)?;
        }
        _ => anstream::print!("{}", api.to_yaml()),
    }
    Ok(Answer::Done)
}

/// What the file at `path` offers; `None` where that is nothing.
fn read(path: &Path) -> anyhow::Result<Option<ApiFile>> {
    let Some(headers) = ElfHeaders::open(path)? else {
        bail!("it is no ELF file; name a shared library");
    };
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    Ok(ApiFile::of_library(&headers.parse()?, &name))
}
