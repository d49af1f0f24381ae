//! Packages written, found again, and readable for tools that know nothing of Placet.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::thread;

use oci_spec::image::{ImageIndex, ImageManifest, MediaType, OciLayout};
use placet_model::{
    Digest, LinkTarget, Mode, Module, ModuleType, PackageConfig, SymbolLists, canonical_json,
    digest_of,
};
use placet_package::{Blob, Layout, Reference, Selector, open_package, read_elf, signature};

use crate::tools::Folder;

pub(crate) fn module(path: &str, bytes: &[u8]) -> Module {
    Module {
        path: path.parse().unwrap(),
        mode: Mode::new(0o644).unwrap(),
        owner: placet_model::Owner::default(),
        kind: ModuleType::Data,
        function: None,
        architecture: placet_model::Architecture::default(),
        size: bytes.len() as u64,
        digest: Digest::of(bytes),
        signature: signature(bytes).unwrap(),
        build_id: None,
        link: None,
        elf: None,
        features: std::collections::BTreeSet::default(),
        provides: std::collections::BTreeSet::default(),
        uses: std::collections::BTreeSet::default(),
        characteristics: BTreeMap::new(),
        supplemental: Vec::new(),
        optional: std::collections::BTreeSet::default(),
        process: None,
    }
}

pub(crate) fn link(path: &str, target: &str) -> Module {
    let target: LinkTarget = target.parse().unwrap();
    let mut module = module(path, target.as_str().as_bytes());
    module.link = Some(target);
    module
}

pub(crate) fn config(version: &str, modules: Vec<Module>) -> PackageConfig {
    PackageConfig {
        name: "greet".parse().unwrap(),
        version: version.parse().unwrap(),
        description: None,
        license: None,
        created: jiff::Timestamp::UNIX_EPOCH,
        purpose: placet_model::Purpose::Feature,
        characteristics: BTreeMap::new(),
        features: std::collections::BTreeSet::default(),
        node_types: std::collections::BTreeSet::default(),
        source_revision: None,
        requires: Vec::new(),
        requires_remote: Vec::new(),
        upgrades: Vec::new(),
        derived: None,
        modules,
    }
}

pub(crate) fn blobs(contents: &[&[u8]]) -> BTreeMap<Digest, Blob> {
    let blobs = contents.iter();
    blobs
        .map(|bytes| (Digest::of(bytes), Blob::Bytes(bytes.to_vec())))
        .collect()
}

fn open(dir: &Path, tag: &str) -> Result<placet_package::Package, placet_package::PackageError> {
    let selector = Selector::Tag(tag.to_owned());
    let dir = dir.to_owned();
    open_package(&Reference::Layout { dir, selector }, Path::new("/"))
}

/// A package with a data file, a link, and a real library with its list of symbols.
fn real_package(folder: &Folder) -> (PackageConfig, BTreeMap<Digest, Blob>) {
    let bytes = folder.greet("");
    let elf = read_elf(&bytes).unwrap().unwrap();
    let mut library = module("usr/lib/libgreet.so.1", &bytes);
    library.kind = ModuleType::Library;
    library.architecture = elf.architecture;
    library.elf = Some(elf.facts);
    let symbols = canonical_json(&elf.symbols);
    let blobs = blobs(&[b"data", b"libgreet.so.1", &bytes, &symbols]);
    let modules = vec![
        module("etc/greet.conf", b"data"),
        link("usr/lib/libgreet.so", "libgreet.so.1"),
        library,
    ];
    (config("1.0.0", modules), blobs)
}

#[test]
fn a_package_is_read_as_it_was_written_and_writes_the_same_digest_again() {
    let folder = Folder::new();
    let (config, blobs) = real_package(&folder);
    let layout = Layout::create(&folder.path("one")).unwrap();
    let digest = layout.write_package(&config, &blobs, "1.0.0").unwrap();
    let again = layout.write_package(&config, &blobs, "1.0.0").unwrap();
    let other = Layout::create(&folder.path("two")).unwrap();
    let elsewhere = other.write_package(&config, &blobs, "1.0.0").unwrap();
    assert_eq!((digest, digest), (again, elsewhere));

    let package = open(&folder.path("one"), "1.0.0").unwrap();
    assert_eq!((package.digest, &package.config), (digest, &config));
    let lists: SymbolLists = package.symbols(&config.modules[2]).unwrap().unwrap();
    assert!(lists.exported.contains("greet@@GREET_1"));
    assert_eq!(
        Some(digest_of(&lists)),
        config.modules[2].elf.as_ref().unwrap().symbols
    );
    assert!(package.symbols(&config.modules[0]).unwrap().is_none());
    let pinned = Reference::Layout {
        dir: "one".into(),
        selector: Selector::Digest(digest),
    };
    assert_eq!(
        open_package(&pinned, &folder.path("")).unwrap().digest,
        digest
    );
    assert_eq!(
        fs::read(layout.blob_path(&Digest::of(b"data"))).unwrap(),
        b"data"
    );
}

#[test]
fn other_tools_can_read_the_layout() {
    let folder = Folder::new();
    let (config, blobs) = real_package(&folder);
    let layout = Layout::create(&folder.path("one")).unwrap();
    let digest = layout.write_package(&config, &blobs, "1.0.0").unwrap();
    let marker = OciLayout::from_file(folder.path("one/oci-layout")).unwrap();
    assert_eq!(marker.image_layout_version(), "1.0.0");
    let index = ImageIndex::from_file(folder.path("one/index.json")).unwrap();
    let entry = &index.manifests()[0];
    assert_eq!(entry.digest().to_string(), digest.to_string());
    let manifest = ImageManifest::from_file(layout.blob_path(&digest)).unwrap();
    assert_eq!(*manifest.media_type(), Some(MediaType::ImageManifest));
    assert_eq!(
        entry.size(),
        fs::metadata(layout.blob_path(&digest)).unwrap().len()
    );
    let kind = manifest.artifact_type().as_ref().unwrap().to_string();
    assert_eq!(kind, placet_package::ARTIFACT_TYPE);
    let titles: Vec<_> = manifest
        .layers()
        .iter()
        .filter_map(|layer| {
            layer
                .annotations()
                .as_ref()?
                .get("org.opencontainers.image.title")
        })
        .collect();
    assert_eq!(
        titles,
        [
            "etc/greet.conf",
            "usr/lib/libgreet.so",
            "usr/lib/libgreet.so.1"
        ]
    );
    for layer in manifest.layers().iter().chain([manifest.config()]) {
        let digest: Digest = layer.digest().to_string().parse().unwrap();
        let bytes = fs::read(layout.blob_path(&digest)).unwrap();
        assert_eq!(
            (Digest::of(&bytes), bytes.len() as u64),
            (digest, layer.size())
        );
    }
}

#[test]
fn a_tag_moves_and_what_had_it_stays() {
    let folder = Folder::new();
    let layout = Layout::create(&folder.path("one")).unwrap();
    let write = |content: &[u8], tag: &str| {
        let config = config("1.0.0", vec![module("file", content)]);
        layout
            .write_package(&config, &blobs(&[content]), tag)
            .unwrap()
    };
    let first = write(b"first", "1.0.0");
    assert_eq!(write(b"first", "latest"), first);
    let second = write(b"second", "1.0.0");
    let expected = BTreeMap::from([("1.0.0".to_owned(), second), ("latest".to_owned(), first)]);
    assert_eq!(layout.tags().unwrap(), expected);
    let third = write(b"third", "latest");
    assert_eq!(
        layout.package(&first).unwrap().config.modules[0].digest,
        Digest::of(b"first")
    );
    let index = fs::read_to_string(folder.path("one/index.json")).unwrap();
    for digest in [first, second, third] {
        assert_eq!(index.matches(&digest.to_string()).count(), 1, "{index}");
    }
    let again = write(b"first", "1.0.0");
    assert_eq!(
        layout.resolve(&Selector::Tag("1.0.0".to_owned())).unwrap(),
        again
    );
}

#[test]
fn entries_of_other_tools_are_kept() {
    let folder = Folder::new();
    let layout = Layout::create(&folder.path("one")).unwrap();
    let foreign = r#"{"schemaVersion":2,"annotations":{"by":"other"},"manifests":[
        {"mediaType":"application/x","digest":"sha512:00","size":1,"platform":{"os":"linux"}}]}"#;
    folder.write("one/index.json", foreign);
    let config = config("1.0.0", vec![module("file", b"x")]);
    layout
        .write_package(&config, &blobs(&[b"x"]), "1.0.0")
        .unwrap();
    let index = fs::read_to_string(folder.path("one/index.json")).unwrap();
    assert!(index.contains("sha512:00") && index.contains("platform") && index.contains("\"by\""));
    assert!(open(&folder.path("one"), "1.0.0").is_ok());
}

#[test]
fn writers_take_turns_and_lose_nothing() {
    let folder = Folder::new();
    let dir = folder.path("one");
    thread::scope(|scope| {
        for number in 0..8 {
            let dir = &dir;
            scope.spawn(move || {
                let content = format!("content {number}");
                let version = format!("1.0.{number}");
                let config = config(&version, vec![module("file", content.as_bytes())]);
                let layout = Layout::create(dir).unwrap();
                layout
                    .write_package(&config, &blobs(&[content.as_bytes()]), &version)
                    .unwrap();
            });
        }
    });
    assert_eq!(Layout::open(&dir).unwrap().tags().unwrap().len(), 8);
    for number in 0..8 {
        open(&dir, &format!("1.0.{number}")).unwrap();
    }
}

#[test]
fn what_a_crash_left_is_removed_and_damaged_blobs_are_written_again() {
    let folder = Folder::new();
    let layout = Layout::create(&folder.path("one")).unwrap();
    let config = config("1.0.0", vec![module("file", b"content")]);
    layout
        .write_package(&config, &blobs(&[b"content"]), "1.0.0")
        .unwrap();
    folder.write("one/.placet-tmp-left", "half");
    fs::write(layout.blob_path(&Digest::of(b"content")), "cont").unwrap();
    assert!(open(&folder.path("one"), "1.0.0").is_err());
    layout
        .write_package(&config, &blobs(&[b"content"]), "1.0.0")
        .unwrap();
    assert!(open(&folder.path("one"), "1.0.0").is_ok());
    assert!(!folder.path("one/.placet-tmp-left").exists());
}
