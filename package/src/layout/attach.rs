//! Documents that refer to a package of a layout: signatures, bills of materials, provenance.

use placet_model::Digest;

use super::Layout;
use crate::error::{Outcome, PackageError, Problem};
use crate::files;
use crate::manifest::{self, IMAGE_MANIFEST};
use crate::package::read_blob;
use crate::reference::Selector;
use crate::trust::{ATTACHED_MOST, Attached, Attachment, Evidence, simple};

const WHAT: &str = "a document that refers to the package";

impl Layout {
    /// Stores a document so that it refers to the manifest `subject`; the digest of its own manifest.
    ///
    /// # Errors
    ///
    /// The manifest is not there, or the folder cannot be written.
    pub fn attach(
        &self,
        subject: &Digest,
        attachment: &Attachment,
    ) -> Result<Digest, PackageError> {
        let attached = self.store_attachment(subject, attachment);
        attached.map_err(|problem| self.error(Some(&Selector::Digest(*subject)), problem))
    }

    fn store_attachment(&self, subject: &Digest, attachment: &Attachment) -> Outcome<Digest> {
        let _transfer = self.begin_transfer()?;
        let (_, size) = files::open(&self.blob_path(subject))?;
        let subject = manifest::descriptor(IMAGE_MANIFEST, *subject, size);
        let document = attachment.document(&subject)?;
        for blob in attachment.blobs() {
            self.keep(blob)?;
        }
        self.keep(&document.bytes)?;
        self.adopt(document.descriptor(), None)?;
        Ok(document.digest)
    }

    /// The documents that refer to the manifest `subject`.
    ///
    /// # Errors
    ///
    /// The index or what it lists cannot be read.
    pub fn attached(&self, subject: &Digest) -> Result<Vec<Attached>, PackageError> {
        let found = self.read_attached(subject);
        found.map_err(|problem| self.error(Some(&Selector::Digest(*subject)), problem))
    }

    fn read_attached(&self, subject: &Digest) -> Outcome<Vec<Attached>> {
        let mut found = Vec::new();
        for entry in self.read_referrers(subject)?.iter().take(ATTACHED_MOST) {
            let document = self.document(&entry.digest)?;
            found.extend(Attached::of(&document, subject));
        }
        Ok(found)
    }

    /// The bytes of a document that refers to a package.
    ///
    /// # Errors
    ///
    /// They are missing or damaged.
    pub fn content(&self, attached: &Attached) -> Result<Vec<u8>, PackageError> {
        let (digest, size) = attached.content;
        let read = read_blob(self, &digest, Some(size), WHAT);
        read.map_err(|problem| self.error(Some(&Selector::Digest(attached.digest)), problem))
    }

    /// Everything that may be a signature of the manifest `subject`.
    ///
    /// # Errors
    ///
    /// The index or what it lists cannot be read. What is damaged is among the evidence.
    pub fn evidence(&self, subject: &Digest) -> Result<Vec<Evidence>, PackageError> {
        let bundles = self.attached(subject)?.into_iter();
        let bundles = bundles.filter(Attached::is_bundle);
        let mut evidence: Vec<_> = bundles
            .map(|bundle| match self.content(&bundle) {
                Ok(bytes) => Evidence::Bundle(bytes),
                Err(error) => Evidence::Unreadable(error.problem().to_string()),
            })
            .collect();
        let simple = self.simple_signatures(subject);
        let simple =
            simple.map_err(|problem| self.error(Some(&Selector::Digest(*subject)), problem))?;
        evidence.extend(simple);
        Ok(evidence)
    }

    fn simple_signatures(&self, subject: &Digest) -> Outcome<Vec<Evidence>> {
        let document = match self.find(&Selector::Tag(simple::tag(subject))) {
            Ok(digest) => self.document(&digest)?,
            Err(Problem::NoSuchTag(_)) => return Ok(Vec::new()),
            Err(problem) => return Err(problem),
        };
        let signatures = simple::signatures(&document).into_iter();
        let read = signatures.map(|(payload, signature)| {
            match read_blob(self, &payload.digest, Some(payload.size), WHAT) {
                Ok(payload) => Evidence::Simple(simple::SimpleSignature { payload, signature }),
                Err(problem) => Evidence::Unreadable(problem.to_string()),
            }
        });
        Ok(read.collect())
    }
}
