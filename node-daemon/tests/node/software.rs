//! What the nodes of these tests run.

use std::collections::BTreeMap;
use std::path::Path;
use std::process::Command;
use std::sync::OnceLock;

use placet_model::{
    Boot, BootCommands, ChosenPackage, Digest, ManifestEntry, Module, ModuleType, NodeManifest,
    ProcessKind, ProcessSpec, Supplemental,
};
use placet_package::{read_elf, signature};

/// Modules and their bytes.
#[derive(Clone, Default)]
pub(crate) struct Software {
    pub(crate) manifest: NodeManifest,
    pub(crate) blobs: BTreeMap<Digest, Vec<u8>>,
}

impl Software {
    pub(crate) fn new() -> Self {
        let package = ChosenPackage {
            name: "test".parse().unwrap(),
            version: "1.0.0".parse().unwrap(),
            digest: Digest::of(b"test"),
            test: false,
            requires: Vec::new(),
            requires_remote: Vec::new(),
        };
        let manifest = NodeManifest {
            packages: vec![package],
            ..NodeManifest::default()
        };
        Self {
            manifest,
            blobs: BTreeMap::new(),
        }
    }

    pub(crate) fn file(mut self, path: &str, content: &[u8]) -> Self {
        self.add(module(path, "0644", content), content);
        self
    }

    /// A boot image, and the commands of a boot loader that keeps itself in this folder.
    pub(crate) fn boots(mut self, content: &[u8], loader: &Path) -> Self {
        let mut image = module("boot/node.img", "0644", content);
        image.kind = ModuleType::BootImage;
        self.add(image, content);
        let command = |verb: &str| {
            let folder = loader.display().to_string();
            vec![format!("{folder}/loader"), folder, verb.to_owned()]
        };
        self.manifest.boot = Some(Boot {
            package: "test".parse().unwrap(),
            transient: false,
            commands: BootCommands {
                install: command("install"),
                confirm: command("confirm"),
                restart: command("restart"),
                command_seconds: 10,
                restart_seconds: 60,
            },
        });
        self
    }

    /// The boot image is not kept.
    pub(crate) fn transient_image(mut self) -> Self {
        let boot = self.manifest.boot.as_mut().expect("a boot image");
        boot.transient = true;
        self
    }

    /// A file that may be executed, and is no process.
    pub(crate) fn program(mut self, path: &str, content: &[u8]) -> Self {
        self.add(module(path, "0755", content), content);
        self
    }

    /// A process that runs a shell script.
    pub(crate) fn script(self, path: &str, script: &str) -> Self {
        self.script_that_needs(path, script, &[])
    }

    /// A process whose script uses the modules `needs`.
    pub(crate) fn script_that_needs(self, path: &str, script: &str, needs: &[&str]) -> Self {
        self.process(
            path,
            format!("#!/bin/sh\n{script}\n").as_bytes(),
            needs,
            |_| {},
        )
    }

    /// A process that says `READY=1` and waits.
    pub(crate) fn notifier(self, path: &str, needs: &[&str]) -> Self {
        self.process(path, notifier(), needs, |spec| spec.notify = true)
    }

    /// A self-managing process. It looks into `mind` whenever it is asked or told: `veto` there
    /// makes it object, `silent` say nothing, `handle` makes it handle the change by itself.
    pub(crate) fn voter(self, path: &str, needs: &[&str], mind: &Path) -> Self {
        self.voter_with(path, needs, mind, |_| {})
    }

    /// The same, with more to say of how it is run.
    pub(crate) fn voter_with(
        self,
        path: &str,
        needs: &[&str],
        mind: &Path,
        change: impl FnOnce(&mut ProcessSpec),
    ) -> Self {
        self.process(path, voter(), needs, |spec| {
            spec.kind = ProcessKind::SelfManaging;
            spec.notify = true;
            spec.arguments = vec![mind.to_str().unwrap().to_owned()];
            change(spec);
        })
    }

    /// A process that does what `arguments` say; see `actor.c`.
    pub(crate) fn actor(
        self,
        path: &str,
        arguments: &[&str],
        change: impl FnOnce(&mut ProcessSpec),
    ) -> Self {
        self.actor_that_needs(path, arguments, &[], change)
    }

    /// The same, which uses the modules `needs`.
    pub(crate) fn actor_that_needs(
        self,
        path: &str,
        arguments: &[&str],
        needs: &[&str],
        change: impl FnOnce(&mut ProcessSpec),
    ) -> Self {
        self.process(path, actor(), needs, |spec| {
            spec.arguments = arguments.iter().map(|it| (*it).to_owned()).collect();
            change(spec);
        })
    }

    pub(crate) fn process(
        mut self,
        path: &str,
        program: &[u8],
        needs: &[&str],
        change: impl FnOnce(&mut ProcessSpec),
    ) -> Self {
        let mut module = module(path, "0755", program);
        let mut spec = ProcessSpec {
            name: module.path.file_name().parse().unwrap(),
            stop_seconds: 5,
            ready_seconds: 5,
            ..ProcessSpec::default()
        };
        change(&mut spec);
        module.kind = ModuleType::Process;
        module.process = Some(spec);
        module.optional = needs.iter().map(|path| path.parse().unwrap()).collect();
        self.add(module, program);
        self
    }

    /// An ELF file that is what its headers say, and that declares that it may open `declares`.
    pub(crate) fn elf(
        mut self,
        path: &str,
        content: &[u8],
        declares: &[String],
        process: Option<ProcessSpec>,
    ) -> Self {
        let file = read_elf(content).unwrap().expect("an ELF file");
        let mut module = module(path, "0755", content);
        module.signature = signature(content).unwrap();
        module.architecture = file.architecture;
        module.build_id = file.build_id;
        module.elf = Some(file.facts);
        module.supplemental = declares
            .iter()
            .map(|path| Supplemental {
                one_of: [path.parse().unwrap()].into(),
                declared_in: None,
            })
            .collect();
        module.kind = if process.is_some() {
            ModuleType::Process
        } else {
            ModuleType::Library
        };
        module.process = process;
        self.add(module, content);
        self
    }

    /// With the test suite `checks`: scripts by name, which may run for a second.
    pub(crate) fn suite(mut self, tests: &[(&str, &str)]) -> Self {
        let mut package = self.manifest.packages[0].clone();
        package.name = "checks".parse().unwrap();
        package.test = true;
        self.manifest.packages.push(package);
        for (name, script) in tests {
            let path = format!("checks/{name}");
            let program = format!("#!/bin/sh\n{script}\n");
            self = self.process(&path, program.as_bytes(), &[], |spec| {
                spec.ready_seconds = 1;
            });
            let path = path.parse().unwrap();
            let mut modules = self.manifest.modules.iter_mut();
            let entry = modules.find(|entry| entry.module.path == path);
            entry.unwrap().package = "checks".parse().unwrap();
        }
        self
    }

    fn add(&mut self, module: Module, content: &[u8]) {
        self.blobs.insert(module.digest, content.to_vec());
        self.manifest.modules.push(ManifestEntry {
            package: "test".parse().unwrap(),
            module,
        });
        self.manifest
            .modules
            .sort_by(|one, other| one.module.path.cmp(&other.module.path));
    }
}

fn module(path: &str, mode: &str, content: &[u8]) -> Module {
    let digest = Digest::of(content);
    let value = serde_json::json!({
        "path": path, "mode": mode, "type": "data", "size": content.len(), "digest": digest,
        "signature": format!("md5:{}", &digest.hex()[..32]),
    });
    serde_json::from_value(value).unwrap()
}

/// Compiled once for all tests.
fn notifier() -> &'static [u8] {
    static PROGRAM: OnceLock<Vec<u8>> = OnceLock::new();
    PROGRAM.get_or_init(|| compile(NOTIFIER))
}

/// Compiled once for all tests.
fn voter() -> &'static [u8] {
    static PROGRAM: OnceLock<Vec<u8>> = OnceLock::new();
    PROGRAM.get_or_init(|| compile(VOTER))
}

/// Compiled once for all tests.
fn actor() -> &'static [u8] {
    static PROGRAM: OnceLock<Vec<u8>> = OnceLock::new();
    PROGRAM.get_or_init(|| compile(include_str!("actor.c")))
}

fn compile(source: &str) -> Vec<u8> {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("program.c");
    std::fs::write(&file, source).unwrap();
    compile_file(&file)
}

/// Builds a program of one source file.
pub(crate) fn compile_file(file: &Path) -> Vec<u8> {
    let folder = tempfile::tempdir().unwrap();
    let program = folder.path().join("program");
    let headers = concat!(env!("CARGO_MANIFEST_DIR"), "/../sdk/c");
    let status = Command::new("cc")
        .args(["-I", headers, "-o"])
        .arg(&program)
        .arg(file)
        .status()
        .unwrap();
    assert!(status.success(), "the C compiler failed");
    std::fs::read(program).unwrap()
}

const NOTIFIER: &str = r#"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>
int main(void) {
    struct sockaddr_un to = {.sun_family = AF_UNIX};
    int fd = socket(AF_UNIX, SOCK_DGRAM, 0);
    strncpy(to.sun_path, getenv("NOTIFY_SOCKET"), sizeof to.sun_path - 1);
    if (sendto(fd, "READY=1", 7, 0, (struct sockaddr *)&to, sizeof to) != 7) return 1;
    puts("is ready");
    fflush(stdout);
    for (;;) pause();
}
"#;

const VOTER: &str = r#"
#include "placet.h"
#include <stdio.h>
static struct placet placet;
static int minds(const char *folder, const char *what) {
    char path[512];
    snprintf(path, sizeof path, "%s/%s", folder, what);
    return access(path, F_OK) == 0;
}
int main(int count, char **arguments) {
    struct placet_event event;
    (void)count;
    if (placet_open(&placet) != 1) return 1;
    placet_notify_ready();
    for (;;) {
        const char *digest = event.change_digest;
        if (placet_next(&placet, &event, -1) < 0) {
            placet_close(&placet);
            while (placet_open(&placet) != 1) usleep(10000);
            continue;
        }
        if (event.kind == PLACET_PROPOSED && minds(arguments[1], "silent"))
            continue;
        if (event.kind == PLACET_PROPOSED && minds(arguments[1], "veto"))
            placet_vote(&placet, digest, PLACET_VETO, "sessions-open", "3 open sessions");
        else if (event.kind == PLACET_PROPOSED)
            placet_vote(&placet, digest, PLACET_ACCEPT, NULL, NULL);
        else if (event.kind == PLACET_PREPARE)
            placet_ready(&placet, digest);
        else if (event.kind == PLACET_CHANGED)
            placet_done(&placet, digest, minds(arguments[1], "handle") ? PLACET_HANDLED : PLACET_DEFAULT);
    }
}
"#;
