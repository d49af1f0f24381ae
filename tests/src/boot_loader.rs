//! A boot loader of three files, as in `examples/boot/loader.sh`.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use tempfile::TempDir;

/// What the boot loader of one node has. The program is `loader` in its folder; it wants the folder
/// as its first argument.
#[derive(Debug)]
pub struct BootLoader(TempDir);

impl BootLoader {
    /// The node was delivered with this image.
    ///
    /// # Panics
    ///
    /// The folder for temporary files cannot be written.
    pub fn new(image: &[u8]) -> Self {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let program = folder.path().join("loader");
        let script = include_bytes!("../../examples/boot/loader.sh");
        fs::write(&program, script).expect("the program is written");
        let mode = fs::Permissions::from_mode(0o755);
        fs::set_permissions(&program, mode).expect("it can be executed");
        for file in ["running", "good"] {
            fs::write(folder.path().join(file), image).expect("the image is written");
        }
        Self(folder)
    }

    /// Its folder.
    pub fn path(&self) -> &Path {
        self.0.path()
    }

    /// Its program.
    pub fn program(&self) -> PathBuf {
        self.path().join("loader")
    }

    /// One of its files: what the node runs is `running`, what it falls back to `good`.
    pub fn read(&self, file: &str) -> Option<String> {
        fs::read_to_string(self.path().join(file)).ok()
    }

    /// Sets one of its files.
    ///
    /// # Panics
    ///
    /// It cannot be written.
    pub fn write(&self, file: &str, content: &str) {
        fs::write(self.path().join(file), content).expect("the file is written");
    }

    /// The machine starts. What is installed is tried once; an image that is `broken` does not come
    /// up.
    pub fn start_machine(&self) {
        let next = self.read("next").filter(|image| !image.contains("broken"));
        let from = if next.is_some() { "next" } else { "good" };
        let image = self.read(from).unwrap_or_default();
        match self.read(&format!("{from}.signature")) {
            Some(signature) => self.write("running.signature", &signature),
            None => self.remove("running.signature"),
        }
        self.remove("next");
        self.remove("next.signature");
        self.write("running", &image);
    }

    fn remove(&self, file: &str) {
        let _ = fs::remove_file(self.path().join(file));
    }
}
