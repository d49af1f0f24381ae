//! Programs that keep credentials: `docker-credential-…`, as Docker's configuration names them.

use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use placet_model::visible;
use serde::Deserialize;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWriteExt as _};
use tokio::process::Command;

use super::access::{AccessError, Credentials, host_of};

/// Somebody may have to unlock what is kept.
const TIME: Duration = Duration::from_mins(1);
/// More than the longest token.
const MOST: u64 = 256 << 10;
/// As much of what it says as people are shown.
const SHOWN: usize = 300;
/// It keeps a token in the place of a password, and says so by this name.
const TOKEN: &str = "<token>";

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Kept {
    username: String,
    secret: String,
}

/// What the helper `name` has for `host`; nothing if it says that it has nothing.
pub(super) async fn ask(name: &str, host: &str) -> Result<Option<Credentials>, AccessError> {
    let refuse = |why: String| AccessError::Helper {
        name: name.to_owned(),
        host: host.to_owned(),
        why,
    };
    let is_name = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte);
    if name.is_empty() || !name.bytes().all(is_name) {
        return Err(refuse("this is not the name of a program".to_owned()));
    }
    let program = format!("docker-credential-{name}");
    let ran = tokio::time::timeout(TIME, run(&program, key(host))).await;
    let ran = ran.map_err(|_| refuse(format!("it took more than {} s", TIME.as_secs())))?;
    let (status, said) = ran.map_err(|error| refuse(error.to_string()))?;
    if !status.success() {
        return match reason(&said) {
            text if text.contains("credentials not found") => Ok(None),
            text => Err(refuse(format!("{status}{text}"))),
        };
    }
    // An error of the parser could repeat a part of the secret.
    let kept: Kept = serde_json::from_slice(&said)
        .map_err(|_| refuse("what it says is not JSON with Username and Secret".to_owned()))?;
    Ok(Some(if kept.username == TOKEN {
        Credentials::Identity(kept.secret)
    } else {
        Credentials::Password {
            name: kept.username,
            word: kept.secret,
        }
    }))
}

/// The name under which a registry's credentials are kept.
fn key(host: &str) -> &str {
    match host_of(host) {
        "docker.io" => "https://index.docker.io/v1/",
        _ => host,
    }
}

async fn run(program: &str, key: &str) -> std::io::Result<(ExitStatus, Vec<u8>)> {
    let mut child = Command::new(program)
        .arg("get")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .kill_on_drop(true)
        .spawn()?;
    if let Some(mut input) = child.stdin.take() {
        // One that does not listen is judged by what it says.
        let _ = input.write_all(key.as_bytes()).await;
    }
    let (said, complained) = tokio::join!(read(child.stdout.take()), read(child.stderr.take()));
    let status = child.wait().await?;
    let said = said?;
    let is_silent = said.trim_ascii().is_empty() && !status.success();
    Ok((status, if is_silent { complained? } else { said }))
}

async fn read(stream: Option<impl AsyncRead + Unpin>) -> std::io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    if let Some(stream) = stream {
        stream.take(MOST).read_to_end(&mut bytes).await?;
    }
    Ok(bytes)
}

/// What a helper that failed says, unless that could be what it keeps.
fn reason(said: &[u8]) -> String {
    let text = String::from_utf8_lossy(said);
    let text: String = text.trim().chars().take(SHOWN).collect();
    if text.is_empty() || text.contains("Secret") {
        return String::new();
    }
    format!(": {}", visible(&text))
}
