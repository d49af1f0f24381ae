//! Images in registries: what is needed of one comes into a temporary layout.

use std::path::Path;
use std::pin::pin;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use placet_model::Digest;
use placet_package::registry::{
    Access, Limits, Progress, Registry, RegistryError, RegistryReference,
};
use placet_package::{Layout, Selector};
use tokio::runtime::{Builder, Runtime};
use tokio::time::interval;

use super::ImportOptions;
use super::error::Fault;
use super::image::Image;
use super::meter::Meter;

/// A repository, and where what comes from it is kept.
struct Remote<'r> {
    runtime: Runtime,
    registry: Registry,
    reference: &'r RegistryReference,
    layout: Layout,
}

/// How often whoever follows is told.
const TICK: Duration = Duration::from_millis(100);

/// Fetches the image for the wanted platform into a layout in `folder`.
pub(super) fn fetch(
    reference: &RegistryReference,
    options: &ImportOptions,
    folder: &Path,
    meter: &Meter<'_>,
) -> Result<(Layout, Image), Fault> {
    let remote = Remote::open(reference, options, folder)?;
    let image = remote.find(options)?;
    let size = image.size();
    // Unpacked, it has more.
    if size > options.limits.bytes {
        return Err(Fault::Bytes(options.limits.bytes));
    }
    remote.fetch_blobs(&image, size, meter)?;
    Ok((remote.layout, image))
}

/// The digest of the image for the wanted platform; its layers stay where they are.
pub(super) fn digest(
    reference: &RegistryReference,
    options: &ImportOptions,
    folder: &Path,
) -> Result<Digest, Fault> {
    let found = Remote::open(reference, options, folder)?.find(options)?;
    Ok(found.digest)
}

impl<'r> Remote<'r> {
    fn open(
        reference: &'r RegistryReference,
        options: &ImportOptions,
        folder: &Path,
    ) -> Result<Self, Fault> {
        let runtime = Builder::new_current_thread().enable_all().build();
        let runtime = runtime.map_err(Fault::Runtime)?;
        let access = match &options.access {
            Some(access) => access.clone(),
            None => runtime.block_on(Access::of_user(&reference.host))?,
        };
        Ok(Self {
            registry: Registry::new(reference, &access, Limits::default())?,
            runtime,
            reference,
            layout: Layout::create(&folder.join("image"))?,
        })
    }

    fn find(&self, options: &ImportOptions) -> Result<Image, Fault> {
        let first = self.fetch_manifest(&self.reference.selector)?;
        let fetch = |digest| Ok(self.fetch_manifest(&Selector::Digest(digest)).map(drop)?);
        Image::find(&self.layout, first, options, fetch)
    }

    fn fetch_manifest(&self, selector: &Selector) -> Result<Digest, RegistryError> {
        let reference = self.reference.with(selector.clone());
        let fetched = self.registry.fetch_image_manifest(&reference, &self.layout);
        self.runtime.block_on(fetched)
    }

    fn fetch_blobs(&self, image: &Image, size: u64, meter: &Meter<'_>) -> Result<(), Fault> {
        let blobs = image.blobs();
        let come = Come::default();
        self.runtime.block_on(async {
            let fetched = self
                .registry
                .fetch_all(self.reference, &blobs, &self.layout, &come);
            let mut fetched = pin!(fetched);
            let mut ticks = interval(TICK);
            loop {
                tokio::select! {
                    done = &mut fetched => return Ok(done?),
                    _ = ticks.tick() => {
                        let bytes = come.0.load(Ordering::Relaxed).min(size);
                        meter.fetched(bytes, size).map_err(|_| Fault::Cancelled)?;
                    }
                }
            }
        })
    }
}

/// Bytes that have come.
#[derive(Default)]
struct Come(AtomicU64);

impl Progress for Come {
    fn wanted(&self, _bytes: u64) {}

    fn moved(&self, bytes: u64) {
        self.0.fetch_add(bytes, Ordering::Relaxed);
    }

    fn present(&self, bytes: u64) {
        self.moved(bytes);
    }
}
