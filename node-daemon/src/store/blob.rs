//! Modules by digest, and how they come in.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, File};
use std::io::{self, Read as _};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use nix::unistd::{Group, User};
use placet_model::{Digest, Hasher, Module, ModulePath, NodeManifest};

use super::disk::{Context as _, Operation, Seal};
use super::files;
use super::verify::digest_of;
use super::{Generation, Store, StoreError};

/// Write permission is never given: a generation stays as it is.
const MODE_MASK: u32 = 0o555;

/// A module that has to be fetched.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Missing {
    pub(crate) digest: Digest,
    pub(crate) size: u64,
}

impl Store {
    /// What has to be fetched before `manifest` can be laid out, each module once.
    ///
    /// Bytes that `base`, the running generation, holds for an equal signature at the same path
    /// are kept (B10) and need not be fetched.
    pub(crate) fn missing(&self, manifest: &NodeManifest, base: &Generation) -> Vec<Missing> {
        let lacking = manifest
            .stored_modules()
            .filter(|module| module.link.is_none())
            .map(|module| (self.held(module, base), module.size))
            .filter(|(digest, _)| !self.has(*digest));
        let unique: BTreeMap<_, _> = lacking.collect();
        unique
            .into_iter()
            .map(|(digest, size)| Missing { digest, size })
            .collect()
    }

    /// The modules that a generation of `manifest` has, as this node holds them.
    pub(crate) fn modules(&self, manifest: &NodeManifest, base: &Generation) -> BTreeSet<Digest> {
        let files = manifest.stored_modules();
        let files = files.filter(|module| module.link.is_none());
        files.map(|module| self.held(module, base)).collect()
    }

    /// The digest of the bytes that this node holds, or will hold, for `module`.
    pub(super) fn held(&self, module: &Module, base: &Generation) -> Digest {
        let kept = base
            .manifest
            .get(&module.path)
            .filter(|entry| {
                entry.module.link.is_none() && entry.module.signature == module.signature
            })
            .map(|entry| base.held(&entry.module))
            .filter(|digest| self.has(*digest));
        kept.unwrap_or(module.digest)
    }

    /// Begins or goes on with fetching a module: what arrived before is not fetched again.
    pub(crate) fn incoming(&self, missing: Missing) -> Result<Incoming, StoreError> {
        let path = self.partial(missing.digest);
        let mut incoming = Incoming {
            store: self.clone(),
            missing,
            path,
            hasher: Hasher::default(),
            received: 0,
        };
        incoming.take_what_is_there()?;
        Ok(incoming)
    }

    /// A file in the store with the bytes of `digest` and the mode and owner of `module`.
    pub(super) fn variant(&self, digest: Digest, module: &Module) -> Result<PathBuf, StoreError> {
        let owner = Owner::of(module)?;
        let path = self
            .blobs()
            .join(digest.hex())
            .join(owner.file_name(module));
        if path.exists() {
            return Ok(path);
        }
        let source = self.any_variant(digest);
        let source = source.ok_or_else(|| StoreError::Lacking {
            digest,
            path: module.path.clone(),
        })?;
        let temporary = self
            .root
            .join("partial")
            .join(format!("{}.copy", digest.hex()));
        self.copy_verified(&source, &temporary, digest)?;
        self.admit(&temporary, &path, owner.seal(module))?;
        Ok(path)
    }

    /// Where the bytes of `digest` stand with the mode and owner of `module`.
    pub(super) fn variant_path(
        &self,
        digest: Digest,
        module: &Module,
    ) -> Result<PathBuf, StoreError> {
        let name = Owner::of(module)?.file_name(module);
        Ok(self.blobs().join(digest.hex()).join(name))
    }

    /// Where the bytes of `digest` are collected while they arrive.
    pub(super) fn partial(&self, digest: Digest) -> PathBuf {
        self.root.join("partial").join(digest.hex())
    }

    /// True if the bytes of `digest` are here.
    pub(crate) fn has(&self, digest: Digest) -> bool {
        self.any_variant(digest).is_some()
    }

    /// A file with these bytes, the own ones first.
    fn any_variant(&self, digest: Digest) -> Option<PathBuf> {
        let mut others = self.others();
        let own = self.own_variant(digest);
        own.or_else(|| others.find_map(|part| part.own_variant(digest)))
    }

    pub(super) fn own_variant(&self, digest: Digest) -> Option<PathBuf> {
        let entries = fs::read_dir(self.blobs().join(digest.hex())).ok()?;
        entries.flatten().map(|entry| entry.path()).min()
    }

    /// Gives a complete file its mode, owner and final name, for good.
    fn admit(&self, from: &Path, to: &Path, seal: Seal) -> Result<(), StoreError> {
        self.disk.apply(Operation::Seal { path: from, seal })?;
        let folder = to.parent().unwrap_or(to);
        self.disk.make_folder(folder)?;
        self.disk.rename(from, to)?;
        self.disk.flush(folder)?;
        self.disk.flush(&self.blobs())
    }

    /// The bytes of a module that is in the store.
    pub(crate) fn content(&self, digest: Digest) -> Result<Vec<u8>, StoreError> {
        let path = self.blobs().join(digest.hex());
        let path = self.any_variant(digest).unwrap_or(path);
        fs::read(&path).on("read", &path)
    }

    fn copy_verified(&self, from: &Path, to: &Path, digest: Digest) -> Result<(), StoreError> {
        let found = digest_of(from)?;
        if found != digest {
            // The next attempt fetches it.
            self.disk.remove(from)?;
            return Err(StoreError::WrongDigest { digest, found });
        }
        self.disk.remove(to)?;
        self.disk.apply(Operation::Copy { from, to })
    }
}

/// Who owns a stored file.
struct Owner {
    user: Option<u32>,
    group: Option<u32>,
}

impl Owner {
    fn of(module: &Module) -> Result<Self, StoreError> {
        let unknown = |what, name: &String| StoreError::Owner {
            path: module.path.clone(),
            what,
            name: placet_model::visible(name).to_string(),
        };
        let user = module.owner.user.as_ref().map(|name| {
            let user = User::from_name(name).ok().flatten();
            let user = user.map(|user| user.uid.as_raw());
            user.or_else(|| number(name))
                .ok_or_else(|| unknown("user", name))
        });
        let group = module.owner.group.as_ref().map(|name| {
            let group = Group::from_name(name).ok().flatten();
            let group = group.map(|group| group.gid.as_raw());
            group
                .or_else(|| number(name))
                .ok_or_else(|| unknown("group", name))
        });
        Ok(Self {
            user: user.transpose()?,
            group: group.transpose()?,
        })
    }

    fn is_given(&self) -> bool {
        self.user.is_some() || self.group.is_some()
    }

    fn seal(&self, module: &Module) -> Seal {
        Seal {
            mode: module.mode.bits() & MODE_MASK,
            user: self.user,
            group: self.group,
        }
    }

    fn file_name(&self, module: &Module) -> String {
        let part = |id: Option<u32>| id.map_or_else(String::new, |id| id.to_string());
        if self.is_given() {
            format!("{}-{}-{}", module.mode, part(self.user), part(self.group))
        } else {
            module.mode.to_string()
        }
    }
}

/// The owner that nobody here has a name for, as `chown` takes it: a name that is there comes first.
/// The highest number stands for no change.
fn number(name: &str) -> Option<u32> {
    let digits = name.bytes().all(|byte| byte.is_ascii_digit());
    let number = name.parse().ok().filter(|_| digits);
    number.filter(|number| *number != u32::MAX)
}

/// A module that is being fetched.
pub(crate) struct Incoming {
    store: Store,
    missing: Missing,
    path: PathBuf,
    hasher: Hasher,
    received: u64,
}

impl Incoming {
    /// How many bytes are here already.
    pub(crate) fn offset(&self) -> u64 {
        self.received
    }

    pub(crate) fn is_whole(&self) -> bool {
        self.received == self.missing.size
    }

    /// Adds bytes that arrived.
    pub(crate) fn add(&mut self, bytes: &[u8]) -> Result<(), StoreError> {
        let Missing { digest, size } = self.missing;
        self.received += bytes.len() as u64;
        if self.received > size {
            self.store.disk.remove(&self.path)?;
            return Err(StoreError::TooLong { digest, size });
        }
        self.hasher.update(bytes);
        self.store.disk.apply(Operation::Append {
            path: &self.path,
            content: bytes,
        })
    }

    /// Checks that the bytes are those of the digest, and puts them into the store with the mode
    /// and owner of `module`.
    pub(crate) fn finish(self, module: &Module) -> Result<(), StoreError> {
        let Missing { digest, size } = self.missing;
        if self.received < size {
            return Err(StoreError::TooShort {
                digest,
                received: self.received,
                size,
            });
        }
        let found = self.hasher.finish();
        if found != digest {
            self.store.disk.remove(&self.path)?;
            return Err(StoreError::WrongDigest { digest, found });
        }
        let owner = Owner::of(module)?;
        let to = self
            .store
            .blobs()
            .join(digest.hex())
            .join(owner.file_name(module));
        self.store.admit(&self.path, &to, owner.seal(module))
    }

    fn take_what_is_there(&mut self) -> Result<(), StoreError> {
        let mut file = match File::open(&self.path) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                // A module without bytes has to be there as well.
                let (path, content) = (&*self.path, &[][..]);
                return self.store.disk.apply(Operation::Append { path, content });
            }
            Err(error) => return Err(error).on("open", &self.path),
        };
        let there = file.metadata().on("look at", &self.path)?.len();
        if there > self.missing.size {
            let (path, content) = (&*self.path, &[][..]);
            return self.store.disk.apply(Operation::Write { path, content });
        }
        let mut buffer = vec![0; 64 << 10];
        loop {
            let count = file.read(&mut buffer).on("read", &self.path)?;
            if count == 0 {
                return Ok(());
            }
            self.hasher.update(&buffer[..count]);
            self.received += count as u64;
        }
    }
}

/// Removes modules that no generation has, those with no name but the store's; modules in `wanted`
/// are kept.
pub(super) fn collect(store: &Store, wanted: &BTreeSet<Digest>) -> Result<(), StoreError> {
    let wanted: BTreeSet<String> = wanted.iter().map(Digest::hex).collect();
    let partial = store.root.join("partial");
    for name in files::names(&partial)? {
        if wanted.contains(&name) {
            continue;
        }
        store.disk.remove(&partial.join(name))?;
    }
    for name in files::names(&store.blobs())? {
        if wanted.contains(&name) {
            continue;
        }
        let_go(store, &name)?;
    }
    Ok(())
}

/// Removes the module of this digest, in hexadecimal, as far as it has no name but the store's.
pub(super) fn let_go(store: &Store, digest: &str) -> Result<(), StoreError> {
    let folder = store.blobs().join(digest);
    for variant in files::names(&folder)? {
        let path = folder.join(variant);
        if fs::symlink_metadata(&path).on("look at", &path)?.nlink() == 1 {
            store.disk.remove(&path)?;
        }
    }
    // Fails while a variant is left, as it should.
    let _ = store.disk.run(&Operation::RemoveFolder { path: &folder });
    Ok(())
}

/// The mode and owner that a module has on this node.
pub(super) fn seal(module: &Module) -> Result<Seal, StoreError> {
    Ok(Owner::of(module)?.seal(module))
}

impl Generation {
    /// The digest of the bytes that stand at the path of `module`, one of this generation's.
    pub(crate) fn held(&self, module: &Module) -> Digest {
        self.held
            .get(&module.path)
            .copied()
            .unwrap_or(module.digest)
    }
}

/// Digests held where they are not those of the manifest.
pub(super) type Held = BTreeMap<ModulePath, Digest>;
