//! What a controller of another version is answered where it speaks of things that this version
//! does not know: why, rather than silence.

use placet_model::{Digest, NodeManifest, Proposal};
use placet_protocol::wire::Stage;
use serde_json::{Value, json};
use tonic::Status;

use super::core::Core;
use super::report;

/// Reads a proposal of which nothing is lost in reading.
pub(super) fn proposal(bytes: &[u8]) -> Result<Proposal, Status> {
    let proposal: Proposal = placet_protocol::json(bytes, "proposal")?;
    let written: Value = placet_protocol::json(bytes, "proposal")?;
    whole(&written["manifest"], &proposal.manifest)?;
    Ok(proposal)
}

/// Reads a manifest of which nothing is lost in reading.
pub(super) fn manifest(bytes: &[u8]) -> Result<NodeManifest, Status> {
    let manifest: NodeManifest = placet_protocol::json(bytes, "manifest")?;
    whole(&placet_protocol::json(bytes, "manifest")?, &manifest)?;
    Ok(manifest)
}

/// What this version leaves out it would not do, and the manifest would have another digest here.
fn whole(written: &Value, manifest: &NodeManifest) -> Result<(), Status> {
    let read =
        serde_json::to_value(manifest).map_err(|error| Status::internal(error.to_string()))?;
    match lost(written, &read) {
        None => Ok(()),
        Some(path) => {
            let path = placet_model::visible(&path);
            Err(Status::invalid_argument(format!("the manifest's `{path}`")))
        }
    }
}

/// Where `written` has something that `read` has not.
fn lost(written: &Value, read: &Value) -> Option<String> {
    match (written, read) {
        (Value::Object(written), Value::Object(read)) => {
            written.iter().find_map(|(name, value)| {
                let Some(read) = read.get(name) else {
                    return Some(name.clone());
                };
                lost(value, read).map(|rest| joined(name, &rest))
            })
        }
        (Value::Array(written), Value::Array(read)) if written.len() == read.len() => {
            let mut pairs = written.iter().zip(read).enumerate();
            pairs.find_map(|(at, (written, read))| {
                lost(written, read).map(|rest| joined(&at.to_string(), &rest))
            })
        }
        _ => (written != read).then(String::new),
    }
}

fn joined(name: &str, rest: &str) -> String {
    if rest.is_empty() {
        name.to_owned()
    } else {
        format!("{name}.{rest}")
    }
}

impl Core {
    /// Answers a proposal of which all can be read but what the node is to run; false if there is
    /// more that cannot.
    pub(super) fn answer_unreadable(&mut self, proposal: &[u8], why: &Status) -> bool {
        let Some(proposal) = without_manifest(proposal) else {
            return false;
        };
        let why = self.cannot_read(why);
        let verdict = self.verdict_on(&proposal, Vec::new(), Some(why));
        if proposal.dry_run {
            self.tried(&verdict);
        } else {
            self.asked(Box::new(verdict));
        }
        true
    }

    /// Answers an order to stage what cannot be read.
    pub(super) fn refuse_to_stage(&mut self, stage: Stage, change_digest: Digest, why: &Status) {
        let why = self.cannot_read(why);
        tracing::warn!(
            "failed to stage for {}: {why}",
            placet_model::visible(&stage.rollout)
        );
        self.tell(&report::staged(stage.rollout, change_digest, Err(why)));
    }

    fn cannot_read(&self, why: &Status) -> String {
        format!(
            "node {} runs placetd {}, which does not know all that the controller names ({}): update placetd there, or take out what is new",
            self.settings.node,
            env!("CARGO_PKG_VERSION"),
            why.message()
        )
    }
}

/// The proposal as if the node were to run nothing.
fn without_manifest(proposal: &[u8]) -> Option<Proposal> {
    let mut value: Value = serde_json::from_slice(proposal).ok()?;
    let fields = value.as_object_mut()?;
    fields.insert("manifest".to_owned(), json!(NodeManifest::default()));
    serde_json::from_value(value).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_lost_is_named_by_its_path() {
        let read = json!({"modules": [{"path": "a"}, {"path": "b", "process": {"name": "c"}}]});
        assert_eq!(lost(&read, &read), None);
        for (written, expected) in [
            (
                json!({"modules": [{"path": "a", "new": 0}, {"path": "b"}]}),
                "modules.0.new",
            ),
            (
                json!({"modules": [{"path": "a"}, {"path": "b", "process": {"name": "d"}}]}),
                "modules.1.process.name",
            ),
            (json!({"modules": []}), "modules"),
            (json!({"later": null}), "later"),
            (json!(null), ""),
        ] {
            assert_eq!(lost(&written, &read).as_deref(), Some(expected));
        }
    }
}
