//! Manifests and tags: small documents, read whole.

use placet_model::Digest;
use reqwest::StatusCode;
use reqwest::header::{ACCEPT, HeaderMap, LINK};
use serde::Deserialize;

use super::RegistryReference;
use super::answer;
use super::client::Registry;
use super::error::{Fault, Outcome, RegistryError};
use super::token::Scope;
use crate::manifest::{IMAGE_INDEX, IMAGE_MANIFEST, MANIFEST_MAX};
use crate::reference::{Selector, check_tag};

/// A manifest as it came, compared with its digest.
#[derive(Debug)]
pub(super) struct Document {
    pub(super) digest: Digest,
    pub(super) bytes: Vec<u8>,
}

#[derive(Deserialize)]
struct Tags {
    #[serde(default)]
    tags: Option<Vec<String>>,
}

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
        let (url, what) = self.manifest_url(reference)?;
        let scope = Scope::pull(&reference.repository);
        let answer = self
            .ask(&scope, &what, |http| {
                http.head(url.clone()).header(ACCEPT, accepted())
            })
            .await?;
        let answer = answer::expect(answer, &[StatusCode::OK], &what).await?;
        match announced(answer.headers()) {
            Some(digest) => Ok(digest),
            // Whoever says no digest has to send the whole.
            None => Ok(self.manifest(reference).await?.digest),
        }
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

    async fn read_tags(&self, repository: &str) -> Outcome<Vec<String>> {
        let what = "the list of tags";
        let scope = Scope::pull(repository);
        let mut url = self.url(repository, "tags/list")?;
        let mut found = Vec::new();
        for _ in 0..PAGES_MOST {
            let answer = self.ask(&scope, what, |http| http.get(url.clone())).await?;
            let answer = answer::expect(answer, &[StatusCode::OK], what).await?;
            let next = next_page(answer.headers());
            let body = self.body(answer, PAGE_MOST, what).await?;
            let page: Tags = serde_json::from_slice(&body)
                .map_err(|error| Fault::answer(what, error.to_string()))?;
            let tags = page.tags.unwrap_or_default().into_iter();
            found.extend(tags.filter(|tag| check_tag(tag).is_ok()));
            let Some(next) = next else { return Ok(found) };
            let next = self.origin().join(&next);
            url = next.map_err(|error| Fault::answer(what, error.to_string()))?;
            if !self.is_own(&url) {
                return Err(Fault::answer(what, "the next page is in another place"));
            }
        }
        Err(Fault::answer(what, "it has no end"))
    }

    pub(super) async fn manifest(&self, reference: &RegistryReference) -> Outcome<Document> {
        let (url, what) = self.manifest_url(reference)?;
        let scope = Scope::pull(&reference.repository);
        let answer = self
            .ask(&scope, &what, |http| {
                http.get(url.clone()).header(ACCEPT, accepted())
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
            None => Ok(Document {
                digest: found,
                bytes,
            }),
        }
    }

    pub(super) fn manifest_url(
        &self,
        reference: &RegistryReference,
    ) -> Outcome<(reqwest::Url, String)> {
        let name = match &reference.selector {
            Selector::Tag(tag) => tag.clone(),
            Selector::Digest(digest) => digest.to_string(),
        };
        let url = self.url(&reference.repository, &format!("manifests/{name}"))?;
        Ok((url, format!("the manifest `{name}`")))
    }
}

fn accepted() -> String {
    format!("{IMAGE_MANIFEST}, {IMAGE_INDEX}")
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
