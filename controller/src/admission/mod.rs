//! The admission webhook (V6): what people declare is refused with the field's path where it is
//! wrong, and where they ask, the live nodes' vetoes come back as warnings.
//!
//! * `serve` is the HTTPS server, `review` reads and writes what an API server sends and gets;
//! * `validate` says what can be said of a request by itself, `ask` what only the leading
//!   controller knows, `forward` asks that one from another replica, `mutate` writes down who
//!   decided;
//! * `authorities` make the certificates, `identity` shows them, `keeper` keeps them in a Secret
//!   and tells the API server whom to trust.
//!
//! **Invariant:** nothing here decides what the fleet does. Everything that passes is checked again
//! by the controller when it hears of it, so that a webhook that is down blocks nobody.

mod ask;
mod authorities;
mod forward;
mod identity;
mod keeper;
mod mutate;
mod review;
mod serve;
#[cfg(test)]
mod tests;
mod validate;
mod warnings;

use std::net::SocketAddr;
use std::sync::{Arc, OnceLock, PoisonError, RwLock};
use std::time::{Duration, Instant};

use axum::body::Bytes;
use kube::Client;
use placet_model::visible;
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio_rustls::TlsAcceptor;
use tokio_util::sync::CancellationToken;

pub(crate) use self::ask::Asker;
pub(crate) use self::authorities::{CertificateError, Lifetimes};
use self::identity::Identity;
use self::keeper::Keeper;
pub(crate) use self::keeper::SECRET;
use self::review::{About, Request, Response, Subject, allowed, refused};
use self::validate::Checked;
use crate::telemetry::{Telemetry, Trace};

/// How the webhook is set up.
#[derive(Debug, Clone)]
pub(crate) struct AdmissionOptions {
    /// The controller's own namespace, in which the Secret with the authorities is.
    pub(crate) namespace: String,
    /// The names and addresses under which API servers and other replicas reach this one.
    pub(crate) names: Vec<String>,
    /// The name of both webhook configurations, whose `caBundle` is kept right.
    pub(crate) configuration: String,
    pub(crate) lifetimes: Lifetimes,
    pub(crate) telemetry: Telemetry,
}

/// Answers admission reviews. Clones share what they know.
#[derive(Clone)]
pub(crate) struct Admission(Arc<Inner>);

struct Inner {
    role: RwLock<Role>,
    identity: Identity,
    /// True while this replica leads.
    leads: watch::Sender<bool>,
    /// The user that the controller itself is to the API server.
    own: OnceLock<String>,
    telemetry: Telemetry,
}

/// What this replica is to the others.
#[derive(Clone)]
enum Role {
    /// It leads: whatever there is to know, it knows.
    Leader(Asker),
    /// Another replica leads, if any does.
    Follower(Option<SocketAddr>),
}

/// What is known of a call beside its review.
#[derive(Clone, Copy)]
struct Call {
    /// When whoever asked gives up.
    until: Instant,
    /// Another replica passed it on.
    is_forwarded: bool,
    trace: Trace,
}

/// Of the time that an API server gives, this much is for the way back.
const MARGIN: Duration = Duration::from_millis(700);

/// Nothing is asked in less.
const LEAST: Duration = Duration::from_millis(200);

impl Call {
    /// How long an answer may take.
    fn limit(&self) -> Duration {
        let left = self.until.saturating_duration_since(Instant::now());
        left.saturating_sub(MARGIN.min(left / 3)).max(LEAST)
    }
}

impl Admission {
    /// A webhook of a replica that does not lead.
    pub(crate) fn new(names: Vec<String>, lifetimes: Lifetimes, telemetry: Telemetry) -> Self {
        Self(Arc::new(Inner {
            role: RwLock::new(Role::Follower(None)),
            identity: Identity::new(names, lifetimes),
            leads: watch::Sender::new(false),
            own: OnceLock::new(),
            telemetry,
        }))
    }

    /// Serves on `listener`, with certificates that all replicas of the namespace share, until
    /// `stop`.
    pub(crate) fn start(
        listener: TcpListener,
        client: &Client,
        options: AdmissionOptions,
        stop: CancellationToken,
    ) -> Result<(Self, JoinSet<()>), CertificateError> {
        let admission = Self::new(options.names, options.lifetimes, options.telemetry);
        let tls = TlsAcceptor::from(admission.0.identity.server_config()?);
        let keeper = Keeper::new(
            client,
            &options.namespace,
            &options.configuration,
            admission.clone(),
        );
        let mut tasks = JoinSet::new();
        tasks.spawn(serve::serve(listener, tls, admission.clone(), stop.clone()));
        tasks.spawn(async move {
            // Cancel safe: what was not kept is made anew.
            tokio::select! {
                () = keeper.run() => {}
                () = stop.cancelled() => {}
            }
        });
        Ok((admission, tasks))
    }

    /// This replica leads from now on.
    pub(crate) fn lead(&self, asker: Asker) {
        self.set(Role::Leader(asker));
        self.0.leads.send_replace(true);
    }

    /// Another replica leads from now on, at this address, or none that is known.
    pub(crate) fn set_leader(&self, leader: Option<SocketAddr>) {
        self.set(Role::Follower(leader));
        self.0.leads.send_replace(false);
    }

    fn set(&self, role: Role) {
        *self.0.role.write().unwrap_or_else(PoisonError::into_inner) = role;
    }

    fn role(&self) -> Role {
        let role = self.0.role.read().unwrap_or_else(PoisonError::into_inner);
        role.clone()
    }

    /// Answers `/validate`.
    async fn validate(&self, request: &Request, review: Bytes, call: Call) -> Response {
        let subject = match About::of(request) {
            About::Ours(subject) => subject,
            About::Nothing => return allowed(request),
            About::OtherVersion => return with_warning(request, other_version(request)),
            About::Foreign => return foreign(request),
        };
        if self.is_own(request) {
            return allowed(request);
        }
        match validate::check(&subject) {
            Ok(checked) => self.answer(&subject, checked, review, call).await,
            Err(response) => *response,
        }
    }

    /// The answer to a request that is right in itself.
    async fn answer(
        &self,
        subject: &Subject<'_>,
        checked: Checked,
        review: Bytes,
        call: Call,
    ) -> Response {
        let request = subject.request;
        let warnings = checked.warnings.clone();
        let why = match self.role() {
            Role::Leader(asker) => match asker.answer(subject, checked, &call).await {
                Ok(response) => return response,
                Err(deposed) => deposed.to_string(),
            },
            Role::Follower(Some(leader)) if !call.is_forwarded => {
                let identity = &self.0.identity;
                match forward::forward(identity, leader, review, request, &call).await {
                    Ok(response) => return response,
                    Err(error) => {
                        tracing::warn!(
                            error = &error as &dyn std::error::Error,
                            "a review could not be passed on"
                        );
                        error.to_string()
                    }
                }
            }
            Role::Follower(_) => "no controller leads just now".to_owned(),
        };
        let mut response = allowed(request);
        let mut told = warnings;
        told.push(format!(
            "{why}: no node was asked, and what it means for the fleet was not checked; that is done when a controller hears of it"
        ));
        response.warnings = Some(warnings::bounded(&told, None));
        response
    }

    /// Answers `/mutate`.
    fn mutate(&self, request: &Request) -> Response {
        match About::of(request) {
            About::Ours(subject) if !self.is_own(request) => mutate::stamped(&subject),
            About::Ours(_) | About::Nothing => allowed(request),
            About::OtherVersion => with_warning(request, other_version(request)),
            About::Foreign => foreign(request),
        }
    }

    /// True for what the controller itself writes: it was checked before.
    fn is_own(&self, request: &Request) -> bool {
        let own = self.0.own.get();
        own.is_some() && own == request.user_info.username.as_ref()
    }
}

fn with_warning(request: &Request, warning: String) -> Response {
    let mut response = allowed(request);
    response.warnings = Some(vec![warning]);
    response
}

/// While an upgrade is under way, API server and controller may know different versions.
fn other_version(request: &Request) -> String {
    let asked = &request.kind;
    format!(
        "{} of {}/{} is not a version that this controller knows: it was not checked, and nobody was asked; is an upgrade under way?",
        visible(&asked.kind),
        visible(&asked.group),
        visible(&asked.version)
    )
}

fn foreign(request: &Request) -> Response {
    let asked = &request.kind;
    let message = format!(
        "this webhook answers for the kinds of {} and is asked about {} of `{}`; correct the rules of the webhook configuration",
        placet_crds::GROUP,
        visible(&asked.kind),
        visible(&asked.group)
    );
    refused(request, 400, "BadRequest", &message)
}
