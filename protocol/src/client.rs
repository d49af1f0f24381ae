//! The node's side: join, connect, renew.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use hyper_util::rt::TokioIo;
use placet_model::NodeName;
use rcgen::{CertificateParams, KeyPair};
use rustls::ClientConfig;
use rustls::pki_types::PrivatePkcs8KeyDer;
use tokio::time::timeout;
use tonic::transport::{Channel, Uri};
use tonic::{Response, Status};

use crate::authority::{AuthorityError, generate};
use crate::dial::Dialer;
use crate::wire::join_client::JoinClient;
use crate::wire::{JoinRequest, RenewRequest};
use crate::{Error, Identity, Pin, Token, TokenRefusal, grpc, tls};

/// Signing a certificate takes the controller a millisecond, writing down that the token is used a
/// few more.
const CALL: Duration = Duration::from_secs(30);

/// Buys an identity for `node` with `token` from the controller at one of `addresses`.
///
/// # Guarantees
///
/// The secret leaves this machine only over a connection whose far end has proved, within the TLS
/// handshake, to be vouched for by the authority that the token names. The private key is made here
/// and never leaves.
///
/// # Errors
///
/// [`Error::OtherAuthority`] if the controller has another authority; [`Error::Token`] if it does
/// not take the token.
pub async fn join(addresses: &[String], token: &Token, node: &NodeName) -> Result<Identity, Error> {
    let call = JoinRequest {
        token_id: token.id.clone(),
        token_secret: token.secret.reveal().to_owned(),
        ..JoinRequest::default()
    };
    buy(addresses, call, token.pin, node).await
}

/// As [`join`], for a node that is a host of the controller's own cluster: what it shows is the
/// service account token of its pod, for the audience `placet`. `pin` is what the cluster tells its
/// pods of the authority.
pub async fn join_as_pod(
    addresses: &[String],
    service_account_token: String,
    pin: Pin,
    node: &NodeName,
) -> Result<Identity, Error> {
    let call = JoinRequest {
        service_account_token,
        ..JoinRequest::default()
    };
    buy(addresses, call, pin, node).await
}

async fn buy(
    addresses: &[String],
    call: JoinRequest,
    pin: Pin,
    node: &NodeName,
) -> Result<Identity, Error> {
    let request = Request::new()?;
    let channel = open(addresses, anonymous(pin)?).await?;
    let call = JoinRequest {
        node: node.to_string(),
        certificate_request: request.der,
        ..call
    };
    let answer = within("join", JoinClient::new(channel).join(call))
        .await
        .map_err(|error| refused(error, node))?;
    let chain = answer.into_inner().certificate_chain;
    Ok(Identity::from_answer(request.key, chain, node, pin)?)
}

/// Connects to the controller at the first of `addresses` that works, as the node `identity`.
///
/// The channel connects again by itself, with the same identity, when its connection is lost; every
/// connection ends with the certificate. After [`renew`], open a new channel with the new identity
/// before the old one ends.
///
/// # Errors
///
/// [`Error::CertificateRefused`] if the controller does not take the certificate;
/// [`Error::OtherAuthority`] if it has another authority than the one that made it.
pub async fn connect(addresses: &[String], identity: &Identity) -> Result<Channel, Error> {
    open(addresses, identity.tls()).await
}

/// A new certificate, for a new key and the same name, over a `channel` of the certificate in use.
pub async fn renew(channel: Channel, identity: &Identity) -> Result<Identity, Error> {
    let request = Request::new()?;
    let call = RenewRequest {
        certificate_request: request.der,
    };
    let answer = within(
        "renew the certificate",
        grpc::nodes_client(channel).renew(call),
    )
    .await?;
    let chain = answer.into_inner().certificate_chain;
    Ok(Identity::from_answer(
        request.key,
        chain,
        identity.node(),
        identity.authority(),
    )?)
}

/// A new key, and the request for a certificate for it.
struct Request {
    key: PrivatePkcs8KeyDer<'static>,
    der: Vec<u8>,
}

impl Request {
    fn new() -> Result<Self, AuthorityError> {
        let key: KeyPair = generate()?;
        // It names nobody: the controller knows who asks.
        let mut params = CertificateParams::default();
        params.distinguished_name = rcgen::DistinguishedName::new();
        let request = params
            .serialize_request(&key)
            .map_err(AuthorityError::Make)?;
        Ok(Self {
            key: key.serialize_der().into(),
            der: request.der().to_vec(),
        })
    }
}

/// The configuration of a node that has no certificate yet.
fn anonymous(pin: Pin) -> Result<Arc<ClientConfig>, Error> {
    let mut config = tls::client(pin).map_err(Error::Tls)?.with_no_client_auth();
    config.alpn_protocols = vec![tls::ALPN.to_vec()];
    Ok(Arc::new(config))
}

async fn open(addresses: &[String], config: Arc<ClientConfig>) -> Result<Channel, Error> {
    let dialer = Arc::new(Dialer::new(addresses, config)?);
    // The first connection is made here, so that its error can be told precisely.
    let first = Arc::new(Mutex::new(Some(dialer.dial().await?)));
    let connector = tower::service_fn(move |_: Uri| {
        let ready = first.lock().unwrap_or_else(PoisonError::into_inner).take();
        let dialer = Arc::clone(&dialer);
        async move {
            let stream = match ready {
                Some(stream) => stream,
                None => dialer.dial().await?,
            };
            Ok::<_, Error>(TokioIo::new(stream))
        }
    });
    grpc::endpoint()
        .connect_with_connector(connector)
        .await
        .map_err(Error::Channel)
}

async fn within<T>(
    what: &'static str,
    call: impl Future<Output = Result<Response<T>, Status>>,
) -> Result<Response<T>, Error> {
    let seconds = CALL.as_secs();
    timeout(CALL, call)
        .await
        .map_err(|_| Error::Silent { what, seconds })?
        .map_err(|status| Error::Call { what, status })
}

fn refused(error: Error, node: &NodeName) -> Error {
    let refusal = match &error {
        Error::Call { status, .. } => TokenRefusal::from_status(status),
        _ => None,
    };
    match refusal {
        Some(refusal) => Error::Token {
            node: node.clone(),
            refusal,
        },
        None => error,
    }
}
