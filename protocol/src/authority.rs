//! The controller's own certificate authority: it vouches for the controller and for every node.

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use jiff::{SignedDuration, Timestamp};
use placet_model::{NodeName, visible};
use rcgen::{
    BasicConstraints, CertificateParams, CertificateSigningRequestParams, DistinguishedName,
    DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair, KeyUsagePurpose,
    PKCS_ECDSA_P256_SHA256, PublicKeyData, SanType, SerialNumber,
};
use rustls::pki_types::{CertificateDer, PrivatePkcs8KeyDer, ServerName};
use rustls::server::{
    ClientHello, NoServerSessionStorage, ResolvesServerCert, WebPkiClientVerifier,
};
use rustls::sign::CertifiedKey;
use rustls::{RootCertStore, ServerConfig};

use crate::certificate::{NODE_URI, facts};
use crate::files::{FileError, create_private, private_dir, read_private};
use crate::pemfile;
use crate::{Pin, tls};

/// What may go wrong with the authority.
#[derive(Debug, thiserror::Error)]
pub enum AuthorityError {
    /// Its file could not be read or written.
    #[error(transparent)]
    File(#[from] FileError),
    /// Its file holds something else.
    #[error(
        "`{}` does not hold an authority's key and certificate: {why}; put it back from a backup, or remove it and let every node join again",
        path.display()
    )]
    Damaged {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        why: String,
    },
    /// A text is something else.
    #[error("this is not an authority's key and certificate: {0}")]
    Text(String),
    /// The controller was given no name.
    #[error("the controller has no host name or address to put into its certificate")]
    NoNames,
    /// The controller was given something else than a name.
    #[error("`{0}` is neither a host name nor an IP address")]
    Name(String),
    /// A node's request for a certificate is not acceptable.
    #[error("the certificate request is refused: {0}")]
    Request(String),
    /// The time asked for cannot be written into a certificate.
    #[error("a certificate cannot be valid for {0:#}; ask for a second at least")]
    Lifetime(SignedDuration),
    /// A key could not be made, or used.
    #[error("failed to make a certificate")]
    Make(#[source] rcgen::Error),
    /// TLS could not be set up with them.
    #[error("failed to set up TLS")]
    Tls(#[source] rustls::Error),
}

impl From<AuthorityError> for tonic::Status {
    fn from(error: AuthorityError) -> Self {
        match error {
            AuthorityError::Request(_) => Self::invalid_argument(error.to_string()),
            _ => Self::internal(error.to_string()),
        }
    }
}

/// The key and certificate that vouch for a controller and its nodes. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Authority(Arc<Inner>);

struct Inner {
    certificate: CertificateDer<'static>,
    issuer: Issuer<'static, KeyPair>,
    pin: Pin,
    names: Vec<String>,
    server: Mutex<Option<Server>>,
}

/// The controller's certificate that is in use.
struct Server {
    key: Arc<CertifiedKey>,
    renew: Timestamp,
}

const FILE: &str = "authority.pem";

/// A certificate request for P-256 takes 300 bytes; a node cannot make the parser work for more.
const REQUEST_MOST: usize = 8 * 1024;

const DAY: SignedDuration = SignedDuration::from_hours(24);

/// The authority's certificate is never renewed: nodes know the key by its pin.
const AUTHORITY_LIFETIME: SignedDuration = SignedDuration::from_hours(30 * 365 * 24);

/// The controller's own certificate costs nothing to renew, and an old one proves little.
const SERVER_LIFETIME: SignedDuration = SignedDuration::from_hours(30 * 24);

/// How far a node's clock may be behind the controller's when it gets its first certificate.
const NODE_BACKDATING: SignedDuration = SignedDuration::from_secs(60);

impl Authority {
    /// The authority kept in the folder `dir`, made there if there is none; `names` are the host
    /// names and IP addresses by which nodes reach the controller.
    ///
    /// # Guarantees
    ///
    /// Of several that create at once one wins and all use its key. The key is on disk before this
    /// returns, and no other user can read it.
    pub fn open_or_create(dir: &Path, names: &[String]) -> Result<Self, AuthorityError> {
        check(names)?;
        private_dir(dir)?;
        let path = dir.join(FILE);
        let text = match read_private(&path)? {
            Some(text) => text,
            None => create(&path)?,
        };
        Self::from_pem(&text, names).map_err(|error| match error {
            AuthorityError::Text(why) => AuthorityError::Damaged { path, why },
            error => error,
        })
    }

    /// An authority as PEM, key and certificate, with a key that nobody else has.
    pub fn generate() -> Result<String, AuthorityError> {
        let key = generate()?;
        let pin = Pin::of(&key.subject_public_key_info());
        let mut params = CertificateParams::default();
        set_validity(&mut params, &Timestamp::now(), DAY, AUTHORITY_LIFETIME)?;
        params.distinguished_name = common_name(&format!("Placet authority {pin:.16}"));
        params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        let certificate = params.self_signed(&key).map_err(AuthorityError::Make)?;
        Ok(pemfile::write(
            &key.serialize_der(),
            &[certificate.der().clone()],
        ))
    }

    /// The authority that [`Authority::generate`] made and somebody kept; `names` are the host
    /// names and IP addresses by which nodes reach the controller.
    pub fn from_pem(text: &str, names: &[String]) -> Result<Self, AuthorityError> {
        check(names)?;
        let (certificate, issuer) = parse(text).map_err(AuthorityError::Text)?;
        Ok(Self(Arc::new(Inner {
            pin: Pin::of(&issuer.key().subject_public_key_info()),
            certificate,
            issuer,
            names: names.to_vec(),
            server: Mutex::new(None),
        })))
    }

    /// Its certificate as PEM, which is no secret.
    pub fn certificate(&self) -> String {
        pem::encode(&pem::Pem::new("CERTIFICATE", self.0.certificate.to_vec()))
    }

    /// How long its certificate is valid.
    pub fn not_after(&self) -> Option<Timestamp> {
        facts(&self.0.certificate).map(|facts| facts.not_after)
    }

    /// What nodes know this authority by.
    pub fn pin(&self) -> Pin {
        self.0.pin
    }

    /// A client certificate for `node`, valid for `lifetime` from `now`; the chain as DER, leaf
    /// first, the authority last.
    ///
    /// # Guarantees
    ///
    /// Of the request `csr_der` (PKCS#10, DER) only the public key is used, after its owner proved
    /// to hold the private one; the name and all else are chosen here.
    ///
    /// # Errors
    ///
    /// [`AuthorityError::Request`] if the request is not one, its signature is wrong, or its key is
    /// not of ECDSA P-256.
    pub fn sign_node(
        &self,
        csr_der: &[u8],
        node: &NodeName,
        lifetime: SignedDuration,
        now: Timestamp,
    ) -> Result<Vec<Vec<u8>>, AuthorityError> {
        let key = requested_key(csr_der)?;
        // Of a certificate that lives for seconds, a minute before would be most of its life.
        let backdating = NODE_BACKDATING.min(lifetime / 10);
        let mut params = leaf(&now, backdating, lifetime)?;
        let uri = format!("{NODE_URI}{node}");
        params.distinguished_name = common_name(node.as_str());
        params.subject_alt_names =
            vec![SanType::URI(uri.try_into().map_err(AuthorityError::Make)?)];
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
        let signed = params
            .signed_by(&key, &self.0.issuer)
            .map_err(AuthorityError::Make)?;
        Ok(vec![signed.der().to_vec(), self.0.certificate.to_vec()])
    }

    /// How the controller speaks TLS to nodes: it shows a certificate that it renews by itself;
    /// clients may come without one, and one that they show is verified.
    pub fn server_config(&self) -> Result<Arc<ServerConfig>, AuthorityError> {
        // Made now, so that what cannot work fails here and not at the first client.
        self.0.server_certificate(Timestamp::now())?;
        let mut roots = RootCertStore::empty();
        roots
            .add(self.0.certificate.clone())
            .map_err(AuthorityError::Tls)?;
        let provider = tls::provider();
        let verifier =
            WebPkiClientVerifier::builder_with_provider(Arc::new(roots), Arc::clone(&provider))
                .allow_unauthenticated()
                .build()
                .map_err(|error| AuthorityError::Tls(rustls::Error::General(error.to_string())))?;
        let mut config = ServerConfig::builder_with_provider(provider)
            .with_protocol_versions(tls::VERSIONS)
            .map_err(AuthorityError::Tls)?
            .with_client_cert_verifier(verifier)
            .with_cert_resolver(Arc::<Inner>::clone(&self.0));
        config.alpn_protocols = vec![tls::ALPN.to_vec()];
        // Whoever resumes a session is not verified again; a node connects seldom enough to be.
        config.session_storage = Arc::new(NoServerSessionStorage {});
        config.send_tls13_tickets = 0;
        Ok(Arc::new(config))
    }
}

impl Inner {
    /// The certificate that the controller shows at `now`: the one in use until two thirds of its
    /// life are over, then a new one with a new key.
    fn server_certificate(&self, now: Timestamp) -> Result<Arc<CertifiedKey>, AuthorityError> {
        let mut server = self.server.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(server) = &*server
            && now < server.renew
        {
            return Ok(Arc::clone(&server.key));
        }
        let key = self.make_server_certificate(now)?;
        *server = Some(Server {
            key: Arc::clone(&key),
            renew: now + SERVER_LIFETIME * 2 / 3,
        });
        Ok(key)
    }

    fn make_server_certificate(&self, now: Timestamp) -> Result<Arc<CertifiedKey>, AuthorityError> {
        let key = generate()?;
        // A day before, since the clock of a node that has just started may be far behind.
        let mut params = leaf(&now, DAY, SERVER_LIFETIME)?;
        params.distinguished_name = common_name("Placet controller");
        params.subject_alt_names = CertificateParams::new(self.names.clone())
            .map_err(AuthorityError::Make)?
            .subject_alt_names;
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        let signed = params
            .signed_by(&key, &self.issuer)
            .map_err(AuthorityError::Make)?;
        // Nodes find the authority in the chain by its pin, so it is part of the chain.
        let chain = vec![signed.der().clone(), self.certificate.clone()];
        let key = PrivatePkcs8KeyDer::from(key.serialize_der()).into();
        CertifiedKey::from_der(chain, key, &tls::provider())
            .map(Arc::new)
            .map_err(AuthorityError::Tls)
    }
}

impl ResolvesServerCert for Inner {
    fn resolve(&self, _: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        self.server_certificate(Timestamp::now())
            .inspect_err(|error| tracing::error!(%error, "no certificate to show to clients"))
            .ok()
    }
}

impl fmt::Debug for Inner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Authority")
            .field("pin", &self.pin)
            .field("names", &self.names)
            .finish_non_exhaustive()
    }
}

fn check(names: &[String]) -> Result<(), AuthorityError> {
    if names.is_empty() {
        return Err(AuthorityError::NoNames);
    }
    match names
        .iter()
        .find(|name| ServerName::try_from(name.as_str()).is_err())
    {
        Some(name) => Err(AuthorityError::Name(visible(name).to_string())),
        None => Ok(()),
    }
}

/// Makes an authority at `path`; the text of the file that is there afterwards.
fn create(path: &Path) -> Result<String, AuthorityError> {
    let text = Authority::generate()?;
    if create_private(path, &text)? {
        return Ok(text);
    }
    read_private(path)?.ok_or_else(|| AuthorityError::Damaged {
        path: path.to_owned(),
        why: "it is gone".to_owned(),
    })
}

fn parse(text: &str) -> Result<(CertificateDer<'static>, Issuer<'static, KeyPair>), String> {
    let (key, chain) = pemfile::read(text)?;
    let [certificate] =
        <[_; 1]>::try_from(chain).map_err(|_| "it needs exactly one certificate")?;
    let key = KeyPair::from_pkcs8_der_and_sign_algo(&key, &PKCS_ECDSA_P256_SHA256)
        .map_err(|_| "its key is not one of ECDSA P-256")?;
    let pin = Pin::of(&key.subject_public_key_info());
    if facts(&certificate).is_none_or(|facts| facts.pin != pin) {
        return Err("its certificate is not that of its key".to_owned());
    }
    let issuer = Issuer::from_ca_cert_der(&certificate, key).map_err(|error| error.to_string())?;
    Ok((certificate, issuer))
}

pub(crate) fn generate() -> Result<KeyPair, AuthorityError> {
    KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256).map_err(AuthorityError::Make)
}

/// The public key of a certificate request whose signature shows that the private one is held.
fn requested_key(csr_der: &[u8]) -> Result<rcgen::PublicKey, AuthorityError> {
    let refused = |why: &str| AuthorityError::Request(why.to_owned());
    if csr_der.len() > REQUEST_MOST {
        return Err(refused("it is longer than 8 kB"));
    }
    let request = CertificateSigningRequestParams::from_der(&csr_der.into())
        .map_err(|error| AuthorityError::Request(error.to_string()))?;
    let key = request.public_key;
    // The curve is not told by the algorithm: an uncompressed point of P-256 has 65 bytes.
    let is_p256 = key.algorithm() == &PKCS_ECDSA_P256_SHA256 && key.der_bytes().len() == 65;
    if is_p256 {
        Ok(key)
    } else {
        Err(refused("its key is not one of ECDSA P-256"))
    }
}

/// What the certificates of nodes and of the controller have in common.
fn leaf(
    now: &Timestamp,
    backdating: SignedDuration,
    lifetime: SignedDuration,
) -> Result<CertificateParams, AuthorityError> {
    let mut params = CertificateParams::default();
    set_validity(&mut params, now, backdating, lifetime)?;
    params.is_ca = IsCa::ExplicitNoCa;
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    params.use_authority_key_identifier_extension = true;
    // A positive number of 20 bytes at most, with more than 64 random bits.
    let serial = rand::random::<u128>() >> 1;
    params.serial_number = Some(SerialNumber::from_slice(&serial.to_be_bytes()));
    Ok(params)
}

/// Certificates know whole seconds; the end is rounded up, so that no lifetime becomes nothing.
fn set_validity(
    params: &mut CertificateParams,
    now: &Timestamp,
    backdating: SignedDuration,
    lifetime: SignedDuration,
) -> Result<(), AuthorityError> {
    let impossible = || AuthorityError::Lifetime(lifetime);
    if lifetime < SignedDuration::from_secs(1) {
        return Err(impossible());
    }
    let from = now.checked_sub(backdating).map_err(|_| impossible())?;
    let until = now
        .checked_add(lifetime)
        .and_then(|until| until.checked_add(SignedDuration::from_nanos(999_999_999)))
        .map_err(|_| impossible())?;
    let since_epoch = |time: Timestamp| {
        let seconds = u64::try_from(time.as_second()).map_err(|_| impossible());
        seconds.map(std::time::Duration::from_secs)
    };
    let epoch = rcgen::date_time_ymd(1970, 1, 1);
    params.not_before = epoch + since_epoch(from)?;
    params.not_after = epoch + since_epoch(until)?;
    Ok(())
}

fn common_name(name: &str) -> DistinguishedName {
    let mut distinguished = DistinguishedName::new();
    distinguished.push(DnType::CommonName, name);
    distinguished
}

#[cfg(test)]
mod tests {
    use super::{Authority, SERVER_LIFETIME};
    use jiff::Timestamp;
    use std::sync::Arc;

    #[test]
    fn the_controllers_certificate_is_replaced_in_time() {
        let directory = tempfile::tempdir().unwrap();
        let authority =
            Authority::open_or_create(directory.path(), &["localhost".to_owned()]).unwrap();
        let at = |now| authority.0.server_certificate(now).unwrap();
        let now = Timestamp::now();
        let first = at(now);
        assert!(Arc::ptr_eq(&first, &at(now + SERVER_LIFETIME / 2)));
        let second = at(now + SERVER_LIFETIME * 3 / 4);
        assert_ne!(first.cert[0], second.cert[0]);
        assert_eq!(first.cert[1], second.cert[1]);
        assert!(Arc::ptr_eq(&second, &at(now + SERVER_LIFETIME)));
    }
}
