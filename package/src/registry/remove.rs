//! Removing packages from a registry, as far as it lets anybody.

use futures_util::{StreamExt as _, TryStreamExt as _, stream};
use placet_model::Digest;
use reqwest::StatusCode;

use super::client::Registry;
use super::error::{Fault, Outcome, RegistryError};
use super::referrers::{is_fallback, tag_of};
use super::token::Scope;
use super::{AT_ONCE, RegistryReference, answer};
use crate::error::Problem;
use crate::layout::Removed;
use crate::reference::Selector;
use crate::trust::simple;

impl Registry {
    /// Removes the manifest that `reference` names, with what refers to it. A tag of several goes
    /// alone; a digest takes all its tags along. The registry frees blobs when it collects garbage,
    /// so that nothing counts as freed here.
    ///
    /// # Guarantees
    ///
    /// What refers to the package goes first: one that was interrupted is done by doing it again.
    ///
    /// # Errors
    ///
    /// The registry cannot be asked, has no such package, or does not delete; or a composite of the
    /// repository has the package as a part.
    pub async fn remove(&self, reference: &RegistryReference) -> Result<Removed, RegistryError> {
        let removed = self.remove_package(reference).await;
        removed.map_err(|fault| RegistryError::new(reference, fault))
    }

    async fn remove_package(&self, reference: &RegistryReference) -> Outcome<Removed> {
        let digest = self.manifest(reference).await?.digest;
        let tags = self.tags_of(reference, &digest).await?;
        let mut removed = Removed::of(digest, tags);
        if let Selector::Tag(tag) = &reference.selector
            && removed.tags.len() > 1
        {
            self.delete(reference).await?;
            removed.stays_as = std::mem::take(&mut removed.tags);
            removed.stays_as.retain(|other| other != tag);
            removed.tags.push(tag.clone());
            return Ok(removed);
        }
        let mut subjects = vec![digest];
        removed.referrers = self.referrers_to_all(reference, &mut subjects).await?;
        for subject in subjects.iter().rev() {
            self.delete(&reference.with(Selector::Digest(*subject)))
                .await?;
            // The list that stands in for the registry's own, and signatures that no list has.
            let tags = [tag_of(subject), Selector::Tag(simple::tag(subject))];
            for tag in tags {
                if let Ok((digest, _)) = self.look(&reference.with(tag)).await {
                    self.delete(&reference.with(Selector::Digest(digest)))
                        .await?;
                }
            }
        }
        Ok(removed)
    }

    /// What refers to the subjects, and to what refers to them; all of it is added to the subjects.
    async fn referrers_to_all(
        &self,
        reference: &RegistryReference,
        subjects: &mut Vec<Digest>,
    ) -> Outcome<Vec<(String, Digest)>> {
        let (mut all, mut next) = (Vec::new(), 0);
        while let Some(subject) = subjects.get(next).copied() {
            for entry in self.read_referrers(reference, &subject).await? {
                if !subjects.contains(&entry.digest) {
                    subjects.push(entry.digest);
                    let kind = entry.artifact_type.unwrap_or(entry.media_type);
                    all.push((kind, entry.digest));
                }
            }
            next += 1;
        }
        Ok(all)
    }

    /// The tags that name a manifest; refused if one names a composite with the manifest in it.
    async fn tags_of(
        &self,
        reference: &RegistryReference,
        digest: &Digest,
    ) -> Outcome<Vec<String>> {
        let tags = self.read_tags(&reference.repository).await?;
        let looks = tags.into_iter().filter(|tag| !is_fallback(tag));
        let looks: Vec<_> = looks
            .map(|tag| self.names(reference, tag, digest))
            .collect();
        let found: Vec<_> = stream::iter(looks)
            .buffer_unordered(AT_ONCE)
            .try_collect()
            .await?;
        let mut tags: Vec<_> = found.into_iter().flatten().collect();
        tags.sort();
        Ok(tags)
    }

    /// The tag, if it names the manifest; refused if it names a composite with the manifest in it.
    async fn names(
        &self,
        reference: &RegistryReference,
        tag: String,
        digest: &Digest,
    ) -> Outcome<Option<String>> {
        let place = reference.with(Selector::Tag(tag.clone()));
        let (found, is_index) = match self.look(&place).await {
            Err(Fault::NotFound(_)) => return Ok(None),
            found => found?,
        };
        if found == *digest {
            return Ok(Some(tag));
        }
        if is_index {
            let index = self.manifest(&place).await?;
            if index.children.iter().any(|part| part.digest == *digest) {
                return Err(Problem::InUse(index.digest).into());
            }
        }
        Ok(None)
    }

    async fn delete(&self, reference: &RegistryReference) -> Outcome<()> {
        let (url, what) = self.manifest_url(reference)?;
        let scope = Scope::Delete(reference.repository.clone());
        let answer = self
            .ask(&scope, &what, |http| http.delete(url.clone()))
            .await?;
        let fit = [
            StatusCode::ACCEPTED,
            StatusCode::OK,
            StatusCode::NO_CONTENT,
            // Somebody else was first.
            StatusCode::NOT_FOUND,
        ];
        if answer.status() == StatusCode::METHOD_NOT_ALLOWED {
            return Err(Fault::KeepsAll);
        }
        answer::expect(answer, &fit, &what).await.map(drop)
    }
}
