//! Modules as patches against what a node has.
//!
//! A patch is one zstd frame made with the older bytes as its prefix, as `zstd --patch-from` makes
//! it. What was made for one node is kept for the others for a while.

use std::collections::VecDeque;
use std::fs::File;
use std::io::{self, Read as _, Seek as _};
use std::sync::Arc;
use std::time::Duration;

use placet_model::Digest;
use tokio::sync::Mutex;
use tokio::task::spawn_blocking;
use zstd_safe::{CCtx, CParameter};

/// Of larger modules no patches are made: both have to be in memory at once.
const LARGEST: u64 = 64 << 20;

/// Below this, there is nothing to gain.
const SMALLEST: u64 = 4 << 10;

/// Higher levels take many times as long for a few percent.
const LEVEL: i32 = 9;

/// Patches that are kept, and how many bytes of them.
const KEPT_MOST: usize = 256;
const KEPT_BYTES_MOST: usize = 64 << 20;

/// How long a node waits for its turn; well below what it takes for a standstill.
const PATIENCE: Duration = Duration::from_secs(5);

/// A module's bytes and how many they are.
pub(super) struct Bytes {
    pub(super) digest: Digest,
    pub(super) file: File,
    pub(super) size: u64,
}

type Pair = (Digest, Digest);

/// `None` where a patch would not be smaller.
type Patch = Option<Arc<[u8]>>;

/// The patches that were made lately. One is made at a time, which bounds the memory for it.
#[derive(Debug, Default)]
pub(crate) struct Patches(Mutex<VecDeque<(Pair, Patch)>>);

impl Patches {
    /// What makes `wanted` of `base`, if that is smaller than `wanted`.
    pub(super) async fn between(&self, base: Bytes, wanted: Bytes) -> Patch {
        let sizes = SMALLEST..=LARGEST;
        if !sizes.contains(&base.size) || !sizes.contains(&wanted.size) {
            return None;
        }
        let pair = (base.digest, wanted.digest);
        // Who would wait for long is better off with the whole.
        let kept = tokio::time::timeout(PATIENCE, self.0.lock());
        let mut kept = kept.await.ok()?;
        if let Some((_, patch)) = kept.iter().find(|(of, _)| *of == pair) {
            return patch.clone();
        }
        let made = spawn_blocking(move || make(base, wanted)).await.ok()?;
        let patch = made.unwrap_or_else(|error| {
            tracing::warn!(%error, "a patch for module {} cannot be made", pair.1);
            None
        });
        kept.push_back((pair, patch.clone()));
        let bytes = |kept: &VecDeque<(Pair, Patch)>| -> usize {
            let patches = kept.iter().filter_map(|(_, patch)| patch.as_ref());
            patches.map(|patch| patch.len()).sum()
        };
        while kept.len() > KEPT_MOST || bytes(&kept) > KEPT_BYTES_MOST {
            kept.pop_front();
        }
        patch
    }
}

fn make(base: Bytes, wanted: Bytes) -> io::Result<Patch> {
    let (base, wanted) = (read(base)?, read(wanted)?);
    Ok(patch(&base, &wanted).map(Arc::from))
}

fn read(mut bytes: Bytes) -> io::Result<Vec<u8>> {
    let mut content = Vec::new();
    bytes.file.rewind()?;
    bytes.file.take(bytes.size).read_to_end(&mut content)?;
    Ok(content)
}

/// A patch of less than nine tenths of `wanted`, or none.
fn patch(base: &[u8], wanted: &[u8]) -> Option<Vec<u8>> {
    let window = (base.len() + wanted.len()).next_power_of_two().ilog2();
    let parameters = [
        CParameter::CompressionLevel(LEVEL),
        CParameter::WindowLog(window.clamp(10, 27)),
        CParameter::EnableLongDistanceMatching(true),
    ];
    let mut context = CCtx::create();
    for parameter in parameters {
        context.set_parameter(parameter).ok()?;
    }
    context.ref_prefix(base).ok()?;
    let mut patch = Vec::with_capacity(wanted.len() - wanted.len() / 10);
    // Fails where it does not fit.
    context.compress2(&mut patch, wanted).ok()?;
    Some(patch)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bytes(content: &[u8]) -> Bytes {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("content");
        std::fs::write(&path, content).unwrap();
        Bytes {
            digest: Digest::of(content),
            file: File::open(path).unwrap(),
            size: content.len() as u64,
        }
    }

    /// Bytes that cannot be compressed.
    fn noise(seed: u64, length: usize) -> Vec<u8> {
        use rand::{RngExt as _, SeedableRng as _};
        let mut random = rand::rngs::StdRng::seed_from_u64(seed);
        (0..length).map(|_| random.random()).collect()
    }

    #[tokio::test]
    async fn a_patch_is_as_large_as_what_changed_and_makes_the_module_of_its_base() {
        let base = noise(1, 300_000);
        let mut wanted = base.clone();
        wanted.splice(100_000..100_010, noise(2, 500));
        let patches = Patches::default();
        let patch = patches.between(bytes(&base), bytes(&wanted)).await.unwrap();
        assert!(patch.len() < 2_000, "{}", patch.len());
        let mut made = Vec::with_capacity(wanted.len());
        let mut context = zstd_safe::DCtx::create();
        context.ref_prefix(&base).unwrap();
        context.decompress(&mut made, &patch).unwrap();
        assert_eq!(made, wanted);
        let again = patches.between(bytes(&base), bytes(&wanted)).await.unwrap();
        assert!(Arc::ptr_eq(&patch, &again), "it is made once");
    }

    #[tokio::test]
    async fn where_a_patch_is_not_smaller_there_is_none() {
        let (one, other) = (noise(1, 50_000), noise(2, 50_000));
        let patches = Patches::default();
        assert_eq!(patches.between(bytes(&one), bytes(&other)).await, None);
        assert_eq!(patches.between(bytes(&one), bytes(b"short")).await, None);
    }

    /// A program of some size, and one in which a constant and a text are others.
    fn two_builds(folder: &std::path::Path) -> [std::path::PathBuf; 2] {
        let source = include_str!("../../../node-daemon/tests/node/actor.c");
        let changed = source.replace("signal(SIGTERM, SIG_IGN)", "signal(SIGINT, SIG_IGN)");
        assert_ne!(source, changed);
        [("old", source), ("new", &changed)].map(|(name, source)| {
            let (file, program) = (folder.join(format!("{name}.c")), folder.join(name));
            std::fs::write(&file, source).unwrap();
            let headers = concat!(env!("CARGO_MANIFEST_DIR"), "/../sdk/c");
            let compiler = std::process::Command::new("cc")
                .args(["-O2", "-static", "-I", headers, "-o"])
                .args([&program, &file])
                .status();
            assert!(compiler.unwrap().success());
            program
        })
    }

    #[test]
    fn a_patch_of_a_real_program_is_about_as_small_as_that_of_zstd() {
        let folder = tempfile::tempdir().unwrap();
        let [old, new] = two_builds(folder.path());
        let path = folder.path().join("patch");
        let zstd = std::process::Command::new("zstd")
            .args(["-q", "-f", "--patch-from"])
            .args([&old, &new])
            .arg("-o")
            .arg(&path)
            .status();
        let (old, new) = (std::fs::read(old).unwrap(), std::fs::read(new).unwrap());
        let ours = patch(&old, &new).unwrap().len();
        let theirs = zstd
            .is_ok_and(|status| status.success())
            .then(|| std::fs::metadata(&path).unwrap().len());
        let mut packed = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
        io::Write::write_all(&mut packed, &new).unwrap();
        let layer = packed.finish().unwrap().len();
        let figures = serde_json::json!({
            "wholeBytes": new.len(), "layerBytes": layer, "patchBytes": ours,
            "zstdPatchFromBytes": theirs,
        });
        placet_tests::evidence("delta", &figures);
        assert!(ours * 100 < layer, "{figures}");
        // Each block of 128 KiB has some bytes of its own here.
        let blocks = new.len().div_ceil(128 << 10) as u64;
        let bound = |theirs: u64| theirs + theirs / 10 + 64 * blocks;
        assert!(
            theirs.is_none_or(|theirs| ours as u64 <= bound(theirs)),
            "{figures}"
        );
    }
}
