//! How a change spreads on the nodes of one configuration: from a module to the dependencies that
//! lead to it, from those to their users, and from modules to the processes that run them.

use std::collections::BTreeSet;

use petgraph::algo::dominators::{Dominators, simple_fast};
use petgraph::graph::{DiGraph, NodeIndex};
use petgraph::visit::{Bfs, EdgeFiltered, EdgeRef as _};
use placet_model::ProcessName;
use placet_planner::{Dependency, TiedProcess};

/// Modules, dependencies and processes by number, one kind after the other.
pub(super) struct Web {
    graph: DiGraph<(), ()>,
    modules: usize,
    dependencies: usize,
}

/// What a change of one module passes on its way to a process.
pub(super) struct Ways<'w> {
    web: &'w Web,
    dominators: Dominators<NodeIndex>,
}

impl Web {
    pub(super) fn new(
        modules: usize,
        dependencies: &[Dependency<'_>],
        processes: &[(&ProcessName, TiedProcess)],
    ) -> Self {
        let mut graph = DiGraph::new();
        for _ in 0..modules + dependencies.len() + processes.len() {
            graph.add_node(());
        }
        let web = Self {
            graph: DiGraph::new(),
            modules,
            dependencies: dependencies.len(),
        };
        for (number, dependency) in dependencies.iter().enumerate() {
            let knot = web.dependency(number);
            for place in &dependency.leads_to {
                graph.add_edge(NodeIndex::new(*place), knot, ());
            }
            graph.add_edge(knot, NodeIndex::new(dependency.user), ());
        }
        for (number, (_, tied)) in processes.iter().enumerate() {
            for place in &tied.own {
                graph.add_edge(NodeIndex::new(*place), web.process(number), ());
            }
        }
        Self { graph, ..web }
    }

    fn dependency(&self, number: usize) -> NodeIndex {
        NodeIndex::new(self.modules + number)
    }

    fn process(&self, number: usize) -> NodeIndex {
        NodeIndex::new(self.modules + self.dependencies + number)
    }

    /// How a change of the module at a place spreads.
    pub(super) fn ways(&self, place: usize) -> Ways<'_> {
        Ways {
            web: self,
            dominators: simple_fast(&self.graph, NodeIndex::new(place)),
        }
    }

    /// The processes that a change of the module at `place` comes to without the dependencies `cut`.
    pub(super) fn reached(&self, place: usize, cut: &BTreeSet<usize>) -> BTreeSet<usize> {
        let knots: BTreeSet<_> = cut.iter().map(|it| self.dependency(*it)).collect();
        let whole = EdgeFiltered::from_fn(&self.graph, |edge| !knots.contains(&edge.target()));
        let mut walk = Bfs::new(&whole, NodeIndex::new(place));
        let first = self.process(0).index();
        let mut reached = BTreeSet::new();
        while let Some(knot) = walk.next(&whole) {
            reached.extend(knot.index().checked_sub(first));
        }
        reached
    }
}

impl Ways<'_> {
    /// The dependencies that every way to a process leads through.
    pub(super) fn all_through(&self, process: usize) -> impl Iterator<Item = usize> {
        let knots = self.dominators.strict_dominators(self.web.process(process));
        knots.into_iter().flatten().filter_map(|knot| {
            let number = knot.index().checked_sub(self.web.modules)?;
            (number < self.web.dependencies).then_some(number)
        })
    }
}
