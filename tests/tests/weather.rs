//! Three nodes in networks of their own that are slow, lose a part of what is sent, and are cut:
//! roll-outs end right, and transfers go on where they stopped.
//!
//! The networks, their cuts and their TCP are the kernel's; this process only carries the packets from
//! wire to wire, late, and loses some. A proxy behind the wire counts, and ends connections halfway.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

use std::collections::BTreeMap;
use std::fs;
use std::net::SocketAddr;
use std::path::Path;
use std::time::{Duration, Instant};

use placet_tests::{
    Away, Event, Fleet, FleetOptions, Network, Proxy, Weather, assert_never_a_mixture, evidence,
    free_address, is_full,
};
use serde_json::json;

const NODES: [&str; 3] = ["core-1", "core-2", "edge-1"];

/// There and back take 200 ms in a full run.
fn bad() -> Weather {
    Weather {
        delay: Duration::from_millis(if is_full() { 100 } else { 20 }),
        loses_one_in: 20,
    }
}

/// What the first roll-out brings to every node besides the example packages, in bytes.
fn bulk() -> usize {
    if is_full() { 4 << 20 } else { 1 << 19 }
}

fn cut() -> Duration {
    Duration::from_secs(if is_full() { 60 } else { 4 })
}

struct World {
    networks: BTreeMap<&'static str, Network>,
    proxies: BTreeMap<&'static str, Proxy>,
    fleet: Fleet,
}

/// None where this process may not make networks.
async fn world() -> Option<World> {
    let address = free_address();
    let target: SocketAddr = address.parse().unwrap();
    let mut networks = BTreeMap::new();
    let mut proxies = BTreeMap::new();
    let mut away = BTreeMap::new();
    for node in NODES {
        let network = Network::start_in(bad())?;
        let proxy = Proxy::start_at(network.host().into(), target);
        away.insert(node, Away::new(&network, proxy.address()));
        proxies.insert(node, proxy);
        networks.insert(node, network);
    }
    let options = FleetOptions {
        nodes: NODES.to_vec(),
        address: Some(address),
        away,
        ..FleetOptions::default()
    };
    let fleet = Fleet::start(options).await;
    Some(World {
        networks,
        proxies,
        fleet,
    })
}

/// A package with one large file of noise, which cannot be compressed.
fn declare_bulk(fleet: &Fleet) {
    let folder = fleet.path("bulk");
    fs::create_dir(&folder).unwrap();
    let noise: Vec<u8> = (0..bulk()).map(|_| rand::random()).collect();
    fs::write(folder.join("noise"), noise).unwrap();
    let package = "name: bulk\nversion: 1.0.0\nmodules:\n  - path: usr/share/bulk/noise\n    source: noise\n    mode: \"0644\"\n";
    fs::write(folder.join("bulk.yaml"), package).unwrap();
    let layout = folder.join("layout");
    let options = placet_packager::BuildOptions::default();
    placet_packager::build(&folder.join("bulk.yaml"), &layout, &options).unwrap();
    let path = fleet.path("fleet/packages.yaml");
    let text = fs::read_to_string(&path).unwrap();
    let layout = layout.display();
    let more = format!(
        "    - name: bulk\n      version: 1.0.0\n      reference: oci-layout:{layout}:1.0.0\n"
    );
    fs::write(path, text + &more).unwrap();
}

/// Bytes of all files of a node's generation: what had to travel.
fn size_of(folder: &Path) -> u64 {
    let mut size = 0;
    for entry in fs::read_dir(folder).unwrap().flatten() {
        let kind = entry.file_type().unwrap();
        if kind.is_dir() {
            size += size_of(&entry.path());
        } else if kind.is_file() {
            size += entry.metadata().unwrap().len();
        }
    }
    size
}

/// Waits until so much has arrived at a node.
async fn until_arrived(network: &Network, bytes: u64) {
    while network.arrived() < bytes {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

/// Waits until the revision of `commit` runs everywhere; nothing may be heard for minutes.
async fn verified(fleet: &mut Fleet, commit: &str) {
    let wanted =
        |event: &Event| event.name == "verified" && event.text("revision").ends_with(commit);
    let what = format!("{commit} to be verified");
    fleet.feed.wait_long(0, &what, 300, wanted).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn rollouts_end_right_and_transfers_go_on_where_they_stopped() {
    let Some(mut world) = world().await else {
        return;
    };
    declare_bulk(&world.fleet);
    let begun = Instant::now();
    let before = world.networks["core-1"].arrived();
    let half = bulk() as u64 / 2;
    let commit = world.fleet.commit("The fleet begins");
    world.fleet.follow_repository();
    // The connections of one node are ended halfway, the wire of another is cut and nobody told.
    until_arrived(&world.networks["core-1"], before + half).await;
    world.proxies["core-1"].cut();
    world.networks["edge-1"].cut();
    // Not a wait for something: so long the cut lasts.
    tokio::time::sleep(cut()).await;
    world.proxies["core-1"].mend();
    world.networks["edge-1"].mend();
    verified(&mut world.fleet, &commit).await;
    let first = begun.elapsed();
    let travelled = world.networks["core-1"].arrived() - before;
    let size = size_of(&world.fleet.path("core-1/committed/tree"));
    // Half of the bulk would have come twice. What is there beside the files are orders and TLS.
    assert!(size > bulk() as u64, "{size}");
    assert!(
        travelled < size + size / 4,
        "{travelled} bytes came for {size}"
    );

    // And a change while a node is away: it is made there too, when it is back.
    let begun = Instant::now();
    let commit = world.fleet.commit_greet("1.1.0");
    world.networks["core-2"].cut();
    tokio::time::sleep(cut()).await;
    world.networks["core-2"].mend();
    verified(&mut world.fleet, &commit).await;
    for node in NODES {
        assert_never_a_mixture(&world.fleet, node);
    }
    evidence(
        "bad-networks",
        &json!({
            "nodes": NODES.len(), "delayMillisecondsEachWay": bad().delay.as_millis(), "lossPercent": 5,
            "cutSeconds": cut().as_secs(), "moduleBytes": size, "bytesThatCame": travelled,
            "firstRolloutSeconds": first.as_secs_f64(),
            "secondRolloutSeconds": begun.elapsed().as_secs_f64(),
        }),
    );
}
