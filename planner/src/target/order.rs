//! Does the declared order hold what the packages need of it? (D4)
//!
//! A package stands before all that it depends on, an upgrade before what it upgrades. The order is
//! declared, not computed: what contradicts it is an error that names both packages.

use std::collections::{BTreeMap, BTreeSet};

use placet_model::{Module, ModulePath};

use super::circle::circles;
use super::list::Before;
use super::select::Wanted;
use super::{Findings, Scope};
use crate::Problem;
use crate::libraries::path_of;

/// The package at index `user` has to stand before one of `providers`.
struct Dependency {
    user: usize,
    providers: BTreeSet<usize>,
    why: String,
}

/// `before` is what package sets say of the order, whatever the packages need.
pub(super) fn check(scope: &Scope, wanted: &[Wanted], before: &[Before], findings: &mut Findings) {
    let upgrades = upgrade_edges(wanted);
    let circular = check_circles(scope, wanted, &upgrades, findings);
    let dependencies = dependencies(scope, wanted);
    let mut edges = upgrades.clone();
    for dependency in &dependencies {
        edges[dependency.user].extend(&dependency.providers);
    }
    let mut contradicts = |user: usize, provider: usize, why: String| {
        findings.problems.insert(Problem::Order {
            declared_by: scope.declared_by(),
            before: wanted[provider].name().clone(),
            after: wanted[user].name().clone(),
            why,
        });
    };
    for Before {
        set,
        package,
        other,
    } in before
    {
        let place = |name| wanted.iter().position(|it| it.name() == name);
        if let (Some(first), Some(second)) = (place(package), place(other))
            && second < first
        {
            contradicts(first, second, format!("PackageSet {set} says so"));
        }
    }
    for (user, bases) in upgrades.iter().enumerate() {
        // No order holds a circle.
        let is_circular = |base: &usize| circular.contains(&user) && circular.contains(base);
        for base in bases.range(..user).filter(|base| !is_circular(base)) {
            contradicts(user, *base, format!("it upgrades {}", wanted[*base].name()));
        }
    }
    for Dependency {
        user,
        providers,
        why,
    } in dependencies
    {
        // Where several provide the same, an upgrade and its base for one, it is enough that one of
        // them stands behind.
        let Some(provider) = providers.last().copied().filter(|last| *last < user) else {
            continue;
        };
        if !reaches(&edges, provider, user) {
            contradicts(user, provider, why);
        }
    }
}

/// Packages that upgrade each other; all that are in a circle.
fn check_circles(
    scope: &Scope,
    wanted: &[Wanted],
    upgrades: &[BTreeSet<usize>],
    findings: &mut Findings,
) -> BTreeSet<usize> {
    let circles = circles(upgrades);
    for circle in &circles {
        let packages = circle.iter().map(|index| wanted[*index].name().clone());
        findings.problems.insert(Problem::CircularUpgrades {
            declared_by: scope.declared_by(),
            packages: packages.collect(),
        });
    }
    circles.into_iter().flatten().collect()
}

/// Which packages each one upgrades, by index.
fn upgrade_edges(wanted: &[Wanted]) -> Vec<BTreeSet<usize>> {
    let place = |name| wanted.iter().position(|other| other.name() == name);
    let edges = wanted.iter().enumerate().map(|(user, package)| {
        let upgrades = package.package.config.upgrades.iter();
        let bases = upgrades.filter_map(|upgrade| place(&upgrade.package));
        bases.filter(|base| *base != user).collect()
    });
    edges.collect()
}

/// True if `to` is among what `from` has to stand before. Dependencies in a circle force no order.
fn reaches(edges: &[BTreeSet<usize>], from: usize, to: usize) -> bool {
    let mut seen = BTreeSet::new();
    let mut open = vec![from];
    while let Some(next) = open.pop() {
        if next == to {
            return true;
        }
        if seen.insert(next) {
            open.extend(&edges[next]);
        }
    }
    false
}

fn dependencies(scope: &Scope, wanted: &[Wanted]) -> Vec<Dependency> {
    let offers = Offers::new(wanted);
    let mut dependencies = Vec::new();
    for (user, package) in wanted.iter().enumerate() {
        let requires = package.package.config.requires.iter();
        for requirement in requires.filter(|it| scope.configuration.is_of(&it.node_types)) {
            let provider = wanted
                .iter()
                .position(|other| *other.name() == requirement.package);
            let providers = provider
                .into_iter()
                .filter(|provider| *provider != user)
                .collect();
            let why = format!(
                "it requires {} {}",
                requirement.package, requirement.version
            );
            dependencies.push(Dependency {
                user,
                providers,
                why,
            });
        }
        for module in &package.modules {
            for (what, providers) in offers.used_by(module) {
                if !providers.contains(&user) {
                    let why = format!("{} needs {what}", module.path);
                    dependencies.push(Dependency {
                        user,
                        providers,
                        why,
                    });
                }
            }
        }
    }
    dependencies
}

/// Which packages, by index, offer what modules use.
#[derive(Default)]
struct Offers<'c> {
    libraries: BTreeMap<&'c str, BTreeSet<usize>>,
    apis: BTreeMap<&'c placet_model::Api, BTreeSet<usize>>,
    paths: BTreeMap<&'c ModulePath, BTreeSet<usize>>,
}

impl<'c> Offers<'c> {
    fn new(wanted: &[Wanted<'c>]) -> Self {
        let mut offers = Self::default();
        for (index, package) in wanted.iter().enumerate() {
            for module in &package.modules {
                offers.paths.entry(&module.path).or_default().insert(index);
                for api in &module.provides {
                    offers.apis.entry(api).or_default().insert(index);
                }
                let soname = module.elf.as_ref().and_then(|elf| elf.soname.as_deref());
                let is_file = module.elf.is_some() || module.link.is_some();
                for name in soname
                    .into_iter()
                    .chain(is_file.then(|| module.path.file_name()))
                {
                    offers.libraries.entry(name).or_default().insert(index);
                }
            }
        }
        offers
    }

    /// Everything that `module` uses and some package of the list offers.
    fn used_by(&self, module: &Module) -> Vec<(String, BTreeSet<usize>)> {
        let mut used = Vec::new();
        if let Some(elf) = &module.elf {
            for needed in &elf.needed {
                used.extend(
                    self.libraries
                        .get(needed.as_str())
                        .map(|by| (needed.clone(), by.clone())),
                );
            }
            let interpreter = elf.interpreter.as_deref().and_then(path_of);
            used.extend(interpreter.and_then(|path| {
                self.paths
                    .get(&path)
                    .map(|by| (path.to_string(), by.clone()))
            }));
        }
        for api in &module.uses {
            let what = format!("{} {}", api.name, api.version);
            used.extend(self.apis.get(api).map(|by| (what, by.clone())));
        }
        for one_of in module
            .supplemental
            .iter()
            .map(|supplemental| &supplemental.one_of)
        {
            let by: BTreeSet<_> = one_of
                .iter()
                .filter_map(|path| self.paths.get(path))
                .flatten()
                .copied()
                .collect();
            let names: Vec<_> = one_of.iter().map(ModulePath::as_str).collect();
            used.extend((!by.is_empty()).then(|| (names.join(" or "), by)));
        }
        used
    }
}
