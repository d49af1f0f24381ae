//! Documents that refer to a package of a registry: signatures, bills of materials, provenance.

use placet_model::Digest;

use super::client::Registry;
use super::error::{Fault, Outcome, RegistryError};
use super::metadata::blocking;
use super::{RegistryReference, Source, Wanted};
use crate::document::Document;
use crate::layout::Layout;
use crate::manifest::{IMAGE_MANIFEST, MANIFEST_MAX, descriptor};
use crate::reference::Selector;
use crate::trust::{ATTACHED_MOST, Attachment, simple};

impl Registry {
    /// Stores a document so that it refers to the manifest `subject`; the digest of its own manifest.
    ///
    /// # Errors
    ///
    /// The manifest is not there, or the registry does not take the document.
    pub async fn attach(
        &self,
        reference: &RegistryReference,
        subject: &Digest,
        attachment: &Attachment,
    ) -> Result<Digest, RegistryError> {
        let attached = self.store_attachment(reference, subject, attachment).await;
        attached.map_err(|fault| RegistryError::new(reference, fault))
    }

    async fn store_attachment(
        &self,
        reference: &RegistryReference,
        subject: &Digest,
        attachment: &Attachment,
    ) -> Outcome<Digest> {
        let place = reference.with(Selector::Digest(*subject));
        let size = self.manifest(&place).await?.bytes.len() as u64;
        let document = attachment.document(&descriptor(IMAGE_MANIFEST, *subject, size))?;
        for bytes in attachment.blobs() {
            let blob = (Digest::of(bytes), bytes.len() as u64);
            self.send_blob(&reference.repository, blob, Source::Bytes(bytes), &())
                .await?;
        }
        let place = reference.with(Selector::Digest(document.digest));
        self.send_document(&place, &document).await?;
        Ok(document.digest)
    }

    /// Fetches the documents that refer to the manifest `subject` into `layout`, where
    /// [`Layout::evidence`] and [`Layout::attached`] find them. What is there does not travel.
    ///
    /// # Errors
    ///
    /// The registry cannot be asked, or the disk refuses. A document that is damaged comes without its
    /// bytes.
    pub async fn fetch_attached(
        &self,
        reference: &RegistryReference,
        subject: &Digest,
        layout: &Layout,
    ) -> Result<(), RegistryError> {
        let fetched = self.fetch_all_attached(reference, subject, layout).await;
        fetched.map_err(|fault| RegistryError::new(reference, fault))
    }

    async fn fetch_all_attached(
        &self,
        reference: &RegistryReference,
        subject: &Digest,
        layout: &Layout,
    ) -> Outcome<()> {
        let _transfer = blocking(layout, Layout::begin_transfer).await?;
        let listed = self.read_referrers(reference, subject).await?;
        for entry in listed.iter().take(ATTACHED_MOST) {
            let place = Selector::Digest(entry.digest);
            let document = match self.manifest(&reference.with(place)).await {
                Err(fault) if !fault.may_pass() => continue,
                document => document?,
            };
            if document.subject.as_ref().map(|it| it.digest) == Some(*subject) {
                self.fetch_document(reference, document, None, layout)
                    .await?;
            }
        }
        let tag = simple::tag(subject);
        match self
            .manifest(&reference.with(Selector::Tag(tag.clone())))
            .await
        {
            Ok(document) => {
                self.fetch_document(reference, document, Some(tag), layout)
                    .await
            }
            Err(fault) if !fault.may_pass() => Ok(()),
            Err(fault) => Err(fault),
        }
    }

    async fn fetch_document(
        &self,
        reference: &RegistryReference,
        document: Document,
        tag: Option<String>,
        layout: &Layout,
    ) -> Outcome<()> {
        for (digest, size) in &document.blobs {
            let wanted = Wanted {
                repository: &reference.repository,
                digest: *digest,
                size: *size,
            };
            if *size > MANIFEST_MAX {
                return Ok(());
            }
            match self.fetch_blob(wanted, layout, &()).await {
                Err(fault @ Fault::Keep { .. }) => return Err(fault),
                Err(fault) if fault.may_pass() => return Err(fault),
                // It is told of where the document is read.
                Ok(_) | Err(_) => {}
            }
        }
        blocking(layout, move |layout| {
            layout.keep(&document.bytes)?;
            layout.adopt(document.descriptor(), tag.as_deref())
        })
        .await
    }
}
