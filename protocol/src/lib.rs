//! The wire between controller, nodes and command line: gRPC messages and mutual TLS.

/// The messages and services of `proto/placet.proto`.
#[expect(
    missing_docs,
    clippy::pedantic,
    clippy::allow_attributes,
    clippy::allow_attributes_without_reason,
    reason = "generated code; the .proto file documents it"
)]
pub mod wire {
    tonic::include_proto!("placet.v1");
}
