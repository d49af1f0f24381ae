//! The controller on this machine, asked at its socket.

use anyhow::Context as _;
use placet_crds::KindInfo;
use placet_model::{Decision, DecisionKind, NodeName};
use placet_protocol::wire::admin_client::AdminClient;
use placet_protocol::wire::{
    ApplyRequest, DecideRequest, DeleteRequest, DryRunRequest, Event, File, OrderNodeRequest,
    TokenRequest, WatchRequest,
};
use serde_json::{Value, json};
use tonic::Code;
use tonic::transport::Channel;

use super::{Applied, Decided, Happened, JoinToken, Ordered, Tried};
use crate::arguments::{Common, Decide, Token};
use crate::{client, events};

/// The controller on this machine.
pub(crate) struct Socket(AdminClient<Channel>);

impl Socket {
    pub(super) async fn open(common: &Common) -> anyhow::Result<Self> {
        client::connect(common).await.map(Self)
    }

    /// Clones share the connection.
    fn client(&self) -> AdminClient<Channel> {
        self.0.clone()
    }

    pub(super) async fn get(
        &self,
        kind: Option<&KindInfo>,
        name: &str,
    ) -> anyhow::Result<Vec<Value>> {
        let kind = kind.map_or("", |kind| &kind.kind);
        client::get(&mut self.client(), kind, name).await
    }

    pub(super) async fn apply(&self, files: Vec<File>) -> anyhow::Result<Applied> {
        let answer = self.client().apply(ApplyRequest { files }).await;
        let answer = answer.map_err(|status| client::refusal(&status))?;
        let answer = answer.into_inner();
        Ok(Applied {
            results: answer.results,
            problems: answer.problems,
            ..Applied::default()
        })
    }

    pub(super) async fn dry_run(&self, files: Vec<File>, seconds: u32) -> anyhow::Result<Tried> {
        let answer = self
            .client()
            .dry_run(DryRunRequest { files, seconds })
            .await;
        let answer = answer.map_err(|status| client::refusal(&status))?;
        let answer = answer.into_inner();
        if !answer.problems.is_empty() {
            return Ok(Tried::Refused(answer.problems));
        }
        let report = serde_json::from_slice(&answer.report_json);
        report
            .map(Tried::Report)
            .context("the controller sent a malformed report")
    }

    pub(super) async fn delete(&self, kind: &KindInfo, name: &str) -> anyhow::Result<String> {
        let request = DeleteRequest {
            kind: kind.kind.clone(),
            name: name.to_owned(),
        };
        let answer = self.client().delete(request).await;
        let answer = answer.map_err(|status| client::refusal(&status))?;
        Ok(answer.into_inner().result)
    }

    pub(super) async fn decide(&self, decide: &Decide) -> anyhow::Result<Decided> {
        let request = DecideRequest {
            rollout: decide.name.clone(),
            hold: decide.hold,
            kind_json: placet_model::canonical_json(&kind(decide)?),
            reason: decide.reason.clone(),
        };
        match self.client().decide(request).await {
            Ok(answer) => {
                let decision: Decision =
                    serde_json::from_slice(&answer.into_inner().decision_json)?;
                Ok(Decided::Taken(decision))
            }
            Err(status) if status.code() == Code::FailedPrecondition => {
                Ok(Decided::Refused(status.message().to_owned()))
            }
            Err(status) => Err(client::refusal(&status)),
        }
    }

    pub(super) async fn pause(&self, rollout: &Value, paused: bool) -> anyhow::Result<Applied> {
        let mut spec = rollout["spec"].clone();
        spec["paused"] = paused.into();
        let declared = json!({
            "apiVersion": rollout["apiVersion"],
            "kind": rollout["kind"],
            "metadata": { "name": rollout["metadata"]["name"] },
            "spec": spec,
        });
        let file = File {
            name: "the roll-out".to_owned(),
            text: declared.to_string(),
        };
        self.apply(vec![file]).await
    }

    pub(super) async fn order(
        &self,
        node: &str,
        action: &str,
        reason: &str,
    ) -> anyhow::Result<Ordered> {
        let request = OrderNodeRequest {
            node: node.to_owned(),
            action: action.to_owned(),
            reason: reason.to_owned(),
        };
        match self.client().order_node(request).await {
            Ok(answer) => Ok(Ordered::Done(answer.into_inner().outcome)),
            Err(status) if status.code() == Code::FailedPrecondition => {
                Ok(Ordered::Refused(status.message().to_owned()))
            }
            Err(status) => Err(client::refusal(&status)),
        }
    }

    pub(super) async fn token(&self, token: &Token) -> anyhow::Result<JoinToken> {
        let request = TokenRequest {
            node: token.node.clone(),
            valid_seconds: token.valid,
            replace: token.replace,
            every_boot: token.every_boot,
        };
        let answer = self.client().create_token(request).await;
        let answer = answer.map_err(|status| client::refusal(&status))?;
        let answer = answer.into_inner();
        Ok(JoinToken {
            token: answer.token,
            addresses: answer.addresses,
            expires: answer.expires,
        })
    }

    pub(super) async fn happened(
        &self,
        kind: &KindInfo,
        name: &str,
    ) -> anyhow::Result<Vec<Happened>> {
        let is_rollout = kind.kind == "Rollout";
        let rollout = if is_rollout { name } else { "" };
        let kept = events::kept(&mut self.client(), rollout).await?;
        let about = kept
            .into_iter()
            .filter(|it| is_rollout || it.mentions(name));
        let told = about.map(|event| Happened {
            lines: event.lines(),
            time: event.time,
        });
        Ok(told.collect())
    }

    pub(super) async fn watch(
        &self,
        rollout: Option<&str>,
    ) -> anyhow::Result<tonic::Streaming<Event>> {
        let mut client = self.client();
        let since = if rollout.is_some() {
            0
        } else {
            let kept = events::kept(&mut client, "").await?;
            kept.last().map_or(0, |event| event.sequence)
        };
        let request = WatchRequest {
            since,
            rollout: rollout.unwrap_or_default().to_owned(),
            kept_only: false,
        };
        client::watch(&mut client, request).await
    }
}

fn kind(decide: &Decide) -> anyhow::Result<DecisionKind> {
    Ok(if decide.skip {
        DecisionKind::Skip
    } else if decide.force {
        let nodes: Result<Vec<NodeName>, _> = decide.node.iter().map(|node| node.parse()).collect();
        DecisionKind::Force { nodes: nodes? }
    } else {
        DecisionKind::Abort
    })
}
