//! Layouts and registries, as commands name them, opened.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::{Context as _, bail};
use clap::Args;
use placet_model::Digest;
use placet_package::copy::{Copied, Place};
use placet_package::registry::{Access, Fault, Limits, Registry, RegistryReference};
use placet_package::{Layout, Reference, Selector, check_tag, list};
use serde_json::json;

use super::progress;
use crate::arguments::Login;
use crate::output::{self, Answer, Format};

/// What the registry wants to see that something comes from.
#[derive(Debug, Args)]
#[expect(
    clippy::struct_field_names,
    reason = "they are the names of the options"
)]
pub(crate) struct FromLogin {
    /// Name at the registry that it comes from, where that is another one.
    #[arg(long, requires = "from_password_file")]
    pub(crate) from_username: Option<String>,
    /// File with the password for it.
    #[arg(long, value_name = "PATH", requires = "from_username")]
    pub(crate) from_password_file: Option<PathBuf>,
    /// Certificate authorities that it is trusted by, PEM.
    #[arg(long, value_name = "PATH")]
    pub(crate) from_ca_file: Option<PathBuf>,
}

impl FromLogin {
    /// What the registry of `from` wants to see. Where nothing is said of it, and at most one
    /// registry is asked, `own` is meant for that.
    pub(crate) fn or(&self, own: &Login, from: &str, to: &str) -> Login {
        let login = Login {
            username: self.from_username.clone(),
            password_file: self.from_password_file.clone(),
            ca_file: self.from_ca_file.clone(),
        };
        let is_said = login.username.is_some() || login.ca_file.is_some();
        if is_said || !is_one_registry(from, to) {
            login
        } else {
            own.clone()
        }
    }
}

/// A place that something is copied from or to.
#[derive(Debug, Clone)]
pub(crate) enum Opened {
    Layout(Layout),
    Repository(Arc<Registry>, RegistryReference),
}

impl Opened {
    pub(crate) fn place(&self) -> Place<'_> {
        match self {
            Self::Layout(layout) => Place::Layout(layout),
            Self::Repository(registry, reference) => Place::Repository(registry, reference),
        }
    }

    /// What a tag names now.
    pub(crate) async fn look_up(&self, tag: &str) -> anyhow::Result<Option<Digest>> {
        match self {
            Self::Layout(layout) => Ok(layout.tags()?.get(tag).copied()),
            Self::Repository(registry, reference) => {
                let reference = reference.with(Selector::Tag(tag.to_owned()));
                match registry.resolve(&reference).await {
                    Err(error) if matches!(error.fault(), Fault::NotFound(_)) => Ok(None),
                    found => Ok(Some(found?)),
                }
            }
        }
    }

    /// How something that is here is named.
    pub(crate) fn name(&self, selector: &Selector) -> String {
        match self {
            Self::Layout(layout) => Reference::Layout {
                dir: layout.dir().to_owned(),
                selector: selector.clone(),
            }
            .to_string(),
            Self::Repository(_, reference) => reference.with(selector.clone()).to_string(),
        }
    }
}

/// Opens what is read: a reference, or the folder of a layout that holds one package.
pub(crate) async fn source(text: &str, login: &Login) -> anyhow::Result<(Opened, Selector)> {
    let folder = text.strip_prefix(LAYOUT).unwrap_or(text);
    let is_folder = !is_registry(text) && !text.contains('@') && Path::new(folder).is_dir();
    if is_folder {
        return only_one(folder).await;
    }
    match text.parse()? {
        Reference::Layout { dir, selector } => Ok((Opened::Layout(Layout::open(&dir)?), selector)),
        Reference::Registry(reference) => {
            let registry = connect(&reference, login).await?;
            let selector = reference.selector.clone();
            Ok((Opened::Repository(Arc::new(registry), reference), selector))
        }
    }
}

const LAYOUT: &str = "oci-layout:";

pub(crate) fn is_registry(text: &str) -> bool {
    text.starts_with("oci://") || text.starts_with("oci+http://")
}

/// True if at most one registry is asked for a copy.
fn is_one_registry(from: &str, to: &str) -> bool {
    let host = |text: &str| {
        let rest = text.split_once("://").map_or(text, |(_, rest)| rest);
        rest.split('/').next().unwrap_or_default().to_owned()
    };
    !is_registry(from) || !is_registry(to) || host(from) == host(to)
}

/// The only package of a layout.
async fn only_one(folder: &str) -> anyhow::Result<(Opened, Selector)> {
    let layout = Layout::open(Path::new(folder))?;
    // Signatures may have tags too.
    let (listed, _) = list(Place::Layout(&layout)).await?;
    let tags: Vec<_> = listed.into_iter().flat_map(|it| it.tags).collect();
    let tag = match tags.as_slice() {
        [tag] => tag.clone(),
        [] => bail!("`{folder}` has no package with a tag; build one into it"),
        tags => bail!(
            "`{folder}` has several packages; name one: oci-layout:{folder}:{}",
            tags.join(&format!(", oci-layout:{folder}:"))
        ),
    };
    Ok((Opened::Layout(layout), Selector::Tag(tag)))
}

/// Opens what is written to: a layout, made if absent, or a repository; and the tag, if one is
/// named. Where it is in the registry of `known`, that one is used again.
pub(crate) async fn target(
    text: &str,
    login: &Login,
    known: Option<&Opened>,
) -> anyhow::Result<(Opened, Option<String>)> {
    if !is_registry(text) {
        let rest = text.strip_prefix(LAYOUT);
        let rest = rest.with_context(|| {
            format!("`{text}` is no place; write oci-layout:DIR or oci://HOST/REPOSITORY")
        })?;
        let (folder, tag) = match rest.rsplit_once(':') {
            Some((folder, tag)) if check_tag(tag).is_ok() => (folder, Some(tag.to_owned())),
            _ => (rest, None),
        };
        return Ok((Opened::Layout(Layout::create(Path::new(folder))?), tag));
    }
    let path = text.rsplit('/').next().unwrap_or(text);
    if path.contains('@') {
        bail!("`{text}` names a digest, which what is copied has already; write a tag or none");
    }
    let is_tagged = path.contains(':');
    let reference = if is_tagged {
        remote(text)?
    } else {
        repository(text)?
    };
    let registry = match known {
        Some(Opened::Repository(registry, from))
            if (&from.host, from.is_plain) == (&reference.host, reference.is_plain) =>
        {
            Arc::clone(registry)
        }
        _ => Arc::new(connect(&reference, login).await?),
    };
    let tag = match &reference.selector {
        Selector::Tag(tag) if is_tagged => Some(tag.clone()),
        _ => None,
    };
    Ok((Opened::Repository(registry, reference), tag))
}

/// A repository, which a reference without a tag names.
pub(crate) fn repository(text: &str) -> anyhow::Result<RegistryReference> {
    // A reference has a tag, and this one's counts for nothing.
    let any = remote(&format!("{}:latest", text.trim_end_matches('/')));
    any.with_context(|| {
        format!("`{text}` is no place for packages; write oci-layout:DIR or oci://HOST/REPOSITORY")
    })
}

pub(crate) fn remote(text: &str) -> anyhow::Result<RegistryReference> {
    match text.parse()? {
        Reference::Registry(reference) => Ok(reference),
        Reference::Layout { .. } => {
            bail!("`{text}` is a layout on disk; write oci://HOST/REPOSITORY:TAG")
        }
    }
}

pub(crate) async fn connect(
    reference: &RegistryReference,
    login: &Login,
) -> anyhow::Result<Registry> {
    let access = access(reference, login).await?;
    Ok(Registry::new(reference, &access, Limits::default())?)
}

/// What `login` says, or else what the files of this user have for the registry.
pub(crate) async fn access(reference: &RegistryReference, login: &Login) -> anyhow::Result<Access> {
    let mut access = match (&login.username, &login.password_file) {
        (Some(username), Some(file)) => {
            let read = fs::read_to_string(file);
            let word = read.with_context(|| format!("failed to read {}", file.display()))?;
            Access::anonymous().with_password(username, word.trim_end_matches(['\r', '\n']))
        }
        _ => Access::of_user(&reference.host).await?,
    };
    if let Some(file) = &login.ca_file {
        let pem = fs::read(file).with_context(|| format!("failed to read {}", file.display()))?;
        access = access.with_roots(pem);
    }
    Ok(access)
}

/// Tells of a copy: the reference on standard output, the rest on standard error.
pub(crate) fn show(reference: &str, copied: &Copied, format: Format) -> anyhow::Result<Answer> {
    if format == Format::Table {
        anstream::println!("{reference}  {}", copied.digest);
        progress::say(copied);
        return Ok(Answer::Done);
    }
    let value = json!({
        "reference": reference,
        "digest": copied.digest,
        "blobs": copied.blobs,
        "bytes": copied.bytes,
        "present": copied.present,
        "referrers": copied.referrers,
    });
    output::print(&value, format)?;
    Ok(Answer::Done)
}
