//! The program of an image: static, for the right machine, without debug information.

use std::path::Path;
use std::process::Command;

use anyhow::{Context as _, bail};

use super::Target;

/// The bytes of a program, which must need nothing but a kernel.
pub(super) fn read(path: &Path, target: Target) -> anyhow::Result<Vec<u8>> {
    let stripped = tempfile::NamedTempFile::new()?;
    let strip = match target {
        Target::Arm64 if cfg!(target_arch = "x86_64") => "aarch64-linux-gnu-strip",
        _ => "strip",
    };
    let status = Command::new(strip)
        .args(["--enable-deterministic-archives", "--strip-all", "-o"])
        .args([stripped.path(), path])
        .status()
        .with_context(|| format!("failed to start `{strip}`; install binutils"))?;
    if !status.success() {
        bail!("`{strip}` failed on {}", path.display());
    }
    let bytes = super::read(stripped.path())?;
    check(&bytes, target).with_context(|| format!("{} does not fit", path.display()))?;
    Ok(bytes)
}

fn check(bytes: &[u8], target: Target) -> anyhow::Result<()> {
    let elf = placet_package::read_elf(bytes)?.context("it is no ELF file")?;
    let machine = match target {
        Target::Amd64 => "x86_64",
        Target::Arm64 => "aarch64",
    };
    if elf.architecture.0 != machine {
        bail!(
            "it is for {}, and the image for {machine}",
            elf.architecture.0
        );
    }
    if let Some(loader) = &elf.facts.interpreter {
        bail!(
            "it needs the loader {loader}, which is not in the image: build with -C target-feature=+crt-static"
        );
    }
    if let Some(library) = elf.facts.needed.first() {
        bail!("it needs the library {library}, which is not in the image");
    }
    Ok(())
}
