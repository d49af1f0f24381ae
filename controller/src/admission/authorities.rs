//! The authorities that vouch for the webhook: one in use, one to come, one that was.
//!
//! All replicas share them; each makes a serving certificate of its own by the one in use. A new
//! authority is made long before the one in use ends, and stands in the bundle that the API server
//! trusts for a while before anything is signed by it, so that at no moment a certificate is shown
//! that is not trusted.

use jiff::{SignedDuration, Timestamp};
use placet_protocol::json;
use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa,
    Issuer, KeyPair, KeyUsagePurpose, PKCS_ECDSA_P256_SHA256,
};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivatePkcs8KeyDer};
use rustls::sign::CertifiedKey;
use serde::{Deserialize, Serialize};

/// How long things last.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Lifetimes {
    /// An authority; the next one is made when two thirds of this are over.
    pub(crate) authority: SignedDuration,
    /// A serving certificate; it costs nothing to renew, and is when two thirds of this are over.
    pub(crate) serving: SignedDuration,
    /// How long a new authority is trusted before it signs: in that time every API server has
    /// heard of it.
    pub(crate) settling: SignedDuration,
}

impl Lifetimes {
    /// What follows from how long an authority lasts.
    pub(crate) fn of(authority: SignedDuration) -> Self {
        Self {
            authority,
            serving: SignedDuration::from_hours(30 * 24).min(authority / 2),
            settling: SignedDuration::from_hours(1).min(authority / 12),
        }
    }
}

/// Why a certificate cannot be had. It never repeats a key.
#[derive(Debug, thiserror::Error)]
pub(crate) enum CertificateError {
    /// What is kept is something else.
    #[error("what is kept as the webhook's authorities is something else: {0}")]
    Damaged(String),
    /// A key or certificate could not be made.
    #[error("failed to make a certificate for the webhook")]
    Make(#[source] rcgen::Error),
    /// A validity cannot be written down.
    #[error("a certificate cannot be valid for {0:#}")]
    Lifetime(SignedDuration),
    /// Another replica cannot be asked.
    #[error("failed to set up HTTP between replicas")]
    Client(#[source] reqwest::Error),
    /// TLS cannot be set up with it.
    #[error("failed to set up TLS for the webhook")]
    Tls(#[source] rustls::Error),
}

/// The authorities, as they are kept.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Authorities {
    current: Authority,
    /// Trusted already, and not used yet.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    next: Option<Authority>,
    /// The certificate of the one before, as long as somebody may show a certificate by it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    previous: Option<Retired>,
}

#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Authority {
    /// PKCS#8 as PEM.
    key: String,
    /// PEM.
    certificate: String,
    made: Timestamp,
    until: Timestamp,
}

#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Retired {
    certificate: String,
    since: Timestamp,
}

/// A clock may be behind the one that made a certificate.
const BACKDATING: SignedDuration = SignedDuration::from_hours(1);

/// As large as the authorities are, with room to spare.
const KEPT_MOST: usize = 64 << 10;

impl Authorities {
    /// New ones, which nobody trusts yet.
    pub(crate) fn generate(lifetimes: Lifetimes, now: Timestamp) -> Result<Self, CertificateError> {
        Ok(Self {
            current: Authority::generate(lifetimes, now)?,
            next: None,
            previous: None,
        })
    }

    /// Those that [`Self::to_json`] wrote.
    pub(crate) fn from_json(bytes: &[u8]) -> Result<Self, CertificateError> {
        let damaged = |why: String| CertificateError::Damaged(why);
        if bytes.len() > KEPT_MOST {
            return Err(damaged("it is larger than 64 KiB".to_owned()));
        }
        let read: Self =
            json(bytes, "authorities").map_err(|status| damaged(status.message().to_owned()))?;
        read.current
            .issuer()
            .map_err(|error| damaged(error.to_string()))?;
        Ok(read)
    }

    /// As they are kept, keys and all.
    pub(crate) fn to_json(&self) -> Vec<u8> {
        placet_model::canonical_json(self)
    }

    /// The certificates to trust, as PEM, which are no secret.
    pub(crate) fn bundle(&self) -> String {
        let previous = self.previous.iter().map(|retired| &retired.certificate);
        let next = self.next.iter().map(|authority| &authority.certificate);
        let all = previous.chain([&self.current.certificate]).chain(next);
        let all: Vec<_> = all.map(|pem| pem.trim_end()).collect();
        format!("{}\n", all.join("\n"))
    }

    /// How long the one in use is valid.
    pub(crate) fn until(&self) -> Timestamp {
        self.current.until
    }

    /// The authorities as they should be at `now`.
    pub(crate) fn advanced(
        &self,
        lifetimes: Lifetimes,
        now: Timestamp,
    ) -> Result<Self, CertificateError> {
        let mut advanced = self.clone();
        if let Some(next) = &self.next
            && (after(next.made, lifetimes.settling) <= now || self.current.until <= now)
        {
            advanced.previous = Some(Retired {
                certificate: self.current.certificate.clone(),
                since: now,
            });
            advanced.current = next.clone();
            advanced.next = None;
        } else if self.next.is_none() && self.current.renewal() <= now {
            advanced.next = Some(Authority::generate(lifetimes, now)?);
        }
        // Every replica has heard of its successor by then.
        advanced
            .previous
            .take_if(|retired| after(retired.since, lifetimes.settling) <= now);
        Ok(advanced)
    }

    /// When [`Self::advanced`] gives something else.
    pub(crate) fn due(&self, lifetimes: Lifetimes) -> Timestamp {
        let next = match &self.next {
            Some(next) => after(next.made, lifetimes.settling).min(self.current.until),
            None => self.current.renewal(),
        };
        let retired = self.previous.as_ref();
        retired.map_or(next, |retired| {
            next.min(after(retired.since, lifetimes.settling))
        })
    }

    /// A certificate to serve with, for these names, by the authority in use; and when to make
    /// another.
    pub(crate) fn serving(
        &self,
        names: &[String],
        lifetimes: Lifetimes,
        now: Timestamp,
    ) -> Result<(CertifiedKey, Timestamp), CertificateError> {
        let key = generate()?;
        let until = after(now, lifetimes.serving).min(self.current.until);
        let mut params = CertificateParams::new(names.to_vec()).map_err(CertificateError::Make)?;
        set_validity(&mut params, now, until)?;
        params.distinguished_name = common_name("Placet webhook");
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        let signed = params
            .signed_by(&key, &self.current.issuer()?)
            .map_err(CertificateError::Make)?;
        let der = PrivatePkcs8KeyDer::from(key.serialize_der()).into();
        let provider = rustls::crypto::ring::default_provider();
        let certified = CertifiedKey::from_der(vec![signed.der().clone()], der, &provider)
            .map_err(CertificateError::Tls)?;
        Ok((certified, after(now, until.duration_since(now) * 2 / 3)))
    }
}

impl Authority {
    fn generate(lifetimes: Lifetimes, now: Timestamp) -> Result<Self, CertificateError> {
        let key = generate()?;
        let until = after(now, lifetimes.authority);
        let mut params = CertificateParams::default();
        set_validity(&mut params, now, until)?;
        // Two authorities of one name would be taken for each other.
        let name = format!("Placet webhook authority {:08x}", rand::random::<u32>());
        params.distinguished_name = common_name(&name);
        params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        let certificate = params.self_signed(&key).map_err(CertificateError::Make)?;
        Ok(Self {
            key: key.serialize_pem(),
            certificate: certificate.pem(),
            made: now,
            until,
        })
    }

    /// When the next one is to be made.
    fn renewal(&self) -> Timestamp {
        after(self.made, self.until.duration_since(self.made) * 2 / 3)
    }

    fn issuer(&self) -> Result<Issuer<'static, KeyPair>, CertificateError> {
        let key = KeyPair::from_pem(&self.key).map_err(CertificateError::Make)?;
        let der = CertificateDer::from_pem_slice(self.certificate.as_bytes())
            .map_err(|error| CertificateError::Damaged(error.to_string()))?;
        Issuer::from_ca_cert_der(&der, key).map_err(CertificateError::Make)
    }
}

fn generate() -> Result<KeyPair, CertificateError> {
    KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256).map_err(CertificateError::Make)
}

fn common_name(name: &str) -> DistinguishedName {
    let mut distinguished = DistinguishedName::new();
    distinguished.push(DnType::CommonName, name);
    distinguished
}

fn set_validity(
    params: &mut CertificateParams,
    now: Timestamp,
    until: Timestamp,
) -> Result<(), CertificateError> {
    let lifetime = until.duration_since(now);
    let impossible = || CertificateError::Lifetime(lifetime);
    if lifetime < SignedDuration::from_secs(1) {
        return Err(impossible());
    }
    let from = now.checked_sub(BACKDATING).map_err(|_| impossible())?;
    let since_epoch = |time: Timestamp| {
        let seconds = u64::try_from(time.as_second()).map_err(|_| impossible());
        seconds.map(std::time::Duration::from_secs)
    };
    let epoch = rcgen::date_time_ymd(1970, 1, 1);
    params.not_before = epoch + since_epoch(from)?;
    params.not_after = epoch + since_epoch(until)?;
    Ok(())
}

fn after(time: Timestamp, duration: SignedDuration) -> Timestamp {
    time.checked_add(duration).unwrap_or(Timestamp::MAX)
}
