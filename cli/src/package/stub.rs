//! `placet package stub`.

use std::fs;
use std::io::Write as _;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use anyhow::Context as _;
use clap::Args;
use placet_model::visible;
use placet_package::{ElfHeaders, SymbolKind};
use placet_packager::{ApiFile, Target};
use serde_json::json;

use crate::arguments::Common;
use crate::output::{self, Answer, Format};

#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  placet package stub /usr/lib/x86_64-linux-gnu/libssl.so.3 --to stubs/libssl.so
  placet package stub greeting.yaml --to stubs/libgreet.so --architecture aarch64
  cc -o client client.c -Lstubs -lssl        Link against it; the real library runs")]
pub(crate) struct Arguments {
    /// The shared library, or an API file.
    #[arg(value_name = "LIBRARY|API.yaml")]
    source: PathBuf,
    /// The file to write.
    #[arg(long, value_name = "FILE")]
    to: PathBuf,
    /// Processor, as `uname -m` names it [default: the library's, or this machine's].
    #[arg(long, value_name = "NAME")]
    architecture: Option<String>,
}

/// `placet package stub`.
pub(crate) fn run(arguments: &Arguments, common: &Common) -> anyhow::Result<Answer> {
    let source = visible(&arguments.source.to_string_lossy()).to_string();
    let failed = || format!("failed to make a stub of `{source}`");
    let stub = make(arguments).with_context(failed)?;
    let bytes = stub.to_bytes().with_context(failed)?;
    write(&arguments.to, &bytes)?;
    let to = visible(&arguments.to.to_string_lossy()).to_string();
    let functions = [
        SymbolKind::Function,
        SymbolKind::IndirectFunction,
        SymbolKind::Untyped,
    ];
    let functions = stub.count(&functions);
    let data = stub.count(&[SymbolKind::Object, SymbolKind::ThreadLocal]);
    let architecture = stub.target().architecture();
    if common.output == Format::Table {
        anstream::println!(
            "{to}  {} for {architecture}: {functions} functions, {data} data, {} versions",
            visible(stub.soname()),
            stub.version_count()
        );
    } else {
        let value = json!({
            "path": to,
            "soname": stub.soname(),
            "architecture": architecture,
            "functions": functions,
            "data": data,
            "versions": stub.version_count(),
            "digest": placet_model::Digest::of(&bytes),
        });
        output::print(&value, common.output)?;
    }
    Ok(Answer::Done)
}

fn make(arguments: &Arguments) -> anyhow::Result<placet_packager::Stub> {
    let target = arguments.architecture.as_deref().map(Target::named);
    let target = target.transpose()?;
    if let Some(library) = ElfHeaders::open(&arguments.source)? {
        let library = library.parse()?;
        return Ok(placet_packager::Stub::of_library(
            &library,
            target.as_ref(),
        )?);
    }
    let api = ApiFile::read(&arguments.source)?;
    let target = target.map_or_else(Target::host, Ok)?;
    Ok(placet_packager::Stub::of_api(&api, &target)?)
}

/// Whole or not at all.
fn write(path: &Path, bytes: &[u8]) -> anyhow::Result<()> {
    let failed = || format!("failed to write `{}`", visible(&path.to_string_lossy()));
    let folder = path.parent().filter(|it| !it.as_os_str().is_empty());
    let mut file =
        tempfile::NamedTempFile::new_in(folder.unwrap_or(Path::new("."))).with_context(failed)?;
    file.write_all(bytes).with_context(failed)?;
    let mode = fs::Permissions::from_mode(0o644);
    file.as_file().set_permissions(mode).with_context(failed)?;
    file.persist(path).with_context(failed)?;
    Ok(())
}
