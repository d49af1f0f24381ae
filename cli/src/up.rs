//! `placet up`: the controller on the embedded store, for real use on one machine.

use std::path::Path;
use std::time::Duration;

use anyhow::Context as _;
use jiff::SignedDuration;
use placet_controller::{InitialSource, Options};
use placet_protocol::wire::TokenRequest;
use tokio::signal::unix::{SignalKind, signal};
use tracing_subscriber::EnvFilter;

use crate::arguments::{Common, Up};
use crate::output::{Answer, Format};
use crate::{client, node};

/// `placet up`.
pub(crate) async fn run(arguments: Up, common: &Common) -> anyhow::Result<Answer> {
    let filter = EnvFilter::try_new(&arguments.log)
        .with_context(|| format!("`{}` is not a log filter; try `info`", arguments.log))?;
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .init();
    let options = options(arguments);
    let reachable = Common {
        socket: Some(options.state.join("admin.sock")),
        ..common.clone()
    };
    let greeting = tokio::spawn(async move {
        // The controller runs whether or not anybody can be greeted.
        let _ = greet(&reachable).await;
    });
    let ended = placet_controller::run(options, ended()?).await;
    greeting.abort();
    ended?;
    Ok(Answer::Done)
}

fn options(arguments: Up) -> Options {
    let state = arguments.state.unwrap_or_else(client::default_state);
    let mut names = arguments.name;
    if names.is_empty() {
        names.extend(
            nix::unistd::gethostname()
                .ok()
                .and_then(|name| name.into_string().ok()),
        );
        names.push("localhost".to_owned());
    }
    Options {
        listen: arguments.listen,
        receiver_listen: arguments.receiver_listen,
        metrics_listen: arguments.metrics_listen,
        otlp_endpoint: arguments.otlp_endpoint,
        names,
        packages: arguments.packages,
        certificate_lifetime: SignedDuration::from_secs(arguments.certificate_seconds.into()),
        rollouts_kept: arguments.rollouts_kept,
        source: arguments.source.map(|url| InitialSource {
            url: absolute(&url),
            branch: arguments.branch,
            path: arguments.path,
        }),
        ..Options::new(state)
    }
}

/// A path is made absolute, since the controller keeps it; a URL stays what it is.
fn absolute(url: &str) -> String {
    let path = Path::new(url);
    if !path.is_dir() {
        return url.to_owned();
    }
    path.canonicalize()
        .map_or_else(|_| url.to_owned(), |path| path.display().to_string())
}

/// Ends when the controller is told to.
fn ended() -> anyhow::Result<impl Future<Output = ()>> {
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    Ok(async move {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
    })
}

/// How long a token that is printed at the start can be used.
const VALID_SECONDS: u32 = 3_600;

/// Says how to go on, once the controller answers; where no node has joined yet, with a line that
/// joins this machine.
async fn greet(common: &Common) -> anyhow::Result<()> {
    let mut client = loop {
        match client::connect(common).await {
            Ok(client) => break client,
            Err(_) => tokio::time::sleep(Duration::from_millis(50)).await,
        }
    };
    if common.output != Format::Table {
        return Ok(());
    }
    let socket = common.socket.as_deref().unwrap_or(Path::new(""));
    anstream::println!(
        "Placet is up. Its other commands find it with --socket {}",
        socket.display()
    );
    if !client::get(&mut client, "FleetNode", "").await?.is_empty() {
        return Ok(());
    }
    let name = nix::unistd::gethostname()
        .ok()
        .and_then(|name| name.into_string().ok());
    let name = name.filter(|name| name.parse::<placet_model::NodeName>().is_ok());
    let name = name.unwrap_or_else(|| "node-1".to_owned());
    let request = TokenRequest {
        node: name.clone(),
        valid_seconds: VALID_SECONDS,
        replace: false,
        every_boot: false,
    };
    let token = client.create_token(request).await?.into_inner();
    anstream::println!(
        "\nThis line joins this machine as node {name}; it works once, until {}:\n",
        token.expires
    );
    anstream::println!(
        "  {}\n",
        node::join_line(&name, &token.token, &token.addresses)
    );
    anstream::println!("For another node: placet node token NAME");
    Ok(())
}
