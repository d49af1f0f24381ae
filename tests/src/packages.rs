//! The program under test and the packages that the tests deliver, each built once per test binary.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;
use std::{env, fs};

use tempfile::TempDir;

/// The `placet` program: the one that `PLACET_PROGRAM` names, or built from this checkout.
pub fn placet() -> &'static Path {
    static PROGRAM: OnceLock<PathBuf> = OnceLock::new();
    PROGRAM.get_or_init(|| {
        if let Some(program) = env::var_os("PLACET_PROGRAM") {
            return program.into();
        }
        build_program("placet-cli");
        let test = env::current_exe().expect("a test has a file");
        let folder = test
            .ancestors()
            .nth(2)
            .expect("tests lie in target/<profile>/deps");
        folder.join("placet")
    })
}

fn build_program(package: &str) {
    let cargo = env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let status = Command::new(cargo)
        .args(["build", "--quiet", "--package", package])
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .status()
        .expect("cargo starts");
    assert!(status.success(), "{package} builds");
}

/// The `placet-controller` program, built beside `placet`.
pub fn controller_program() -> &'static Path {
    static PROGRAM: OnceLock<PathBuf> = OnceLock::new();
    PROGRAM.get_or_init(|| {
        if let Some(program) = env::var_os("PLACET_CONTROLLER") {
            return program.into();
        }
        let program = placet().with_file_name("placet-controller");
        if env::var_os("PLACET_PROGRAM").is_none() {
            build_program("placet-controller");
        }
        assert!(
            program.exists(),
            "{} is there; `cargo build -p placet-controller` makes it",
            program.display()
        );
        program
    })
}

/// How [`controller_program`] was built: `release` or `debug`.
pub fn build_kind() -> &'static str {
    let is_release = controller_program()
        .components()
        .any(|part| part.as_os_str() == "release");
    if is_release { "release" } else { "debug" }
}

/// A folder with the OCI layouts `chat`, `clock`, `metrics` (1.0.0 each) and `greet`:
/// 1.0.0, 1.1.0 (another greeting), 1.2.0 (as 1.0.0, built elsewhere: nothing changed). And
/// `metrics` 1.1.0, which dies at start.
pub fn packages() -> &'static Path {
    static PACKAGES: OnceLock<TempDir> = OnceLock::new();
    PACKAGES.get_or_init(build).path()
}

fn build() -> TempDir {
    // Never dropped, since it is the whole binary's: kept where `cargo clean` finds it.
    let test = env::current_exe().expect("a test has a file");
    let parent = test
        .ancestors()
        .nth(3)
        .expect("tests lie in target/<profile>/deps")
        .join("tmp");
    fs::create_dir_all(&parent).expect("the target folder can be written");
    let folder = tempfile::Builder::new()
        .prefix("packages-")
        .tempdir_in(parent)
        .expect("a temporary folder");
    let examples = Path::new(env!("CARGO_MANIFEST_DIR")).join("../examples/processes");
    let source = folder.path().join("source");
    fs::create_dir(&source).expect("a source folder");
    for entry in fs::read_dir(&examples)
        .expect("the example processes are there")
        .flatten()
    {
        fs::copy(entry.path(), source.join(entry.file_name())).expect("an example is copied");
    }
    let header = Path::new(env!("CARGO_MANIFEST_DIR")).join("../sdk/c/placet.h");
    fs::copy(header, source.join("placet.h")).expect("the header is copied");
    for package in ["greet", "chat", "clock", "metrics"] {
        build_package(folder.path(), &source, package);
    }
    edit(
        &source.join("greet.yaml"),
        "version: 1.0.0",
        "version: 1.2.0",
    );
    build_package(folder.path(), &source, "greet");
    edit(
        &source.join("greet.yaml"),
        "version: 1.2.0",
        "version: 1.1.0",
    );
    edit(&source.join("libgreet.c"), "Hello", "Good day");
    build_package(folder.path(), &source, "greet");
    edit(
        &source.join("metrics.yaml"),
        "version: 1.0.0",
        "version: 1.1.0",
    );
    fs::write(source.join("metricsd.c"), DIES).expect("a source is written");
    build_package(folder.path(), &source, "metrics");
    folder
}

/// A program that says why, and dies.
const DIES: &str = "#include <stdio.h>
int main(void) { fputs(\"no such sensor\\n\", stderr); return 3; }
";

fn build_package(folder: &Path, source: &Path, name: &str) {
    let options = placet_packager::BuildOptions::default();
    let file = source.join(format!("{name}.yaml"));
    placet_packager::build(&file, &folder.join(name), &options).expect("an example package builds");
}

/// Replaces `from`, which must occur, by `to`.
pub fn edit(path: &Path, from: &str, to: &str) {
    let text = fs::read_to_string(path).expect("the file can be read");
    assert!(text.contains(from), "`{from}` occurs in {}", path.display());
    fs::write(path, text.replace(from, to)).expect("the file can be written");
}
