//! The configurations of a fleet, with its modules numbered throughout.

use std::collections::{BTreeMap, BTreeSet};

use petgraph::algo::kosaraju_scc;
use petgraph::graph::{DiGraph, NodeIndex};
use placet_model::{ModulePath, ModuleType, NodeManifest, PackageName, ProcessAction, ProcessName};
use placet_planner::{Needs, TiedProcess, Ties, ties};

use super::web::Web;
use super::{Configuration, Dependency, How, Link, Member, ModuleName, Reach, Touched};

/// Nodes that run the same modules, and how those hang together.
pub(super) struct Known<'m> {
    pub(super) nodes: usize,
    pub(super) dependencies: Vec<placet_planner::Dependency<'m>>,
    pub(super) processes: Vec<(&'m ProcessName, TiedProcess)>,
    /// The number of the module at each place of the manifest, and the way back.
    pub(super) ids: Vec<usize>,
    pub(super) places: BTreeMap<usize, usize>,
    pub(super) web: Web,
}

/// A process of a configuration, both by number.
pub(super) type Place = (usize, usize);

/// A dependency, wherever it is: the number of its user and what that needs.
pub(super) type Need<'m> = (usize, Needs<'m>);

/// Everything that is known.
pub(super) struct Fleet<'m> {
    pub(super) configurations: Vec<Known<'m>>,
    /// By number, in the order of their names.
    modules: Vec<(&'m PackageName, &'m ModulePath, ModuleType)>,
    /// What each module's change restarts or asks, sorted.
    touched: Vec<Vec<Place>>,
}

/// True of what a process notices as more than a message.
pub(super) fn counts(action: ProcessAction) -> bool {
    matches!(action, ProcessAction::Restart | ProcessAction::Ask)
}

impl<'m> Fleet<'m> {
    pub(super) fn new(configurations: &[Configuration<'m>]) -> Self {
        let mut modules = BTreeMap::new();
        for entry in configurations.iter().flat_map(|it| &it.manifest.modules) {
            modules.insert((&entry.package, &entry.module.path), entry.module.kind);
        }
        let names: Vec<_> = modules.keys().copied().collect();
        let known = configurations
            .iter()
            .map(|it| Known::new(it.manifest, it.nodes, &names));
        let configurations: Vec<_> = known.collect();
        let mut touched = vec![Vec::new(); names.len()];
        for (number, known) in configurations.iter().enumerate() {
            for (process, (_, tied)) in known.processes.iter().enumerate() {
                for (place, _) in tied.touched.iter().filter(|(_, action)| counts(**action)) {
                    touched[known.ids[*place]].push((number, process));
                }
            }
        }
        let modules = modules.into_iter();
        Self {
            configurations,
            modules: modules
                .map(|((package, path), kind)| (package, path, kind))
                .collect(),
            touched,
        }
    }

    /// The modules that touch processes, by which those are; in the order of their first module.
    pub(super) fn by_reach(&self) -> Vec<(Vec<Place>, Vec<usize>)> {
        let mut groups = BTreeMap::<&Vec<Place>, Vec<usize>>::new();
        for (id, touched) in self.touched.iter().enumerate() {
            if !touched.is_empty() {
                groups.entry(touched).or_default().push(id);
            }
        }
        let groups = groups.into_iter();
        let mut groups: Vec<_> = groups
            .map(|(touched, ids)| (touched.clone(), ids))
            .collect();
        groups.sort_by(|(_, one), (_, other)| one.cmp(other));
        groups
    }

    pub(super) fn idle(&self) -> impl Iterator<Item = usize> {
        let ids = self.touched.iter().enumerate();
        ids.filter(|(_, touched)| touched.is_empty())
            .map(|(id, _)| id)
    }

    pub(super) fn reach(&self, touched: &[Place]) -> Reach {
        let nodes: BTreeSet<_> = touched
            .iter()
            .map(|(configuration, _)| configuration)
            .collect();
        let of = |configuration: &usize| self.configurations[*configuration].nodes;
        Reach {
            processes: touched
                .iter()
                .map(|(configuration, _)| of(configuration))
                .sum(),
            nodes: nodes.into_iter().map(of).sum(),
        }
    }

    pub(super) fn total(&self) -> Reach {
        let known = self.configurations.iter();
        Reach {
            processes: known.clone().map(|it| it.nodes * it.processes.len()).sum(),
            nodes: known.map(|it| it.nodes).sum(),
        }
    }

    pub(super) fn processes(&self, touched: &[Place]) -> BTreeMap<ProcessName, Touched> {
        let mut processes = BTreeMap::new();
        for (configuration, process) in touched {
            let known = &self.configurations[*configuration];
            let (name, tied) = &known.processes[*process];
            // Which one does not matter: what counts is told by the kind of the process alone.
            let mut actions = tied.touched.values().copied().filter(|it| counts(*it));
            let action = actions.next().unwrap_or(ProcessAction::Restart);
            let told = Touched { action, nodes: 0 };
            processes.entry((*name).clone()).or_insert(told).nodes += known.nodes;
        }
        processes
    }

    pub(super) fn member(&self, id: usize) -> Member {
        let mut told = BTreeSet::new();
        for known in &self.configurations {
            let Some(place) = known.places.get(&id) else {
                continue;
            };
            let is_told = |tied: &TiedProcess| {
                let action = tied.touched.get(place);
                action.is_some_and(|action| !counts(*action))
            };
            let names = known.processes.iter().filter(|(_, tied)| is_told(tied));
            told.extend(names.map(|(name, _)| (*name).clone()));
        }
        Member {
            name: self.name(id),
            kind: self.modules[id].2,
            told,
        }
    }

    pub(super) fn name(&self, id: usize) -> ModuleName {
        let (package, path, _) = self.modules[id];
        ModuleName {
            package: package.clone(),
            path: path.clone(),
        }
    }

    pub(super) fn path(&self, id: usize) -> &'m ModulePath {
        self.modules[id].1
    }

    pub(super) fn link(&self, (user, needs): Need<'m>) -> Link {
        let (how, needs) = match needs {
            Needs::Library(name) => (How::Linked, name),
            Needs::Interpreter(path) => (How::Interpreter, path),
            Needs::Supplemental(path) => (How::Supplemental, path.as_str()),
            Needs::Optional(path) => (How::Optional, path.as_str()),
        };
        Link {
            user: self.name(user),
            needs: needs.to_owned(),
            how,
        }
    }

    /// Every dependency with all that it leads to, somewhere in the fleet.
    fn needs(&self) -> BTreeMap<Need<'m>, BTreeSet<usize>> {
        let mut needs = BTreeMap::<_, BTreeSet<_>>::new();
        for known in &self.configurations {
            for (number, dependency) in known.dependencies.iter().enumerate() {
                let on = dependency.leads_to.iter().map(|place| known.ids[*place]);
                needs.entry(known.need(number)).or_default().extend(on);
            }
        }
        needs
    }

    pub(super) fn dependencies(&self) -> Vec<Dependency> {
        let needs = self.needs().into_iter();
        let dependencies = needs.map(|(need, on)| Dependency {
            link: self.link(need),
            on: on.into_iter().map(|id| self.name(id)).collect(),
        });
        let mut dependencies: Vec<_> = dependencies.collect();
        dependencies.sort_by(|one, other| one.link.cmp(&other.link));
        dependencies
    }

    /// Modules that depend on each other in circles.
    pub(super) fn circles(&self) -> Vec<Vec<ModuleName>> {
        let mut graph = DiGraph::<(), ()>::new();
        let nodes: Vec<_> = self.modules.iter().map(|_| graph.add_node(())).collect();
        for ((user, _), on) in self.needs() {
            for id in on {
                graph.add_edge(nodes[user], nodes[id], ());
            }
        }
        let circles = kosaraju_scc(&graph).into_iter().filter(|it| it.len() > 1);
        let circles = circles.map(|circle| {
            let ids: BTreeSet<_> = circle.into_iter().map(NodeIndex::index).collect();
            ids.into_iter().map(|id| self.name(id)).collect()
        });
        let circles: BTreeSet<Vec<_>> = circles.collect();
        circles.into_iter().collect()
    }
}

impl<'m> Known<'m> {
    fn new(
        manifest: &'m NodeManifest,
        nodes: usize,
        names: &[(&PackageName, &ModulePath)],
    ) -> Self {
        let Ties {
            dependencies,
            processes,
        } = ties(manifest);
        let ids = manifest.modules.iter().map(|entry| {
            let name = (&entry.package, &entry.module.path);
            names.binary_search(&name).expect("every module was named")
        });
        let ids: Vec<_> = ids.collect();
        let processes: Vec<_> = processes.into_iter().collect();
        Self {
            nodes,
            places: ids
                .iter()
                .enumerate()
                .map(|(place, id)| (*id, place))
                .collect(),
            web: Web::new(ids.len(), &dependencies, &processes),
            ids,
            dependencies,
            processes,
        }
    }

    /// The dependency with this number, wherever else it is.
    pub(super) fn need(&self, dependency: usize) -> Need<'m> {
        let dependency = &self.dependencies[dependency];
        (self.ids[dependency.user], dependency.needs)
    }
}
