//! How far an archive is, told to whoever follows its import, who may want it to end.

use std::cell::Cell;
use std::io::{self, Read};

use crate::watch::{Step, Watch};

/// Counts what is read of an archive.
pub(super) struct Meter<'w> {
    watch: Watch<'w>,
    bytes: Cell<u64>,
    of: Cell<u64>,
    is_cancelled: Cell<bool>,
}

/// A part of an archive that is read.
pub(super) struct Metered<'m, R> {
    inner: R,
    meter: &'m Meter<'m>,
}

/// Nobody wants the rest.
#[derive(Debug, thiserror::Error)]
#[error("it was cancelled")]
pub(super) struct Cancelled;

impl<'w> Meter<'w> {
    pub(super) fn new(watch: Watch<'w>) -> Self {
        Self {
            watch,
            bytes: Cell::new(0),
            of: Cell::new(0),
            is_cancelled: Cell::new(false),
        }
    }

    /// Says how much there is to read.
    pub(super) fn expect(&self, of: u64) {
        self.of.set(of);
    }

    /// What is read through this counts.
    pub(super) fn read<R: Read>(&self, inner: R) -> Metered<'_, R> {
        Metered { inner, meter: self }
    }

    /// Tells that `bytes` of `of` have come from a registry.
    pub(super) fn fetched(&self, bytes: u64, of: u64) -> Result<(), Cancelled> {
        self.tell(Step::Fetching { bytes, of })
    }

    pub(super) fn is_cancelled(&self) -> bool {
        self.is_cancelled.get()
    }

    fn tell(&self, step: Step<'_>) -> Result<(), Cancelled> {
        if (self.watch)(step).is_break() {
            self.is_cancelled.set(true);
            return Err(Cancelled);
        }
        Ok(())
    }
}

impl<R: Read> Read for Metered<'_, R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.inner.read(buffer)?;
        let Meter { bytes, of, .. } = self.meter;
        bytes.set(bytes.get() + count as u64);
        let step = Step::Reading {
            bytes: bytes.get(),
            of: of.get(),
        };
        self.meter.tell(step).map_err(io::Error::other)?;
        Ok(count)
    }
}
