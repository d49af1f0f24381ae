//! Who signed a commit or a tag, and whether they may.
//!
//! Signatures are ssh's (`SSHSIG`), verified with `ring`. What is read here was made by whoever can
//! push: each part is bounded, read exactly, and refused where it could mean two things.

mod allowed;
mod key;
mod signed;
mod sshsig;
mod wire;

use std::fmt;

use git2::{ObjectType, Oid, Repository};
use jiff::Timestamp;
use placet_crds::VerificationMode;
use placet_model::visible;

use super::files::require_commit_size;
use super::followed::{Followed, Revision};
use super::{FetchError, error};

pub(super) use allowed::AllowedSigners;
use allowed::Verdict;
use signed::Signed;
use sshsig::Signature;

const HOW: &str =
    "sign it with an ssh key (`git config gpg.format ssh`, then `git commit -S` or `git tag -s`)";

/// Who signed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Signer {
    /// As whom: a principal of the allowed signers.
    pub principal: String,
    /// The fingerprint of the key, `SHA256:…`.
    pub key: String,
}

impl fmt::Display for Signer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ({})", self.principal, self.key)
    }
}

/// Finds out who signed the commit of `revision`, or the annotated tag `tag` that names it.
pub(super) fn verify(
    repository: &Repository,
    revision: &Revision,
    tag: Option<Oid>,
    (mode, allowed): (VerificationMode, &AllowedSigners),
) -> Result<Signer, FetchError> {
    let (what, signed) = match mode {
        VerificationMode::Head => (
            format!("commit `{}`", revision.commit),
            commit(repository, revision.commit)?,
        ),
        VerificationMode::Tag => (
            revision.followed.to_string(),
            annotated_tag(repository, revision, tag)?,
        ),
    };
    let refused = |why: String| FetchError::Signature {
        revision: revision.to_string(),
        what: what.clone(),
        why,
    };
    signed
        .and_then(|signed| judge(&signed, allowed))
        .map_err(refused)
}

fn judge(signed: &Signed, allowed: &AllowedSigners) -> Result<Signer, String> {
    let signature = Signature::parse(&signed.signature)?;
    let key = &signature.key;
    let fingerprint = key.fingerprint();
    match allowed.judge(key, signed.time, &signed.email) {
        Verdict::Allowed(principal) => {
            signature.verify(&signed.payload)?;
            Ok(Signer {
                principal: visible(&principal).to_string(),
                key: fingerprint,
            })
        }
        Verdict::Unknown => Err(format!(
            "it is signed with the {} key {fingerprint}, which is none of the allowed signers'; if its owner may sign, add the key there",
            key.kind()
        )),
        Verdict::NotNow(why) => Err(format!(
            "it is signed with the {} key {fingerprint}, and {why}",
            key.kind()
        )),
    }
}

/// What of a commit is signed, and by what; or why that cannot be said.
fn commit(repository: &Repository, id: Oid) -> Result<Result<Signed, String>, FetchError> {
    require_commit_size(repository, id)?;
    let bytes = raw(repository, id, ObjectType::Commit)?;
    Ok(Signed::commit(&bytes))
}

fn annotated_tag(
    repository: &Repository,
    revision: &Revision,
    tag: Option<Oid>,
) -> Result<Result<Signed, String>, FetchError> {
    let (Followed::Tag(name) | Followed::Version(name, _)) = &revision.followed else {
        return Ok(Err(
            "a signed tag is asked for (`spec.verify.mode: tag`), and no tag is followed; name one in `spec.ref`, or use `mode: head`"
                .to_owned(),
        ));
    };
    let Some(tag) = tag.filter(|tag| repository.find_tag(*tag).is_ok()) else {
        return Ok(Err(format!(
            "it is no annotated tag, so that nobody signed it; {HOW}"
        )));
    };
    require_commit_size(repository, tag)?;
    let bytes = raw(repository, tag, ObjectType::Tag)?;
    Ok(Signed::tag(&bytes, name, &revision.commit.to_string()))
}

fn raw(repository: &Repository, id: Oid, kind: ObjectType) -> Result<Vec<u8>, FetchError> {
    let read = repository.odb().and_then(|odb| {
        let object = odb.read(id)?;
        if object.kind() == kind {
            Ok(object.data().to_vec())
        } else {
            Err(git2::Error::from_str("it is of another kind"))
        }
    });
    read.map_err(|cause| FetchError::Read {
        what: format!("{kind} `{id}`"),
        why: error::plain(&cause),
    })
}

/// A time within git's bounds.
fn time(seconds: &str) -> Result<Timestamp, String> {
    let seconds = seconds.parse().ok();
    seconds
        .and_then(|seconds| Timestamp::from_second(seconds).ok())
        .ok_or_else(|| "it says no time at which it was made".to_owned())
}
