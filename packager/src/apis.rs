//! The modules of a package against the API files that its package file names (B3).

use std::collections::BTreeMap;
use std::path::Path;

use placet_model::{Digest, Module, SymbolLists};
use placet_package::Blob;
use serde_yaml::Spanned;

use crate::api_file::ApiFile;
use crate::error::{Error, ModuleFault};
use crate::gather::Found;

/// What modules and their lists of symbols consist of.
type Blobs = BTreeMap<Digest, Blob>;

/// Checks that modules which say that they provide an API do, and notes who uses one.
///
/// A module that imports a symbol of an API from a library of its soname uses the API, whether it
/// says so or not. Without a soname nothing tells whose symbol an import means: such an API is used
/// by those who say so.
pub(crate) fn apply(
    package_yaml: &Path,
    folder: &Path,
    files: &[Spanned<String>],
    found: &[Found<'_>],
    modules: &mut [Module],
    blobs: &Blobs,
) -> Result<(), Error> {
    for file in files {
        let api = ApiFile::read(&folder.join(&file.value))?;
        for module in modules.iter_mut() {
            let symbols = symbols(module, blobs);
            if module.provides.contains(&api.api()) {
                check_provider(&api, module, &symbols).map_err(|fault| {
                    let found = found.iter().find(|found| found.path == module.path);
                    let found = found.expect("every module was found");
                    found.refused(package_yaml, fault)
                })?;
            } else if is_user(&api, module, &symbols) {
                module.uses.insert(api.api());
            }
        }
    }
    Ok(())
}

/// The dynamic symbols of a module, which are stored beside it.
fn symbols(module: &Module, blobs: &Blobs) -> SymbolLists {
    let digest = module.elf.as_ref().and_then(|elf| elf.symbols);
    match digest.and_then(|digest| blobs.get(&digest)) {
        Some(Blob::Bytes(json)) => serde_json::from_slice(json).unwrap_or_default(),
        _ => SymbolLists::default(),
    }
}

fn check_provider(
    api: &ApiFile,
    module: &Module,
    symbols: &SymbolLists,
) -> Result<(), ModuleFault> {
    let name = format!("{} {}", api.name, api.version);
    let own = module.elf.as_ref().and_then(|elf| elf.soname.as_deref());
    if let Some(soname) = api.soname.as_deref().filter(|soname| own != Some(soname)) {
        let own = own.map_or_else(|| "none".to_owned(), |own| format!("`{own}`"));
        return Err(ModuleFault::ApiSoname(name, soname.to_owned(), own));
    }
    let missing = api.missing_of(symbols);
    if missing.is_empty() {
        Ok(())
    } else {
        Err(ModuleFault::ApiMissing(name, missing))
    }
}

fn is_user(api: &ApiFile, module: &Module, symbols: &SymbolLists) -> bool {
    let needed = module.elf.iter().flat_map(|elf| &elf.needed);
    let mut needed = needed.filter(|name| api.soname.as_ref() == Some(*name));
    needed.next().is_some() && !api.used_by(symbols).is_empty()
}
