//! Join tokens: Secrets in the controller's namespace, deleted by whoever takes them first, unless
//! they work whenever their node starts.

use std::collections::BTreeMap;

use jiff::Timestamp;
use k8s_openapi::ByteString;
use k8s_openapi::api::core::v1::Secret;
use kube::api::{DeleteParams, ObjectMeta, PostParams, Preconditions};
use kube::{Api, Client};
use placet_crds::find_kind;
use placet_model::{Digest, NodeName};
use placet_protocol::{Token, TokenRefusal, same_digest, secret_hash};
use serde_json::Value;

use super::client::{Answer, classify};
use super::{Kubernetes, api, published};
use crate::home::{HomeError, NewToken, TakeTokenError, TokenUsage};

/// What the names of the Secrets begin with that are join tokens.
pub(crate) const TOKEN_PREFIX: &str = "placet-join-";

/// Marks the Secrets that are join tokens.
const TOKEN_LABEL: &str = "placet.dev/join-token";

/// What a Secret says of a token.
struct Kept {
    secret_hash: Digest,
    node: String,
    expires: Timestamp,
    usage: TokenUsage,
}

impl Kubernetes {
    pub(in crate::home) fn create_token(&self, token: &NewToken) -> Result<(), HomeError> {
        self.wait(async {
            if !token.usage.may_replace() && self.has_joined(&token.node).await? {
                return Err(taken(&token.node));
            }
            let secret = secret_of(token);
            let params = PostParams::default();
            self.request("keep a token", || self.0.secrets.create(&params, &secret))
                .await
                .map(drop)
        })
    }

    pub(in crate::home) fn take_token(
        &self,
        id: &str,
        secret: &str,
        node: &NodeName,
        now: Timestamp,
    ) -> Result<(), TakeTokenError> {
        self.wait(self.take(id, secret, node, now))
    }

    async fn take(
        &self,
        id: &str,
        secret: &str,
        node: &NodeName,
        now: Timestamp,
    ) -> Result<(), TakeTokenError> {
        if !is_id(id) {
            return Err(TokenRefusal::Wrong.into());
        }
        let name = name_of(id);
        let found = self
            .request("look up a token", || self.0.secrets.get_opt(&name))
            .await?;
        let found = found.ok_or(TokenRefusal::Wrong)?;
        let kept = kept(&found).ok_or(TokenRefusal::Wrong)?;
        if !same_digest(&kept.secret_hash, &secret_hash(secret)) {
            return Err(TokenRefusal::Wrong.into());
        }
        if kept.expires <= now {
            return Err(TokenRefusal::Expired.into());
        }
        if kept.node != node.as_str() {
            return Err(TokenRefusal::OtherNode.into());
        }
        if !kept.usage.may_replace() && self.has_joined(node).await? {
            return Err(TokenRefusal::NameTaken.into());
        }
        if kept.usage == TokenUsage::EveryBoot {
            return Ok(());
        }
        let exactly = DeleteParams {
            preconditions: Some(Preconditions {
                uid: found.metadata.uid.clone(),
                resource_version: found.metadata.resource_version.clone(),
            }),
            ..DeleteParams::default()
        };
        let deleted = self
            .request("use a token", || self.0.secrets.delete(&name, &exactly))
            .await;
        match deleted {
            Ok(_) => Ok(()),
            Err(HomeError::Api { source, .. })
                if matches!(classify(&source), Answer::NotFound | Answer::Conflict) =>
            {
                Err(TokenRefusal::Used.into())
            }
            Err(error) => Err(error.into()),
        }
    }

    async fn has_joined(&self, node: &NodeName) -> Result<bool, HomeError> {
        let found = self.read("FleetNode", node.as_str()).await?;
        Ok(found.is_some_and(|node| is_member(&node.status)))
    }
}

/// Makes a token by which `node` joins the controllers of `namespace`, and keeps it where they look
/// for it. `seconds` and `usage` are as in [`NewToken::make`].
///
/// # Errors
///
/// [`HomeError::NameTaken`] where a node of that name has joined and is not to be replaced;
/// [`HomeError::NoAuthority`] where no controller has led yet.
pub async fn make_token(
    client: &Client,
    namespace: &str,
    node: &NodeName,
    seconds: u32,
    usage: TokenUsage,
) -> Result<(Token, NewToken, Vec<String>), HomeError> {
    let failed = |what| {
        move |source| HomeError::Api {
            what,
            source: Box::new(source),
        }
    };
    let (pin, addresses) = published(client, namespace).await?;
    if !usage.may_replace()
        && let Some(kind) = find_kind("FleetNode")
    {
        let found = api(client, kind).get_opt(node.as_str()).await;
        let found = found.map_err(failed("look up the node"))?;
        if found.is_some_and(|found| is_member(&found.data["status"])) {
            return Err(taken(node));
        }
    }
    let (token, kept) = NewToken::make(pin, node.clone(), seconds, usage);
    Api::<Secret>::namespaced(client.clone(), namespace)
        .create(&PostParams::default(), &secret_of(&kept))
        .await
        .map_err(failed("keep a token"))?;
    Ok((token, kept, addresses))
}

/// True if a node's status says that it joined.
fn is_member(status: &Value) -> bool {
    let presence = &status["presence"];
    !presence.is_null() && presence != "NeverSeen"
}

fn taken(node: &NodeName) -> HomeError {
    HomeError::NameTaken { node: node.clone() }
}

/// Ids are made by this program: letters and digits, which a Secret's name may hold.
fn is_id(id: &str) -> bool {
    let is_fit = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
    (1..=64).contains(&id.len()) && id.bytes().all(is_fit)
}

fn name_of(id: &str) -> String {
    format!("{TOKEN_PREFIX}{id}")
}

fn secret_of(token: &NewToken) -> Secret {
    let mut data = BTreeMap::from([
        ("node".to_owned(), token.node.to_string()),
        ("secret".to_owned(), token.secret_hash.hex()),
        ("expires".to_owned(), token.expires.to_string()),
    ]);
    let usage = match token.usage {
        TokenUsage::Once { replace: false } => None,
        TokenUsage::Once { replace: true } => Some("replace"),
        TokenUsage::EveryBoot => Some("everyBoot"),
    };
    data.extend(usage.map(|usage| (usage.to_owned(), "true".to_owned())));
    Secret {
        metadata: ObjectMeta {
            name: Some(name_of(&token.id)),
            labels: Some(BTreeMap::from([(
                TOKEN_LABEL.to_owned(),
                "true".to_owned(),
            )])),
            ..ObjectMeta::default()
        },
        string_data: Some(data),
        type_: Some("placet.dev/join-token".to_owned()),
        ..Secret::default()
    }
}

/// None for a Secret that is not a token, whatever its name says.
fn kept(secret: &Secret) -> Option<Kept> {
    let labels = secret.metadata.labels.as_ref()?;
    labels.get(TOKEN_LABEL).filter(|value| *value == "true")?;
    let data = secret.data.as_ref()?;
    let text = |key: &str| {
        let ByteString(bytes) = data.get(key)?;
        std::str::from_utf8(bytes).ok().map(str::trim)
    };
    let says = |key: &str| text(key) == Some("true");
    Some(Kept {
        secret_hash: format!("sha256:{}", text("secret")?).parse().ok()?,
        node: text("node")?.to_owned(),
        expires: text("expires")?.parse().ok()?,
        usage: if says("everyBoot") {
            TokenUsage::EveryBoot
        } else {
            let replace = says("replace");
            TokenUsage::Once { replace }
        },
    })
}
