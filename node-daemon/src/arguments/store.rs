//! Arguments about what the store may take of disk and network.

use std::ffi::OsString;
use std::num::{NonZeroU32, NonZeroU64};
use std::path::PathBuf;
use std::time::Duration;

use clap::Args;

use crate::store::Allowance;

const KIB: NonZeroU64 = NonZeroU64::new(1 << 10).unwrap();
const MIB: u64 = 1 << 20;

/// What modules may take of the node's disk and network.
#[derive(Debug, Clone, Args)]
pub struct StoreArguments {
    /// Space to leave free on the disk, in MiB [default: 64, or a fiftieth of a smaller disk]
    #[arg(long, value_name = "MIB")]
    pub disk_reserve: Option<u32>,
    /// As much of the disk as the state folder may take, in MiB [default: all but the reserve]
    #[arg(long, value_name = "MIB")]
    pub quota: Option<u32>,
    /// Generations to keep of those that ran before, to go back to without fetching
    #[arg(long, value_name = "NUMBER", default_value_t = 2)]
    pub generations_kept: u8,
    /// Seconds between looks for files that have drifted, by size and time; 0 for never
    #[arg(long, value_name = "SECONDS", default_value_t = 600)]
    pub look_every: u32,
    /// Seconds between looks at the bytes of all files; 0 for never
    #[arg(long, value_name = "SECONDS", default_value_t = 86400)]
    pub look_closely_every: u32,
    /// Folder for what runs from memory only, on a tmpfs [default: `memory` in the runtime folder]
    #[arg(long, value_name = "DIR")]
    pub memory: Option<PathBuf>,
    /// How fast modules may be fetched, all together, in KiB a second [default: no bound]
    #[arg(long, value_name = "KIB")]
    pub fetch_rate: Option<NonZeroU32>,
    /// Modules to fetch at the same time
    #[arg(long, value_name = "NUMBER", default_value_t = 4, value_parser = clap::value_parser!(u8).range(1..))]
    pub fetches: u8,
}

/// How modules are fetched.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Fetches {
    /// Bytes a second.
    pub(crate) rate: Option<NonZeroU64>,
    pub(crate) at_once: usize,
}

/// How often the disk is looked at; never where it is zero.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Looks {
    pub(crate) quick: Duration,
    pub(crate) full: Duration,
}

impl StoreArguments {
    pub(super) fn allowance(&self) -> Allowance {
        let bytes = |mib: Option<u32>| mib.map(|mib| u64::from(mib) * MIB);
        Allowance {
            reserve: bytes(self.disk_reserve),
            quota: bytes(self.quota),
            kept: self.generations_kept.into(),
        }
    }

    pub(super) fn looks(&self) -> Looks {
        let seconds = |seconds: u32| Duration::from_secs(seconds.into());
        Looks {
            quick: seconds(self.look_every),
            full: seconds(self.look_closely_every),
        }
    }

    pub(super) fn fetches(&self) -> Fetches {
        let rate = |kib: NonZeroU32| NonZeroU64::from(kib).saturating_mul(KIB);
        Fetches {
            rate: self.fetch_rate.map(rate),
            at_once: self.fetches.into(),
        }
    }

    /// The same as words of a command line.
    pub(super) fn words(&self) -> Vec<OsString> {
        let numbers = [
            ("--disk-reserve", self.disk_reserve),
            ("--quota", self.quota),
            ("--generations-kept", Some(self.generations_kept.into())),
            ("--fetch-rate", self.fetch_rate.map(NonZeroU32::get)),
            ("--fetches", Some(self.fetches.into())),
            ("--look-every", Some(self.look_every)),
            ("--look-closely-every", Some(self.look_closely_every)),
        ];
        let given = numbers
            .into_iter()
            .filter_map(|(name, number)| Some([name.to_owned(), number?.to_string()]));
        given.flatten().map(OsString::from).collect()
    }
}
