//! How long it takes to say whom another libssl touches: the impact of the change here, and Debian's
//! `needrestart` after the change, on the same processes of the same machine.
//!
//! Every process is in the control group of a service, as `systemd` has it: `needrestart` then knows
//! the service at once, and asks no package manager.

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Instant;

use placet_model::{NodeManifest, ProcessSpec, canonical_json};
use placet_planner::change;
use placet_tests::{evidence, is_full, median};
use serde_json::json;

use crate::machine::Machine;
use crate::software::Software;

const USERS: usize = 300;
/// How often each of the two is asked.
const ROUNDS: usize = 21;
/// Processes that do not use it.
const OTHERS: usize = 30;
/// Where the processes find it; `needrestart` does not look below `/tmp`.
const ROOT: &str = "/srv";
const LIBRARY: &str = "libssl.so.3";

const PROGRAM: &str = r#"
#include <unistd.h>
#ifdef USER
extern void *TLS_method(void), *SSL_CTX_new(void *);
#else
static void *TLS_method(void) { return (void *)1; }
static void *SSL_CTX_new(void *it) { return it; }
#endif
int main(void) {
    if (!SSL_CTX_new(TLS_method()) || write(1, "ready\n", 6) != 6) return 1;
    for (;;) pause();
}
"#;

fn names() -> impl Iterator<Item = (String, bool)> {
    let users = (0..USERS).map(|it| (format!("user{it}"), true));
    users.chain((0..OTHERS).map(|it| (format!("other{it}"), false)))
}

/// A file of the system, by the name under which the linker finds it.
fn system_file(name: &str) -> PathBuf {
    let option = format!("-print-file-name={name}");
    let output = Command::new("cc").arg(option).output().unwrap();
    String::from_utf8(output.stdout).unwrap().trim().into()
}

fn compile(folder: &Path, is_user: bool) -> Vec<u8> {
    let (source, program) = (folder.join("program.c"), folder.join("program"));
    fs::write(&source, PROGRAM).unwrap();
    let mut compiler = Command::new("cc");
    compiler.arg("-o").arg(&program).arg(&source);
    if is_user {
        compiler.arg("-DUSER").arg(system_file(LIBRARY));
        compiler.arg(format!("-Wl,-rpath,{ROOT}/lib"));
    }
    assert!(compiler.status().unwrap().success(), "the compiler failed");
    fs::read(program).unwrap()
}

/// The same library with another text in it.
fn another(library: &[u8]) -> Vec<u8> {
    let mut other = library.to_vec();
    let text = b"TLSv1.3";
    let mut windows = library.windows(text.len());
    let at = windows.position(|window| window == text).unwrap();
    other[at] = b'S';
    other
}

/// What runs, as a node's manifest has it.
fn manifest(programs: &[Vec<u8>; 2], library: &[u8]) -> NodeManifest {
    let mut software = Software::new().elf(&format!("lib/{LIBRARY}"), library, &[], None);
    for name in ["libcrypto.so.3", "libc.so.6"] {
        let content = fs::read(system_file(name)).unwrap();
        software = software.elf(&format!("lib/{name}"), &content, &[], None);
    }
    for (name, is_user) in names() {
        let spec = ProcessSpec {
            name: name.parse().unwrap(),
            ..ProcessSpec::default()
        };
        let program = &programs[usize::from(is_user)];
        software = software.elf(&format!("bin/{name}"), program, &[], Some(spec));
    }
    software.manifest
}

/// The processes, running.
struct Running {
    machine: Option<Machine>,
    /// Control groups of the services.
    groups: PathBuf,
    folder: tempfile::TempDir,
}

impl Running {
    fn new(machine: Machine, programs: &[Vec<u8>; 2], library: &[u8]) -> Self {
        let hierarchy = ["/sys/fs/cgroup/systemd", "/sys/fs/cgroup"].map(Path::new);
        let is_one = |path: &&Path| path.join("cgroup.procs").exists();
        let hierarchy = hierarchy.into_iter().find(is_one).unwrap();
        let mut running = Self {
            machine: Some(machine),
            groups: hierarchy.join(format!("placet-services-{}", std::process::id())),
            folder: tempfile::tempdir().unwrap(),
        };
        for folder in ["lib", "bin"] {
            fs::create_dir(running.folder.path().join(folder)).unwrap();
        }
        running.write(&format!("lib/{LIBRARY}"), library);
        let folder = running.folder.path().display().to_string();
        let machine = running.machine();
        machine.run(&format!("mount --bind {folder} {ROOT}"));
        machine.run("mount -t tmpfs none /run && mkdir -p /run/systemd/system");
        for (name, is_user) in names() {
            running.write(&format!("bin/{name}"), &programs[usize::from(is_user)]);
            let group = running.group(&name);
            fs::create_dir_all(&group).unwrap();
            let group = group.display();
            let start = format!("echo $$ > {group}/cgroup.procs && exec {ROOT}/bin/{name}");
            running.machine().tell(&format!("sh -c '{start}' &\n"));
        }
        for _ in names() {
            assert_eq!(running.machine().line(), "ready");
        }
        running
    }

    fn machine(&mut self) -> &mut Machine {
        self.machine.as_mut().unwrap()
    }

    fn group(&self, name: &str) -> PathBuf {
        self.groups.join(format!("{name}.service"))
    }

    /// Replaces a file as package managers do: by another one that is renamed to it.
    fn write(&self, path: &str, content: &[u8]) {
        let path = self.folder.path().join(path);
        let new = path.with_extension("new");
        fs::write(&new, content).unwrap();
        fs::set_permissions(&new, fs::Permissions::from_mode(0o755)).unwrap();
        fs::rename(new, path).unwrap();
    }

    /// The services that are to be restarted, and the milliseconds that it took to say so.
    fn needrestart(&mut self, arguments: &str) -> (BTreeSet<String>, f64) {
        let (said, time) = self.machine().run(&format!("needrestart {arguments}"));
        let services = said.lines().filter_map(|line| {
            let service = line.strip_prefix("NEEDRESTART-SVC: ")?;
            Some(service.strip_suffix(".service")?.to_owned())
        });
        (services.collect(), time.as_secs_f64() * 1_000.0)
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        drop(self.machine.take());
        for (name, _) in names() {
            let _ = fs::remove_dir(self.group(&name));
        }
        let _ = fs::remove_dir(&self.groups);
    }
}

/// The processes that a change touches, and the milliseconds that it took to say so, from the two
/// manifests as they are stored and sent.
fn impact(old: &[u8], new: &[u8]) -> (BTreeSet<String>, f64) {
    let begun = Instant::now();
    let read = |json: &[u8]| serde_json::from_slice::<NodeManifest>(json).unwrap();
    let change = change(&read(old), &read(new));
    let time = begun.elapsed().as_secs_f64() * 1_000.0;
    let touched = change.change_set.processes.iter();
    (touched.map(|it| it.name.to_string()).collect(), time)
}

/// In the middle of as many runs as there are rounds; each has to name those who use the library.
fn milliseconds(mut run: impl FnMut() -> (BTreeSet<String>, f64)) -> f64 {
    let users = names().filter_map(|(name, is_user)| is_user.then_some(name));
    let users: BTreeSet<_> = users.collect();
    let times = (0..ROUNDS).map(|_| {
        let (named, time) = run();
        assert_eq!(named, users);
        time
    });
    median(times.collect())
}

#[test]
fn whom_another_libssl_touches_is_said_before_the_change_and_sooner_than_by_needrestart() {
    if !is_full() {
        return;
    }
    let Some(machine) = Machine::with(&["needrestart"]) else {
        return;
    };
    let folder = tempfile::tempdir().unwrap();
    let programs = [false, true].map(|is_user| compile(folder.path(), is_user));
    let library = fs::read(system_file(LIBRARY)).unwrap();
    let other = another(&library);
    let [old, new] = [&library, &other].map(|it| canonical_json(&manifest(&programs, it)));
    let here = milliseconds(|| impact(&old, &new));

    let mut running = Running::new(machine, &programs, &library);
    let (before, _) = running.needrestart("-b -l");
    assert!(before.is_empty(), "{before:?}");
    running.write(&format!("lib/{LIBRARY}"), &other);
    let libraries_alone = milliseconds(|| running.needrestart("-b -l"));
    let whole = milliseconds(|| running.needrestart("-b"));
    evidence(
        "needrestart",
        &json!({
            "processes": USERS + OTHERS, "touched": USERS, "impactMilliseconds": here,
            "needrestartMilliseconds": whole,
            "needrestartOfLibrariesAloneMilliseconds": libraries_alone,
        }),
    );
    assert!(
        cfg!(debug_assertions) || here < libraries_alone,
        "{here} ms, {libraries_alone} ms"
    );
}
