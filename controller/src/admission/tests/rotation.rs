//! Certificates that change, and are trusted at every moment.

use std::sync::Arc;

use jiff::{SignedDuration, Timestamp};
use rustls::RootCertStore;
use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::ServerCertVerifier as _;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::sign::CertifiedKey;

use super::super::authorities::Authorities;
use super::lifetimes;

fn trusts(bundle: &str, shown: &CertifiedKey, at: Timestamp) -> bool {
    let mut roots = RootCertStore::empty();
    for certificate in CertificateDer::pem_slice_iter(bundle.as_bytes()) {
        roots.add(certificate.unwrap()).unwrap();
    }
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let verifier = WebPkiServerVerifier::builder_with_provider(Arc::new(roots), provider)
        .build()
        .unwrap();
    let seconds = std::time::Duration::from_secs(at.as_second().try_into().unwrap());
    let name = ServerName::try_from("placet.placet-system.svc").unwrap();
    let time = UnixTime::since_unix_epoch(seconds);
    verifier
        .verify_server_cert(&shown.cert[0], &[], &name, &[], time)
        .is_ok()
}

#[test]
fn at_no_moment_a_certificate_is_shown_that_is_not_trusted_by_who_heard_last_a_while_ago() {
    let lifetimes = lifetimes();
    let names = ["placet.placet-system.svc".to_owned()];
    let mut now = Timestamp::from_second(1_800_000_000).unwrap();
    let end = now + SignedDuration::from_hours(4 * 24);
    // A replica that hears of changes late, though sooner than they settle.
    let step = lifetimes.settling / 2;
    let mut authorities = Authorities::generate(lifetimes, now).unwrap();
    let mut heard = authorities.bundle();
    let mut shown: Option<(CertifiedKey, Timestamp)> = None;
    let mut bundles = std::collections::BTreeSet::new();
    while now < end {
        authorities = authorities.advanced(lifetimes, now).unwrap();
        let is_due = shown.as_ref().is_none_or(|(_, renew)| *renew <= now);
        // Whoever has heard of a new authority makes a new certificate.
        if is_due || bundles.insert(authorities.bundle()) {
            shown = Some(authorities.serving(&names, lifetimes, now).unwrap());
        }
        let (key, _) = shown.as_ref().unwrap();
        assert!(
            trusts(&heard, key, now),
            "at {now}, by the bundle of before"
        );
        assert!(trusts(&authorities.bundle(), key, now), "at {now}");
        assert!(
            authorities.due(lifetimes) > now,
            "there is always a next time"
        );
        heard = authorities.bundle();
        now += step;
    }
    // One at first; then new ones come in and old ones go.
    assert!(bundles.len() > 10, "{}", bundles.len());
}

#[test]
fn after_a_long_absence_it_begins_anew() {
    let lifetimes = lifetimes();
    let then = Timestamp::from_second(1_800_000_000).unwrap();
    let kept = Authorities::generate(lifetimes, then).unwrap();
    let now = then + SignedDuration::from_hours(24 * 365);
    let names = ["placet.placet-system.svc".to_owned()];
    assert!(kept.serving(&names, lifetimes, now).is_err());
    let mut authorities = kept.clone();
    while authorities.due(lifetimes) <= now {
        authorities = authorities.advanced(lifetimes, now).unwrap();
    }
    let (key, _) = authorities.serving(&names, lifetimes, now).unwrap();
    assert!(trusts(&authorities.bundle(), &key, now));
}

#[test]
fn what_is_kept_is_read_again_and_something_else_is_refused() {
    let lifetimes = lifetimes();
    let now = Timestamp::now();
    let kept = Authorities::generate(lifetimes, now).unwrap();
    assert!(Authorities::from_json(&kept.to_json()).unwrap() == kept);
    assert!(!kept.bundle().contains("PRIVATE"));
    for bad in [&b"{}"[..], b"", b"\xff", &vec![b' '; 70_000]] {
        assert!(Authorities::from_json(bad).is_err());
    }
    let other = Authorities::generate(lifetimes, now).unwrap();
    let text = String::from_utf8(kept.to_json()).unwrap();
    let damaged = text.replace("BEGIN CERTIFICATE", "BEGIN NOTHING");
    let error = Authorities::from_json(damaged.as_bytes())
        .err()
        .unwrap()
        .to_string();
    assert!(!error.contains("PRIVATE"), "{error}");
    assert!(other != kept);
}
