//! What a node starts from (D9): a package of purpose `boot`, which the class names apart from its
//! package sets.

use placet_model::{Boot, BootDeclaration, Digest, ModuleType, Purpose};

use super::list::{List, resolve};
use super::select::Wanted;
use super::{Findings, Scope};
use crate::Problem;

/// The boot image of a configuration.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Image {
    declaration: BootDeclaration,
    /// Digest of its package.
    digest: Digest,
    is_transient: bool,
}

/// Puts the boot image that the class names for the configuration behind all other packages.
pub(super) fn find<'c>(
    scope: &Scope<'_, 'c>,
    list: &mut List<'c>,
    findings: &mut Findings,
) -> Option<Image> {
    let class = scope.desired.classes.get(&scope.configuration.class)?;
    let declaration = class.boot_images.get(scope.configuration.boot?)?;
    let package = &declaration.package;
    let listed = list
        .packages
        .iter()
        .any(|it| it.config.name == package.name);
    let found = match resolve(scope, package) {
        Ok(_) if listed => {
            let set = "it is the boot image of the class and stands in a package set too: name it in one place";
            Err(set.to_owned())
        }
        Ok(entry) if entry.config.purpose != Purpose::Boot => Err(format!(
            "its purpose is {}, and a boot image needs one of purpose boot",
            entry.config.purpose
        )),
        found => found,
    };
    match found {
        Ok(entry) => {
            list.packages.push(entry);
            Some(Image {
                declaration: declaration.clone(),
                digest: entry.digest,
                // In memory with everything else, it stays as long as that.
                is_transient: class.transient_image && !class.memory_only,
            })
        }
        Err(why) => {
            list.complete = false;
            let reference = format!("{} ({})", package.name, package.reference);
            findings
                .problems
                .insert(Problem::Package { reference, why });
            None
        }
    }
}

/// Sees to it that a node gets the image, whatever else it wants.
pub(super) fn take<'c>(
    scope: &Scope<'_, 'c>,
    image: &Image,
    wanted: &mut [Wanted<'c>],
    findings: &mut Findings,
) -> Option<Boot> {
    let Image {
        declaration,
        digest,
        is_transient,
    } = image;
    let own = wanted.iter_mut().find(|it| it.package.digest == *digest)?;
    let entry = own.package;
    let architecture = &scope.configuration.architecture;
    let modules = entry.config.modules.iter();
    let fitting = modules
        .filter(|it| it.kind == ModuleType::BootImage && it.architecture.runs_on(architecture));
    for module in fitting {
        if own.modules.iter().all(|it| it.path != module.path) {
            own.modules.push(module);
        }
    }
    if own
        .modules
        .iter()
        .all(|it| it.kind != ModuleType::BootImage)
    {
        let reference = format!(
            "{} ({})",
            declaration.package.name, declaration.package.reference
        );
        let why = format!(
            "it holds no module of type boot-image for {}",
            architecture.0
        );
        findings
            .problems
            .insert(Problem::Package { reference, why });
        return None;
    }
    Some(Boot {
        package: entry.config.name.clone(),
        transient: *is_transient,
        commands: declaration.commands.clone(),
    })
}
