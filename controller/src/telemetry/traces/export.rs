//! Spans on their way to a collector: OTLP, protobuf over HTTP.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use opentelemetry::trace::{
    SpanContext, SpanId, SpanKind, Status, TraceFlags, TraceId, TraceState,
};
use opentelemetry::{InstrumentationScope, KeyValue};
use opentelemetry_otlp::{
    ExporterBuildError, SpanExporter, WithExportConfig as _, WithHttpConfig as _,
};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::trace::{
    BatchConfigBuilder, BatchSpanProcessor, SpanData, SpanEvents, SpanLinks, SpanProcessor as _,
};
use placet_model::TraceParent;
use tokio::task::spawn_blocking;
use url::Url;

use super::sender::Sender;
use super::system;
use crate::http::ClientError;

/// Spans that wait for a collector; more are dropped.
pub(super) const WAITING_MOST: usize = 2_048;

/// Spans in one message.
const AT_ONCE: usize = 256;

/// Spans are sent this often.
const EVERY: Duration = Duration::from_secs(2);

/// At the end, for what still waits.
const PATIENCE: Duration = Duration::from_secs(3);

/// Why no spans can be sent.
#[derive(Debug, thiserror::Error)]
pub enum TracesError {
    /// The address is none.
    #[error(
        "`{0}` is no address of a collector; name one as `http://collector:4318`, without user and password (those go into OTEL_EXPORTER_OTLP_HEADERS)"
    )]
    Endpoint(String),
    /// There is no client for it.
    #[error("failed to set up the client of the collector")]
    Client(#[source] Box<dyn std::error::Error + Send + Sync>),
}

impl From<ClientError> for TracesError {
    fn from(error: ClientError) -> Self {
        Self::Client(Box::new(error))
    }
}

impl From<ExporterBuildError> for TracesError {
    fn from(error: ExporterBuildError) -> Self {
        Self::Client(Box::new(error))
    }
}

/// Where spans go. Clones send to the same collector; by default there is none.
#[derive(Clone, Default)]
pub(crate) struct Traces(Option<Arc<BatchSpanProcessor>>);

/// A span that has ended.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Span {
    pub(crate) name: &'static str,
    /// Itself.
    pub(crate) own: TraceParent,
    /// The span that it is part of.
    pub(crate) parent: Option<u64>,
    /// It answers somebody else's request.
    pub(crate) is_server: bool,
    pub(crate) began: Timestamp,
    pub(crate) ended: Timestamp,
    pub(crate) attributes: Vec<(&'static str, String)>,
    /// What went wrong, if anything.
    pub(crate) error: Option<String>,
}

impl Traces {
    /// Sends spans of the program `service` to the collector at `endpoint`.
    pub(crate) fn to(endpoint: &Url, service: &'static str) -> Result<Self, TracesError> {
        let sender = Sender::new(endpoint)?;
        let exporter = SpanExporter::builder()
            .with_http()
            .with_http_client(sender)
            .with_endpoint(traces_url(endpoint))
            .build()?;
        let batches = BatchConfigBuilder::default()
            .with_max_queue_size(WAITING_MOST)
            .with_max_export_batch_size(AT_ONCE)
            .with_scheduled_delay(EVERY)
            .build();
        let processor = BatchSpanProcessor::builder(exporter);
        let mut processor = processor.with_batch_config(batches).build();
        let instance = nix::unistd::gethostname().ok();
        let instance = instance.and_then(|name| name.into_string().ok());
        let resource = Resource::builder()
            .with_service_name(service)
            .with_attribute(KeyValue::new("service.version", env!("CARGO_PKG_VERSION")))
            .with_attributes(instance.map(|name| KeyValue::new("service.instance.id", name)))
            .build();
        processor.set_resource(&resource);
        Ok(Self(Some(Arc::new(processor))))
    }

    /// Whether anybody wants spans.
    pub(crate) fn is_wanted(&self) -> bool {
        self.0.is_some()
    }

    /// Has spans sent, sooner or later; never waits.
    pub(crate) fn send(&self, spans: Vec<Span>) {
        let Some(processor) = &self.0 else { return };
        for span in spans {
            processor.on_end(span.data());
        }
    }

    /// Sends what still waits, for as long as that may take at the end.
    pub(crate) async fn close(&self) {
        let Some(processor) = self.0.clone() else {
            return;
        };
        // What could not be sent by then is lost; its sender has said why.
        let _ = spawn_blocking(move || processor.shutdown_with_timeout(PATIENCE)).await;
    }
}

impl Span {
    fn data(self) -> SpanData {
        let trace = TraceId::from_bytes(self.own.trace().to_be_bytes());
        let span = SpanId::from_bytes(self.own.span().to_be_bytes());
        let attributes = self.attributes.into_iter();
        SpanData {
            span_context: SpanContext::new(
                trace,
                span,
                TraceFlags::SAMPLED,
                false,
                TraceState::NONE,
            ),
            parent_span_id: self.parent.map_or(SpanId::INVALID, |parent| {
                SpanId::from_bytes(parent.to_be_bytes())
            }),
            parent_span_is_remote: self.is_server,
            span_kind: if self.is_server {
                SpanKind::Server
            } else {
                SpanKind::Internal
            },
            name: self.name.into(),
            start_time: system(self.began),
            end_time: system(self.ended),
            attributes: attributes
                .map(|(key, value)| KeyValue::new(key, value))
                .collect(),
            dropped_attributes_count: 0,
            events: SpanEvents::default(),
            links: SpanLinks::default(),
            status: self.error.map_or(Status::Unset, Status::error),
            instrumentation_scope: InstrumentationScope::builder("placet").build(),
        }
    }
}

/// Where a collector takes traces: the path that everybody uses, unless another is named.
fn traces_url(endpoint: &Url) -> String {
    let mut url = endpoint.clone();
    if matches!(url.path(), "" | "/") {
        url.set_path("/v1/traces");
    }
    url.into()
}

impl fmt::Debug for Traces {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Traces").field(&self.is_wanted()).finish()
    }
}
