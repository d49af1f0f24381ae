use std::io::{self, Write};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::Router;
use axum::body::Bytes;
use axum::extract::State;
use axum::routing::post;
use jiff::Timestamp;
use opentelemetry_http::{HttpClient as _, Request};
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use prost::Message as _;
use tokio::net::TcpListener;
use tokio::sync::{Semaphore, mpsc};
use url::Url;

use super::export::WAITING_MOST;
use super::sender::Sender;
use super::{Span, Traces, begin, child};

/// A collector that takes a message for each permit, and tells of it.
struct Collector {
    endpoint: Url,
    permits: Arc<Semaphore>,
    taken: mpsc::UnboundedReceiver<ExportTraceServiceRequest>,
}

type Gate = (
    Arc<Semaphore>,
    mpsc::UnboundedSender<ExportTraceServiceRequest>,
);

async fn take(State((permits, taken)): State<Gate>, body: Bytes) {
    permits.acquire().await.unwrap().forget();
    taken
        .send(ExportTraceServiceRequest::decode(body).unwrap())
        .unwrap();
}

impl Collector {
    async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let endpoint = format!("http://{}", listener.local_addr().unwrap());
        let permits = Arc::new(Semaphore::new(0));
        let (sender, taken) = mpsc::unbounded_channel();
        let router = Router::new()
            .route("/v1/traces", post(take))
            .with_state((Arc::clone(&permits), sender));
        tokio::spawn(async move { axum::serve(listener, router).await });
        Self {
            endpoint: endpoint.parse().unwrap(),
            permits,
            taken,
        }
    }
}

fn span() -> Span {
    let parent = begin();
    Span {
        name: "propose",
        own: child(parent),
        parent: Some(parent.span()),
        is_server: false,
        began: Timestamp::UNIX_EPOCH,
        ended: Timestamp::now(),
        attributes: vec![("placet.rollout", "ro-1".to_owned())],
        error: Some("held".to_owned()),
    }
}

fn count(message: &ExportTraceServiceRequest) -> usize {
    let scopes = message.resource_spans.iter().flat_map(|it| &it.scope_spans);
    scopes.map(|scope| scope.spans.len()).sum()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_collector_that_does_not_answer_holds_nobody_up_and_gets_no_more_than_what_may_wait() {
    let mut collector = Collector::start().await;
    let traces = Traces::to(&collector.endpoint, "test").unwrap();
    let sent = WAITING_MOST * 5;
    traces.send((0..sent).map(|_| span()).collect());
    collector.permits.add_permits(1_000);
    traces.close().await;
    let mut taken = 0;
    while let Ok(message) = collector.taken.try_recv() {
        taken += count(&message);
    }
    // What was on its way when the queue was full comes on top.
    let most = WAITING_MOST + 1_024;
    assert!((256..=most).contains(&taken), "{taken}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_span_says_what_it_is_part_of_and_who_sends_it() {
    let mut collector = Collector::start().await;
    collector.permits.add_permits(1);
    let traces = Traces::to(&collector.endpoint, "test").unwrap();
    let span = span();
    traces.send(vec![span.clone()]);
    let message = collector.taken.recv().await.unwrap();
    let of = &message.resource_spans[0];
    let resource = of.resource.as_ref().unwrap();
    let keys: Vec<&str> = resource
        .attributes
        .iter()
        .map(|it| it.key.as_str())
        .collect();
    assert!(
        keys.contains(&"service.name") && keys.contains(&"service.version"),
        "{keys:?}"
    );
    let found = &of.scope_spans[0].spans[0];
    assert_eq!(found.name, "propose");
    assert_eq!(found.trace_id, span.own.trace().to_be_bytes());
    assert_eq!(found.span_id, span.own.span().to_be_bytes());
    assert_eq!(found.parent_span_id, span.parent.unwrap().to_be_bytes());
    assert_eq!(found.attributes[0].key, "placet.rollout");
    assert_eq!(found.status.as_ref().unwrap().message, "held");
    assert!(found.start_time_unix_nano < found.end_time_unix_nano);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_no_collector_is_refused() {
    for bad in [
        "ftp://collector",
        "http://user:hidden@collector",
        "mailto:a@b",
    ] {
        let refused = Traces::to(&bad.parse().unwrap(), "test").unwrap_err();
        let refused = refused.to_string();
        assert!(refused.contains("no address of a collector"), "{refused}");
        assert!(!refused.contains("hidden"), "{refused}");
    }
    let nobody = Traces::default();
    nobody.send(vec![span()]);
    tokio::time::timeout(Duration::from_secs(1), nobody.close())
        .await
        .unwrap();
}

/// What is logged, for a test to read.
#[derive(Clone, Default)]
struct Log(Arc<Mutex<Vec<u8>>>);

impl Write for Log {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[tokio::test]
async fn it_is_said_once_that_a_collector_is_away_and_once_that_it_is_back() {
    let log = Log::default();
    let writer = log.clone();
    let subscriber = tracing_subscriber::fmt().with_writer(move || writer.clone());
    let _logged = tracing::subscriber::set_default(subscriber.finish());
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    drop(listener);
    let endpoint = format!("http://{address}/v1/traces");
    let sender = Sender::new(&endpoint.parse().unwrap()).unwrap();
    let send = || sender.send_bytes(Request::post(&endpoint).body(Bytes::new()).unwrap());
    for _ in 0..3 {
        assert!(send().await.is_err());
    }
    let count = |words: &str| {
        let log = log.0.lock().unwrap();
        std::str::from_utf8(&log).unwrap().matches(words).count()
    };
    assert_eq!(count("spans cannot be sent to http://127.0.0.1"), 1);
    let listener = TcpListener::bind(address).await.unwrap();
    let router = Router::new().route("/v1/traces", post(|| async {}));
    tokio::spawn(async move { axum::serve(listener, router).await });
    for _ in 0..2 {
        assert!(send().await.is_ok());
    }
    assert_eq!(
        (count("spans are sent to"), count("cannot be sent")),
        (1, 1)
    );
}
