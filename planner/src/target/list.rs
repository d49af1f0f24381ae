//! The package list of a configuration: references resolved, upgrades that lost their base dropped.

use placet_model::{PackageName, PackageReference, Version};

use super::{Findings, Scope};
use crate::{CatalogEntry, Note, Problem};

/// The packages in the declared order.
pub(super) struct List<'c> {
    pub(super) packages: Vec<&'c CatalogEntry>,
    /// Packages that are stored without being active, in the declared order.
    pub(super) inactive: Vec<&'c CatalogEntry>,
    /// What the sets say of the order beside it.
    pub(super) before: Vec<Before>,
    /// False if a package or a set of it could not be had.
    pub(super) complete: bool,
}

/// That a package has to stand before another one, because a set says so.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Before {
    pub(super) set: String,
    pub(super) package: PackageName,
    pub(super) other: PackageName,
}

impl<'c> List<'c> {
    pub(super) fn of(scope: &Scope<'_, 'c>, findings: &mut Findings) -> Self {
        let mut list = Self {
            packages: Vec::new(),
            inactive: Vec::new(),
            before: Vec::new(),
            complete: true,
        };
        for set in &scope.configuration.package_sets {
            let Some(declaration) = scope.desired.package_sets.get(set) else {
                list.complete = false;
                findings.problems.insert(Problem::UnknownReference {
                    from: scope.declared_by(),
                    to: format!("PackageSet {set}"),
                });
                continue;
            };
            for reference in &declaration.packages {
                let is_active = !declaration.inactive.contains(&reference.name);
                list.push(scope, reference, is_active, findings);
            }
            for (package, others) in &declaration.before {
                list.before.extend(others.iter().map(|other| Before {
                    set: set.clone(),
                    package: package.clone(),
                    other: other.clone(),
                }));
            }
        }
        list.drop_upgrades(scope, findings);
        list.choose_for_features(scope, findings);
        list
    }

    fn push(
        &mut self,
        scope: &Scope<'_, 'c>,
        reference: &PackageReference,
        is_active: bool,
        findings: &mut Findings,
    ) {
        match resolve(scope, reference) {
            // One version of a package may run while another is at hand.
            Ok(entry) if !is_active => self.inactive.push(entry),
            Ok(entry) => match self.get(&reference.name) {
                None => self.packages.push(entry),
                Some(listed) if listed.config.version == reference.version => {}
                Some(listed) => {
                    findings.notes.insert(Note::ListedTwice {
                        declared_by: scope.declared_by(),
                        package: reference.name.clone(),
                        used: listed.config.version.clone(),
                        ignored: reference.version.clone(),
                    });
                }
            },
            Err(why) => {
                self.complete = false;
                let reference = format!("{} ({})", reference.name, reference.reference);
                findings
                    .problems
                    .insert(Problem::Package { reference, why });
            }
        }
    }

    fn get(&self, name: &PackageName) -> Option<&'c CatalogEntry> {
        self.packages
            .iter()
            .find(|entry| entry.config.name == *name)
            .copied()
    }

    /// D3. Where no listed package offers a wanted feature, the only one that could is put before
    /// the others; where there is none, or a choice, that is a problem for people.
    fn choose_for_features(&mut self, scope: &Scope<'_, 'c>, findings: &mut Findings) {
        for feature in &scope.configuration.features {
            if self.packages.iter().any(|entry| offers(entry, feature)) {
                continue;
            }
            let candidates = candidates(scope, feature);
            let [chosen] = candidates[..] else { continue };
            if self.get(&chosen.config.name).is_some() {
                continue;
            }
            self.packages.insert(0, chosen);
            findings.notes.insert(Note::ChosenForFeature {
                declared_by: scope.declared_by(),
                feature: feature.clone(),
                package: chosen.config.name.clone(),
                version: chosen.config.version.clone(),
            });
        }
    }

    /// D5. One upgrade may be the base of another, so this goes on until nothing leaves.
    fn drop_upgrades(&mut self, scope: &Scope<'_, 'c>, findings: &mut Findings) {
        let mut dropped = Vec::<PackageName>::new();
        while let Some((index, base, version)) = self.first_lost(&dropped) {
            let package = self.packages.remove(index).config.name.clone();
            dropped.push(package.clone());
            let declared_by = scope.declared_by();
            findings.notes.insert(Note::UpgradeDropped {
                declared_by,
                package,
                base,
                version,
            });
        }
    }

    /// The first upgrade that applies to no package of the list, though a base of it is there, or
    /// was until it left.
    fn first_lost(&self, dropped: &[PackageName]) -> Option<(usize, PackageName, Option<Version>)> {
        self.packages.iter().enumerate().find_map(|(index, entry)| {
            let upgrades = &entry.config.upgrades;
            let applies = upgrades.iter().any(|upgrade| {
                let base = self.get(&upgrade.package);
                base.is_some_and(|base| upgrade.version.matches(&base.config.version))
            });
            if applies {
                return None;
            }
            let bases = upgrades.iter().map(|upgrade| &upgrade.package);
            let present = bases.clone().find_map(|base| self.get(base));
            let (base, version) = match present {
                Some(base) => (&base.config.name, Some(base.config.version.clone())),
                None => (bases.into_iter().find(|base| dropped.contains(base))?, None),
            };
            Some((index, base.clone(), version))
        })
    }
}

fn offers(entry: &CatalogEntry, feature: &String) -> bool {
    let config = &entry.config;
    let mut modules = config.modules.iter();
    config.features.contains(feature) || modules.any(|module| module.features.contains(feature))
}

/// Packages that could be chosen for a feature: they apply to the node, have something for its
/// architecture, and do not contradict its wanted characteristics.
pub(super) fn candidates<'c>(scope: &Scope<'_, 'c>, feature: &str) -> Vec<&'c CatalogEntry> {
    let configuration = scope.configuration;
    let fits = |entry: &&'c CatalogEntry| {
        let config = &entry.config;
        let mut modules = config.modules.iter();
        let runs = modules.any(|it| it.architecture.runs_on(&configuration.architecture));
        let agrees = configuration.agrees(&config.characteristics);
        configuration.is_of(&config.node_types) && (runs || config.modules.is_empty()) && agrees
    };
    scope.shelf.offering(feature).filter(fits).collect()
}

/// The package, if it is what the declaration says.
pub(super) fn resolve<'c>(
    scope: &Scope<'_, 'c>,
    reference: &PackageReference,
) -> Result<&'c CatalogEntry, String> {
    let entry = match scope.catalog.get(reference) {
        None => return Err("it has not been resolved yet".to_owned()),
        Some(Err(unresolved)) => return Err(unresolved.why().to_owned()),
        Some(Ok(entry)) => entry,
    };
    let config = &entry.config;
    if config.name == reference.name && config.version == reference.version {
        Ok(entry)
    } else {
        Err(format!(
            "the declaration says {} {}, but what is there is {} {}",
            reference.name, reference.version, config.name, config.version
        ))
    }
}
