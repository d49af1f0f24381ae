//! Shaded packages: the same modules under a new version, with signatures that are kept or random,
//! to try out what an update of them does.

use std::collections::BTreeSet;

use placet_model::{Module, ModulePath, Signature, UpdateTool};
use placet_package::{Package, signature};

use super::{Naming, Update, UpdateError, matching};
use crate::glob::Glob;

/// Which signatures become random.
#[derive(Debug, Clone)]
pub enum Shade {
    /// None: no node notices the new version.
    White,
    /// All.
    Black,
    /// Those of the modules whose paths these patterns stand for.
    Gray(Vec<Glob>),
}

/// What `package` becomes with a new version and with the signatures that `shade` says.
///
/// The bytes of the modules stay, so that nothing has to be stored or sent again. `seed` decides
/// the random signatures: the same seed gives the same package.
///
/// # Errors
///
/// A pattern that stands for no module, or a version that cannot be given.
pub fn shade(
    package: &Package,
    shade: &Shade,
    seed: &[u8],
    naming: Naming<'_>,
) -> Result<Update, UpdateError> {
    let by = shade.tool();
    let chosen = shade.chosen(package)?;
    let version = naming.choose(&package.config.version, by)?;
    let mut update = Update::of(package, by, version);
    let modules = update.config.modules.iter_mut();
    for module in modules.filter(|module| chosen.contains(&module.path)) {
        module.signature = random(module, seed);
    }
    update.derived().shaded.extend(chosen);
    Ok(update)
}

impl Shade {
    fn tool(&self) -> UpdateTool {
        match self {
            Self::White => UpdateTool::White,
            Self::Black => UpdateTool::Black,
            Self::Gray(_) => UpdateTool::Gray,
        }
    }

    fn chosen(&self, package: &Package) -> Result<BTreeSet<ModulePath>, UpdateError> {
        let config = &package.config;
        match self {
            Self::White => Ok(BTreeSet::new()),
            Self::Black => Ok(config.modules.iter().map(|it| it.path.clone()).collect()),
            Self::Gray(globs) => matching(config, globs),
        }
    }
}

/// Another signature of the same kind. What the module had goes into it, so that the same seed
/// gives another one again to what was shaded with it before.
fn random(module: &Module, seed: &[u8]) -> Signature {
    let before = module.signature;
    let place = format!("{}\0{}\0{before}\0", module.path, module.architecture);
    let text = [b"shade\0", place.as_bytes(), seed].concat();
    let plain = signature(&text).expect("a text that does not begin as an ELF file has one");
    Signature::new(before.kind(), plain.md5())
}
