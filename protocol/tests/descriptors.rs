//! Running out of descriptors, in a process of its own.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

use std::fs::File;
use std::sync::Arc;
use std::time::Duration;

use futures_util::StreamExt as _;
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use placet_protocol::{Authority, incoming};
use rustls::pki_types::{CertificateDer, ServerName};
use tokio::net::{TcpListener, TcpSocket};
use tokio_rustls::TlsConnector;

fn client(authority: &Authority) -> TlsConnector {
    let key = rcgen::KeyPair::generate().unwrap();
    let request = rcgen::CertificateParams::default()
        .serialize_request(&key)
        .unwrap();
    let chain = authority
        .sign_node(
            request.der(),
            &"a".parse().unwrap(),
            jiff::SignedDuration::from_hours(1),
            jiff::Timestamp::now(),
        )
        .unwrap();
    let mut roots = rustls::RootCertStore::empty();
    roots.add(CertificateDer::from(chain[1].clone())).unwrap();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = rustls::ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    Arc::new(config).into()
}

#[tokio::test]
async fn accepting_goes_on_when_descriptors_come_back() {
    let directory = tempfile::tempdir().unwrap();
    let authority = Authority::open_or_create(directory.path(), &["127.0.0.1".to_owned()]).unwrap();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let mut connections = incoming(listener, authority.server_config().unwrap());
    let connector = client(&authority);
    let socket = TcpSocket::new_v4().unwrap();

    let (_, hard) = getrlimit(Resource::RLIMIT_NOFILE).unwrap();
    setrlimit(Resource::RLIMIT_NOFILE, 64, hard).unwrap();
    let mut taken = Vec::new();
    let full = loop {
        match File::open("/dev/null") {
            Ok(file) => taken.push(file),
            Err(error) => break error,
        }
    };
    assert_eq!(full.raw_os_error(), Some(nix::libc::EMFILE));

    // The kernel completes the connection; the accept loop cannot take it.
    let tcp = socket.connect(address).await.unwrap();
    let handshake = connector.connect(ServerName::from(address.ip()), tcp);
    let both = async { tokio::join!(handshake, connections.next()) };
    let mut both = Box::pin(both);
    let stuck = tokio::time::timeout(Duration::from_millis(50), &mut both).await;
    assert!(stuck.is_err(), "accepted without a descriptor");
    drop(taken);
    let (client, server) = both.await;
    client.unwrap();
    server.unwrap().unwrap();
}
