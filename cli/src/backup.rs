//! `placet backup` and `placet restore`: the controller of `placet up` on another machine, or after
//! its disk was lost.

use std::fs::{self, File, OpenOptions};
use std::io::Write as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use anyhow::Context as _;
use placet_controller::home::embedded;
use placet_protocol::wire::BackupRequest;
use serde_json::json;

use crate::arguments::{Backup, Common, Restore};
use crate::client;
use crate::output::{self, Answer, Format};

/// `placet backup`.
pub(crate) async fn take(arguments: &Backup, common: &Common) -> anyhow::Result<Answer> {
    let file = &arguments.file;
    let mut client = client::connect(common).await?;
    let chunks = client.backup(BackupRequest {}).await;
    let mut chunks = chunks
        .map_err(|status| client::refusal(&status))?
        .into_inner();
    let draft = PathBuf::from(format!("{}.part", file.display()));
    let failed = |path: &Path| format!("failed to write {}", path.display());
    let mut part = private(&draft).with_context(|| failed(&draft))?;
    let mut bytes = 0;
    let received = async {
        while let Some(chunk) = chunks.message().await.map_err(|it| client::refusal(&it))? {
            part.write_all(&chunk.data)
                .with_context(|| failed(&draft))?;
            bytes += chunk.data.len();
        }
        part.sync_all().with_context(|| failed(&draft))?;
        fs::rename(&draft, file).with_context(|| failed(file))
    };
    let received = received.await;
    if received.is_err() {
        // The backup that was there before stays as it is.
        let _ = fs::remove_file(&draft);
    }
    received?;
    match common.output {
        Format::Table => anstream::println!("{}: {bytes} bytes", file.display()),
        format => output::print(&json!({ "file": file, "bytes": bytes }), format)?,
    }
    Ok(Answer::Done)
}

/// A file that nobody else can read, in place of what was there.
fn private(path: &Path) -> std::io::Result<File> {
    let _ = fs::remove_file(path);
    let mut options = OpenOptions::new();
    options.write(true).create_new(true).mode(0o600).open(path)
}

/// `placet restore`.
pub(crate) fn restore(arguments: &Restore) -> anyhow::Result<Answer> {
    let state = arguments.state.clone();
    let state = state.unwrap_or_else(client::default_state);
    embedded::restore(&arguments.file, &state)?;
    let state = state.display();
    anstream::println!("{state} is laid out; start the controller: placet up --state {state}");
    Ok(Answer::Done)
}
