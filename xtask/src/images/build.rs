//! Builds the programs of the images: static, and without paths of the machine that builds.

use std::env;
use std::path::PathBuf;

use anyhow::Context as _;

use super::{IMAGES, Images};

/// Random numbers come from the kernel alone: static programs would look for `/dev/urandom` first.
const RANDOM: &str = "getrandom_backend=\"linux_getrandom\"";

/// Builds the programs; the folder that they are in.
pub(super) fn programs(arguments: &Images) -> anyhow::Result<PathBuf> {
    let triple = arguments.target.triple();
    let profile = &arguments.profile;
    let mut build = vec![
        "build",
        "--locked",
        "--profile",
        profile,
        "--target",
        triple,
    ];
    for image in IMAGES {
        build.extend(["-p", image.package, "--bin", image.program]);
    }
    let paths = paths()?;
    let key = triple.replace('-', "_");
    let c_flags = paths
        .iter()
        .map(|(path, name)| format!("-ffile-prefix-map={path}={name}"));
    let mut variables = vec![
        ("CARGO_ENCODED_RUSTFLAGS".to_owned(), flags(&paths)),
        (
            format!("CFLAGS_{key}"),
            c_flags.collect::<Vec<_>>().join(" "),
        ),
    ];
    if let Some(linker) = &arguments.linker {
        let name = format!("CARGO_TARGET_{}_LINKER", key.to_uppercase());
        variables.extend([
            (name, linker.clone()),
            (format!("CC_{key}"), linker.clone()),
        ]);
    }
    let variables: Vec<_> = variables
        .iter()
        .map(|(key, value)| (key.as_str(), value.as_str()))
        .collect();
    crate::cargo(&build, &variables)?;
    // The folder of the profile for development has another name than the profile.
    let folder = if profile == "dev" { "debug" } else { profile };
    Ok(target_folder()?.join(triple).join(folder))
}

/// Flags for the compiler, those of the environment first.
fn flags(paths: &[(String, &str)]) -> String {
    let given = env::var("RUSTFLAGS").unwrap_or_default();
    let given = given.split_whitespace().map(str::to_owned);
    let own = ["-C", "target-feature=+crt-static", "--cfg", RANDOM].map(str::to_owned);
    let remapped = paths
        .iter()
        .map(|(path, name)| format!("--remap-path-prefix={path}={name}"));
    let flags: Vec<_> = given.chain(own).chain(remapped).collect();
    // Paths may have spaces.
    flags.join("\x1f")
}

/// The folders whose names would tell in a program where it was built, and what stands for each.
/// Of several that fit, the compiler takes the last.
fn paths() -> anyhow::Result<Vec<(String, &'static str)>> {
    let home = PathBuf::from(env::var_os("HOME").unwrap_or_default());
    let registry = env::var_os("CARGO_HOME").map_or_else(|| home.join(".cargo"), PathBuf::from);
    let folders = [
        (registry, "/cargo"),
        (crate::root(), "/placet"),
        (target_folder()?, "/target"),
    ];
    let text = |(path, name): (PathBuf, _)| {
        let text = path.to_str().context("a folder has a name that is no text");
        text.map(|text| (text.to_owned(), name))
    };
    folders.into_iter().map(text).collect()
}

fn target_folder() -> anyhow::Result<PathBuf> {
    let folder = env::var_os("CARGO_TARGET_DIR").map_or_else(|| "target".into(), PathBuf::from);
    std::path::absolute(folder).context("failed to find the folder of the build")
}
