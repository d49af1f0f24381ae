//! Manifests and tags: small documents, read whole.

use futures_util::{StreamExt as _, TryStreamExt as _, stream};
use placet_model::Digest;
use reqwest::header::{ACCEPT, CONTENT_TYPE, HeaderMap, LINK};
use reqwest::{StatusCode, Url};
use serde::Deserialize;
use serde::de::DeserializeOwned;

use super::address::is_repository;
use super::answer;
use super::client::Registry;
use super::error::{Fault, Outcome, RegistryError};
use super::referrers::is_fallback;
use super::token::Scope;
use super::{AT_ONCE, RegistryReference};
use crate::document::Document;
use crate::manifest::{IMAGE_INDEX, IMAGE_MANIFEST, MANIFEST_MAX};
use crate::reference::{Selector, check_tag};
use crate::trust::simple::signed_by_tag;

#[derive(Deserialize)]
struct Tags {
    #[serde(default)]
    tags: Option<Vec<String>>,
}

#[derive(Deserialize)]
struct Repositories {
    #[serde(default)]
    repositories: Option<Vec<String>>,
}

/// What packages and composites are.
const OWN_TYPES: [&str; 2] = [IMAGE_MANIFEST, IMAGE_INDEX];
const DIGEST_HEADER: &str = "docker-content-digest";
/// Pages of tags that are read: a repository with more has another problem.
const PAGES_MOST: usize = 100;
const PAGE_MOST: u64 = 1 << 20;

impl Registry {
    /// The digest of the manifest that a tag names now; a digest names itself.
    ///
    /// # Errors
    ///
    /// The registry cannot be asked, or has no such tag.
    pub async fn resolve(&self, reference: &RegistryReference) -> Result<Digest, RegistryError> {
        let found = match &reference.selector {
            Selector::Digest(digest) => Ok(*digest),
            Selector::Tag(_) => self.head(reference).await,
        };
        found.map_err(|fault| RegistryError::new(reference, fault))
    }

    async fn head(&self, reference: &RegistryReference) -> Outcome<Digest> {
        self.look(reference).await.map(|(digest, _)| digest)
    }

    /// The digest of the manifest that a tag names, and whether it is an index.
    pub(super) async fn look(&self, reference: &RegistryReference) -> Outcome<(Digest, bool)> {
        let (url, what) = self.manifest_url(reference)?;
        let scope = Scope::pull(&reference.repository);
        let answer = self
            .ask(&scope, &what, |http| {
                http.head(url.clone()).header(ACCEPT, OWN_TYPES.join(", "))
            })
            .await?;
        let answer = answer::expect(answer, &[StatusCode::OK], &what).await?;
        let kind = answer.headers().get(CONTENT_TYPE);
        let is_index = kind.is_some_and(|kind| kind == IMAGE_INDEX);
        if let Some(digest) = announced(answer.headers()) {
            return Ok((digest, is_index));
        }
        // Whoever says no digest has to send the whole.
        let document = self.manifest(reference).await?;
        Ok((document.digest, document.config.is_none()))
    }

    /// Every tag of a repository, in the registry's order.
    ///
    /// # Errors
    ///
    /// The registry cannot be asked, or has no such repository.
    pub async fn tags(&self, reference: &RegistryReference) -> Result<Vec<String>, RegistryError> {
        let tags = self.read_tags(&reference.repository).await;
        tags.map_err(|fault| RegistryError::new(reference, fault))
    }

    pub(super) async fn read_tags(&self, repository: &str) -> Outcome<Vec<String>> {
        let url = self.url(repository, "tags/list")?;
        let scope = Scope::pull(repository);
        let pages: Vec<Tags> = self.pages(url, &scope, "the list of tags").await?;
        let tags = pages.into_iter().filter_map(|page| page.tags).flatten();
        Ok(tags.filter(|tag| check_tag(tag).is_ok()).collect())
    }

    /// The digest of the manifest that each tag names now, but for tags under which there are lists
    /// of referrers, or signatures.
    pub(crate) async fn listed(
        &self,
        reference: &RegistryReference,
    ) -> Outcome<Vec<(Digest, Option<String>)>> {
        let tags = self.read_tags(&reference.repository).await?.into_iter();
        let looks: Vec<_> = tags
            .filter(|tag| !is_fallback(tag) && signed_by_tag(tag).is_none())
            .map(|tag| async move {
                let place = reference.with(Selector::Tag(tag.clone()));
                match self.look(&place).await {
                    Err(Fault::NotFound(_)) => Ok(None),
                    found => found.map(|(digest, _)| Some((digest, Some(tag)))),
                }
            })
            .collect();
        let looked: Vec<_> = stream::iter(looks).buffered(AT_ONCE).try_collect().await?;
        Ok(looked.into_iter().flatten().collect())
    }

    /// Every repository of the registry that it tells of, in its order.
    ///
    /// # Errors
    ///
    /// The registry cannot be asked, or does not list them: many do not.
    pub async fn repositories(&self) -> Result<Vec<String>, RegistryError> {
        let read = self.read_repositories().await;
        read.map_err(|fault| RegistryError::new(self.origin(), fault))
    }

    async fn read_repositories(&self) -> Outcome<Vec<String>> {
        let what = "the list of repositories";
        let url = self.origin().join("/v2/_catalog");
        let url = url.map_err(|error| Fault::answer(what, error.to_string()))?;
        let pages: Vec<Repositories> = self.pages(url, &Scope::Catalog, what).await?;
        let names = pages.into_iter().filter_map(|page| page.repositories);
        Ok(names.flatten().filter(|name| is_repository(name)).collect())
    }

    async fn pages<T: DeserializeOwned>(
        &self,
        mut url: Url,
        scope: &Scope,
        what: &str,
    ) -> Outcome<Vec<T>> {
        let mut pages = Vec::new();
        for _ in 0..PAGES_MOST {
            let answer = self.ask(scope, what, |http| http.get(url.clone())).await?;
            let answer = answer::expect(answer, &[StatusCode::OK], what).await?;
            let next = next_page(answer.headers());
            let body = self.body(answer, PAGE_MOST, what).await?;
            let page = serde_json::from_slice(&body)
                .map_err(|error| Fault::answer(what, error.to_string()))?;
            pages.push(page);
            let Some(next) = next else { return Ok(pages) };
            let next = self.origin().join(&next);
            url = next.map_err(|error| Fault::answer(what, error.to_string()))?;
            if !self.is_own(&url) {
                return Err(Fault::answer(what, "the next page is in another place"));
            }
        }
        Err(Fault::answer(what, "it has no end"))
    }

    /// A manifest or an index of what Placet makes.
    pub(crate) async fn manifest(&self, reference: &RegistryReference) -> Outcome<Document> {
        let bytes = self.manifest_bytes(reference, &OWN_TYPES).await?;
        Ok(Document::read(bytes)?)
    }

    /// A manifest or an index of one of these media types as it came, compared with its digest.
    pub(super) async fn manifest_bytes(
        &self,
        reference: &RegistryReference,
        accepted: &[&str],
    ) -> Outcome<Vec<u8>> {
        let (url, what) = self.manifest_url(reference)?;
        let scope = Scope::pull(&reference.repository);
        let answer = self
            .ask(&scope, &what, |http| {
                http.get(url.clone()).header(ACCEPT, accepted.join(", "))
            })
            .await?;
        let answer = answer::expect(answer, &[StatusCode::OK], &what).await?;
        let announced = announced(answer.headers());
        let bytes = self.body(answer, MANIFEST_MAX, &what).await?;
        let found = Digest::of(&bytes);
        let wanted = match &reference.selector {
            Selector::Digest(digest) => Some(*digest),
            Selector::Tag(_) => announced,
        };
        match wanted.filter(|wanted| *wanted != found) {
            Some(wanted) => Err(Fault::WrongDigest {
                what,
                wanted,
                found,
            }),
            None => Ok(bytes),
        }
    }

    pub(super) fn manifest_url(&self, reference: &RegistryReference) -> Outcome<(Url, String)> {
        let name = match &reference.selector {
            Selector::Tag(tag) => tag.clone(),
            Selector::Digest(digest) => digest.to_string(),
        };
        let url = self.url(&reference.repository, &format!("manifests/{name}"))?;
        Ok((url, format!("the manifest `{name}`")))
    }
}

fn announced(headers: &HeaderMap) -> Option<Digest> {
    headers.get(DIGEST_HEADER)?.to_str().ok()?.parse().ok()
}

/// `</v2/…>; rel="next"`.
fn next_page(headers: &HeaderMap) -> Option<String> {
    let link = headers.get(LINK)?.to_str().ok()?;
    let (address, rest) = link.trim().strip_prefix('<')?.split_once('>')?;
    rest.contains("next").then(|| address.to_owned())
}
