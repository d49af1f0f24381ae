//! Which dependencies to cut.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use petgraph::algo::ford_fulkerson;
use petgraph::graph::{DiGraph, NodeIndex};
use petgraph::visit::EdgeRef as _;

use super::known::{Fleet, Known, Need, Place, counts};
use super::{Apart, Cut};

/// The dependencies that make a difference for a group, and what would part it from all that do not
/// use it by themselves.
pub(super) fn cuts(
    fleet: &Fleet<'_>,
    members: &[usize],
    touched: &[Place],
    most: usize,
) -> (Vec<Cut>, Option<Apart>) {
    let mut cuts: Vec<_> = bridges(fleet, members)
        .into_iter()
        .map(|(need, frees)| Cut {
            link: fleet.link(need),
            frees: frees
                .into_iter()
                .map(|(id, freed)| (fleet.path(id).clone(), freed))
                .collect(),
        })
        .collect();
    let rank = |cut: &Cut| (cut.most(), cut.frees.len());
    cuts.sort_by(|one, other| rank(other).cmp(&rank(one)).then(one.link.cmp(&other.link)));
    cuts.truncate(most);
    (cuts, apart(fleet, members, touched))
}

/// For each dependency that every way to some process leads through: the members whose reach it
/// makes greater, and by how much.
fn bridges<'m>(fleet: &Fleet<'m>, members: &[usize]) -> BTreeMap<Need<'m>, BTreeMap<usize, usize>> {
    let mut bridges = BTreeMap::<_, BTreeMap<_, usize>>::new();
    for known in &fleet.configurations {
        for id in members {
            let Some(place) = known.places.get(id) else {
                continue;
            };
            let ways = known.web.ways(*place);
            for process in known.hanging(*place) {
                for dependency in ways.all_through(process) {
                    let frees = bridges.entry(known.need(dependency)).or_default();
                    *frees.entry(*id).or_default() += known.nodes;
                }
            }
        }
    }
    bridges
}

impl Known<'_> {
    /// The processes that a change of the module at `place` touches through dependencies alone.
    fn hanging(&self, place: usize) -> impl Iterator<Item = usize> {
        let processes = self.processes.iter().enumerate();
        let hanging = processes.filter(move |(_, (_, tied))| {
            tied.touched.get(&place).copied().is_some_and(counts)
                && !tied.bound.get(&place).copied().is_some_and(counts)
        });
        hanging.map(|(number, _)| number)
    }

    /// True if a process is touched by some of the members at `places` because of what its own
    /// module says.
    fn is_direct(&self, process: usize, places: &BTreeSet<usize>) -> bool {
        let (_, tied) = &self.processes[process];
        let mut bound = tied.bound.iter();
        bound.any(|(place, action)| places.contains(place) && counts(*action))
            || self.dependencies.iter().any(|dependency| {
                tied.own.contains(&dependency.user) && !dependency.leads_to.is_disjoint(places)
            })
    }

    fn places_of(&self, members: &[usize]) -> BTreeSet<usize> {
        let places = members.iter().filter_map(|id| self.places.get(id));
        places.copied().collect()
    }
}

/// The fewest dependencies whose removal leaves a group to those who use it by themselves.
fn apart(fleet: &Fleet<'_>, members: &[usize], touched: &[Place]) -> Option<Apart> {
    let mut network = Network::new(members);
    let mut has_others = false;
    for (number, known) in fleet.configurations.iter().enumerate() {
        let members = known.places_of(members);
        let processes = touched.iter().filter(|(it, _)| *it == number);
        let others = processes.map(|(_, process)| *process);
        let others: Vec<_> = others
            .filter(|it| !known.is_direct(*it, &members))
            .collect();
        has_others |= !others.is_empty();
        network.add(known, &others);
    }
    if !has_others {
        return None;
    }
    let cut = network.smallest_cut();
    let mut left = Vec::new();
    for (number, known) in fleet.configurations.iter().enumerate() {
        let dependencies = known.dependencies.iter().enumerate();
        let removed = dependencies.filter(|(it, _)| cut.contains(&known.need(*it)));
        let removed: BTreeSet<_> = removed.map(|(it, _)| it).collect();
        let members = known.places_of(members);
        let mut processes: BTreeSet<_> = members
            .iter()
            .flat_map(|place| known.web.reached(*place, &removed))
            .collect();
        let all = known.processes.iter().enumerate();
        let bound = all.filter(|(_, (_, tied))| {
            let mut bound = tied.bound.iter();
            bound.any(|(place, action)| members.contains(place) && counts(*action))
        });
        processes.extend(bound.map(|(process, _)| process));
        left.extend(processes.into_iter().map(|process| (number, process)));
    }
    Some(Apart {
        links: cut.into_iter().map(|need| fleet.link(need)).collect(),
        left: fleet.reach(&left),
    })
}

/// How a change of a group spreads in the fleet as a whole; each dependency lets one unit through.
struct Network<'m> {
    graph: DiGraph<(), u32>,
    modules: BTreeMap<usize, NodeIndex>,
    /// Where a dependency begins and ends.
    dependencies: BTreeMap<Need<'m>, [NodeIndex; 2]>,
    source: NodeIndex,
    sink: NodeIndex,
}

/// What no cut comes near.
const UNLIMITED: u32 = u32::MAX / 2;

impl<'m> Network<'m> {
    fn new(members: &[usize]) -> Self {
        let mut graph = DiGraph::new();
        let (source, sink) = (graph.add_node(()), graph.add_node(()));
        Self {
            graph,
            modules: members.iter().map(|id| (*id, source)).collect(),
            dependencies: BTreeMap::new(),
            source,
            sink,
        }
    }

    fn module(&mut self, id: usize) -> NodeIndex {
        let graph = &mut self.graph;
        *self.modules.entry(id).or_insert_with(|| graph.add_node(()))
    }

    /// Adds what spreads in a configuration, and ends at the processes `others`.
    fn add(&mut self, known: &Known<'m>, others: &[usize]) {
        for (number, dependency) in known.dependencies.iter().enumerate() {
            let graph = &mut self.graph;
            let [begin, end] = *self
                .dependencies
                .entry(known.need(number))
                .or_insert_with(|| {
                    let ends = [graph.add_node(()), graph.add_node(())];
                    graph.add_edge(ends[0], ends[1], 1);
                    ends
                });
            for place in &dependency.leads_to {
                let module = self.module(known.ids[*place]);
                self.graph.update_edge(module, begin, UNLIMITED);
            }
            let user = self.module(known.ids[dependency.user]);
            self.graph.update_edge(end, user, UNLIMITED);
        }
        for process in others {
            for place in &known.processes[*process].1.own {
                let module = self.module(known.ids[*place]);
                self.graph.update_edge(module, self.sink, UNLIMITED);
            }
        }
    }

    /// Of the smallest sets of dependencies that part source and sink, the one nearest to the source.
    fn smallest_cut(&self) -> BTreeSet<Need<'m>> {
        let (_, flows) = ford_fulkerson(&self.graph, self.source, self.sink);
        let mut is_reached = vec![false; self.graph.node_count()];
        let mut queue = VecDeque::from([self.source]);
        is_reached[self.source.index()] = true;
        while let Some(node) = queue.pop_front() {
            let onwards = self.graph.edges(node).filter_map(|edge| {
                (flows[edge.id().index()] < *edge.weight()).then_some(edge.target())
            });
            let back = self.graph.edges_directed(node, petgraph::Incoming);
            let back =
                back.filter_map(|edge| (flows[edge.id().index()] > 0).then_some(edge.source()));
            for next in onwards.chain(back) {
                if !std::mem::replace(&mut is_reached[next.index()], true) {
                    queue.push_back(next);
                }
            }
        }
        let is_cut =
            |ends: &[NodeIndex; 2]| is_reached[ends[0].index()] && !is_reached[ends[1].index()];
        let dependencies = self.dependencies.iter();
        dependencies
            .filter(|(_, ends)| is_cut(ends))
            .map(|(need, _)| *need)
            .collect()
    }
}
