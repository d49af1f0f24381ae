//! Ordering something for one node: an annotation of the node, which a controller answers in its
//! status.

use std::time::Duration;

use anyhow::bail;
use kube::Error;
use kube::api::{DynamicObject, Patch};
use kube::runtime::wait::await_condition;
use placet_controller::home::kubernetes::ORDER;
use serde_json::json;

use super::Kubernetes;
use super::decide::by_person;
use crate::home::Ordered;
use crate::output::plain;

/// How long a controller may take to act on an order before the person is told that it stands.
const PATIENCE: Duration = Duration::from_secs(15);

impl Kubernetes {
    pub(in crate::home) async fn order(
        &self,
        node: &str,
        action: &str,
        reason: &str,
    ) -> anyhow::Result<Ordered> {
        // The time tells it from an earlier one of the same words.
        let at = jiff::Timestamp::now().to_string();
        let text = json!({ "do": action, "reason": reason, "at": at }).to_string();
        let patch = json!({ "metadata": { "annotations": { ORDER: text } } });
        let api = self.api("FleetNode")?;
        match api.patch(node, &by_person(), &Patch::Merge(patch)).await {
            Ok(_) => {}
            Err(Error::Api(status)) if status.code == 404 => bail!("there is no node `{node}`"),
            Err(Error::Api(status)) if matches!(status.code, 400 | 403 | 422) => {
                return Ok(Ordered::Refused(status.message.clone()));
            }
            Err(error) => return Err(self.failed(error)),
        }
        let is_heard = |node: Option<&DynamicObject>| {
            node.is_some_and(|node| node.data["status"]["lastOrder"]["request"] == text.as_str())
        };
        let heard = await_condition(api, node, is_heard);
        let heard = tokio::time::timeout(PATIENCE, heard).await;
        let Some(node) = heard.ok().and_then(Result::ok).flatten() else {
            let why = "the order is written; no controller has acted on it yet";
            return Ok(Ordered::Done(why.to_owned()));
        };
        let outcome = plain(&node.data["status"]["lastOrder"]["outcome"]);
        Ok(match outcome.strip_prefix("refused: ") {
            Some(why) => Ordered::Refused(why.to_owned()),
            None => Ordered::Done(outcome),
        })
    }
}
