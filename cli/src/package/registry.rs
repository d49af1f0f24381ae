//! `placet package push`, `pull` and `tags`.

use std::fs;
use std::io::IsTerminal as _;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, bail};
use indicatif::{HumanBytes, ProgressBar, ProgressDrawTarget, ProgressStyle};
use placet_model::Version;
use placet_package::registry::{Access, Limits, Progress, Registry, RegistryReference};
use placet_package::{Layout, Package, Reference, Selector, open_package};
use serde_json::json;

use crate::arguments::{Common, Login, Pull, Push, Tags};
use crate::output::{self, Answer, Format};

/// `placet package push`.
pub(crate) async fn push(arguments: &Push, common: &Common) -> anyhow::Result<Answer> {
    let package = source(&arguments.source)?;
    let to = in_registry(&arguments.reference, &package.config.version)?;
    let registry = connect(&to, &arguments.login)?;
    let bar = Bar::new("pushing");
    let pushed = registry.push(&package, &to, &bar).await;
    bar.clear();
    let pushed = pushed?;
    if common.output == Format::Table {
        anstream::println!("{to}  {}", pushed.digest);
        say(pushed.blobs, pushed.bytes, pushed.present);
    } else {
        let value = json!({
            "reference": to.to_string(),
            "digest": pushed.digest,
            "blobs": pushed.blobs,
            "bytes": pushed.bytes,
            "present": pushed.present,
        });
        output::print(&value, common.output)?;
    }
    Ok(Answer::Done)
}

/// `placet package pull`.
pub(crate) async fn pull(arguments: &Pull, common: &Common) -> anyhow::Result<Answer> {
    let from = remote(&arguments.reference)?;
    let registry = connect(&from, &arguments.login)?;
    let layout = Layout::create(&arguments.folder)?;
    let bar = Bar::new("pulling");
    let pulled = registry.pull(&from, &layout, &bar).await;
    bar.clear();
    let pulled = pulled?;
    let digest = pulled.package.digest;
    let selector = match &from.selector {
        Selector::Tag(tag) => format!(":{tag}"),
        Selector::Digest(digest) => format!("@{digest}"),
    };
    let reference = format!("oci-layout:{}{selector}", arguments.folder.display());
    let present = all_blobs(&pulled.package).saturating_sub(pulled.blobs);
    if common.output == Format::Table {
        anstream::println!("{reference}  {digest}");
        say(pulled.blobs, pulled.bytes, present);
    } else {
        let value = json!({
            "reference": reference,
            "digest": digest,
            "blobs": pulled.blobs,
            "bytes": pulled.bytes,
            "present": present,
        });
        output::print(&value, common.output)?;
    }
    Ok(Answer::Done)
}

/// `placet package tags`.
pub(crate) async fn tags(arguments: &Tags, common: &Common) -> anyhow::Result<Answer> {
    // A reference names a tag; a list of tags needs none.
    let text = &arguments.repository;
    let any = remote(&format!("{text}:latest"));
    let repository = any.with_context(|| format!("`{text}` is no repository"))?;
    let registry = connect(&repository, &arguments.login)?;
    let tags = registry.tags(&repository).await?;
    if common.output == Format::Table {
        for tag in tags {
            anstream::println!("{tag}");
        }
    } else {
        output::print(&json!({"tags": tags}), common.output)?;
    }
    Ok(Answer::Done)
}

fn say(blobs: usize, bytes: u64, present: usize) {
    anstream::eprintln!(
        "{blobs} blobs travelled ({}), {present} were there",
        HumanBytes(bytes)
    );
}

/// How many different blobs a package's modules and lists of symbols are.
fn all_blobs(package: &Package) -> usize {
    let modules = package.config.modules.iter();
    let digests: std::collections::BTreeSet<_> = modules
        .flat_map(|module| {
            let symbols = module.elf.as_ref().and_then(|elf| elf.symbols);
            [Some(module.digest), symbols]
        })
        .flatten()
        .collect();
    digests.len()
}

/// The package of `oci-layout:DIR:TAG`, or the only one of a layout's folder.
fn source(text: &str) -> anyhow::Result<Package> {
    if text.starts_with("oci") && text.contains(':') {
        let reference: Reference = text.parse()?;
        return Ok(open_package(&reference, Path::new("."))?);
    }
    let layout = Layout::open(Path::new(text))?;
    let tags: Vec<_> = layout.tags()?.into_keys().collect();
    let tag = match tags.as_slice() {
        [tag] => tag.clone(),
        [] => bail!("`{text}` has no package with a tag; build one into it"),
        tags => bail!(
            "`{text}` has several packages; name one: oci-layout:{text}:{}",
            tags.join(&format!(", oci-layout:{text}:"))
        ),
    };
    let dir = PathBuf::from(text);
    let selector = Selector::Tag(tag);
    Ok(open_package(
        &Reference::Layout { dir, selector },
        Path::new("."),
    )?)
}

fn remote(text: &str) -> anyhow::Result<RegistryReference> {
    match text.parse()? {
        Reference::Registry(reference) => Ok(reference),
        Reference::Layout { .. } => {
            bail!("`{text}` is a layout on disk; write oci://HOST/REPOSITORY:TAG")
        }
    }
}

/// Where to push to; without a tag, the version becomes one.
fn in_registry(text: &str, version: &Version) -> anyhow::Result<RegistryReference> {
    let path = text.rsplit('/').next().unwrap_or(text);
    let reference = if path.contains([':', '@']) {
        remote(text)?
    } else {
        remote(&format!("{text}:{}", version.tag()))?
    };
    match &reference.selector {
        Selector::Tag(_) => Ok(reference),
        Selector::Digest(_) => bail!("`{text}` names a digest; a package is pushed under a tag"),
    }
}

pub(super) fn connect(reference: &RegistryReference, login: &Login) -> anyhow::Result<Registry> {
    let mut access = match (&login.username, &login.password_file) {
        (Some(username), Some(file)) => {
            let read = fs::read_to_string(file);
            let word = read.with_context(|| format!("failed to read {}", file.display()))?;
            Access::anonymous().with_password(username, word.trim_end_matches(['\r', '\n']))
        }
        _ => from_docker(&reference.host)?,
    };
    if let Some(file) = &login.ca_file {
        let pem = fs::read(file).with_context(|| format!("failed to read {}", file.display()))?;
        access = access.with_roots(pem);
    }
    Ok(Registry::new(reference, &access, Limits::default())?)
}

/// What `docker login` and its like have left.
fn from_docker(host: &str) -> anyhow::Result<Access> {
    let folder = std::env::var_os("DOCKER_CONFIG").map(PathBuf::from);
    let home = || std::env::var_os("HOME").map(|home| PathBuf::from(home).join(".docker"));
    let Some(file) = folder
        .or_else(home)
        .map(|folder| folder.join("config.json"))
    else {
        return Ok(Access::anonymous());
    };
    let Ok(json) = fs::read(&file) else {
        return Ok(Access::anonymous());
    };
    Access::from_docker_config(&json, host)
        .with_context(|| format!("failed to read {}", file.display()))
}

/// A bar where somebody sees it.
pub(super) struct Bar(ProgressBar);

impl Bar {
    pub(super) fn new(what: &'static str) -> Self {
        let target = if std::io::stderr().is_terminal() {
            ProgressDrawTarget::stderr()
        } else {
            ProgressDrawTarget::hidden()
        };
        let bar = ProgressBar::with_draw_target(Some(0), target);
        let template = "{msg} [{bar:30}] {bytes}/{total_bytes} {bytes_per_sec} {eta}";
        if let Ok(style) = ProgressStyle::with_template(template) {
            bar.set_style(style.progress_chars("=> "));
        }
        bar.set_message(what);
        Self(bar)
    }

    pub(super) fn clear(&self) {
        self.0.finish_and_clear();
    }
}

impl Progress for Bar {
    fn wanted(&self, bytes: u64) {
        self.0.inc_length(bytes);
    }

    fn moved(&self, bytes: u64) {
        self.0.inc(bytes);
    }

    fn present(&self, bytes: u64) {
        self.0.inc(bytes);
    }
}
