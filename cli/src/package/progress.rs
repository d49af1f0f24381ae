//! A bar for what travels, where somebody sees it.

use std::io::IsTerminal as _;

use indicatif::{HumanBytes, ProgressBar, ProgressDrawTarget, ProgressStyle};
use placet_package::copy::Copied;
use placet_package::registry::Progress;

/// A bar that is gone with this value.
pub(crate) struct Bar(ProgressBar);

impl Bar {
    pub(crate) fn new(what: &'static str) -> Self {
        let target = if std::io::stderr().is_terminal() {
            ProgressDrawTarget::stderr()
        } else {
            ProgressDrawTarget::hidden()
        };
        let bar = ProgressBar::with_draw_target(Some(0), target);
        let template = "{msg} [{bar:30}] {bytes}/{total_bytes} {bytes_per_sec} {eta}";
        if let Ok(style) = ProgressStyle::with_template(template) {
            bar.set_style(style.progress_chars("=> "));
        }
        bar.set_message(what);
        Self(bar)
    }
}

impl Drop for Bar {
    fn drop(&mut self) {
        self.0.finish_and_clear();
    }
}

impl Progress for Bar {
    fn wanted(&self, bytes: u64) {
        self.0.inc_length(bytes);
    }

    fn moved(&self, bytes: u64) {
        self.0.inc(bytes);
    }

    fn present(&self, bytes: u64) {
        self.0.inc(bytes);
    }
}

/// Says on standard error what travelled.
pub(crate) fn say(copied: &Copied) {
    let bytes = HumanBytes(copied.bytes);
    let (blobs, present) = (copied.blobs, copied.present);
    anstream::eprintln!("{blobs} blobs travelled ({bytes}), {present} were there");
    if copied.referrers > 0 {
        let count = copied.referrers;
        anstream::eprintln!("{count} signatures and other documents came along");
    }
}
