//! `placet up`: the controller on the embedded store, for real use on one machine.

use std::path::PathBuf;

use anyhow::Context as _;
use placet_controller::Options;
use placet_protocol::wire::TokenRequest;
use tokio::sync::oneshot;
use tracing_subscriber::EnvFilter;

use crate::arguments::{Common, Up};
use crate::output::{self, Answer};
use crate::{client, node};

/// `placet up`.
pub(crate) async fn run(arguments: Up, common: &Common) -> anyhow::Result<Answer> {
    let filter = EnvFilter::try_new(&arguments.log)
        .with_context(|| format!("`{}` is not a log filter", arguments.log))?;
    tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr).init();
    let state = arguments.state.clone().unwrap_or_else(client::default_state);
    let options = options(&arguments, &state);
    let (ready, listening) = oneshot::channel();
    let admin = common.clone();
    let greeting = tokio::spawn(async move {
        if let Ok(()) = listening.await {
            greet(Common { socket: Some(state.join("admin.sock")), ..admin }).await;
        }
    });
    placet_controller::run(options, Some(ready), shutdown()?).await?;
    greeting.abort();
    Ok(Answer::Done)
}
