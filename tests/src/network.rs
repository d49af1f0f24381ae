//! A network of its own for a node, with one wire that can be cut.

use std::net::Ipv4Addr;
use std::process::{Command, Output, Stdio};
use std::sync::atomic::{AtomicU8, Ordering};

/// A network namespace, and one wire from it to this machine. Ends with this value.
#[derive(Debug)]
pub struct Network {
    name: String,
    wire: String,
    host: Ipv4Addr,
}

impl Network {
    /// A network of its own; none where this process may not make one.
    pub fn start() -> Option<Self> {
        static COUNT: AtomicU8 = AtomicU8::new(0);
        let count = COUNT.fetch_add(1, Ordering::Relaxed) % 64;
        let id = std::process::id();
        let [_, _, high, low] = id.to_be_bytes();
        let network = Self {
            name: format!("placet-{id}-{count}"),
            wire: format!("pl{id}-{count}"),
            // Of a range that no network of a test machine is likely to use; four addresses each.
            host: Ipv4Addr::new(10, high | 0xc0, low, 4 * count + 1),
        };
        let made = ip(&["netns", "add", &network.name])?;
        if !made.status.success() {
            let why = String::from_utf8_lossy(&made.stderr).into_owned();
            crate::skipped(&format!("network namespaces: {why}"));
            return None;
        }
        network.lay_wire();
        Some(network)
    }

    fn lay_wire(&self) {
        let [a, b, c, d] = self.host.octets();
        let (here, there) = (
            format!("{}/30", self.host),
            format!("{a}.{b}.{c}.{}/30", d + 1),
        );
        let (wire, name) = (self.wire.as_str(), self.name.as_str());
        for arguments in [
            &[
                "link", "add", wire, "type", "veth", "peer", "name", "node", "netns", name,
            ][..],
            &["address", "add", &here, "dev", wire],
            &["link", "set", wire, "up"],
            &["-n", name, "address", "add", &there, "dev", "node"],
            &["-n", name, "link", "set", "node", "up"],
            &["-n", name, "link", "set", "lo", "up"],
        ] {
            done(arguments);
        }
    }

    /// The address of this machine at its end of the wire.
    pub fn host(&self) -> Ipv4Addr {
        self.host
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
