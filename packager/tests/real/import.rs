//! Real packages of Debian, packages by `rpmbuild` and images by `skopeo`, compared file by file
//! with what their own tools make of them.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::ops::ControlFlow;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::process::Command;

use placet_model::Digest;
use placet_package::Layout;
use placet_packager::Step;
use placet_packager::import::{ImportChoice, ImportTolerance, ImportedPackage, import};

use crate::archives::{Tar, put};
use crate::debian::{debs, unpack};
use crate::workshop::chain;

fn imported(archive: &str, layout: &Path, choice: &ImportChoice) -> ImportedPackage {
    let watch = |_: Step<'_>| ControlFlow::Continue(());
    import(archive, layout, choice, &watch).unwrap_or_else(|error| panic!("{}", chain(&error)))
}

/// Every file and link below `root` by its path.
fn files(root: &Path) -> BTreeMap<String, PathBuf> {
    let mut files = BTreeMap::new();
    let mut folders = vec![root.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.symlink_metadata().unwrap().is_dir() {
                folders.push(path);
            } else {
                let name = path.strip_prefix(root).unwrap().to_str().unwrap();
                files.insert(name.to_owned(), path);
            }
        }
    }
    files
}

/// Asserts that the package is exactly what lies below `root`: bytes, modes and links.
fn assert_same(package: &ImportedPackage, layout: &Path, root: &Path) {
    let layout = Layout::open(layout).unwrap();
    let files = files(root);
    let modules = &package.built.config.modules;
    let names: BTreeSet<_> = modules.iter().map(|it| it.path.as_str()).collect();
    assert_eq!(names, files.keys().map(String::as_str).collect());
    for module in modules {
        let path = &files[module.path.as_str()];
        let metadata = path.symlink_metadata().unwrap();
        if let Some(link) = &module.link {
            let target = fs::read_link(path).unwrap();
            let target = target.to_str().unwrap();
            match target.strip_prefix('/') {
                Some(inside) => {
                    let resolved = module.path.resolve(link).unwrap();
                    assert_eq!(resolved.as_str(), inside.trim_end_matches('/'));
                }
                None => assert_eq!(
                    link.as_str(),
                    target.trim_end_matches('/'),
                    "{}",
                    module.path
                ),
            }
            continue;
        }
        assert!(metadata.is_file(), "{}", module.path);
        assert_eq!(
            module.mode.bits(),
            metadata.mode() & 0o777,
            "{}",
            module.path
        );
        let bytes = fs::read(path).unwrap();
        assert_eq!(module.digest, Digest::of(&bytes), "{}", module.path);
        assert_eq!(fs::read(layout.blob_path(&module.digest)).unwrap(), bytes);
    }
}

/// What real packages need that nobody else should have.
fn tolerant() -> ImportChoice {
    ImportChoice {
        tolerance: ImportTolerance {
            drop_set_id: true,
            absolute_links: true,
        },
        ..ImportChoice::default()
    }
}

#[test]
fn packages_of_debian_hold_what_dpkg_finds_in_them() {
    let names = [
        "frr",
        "libssl3",
        "libssl3=oldest",
        "nginx",
        "haproxy",
        "unbound",
        "rpm",
    ];
    for name in names {
        let Some(found) = debs(&[name]) else { continue };
        let folder = tempfile::tempdir().unwrap();
        let (layout, root) = (folder.path().join("layout"), folder.path().join("root"));
        let package = imported(&found[0].to_string_lossy(), &layout, &tolerant());
        unpack(&found[0], &root);
        assert_same(&package, &layout, &root);
        let field = |field: &str| {
            let mut command = Command::new("dpkg-deb");
            let output = command
                .arg("--field")
                .arg(&found[0])
                .arg(field)
                .output()
                .unwrap();
            String::from_utf8(output.stdout).unwrap().trim().to_owned()
        };
        let config = &package.built.config;
        assert_eq!(config.name.as_str(), field("Package"));
        assert_eq!(
            config.version.to_string(),
            format!("deb:{}", field("Version"))
        );
        assert_eq!(package.about.architecture, Some(field("Architecture")));
        assert!(package.left_out.is_empty());
        assert_control(&package, &found[0]);
    }
}

/// Scripts, conffiles and dependencies, beside what `dpkg-deb` says of them.
fn assert_control(package: &ImportedPackage, deb: &Path) {
    let folder = tempfile::tempdir().unwrap();
    let control = folder.path().join("control");
    let status = Command::new("dpkg-deb")
        .arg("--control")
        .args([deb, &control])
        .status();
    assert!(status.unwrap().success());
    let scripts: BTreeSet<_> = [
        "preinst", "postinst", "prerm", "postrm", "config", "triggers",
    ]
    .into_iter()
    .filter(|name| control.join(name).exists())
    .collect();
    let listed: BTreeSet<_> = package.about.scripts.iter().map(String::as_str).collect();
    assert_eq!(listed, scripts);
    let config = &package.built.config;
    let conffiles = fs::read_to_string(control.join("conffiles")).unwrap_or_default();
    let conffiles: BTreeSet<_> = conffiles
        .lines()
        .filter_map(|it| it.strip_prefix('/'))
        .collect();
    let marked = config.modules.iter();
    let marked = marked.filter(|it| it.function.as_deref() == Some("configuration"));
    let marked: BTreeSet<_> = marked.map(|it| it.path.as_str()).collect();
    assert_eq!(marked, conffiles);
    let fields = fs::read_to_string(control.join("control")).unwrap();
    let depends = fields
        .lines()
        .filter(|line| line.starts_with("Depends:") || line.starts_with("Pre-Depends:"))
        .flat_map(|line| line.split_once(':').unwrap().1.split(','))
        .count();
    let not_carried = package.about.not_carried.iter();
    let not_carried = not_carried
        .filter(|line| line.starts_with("depends on"))
        .count();
    assert_eq!(config.requires.len() + not_carried, depends);
}

#[test]
fn libraries_say_what_their_users_need() {
    let Some(found) = debs(&["libssl3=oldest"]) else {
        return;
    };
    let folder = tempfile::tempdir().unwrap();
    let archive = found[0].to_string_lossy();
    let package = imported(&archive, &folder.path().join("layout"), &tolerant());
    let needed = &package.about.libraries["libssl.so.3"];
    assert!(needed.starts_with("libssl3 deb:>= 3.0."), "{needed}");
    let requires = &package.built.config.requires;
    let libc = requires
        .iter()
        .find(|it| it.package.as_str() == "libc6")
        .unwrap();
    assert!(
        libc.version.to_string().starts_with("deb:>= 2."),
        "{}",
        libc.version
    );
}

#[test]
fn a_process_is_named_and_the_package_file_goes_on_from_there() {
    let Some(found) = debs(&["nginx"]) else {
        return;
    };
    let folder = tempfile::tempdir().unwrap();
    let layout = folder.path().join("layout");
    let choice = ImportChoice {
        processes: vec!["usr/sbin/nginx".to_owned()],
        exclude: vec!["usr/share/**".to_owned()],
        acknowledge_opens: true,
        ..tolerant()
    };
    let package = imported(&found[0].to_string_lossy(), &layout, &choice);
    let modules = &package.built.config.modules;
    let nginx = modules
        .iter()
        .find(|it| it.path.as_str() == "usr/sbin/nginx");
    assert_eq!(
        nginx.unwrap().process.as_ref().unwrap().name.as_str(),
        "nginx"
    );
    assert!(!package.left_out.is_empty());
    assert!(
        package
            .left_out
            .iter()
            .all(|it| it.starts_with("usr/share/"))
    );
    let file = put(
        folder.path(),
        "package.yaml",
        package.package_file.as_bytes(),
    );
    let options = placet_packager::BuildOptions::default();
    let built = placet_packager::build(&file, &folder.path().join("again"), &options);
    let built = built.unwrap_or_else(|error| panic!("{}", chain(&error)));
    assert_eq!(&built.config.modules, modules);
    assert_eq!(built.config.requires, package.built.config.requires);
}

#[test]
fn a_process_that_opens_libraries_is_acknowledged_or_refused() {
    let Some(found) = debs(&["nginx"]) else {
        return;
    };
    let folder = tempfile::tempdir().unwrap();
    let layout = folder.path().join("layout");
    let choice = ImportChoice {
        processes: vec!["usr/sbin/nginx".to_owned()],
        ..tolerant()
    };
    let watch = |_: Step<'_>| ControlFlow::Continue(());
    let archive = found[0].to_string_lossy();
    let error = import(&archive, &layout, &choice, &watch).unwrap_err();
    let error = chain(&error);
    assert!(error.contains("`usr/sbin/nginx`"), "{error}");
    assert!(error.contains("--acknowledge-opens"), "{error}");
    assert!(!layout.exists());
}

/// What was attached to a package by the build, with this media type.
fn attached(package: &ImportedPackage, layout: &Path, kind: &str) -> serde_json::Value {
    let layout = Layout::open(layout).unwrap();
    let attached = layout.attached(&package.built.digest).unwrap();
    let document = attached.iter().find(|it| it.artifact_type == kind).unwrap();
    serde_json::from_slice(&layout.content(document).unwrap()).unwrap()
}

#[test]
fn what_is_known_of_a_package_of_debian_comes_along() {
    let Some(found) = debs(&["nginx"]) else {
        return;
    };
    let folder = tempfile::tempdir().unwrap();
    let layout = folder.path().join("layout");
    let package = imported(&found[0].to_string_lossy(), &layout, &tolerant());
    let (about, config) = (&package.about, &package.built.config);
    assert!(config.description.as_ref().unwrap().contains("web"));
    assert!(config.license.as_ref().unwrap().contains("BSD-2-clause"));
    let version = config.version.to_string();
    let version = version.strip_prefix("deb:").unwrap().replace('+', "%2B");
    let architecture = about.architecture.as_ref().unwrap();
    let purl = format!("pkg:deb/debian/nginx@{version}?arch={architecture}");

    let sbom = attached(&package, &layout, placet_packager::SBOM_TYPE);
    placet_tests::assert_cyclonedx(&sbom);
    let component = &sbom["metadata"]["component"];
    assert_eq!(
        component["description"],
        config.description.clone().unwrap()
    );
    let license = config.license.clone().unwrap();
    assert_eq!(component["licenses"][0]["license"]["name"], license);
    let components = sbom["components"].as_array().unwrap();
    let import = components
        .iter()
        .find(|it| it["bom-ref"] == "import:archive");
    assert_eq!(import.unwrap()["purl"], purl);

    let provenance = attached(&package, &layout, placet_packager::PROVENANCE_TYPE);
    let resolved = &provenance["predicate"]["buildDefinition"]["resolvedDependencies"];
    let resolved = resolved.as_array().unwrap();
    let import = resolved.iter().find(|it| it["uri"] == purl).unwrap();
    let bytes = fs::read(&found[0]).unwrap();
    assert_eq!(import["digest"]["sha256"], Digest::of(&bytes).hex());
    assert_eq!(
        import["annotations"]["scriptsNotRun"],
        serde_json::json!(about.scripts)
    );
    assert!(about.scripts.iter().any(|script| script == "postinst"));
}

/// Runs a tool that CI has; false, said on standard error, where it is not here.
fn ran(command: &mut Command) -> bool {
    match command.output() {
        Ok(output) => {
            let said = String::from_utf8_lossy(&output.stderr);
            assert!(output.status.success(), "{command:?}: {said}");
            true
        }
        Err(error) => {
            assert!(std::env::var_os("CI").is_none(), "{command:?}: {error}");
            eprintln!("skipped: {command:?}: {error}");
            false
        }
    }
}

const SPEC: &str = r"
Name: Odd
Version: 1.0~rc1
Release: 3.el9
Epoch: 2
Summary: What an archive can hold
License: MIT
BuildArch: noarch
Requires: Base >= 1:2.0, /bin/sh, anything
%description
Words.
%install
mkdir -p %{buildroot}/usr/bin %{buildroot}/usr/share/odd %{buildroot}/etc/odd/empty
echo one > %{buildroot}/usr/bin/one
chmod 755 %{buildroot}/usr/bin/one
ln %{buildroot}/usr/bin/one %{buildroot}/usr/bin/two
ln -s ../../bin/one %{buildroot}/usr/share/odd/link
ln -s /usr/bin/two %{buildroot}/usr/share/odd/absolute
seq 1 100000 > %{buildroot}/usr/share/odd/large
: > %{buildroot}/usr/share/odd/nothing
ln %{buildroot}/usr/share/odd/nothing %{buildroot}/usr/share/odd/neither
echo set > %{buildroot}/etc/odd/odd.conf
chmod 640 %{buildroot}/etc/odd/odd.conf
cp -a %{buildroot} %{copy}
%post
exit 1
%triggerin -- other
exit 1
%files
%defattr(-,root,root)
/usr/bin/*
/usr/share/odd
/etc/odd/empty
%attr(0640,root,daemon) %config(noreplace) /etc/odd/odd.conf
";

#[test]
fn packages_by_rpmbuild_hold_what_was_put_into_them() {
    for payload in ["w9.gzdio", "w6.xzdio", "w3.zstdio"] {
        let folder = tempfile::tempdir().unwrap();
        let spec = put(folder.path(), "odd.spec", SPEC.as_bytes());
        let root = folder.path().join("root");
        let define = |name: &str, value: &str| format!("{name} {value}");
        let top = folder.path().join("top");
        let mut rpmbuild = Command::new("rpmbuild");
        for definition in [
            define("_topdir", &top.to_string_lossy()),
            define("_binary_payload", payload),
            define("copy", &root.to_string_lossy()),
        ] {
            rpmbuild.args(["--define", &definition]);
        }
        if !ran(rpmbuild.arg("-bb").arg(&spec)) {
            return;
        }
        let rpm = top.join("RPMS/noarch/Odd-1.0~rc1-3.el9.noarch.rpm");
        let layout = folder.path().join("layout");
        let package = imported(&rpm.to_string_lossy(), &layout, &ImportChoice::default());
        assert_same(&package, &layout, &root);
        assert_same(&package, &layout, &unpacked_rpm(&rpm));
        assert_about(&package);
        let sbom = attached(&package, &layout, placet_packager::SBOM_TYPE);
        placet_tests::assert_cyclonedx(&sbom);
        let component = &sbom["metadata"]["component"];
        assert_eq!(component["licenses"][0]["expression"], "MIT");
        let components = sbom["components"].as_array().unwrap();
        let import = components
            .iter()
            .find(|it| it["bom-ref"] == "import:archive");
        let purl = "pkg:rpm/Odd@1.0~rc1-3.el9?arch=noarch&epoch=2";
        assert_eq!(import.unwrap()["purl"], purl);
    }
}

/// What RPM itself takes out of a package, beside it.
fn unpacked_rpm(rpm: &Path) -> PathBuf {
    // It writes a tar archive beside the package.
    assert!(ran(Command::new("rpm2archive").arg(rpm)));
    let root = rpm.with_extension("unpacked");
    fs::create_dir(&root).unwrap();
    let mut tar = Command::new("tar");
    tar.arg("-C").arg(&root).arg("-xpf");
    assert!(ran(tar.arg(format!("{}.tgz", rpm.display()))));
    root
}

fn assert_about(package: &ImportedPackage) {
    let (about, config) = (&package.about, &package.built.config);
    assert_eq!(config.name.as_str(), "odd");
    assert_eq!(config.version.to_string(), "rpm:2:1.0~rc1-3.el9");
    assert_eq!(about.license.as_deref(), Some("MIT"));
    assert_eq!(about.scripts, ["post", "triggers"]);
    assert_eq!(about.relative_links, ["usr/share/odd/absolute"]);
    let requires: Vec<_> = config.requires.iter().collect();
    assert_eq!(requires.len(), 1);
    assert_eq!(requires[0].version.to_string(), "rpm:>= 1:2.0");
    let lost = about.not_carried.join("\n");
    assert!(lost.contains("requires /bin/sh"), "{lost}");
    assert!(lost.contains("requires anything"), "{lost}");
    let module = |path: &str| {
        config
            .modules
            .iter()
            .find(|it| it.path.as_str() == path)
            .unwrap()
    };
    let conf = module("etc/odd/odd.conf");
    assert_eq!(conf.function.as_deref(), Some("configuration"));
    assert_eq!(conf.owner.group.as_deref(), Some("daemon"));
    assert_eq!(module("usr/bin/one").digest, module("usr/bin/two").digest);
}

/// An image in the format of `docker save`, with these layers.
fn docker_archive(layers: &[Vec<u8>]) -> Vec<u8> {
    let digests: Vec<_> = layers
        .iter()
        .map(|layer| Digest::of(layer).to_string())
        .collect();
    let config = serde_json::json!({
        "architecture": "amd64", "os": "linux",
        "config": {"Labels": {"org.opencontainers.image.version": "v1.4.0"}},
        "rootfs": {"type": "layers", "diff_ids": digests},
    });
    let names: Vec<_> = (0..layers.len())
        .map(|number| format!("layer-{number}.tar"))
        .collect();
    let manifest = serde_json::json!([{
        "Config": "config.json", "RepoTags": ["odd:latest"], "Layers": names,
    }]);
    let mut tar = Tar::default()
        .file("config.json", config.to_string().as_bytes())
        .file("manifest.json", manifest.to_string().as_bytes());
    for (name, layer) in names.iter().zip(layers) {
        tar = tar.file(name, layer);
    }
    tar.end()
}

fn named() -> ImportChoice {
    ImportChoice {
        name: Some("odd".parse().unwrap()),
        ..ImportChoice::default()
    }
}

#[test]
fn images_are_what_their_layers_leave() {
    let below = Tar::default()
        .folder("etc/")
        .file("etc/old", b"old")
        .file("etc/kept", b"kept")
        .folder("var/cache/")
        .file("var/cache/a", b"a")
        .file("var/cache/b", b"b")
        .folder("opt")
        .file("opt/tool", b"first")
        .folder("srv")
        .file("srv/x", b"x")
        .hard_link("etc/same", "etc/kept");
    let above = Tar::default()
        .folder("etc")
        .file("etc/.wh.old", b"")
        .file("var/cache/c", b"c")
        .file("var/cache/.wh..wh..opq", b"")
        .folder("opt")
        .file("opt/tool", b"second")
        .file(".wh.srv", b"")
        .link("srv", "opt");
    let folder = tempfile::tempdir().unwrap();
    let archive = put(
        folder.path(),
        "image.tar",
        &docker_archive(&[below.end(), above.end()]),
    );
    for (format, compression) in [("oci", "gzip"), ("oci", "zstd")] {
        let name = format!("{format}-{compression}");
        let image = folder.path().join(&name);
        let mut skopeo = Command::new("skopeo");
        skopeo.args([
            "--insecure-policy",
            "copy",
            "--dest-compress-format",
            compression,
        ]);
        skopeo.arg(format!("docker-archive:{}", archive.display()));
        if !ran(skopeo.arg(format!("oci:{}:latest", image.display()))) {
            return;
        }
        let from = format!("oci-layout:{}:latest", image.display());
        let layout = folder.path().join(format!("layout-{name}"));
        let package = imported(&from, &layout, &named());
        let modules = package.built.config.modules.iter();
        let found: BTreeMap<_, _> = modules.map(|it| (it.path.as_str(), it)).collect();
        let names: Vec<_> = found.keys().copied().collect();
        assert_eq!(
            names,
            ["etc/kept", "etc/same", "opt/tool", "srv", "var/cache/c"]
        );
        assert_eq!(found["opt/tool"].digest, Digest::of(b"second"));
        assert_eq!(found["etc/same"].digest, found["etc/kept"].digest);
        assert_eq!(found["srv"].link.as_ref().unwrap().as_str(), "opt");
        assert_eq!(package.built.config.version.to_string(), "1.4.0");
    }
}

#[test]
fn images_that_remove_what_is_not_there_or_nothing_are_refused() {
    let nothing = Tar::default().file("etc/.wh.nothing", b"").end();
    refused_image(nothing, &["`etc/nothing`", "no layer below has"]);
    let unnamed = Tar::default()
        .file("etc/a", b"a")
        .file("etc/.wh.", b"")
        .end();
    refused_image(unnamed, &["`etc/.wh.`", "does not say of what"]);
}

/// Asserts that an image of this layer is refused with all of `words`, and that nothing is left.
#[track_caller]
fn refused_image(layer: Vec<u8>, words: &[&str]) {
    let folder = tempfile::tempdir().unwrap();
    let archive = put(folder.path(), "image.tar", &docker_archive(&[layer]));
    let image = folder.path().join("image");
    let mut skopeo = Command::new("skopeo");
    skopeo.args(["--insecure-policy", "copy"]);
    skopeo.arg(format!("docker-archive:{}", archive.display()));
    if !ran(skopeo.arg(format!("oci:{}:latest", image.display()))) {
        return;
    }
    let watch = |_: Step<'_>| ControlFlow::Continue(());
    let from = format!("oci-layout:{}:latest", image.display());
    let error = import(&from, &folder.path().join("layout"), &named(), &watch).unwrap_err();
    let error = chain(&error);
    for word in words {
        assert!(error.contains(word), "`{word}` in: {error}");
    }
    assert!(!folder.path().join("layout").exists());
}

#[test]
fn whatever_the_bytes_an_archive_is_read_or_refused() {
    use crate::archives::deb;
    use proptest::prelude::*;
    let good = deb(Tar::default()
        .file("a", b"x")
        .link("b", "a")
        .hard_link("c", "a"));
    let config = ProptestConfig::with_cases(200);
    proptest!(config, |(at in 0..good.len(), byte: u8, cut in 0..good.len())| {
        let mut bytes = good.clone();
        bytes[at] = byte;
        let _ = placet_packager::import::try_bytes(&bytes);
        let _ = placet_packager::import::try_bytes(&bytes[..cut]);
    });
    assert_eq!(placet_packager::import::try_bytes(&good), Ok(3));
}

#[test]
fn hard_links_of_files_are_one_blob() {
    let folder = tempfile::tempdir().unwrap();
    let tar = Tar::default().file("a", b"same").hard_link("b", "./a");
    let archive = put(folder.path(), "a.deb", &crate::archives::deb(tar));
    fs::set_permissions(&archive, fs::Permissions::from_mode(0o644)).unwrap();
    let layout = folder.path().join("layout");
    let package = imported(
        &archive.to_string_lossy(),
        &layout,
        &ImportChoice::default(),
    );
    let modules = &package.built.config.modules;
    assert_eq!(modules.len(), 2);
    assert_eq!(modules[0].digest, modules[1].digest);
}

#[test]
fn how_data_are_compressed_is_known_wherever_they_begin() {
    let deb = include_bytes!("../../../fuzz/corpus/archive/xz.deb");
    let header = deb.windows(8).position(|it| it == b"data.tar").unwrap();
    // Four bytes of the data come to lie at the end of a buffer.
    let size = 8_192 - 4 - 60 - (header + 60);
    let padding = format!("{:<48}{size:<10}`\n", "_padding");
    let zeros = vec![0; size];
    let padded = [&deb[..header], padding.as_bytes(), &zeros, &deb[header..]].concat();
    let read = placet_packager::import::try_bytes(deb);
    assert!(read.is_ok(), "{read:?}");
    assert_eq!(placet_packager::import::try_bytes(&padded), read);
}
