//! The memory that a build or an import takes does not grow with the files that it delivers.

use std::env;
use std::fs::{self, File};
use std::ops::ControlFlow;
use std::path::Path;
use std::process::Command;

use placet_packager::BuildOptions;
use placet_packager::import::{ImportChoice, import};
use placet_tests::is_full;
use tempfile::TempDir;

use crate::child;

/// What a child process does, and in which folder.
const WORK: &str = "PLACET_MEMORY";

/// Runs in a process of its own: makes the package of a folder.
#[test]
fn child() {
    let Ok(work) = env::var(WORK) else {
        return;
    };
    let (work, folder) = work.split_once(' ').unwrap();
    let folder = Path::new(folder);
    let layout = folder.join("layout");
    let modules = if work == "build" {
        let options = BuildOptions::default();
        let built = placet_packager::build(&folder.join("package.yaml"), &layout, &options);
        built.unwrap().config.modules
    } else {
        let deb = folder.join("large.deb");
        let choice = ImportChoice::default();
        let watch = |_: placet_packager::Step<'_>| ControlFlow::Continue(());
        let imported = import(&deb.to_string_lossy(), &layout, &choice, &watch);
        imported.unwrap().built.config.modules
    };
    assert_eq!(modules.len(), 2);
    assert!(modules.iter().any(|module| module.elf.is_some()));
    child::tell_peak();
}

/// A folder with a sparse data file and a shared library, of so many bytes each.
fn folder(data: u64, library: u64) -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name);
    fs::create_dir_all(path("root/opt")).unwrap();
    let sparse = File::create(path("root/opt/data")).unwrap();
    sparse.set_len(data).unwrap();
    let source = format!(
        ".globl large\n.section .rodata\n.type large, @object\nlarge: .fill {library}, 1, 65\n.size large, {library}\n"
    );
    fs::write(path("large.s"), source).unwrap();
    let package =
        "name: large\nversion: 1.0.0\nbuild: [\"true\"]\nmodules:\n  - sources: root/**\n";
    fs::write(path("package.yaml"), package).unwrap();
    fs::write(path("debian-binary"), "2.0\n").unwrap();
    fs::write(
        path("control"),
        "Package: large\nVersion: 1\nArchitecture: amd64\n",
    )
    .unwrap();
    let script = "cc -shared -nostdlib -o root/opt/liblarge.so large.s && rm large.s \
        && tar cf control.tar ./control && tar cf data.tar -C root . \
        && ar rc large.deb debian-binary control.tar data.tar && rm data.tar";
    let mut shell = Command::new("sh");
    shell.args(["-e", "-c", script]).current_dir(folder.path());
    assert!(shell.status().unwrap().success());
    folder
}

#[test]
fn large_modules_take_no_more_memory_than_small_ones() {
    let (data, library) = if is_full() {
        (1 << 30, 256 << 20)
    } else {
        (48 << 20, 24 << 20)
    };
    for work in ["build", "import"] {
        let peak = |data, library| {
            let folder = folder(data, library);
            child::run(
                "memory::child",
                WORK,
                &format!("{work} {}", folder.path().display()),
            )
            .1
        };
        let (small, large) = (peak(1, 1), peak(data, library));
        eprintln!("{work}: {large} KiB for {data} and {library} bytes, {small} KiB for none");
        assert!(
            large < small + (16 << 10),
            "{work}: {large} KiB, {small} KiB without"
        );
    }
}
