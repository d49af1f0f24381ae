//! What the logic of processes is given where no node is: modules of packages, and files that people
//! supply by hand.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io::Read as _;
use std::path::PathBuf;
use std::str::FromStr;

use anyhow::Context as _;
use placet_controller::catalog::Packages;
use placet_model::{Module, ModulePath, ProcessName};
use tokio::runtime::Runtime;

/// `PROCESS:PATH=FILE`: a file that the logic of a process is given for a path.
#[derive(Debug, Clone)]
pub(crate) struct Supplied {
    process: ProcessName,
    path: ModulePath,
    file: PathBuf,
}

impl FromStr for Supplied {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let parts = text.split_once(':').and_then(|(process, rest)| {
            let (path, file) = rest.split_once('=')?;
            Some((process, path, file))
        });
        let (process, path, file) = parts
            .ok_or("expected PROCESS:PATH=FILE, as in routed:etc/routed.conf=site/routed.conf")?;
        Ok(Self {
            process: process.parse().map_err(|error| format!("{error}"))?,
            path: path.parse().map_err(|error| format!("{error}"))?,
            file: file.into(),
        })
    }
}

/// Above what any logic is given.
const READ_MOST: u64 = 4 << 20;

/// The bytes of a module of the packages that were read, from wherever they are.
pub(crate) fn read_module(
    packages: &Packages,
    runtime: &Runtime,
    module: &Module,
) -> Result<Vec<u8>, String> {
    let blob = packages.fetch_blob(&module.digest);
    let (file, _) = runtime.block_on(blob).map_err(|error| error.to_string())?;
    let mut bytes = Vec::new();
    let read = file.take(READ_MOST).read_to_end(&mut bytes);
    read.map_err(|error| error.to_string())?;
    Ok(bytes)
}

/// Gives the bytes of a module of a package.
pub(crate) type ReadModule<'a> = dyn Fn(&Module) -> Result<Vec<u8>, String> + 'a;

/// Files by hand, and modules of packages.
pub(crate) struct Shelf<'a> {
    read: &'a ReadModule<'a>,
    supplied: BTreeMap<(ProcessName, ModulePath), Vec<u8>>,
    used: BTreeSet<(ProcessName, ModulePath)>,
}

impl<'a> Shelf<'a> {
    pub(crate) fn new(read: &'a ReadModule<'a>, supplied: &[Supplied]) -> anyhow::Result<Self> {
        let content = |it: &Supplied| {
            let bytes = fs::read(&it.file)
                .with_context(|| format!("failed to read {}", it.file.display()))?;
            Ok(((it.process.clone(), it.path.clone()), bytes))
        };
        Ok(Self {
            read,
            supplied: supplied
                .iter()
                .map(content)
                .collect::<anyhow::Result<_>>()?,
            used: BTreeSet::new(),
        })
    }

    /// The content of a path that the logic of a process needs.
    pub(crate) fn get(
        &mut self,
        process: &ProcessName,
        path: &ModulePath,
        module: Option<&Module>,
    ) -> Result<Option<Vec<u8>>, String> {
        let key = (process.clone(), path.clone());
        if let Some(bytes) = self.supplied.get(&key) {
            self.used.insert(key);
            return Ok(Some(bytes.clone()));
        }
        let read = |module| {
            (self.read)(module)
                .map_err(|why| format!("module `{}` cannot be had: {why}", module.path))
        };
        module.map(read).transpose()
    }

    /// A sentence for each supplied file that no logic asked for.
    pub(crate) fn unused(&self) -> Vec<String> {
        let unused = self.supplied.keys().filter(|key| !self.used.contains(key));
        let sentence = |(process, path): &(ProcessName, ModulePath)| {
            format!(
                "--file {process}:{path} was not asked for: no change touches {process}, or its voteLogic does not list the path"
            )
        };
        unused.map(sentence).collect()
    }
}
