//! The connection to the controller on this machine.

use std::path::PathBuf;

use anyhow::{Context as _, anyhow};
use nix::unistd::Uid;
use placet_protocol::wire::admin_client::AdminClient;
use placet_protocol::wire::{GetRequest, WatchRequest};
use serde_json::Value;
use tonic::Status;
use tonic::transport::Channel;

use crate::arguments::Common;

/// The controller's folder where none is named.
pub(crate) fn default_state() -> PathBuf {
    if Uid::effective().is_root() {
        return "/var/lib/placet".into();
    }
    let base = std::env::var_os("XDG_STATE_HOME").map_or_else(
        || PathBuf::from(std::env::var_os("HOME").unwrap_or_default()).join(".local/state"),
        PathBuf::from,
    );
    base.join("placet")
}

/// True if the socket was not named at the command line, but by the environment.
pub(crate) fn is_from_environment(common: &Common) -> bool {
    let named = std::env::var_os("PLACET_ADMIN").map(PathBuf::from);
    named.is_some() && common.socket == named
}

fn socket(common: &Common) -> PathBuf {
    common
        .socket
        .clone()
        .unwrap_or_else(|| default_state().join("admin.sock"))
}

/// Connects to the controller.
pub(crate) async fn connect(common: &Common) -> anyhow::Result<AdminClient<Channel>> {
    let path = socket(common);
    let channel = placet_protocol::admin_connect(&path).await.with_context(|| {
        format!(
            "failed to reach a controller at {}; start one with `placet up`, or name its socket with --socket",
            path.display()
        )
    })?;
    Ok(AdminClient::new(channel).max_decoding_message_size(64 << 20))
}

/// The controller's own words for why it refused.
pub(crate) fn refusal(status: &Status) -> anyhow::Error {
    anyhow!("{}", status.message().to_owned())
}

/// Resources of a kind (all kinds if empty), all or by name.
pub(crate) async fn get(
    client: &mut AdminClient<Channel>,
    kind: &str,
    name: &str,
) -> anyhow::Result<Vec<Value>> {
    let request = GetRequest {
        kind: kind.to_owned(),
        name: name.to_owned(),
    };
    let response = client
        .get(request)
        .await
        .map_err(|status| refusal(&status))?
        .into_inner();
    response
        .objects_json
        .iter()
        .map(|json| {
            serde_json::from_slice(json).context("the controller sent a malformed resource")
        })
        .collect()
}

/// The feed of events.
pub(crate) async fn watch(
    client: &mut AdminClient<Channel>,
    request: WatchRequest,
) -> anyhow::Result<tonic::Streaming<placet_protocol::wire::Event>> {
    Ok(client
        .watch(request)
        .await
        .map_err(|status| refusal(&status))?
        .into_inner())
}
