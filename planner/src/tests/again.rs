//! A planner that is told of changes one by one comes to the target of all of them at once.

use placet_model::{Architecture, NodeDeclaration, NodeFacts, NodeName, Quantifier};
use proptest::prelude::*;

use super::build::{F, P, file, fleet, library, package, process, text};
use crate::{Planner, Problem};

/// What changes in a fleet. Numbers choose among the few that there are of everything.
#[derive(Debug, Clone)]
enum Piece {
    /// A node is declared in one of several ways, or not any more.
    Node(u8, Option<u8>),
    /// A node announces something.
    Facts(u8, u8),
    /// A set of packages has other versions.
    Set(u8, Vec<u8>),
    /// A package cannot be had.
    Unresolved(u8),
    /// A package can be had again, as it was.
    Resolved,
    /// A class wants something else, or goes another way.
    Class(u8, u8),
    /// Nothing but the revision.
    Revision,
    /// The target is looked at.
    Look,
}

fn piece() -> impl Strategy<Value = Piece> {
    let few = || 0..6_u8;
    prop_oneof![
        4 => (few(), prop::option::weighted(0.8, any::<u8>())).prop_map(|(node, how)| Piece::Node(node, how)),
        4 => (few(), any::<u8>()).prop_map(|(node, how)| Piece::Facts(node, how)),
        3 => (0..2_u8, prop::collection::vec(any::<u8>(), 4)).prop_map(|(set, how)| Piece::Set(set, how)),
        1 => any::<u8>().prop_map(Piece::Unresolved),
        1 => Just(Piece::Resolved),
        2 => (0..2_u8, any::<u8>()).prop_map(|(class, how)| Piece::Class(class, how)),
        1 => Just(Piece::Revision),
        5 => Just(Piece::Look),
    ]
}

/// Packages with everything that a target may find wrong: needs on this node and on others, by
/// library, version and interface; types of nodes; upgrades; one path in two packages.
fn packages() -> Vec<P> {
    let mut packages = Vec::new();
    for version in 1..=2 {
        let name = |package: &str| format!("{package} {version}.0.0");
        let content = version.to_string();
        let daemon = process("appd").needs("libbase.so").feature("chat");
        let helper = process("helper").on("aarch64").uses("base", &content);
        let app = package(&name("app"), [daemon, helper, file("etc/shared")]);
        packages.push(app.requires("base", &format!("^{version}")));
        let needy = package(&name("needy"), [file("etc/needy").content(&content)]);
        let mut needy = needy.requires_on_others("base ^2", Quantifier::Any, "edge");
        if version == 2 {
            let requirement = &mut needy.0.requires_remote[0];
            requirement.labels = [("site".to_owned(), "1".to_owned())].into();
        }
        packages.push(needy);
        let library = library("libbase.so")
            .content(&content)
            .provides("base", "1");
        packages.push(package(&name("base"), [library, file("etc/shared")]));
        let fix = package(&name("fix"), [file("etc/fix")]);
        packages.push(fix.upgrades("base", "=1.0.0").node_type("router"));
    }
    packages
}

fn start() -> F {
    let fleet = fleet(packages()).class("core", &["app 1.0.0", "base 1.0.0"]);
    fleet.class("edge", &["needy 1.0.0", "base 2.0.0"])
}

fn name(node: u8) -> NodeName {
    text(&format!(
        "{}-{}",
        ["core", "edge", "new"][usize::from(node % 3)],
        node / 3 + 1
    ))
}

/// A node by class, by selector or by sets of its own, with more or less said of it.
fn declaration(how: u8) -> NodeDeclaration {
    let mut node = NodeDeclaration {
        class: [Some("core"), Some("edge"), None, None][usize::from(how % 4)].map(str::to_owned),
        suspended: how & 32 != 0,
        ..NodeDeclaration::default()
    };
    if how & 4 != 0 {
        node.facts.architecture = Some(Architecture("x86_64".to_owned()));
    }
    if how & 8 != 0 {
        node.package_sets = Some(vec!["edge".to_owned(), "none".to_owned()]);
    }
    if how & 16 != 0 {
        node.wants.features.insert("chat".to_owned());
    }
    node.labels
        .insert("site".to_owned(), (how >> 6).to_string());
    node
}

fn facts(how: u8) -> NodeFacts {
    NodeFacts {
        kind: [None, Some("router"), Some("switch")][usize::from(how % 3)].map(str::to_owned),
        architecture: [None, Some("x86_64"), Some("aarch64")][usize::from(how / 3 % 3)]
            .map(|it| Architecture(it.to_owned())),
        location: (how & 64 != 0).then(|| "hall".to_owned()),
        ..NodeFacts::default()
    }
}

fn apply(fleet: &mut F, piece: &Piece) {
    match piece {
        Piece::Node(node, Some(how)) => {
            let nodes = &mut fleet.desired.nodes;
            nodes.insert(name(*node), declaration(*how));
        }
        Piece::Node(node, None) => {
            fleet.desired.nodes.remove(&name(*node));
        }
        Piece::Facts(node, how) => {
            fleet.announced.insert(name(*node), facts(*how));
        }
        Piece::Set(set, how) => {
            let chosen = ["fix", "app", "needy", "base"].into_iter().zip(how);
            let chosen = chosen.filter(|(_, how)| *how % 4 != 0);
            let list: Vec<_> = chosen
                .map(|(package, how)| format!("{package} {}.0.0", how % 2 + 1))
                .collect();
            let list: Vec<_> = list.iter().map(String::as_str).collect();
            *fleet = std::mem::take(fleet).set(["core", "edge"][usize::from(*set)], &list);
        }
        Piece::Unresolved(which) => {
            let package = ["app 1.0.0", "base 1.0.0", "base 2.0.0"][usize::from(which % 3)];
            *fleet = std::mem::take(fleet).unresolved(package, "the registry is down");
        }
        Piece::Resolved => fleet.catalog = start().catalog,
        Piece::Class(class, how) => {
            let class = ["core", "edge"][usize::from(*class)];
            let class = fleet.desired.classes.get_mut(class).unwrap();
            class.strategy.canaries = u32::from(how % 3);
            class.memory_only = how & 8 != 0;
            let types = ["router", "switch"].into_iter().filter(|_| how & 16 != 0);
            class.selector.types = types
                .map(str::to_owned)
                .take(usize::from(how % 2) + 1)
                .collect();
        }
        Piece::Revision => fleet.desired.revision.push('1'),
        Piece::Look => {}
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]

    #[test]
    fn a_planner_told_piece_by_piece_comes_to_the_whole_target(
        pieces in prop::collection::vec(piece(), 1..40),
    ) {
        let mut fleet = start();
        let mut planner = Planner::default();
        fleet.tell(&mut planner);
        for piece in &pieces {
            apply(&mut fleet, piece);
            fleet.tell(&mut planner);
            if matches!(piece, Piece::Look) {
                prop_assert_eq!(&*planner.target(), &fleet.target());
            }
        }
        prop_assert_eq!(&*planner.target(), &fleet.target());
    }
}

#[test]
fn what_did_not_change_is_shared_with_the_target_before() {
    let mut fleet = start();
    let mut planner = Planner::default();
    fleet.tell(&mut planner);
    let before = planner.target();
    apply(&mut fleet, &Piece::Set(1, vec![0, 0, 1, 2]));
    fleet.tell(&mut planner);
    let after = planner.target();
    let manifests = |node: &str| {
        let name = text(node);
        (&before.nodes[&name].manifest, &after.nodes[&name].manifest)
    };
    let (core, same) = manifests("core-1");
    assert!(std::sync::Arc::ptr_eq(core, same));
    let (edge, other) = manifests("edge-1");
    assert_ne!(edge, other);
}

#[test]
fn a_stranger_that_no_class_claims_is_left_out() {
    let mut fleet = start().node("guest", |_| {});
    let mut planner = Planner::default();
    fleet.tell(&mut planner);
    planner.tolerate([text("guest")].into());
    fleet.announced.insert(text("guest"), facts(4));
    fleet.tell(&mut planner);
    let without = planner.target();
    assert!(!without.nodes.contains_key(&text::<NodeName>("guest")));
    let is_class = |problem: &Problem| matches!(problem, Problem::Class { .. });
    assert!(!without.problems.iter().any(is_class));
    // A class that comes to claim it has it.
    let selector = &mut fleet.desired.classes.get_mut("core").unwrap().selector;
    selector.types.insert("router".to_owned());
    fleet.tell(&mut planner);
    assert_eq!(
        planner.target().nodes[&text::<NodeName>("guest")].class,
        "core"
    );
}
