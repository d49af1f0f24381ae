//! Layouts that lie. Each is refused with the place, what is wrong, and what to do.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;

use placet_model::{Digest, ModulePath, PackageConfig, canonical_json};
use placet_package::{Blob, Layout, Reference, Selector, open_package};
use serde_json::{Value, json};

use crate::layout::{blobs, config, link, module};
use crate::tools::Folder;

/// A sound layout whose documents can be changed with all digests kept right, so that the rule
/// under test is the only one that is broken.
struct Forge {
    folder: Folder,
    layout: Layout,
    manifest: Value,
    config: Value,
}

impl Forge {
    fn new() -> Self {
        let folder = Folder::new();
        let layout = Layout::create(&folder.path("layout")).unwrap();
        let modules = vec![
            module("bin/tool", b"tool"),
            link("lib/a", "b"),
            module("lib/b", b"bb"),
        ];
        let config = config("1.0.0", modules);
        let blobs = blobs(&[b"tool", b"b", b"bb"]);
        let digest = layout.write_package(&config, &blobs, "1.0.0").unwrap();
        let read = |digest: &Digest| {
            let bytes = fs::read(layout.blob_path(digest)).unwrap();
            serde_json::from_slice::<Value>(&bytes).unwrap()
        };
        let manifest = read(&digest);
        let config = read(
            &manifest["config"]["digest"]
                .as_str()
                .unwrap()
                .parse()
                .unwrap(),
        );
        Self {
            folder,
            layout,
            manifest,
            config,
        }
    }

    fn blob(&self, bytes: &[u8]) -> Digest {
        let digest = Digest::of(bytes);
        fs::write(self.layout.blob_path(&digest), bytes).unwrap();
        digest
    }

    fn write_index(&self, manifest: &[u8]) {
        let digest = self.blob(manifest);
        let index = json!({"schemaVersion": 2, "manifests": [{
            "mediaType": "application/vnd.oci.image.manifest.v1+json",
            "digest": digest, "size": manifest.len(),
            "annotations": {"org.opencontainers.image.ref.name": "1.0.0"},
        }]});
        self.folder.write("layout/index.json", index.to_string());
    }

    /// Writes both documents; the manifest's descriptor of the config follows the config.
    fn write(&mut self) {
        let config = self.config.to_string();
        let digest = self.blob(config.as_bytes());
        self.manifest["config"]["digest"] = json!(digest);
        self.manifest["config"]["size"] = json!(config.len());
        self.write_index(self.manifest.to_string().as_bytes());
    }

    fn open(&self) -> Result<placet_package::Package, String> {
        let text = format!("oci-layout:{}:1.0.0", self.folder.path("layout").display());
        let reference: Reference = text.parse().unwrap();
        let opened = open_package(&reference, Path::new("/"));
        opened.map_err(|error| {
            let text = error.to_string();
            assert!(text.starts_with("oci-layout:/"), "{text}");
            assert!(!text.chars().any(char::is_control), "{text:?}");
            let causes = std::iter::successors(std::error::Error::source(&error), |e| e.source());
            causes.fold(text, |text, cause| format!("{text}: {cause}"))
        })
    }

    #[track_caller]
    fn refused(&self, expected: &str) {
        let error = self.open().expect_err(expected);
        assert!(error.contains(expected), "`{expected}` is not in: {error}");
    }
}

#[track_caller]
fn bad_config(expected: &str, change: impl FnOnce(&mut Value)) {
    let mut forge = Forge::new();
    change(&mut forge.config);
    forge.write();
    forge.refused(expected);
}

#[track_caller]
fn bad_manifest(expected: &str, change: impl FnOnce(&mut Value)) {
    let mut forge = Forge::new();
    forge.write();
    change(&mut forge.manifest);
    forge.write_index(forge.manifest.to_string().as_bytes());
    forge.refused(expected);
}

/// Path and title change together, so that only the path itself is wrong.
#[track_caller]
fn bad_path(expected: &str, path: &str) {
    let mut forge = Forge::new();
    forge.config["modules"][0]["path"] = json!(path);
    forge.manifest["layers"][0]["annotations"]["org.opencontainers.image.title"] = json!(path);
    forge.write();
    forge.refused(expected);
}

#[test]
fn the_forge_itself_is_sound() {
    let mut forge = Forge::new();
    forge.write();
    assert!(forge.open().is_ok());
}

#[test]
fn paths_that_leave_the_tree_are_refused() {
    bad_path("component `..`", "../etc/passwd");
    bad_path("component `..`", "bin/../../etc/passwd");
    bad_path("it is absolute", "/etc/passwd");
    bad_path("empty component", "bin//tool");
    bad_path("control character", "bin/to\0ol");
    bad_path("control character", "bin/to\u{1b}[31mol");
}

#[test]
fn modes_with_set_id_bits_and_devices_are_refused() {
    for mode in ["4755", "2755", "1755", "6755", "0999", "755", "0o755"] {
        bad_config("is not a mode", |config| {
            config["modules"][0]["mode"] = json!(mode);
        });
    }
    for kind in ["device", "block", "fifo", "hard-link"] {
        bad_config("unknown variant", |config| {
            config["modules"][0]["type"] = json!(kind);
        });
    }
}

#[test]
fn links_out_of_the_tree_are_refused() {
    let retarget = |target: &'static str| {
        move |config: &mut Value| {
            let module = &mut config["modules"][1];
            module["link"] = json!(target);
            module["digest"] = json!(Digest::of(target.as_bytes()));
            module["size"] = json!(target.len());
        }
    };
    bad_config("it is absolute", retarget("/etc/shadow"));
    bad_config("points out of the generation", retarget("../../etc/shadow"));
    bad_config(
        "only stand at its beginning",
        retarget("x/../../../../etc/shadow"),
    );
    bad_config("control character", retarget("b\nc"));
    bad_config("those of its target text", |config| {
        config["modules"][1]["link"] = json!("c");
    });
}

#[test]
fn modules_that_collide_are_refused() {
    bad_config("occurs twice", |config| {
        config["modules"][2]["path"] = json!("lib/a");
    });
    bad_config("would lie inside it", |config| {
        config["modules"][2]["path"] = json!("lib/a/passwd");
    });
    bad_config("is not in order", |config| {
        config["modules"][2]["path"] = json!("a");
    });
}

#[test]
fn control_characters_are_refused_wherever_they_stand() {
    bad_config("control character in `.sourceRevision`", |config| {
        config["sourceRevision"] = json!("a\0b");
    });
    bad_config("control character in `.modules[0].function`", |config| {
        config["modules"][0]["function"] = json!("a\u{1b}[2Jb");
    });
    bad_config("control character in `.characteristics", |config| {
        config["characteristics"] = json!({"a\nb": "c"});
    });
    bad_config("is not a package name", |config| {
        config["name"] = json!("Greet\u{202e}");
    });
    bad_manifest("control character in `.annotations.note`", |manifest| {
        manifest["annotations"]["note"] = json!("\u{7}");
    });
    bad_manifest("control character in `.layers[0].annotations", |manifest| {
        manifest["layers"][0]["annotations"]["org.opencontainers.image.title"] =
            json!("bin/tool\0");
    });
    let mut forge = Forge::new();
    forge.write();
    let index = fs::read_to_string(forge.folder.path("layout/index.json")).unwrap();
    forge.folder.write(
        "layout/index.json",
        index.replace("\"1.0.0\"", "\"1.0.0\\u0000\""),
    );
    forge.refused("`index.json` has a control character");
}

#[test]
fn processes_that_cannot_run_are_refused() {
    let process = |name: &str| json!({"name": name, "kind": "simple"});
    bad_config("lets nobody execute it", |config| {
        config["modules"][0]["process"] = process("tool");
    });
    bad_config("it is a symbolic link", |config| {
        config["modules"][1]["process"] = process("tool");
    });
    bad_config("is declared by both", |config| {
        for index in [0, 2] {
            config["modules"][index]["mode"] = json!("0755");
            config["modules"][index]["process"] = process("tool");
        }
    });
    bad_config("environment variable", |config| {
        config["modules"][0]["process"] = process("tool");
        config["modules"][0]["process"]["environment"] = json!({"A=B": "c"});
    });
    bad_config("control character", |config| {
        config["modules"][0]["process"] = process("tool");
        config["modules"][0]["process"]["arguments"] = json!(["a\0b"]);
    });
}

#[test]
fn config_and_layers_have_to_agree_exactly() {
    bad_config("manifest and config disagree", |config| {
        config["modules"][0]["path"] = json!("bin/other");
    });
    bad_config("manifest and config disagree", |config| {
        config["modules"][0]["size"] = json!(5);
    });
    bad_config("manifest and config disagree", |config| {
        config["modules"][0]["digest"] = json!(Digest::of(b"other"));
    });
    bad_config("manifest and config disagree", |config| {
        config["modules"].as_array_mut().unwrap().pop();
    });
    bad_manifest("manifest and config disagree", |manifest| {
        manifest["layers"].as_array_mut().unwrap().swap(0, 2);
    });
    bad_manifest("has 3 modules, the manifest 2 layers", |manifest| {
        manifest["layers"].as_array_mut().unwrap().pop();
    });
    bad_manifest("not the lists of symbols", |manifest| {
        let layer = manifest["layers"][0].clone();
        manifest["layers"].as_array_mut().unwrap().push(layer);
    });
    bad_manifest("manifest and config disagree", |manifest| {
        manifest["layers"][0]["mediaType"] = json!("application/vnd.oci.image.layer.v1.tar+gzip");
    });
    bad_manifest("manifest and config disagree", |manifest| {
        manifest["layers"][0]
            .as_object_mut()
            .unwrap()
            .remove("annotations");
    });
}

#[test]
fn other_artifacts_are_refused() {
    bad_manifest("no Placet package", |manifest| {
        manifest.as_object_mut().unwrap().remove("artifactType");
    });
    bad_manifest("no Placet package", |manifest| {
        manifest["artifactType"] = json!("application/x");
    });
    bad_manifest("not an image manifest", |manifest| {
        manifest["mediaType"] = json!("application/vnd.oci.image.index.v1+json");
    });
    bad_manifest("schemaVersion is 1", |manifest| {
        manifest["schemaVersion"] = json!(1);
    });
    bad_manifest("its config is a", |manifest| {
        manifest["config"]["mediaType"] = json!("application/vnd.oci.image.config.v1+json");
    });
    bad_manifest("not a digest", |manifest| {
        manifest["config"]["digest"] = json!("sha256:../../x");
    });
    bad_manifest("not a digest", |manifest| {
        manifest["layers"][0]["digest"] = json!("md5:00");
    });
    bad_manifest("invalid value", |manifest| {
        manifest["layers"][0]["size"] = json!(-1);
    });
    bad_manifest("the config has", |manifest| {
        manifest["config"]["size"] = json!(1);
    });
    bad_manifest("501 layers", |manifest| {
        let layer = manifest["layers"][0].clone();
        manifest["layers"] = Value::Array(vec![layer; 501]);
    });
}

#[test]
fn documents_that_are_cut_off_too_large_or_ambiguous_are_refused() {
    let mut forge = Forge::new();
    forge.write();
    let whole = forge.manifest.to_string();
    forge.write_index(&whole.as_bytes()[..whole.len() / 2]);
    forge.refused("the manifest cannot be read as what it should be");
    forge.write_index(b"");
    forge.refused("the manifest cannot be read");
    forge.write_index(&vec![b' '; (4 << 20) + 1]);
    forge.refused("at most 4194304 are read");
    forge.write_index(whole.replacen('{', "{\"schemaVersion\":2,", 1).as_bytes());
    forge.refused("duplicate field `schemaVersion`");
    forge.write_index("[".repeat(100_000).as_bytes());
    forge.refused("recursion limit");
}

#[test]
fn blobs_that_are_missing_changed_cut_off_or_no_files_are_refused() {
    let digest = Digest::of(b"tool");
    let with = |expected: &str, change: &dyn Fn(&Path)| {
        let mut forge = Forge::new();
        forge.write();
        change(&forge.layout.blob_path(&digest));
        forge.refused(expected);
    };
    with("is missing", &|path| fs::remove_file(path).unwrap());
    with("module `bin/tool` have the digest", &|path| {
        fs::write(path, "fool").unwrap();
    });
    with("has 2 bytes, not 4", &|path| fs::write(path, "to").unwrap());
    with("not a regular file", &|path| {
        fs::remove_file(path).unwrap();
        symlink("/etc/hostname", path).unwrap();
    });
    with("not a regular file", &|path| {
        fs::remove_file(path).unwrap();
        nix::unistd::mkfifo(path, nix::sys::stat::Mode::S_IRWXU).unwrap();
    });
    with("not a regular file", &|path| {
        fs::remove_file(path).unwrap();
        fs::create_dir(path).unwrap();
    });
    let mut forge = Forge::new();
    forge.write();
    let manifest = Digest::of(forge.manifest.to_string().as_bytes());
    fs::write(
        forge.layout.blob_path(&manifest),
        forge.manifest.to_string() + " ",
    )
    .unwrap();
    forge.refused("the bytes of the manifest have the digest");
    assert!(forge.layout.open_blob(&digest, 4).is_ok());
    assert!(forge.layout.open_blob(&digest, 5).is_err());
}

#[test]
fn folders_that_are_no_layouts_are_refused() {
    let with = |expected: &str, change: &dyn Fn(&Path)| {
        let mut forge = Forge::new();
        forge.write();
        change(&forge.folder.path("layout"));
        forge.refused(expected);
    };
    with("`index.json` is missing", &|dir| {
        fs::remove_file(dir.join("index.json")).unwrap();
    });
    with("`oci-layout` is missing", &|dir| {
        fs::remove_file(dir.join("oci-layout")).unwrap();
    });
    with("there is no such folder", &|dir| {
        fs::remove_dir_all(dir).unwrap();
    });
    with("its version is `2.0.0`", &|dir| {
        fs::write(dir.join("oci-layout"), r#"{"imageLayoutVersion":"2.0.0"}"#).unwrap();
    });
    with("cannot be read", &|dir| {
        fs::write(dir.join("index.json"), "{").unwrap();
    });
    with("schemaVersion is not 2", &|dir| {
        fs::write(dir.join("index.json"), "{}").unwrap();
    });
    with("the layout has none", &|dir| {
        fs::write(
            dir.join("index.json"),
            r#"{"schemaVersion":2,"manifests":[]}"#,
        )
        .unwrap();
    });
    with("two manifests have the tag `1.0.0`", &|dir| {
        let entry = |content: &str| {
            json!({
                "mediaType": "x", "digest": Digest::of(content.as_bytes()), "size": 1,
                "annotations": {"org.opencontainers.image.ref.name": "1.0.0"},
            })
        };
        let index = json!({"schemaVersion": 2, "manifests": [entry("a"), entry("b")]});
        fs::write(dir.join("index.json"), index.to_string()).unwrap();
    });
}

#[test]
fn an_unknown_tag_is_answered_with_those_that_are_there() {
    let forge = Forge::new();
    let selector = Selector::Tag("2.0.0".to_owned());
    let error = forge.layout.resolve(&selector).unwrap_err().to_string();
    assert!(
        error.ends_with("layout:2.0.0: no package has this tag; the layout has: 1.0.0"),
        "{error}"
    );
}

fn refuse_to_write(expected: &str, config: &PackageConfig, tag: &str, contents: &[&[u8]]) {
    let folder = Folder::new();
    let layout = Layout::create(&folder.path("layout")).unwrap();
    let before = fs::read(folder.path("layout/index.json")).unwrap();
    let error = layout
        .write_package(config, &blobs(contents), tag)
        .unwrap_err();
    assert!(error.to_string().contains(expected), "{error}");
    assert_eq!(fs::read(folder.path("layout/index.json")).unwrap(), before);
}

#[test]
fn what_would_be_refused_in_reading_is_not_written() {
    let one = || config("1.0.0", vec![module("file", b"x")]);
    refuse_to_write(
        "no bytes were given for module `file`",
        &one(),
        "1.0.0",
        &[],
    );
    refuse_to_write("cannot be used as a tag", &one(), "a/b", &[b"x"]);
    refuse_to_write("cannot be used as a tag", &one(), "", &[b"x"]);
    let path = |index: usize| format!("file-{index:03}");
    let many = (0..501).map(|index| module(&path(index), b"x")).collect();
    refuse_to_write(
        "split it into several packages",
        &config("1.0.0", many),
        "1.0.0",
        &[b"x"],
    );
    let escaping = vec![link("lib/a", "../../x")];
    refuse_to_write(
        "points out of",
        &config("1.0.0", escaping),
        "1.0.0",
        &[b"../../x"],
    );
    let mut large = one();
    large.source_revision = Some("x".repeat(513));
    refuse_to_write("longer than 512", &large, "1.0.0", &[b"x"]);
    let mut wrong = one();
    wrong.modules[0].size = 2;
    refuse_to_write("has 1 bytes, not 2", &wrong, "1.0.0", &[b"x"]);
}

#[test]
fn a_source_that_changes_while_it_is_stored_is_noticed() {
    let folder = Folder::new();
    folder.write("source", "after");
    let layout = Layout::create(&folder.path("layout")).unwrap();
    let config = config("1.0.0", vec![module("file", b"before")]);
    let blob = Blob::File(folder.path("source"));
    let blobs = [(Digest::of(b"before"), blob)].into_iter().collect();
    let error = layout.write_package(&config, &blobs, "1.0.0").unwrap_err();
    assert!(
        error
            .to_string()
            .contains("the bytes of module `file` have the digest"),
        "{error}"
    );
}

#[test]
fn a_folder_with_other_things_does_not_become_a_layout() {
    let folder = Folder::new();
    folder.write("precious", "text");
    let error = Layout::create(&folder.path("")).unwrap_err().to_string();
    assert!(error.contains("the folder holds other things"), "{error}");
}

#[test]
fn texts_in_errors_cannot_drive_a_terminal() {
    let path: Result<ModulePath, _> = "a\u{1b}[31m".parse();
    assert!(!path.unwrap_err().to_string().contains('\u{1b}'));
    let document = canonical_json(&json!({"\u{1b}[31m": "\0"}));
    let forge = Forge::new();
    forge.write_index(&document);
    forge.refused("control character");
}
