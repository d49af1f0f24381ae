//! A fleet in an API server, with the access of the kubeconfig.

mod apply;
mod decide;
mod order;

use anyhow::{Context as _, anyhow};
use k8s_openapi::api::events::v1::Event;
use kube::api::{DeleteParams, DynamicObject, ListParams};
use kube::client::ClientBuilder;
use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::{Api, Client, Config};
use placet_controller::home::HomeError;
use placet_controller::home::TokenUsage;
use placet_controller::home::kubernetes::{api, make_token};
use placet_crds::{KindInfo, find_kind, full_name, kinds};
use placet_model::NodeName;
use serde_json::Value;

use super::said::{Said, words};
use super::{Follow, Happened, JoinToken};
use crate::arguments::{Common, Token};

/// Where the events of what has no namespace are.
const EVENTS: &str = "default";

/// A fleet in an API server.
pub(crate) struct Kubernetes {
    client: Client,
    /// Where the API server is, for errors.
    server: String,
    /// The controller's namespace.
    namespace: String,
    /// What the API server says beside its answers.
    said: Said,
}

impl Kubernetes {
    pub(super) async fn open(common: &Common) -> anyhow::Result<Self> {
        let config = config(common).await?;
        let said = Said::default();
        let server = config.cluster_url.to_string();
        let client = ClientBuilder::try_from(config)
            .map_err(|error| anyhow!("failed to use the kubeconfig: {error}"))?
            .with_layer(&said.layer())
            .build();
        Ok(Self {
            client,
            server,
            namespace: common.namespace.clone(),
            said,
        })
    }

    fn api(&self, kind: &str) -> anyhow::Result<Api<DynamicObject>> {
        let kind = find_kind(kind).with_context(|| format!("`{kind}` is not a kind"))?;
        Ok(api(&self.client, kind))
    }

    /// The API server's own words for why it refused, or how it was not reached.
    fn failed(&self, error: kube::Error) -> anyhow::Error {
        match words(&error) {
            Some(words) => anyhow!("{words}"),
            None => anyhow::Error::new(error)
                .context(format!("failed to ask the API server at {}", self.server)),
        }
    }

    pub(super) async fn get(
        &self,
        kind: Option<&KindInfo>,
        name: &str,
    ) -> anyhow::Result<Vec<Value>> {
        let wanted = kind.map_or_else(|| kinds().iter().collect(), |kind| vec![kind]);
        let mut found = Vec::new();
        for kind in wanted {
            let api = api(&self.client, kind);
            if name.is_empty() {
                let listed = api.list(&ListParams::default()).await;
                let listed = listed.map_err(|error| self.failed(error))?;
                found.extend(listed.items.into_iter().map(|object| json(object, kind)));
            } else {
                let one = api
                    .get_opt(name)
                    .await
                    .map_err(|error| self.failed(error))?;
                found.extend(one.map(|object| json(object, kind)));
            }
        }
        Ok(found)
    }

    pub(super) async fn delete(&self, kind: &KindInfo, name: &str) -> anyhow::Result<String> {
        let (api, by) = (api(&self.client, kind), DeleteParams::default());
        match api.delete(name, &by).await {
            Ok(_) => Ok(format!("{} deleted", full_name(&kind.kind, name))),
            Err(kube::Error::Api(status)) if status.code == 404 => {
                Err(anyhow!("there is no {} `{name}`", kind.kind))
            }
            Err(error) => Err(self.failed(error)),
        }
    }

    pub(super) async fn token(&self, token: &Token) -> anyhow::Result<JoinToken> {
        let node: NodeName = token.node.parse()?;
        let (client, namespace) = (&self.client, &self.namespace);
        let usage = TokenUsage::of(token.replace, token.every_boot);
        let made = make_token(client, namespace, &node, token.valid, usage).await;
        let (made, kept, addresses) = made.map_err(|error| match error {
            HomeError::Api { what, source } => {
                self.failed(*source).context(format!("failed to {what}"))
            }
            other => other.into(),
        })?;
        Ok(JoinToken {
            token: made.to_string(),
            addresses,
            expires: kept.expires.to_string(),
        })
    }

    /// The Events about a resource.
    pub(super) async fn happened(
        &self,
        kind: &KindInfo,
        name: &str,
    ) -> anyhow::Result<Vec<Happened>> {
        let about = format!("regarding.kind={},regarding.name={name}", kind.kind);
        let listed = Api::<Event>::namespaced(self.client.clone(), EVENTS)
            .list(&ListParams::default().fields(&about))
            .await
            .map_err(|error| self.failed(error))?;
        let mut told: Vec<Happened> = listed.items.into_iter().map(happened).collect();
        told.sort_by(|one, other| one.time.cmp(&other.time));
        Ok(told)
    }

    pub(super) fn watch(&self, rollout: Option<&str>) -> anyhow::Result<Follow> {
        let (rollouts, nodes) = (self.api("Rollout")?, self.api("FleetNode")?);
        Ok(Follow::new(rollouts, nodes, rollout))
    }
}

async fn config(common: &Common) -> anyhow::Result<Config> {
    let options = KubeConfigOptions {
        context: common.context.clone(),
        ..KubeConfigOptions::default()
    };
    if let Some(path) = &common.kubeconfig {
        let read = Kubeconfig::read_from(path);
        let read = read.with_context(|| format!("failed to read {}", path.display()))?;
        let config = Config::from_custom_kubeconfig(read, &options).await;
        return config.with_context(|| format!("failed to use {}", path.display()));
    }
    match Config::from_kubeconfig(&options).await {
        Ok(config) => Ok(config),
        // In a pod there is none, and a service account instead.
        Err(error) if common.context.is_none() => Config::incluster().map_err(|_| error.into()),
        Err(error) => Err(error.into()),
    }
}

/// A resource as kubectl shows it: without the bookkeeping of who wrote which field.
fn json(mut object: DynamicObject, kind: &KindInfo) -> Value {
    object.metadata.managed_fields = None;
    let mut value = serde_json::to_value(&object).unwrap_or_default();
    // A list names them once for all its items.
    value["apiVersion"] = placet_crds::API_VERSION.into();
    value["kind"] = kind.kind.clone().into();
    value
}

fn happened(event: Event) -> Happened {
    let series = event.series.as_ref();
    let time = series.map(|series| &series.last_observed_time);
    let time = time.or(event.event_time.as_ref());
    let mut text = event.note.unwrap_or_default();
    if let Some(series) = series {
        text = format!("{text} ({} times)", series.count);
    }
    let text = format!("{}: {text}", event.reason.unwrap_or_default());
    Happened {
        time: time.map(|time| time.0.to_string()).unwrap_or_default(),
        lines: crate::events::wrapped(&text, 2),
    }
}
