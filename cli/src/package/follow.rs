//! Builds and imports that a person follows: a bar on a terminal, and an end where they want one.

use std::cell::Cell;
use std::io::IsTerminal as _;
use std::ops::ControlFlow;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use anyhow::Context as _;
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use placet_packager::{Step, Watch};
use tokio::signal::unix::{SignalKind, signal};

/// Does `work` on a thread of its own until it is done, or until somebody wants it to end.
pub(super) async fn follow<T: Send + 'static>(
    work: impl FnOnce(Watch<'_>) -> T + Send + 'static,
) -> anyhow::Result<T> {
    let cancelled = Arc::new(AtomicBool::new(false));
    let seen = Arc::clone(&cancelled);
    let work = tokio::task::spawn_blocking(move || {
        let bar = Bar::new();
        work(&|step: Step<'_>| {
            bar.show(&step);
            if seen.load(Ordering::Relaxed) {
                return ControlFlow::Break(());
            }
            ControlFlow::Continue(())
        })
    });
    let ending = tokio::spawn(async move {
        if end_wanted().await.is_ok() {
            cancelled.store(true, Ordering::Relaxed);
        }
    });
    let done = work.await.context("the work broke off")?;
    ending.abort();
    Ok(done)
}

/// Returns at Ctrl-C, and when the terminal or the system manager wants the program to end.
async fn end_wanted() -> std::io::Result<()> {
    let mut terminate = signal(SignalKind::terminate())?;
    let mut hang_up = signal(SignalKind::hangup())?;
    tokio::select! {
        result = tokio::signal::ctrl_c() => result,
        _ = terminate.recv() => Ok(()),
        _ = hang_up.recv() => Ok(()),
    }
}

/// A bar that is gone with this value.
struct Bar {
    bar: ProgressBar,
    /// Whether bytes are counted, once something was shown.
    counts_bytes: Cell<Option<bool>>,
}

const BYTES: &str = "{prefix} [{bar:30}] {bytes}/{total_bytes} {bytes_per_sec}";
const STEPS: &str = "{spinner} {prefix} {elapsed} {wide_msg:.dim}";

impl Bar {
    fn new() -> Self {
        let bar = ProgressBar::new(0);
        if !std::io::stderr().is_terminal() {
            bar.set_draw_target(ProgressDrawTarget::hidden());
        }
        bar.enable_steady_tick(Duration::from_millis(100));
        Self {
            bar,
            counts_bytes: Cell::new(None),
        }
    }

    fn show(&self, step: &Step<'_>) {
        match step {
            Step::Fetching { bytes, of } => self.count("fetching", *bytes, *of),
            Step::Reading { bytes, of } => self.count("reading", *bytes, *of),
            Step::Command {
                number,
                count,
                command,
                line,
            } => {
                let first = command.lines().next().unwrap_or_default();
                let said = if line.is_empty() { first } else { *line };
                let said = placet_model::visible(said.trim_end()).to_string();
                self.tell(format!("command {number} of {count}"), said);
            }
            Step::Module {
                number,
                count,
                path,
            } => self.tell(format!("module {number} of {count}"), path.to_string()),
        }
    }

    fn count(&self, what: &'static str, bytes: u64, of: u64) {
        self.set_style(true);
        self.bar.set_prefix(what);
        self.bar.set_length(of);
        self.bar.set_position(bytes);
    }

    fn tell(&self, what: String, message: String) {
        self.set_style(false);
        self.bar.set_prefix(what);
        self.bar.set_message(message);
    }

    fn set_style(&self, counts_bytes: bool) {
        if self.counts_bytes.replace(Some(counts_bytes)) == Some(counts_bytes) {
            return;
        }
        let template = if counts_bytes { BYTES } else { STEPS };
        let style = ProgressStyle::with_template(template).expect("the templates are fixed");
        self.bar.set_style(style.progress_chars("=> "));
    }
}

impl Drop for Bar {
    fn drop(&mut self) {
        self.bar.finish_and_clear();
    }
}
