//! What a node proves itself by: a key that never leaves it and the certificate for it.

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use jiff::Timestamp;
use placet_model::NodeName;
use rustls::ClientConfig;
use rustls::pki_types::{CertificateDer, PrivatePkcs8KeyDer};

use crate::certificate::{facts, signed_by};
use crate::files::{FileError, private_dir, read_private, replace_private};
use crate::{Pin, pemfile, tls};

/// What may go wrong with an identity.
#[derive(Debug, thiserror::Error)]
pub enum IdentityError {
    /// Its file could not be read or written.
    #[error(transparent)]
    File(#[from] FileError),
    /// Its file holds something else.
    #[error(
        "`{}` does not hold the identity of a node: {why}; remove it and join again with a new token (`placet node token`)",
        path.display()
    )]
    Damaged {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        why: String,
    },
    /// The certificate that the controller made cannot be used.
    #[error("the controller's answer does not hold a certificate for this node: {0}")]
    Answer(String),
}

/// A node's name, with key and certificate that prove it to the controller.
#[derive(Clone)]
pub struct Identity {
    node: NodeName,
    key: Arc<PrivatePkcs8KeyDer<'static>>,
    /// Leaf first, authority last.
    chain: Vec<CertificateDer<'static>>,
    authority: Pin,
    not_before: Timestamp,
    not_after: Timestamp,
    tls: Arc<ClientConfig>,
}

const FILE: &str = "identity.pem";

impl Identity {
    /// The identity kept in the folder `dir`, if there is one.
    pub fn load(dir: &Path) -> Result<Option<Self>, IdentityError> {
        let path = dir.join(FILE);
        let Some(text) = read_private(&path)? else {
            return Ok(None);
        };
        pemfile::read(&text)
            .and_then(|(key, chain)| Self::new(key, chain))
            .map(Some)
            .map_err(|why| IdentityError::Damaged { path, why })
    }

    /// Keeps the identity in the folder `dir`, in place of an older one, in one step.
    pub fn save(&self, dir: &Path) -> Result<(), IdentityError> {
        private_dir(dir)?;
        let text = pemfile::write(self.key.secret_pkcs8_der(), &self.chain);
        Ok(replace_private(&dir.join(FILE), &text)?)
    }

    /// The node that the certificate names.
    pub fn node(&self) -> &NodeName {
        &self.node
    }

    /// From when on the certificate is valid; a little before it was made.
    pub fn not_before(&self) -> Timestamp {
        self.not_before
    }

    /// When the certificate ends, and every connection made with it.
    pub fn not_after(&self) -> Timestamp {
        self.not_after
    }

    /// When to renew: after two thirds of the certificate's life, so that there is time to try
    /// again.
    pub fn renew_at(&self) -> Timestamp {
        self.not_before + self.not_before.duration_until(self.not_after) * 2 / 3
    }

    /// The authority that made the certificate, and that the controller must have.
    pub fn authority(&self) -> Pin {
        self.authority
    }

    pub(crate) fn tls(&self) -> Arc<ClientConfig> {
        Arc::clone(&self.tls)
    }

    /// What the controller answered to a request with `key` for the name `node`.
    pub(crate) fn from_answer(
        key: PrivatePkcs8KeyDer<'static>,
        chain: Vec<Vec<u8>>,
        node: &NodeName,
        authority: Pin,
    ) -> Result<Self, IdentityError> {
        let chain = chain.into_iter().map(CertificateDer::from).collect();
        let identity = Self::new(key, chain).map_err(IdentityError::Answer)?;
        if identity.node != *node {
            let why = format!("it names the node `{}`, not `{node}`", identity.node);
            return Err(IdentityError::Answer(why));
        }
        if identity.authority != authority {
            let why = format!("it is from the authority {}", identity.authority);
            return Err(IdentityError::Answer(why));
        }
        Ok(identity)
    }

    fn new(
        key: PrivatePkcs8KeyDer<'static>,
        chain: Vec<CertificateDer<'static>>,
    ) -> Result<Self, String> {
        let [leaf, authority] = chain.as_slice() else {
            return Err(format!("it has {} certificates, not two", chain.len()));
        };
        if !signed_by(leaf, authority) {
            return Err("its second certificate did not sign its first".to_owned());
        }
        let authority = facts(authority).ok_or("its second certificate cannot be read")?;
        let leaf = facts(leaf).ok_or("its first certificate cannot be read")?;
        // This also refuses a certificate for another key.
        let mut config = tls::client(authority.pin)
            .and_then(|builder| {
                builder.with_client_auth_cert(chain.clone(), key.clone_key().into())
            })
            .map_err(|error| error.to_string())?;
        config.alpn_protocols = vec![tls::ALPN.to_vec()];
        config.resumption = rustls::client::Resumption::disabled();
        Ok(Self {
            node: leaf.node.ok_or("its certificate names no node")?,
            key: Arc::new(key),
            authority: authority.pin,
            not_before: leaf.not_before,
            not_after: leaf.not_after,
            chain,
            tls: Arc::new(config),
        })
    }
}

impl fmt::Debug for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Identity")
            .field("node", &self.node)
            .field("authority", &self.authority)
            .field("not_before", &self.not_before)
            .field("not_after", &self.not_after)
            .finish_non_exhaustive()
    }
}
