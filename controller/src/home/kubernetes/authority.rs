//! The authority of all replicas: one Secret, and a `ConfigMap` with what is no secret of it.

use std::collections::BTreeMap;

use k8s_openapi::ByteString;
use k8s_openapi::api::core::v1::{ConfigMap, Secret};
use kube::api::{ObjectMeta, Patch, PatchParams, PostParams};
use kube::{Api, Client, Error};
use placet_protocol::{Authority, Pin};

use super::MANAGER;
use crate::home::HomeError;

/// The name of the Secret with the authority's key, and of the `ConfigMap` with its certificate
/// (`ca.crt`) and the addresses of the controller (`addresses`, one a line).
pub const AUTHORITY: &str = "placet-authority";

const KEY: &str = "authority.pem";

const CERTIFICATE: &str = "ca.crt";
const ADDRESSES: &str = "addresses";

/// The authority that the controllers of `namespace` share, made where there is none. `names` are
/// those by which nodes reach the controller.
///
/// # Guarantees
///
/// Of several that create at once one wins, and all use its key.
///
/// # Errors
///
/// The API server refuses, or does not answer; the Secret holds something else.
pub async fn authority(
    client: &Client,
    namespace: &str,
    names: &[String],
) -> Result<Authority, HomeError> {
    let secrets = Api::<Secret>::namespaced(client.clone(), namespace);
    let failed = |source| HomeError::Api {
        what: "read the authority",
        source: Box::new(source),
    };
    let kept = match secrets.get_opt(AUTHORITY).await.map_err(failed)? {
        Some(kept) => kept,
        None => create(&secrets).await?,
    };
    let damaged = |why: String| HomeError::Damaged {
        what: "Secret",
        name: AUTHORITY.to_owned(),
        why,
    };
    let data = kept.data.as_ref().and_then(|data| data.get(KEY));
    let ByteString(bytes) = data.ok_or_else(|| damaged(format!("it has no `{KEY}`")))?;
    let text = std::str::from_utf8(bytes).map_err(|error| damaged(error.to_string()))?;
    Authority::from_pem(text, names).map_err(|error| damaged(error.to_string()))
}

async fn create(secrets: &Api<Secret>) -> Result<Secret, HomeError> {
    let text = Authority::generate().map_err(|error| HomeError::Damaged {
        what: "Secret",
        name: AUTHORITY.to_owned(),
        why: error.to_string(),
    })?;
    let secret = Secret {
        metadata: ObjectMeta {
            name: Some(AUTHORITY.to_owned()),
            ..ObjectMeta::default()
        },
        string_data: Some(BTreeMap::from([(KEY.to_owned(), text)])),
        ..Secret::default()
    };
    let failed = |source| HomeError::Api {
        what: "keep the authority",
        source: Box::new(source),
    };
    match secrets.create(&PostParams::default(), &secret).await {
        Ok(created) => Ok(created),
        // Another replica was first.
        Err(Error::Api(status)) if status.code == 409 => {
            secrets.get(AUTHORITY).await.map_err(failed)
        }
        Err(error) => Err(failed(error)),
    }
}

/// Publishes what people need to let a node join: the authority's certificate and the addresses.
pub async fn publish(
    client: &Client,
    namespace: &str,
    authority: &Authority,
    addresses: &[String],
) -> Result<(), HomeError> {
    let maps = Api::<ConfigMap>::namespaced(client.clone(), namespace);
    let map = ConfigMap {
        metadata: ObjectMeta {
            name: Some(AUTHORITY.to_owned()),
            ..ObjectMeta::default()
        },
        data: Some(BTreeMap::from([
            (CERTIFICATE.to_owned(), authority.certificate()),
            (ADDRESSES.to_owned(), addresses.join("\n")),
        ])),
        ..ConfigMap::default()
    };
    let by = PatchParams::apply(MANAGER).force();
    let patched = maps.patch(AUTHORITY, &by, &Patch::Apply(&map)).await;
    patched.map(drop).map_err(|source| HomeError::Api {
        what: "publish the authority's certificate",
        source: Box::new(source),
    })
}

/// What was published: by what nodes know the controllers of `namespace`, and where they reach
/// them.
pub async fn published(client: &Client, namespace: &str) -> Result<(Pin, Vec<String>), HomeError> {
    let maps = Api::<ConfigMap>::namespaced(client.clone(), namespace);
    let found = maps.get_opt(AUTHORITY).await;
    let found = found.map_err(|source| HomeError::Api {
        what: "read the authority's certificate",
        source: Box::new(source),
    })?;
    let Some(map) = found else {
        return Err(HomeError::NoAuthority {
            namespace: namespace.to_owned(),
        });
    };
    let data = map.data.unwrap_or_default();
    let certificate = data.get(CERTIFICATE);
    let pin = certificate.and_then(|pem| Pin::of_certificate(pem));
    let pin = pin.ok_or_else(|| HomeError::Damaged {
        what: "ConfigMap",
        name: AUTHORITY.to_owned(),
        why: format!("it has no certificate in `{CERTIFICATE}`"),
    })?;
    let addresses = data.get(ADDRESSES).map_or("", String::as_str);
    Ok((pin, addresses.lines().map(str::to_owned).collect()))
}
