//! One server that is replaced by its next version: on a node, and by Debian's package tools with the
//! restart that they end with. The same program, the same machine, the same clients.

use std::fs;
use std::net::{SocketAddr, TcpStream};
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use placet_tests::{evidence, is_full, median};
use serde_json::{Value, json};

use crate::hitless::{c_server, server};
use crate::load::{Load, RATE};
use crate::machine::Machine;
use crate::supervise::{free_address, node};

const UPDATES: u32 = 11;

/// What the updates took.
struct Taken {
    /// From the order to a server that is ready again.
    times: Vec<Duration>,
    /// The longest time without an answer in each of them.
    gaps: Vec<Duration>,
    failed: usize,
}

impl Taken {
    fn figures(self) -> Value {
        let milliseconds = |times: &[Duration]| {
            median(times.iter().map(|it| it.as_secs_f64() * 1_000.0).collect())
        };
        json!({
            "orderToReadyMilliseconds": milliseconds(&self.times),
            "gapMilliseconds": milliseconds(&self.gaps),
            "updates": self.times.len(), "refusedOrReset": self.failed,
        })
    }
}

/// Updates one after the other, each under a load of its own.
async fn measure<F: Future<Output = ()>>(
    address: SocketAddr,
    mut update: impl FnMut(u32) -> F,
) -> Taken {
    let mut taken = Taken {
        times: Vec::new(),
        gaps: Vec::new(),
        failed: 0,
    };
    for version in 2..UPDATES + 2 {
        let load = Load::on(address);
        load.go_on(RATE as usize / 4).await;
        let begun = Instant::now();
        update(version).await;
        taken.times.push(begun.elapsed());
        load.go_on(RATE as usize / 4).await;
        let (seen, _) = load.end();
        taken.gaps.push(seen.gap());
        taken.failed += seen.failed;
    }
    taken
}

async fn on_a_node(program: &[u8], is_hitless: bool) -> Taken {
    let address = free_address();
    let version = |version| {
        server(program, version, |spec| {
            if is_hitless {
                crate::supervise::listens(&address.to_string())(spec);
                spec.sockets[0].name = "tally".parse().unwrap();
            } else {
                spec.arguments = vec![address.port().to_string()];
            }
        })
    };
    let old = version(1);
    let (controller, _daemon, mut session) = node(&old).await;
    session.running(&["tallyd"]).await;
    let session = tokio::sync::Mutex::new((session, old));
    measure(address, |number| {
        let new = version(number);
        controller.serve(&new);
        let session = &session;
        async move {
            let (session, old) = &mut *session.lock().await;
            let done = session.change(&old.manifest, &new.manifest).await;
            assert_eq!(done.error, "");
            session.running(&["tallyd"]).await;
            *old = new;
        }
    })
    .await
}

/// A Debian package of the server, whose last step restarts it as debhelper has it.
fn build(folder: &Path, program: &[u8], version: u32, port: u16) {
    let root = folder.join(format!("root-{version}"));
    let write = |path: &str, mode: u32, content: &[u8]| {
        let path = root.join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, content).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
    };
    let control = format!(
        "Package: placet-tallyd\nVersion: 1.{version}\nArchitecture: all\nMaintainer: nobody <nobody@localhost>\nDescription: a server\n"
    );
    write("DEBIAN/control", 0o644, control.as_bytes());
    let restart = "#!/bin/sh\nset -e\nif [ \"$1\" = configure ]; then /etc/init.d/placet-tallyd restart; fi\n";
    write("DEBIAN/postinst", 0o755, restart.as_bytes());
    write("usr/sbin/placet-tallyd", 0o755, program);
    let data = version.to_string();
    write("usr/lib/placet-tallyd/data", 0o644, data.as_bytes());
    let common = "--pidfile /run/placet-tallyd.pid";
    let script = format!(
        "#!/bin/sh\n### BEGIN INIT INFO\n# Provides: placet-tallyd\n# Required-Start:\n# Required-Stop:\n# Default-Start: 2 3 4 5\n# Default-Stop: 0 1 6\n### END INIT INFO\ncase $1 in\nstart) start-stop-daemon --start --background --make-pidfile {common} --exec /usr/sbin/placet-tallyd -- {port} ;;\nstop) start-stop-daemon --stop --oknodo --retry 5 --remove-pidfile {common} ;;\nrestart) $0 stop; $0 start ;;\nesac\n"
    );
    write("etc/init.d/placet-tallyd", 0o755, script.as_bytes());
    let package = folder.join(format!("{version}.deb"));
    let built = Command::new("dpkg-deb")
        .args(["--root-owner-group", "--build"])
        .args([&root, &package])
        .output()
        .unwrap();
    assert!(built.status.success(), "{built:?}");
}

/// What is installed stays in the machine's own memory.
const APART: &str = "mount -t tmpfs none /mnt
mount -t tmpfs none /run
for it in var etc usr; do
    mkdir /mnt/$it /mnt/$it-work
    mount -t overlay none -o lowerdir=/$it,upperdir=/mnt/$it,workdir=/mnt/$it-work /$it || exit
done
rm -f /usr/sbin/policy-rc.d /etc/apt/apt.conf.d/*needrestart*";

async fn by_debian(mut machine: Machine, program: &[u8]) -> Taken {
    let address = free_address();
    let folder = tempfile::tempdir().unwrap();
    for version in 1..UPDATES + 2 {
        build(folder.path(), program, version, address.port());
    }
    machine.run(APART);
    let packages = folder.path().display().to_string();
    let mut install = move |version: u32| {
        let options = "-q -y --no-install-recommends -o APT::Sandbox::User=root";
        let command = format!(
            "DEBIAN_FRONTEND=noninteractive apt-get install {options} {packages}/{version}.deb </dev/null"
        );
        machine.run(&command);
        // The service is restarted by then, and may not listen yet.
        while TcpStream::connect(address).is_err() {
            std::thread::yield_now();
        }
    };
    install(1);
    measure(address, |version| {
        install(version);
        std::future::ready(())
    })
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_is_updated_sooner_and_with_a_smaller_gap_than_by_the_package_manager() {
    if !is_full() {
        return;
    }
    let Some(machine) = Machine::with(&["apt-get", "dpkg-deb", "start-stop-daemon"]) else {
        return;
    };
    let program = c_server();
    let hitless = on_a_node(&program, true).await;
    assert_eq!(hitless.failed, 0);
    let restarted = on_a_node(&program, false).await.figures();
    let debian = by_debian(machine, &program).await.figures();
    let hitless = hitless.figures();
    let shorter = |what: &str| {
        let [one, other] = [&restarted, &debian].map(|it| it[what].as_f64().unwrap());
        assert!(one < other, "{what}: {restarted} {debian}");
    };
    shorter("orderToReadyMilliseconds");
    evidence(
        "one-package",
        &json!({ "hitless": hitless, "restarted": restarted, "aptGetInstall": debian }),
    );
}
