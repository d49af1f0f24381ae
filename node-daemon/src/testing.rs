//! Manifests for tests.

use std::collections::{BTreeMap, BTreeSet};

use placet_model::{
    Architecture, ChosenPackage, Digest, ManifestEntry, Mode, Module, ModuleType, NodeManifest,
    Owner, ProcessKind, ProcessSpec, Signature, SignatureKind,
};

/// A module that is a file with this content.
pub(crate) fn file(path: &str, mode: &str, content: &[u8]) -> Module {
    let digest = Digest::of(content);
    Module {
        path: path.parse().unwrap(),
        mode: mode.parse::<Mode>().unwrap(),
        owner: Owner::default(),
        kind: ModuleType::Data,
        function: None,
        architecture: Architecture::default(),
        size: content.len() as u64,
        digest,
        signature: signature(&digest),
        build_id: None,
        link: None,
        elf: None,
        features: BTreeSet::new(),
        provides: BTreeSet::new(),
        uses: BTreeSet::new(),
        characteristics: BTreeMap::new(),
        supplemental: Vec::new(),
        optional: BTreeSet::new(),
        process: None,
    }
}

/// Any function of the content will do for a signature here.
fn signature(digest: &Digest) -> Signature {
    let hex = digest.hex();
    let byte = |index: usize| u8::from_str_radix(&hex[2 * index..2 * index + 2], 16).unwrap();
    Signature::new(SignatureKind::Plain, std::array::from_fn(byte))
}

/// A module that is a symbolic link.
pub(crate) fn link(path: &str, target: &str) -> Module {
    Module {
        link: Some(target.parse().unwrap()),
        ..file(path, "0777", target.as_bytes())
    }
}

/// A module that runs as a process of its file's name. Its program is a shell script.
pub(crate) fn process(path: &str, script: &str) -> Module {
    let module = file(path, "0755", script.as_bytes());
    let name = module.path.file_name().parse().unwrap();
    let spec = ProcessSpec {
        name,
        stop_seconds: 5,
        ready_seconds: 5,
        ..ProcessSpec::default()
    };
    Module {
        kind: ModuleType::Process,
        process: Some(spec),
        ..module
    }
}

/// `module` with its process described by `change`.
pub(crate) fn with(mut module: Module, change: impl FnOnce(&mut ProcessSpec)) -> Module {
    change(module.process.as_mut().unwrap());
    module
}

/// `module` as a self-managing process.
pub(crate) fn self_managing(module: Module) -> Module {
    with(module, |spec| spec.kind = ProcessKind::SelfManaging)
}

/// `module`, which depends on the module at `path` in a way that the linker cannot see.
pub(crate) fn needs(mut module: Module, path: &str) -> Module {
    module.optional.insert(path.parse().unwrap());
    module
}

pub(crate) fn entry(module: Module) -> ManifestEntry {
    ManifestEntry {
        package: "test".parse().unwrap(),
        module,
    }
}

pub(crate) fn manifest(entries: impl IntoIterator<Item = ManifestEntry>) -> NodeManifest {
    let mut modules: Vec<_> = entries.into_iter().collect();
    modules.sort_by(|one, other| one.module.path.cmp(&other.module.path));
    let package = ChosenPackage {
        name: "test".parse().unwrap(),
        version: "1.0.0".parse().unwrap(),
        digest: Digest::of(b"test"),
        test: false,
        requires: Vec::new(),
        requires_remote: Vec::new(),
    };
    NodeManifest {
        packages: vec![package],
        modules,
        ..NodeManifest::default()
    }
}
