//! First contact, sessions and renewal.

use std::os::unix::fs::PermissionsExt as _;
use std::sync::atomic::Ordering;
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use placet_protocol::wire::{FetchRequest, FromNode, JoinRequest, RenewRequest, to_node::Order};
use placet_protocol::{
    Error, Identity, Limits, Pin, Token, TokenRefusal, connect, join, nodes_client, renew,
};
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::Streaming;
use tonic::transport::Channel;

use crate::controller::{Controller, HOUR, name, request};

struct Session {
    reports: mpsc::Sender<FromNode>,
    orders: Streaming<placet_protocol::wire::ToNode>,
}

impl Session {
    async fn open(channel: Channel) -> Self {
        let (reports, receiver) = mpsc::channel(1);
        let orders = nodes_client(channel)
            .session(ReceiverStream::new(receiver))
            .await
            .unwrap()
            .into_inner();
        Self { reports, orders }
    }

    /// The name by which the controller knows this node.
    async fn known_as(&mut self) -> String {
        self.reports.send(FromNode { message: None }).await.unwrap();
        let order = self.orders.message().await.unwrap().unwrap();
        match order.order {
            Some(Order::Welcome(welcome)) => welcome.node,
            other => panic!("{other:?}"),
        }
    }
}

#[tokio::test]
async fn a_node_joins_and_is_known_by_its_certificate() {
    let controller = Controller::start().await;
    let joined = controller.joined("core-1").await;
    let directory = controller.directory.path().join("node");
    assert!(Identity::load(&directory).unwrap().is_none());
    joined.save(&directory).unwrap();
    let file = directory.join("identity.pem");
    assert_eq!(file.metadata().unwrap().permissions().mode() & 0o777, 0o600);
    assert_eq!(
        directory.metadata().unwrap().permissions().mode() & 0o777,
        0o700
    );
    assert_eq!(std::fs::read_dir(&directory).unwrap().count(), 1);

    let loaded = Identity::load(&directory).unwrap().unwrap();
    assert_eq!(loaded.node(), &name("core-1"));
    assert_eq!(loaded.not_after(), joined.not_after());
    assert!(loaded.not_before() < Timestamp::now());
    let channel = connect(&controller.addresses(), &loaded).await.unwrap();
    assert_eq!(Session::open(channel).await.known_as().await, "core-1");
}

#[tokio::test]
async fn the_secret_is_not_shown_to_a_controller_with_another_authority() {
    let controller = Controller::start().await;
    let mut token = controller.token("core-1");
    token.pin = Pin::of(b"another key");
    let error = join(&controller.addresses(), &token, &name("core-1"))
        .await
        .unwrap_err();
    assert!(matches!(error, Error::OtherAuthority { .. }), "{error}");
    let text = error.to_string();
    assert!(text.contains(&token.pin.to_string()), "{text}");
    assert!(
        text.contains(&controller.authority.pin().to_string()),
        "{text}"
    );
    assert!(!text.contains(token.secret.reveal()));

    // With the right pin it is let in: what is counted is that one and no other.
    controller.joined("core-1").await;
    assert_eq!(controller.state.joins.load(Ordering::SeqCst), 1);
    assert_eq!(controller.state.connections.load(Ordering::SeqCst), 1);
}

#[tokio::test]
async fn a_token_that_is_not_good_is_refused_with_the_reason() {
    let controller = Controller::start().await;
    let refusal = async |token: &Token, node: &str| {
        let error = join(&controller.addresses(), token, &name(node)).await;
        match error.unwrap_err() {
            Error::Token { refusal, .. } => refusal,
            other => panic!("{other}"),
        }
    };
    let good = controller.token("core-1");
    let wrong = Token {
        id: good.id.clone(),
        ..Token::generate(good.pin)
    };
    assert_eq!(refusal(&wrong, "core-1").await, TokenRefusal::Wrong);
    let unknown = Token::generate(good.pin);
    assert_eq!(refusal(&unknown, "core-1").await, TokenRefusal::Wrong);
    assert_eq!(refusal(&good, "core-2").await, TokenRefusal::OtherNode);
    let expired = controller.token_until("core-1", Timestamp::now() - HOUR);
    assert_eq!(refusal(&expired, "core-1").await, TokenRefusal::Expired);
    join(&controller.addresses(), &good, &name("core-1"))
        .await
        .unwrap();
    assert_eq!(refusal(&good, "core-1").await, TokenRefusal::Used);
}

#[tokio::test]
async fn a_client_without_a_certificate_can_join_and_do_nothing_else() {
    let controller = Controller::start().await;
    let mut client = nodes_client(controller.strange_channel().await);
    let (_, certificate_request) = request();
    let status = client
        .renew(RenewRequest {
            certificate_request,
        })
        .await
        .unwrap_err();
    assert_eq!(status.code(), tonic::Code::Unauthenticated);
    assert!(status.message().contains("join first"), "{status}");
    let fetch = client.fetch(FetchRequest::default()).await.unwrap_err();
    assert_eq!(fetch.code(), tonic::Code::Unauthenticated);
    let session = client
        .session(tokio_stream::iter([FromNode { message: None }]))
        .await
        .unwrap_err();
    assert_eq!(session.code(), tonic::Code::Unauthenticated);
}

#[tokio::test]
async fn a_stranger_cannot_send_much() {
    let controller = Controller::start().await;
    let mut client =
        placet_protocol::wire::join_client::JoinClient::new(controller.strange_channel().await);
    let status = client
        .join(JoinRequest {
            certificate_request: vec![0; 100_000],
            ..JoinRequest::default()
        })
        .await
        .unwrap_err();
    assert_eq!(status.code(), tonic::Code::OutOfRange, "{status}");
    assert_eq!(controller.state.joins.load(Ordering::SeqCst), 0);
}

#[tokio::test]
async fn renewal_gives_a_longer_certificate_for_the_same_name_while_the_session_goes_on() {
    let lifetime = SignedDuration::from_secs(5);
    let controller = Controller::start_with(lifetime, Limits::default(), &["127.0.0.1"]).await;
    let mut identity = controller.joined("core-1").await;
    let first_end = identity.not_after();
    let mut channel = connect(&controller.addresses(), &identity).await.unwrap();
    let mut session = Session::open(channel.clone()).await;
    for _ in 0..3 {
        let before = identity.not_after();
        // Certificates know whole seconds: the next one ends later as soon as the second is over.
        let renewed = loop {
            let renewed = renew(channel.clone(), &identity).await.unwrap();
            if renewed.not_after() > before {
                break renewed;
            }
        };
        assert_eq!(renewed.node(), identity.node());
        assert_eq!(renewed.authority(), identity.authority());
        assert!(renewed.renew_at() > Timestamp::now());
        // The next session begins before the old one ends.
        channel = connect(&controller.addresses(), &renewed).await.unwrap();
        let next = Session::open(channel.clone()).await;
        assert_eq!(session.known_as().await, "core-1");
        (session, identity) = (next, renewed);
    }
    assert!(identity.not_after() > first_end);
    assert_eq!(session.known_as().await, "core-1");
}

#[tokio::test]
async fn a_session_is_cut_when_its_certificate_ends() {
    let lifetime = SignedDuration::from_secs(2);
    let controller = Controller::start_with(lifetime, Limits::default(), &["127.0.0.1"]).await;
    let identity = controller.joined("core-1").await;
    let channel = connect(&controller.addresses(), &identity).await.unwrap();
    let mut session = Session::open(channel).await;
    assert_eq!(session.known_as().await, "core-1");
    // Nothing is said any more; the end comes by itself.
    let end = tokio::time::timeout(Duration::from_secs(10), session.orders.message()).await;
    let end = end.expect("the session goes on without a certificate");
    assert!(end.is_err(), "{end:?}");
    let late = identity.not_after().duration_until(Timestamp::now());
    assert!(!late.is_negative(), "cut before the end");
    assert!(
        late < SignedDuration::from_secs(2),
        "cut {late:#} after the end"
    );

    // In the certificate's last second the handshake still works, and is all that works.
    let error = loop {
        match connect(&controller.addresses(), &identity).await {
            Err(Error::Handshake { .. }) => {}
            other => break other.unwrap_err(),
        }
    };
    assert!(matches!(error, Error::CertificateRefused { .. }), "{error}");
}

#[tokio::test]
async fn every_address_is_tried() {
    let controller = Controller::start().await;
    let identity = controller.joined("core-1").await;
    // A port that is taken, on which nobody listens.
    let taken = tokio::net::TcpSocket::new_v4().unwrap();
    taken.bind("127.0.0.1:0".parse().unwrap()).unwrap();
    let dead = taken.local_addr().unwrap().to_string();
    let mut addresses = vec![dead.clone(), dead.clone()];
    let error = connect(&addresses, &identity).await.unwrap_err();
    match &error {
        Error::Unreachable { attempts } => assert_eq!(attempts.len(), 2),
        other => panic!("{other}"),
    }
    assert!(error.to_string().contains(&dead), "{error}");
    let one = connect(&addresses[..1], &identity).await.unwrap_err();
    assert!(matches!(one, Error::Connect { .. }), "{one}");
    assert!(matches!(
        connect(&[], &identity).await,
        Err(Error::NoAddress)
    ));

    addresses.push(controller.address.to_string());
    let channel = connect(&addresses, &identity).await.unwrap();
    assert_eq!(Session::open(channel).await.known_as().await, "core-1");
}

#[tokio::test]
async fn a_controller_is_found_only_by_its_names() {
    let controller = Controller::start_with(HOUR, Limits::default(), &["localhost"]).await;
    let token = controller.token("core-1");
    let error = join(&controller.addresses(), &token, &name("core-1"))
        .await
        .unwrap_err();
    assert!(matches!(error, Error::OtherName { .. }), "{error}");
    let address = format!("localhost:{}", controller.address.port());
    join(&[address], &token, &name("core-1")).await.unwrap();
}
