//! Container images without a container engine: `cargo xtask images`.
//!
//! Each image is one static program, certificate authorities, a user, and nothing else. The
//! authorities are those that Mozilla trusts, from a crate that Cargo.lock pins. Time zones need no
//! files: the program brings them (jiff's bundled database). The target is `*-linux-gnu` with
//! `crt-static`, not musl, since `SQLite`, libgit2 and ring are C and the system's compiler is the
//! only one that a fresh machine has; glibc's own resolver reads `/etc/hosts` and asks DNS without
//! loading libraries.
//!
//! The same inputs give the same digest: files in order, no times but `SOURCE_DATE_EPOCH` (or the
//! commit's), owners by number, no paths of the machine that built.

mod build;
mod contents;
mod layout;
mod program;
mod sbom;
mod tar;

use std::path::{Path, PathBuf};
use std::process::Command;
use std::{env, fs};

use anyhow::Context as _;
use clap::Args;
use placet_model::Digest;
use serde_json::{Value, json};

use self::layout::Layout;

#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  cargo xtask images
  cargo xtask images --out /tmp/images --tag 1.2.0
  cargo xtask images --target aarch64-unknown-linux-gnu --linker aarch64-linux-gnu-gcc   Adds a platform
  crane push target/images/placet-controller registry.example.org/placet-controller:1.2.0
  oras cp -r --from-oci-layout target/images/placetd:1.2.0 registry.example.org/placetd:1.2.0")]
pub(crate) struct Images {
    /// Folder for one OCI layout per image; a platform that is there already is kept.
    #[arg(long, default_value = "target/images", value_name = "DIR")]
    out: PathBuf,
    /// Tag of the images [default: the version].
    #[arg(long)]
    tag: Option<String>,
    /// What to build for.
    #[arg(long, value_enum, default_value_t, value_name = "TRIPLE")]
    target: Target,
    /// The linker for another target than this machine's.
    #[arg(long, value_name = "PROGRAM")]
    linker: Option<String>,
    /// How to build: `release`, or `dev` for a first look.
    #[arg(long, default_value = "release")]
    profile: String,
    /// Certificate authorities, PEM [default: those that Mozilla trusts].
    #[arg(long, value_name = "PATH")]
    ca_file: Option<PathBuf>,
    /// Take the programs from this folder instead of building them.
    #[arg(long, value_name = "DIR")]
    programs: Option<PathBuf>,
}

/// What images are built for.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Target {
    /// x86-64.
    #[default]
    #[value(name = "x86_64-unknown-linux-gnu")]
    Amd64,
    /// `AArch64`.
    #[value(name = "aarch64-unknown-linux-gnu")]
    Arm64,
}

impl Target {
    /// The architecture, as OCI names it.
    fn architecture(self) -> &'static str {
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
    let target = arguments.target;
    let (authorities, pinned) = match &arguments.ca_file {
        Some(path) => (contents::authorities(path)?, None),
        None => (contents::bundled_authorities(), Some(contents::PINNED_IN)),
    };
    let programs = match &arguments.programs {
        Some(folder) => folder.clone(),
        None => build::programs(arguments)?,
    };
    let source = Source::read()?;
    for image in IMAGES {
        let started = std::time::Instant::now();
        let program = program::read(&programs.join(image.program), target)?;
        let sbom = sbom::sbom(image.package, pinned, target.triple(), source.time)?;
        let folder = arguments.out.join(image.name);
        let layout = Layout::create(&folder)?;
        let layer = contents::layer(image.program, &program, &authorities, source.time)?;
        let digest = write(image, arguments, &layout, &layer, &sbom, &source)?;
        println!(
            "{}:{} {digest} {} ({} MB, compressed {} MB, {} ms)",
            folder.display(),
            tag(arguments),
            target.architecture(),
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
    source: &Source,
) -> anyhow::Result<Digest> {
    let diff = Digest::of(layer);
    let layer = layout.blob(LAYER_TYPE, &tar::compress(layer)?)?;
    let architecture = arguments.target.architecture();
    let created = jiff::Timestamp::from_second(source.time)?.to_string();
    let mut labels = json!({
        "org.opencontainers.image.title": image.title,
        "org.opencontainers.image.version": tag(arguments),
        "org.opencontainers.image.created": created,
        "org.opencontainers.image.licenses": "Apache-2.0",
    });
    if let Some(revision) = &source.revision {
        labels["org.opencontainers.image.revision"] = json!(revision);
    }
    let config = config(image, architecture, &diff, &labels);
    let config = layout.document(CONFIG_TYPE, &config)?;
    let manifest = layout.manifest(&config, &[layer], None, None, &labels)?;
    let sbom = layout.document(SBOM_TYPE, sbom)?;
    let empty = layout.document("application/vnd.oci.empty.v1+json", &json!({}))?;
    let referrer = layout.manifest(
        &empty,
        &[sbom],
        Some(SBOM_TYPE),
        Some(&manifest),
        &json!({"org.opencontainers.image.created": created}),
    )?;
    layout.index(&tag(arguments), architecture, &manifest, &referrer)?;
    Ok(manifest.digest)
}

fn config(image: &Image, architecture: &str, diff: &Digest, labels: &Value) -> Value {
    let created = &labels["org.opencontainers.image.created"];
    let ports: serde_json::Map<_, _> = image
        .ports
        .iter()
        .map(|port| ((*port).to_owned(), json!({})))
        .collect();
    json!({
        "created": created,
        "architecture": architecture,
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
            "Labels": labels,
        },
        "rootfs": {"type": "layers", "diff_ids": [diff]},
        "history": [{"created": created, "created_by": "cargo xtask images"}],
    })
}

fn compressed_size(layout: &Layout, manifest: &Digest) -> anyhow::Result<u64> {
    let manifest: Value = serde_json::from_slice(&layout.read(manifest)?)?;
    Ok(manifest["layers"][0]["size"].as_u64().unwrap_or_default())
}

/// What the images are made from.
struct Source {
    /// The time that everything in the images has, in seconds.
    time: i64,
    /// The commit.
    revision: Option<String>,
}

impl Source {
    fn read() -> anyhow::Result<Self> {
        let revision = git("%H")?;
        let time = match env::var("SOURCE_DATE_EPOCH") {
            Ok(text) => text
                .parse()
                .with_context(|| format!("SOURCE_DATE_EPOCH is `{text}`, no count of seconds"))?,
            Err(_) => git("%ct")?
                .context(
                    "this is no git checkout: set SOURCE_DATE_EPOCH to the time of the sources",
                )?
                .parse()?,
        };
        Ok(Self { time, revision })
    }
}

/// Something of the commit that is checked out, if this is a checkout.
fn git(format: &str) -> anyhow::Result<Option<String>> {
    let format = format!("--format={format}");
    let Ok(output) = Command::new("git").args(["log", "-1", &format]).output() else {
        return Ok(None);
    };
    let text = String::from_utf8(output.stdout)?.trim().to_owned();
    Ok(output.status.success().then_some(text))
}

/// Bytes of a file, with a reason that names it.
fn read(path: &Path) -> anyhow::Result<Vec<u8>> {
    fs::read(path).with_context(|| format!("failed to read {}", path.display()))
}
