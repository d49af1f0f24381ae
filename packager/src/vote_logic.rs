//! Decision logic of processes: in the package, and fit to run (M3).

use std::collections::BTreeMap;

use placet_logic::Logic;
use placet_model::{Digest, Module, VoteLogic};
use placet_package::Blob;

use crate::error::ModuleFault;

/// The first process whose logic could never decide, and why.
pub(crate) fn refused<'a>(
    modules: &'a [Module],
    blobs: &BTreeMap<Digest, Blob>,
) -> Option<(&'a Module, ModuleFault)> {
    modules.iter().find_map(|module| {
        let logic = module.process.as_ref()?.vote_logic.as_ref()?;
        let fault = check(logic, modules, blobs).err()?;
        Some((module, fault))
    })
}

fn check(
    logic: &VoteLogic,
    modules: &[Module],
    blobs: &BTreeMap<Digest, Blob>,
) -> Result<(), ModuleFault> {
    let path = &logic.module;
    let mut files = modules.iter().filter(|module| module.link.is_none());
    let module = files.find(|module| module.path == *path);
    let module = module.ok_or_else(|| ModuleFault::NoLogic(path.clone()))?;
    let bytes = match blobs.get(&module.digest) {
        Some(Blob::Bytes(bytes)) => bytes.clone(),
        Some(Blob::File(file)) => std::fs::read(file)
            .map_err(|error| ModuleFault::Read(file.display().to_string(), error))?,
        None => return Err(ModuleFault::NoLogic(path.clone())),
    };
    let checked = Logic::new(&bytes, logic.fuel, logic.memory_bytes);
    checked.map_err(|error| ModuleFault::Logic(path.clone(), error))?;
    Ok(())
}
