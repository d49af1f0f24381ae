//! Servers that are replaced while they serve: nobody is refused, and no session breaks (C-S6).

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Command;

use placet_model::{ProcessKind, ProcessSpec};

use crate::load::{Load, RATE, SESSIONS, Seen};
use crate::software::{Software, compile_file};
use crate::supervise::{free_address, listens, node};

fn updates() -> usize {
    if std::env::var_os("PLACET_FULL").is_some() {
        20
    } else {
        6
    }
}

/// The server in two versions.
pub(crate) fn server(
    program: &[u8],
    version: u32,
    change: impl FnOnce(&mut ProcessSpec),
) -> Software {
    Software::new()
        .file("usr/lib/data", version.to_string().as_bytes())
        .process("usr/bin/tallyd", program, &["usr/lib/data"], |spec| {
            spec.kind = ProcessKind::SelfManaging;
            spec.notify = true;
            spec.stored_descriptors = 1_024;
            spec.state.saves = ["sessions/1".parse().unwrap()].into();
            spec.state.restores = spec.state.saves.clone();
            change(spec);
        })
}

/// Updates a server back and forth under load.
async fn update(address: SocketAddr, old: &Software, new: &Software) -> (Seen, usize) {
    let (controller, _daemon, mut session) = node(old).await;
    controller.serve(new);
    let load = Load::on(address);
    let mut now = session.running(&["tallyd"]).await["tallyd"];
    let (mut from, mut to) = (old, new);
    for _ in 0..updates() {
        let done = session.change(&from.manifest, &to.manifest).await;
        assert_eq!(done.error, "");
        let next = session.running(&["tallyd"]).await["tallyd"];
        assert_ne!(next, now, "it was replaced");
        now = next;
        (from, to) = (to, from);
        load.go_on(RATE as usize / 4).await;
    }
    load.end()
}

async fn is_hitless(name: &str, program: &[u8]) {
    let address = free_address();
    let version = |version| {
        server(program, version, |spec| {
            listens(&address.to_string())(spec);
            spec.sockets[0].name = "tally".parse().unwrap();
        })
    };
    let (seen, broken) = update(address, &version(1), &version(2)).await;
    eprintln!(
        "{name}: {} updates, {} connections answered, {} refused or reset, {broken} of {SESSIONS} sessions broken, longest gap {:?}",
        updates(),
        seen.answered.len(),
        seen.failed,
        seen.gap()
    );
    assert_eq!((seen.failed, broken), (0, 0));
    assert!(!seen.answered.is_empty());
}

fn examples() -> &'static Path {
    Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../examples"))
}

pub(crate) fn c_server() -> Vec<u8> {
    compile_file(&examples().join("processes/tallyd.c"))
}

fn rust_server() -> Vec<u8> {
    let status = Command::new(env!("CARGO"))
        .args([
            "build",
            "--quiet",
            "-p",
            "placet-examples",
            "--example",
            "tallyd",
        ])
        .current_dir(examples())
        .status()
        .unwrap();
    assert!(status.success());
    let daemon = PathBuf::from(env!("CARGO_BIN_EXE_placetd"));
    std::fs::read(daemon.with_file_name("examples").join("tallyd")).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_in_c_is_replaced_under_load_and_nobody_notices() {
    is_hitless("C", &c_server()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_in_rust_is_replaced_under_load_and_nobody_notices() {
    is_hitless("Rust", &rust_server()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_same_server_without_what_is_held_for_it_is_noticed() {
    let address = free_address();
    let version = |version| {
        server(&c_server(), version, |spec| {
            spec.arguments = vec![address.port().to_string()];
        })
    };
    let (seen, broken) = update(address, &version(1), &version(2)).await;
    eprintln!(
        "plain restart: {} updates, {} connections answered, {} refused or reset, sessions broken {broken} times, longest gap {:?}",
        updates(),
        seen.answered.len(),
        seen.failed,
        seen.gap()
    );
    assert!(broken >= SESSIONS, "{broken}");
}
