//! Keeps the webhook's authorities in a Secret that all replicas share, and tells the API server
//! whom to trust.
//!
//! It acts on what it hears: watches of one Secret and two webhook configurations, and the time at
//! which the next authority is due. While nothing changes it asks for nothing.

use std::collections::BTreeMap;
use std::error::Error;
use std::time::Duration;

use futures_util::StreamExt as _;
use futures_util::stream::BoxStream;
use jiff::Timestamp;
use k8s_openapi::ByteString;
use k8s_openapi::api::admissionregistration::v1::{
    MutatingWebhookConfiguration, ValidatingWebhookConfiguration, WebhookClientConfig,
};
use k8s_openapi::api::authentication::v1::SelfSubjectReview;
use k8s_openapi::api::core::v1::Secret;
use kube::api::{ObjectMeta, Patch, PatchParams, PostParams};
use kube::runtime::WatchStreamExt as _;
use kube::runtime::watcher::watch_object;
use kube::{Api, Client};
use serde_json::{Value, json};
use tokio::sync::watch;

use super::Admission;
use super::authorities::Authorities;

/// The name of the Secret: the authorities with their keys (`authorities.json`), and the
/// certificates to trust (`ca.crt`).
pub(crate) const SECRET: &str = "placet-webhook";

const KEPT: &str = "authorities.json";

/// What went wrong is tried again after this.
const PAUSE: Duration = Duration::from_secs(5);

/// Timers are looked at this often at least, since a machine may sleep.
const LOOK: Duration = Duration::from_hours(1);

type Failure = Box<dyn Error + Send + Sync>;

/// See the module's documentation.
pub(super) struct Keeper {
    client: Client,
    secrets: Api<Secret>,
    validating: Api<ValidatingWebhookConfiguration>,
    mutating: Api<MutatingWebhookConfiguration>,
    configuration: String,
    admission: Admission,
    leads: watch::Receiver<bool>,
}

/// What was heard of the API server.
#[derive(Default)]
struct Heard {
    /// The Secret, if there is one.
    secret: Option<Secret>,
    /// False while it is not known whether there is one.
    knows_secret: bool,
    validating: Option<ValidatingWebhookConfiguration>,
    mutating: Option<MutatingWebhookConfiguration>,
}

impl Keeper {
    pub(super) fn new(
        client: &Client,
        namespace: &str,
        configuration: &str,
        admission: Admission,
    ) -> Self {
        Self {
            client: client.clone(),
            secrets: Api::namespaced(client.clone(), namespace),
            validating: Api::all(client.clone()),
            mutating: Api::all(client.clone()),
            configuration: configuration.to_owned(),
            leads: admission.0.leads.subscribe(),
            admission,
        }
    }

    /// Keeps them for as long as it is polled.
    pub(super) async fn run(mut self) {
        let mut secret = watch_object(self.secrets.clone(), SECRET)
            .default_backoff()
            .boxed();
        let name = self.configuration.clone();
        let mut validating = watch_object(self.validating.clone(), &name)
            .default_backoff()
            .boxed();
        let mut mutating = watch_object(self.mutating.clone(), &name)
            .default_backoff()
            .boxed();
        let mut heard = Heard::default();
        let mut pause = LOOK;
        loop {
            // Cancel safe: all of them only wait, or bring what is there to be brought again.
            tokio::select! {
                found = news(&mut secret) => {
                    heard.secret = found;
                    heard.knows_secret = true;
                }
                found = news(&mut validating) => heard.validating = found,
                found = news(&mut mutating) => heard.mutating = found,
                changed = self.leads.changed() => if changed.is_err() { return },
                () = tokio::time::sleep(pause) => {}
            }
            pause = match self.act(&heard).await {
                Ok(pause) => pause.min(LOOK),
                Err(error) => {
                    tracing::warn!(
                        error = &*error as &dyn Error,
                        "the webhook's certificates wait for the API server"
                    );
                    PAUSE
                }
            };
        }
    }

    /// What the controller itself writes is not checked twice.
    async fn learn_own_name(&self) {
        let reviews = Api::<SelfSubjectReview>::all(self.client.clone());
        let asked = SelfSubjectReview::default();
        match reviews.create(&PostParams::default(), &asked).await {
            Ok(answer) => {
                let user = answer.status.and_then(|status| status.user_info?.username);
                if let Some(user) = user {
                    let _ = self.admission.0.own.set(user);
                }
            }
            Err(error) => tracing::debug!(%error, "the API server does not say who this is"),
        }
    }

    /// Does what is due by what was heard; says when to look again.
    async fn act(&self, heard: &Heard) -> Result<Duration, Failure> {
        if !heard.knows_secret {
            return Ok(LOOK);
        }
        let secret = heard.secret.as_ref();
        if self.admission.0.own.get().is_none() {
            self.learn_own_name().await;
        }
        let identity = &self.admission.0.identity;
        let (lifetimes, now) = (identity.lifetimes(), Timestamp::now());
        let Some(kept) = secret.and_then(kept) else {
            let made = Authorities::generate(lifetimes, now)?;
            self.keep(secret, &made).await?;
            // The watch brings what is kept now, be it this or another replica's.
            return Ok(PAUSE);
        };
        identity.set(kept.clone());
        let telemetry = &self.admission.0.telemetry;
        telemetry.certificate("webhook", kept.until());
        if *self.leads.borrow() {
            self.publish(heard, &kept.bundle()).await?;
        }
        let advanced = kept.advanced(lifetimes, now)?;
        if advanced != kept {
            tracing::info!(
                "the webhook's authorities change: the next is made, used, or the last one retired"
            );
            self.keep(secret, &advanced).await?;
            return Ok(PAUSE);
        }
        let left = kept.due(lifetimes).duration_since(now);
        // A moment later, so that it is due then.
        Ok(Duration::try_from(left).unwrap_or_default() + Duration::from_millis(10))
    }

    /// Keeps authorities, unless another replica was first: then the watch brings those.
    async fn keep(&self, old: Option<&Secret>, authorities: &Authorities) -> Result<(), Failure> {
        let mut metadata = ObjectMeta {
            name: Some(SECRET.to_owned()),
            ..ObjectMeta::default()
        };
        if let Some(old) = old {
            metadata = old.metadata.clone();
            metadata.managed_fields = None;
        }
        let secret = Secret {
            metadata,
            data: Some(BTreeMap::from([
                (KEPT.to_owned(), ByteString(authorities.to_json())),
                (
                    "ca.crt".to_owned(),
                    ByteString(authorities.bundle().into_bytes()),
                ),
            ])),
            ..Secret::default()
        };
        let params = PostParams::default();
        let written = match old {
            // It carries the version that it was read with.
            Some(_) => self.secrets.replace(SECRET, &params, &secret).await,
            None => self.secrets.create(&params, &secret).await,
        };
        match written {
            Ok(_) => Ok(()),
            Err(kube::Error::Api(status)) if status.code == 409 => Ok(()),
            Err(error) => Err(error.into()),
        }
    }

    /// Has the API server trust the bundle, wherever it is to ask this webhook.
    async fn publish(&self, heard: &Heard, bundle: &str) -> Result<(), Failure> {
        let (name, params) = (&self.configuration, PatchParams::default());
        if let Some(found) = &heard.validating {
            let webhooks = found.webhooks.iter().flatten();
            let configs: Vec<_> = webhooks.map(|it| (&*it.name, &it.client_config)).collect();
            if let Some(patch) = trusting(&configs, bundle) {
                self.validating.patch(name, &params, &patch).await?;
            }
        }
        if let Some(found) = &heard.mutating {
            let webhooks = found.webhooks.iter().flatten();
            let configs: Vec<_> = webhooks.map(|it| (&*it.name, &it.client_config)).collect();
            if let Some(patch) = trusting(&configs, bundle) {
                self.mutating.patch(name, &params, &patch).await?;
            }
        }
        Ok(())
    }
}

/// The next state of an object that is watched; a watch that fails is begun anew by itself.
async fn news<K>(
    watch: &mut BoxStream<'static, Result<Option<K>, kube::runtime::watcher::Error>>,
) -> Option<K> {
    loop {
        match watch.next().await {
            Some(Ok(found)) => return found,
            Some(Err(error)) => tracing::debug!(%error, "a watch of the webhook is begun anew"),
            None => std::future::pending().await,
        }
    }
}

/// The authorities in a Secret; none where somebody put something else there.
fn kept(secret: &Secret) -> Option<Authorities> {
    let ByteString(bytes) = secret.data.as_ref()?.get(KEPT)?;
    Authorities::from_json(bytes)
        .inspect_err(|error| tracing::error!(%error, "Secret {SECRET} is made anew"))
        .ok()
}

/// What has to be changed for all these webhooks to be trusted by `bundle`.
fn trusting(webhooks: &[(&str, &WebhookClientConfig)], bundle: &str) -> Option<Patch<Value>> {
    let wanted = ByteString(bundle.as_bytes().to_vec());
    let mut operations = Vec::new();
    for (index, (name, config)) in webhooks.iter().enumerate() {
        if config.ca_bundle.as_ref() != Some(&wanted) {
            // The list may have changed meanwhile.
            operations.push(
                json!({"op": "test", "path": format!("/webhooks/{index}/name"), "value": name}),
            );
            let path = format!("/webhooks/{index}/clientConfig/caBundle");
            operations.push(json!({"op": "add", "path": path, "value": wanted}));
        }
    }
    if operations.is_empty() {
        return None;
    }
    let patch = serde_json::from_value(Value::Array(operations)).ok()?;
    Some(Patch::Json(patch))
}
