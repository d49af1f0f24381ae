//! Compilers, and files that they make.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use tempfile::TempDir;

/// A temporary folder with sources.
#[derive(Debug)]
pub(crate) struct Folder(TempDir);

pub(crate) const GREET_C: &str = r#"
#include <stdio.h>
const char *greeting = "Hello";
void greet(const char *name) { printf("%s %s\n", greeting, name); }
int hidden(void) { return 42; }
"#;

pub(crate) const GREET_MAP: &str = "GREET_1 { global: greet; local: *; };";

impl Folder {
    pub(crate) fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    pub(crate) fn write(&self, name: &str, text: impl AsRef<[u8]>) -> &Self {
        fs::write(self.path(name), text).unwrap();
        self
    }

    pub(crate) fn read(&self, name: &str) -> Vec<u8> {
        fs::read(self.path(name)).unwrap()
    }

    /// Runs a command line in the folder; its standard output.
    pub(crate) fn run(&self, line: &str) -> String {
        run_in(self.0.path(), line)
    }

    /// Compiles `source`; the bytes of what comes out.
    pub(crate) fn compile(&self, source: &str, options: &str) -> Vec<u8> {
        self.write("source.c", source);
        self.run(&format!("gcc -O2 -o out source.c {options}"));
        self.read("out")
    }

    /// The versioned library `libgreet.so.1`.
    pub(crate) fn greet(&self, options: &str) -> Vec<u8> {
        self.write("libgreet.map", GREET_MAP)
            .write("libgreet.c", GREET_C);
        self.run(&format!(
            "gcc -O2 -fPIC -shared -Wl,-soname,libgreet.so.1 -Wl,--version-script=libgreet.map \
             -o libgreet.so.1 libgreet.c {options}"
        ));
        self.read("libgreet.so.1")
    }
}

pub(crate) fn run_in(folder: &Path, line: &str) -> String {
    let output = Command::new("sh")
        .args(["-ec", line])
        .env("LC_ALL", "C")
        .current_dir(folder)
        .output()
        .unwrap();
    let shown = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "`{line}` failed: {shown}");
    String::from_utf8(output.stdout).unwrap()
}

/// A library of a few kilobytes with everything that a dynamic section usually has.
pub(crate) fn small_library() -> Vec<u8> {
    let folder = Folder::new();
    folder.write("small.map", "SMALL_1 { global: small; local: *; };");
    folder.compile(
        "extern int other(int); int table[4] = {1, 2, 3, 4}; int space[4]; \
         int small(int i) { space[i & 3] = i; return other(table[i & 3]); }",
        "-fPIC -shared -nostdlib -Wl,-soname,libsmall.so -Wl,--version-script=small.map \
         -Wl,-rpath,/opt/lib -Wl,--build-id=sha1 -Wl,-z,noseparate-code",
    )
}
