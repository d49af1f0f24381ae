//! Packages that come back to themselves by what they upgrade.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

/// The circles in `edges`, each with its first member first; every member of one is in exactly one.
pub(super) fn circles(edges: &[BTreeSet<usize>]) -> Vec<Vec<usize>> {
    let mut circles: Vec<Vec<usize>> = Vec::new();
    for start in 0..edges.len() {
        if !circles.iter().flatten().any(|member| *member == start) {
            circles.extend(way_back(edges, start));
        }
    }
    circles
}

/// The shortest way from `start` back to it.
fn way_back(edges: &[BTreeSet<usize>], start: usize) -> Option<Vec<usize>> {
    let mut came_from = BTreeMap::new();
    let mut open = VecDeque::from([start]);
    while let Some(member) = open.pop_front() {
        if edges[member].contains(&start) {
            let before = |member: &usize| came_from.get(member).copied();
            let mut way: Vec<_> = std::iter::successors(Some(member), before).collect();
            way.reverse();
            return Some(way);
        }
        for next in &edges[member] {
            came_from.entry(*next).or_insert_with(|| {
                open.push_back(*next);
                member
            });
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(edges: &[&[usize]], expected: &[&[usize]]) {
        let edges: Vec<BTreeSet<usize>> = edges
            .iter()
            .map(|targets| targets.iter().copied().collect())
            .collect();
        assert_eq!(circles(&edges), expected);
    }

    #[test]
    fn each_circle_is_found_once_by_its_shortest_way() {
        check(&[&[1], &[2], &[]], &[]);
        check(&[&[1], &[0]], &[&[0, 1]]);
        check(&[&[], &[2], &[3, 0], &[1]], &[&[1, 2, 3]]);
        check(&[&[1, 2], &[2], &[0]], &[&[0, 2], &[1, 2, 0]]);
        check(&[&[1], &[0], &[3], &[2]], &[&[0, 1], &[2, 3]]);
        // One that only leads to a circle is in none.
        check(&[&[1], &[2], &[1]], &[&[1, 2]]);
    }
}
