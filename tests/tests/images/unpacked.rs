//! An image on disk, run as an engine would run it.

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::Command;

use placet_tests::RegistryServer;
use serde_json::Value;
use tempfile::TempDir;

use crate::json;

/// The root of an image, and what the image says of how it is run.
pub(crate) struct Unpacked {
    folder: TempDir,
    config: Value,
}

impl Unpacked {
    /// From a registry, by other people's means.
    pub(crate) fn remote(server: &RegistryServer, place: &str) -> Self {
        let platform = ["--platform", "linux/amd64"];
        let config = [&["config", place][..], &platform].concat();
        let archive = server.path("export.tar");
        let export = ["export", place, archive.to_str().unwrap()];
        server.client("crane", &[&export[..], &platform].concat());
        let config = server.client("crane", &config).stdout;
        Self::archive(&archive, &[], &json(&config))
    }

    /// From a layout.
    pub(crate) fn layout(layout: &Path) -> Self {
        let blob = |entry: &Value| {
            let digest = entry["digest"].as_str().unwrap().replace(':', "/");
            layout.join("blobs").join(digest)
        };
        let read = |entry: &Value| json(&fs::read(blob(entry)).unwrap());
        let whole = json(&fs::read(layout.join("index.json")).unwrap());
        let index = read(&whole["manifests"][0]);
        let images = index["manifests"].as_array().unwrap().iter();
        let mut images = images.filter(|it| it["platform"]["architecture"] == "amd64");
        let image = read(images.next().unwrap());
        let config = read(&image["config"]);
        Self::archive(&blob(&image["layers"][0]), &["--gzip"], &config)
    }

    fn archive(archive: &Path, more: &[&str], config: &Value) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let status = Command::new("tar")
            .args(["--extract", "--preserve-permissions", "--numeric-owner"])
            .args(more)
            .arg("--directory")
            .arg(folder.path())
            .stdin(File::open(archive).unwrap())
            .status()
            .unwrap();
        assert!(status.success(), "{} unpacks", archive.display());
        // The user of the image has to get in.
        let open = std::os::unix::fs::PermissionsExt::from_mode(0o755);
        fs::set_permissions(folder.path(), open).unwrap();
        Self {
            folder,
            config: config["config"].clone(),
        }
    }

    pub(crate) fn path(&self, inside: &str) -> PathBuf {
        self.folder.path().join(inside)
    }

    /// All its files.
    pub(crate) fn files(&self) -> BTreeSet<String> {
        let mut found = BTreeSet::new();
        let mut next = vec![self.folder.path().to_owned()];
        while let Some(path) = next.pop() {
            if path.is_dir() {
                next.extend(fs::read_dir(path).unwrap().map(|it| it.unwrap().path()));
            } else {
                let inside = path.strip_prefix(self.folder.path()).unwrap();
                found.insert(inside.to_str().unwrap().to_owned());
            }
        }
        found
    }

    /// The program of the image with the image as its root, as its user (who is not there where
    /// these tests may not change users) and with its environment.
    pub(crate) fn command(&self) -> Command {
        let mut command = if nix::unistd::geteuid().is_root() {
            let mut command = Command::new("/usr/sbin/chroot");
            let user = self.config["User"].as_str().unwrap();
            command.arg(format!("--userspec={user}"));
            command.arg(self.folder.path());
            command
        } else {
            let mut command = Command::new("/usr/bin/unshare");
            command.args(["--map-root-user", "--root"]);
            command.arg(self.folder.path());
            command
        };
        command.arg(self.config["Entrypoint"][0].as_str().unwrap());
        command.env_clear();
        for variable in self.config["Env"].as_array().unwrap() {
            let (name, value) = variable.as_str().unwrap().split_once('=').unwrap();
            command.env(name, value);
        }
        command
    }
}
