//! counterd - a self-managing process in Rust that puts changes off instead of refusing them.
//!
//! It counts in rounds of ten seconds. In the middle of a round a restart would lose the count, so
//! it asks to be asked again when the round is over. Between rounds it agrees. Before the change it
//! saves its total, and afterwards asks the node to restart it.
//!
//! ```text
//! cargo run -p placet-examples --example counterd
//! ```
//!
//! Without Placet around it just counts.
#![expect(clippy::print_stdout, reason = "this is what it does")]

use std::path::Path;
use std::time::{Duration, Instant};
use std::{error, fs, thread};

use placet_sdk::{Error, Event, Handling, Outcome, Placet, Vote};

/// How long a round takes, and how long the pause after it.
const ROUND: Duration = Duration::from_secs(10);
const PAUSE: Duration = Duration::from_secs(2);

/// Where the total is kept over a restart: in the folder that the process is started in.
const SAVED: &str = "counterd.total";

fn main() -> Result<(), Box<dyn error::Error>> {
    let mut total = saved();
    println!("counting on from {total}");
    // From here on this process is asked. `None` means that it does not run under Placet.
    let mut placet = Placet::from_env()?;
    placet_sdk::notify_ready()?;
    loop {
        let end = Instant::now() + ROUND;
        hear(&mut placet, end, true, total)?;
        total += 10;
        println!("{total}");
        hear(&mut placet, Instant::now() + PAUSE, false, total)?;
    }
}

/// Hears the node until `end`.
fn hear(
    placet: &mut Option<Placet>,
    end: Instant,
    is_counting: bool,
    total: u64,
) -> Result<(), Box<dyn error::Error>> {
    loop {
        let left = end.saturating_duration_since(Instant::now());
        let Some(node) = placet.as_mut() else {
            thread::sleep(left);
            return Ok(());
        };
        match node.next_event(Some(left)) {
            Ok(Some(event)) => handle(node, &event, is_counting.then_some(left), total)?,
            Ok(None) => return Ok(()),
            // The node daemon may be away for a moment, while it is updated.
            Err(Error::Disconnected) => {
                thread::sleep(left.min(Duration::from_secs(1)));
                // Failing shows in the next turn again.
                let _ = node.reconnect();
            }
            Err(error) => return Err(error.into()),
        }
    }
}

fn handle(
    node: &mut Placet,
    event: &Event,
    round_ends_in: Option<Duration>,
    total: u64,
) -> Result<(), Box<dyn error::Error>> {
    let said = match event {
        Event::Proposed(proposal) => {
            println!("asked about {}: {}", proposal.revision, proposal.summary);
            let vote = match round_ends_in {
                // A full second more, since times travel in whole seconds.
                Some(left) => {
                    Vote::defer(left + Duration::from_secs(1), "in the middle of a round")
                }
                None => Vote::accept(),
            };
            node.vote(proposal, vote)
        }
        Event::Prepare { change_digest, .. } => {
            fs::write(SAVED, total.to_string())?;
            node.ready(change_digest)
        }
        Event::Changed {
            change_digest,
            outcome,
            ..
        } => {
            // If the change failed, what runs is still right. Otherwise: restart me.
            let handling = match outcome {
                Outcome::Failed => Handling::Handled,
                Outcome::Activated | Outcome::Regressed => Handling::Default,
            };
            node.done(change_digest, handling)
        }
        // Of no interest here, as whatever a later version may add.
        _ => Ok(()),
    };
    match said {
        // It was about a question that is over by now.
        Err(Error::Refused { name, .. }) => {
            println!("too late: {name}");
            Ok(())
        }
        other => Ok(other?),
    }
}

fn saved() -> u64 {
    let text = fs::read_to_string(Path::new(SAVED)).unwrap_or_default();
    text.trim().parse().unwrap_or(0)
}
