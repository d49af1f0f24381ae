//! Certificates and clients that are not what they should be.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use placet_protocol::{Error, Limits, connect, incoming, join};
use rustls::pki_types::CertificateDer;
use tokio::io::AsyncReadExt as _;
use tokio::net::{TcpListener, TcpStream};
use tokio_stream::StreamExt as _;

use crate::controller::{Controller, HOUR, name, request};

fn ders(chain: Vec<Vec<u8>>) -> Vec<CertificateDer<'static>> {
    chain.into_iter().map(CertificateDer::from).collect()
}

/// What a client with this certificate hears from the controller instead of an answer.
async fn refusal(
    controller: &Controller,
    chain: Vec<Vec<u8>>,
    key: rcgen::KeyPair,
) -> rustls::AlertDescription {
    let before = controller.state.connections.load(Ordering::SeqCst);
    let mut stream = controller
        .strange_connection(Some((ders(chain), key)))
        .await;
    let error = stream.read_u8().await.unwrap_err();
    let after = controller.state.connections.load(Ordering::SeqCst);
    assert_eq!(before, after, "nothing came through");
    match error.get_ref().and_then(|inner| inner.downcast_ref()) {
        Some(rustls::Error::AlertReceived(alert)) => *alert,
        _ => panic!("{error:?}"),
    }
}

#[tokio::test]
async fn a_certificate_of_another_authority_is_refused_by_both_ends() {
    let controller = Controller::start().await;
    let other = Controller::start().await;
    let identity = other.joined("core-1").await;
    let error = connect(&controller.addresses(), &identity)
        .await
        .unwrap_err();
    assert!(matches!(error, Error::OtherAuthority { .. }), "{error}");

    let (key, csr) = request();
    let chain = other
        .authority
        .sign_node(&csr, &name("core-1"), HOUR, Timestamp::now())
        .unwrap();
    let alert = refusal(&controller, chain, key).await;
    assert_eq!(alert, rustls::AlertDescription::UnknownCA);
}

#[tokio::test]
async fn an_expired_certificate_and_one_of_the_future_are_refused() {
    let controller = Controller::start().await;
    for (start, expected) in [
        (
            Timestamp::now() - HOUR * 2,
            rustls::AlertDescription::CertificateExpired,
        ),
        (
            Timestamp::now() + HOUR * 2,
            rustls::AlertDescription::BadCertificate,
        ),
    ] {
        let (key, csr) = request();
        let chain = controller
            .authority
            .sign_node(&csr, &name("core-1"), HOUR, start)
            .unwrap();
        let alert = refusal(&controller, chain, key).await;
        assert!(
            alert == expected || alert == rustls::AlertDescription::CertificateExpired,
            "{alert:?}"
        );
    }
}

/// It shows the true authority's certificate, which is no secret, after a certificate of its own.
#[tokio::test]
async fn an_impostor_that_shows_the_right_authority_gets_no_secret() {
    let controller = Controller::start().await;
    let key = rcgen::KeyPair::generate().unwrap();
    let own = rcgen::CertificateParams::new(vec!["127.0.0.1".to_owned()])
        .unwrap()
        .self_signed(&key)
        .unwrap();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let mut config = rustls::ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(
            vec![own.der().clone(), controller.certificate()],
            key.serialize_der().try_into().unwrap(),
        )
        .unwrap();
    config.alpn_protocols = vec![b"h2".to_vec()];
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let mut connections = incoming(listener, Arc::new(config));
    let token = controller.token("core-1");
    let addresses = [address];
    let node = name("core-1");
    tokio::select! {
        result = join(&addresses, &token, &node) => {
            let error = result.unwrap_err();
            assert!(matches!(error, Error::Handshake { .. }), "{error}");
        }
        _ = connections.next() => panic!("the node went through with the handshake"),
    }
}

/// The authority signs no such certificate; here its key does.
#[tokio::test]
async fn a_certificate_that_names_no_node_or_two_is_refused() {
    let controller = Controller::start().await;
    let file = controller.directory.path().join("authority/authority.pem");
    let text = std::fs::read_to_string(file).unwrap();
    let issuer_key = rcgen::KeyPair::from_pem(&text).unwrap();
    let issuer = rcgen::Issuer::from_ca_cert_der(&controller.certificate(), issuer_key).unwrap();
    for names in [
        &["http://node/core-1"][..],
        &["placet://node/core-1", "placet://node/core-2"],
        &["placet://node/Core_1"],
        &["placet://node/core-1"],
    ] {
        let key = rcgen::KeyPair::generate().unwrap();
        let mut params = rcgen::CertificateParams::default();
        params.extended_key_usages = vec![rcgen::ExtendedKeyUsagePurpose::ClientAuth];
        params.subject_alt_names = names
            .iter()
            .map(|&name| rcgen::SanType::URI(name.to_owned().try_into().unwrap()))
            .collect();
        let leaf = params.signed_by(&key, &issuer).unwrap();
        let chain = vec![leaf.der().clone()];
        let mut stream = controller.strange_connection(Some((chain, key))).await;
        let answered = stream.read_u8().await.is_ok();
        let good = *names == ["placet://node/core-1"];
        assert_eq!(answered, good, "{names:?}");
    }
    assert_eq!(controller.state.connections.load(Ordering::SeqCst), 1);
}

#[tokio::test]
async fn clients_that_stall_hinder_nobody_and_are_dropped() {
    let limits = Limits {
        handshake: Duration::from_millis(300),
        ..Limits::default()
    };
    let controller = Controller::start_with(HOUR, limits, &["127.0.0.1"]).await;
    let mut stalled = Vec::new();
    for _ in 0..50 {
        stalled.push(TcpStream::connect(controller.address).await.unwrap());
    }
    controller.joined("core-1").await;
    for mut stream in stalled {
        assert_eq!(stream.read(&mut [0]).await.unwrap_or(0), 0);
    }
}

#[tokio::test]
async fn more_stalling_clients_than_there_is_room_for_hinder_nobody() {
    let limits = Limits {
        handshake: Duration::from_hours(1),
        handshakes: 4,
        stall: Duration::from_millis(50),
        ..Limits::default()
    };
    let controller = Controller::start_with(HOUR, limits, &["127.0.0.1"]).await;
    let mut stalled = Vec::new();
    for _ in 0..20 {
        stalled.push(TcpStream::connect(controller.address).await.unwrap());
    }
    controller.joined("core-1").await;
    // The oldest made room for the newer ones.
    let mut oldest = stalled.remove(0);
    assert_eq!(oldest.read(&mut [0]).await.unwrap_or(0), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_fleet_that_comes_at_once_gets_in_at_the_first_attempt() {
    let limits = Limits {
        handshakes: 2,
        stall: Duration::from_hours(1),
        ..Limits::default()
    };
    let controller = Controller::start_with(HOUR, limits, &["127.0.0.1"]).await;
    let identity = controller.joined("core-1").await;
    let addresses = controller.addresses();
    let clients = (0..100).map(|_| connect(&addresses, &identity));
    for channel in futures_util::future::join_all(clients).await {
        channel.unwrap();
    }
}

#[tokio::test]
async fn a_client_without_a_certificate_may_not_stay() {
    let limits = Limits {
        anonymous: Duration::from_millis(300),
        ..Limits::default()
    };
    let controller = Controller::start_with(HOUR, limits, &["127.0.0.1"]).await;
    let mut stranger = controller.strange_connection(None).await;
    let mut settings = Vec::new();
    // Ends with an error or without: in any case it ends.
    let _ = stranger.read_to_end(&mut settings).await;
    assert!(!settings.is_empty(), "the server speaks first");
    // A node stays.
    let identity = controller.joined("core-1").await;
    assert!(identity.not_before().duration_until(identity.not_after()) > SignedDuration::ZERO);
    connect(&controller.addresses(), &identity).await.unwrap();
}

#[tokio::test]
async fn noise_instead_of_tls_is_told_as_such() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let noise = tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.unwrap();
        let _ = tokio::io::AsyncWriteExt::write_all(&mut stream, b"220 mail ready\r\n").await;
        stream
    });
    let controller = Controller::start().await;
    let error = join(&[address], &controller.token("a"), &name("a"))
        .await
        .unwrap_err();
    assert!(matches!(error, Error::Handshake { .. }), "{error}");
    noise.await.unwrap();
}
