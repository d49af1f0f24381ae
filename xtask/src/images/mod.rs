//! Container images without a container engine: `cargo xtask images`.
//!
//! Each image is one static program, certificate authorities, a user, and nothing else. Time zones
//! need no files: the program brings them (jiff's bundled database). The target is
//! `*-linux-gnu` with `crt-static`, not musl, since `SQLite`, libgit2 and ring are C and the system's
//! compiler is the only one that a fresh machine has; glibc's own resolver reads `/etc/hosts` and
//! asks DNS without loading libraries.
//!
//! The same inputs give the same digest: files in order, no times but `SOURCE_DATE_EPOCH` (or the
//! commit's), owners by number.

mod contents;
mod layout;
mod program;
mod sbom;
mod tar;

use std::path::{Path, PathBuf};
use std::process::Command;
use std::{env, fs};

use anyhow::{Context as _, bail};
use clap::Args;
use placet_model::Digest;
use serde_json::{Value, json};

use self::layout::Layout;

#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  cargo xtask images
  cargo xtask images --out /tmp/images --tag 1.2.0
  cargo xtask images --architecture arm64 --linker aarch64-linux-gnu-gcc   Adds a platform
  crane push /tmp/images/placet-controller registry.example.org/placet-controller:1.2.0")]
pub(crate) struct Images {
    /// Folder for one OCI layout per image; a platform that is there already is kept.
    #[arg(long, default_value = "target/images", value_name = "DIR")]
    out: PathBuf,
    /// Tag of the images [default: the version].
    #[arg(long)]
    tag: Option<String>,
    /// What to build for.
    #[arg(long, value_enum, default_value_t)]
    architecture: Architecture,
    /// The linker for another architecture than this machine's.
    #[arg(long, value_name = "PROGRAM")]
    linker: Option<String>,
    /// Certificate authorities, PEM.
    #[arg(
        long,
        default_value = "/etc/ssl/certs/ca-certificates.crt",
        value_name = "PATH"
    )]
    ca_file: PathBuf,
    /// Take the programs from this folder instead of building them.
    #[arg(long, value_name = "DIR")]
    programs: Option<PathBuf>,
}

/// What images are built for, as OCI names it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Architecture {
    /// x86-64.
    #[default]
    Amd64,
    /// `AArch64`.
    Arm64,
}

impl Architecture {
    fn name(self) -> &'static str {
        match self {
            Self::Amd64 => "amd64",
            Self::Arm64 => "arm64",
        }
    }

    fn triple(self) -> &'static str {
        match self {
            Self::Amd64 => "x86_64-unknown-linux-gnu",
            Self::Arm64 => "aarch64-unknown-linux-gnu",
        }
    }
}

/// One image.
struct Image {
    /// The repository that it is for.
    name: &'static str,
    /// The package of the workspace whose program it holds.
    package: &'static str,
    program: &'static str,
    title: &'static str,
    ports: &'static [&'static str],
}

const IMAGES: &[Image] = &[
    Image {
        name: "placet-controller",
        package: "placet-controller",
        program: "placet-controller",
        title: "Placet's controller",
        ports: &["7443/tcp", "8081/tcp", "8082/tcp", "9443/tcp"],
    },
    Image {
        name: "placetd",
        package: "placet-node-daemon",
        program: "placetd",
        title: "Placet's node daemon",
        ports: &[],
    },
];

const LAYER_TYPE: &str = "application/vnd.oci.image.layer.v1.tar+gzip";
const CONFIG_TYPE: &str = "application/vnd.oci.image.config.v1+json";
const SBOM_TYPE: &str = "application/vnd.cyclonedx+json";

/// `cargo xtask images`.
pub(crate) fn run(arguments: &Images) -> anyhow::Result<()> {
    let authorities = contents::authorities(&arguments.ca_file)?;
    let programs = match &arguments.programs {
        Some(folder) => folder.clone(),
        None => build(arguments)?,
    };
    let time = source_time()?;
    for image in IMAGES {
        let started = std::time::Instant::now();
        let program = programs.join(image.program);
        let bytes = program::read(&program, arguments.architecture)?;
        let sbom = sbom::sbom(image.package, arguments.architecture.triple(), time)?;
        let folder = arguments.out.join(image.name);
        let layout = Layout::create(&folder)?;
        let layer = contents::layer(image.program, &bytes, &authorities, time)?;
        let digest = write(image, arguments, &layout, &layer, &sbom, time)?;
        println!(
            "{}:{} {digest} {} ({} MB, compressed {} MB, {} ms)",
            folder.display(),
            tag(arguments),
            arguments.architecture.name(),
            layer.len() / 1_000_000,
            compressed_size(&layout, &digest)? / 1_000_000,
            started.elapsed().as_millis()
        );
    }
    Ok(())
}

fn tag(arguments: &Images) -> String {
    let version = || env!("CARGO_PKG_VERSION").to_owned();
    arguments.tag.clone().unwrap_or_else(version)
}

/// Writes an image for one platform; the digest of its manifest.
fn write(
    image: &Image,
    arguments: &Images,
    layout: &Layout,
    layer: &[u8],
    sbom: &Value,
    time: i64,
) -> anyhow::Result<Digest> {
    let diff = Digest::of(layer);
    let layer = layout.blob(LAYER_TYPE, &tar::compress(layer)?)?;
    let created = jiff::Timestamp::from_second(time)?.to_string();
    let config = config(image, arguments.architecture, &diff, &created);
    let config = layout.document(CONFIG_TYPE, &config)?;
    let annotations = json!({
        "org.opencontainers.image.title": image.title,
        "org.opencontainers.image.version": tag(arguments),
        "org.opencontainers.image.created": created,
        "org.opencontainers.image.licenses": "Apache-2.0",
    });
    let manifest = layout.manifest(&config, &[layer], None, None, &annotations)?;
    let sbom = layout.document(SBOM_TYPE, sbom)?;
    let empty = layout.document("application/vnd.oci.empty.v1+json", &json!({}))?;
    let referrer = layout.manifest(
        &empty,
        &[sbom],
        Some(SBOM_TYPE),
        Some(&manifest),
        &json!({"org.opencontainers.image.created": created}),
    )?;
    layout.index(
        &tag(arguments),
        arguments.architecture.name(),
        &manifest,
        &referrer,
    )?;
    Ok(manifest.digest)
}

fn config(image: &Image, architecture: Architecture, diff: &Digest, created: &str) -> Value {
    let ports: serde_json::Map<_, _> = image
        .ports
        .iter()
        .map(|port| ((*port).to_owned(), json!({})))
        .collect();
    json!({
        "created": created,
        "architecture": architecture.name(),
        "os": "linux",
        "config": {
            "User": contents::USER,
            "Entrypoint": [format!("/{}", image.program)],
            "Env": [
                "PATH=/",
                format!("SSL_CERT_FILE=/{}", contents::AUTHORITIES),
            ],
            "WorkingDir": "/",
            "ExposedPorts": ports,
        },
        "rootfs": {"type": "layers", "diff_ids": [diff]},
        "history": [{"created": created, "created_by": "cargo xtask images"}],
    })
}

fn compressed_size(layout: &Layout, manifest: &Digest) -> anyhow::Result<u64> {
    let manifest: Value = serde_json::from_slice(&layout.read(manifest)?)?;
    Ok(manifest["layers"][0]["size"].as_u64().unwrap_or_default())
}

/// Builds the programs; the folder that they are in.
fn build(arguments: &Images) -> anyhow::Result<PathBuf> {
    let triple = arguments.architecture.triple();
    let mut flags = env::var("RUSTFLAGS").unwrap_or_default();
    if !flags.contains("+crt-static") {
        flags = format!("{flags} -C target-feature=+crt-static");
    }
    let mut build = vec!["build", "--locked", "--release", "--target", triple];
    for image in IMAGES {
        build.extend(["-p", image.package, "--bin", image.program]);
    }
    let mut variables = vec![("RUSTFLAGS".to_owned(), flags.trim().to_owned())];
    if let Some(linker) = &arguments.linker {
        let target = triple.replace('-', "_");
        let name = format!("CARGO_TARGET_{}_LINKER", target.to_uppercase());
        variables.extend([
            (name, linker.clone()),
            (format!("CC_{target}"), linker.clone()),
        ]);
    }
    let variables: Vec<_> = variables
        .iter()
        .map(|(key, value)| (key.as_str(), value.as_str()))
        .collect();
    crate::cargo(&build, &variables)?;
    let target = env::var_os("CARGO_TARGET_DIR").map_or_else(|| "target".into(), PathBuf::from);
    Ok(target.join(triple).join("release"))
}

/// The time that everything in the images has.
fn source_time() -> anyhow::Result<i64> {
    if let Ok(text) = env::var("SOURCE_DATE_EPOCH") {
        let time = text.parse();
        return time.with_context(|| format!("SOURCE_DATE_EPOCH is `{text}`, no count of seconds"));
    }
    let git = Command::new("git")
        .args(["log", "-1", "--format=%ct"])
        .output();
    match git {
        Ok(output) if output.status.success() => {
            let text = String::from_utf8(output.stdout)?;
            Ok(text.trim().parse()?)
        }
        _ => bail!("this is no git checkout: set SOURCE_DATE_EPOCH to the time of the sources"),
    }
}

/// Bytes of a file, with a reason that names it.
fn read(path: &Path) -> anyhow::Result<Vec<u8>> {
    fs::read(path).with_context(|| format!("failed to read {}", path.display()))
}
