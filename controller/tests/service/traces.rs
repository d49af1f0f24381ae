//! The trace of a roll-out, as a collector gets it.

use std::collections::BTreeMap;

use axum::Router;
use axum::body::Bytes;
use axum::extract::State;
use axum::http::HeaderMap;
use axum::routing::post;
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::trace::v1::Span;
use placet_model::{DecisionKind, TraceParent};
use prost::Message as _;
use tokio::net::TcpListener;
use tokio::sync::mpsc;
use tokio::time::timeout;

use crate::bench::{Bench, PATIENCE};
use crate::story::settled;

/// A collector, and what it gets.
struct Collector {
    endpoint: String,
    spans: mpsc::UnboundedReceiver<Span>,
}

async fn take(State(spans): State<mpsc::UnboundedSender<Span>>, headers: HeaderMap, body: Bytes) {
    assert_eq!(headers["content-type"], "application/x-protobuf");
    let message = ExportTraceServiceRequest::decode(body).unwrap();
    let scopes = message
        .resource_spans
        .into_iter()
        .flat_map(|it| it.scope_spans);
    for span in scopes.flat_map(|scope| scope.spans) {
        let _ = spans.send(span);
    }
}

impl Collector {
    async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let endpoint = format!("http://{}", listener.local_addr().unwrap());
        let (sender, spans) = mpsc::unbounded_channel();
        let router = Router::new()
            .route("/v1/traces", post(take))
            .with_state(sender);
        tokio::spawn(async move { axum::serve(listener, router).await });
        Self { endpoint, spans }
    }

    /// The spans of the trace of a roll-out, by name, up to the one of the roll-out as a whole.
    async fn trace(&mut self, trace: &[u8]) -> BTreeMap<String, Span> {
        let mut found = BTreeMap::new();
        while !found.contains_key("roll-out") {
            let span = timeout(PATIENCE, self.spans.recv()).await.unwrap().unwrap();
            if span.trace_id == trace {
                let name = span.name.clone();
                assert!(found.insert(name.clone(), span).is_none(), "{name} twice");
            }
        }
        found
    }
}

/// The trace of a roll-out, as its annotation says.
async fn trace_of(bench: &Bench, rollout: &str) -> TraceParent {
    let object = bench.get("rollout", rollout).await;
    let annotations = &object["metadata"]["annotations"];
    let text = annotations["placet.dev/traceparent"].as_str();
    text.unwrap().parse().unwrap()
}

const STATIONS: [&str; 8] = [
    "observe", "resolve", "plan", "propose", "tally", "stage", "activate", "verify",
];

#[tokio::test(flavor = "multi_thread")]
async fn the_stations_of_a_roll_out_are_spans_of_one_trace() {
    let mut collector = Collector::start().await;
    let mut bench = Bench::lay_out();
    bench.collector = Some(collector.endpoint.parse().unwrap());
    bench.start_controller().await;
    let (first, _second, mut feed) = settled(&bench).await;
    first.vetoes(Some("not now"));
    let commit = bench.commit_version("1.1.0", &["core-1", "core-2"]);
    feed.named("held").await;
    let parent = trace_of(&bench, "ro-2").await;
    assert_ne!(parent.trace(), trace_of(&bench, "ro-1").await.trace());
    first.vetoes(None);
    let nodes = vec!["core-1".parse().unwrap()];
    bench
        .decide("ro-2", 0, DecisionKind::Force { nodes })
        .await
        .unwrap();
    feed.verified(&commit).await;

    let trace = collector.trace(&parent.trace().to_be_bytes()).await;
    let whole = &trace["roll-out"];
    assert_eq!(whole.span_id, parent.span().to_be_bytes());
    assert!(whole.parent_span_id.is_empty());
    let names: Vec<&str> = trace.keys().map(String::as_str).collect();
    assert_eq!(names.len(), STATIONS.len() + 1, "{names:?}");
    let mut last = whole.start_time_unix_nano;
    for station in STATIONS {
        let span = &trace[station];
        assert_eq!(span.parent_span_id, whole.span_id, "{station}");
        assert!(
            span.start_time_unix_nano >= last,
            "{station} begins too early"
        );
        assert!(span.end_time_unix_nano >= span.start_time_unix_nano);
        assert!(
            span.end_time_unix_nano <= whole.end_time_unix_nano,
            "{station}"
        );
        last = span.start_time_unix_nano;
        let attributes = &span.attributes;
        assert!(attributes.iter().any(|it| it.key == "placet.rollout"));
    }
    // A person took their time: that is part of the tally.
    assert!(trace["stage"].start_time_unix_nano >= trace["tally"].start_time_unix_nano);

    let traced = first.state.lock().unwrap().traces.clone();
    let words: Vec<String> = ["propose", "stage", "activate"]
        .iter()
        .filter(|order| !traced.contains(&((**order).to_owned(), parent.to_string())))
        .map(ToString::to_string)
        .collect();
    assert_eq!(words, [""; 0], "orders without the trace: {traced:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_controller_that_is_started_again_goes_on_with_the_trace() {
    let mut collector = Collector::start().await;
    let mut bench = Bench::lay_out();
    bench.collector = Some(collector.endpoint.parse().unwrap());
    bench.start_controller().await;
    let (first, second, mut feed) = settled(&bench).await;
    first.vetoes(Some("not now"));
    let commit = bench.commit_version("1.1.0", &["core-1", "core-2"]);
    let tally = feed.named("tally").await;
    let parent = trace_of(&bench, "ro-2").await;
    bench.stop_controller().await;
    bench.start_controller().await;
    let (_first, _second) = (first.again(&bench).await, second.again(&bench).await);
    assert_eq!(trace_of(&bench, "ro-2").await, parent);
    let mut feed = bench.feed(tally.sequence).await;
    bench.decide("ro-2", 0, DecisionKind::Skip).await.unwrap();
    feed.verified(&commit).await;
    let trace = collector.trace(&parent.trace().to_be_bytes()).await;
    for station in ["tally", "stage", "activate", "verify"] {
        assert!(trace.contains_key(station), "{station}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_collector_that_is_away_harms_nobody() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let nobody = format!("http://{}", listener.local_addr().unwrap());
    drop(listener);
    let mut bench = Bench::lay_out();
    bench.collector = Some(nobody.parse().unwrap());
    bench.start_controller().await;
    let (first, _second, mut feed) = settled(&bench).await;
    let commit = bench.commit_version("1.1.0", &["core-1", "core-2"]);
    feed.verified(&commit).await;
    assert_eq!(first.changes(), 2);
    bench.stop_controller().await;
}
