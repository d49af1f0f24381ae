//! Development tasks: `cargo xtask check | test | servers | generate`.

#![expect(clippy::print_stdout, reason = "a command says what it does")]

mod images;
mod servers;

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Instant;
use std::{env, fs};

use anyhow::{Context as _, bail};
use clap::{Parser, Subcommand};

#[derive(Debug, Parser)]
#[command(name = "cargo xtask", about = "Development tasks of Placet")]
struct Cli {
    #[command(subcommand)]
    task: Task,
}

#[derive(Debug, Subcommand)]
enum Task {
    /// Formatting, clippy and documentation, warnings denied.
    Check,
    /// Prepares what the tests need, checks, and runs all tests.
    Test {
        /// Run the long matrices whole instead of a sample, and keep the figures in `docs/evidence/`.
        #[arg(long)]
        full: bool,
    },
    /// Builds the servers that the tests on Kubernetes run, once on this machine.
    Servers,
    /// Writes the generated files.
    Generate,
    /// Has this build and that of an earlier revision work together.
    Skew {
        /// The revision.
        revision: String,
    },
    /// Builds static programs and writes an OCI layout for each container image.
    Images(images::Images),
}

fn main() -> anyhow::Result<()> {
    env::set_current_dir(root())?;
    match Cli::parse().task {
        Task::Check => check(),
        Task::Test { full } => test(full),
        Task::Servers => {
            let folder = servers::prepare(&root())?;
            println!("{}", folder.display());
            Ok(())
        }
        Task::Generate => generate(),
        Task::Skew { revision } => skew(&revision),
        Task::Images(arguments) => images::run(&arguments),
    }
}

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .parent()
        .unwrap_or(Path::new("."))
        .to_owned()
}

/// Builds `revision` beside this one, and runs the test that needs both.
fn skew(revision: &str) -> anyhow::Result<()> {
    let folder = root().join("target/skew");
    let path = folder.to_str().context("a path that is text")?;
    if folder.join("Cargo.toml").exists() {
        git(&["-C", path, "checkout", "--quiet", "--detach", revision])?;
    } else {
        git(&["worktree", "prune"])?;
        git(&["worktree", "add", "--quiet", "--detach", path, revision])?;
    }
    let manifest = format!("{path}/Cargo.toml");
    let target = [("CARGO_TARGET_DIR", "target/skew/target")];
    let build = [
        "build",
        "--locked",
        "--package",
        "placet-cli",
        "--manifest-path",
    ];
    cargo(&[&build[..], &[&manifest]].concat(), &target)?;
    let older = folder.join("target/debug/placet");
    let test = [
        "test",
        "--locked",
        "--workspace",
        "--test",
        "older",
        "--",
        "--ignored",
    ];
    cargo(&test, &[("PLACET_OLDER", &older.to_string_lossy())])
}

fn check() -> anyhow::Result<()> {
    cargo(&["fmt", "--all", "--check"], &[])?;
    cargo(
        &[
            "clippy",
            "--locked",
            "--workspace",
            "--all-targets",
            "--",
            "-D",
            "warnings",
        ],
        &[],
    )?;
    cargo(
        &["doc", "--locked", "--workspace", "--no-deps"],
        &[("RUSTDOCFLAGS", "-D warnings")],
    )
}

fn test(full: bool) -> anyhow::Result<()> {
    let started = Instant::now();
    prepare()?;
    let skipped = prepare_servers()?;
    check()?;
    // Also builds the programs under test, with the features that the tests are built with.
    cargo(&["test", "--locked", "--workspace", "--no-run"], &[])?;
    let target =
        env::var_os("CARGO_TARGET_DIR").map_or_else(|| root().join("target"), PathBuf::from);
    let program = target.join("debug/placet");
    let program = program.to_string_lossy();
    let full_text = if full { "1" } else { "0" };
    let mut environment = vec![("PLACET_PROGRAM", &*program), ("PLACET_FULL", full_text)];
    if skipped.is_none() {
        // A test that cannot run then fails instead of saying that it was skipped.
        environment.push(("CI", "true"));
    }
    cargo(
        &["test", "--locked", "--workspace", "--no-fail-fast"],
        &environment,
    )?;
    println!(
        "all tests passed in {} s; skipped: {}",
        started.elapsed().as_secs(),
        skipped.unwrap_or("nothing")
    );
    Ok(())
}

/// Builds the servers of the tests on Kubernetes; says what is skipped where that is not possible.
fn prepare_servers() -> anyhow::Result<Option<&'static str>> {
    if servers::can_build() {
        servers::prepare(&root())?;
        return Ok(None);
    }
    if env::var_os("CI").is_some() {
        bail!("the tests on Kubernetes need Go 1.26 or newer, and in CI nothing is skipped");
    }
    let skipped = if env::var_os("KUBEBUILDER_ASSETS").is_some() {
        "the tests with a registry and with Helm, where those are not built yet (they need Go)"
    } else {
        "the tests on Kubernetes and with a registry, where those are not built yet (they need Go)"
    };
    println!("Go is not there, so this is skipped: {skipped}");
    Ok(Some(skipped))
}

/// What the tests use beside Rust, git and a C compiler: a file by which it is known to be there,
/// Debian's package, and what it is for.
const TOOLS: &[(&str, &str, &str)] = &[
    ("/usr/sbin/sshd", "openssh-server", "git over ssh"),
    ("/usr/bin/ssh", "openssh-client", "git over ssh"),
    (
        "/usr/bin/dpkg-shlibdeps",
        "dpkg-dev",
        "dependencies side by side",
    ),
    (
        "/usr/lib/rpm/elfdeps",
        "rpm",
        "dependencies side by side, packages of the format",
    ),
    ("/usr/bin/rpmbuild", "rpm", "packages of the format"),
    ("/usr/bin/skopeo", "skopeo", "copies of packages"),
    ("/usr/bin/curl", "curl", "comments on pull requests"),
    ("/usr/bin/jq", "jq", "comments on pull requests"),
    (
        "/usr/bin/openssl",
        "openssl",
        "keys that others read and write",
    ),
    ("/usr/bin/clang", "clang", "decision logic in C"),
    ("/usr/bin/wasm-ld", "lld", "decision logic in C"),
];

/// What Rust's compiler needs for decision logic. Without it the tests say what they skip.
const WASM_TARGET: &str = "wasm32-unknown-unknown";

/// Installs those tools that are missing, where that is possible.
fn prepare() -> anyhow::Result<()> {
    let target = ["target", "add", WASM_TARGET];
    if !Command::new("rustup")
        .args(target)
        .status()
        .is_ok_and(|it| it.success())
    {
        println!("rustup cannot add {WASM_TARGET}: logic in Rust is not tested");
    }
    let missing = TOOLS.iter().filter(|(path, ..)| !Path::new(path).exists());
    let mut packages: Vec<_> = missing.map(|(_, package, _)| *package).collect();
    packages.dedup();
    if packages.is_empty() {
        return Ok(());
    }
    for (_, package, purpose) in TOOLS.iter().filter(|it| packages.contains(&it.1)) {
        println!("installing {package}: {purpose}");
    }
    let packages = packages.join(" ");
    let as_root = if is_root() { "" } else { "sudo -n " };
    let command = format!(
        "{as_root}apt-get update -q && {as_root}env DEBIAN_FRONTEND=noninteractive apt-get install -y -q --no-install-recommends {packages}"
    );
    let status = Command::new("sh").args(["-c", &command]).status()?;
    if !status.success() {
        bail!("the tests need Debian's packages {packages}; install them and run this again");
    }
    Ok(())
}

fn is_root() -> bool {
    Command::new("id")
        .arg("-u")
        .output()
        .is_ok_and(|output| output.stdout.trim_ascii() == b"0")
}

fn generate() -> anyhow::Result<()> {
    let definitions = Path::new("charts/placet/definitions");
    let definitions = placet_crds::generated()
        .into_iter()
        .map(|(name, text)| (definitions.join(name), text));
    let package_file = placet_packager::generated().map(|(name, text)| (name.into(), text));
    let reports = placet_simulator::generated().map(|(name, text)| (name.into(), text));
    for (path, text) in definitions.chain(package_file).chain(reports) {
        let path = root().join(path);
        fs::create_dir_all(path.parent().unwrap_or(Path::new(".")))?;
        fs::write(&path, text).with_context(|| format!("failed to write {}", path.display()))?;
        println!("wrote {}", path.display());
    }
    // The reference of the commands: its test writes what it compares with.
    let test = [
        "test",
        "--locked",
        "--package",
        "placet-cli",
        "the_reference_is_current",
    ];
    cargo(&test, &[("UPDATE_EXPECT", "1")])
}

fn cargo(arguments: &[&str], environment: &[(&str, &str)]) -> anyhow::Result<()> {
    let cargo = env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let mut command = Command::new(cargo);
    command.envs(environment.iter().copied());
    run("cargo", &mut command, arguments)
}

fn git(arguments: &[&str]) -> anyhow::Result<()> {
    run("git", &mut Command::new("git"), arguments)
}

fn run(name: &str, command: &mut Command, arguments: &[&str]) -> anyhow::Result<()> {
    let words = arguments.join(" ");
    println!("$ {name} {words}");
    let status = command.args(arguments).status();
    let status = status.with_context(|| format!("failed to start {name}"))?;
    if !status.success() {
        bail!("`{name} {words}` failed");
    }
    Ok(())
}
