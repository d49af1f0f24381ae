//! Where sources are found, and how they are made looked at.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use jiff::Timestamp;
use kube::api::{Patch, PatchParams};
use kube::{Api, Client};
use placet_crds::{GitSource, Receiver};
use serde_json::json;
use tokio::sync::watch;

use crate::observe::Pokes;
use crate::secrets::{SecretError, Secrets};
use crate::shared::{REQUESTED_AT, Wanted};

/// A token is read anew after this long: it may be another by now.
const TOKEN_AGE: Duration = Duration::from_secs(10);

/// Tokens that are kept; there are few sources.
const TOKENS_MOST: usize = 1_000;

/// Where sources are found.
#[derive(Clone)]
pub(crate) struct Sources {
    place: Place,
    secrets: Secrets,
    tokens: Arc<Mutex<Tokens>>,
}

/// Tokens by the name of their secret, and when they were read.
type Tokens = BTreeMap<String, (Instant, Vec<u8>)>;

#[derive(Clone)]
enum Place {
    /// In this process, which looks at them itself.
    Here {
        wanted: watch::Receiver<Wanted>,
        pokes: Pokes,
    },
    /// In the API server, through which whoever leads is asked.
    Api(Box<Api<GitSource>>),
}

/// Why a source could not be found or poked.
#[derive(Debug, thiserror::Error)]
pub(super) enum Error {
    #[error("the API server does not answer: {0}")]
    Api(#[from] kube::Error),
    #[error(transparent)]
    Secret(#[from] SecretError),
    #[error("secret `{0}` has no `token`")]
    NoToken(String),
    #[error("it is not looked at here any more")]
    Gone,
}

impl Sources {
    /// Those that this process looks at.
    pub(crate) fn here(wanted: watch::Receiver<Wanted>, pokes: Pokes, secrets: Secrets) -> Self {
        Self::new(Place::Here { wanted, pokes }, secrets)
    }

    /// Those in the API server, whichever replica leads: a call is handed on by the annotation with
    /// which people ask for a look.
    pub(crate) fn api(client: Client, secrets: Secrets) -> Self {
        Self::new(Place::Api(Box::new(Api::all(client))), secrets)
    }

    fn new(place: Place, secrets: Secrets) -> Self {
        Self {
            place,
            secrets,
            tokens: Arc::default(),
        }
    }

    /// How calls for `source` are received, and the token; none where no calls are.
    pub(super) async fn find(&self, source: &str) -> Result<Option<(Receiver, Vec<u8>)>, Error> {
        // Longer names are nobody's, and the API server need not be asked.
        let is_name = |byte: u8| byte.is_ascii_alphanumeric() || b"-.".contains(&byte);
        if source.len() > 253 || !source.bytes().all(is_name) {
            return Ok(None);
        }
        let receiver = match &self.place {
            Place::Here { wanted, .. } => {
                let wanted = wanted.borrow();
                let source = wanted.sources.get(source);
                source.and_then(|it| it.source.spec.receiver.clone())
            }
            Place::Api(api) => {
                let found = api.get_opt(source).await?;
                let found = found.filter(|it| !it.spec.suspend);
                found.and_then(|it| it.spec.receiver)
            }
        };
        let Some(receiver) = receiver else {
            return Ok(None);
        };
        let token = self.token(&receiver.secret_ref.name).await?;
        Ok(Some((receiver, token)))
    }

    async fn token(&self, secret: &str) -> Result<Vec<u8>, Error> {
        let known = || self.tokens.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((read, token)) = known().get(secret)
            && read.elapsed() < TOKEN_AGE
        {
            return Ok(token.clone());
        }
        let mut values = self.secrets.read(secret).await?;
        let token = values.remove("token");
        let token = token.ok_or_else(|| Error::NoToken(secret.to_owned()))?;
        let token = token.trim_ascii_end().to_vec();
        let mut known = known();
        if known.len() >= TOKENS_MOST {
            known.clear();
        }
        known.insert(secret.to_owned(), (Instant::now(), token.clone()));
        Ok(token)
    }

    /// Has the repository looked at.
    pub(super) async fn poke(&self, source: &str) -> Result<(), Error> {
        match &self.place {
            Place::Here { pokes, .. } => pokes.poke(source).then_some(()).ok_or(Error::Gone),
            Place::Api(api) => {
                let now = Timestamp::now().to_string();
                let patch = json!({"metadata": {"annotations": {REQUESTED_AT: now}}});
                let (how, patch) = (PatchParams::default(), Patch::Merge(&patch));
                api.patch_metadata(source, &how, &patch).await?;
                Ok(())
            }
        }
    }
}

impl fmt::Debug for Sources {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self.place {
            Place::Here { .. } => "Sources::Here",
            Place::Api(_) => "Sources::Api",
        })
    }
}
