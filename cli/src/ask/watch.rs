//! Taking part in votes by hand: events on standard output, calls on standard input.

use std::io::{self, IsTerminal as _, Write as _};
use std::os::fd::AsFd as _;
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use serde_json::{Value, json};

use super::channel::{Channel, Pieces, Reply};
use super::words;
use crate::output::{Answer, Format};

/// How long the node daemon may be away; it comes back at once when it was restarted.
const AWAY: Duration = Duration::from_secs(30);

/// Pause between two tries to reach it.
const PAUSE: Duration = Duration::from_millis(100);

/// A registration: the two connections of the interface.
struct Watch<'a> {
    path: &'a Path,
    format: Format,
    calls: Channel,
    events: Channel,
}

/// Registers, prints events, and makes the calls that are asked for, until the node daemon is gone
/// or nobody reads.
pub(super) fn run(path: &Path, format: Format) -> anyhow::Result<Answer> {
    let Some((calls, events)) = register(path, format)? else {
        return Ok(Answer::No);
    };
    let mut watch = Watch {
        path,
        format,
        calls,
        events,
    };
    let stdin = io::stdin();
    if stdin.is_terminal() {
        anstream::eprintln!(
            "Registered. Calls: accept CHANGE, veto CHANGE MESSAGE, defer CHANGE UNTIL MESSAGE, \
             ready CHANGE, done CHANGE, default CHANGE, or a method with its parameters in JSON."
        );
    }
    let (mut lines, mut is_open) = (Pieces::default(), true);
    loop {
        let mut sources = vec![PollFd::new(watch.events.as_fd(), PollFlags::POLLIN)];
        if is_open {
            sources.push(PollFd::new(stdin.as_fd(), PollFlags::POLLIN));
        }
        match poll(&mut sources, PollTimeout::NONE) {
            Err(nix::Error::EINTR) => continue,
            result => result.context("failed to wait for events")?,
        };
        let is_ready: Vec<_> = sources.iter().map(|it| it.any() == Some(true)).collect();
        if is_ready[0] && !watch.hear()? {
            return Ok(Answer::No);
        }
        if is_ready.get(1) == Some(&true) {
            let mut chunk = [0; 4_096];
            let read = nix::unistd::read(&stdin, &mut chunk).context("failed to read calls")?;
            is_open = read > 0;
            lines.add(&chunk[..read]);
        }
        while let Some(line) = lines.take(b'\n')? {
            watch.call(&String::from_utf8_lossy(&line))?;
        }
    }
}

/// Registers; none if that was refused, which is said.
fn register(path: &Path, format: Format) -> anyhow::Result<Option<(Channel, Channel)>> {
    let connect = || {
        Channel::connect(path)
            .with_context(|| format!("failed to connect to the vote socket `{}`", path.display()))
    };
    let (mut calls, mut events) = (connect()?, connect()?);
    let client = json!({"client": "placet node ask"});
    match calls.call("dev.placet.Vote.Register", &client)? {
        None => bail!(
            "the node daemon hung up: `{}` has too many connections",
            path.display()
        ),
        Some(reply) if reply.error.is_some() => {
            say(&reply, format)?;
            return Ok(None);
        }
        Some(_) => {}
    }
    events.send(&json!({"method": "dev.placet.Vote.Watch", "more": true}))?;
    Ok(Some((calls, events)))
}

impl Watch<'_> {
    /// Prints the events that are there; false if it is no longer registered.
    fn hear(&mut self) -> anyhow::Result<bool> {
        let is_there = self.events.read()?;
        while let Some(event) = self.events.next()? {
            if event.error.is_some() {
                say(&event, self.format)?;
                return Ok(false);
            }
            let line = match self.format {
                Format::Table | Format::Markdown | Format::Junit | Format::Sarif => {
                    words::event(&event.parameters)
                }
                Format::Json | Format::Yaml => event.parameters.to_string(),
            };
            print(&line)?;
        }
        if is_there { Ok(true) } else { self.reconnect() }
    }

    /// The node daemon was restarted, or has gone.
    fn reconnect(&mut self) -> anyhow::Result<bool> {
        let until = Instant::now() + AWAY;
        loop {
            match register(self.path, self.format) {
                Ok(None) => return Ok(false),
                Ok(Some((calls, events))) => {
                    (self.calls, self.events) = (calls, events);
                    return Ok(true);
                }
                Err(_) if Instant::now() < until => std::thread::sleep(PAUSE),
                Err(error) => return Err(error),
            }
        }
    }

    /// Makes the call that a line asks for. One that makes no sense, or that is refused, is told.
    fn call(&mut self, line: &str) -> anyhow::Result<()> {
        if line.trim().is_empty() {
            return Ok(());
        }
        let reply = match words::call(line) {
            Ok((method, parameters)) => self.calls.call(&method, &parameters)?,
            Err(error) => {
                anstream::eprintln!("{error:#}");
                return Ok(());
            }
        };
        match reply {
            // The end of the other connection says more.
            None => Ok(()),
            Some(reply) => say(&reply, self.format),
        }
    }
}

/// Prints what a call was answered with. Nothing is said where nothing was answered.
fn say(reply: &Reply, format: Format) -> anyhow::Result<()> {
    let Reply { error, parameters } = reply;
    let is_empty = parameters.as_object().is_none_or(serde_json::Map::is_empty);
    match (format, error) {
        (Format::Json | Format::Yaml, Some(error)) => {
            print(&json!({"error": error, "parameters": parameters}).to_string())
        }
        (Format::Json | Format::Yaml, None) => print(&json!({"reply": parameters}).to_string()),
        (_, Some(error)) => {
            anstream::eprintln!("{}", super::refusal(error, parameters));
            Ok(())
        }
        (_, None) if is_empty => Ok(()),
        (_, None) => print(&format!("reply {}", Value::to_string(parameters))),
    }
}

/// A line, at once: whoever reads it waits for it.
fn print(line: &str) -> anyhow::Result<()> {
    let mut stdout = io::stdout().lock();
    writeln!(stdout, "{line}")
        .and_then(|()| stdout.flush())
        .context("nobody reads the events any more")
}
