//! A network of its own for a node, with one wire that can be cut.

use std::net::Ipv4Addr;
use std::process::{Command, Output, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, AtomicU64, Ordering};

use crate::wire::{self, Weather};

/// What the wire is called inside.
const NODE: &str = "node";

/// A network namespace, and one wire from it to this machine. Ends with this value.
#[derive(Debug)]
pub struct Network {
    name: String,
    wire: String,
    host: Ipv4Addr,
    arrived: Arc<AtomicU64>,
}

impl Network {
    /// A network of its own; none where this process may not make one.
    pub fn start() -> Option<Self> {
        let network = Self::unwired()?;
        let (wire, name) = (network.wire.as_str(), network.name.as_str());
        done(&[
            "link", "add", wire, "type", "veth", "peer", "name", NODE, "netns", name,
        ]);
        network.put_up();
        Some(network)
    }

    /// The same, with a wire on which packets are late and get lost.
    pub fn start_in(weather: Weather) -> Option<Self> {
        let mut network = Self::unwired()?;
        let there = format!("{}n", network.wire);
        let laid = wire::lay(&network.wire, &there, weather);
        let laid = laid.inspect_err(|error| {
            crate::skipped(&format!("a wire that loses packets: {error}"));
        });
        network.arrived = laid.ok()?;
        done(&["link", "set", &there, "netns", &network.name, "name", NODE]);
        network.put_up();
        Some(network)
    }

    fn unwired() -> Option<Self> {
        static COUNT: AtomicU8 = AtomicU8::new(0);
        let count = COUNT.fetch_add(1, Ordering::Relaxed) % 64;
        let id = std::process::id();
        let [_, _, high, low] = id.to_be_bytes();
        let network = Self {
            name: format!("placet-{id}-{count}"),
            wire: format!("pl{id}-{count}"),
            // Of a range that no network of a test machine is likely to use; four addresses each.
            host: Ipv4Addr::new(10, high | 0xc0, low, 4 * count + 1),
            arrived: Arc::default(),
        };
        let made = ip(&["netns", "add", &network.name])?;
        if !made.status.success() {
            let why = String::from_utf8_lossy(&made.stderr).into_owned();
            crate::skipped(&format!("network namespaces: {why}"));
            return None;
        }
        Some(network)
    }

    /// Gives both ends of the wire their addresses.
    fn put_up(&self) {
        let [a, b, c, d] = self.host.octets();
        let (here, there) = (
            format!("{}/30", self.host),
            format!("{a}.{b}.{c}.{}/30", d + 1),
        );
        let (wire, name) = (self.wire.as_str(), self.name.as_str());
        for arguments in [
            &["address", "add", &here, "dev", wire][..],
            &["link", "set", wire, "up"],
            &["-n", name, "address", "add", &there, "dev", NODE],
            &["-n", name, "link", "set", NODE, "up"],
            &["-n", name, "link", "set", "lo", "up"],
        ] {
            done(arguments);
        }
    }

    /// The address of this machine at its end of the wire.
    pub fn host(&self) -> Ipv4Addr {
        self.host
    }

    /// Bytes that have arrived inside so far, by a wire of [`Network::start_in`].
    pub fn arrived(&self) -> u64 {
        self.arrived.load(Ordering::Relaxed)
    }

    /// A command that runs a program inside.
    pub(crate) fn command(&self) -> Vec<String> {
        ["ip", "netns", "exec", &self.name]
            .map(str::to_owned)
            .into()
    }

    /// Cuts the wire: what is sent is lost, and nobody is told.
    pub fn cut(&self) {
        done(&["link", "set", &self.wire, "down"]);
    }

    /// Mends the wire.
    pub fn mend(&self) {
        done(&["link", "set", &self.wire, "up"]);
    }
}

impl Drop for Network {
    fn drop(&mut self) {
        // Its end of the wire goes with it, and so does the other.
        let _ = ip(&["link", "delete", &self.wire]);
        let _ = ip(&["netns", "delete", &self.name]);
    }
}

fn ip(arguments: &[&str]) -> Option<Output> {
    let output = Command::new("ip")
        .args(arguments)
        .stdin(Stdio::null())
        .output();
    output
        .inspect_err(|error| crate::skipped(&format!("network namespaces: `ip`: {error}")))
        .ok()
}

fn done(arguments: &[&str]) {
    let output = ip(arguments).expect("`ip` was there before");
    let error = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "ip {arguments:?}: {error}");
}
