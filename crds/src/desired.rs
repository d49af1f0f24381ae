//! From resources to the planner's view of them.

use std::collections::BTreeMap;

use placet_model::{
    BootCommands, BootDeclaration, ClassDeclaration, Desired, NameError, NodeDeclaration,
    NodeFacts, NodeName, PackageReference, PackageSetDeclaration, Selector, Strategy, Wants, Wave,
    Window, visible,
};

use crate::fault::{Finding, Step, list, nearest};
use crate::{
    BootImage, DeclaredFacts, Fault, FleetNode, NodeClass, NodeSelector, Object, PackageSet,
    RolloutStrategy, VetoRule, Wanted,
};

/// What `objects` declare, at `revision`, for the planner. Sources and roll-outs declare nothing
/// of what nodes run.
///
/// # Errors
///
/// Every reference to a class or package set that is not among `objects`. The faults name the
/// resource in the place of a file; [`crate::locate`] finds the file.
pub fn desired(revision: &str, objects: &[Object]) -> Result<Desired, Vec<Fault>> {
    let mut desired = Desired {
        revision: revision.to_owned(),
        ..Desired::default()
    };
    let mut faults = Vec::new();
    for object in objects {
        match object {
            Object::NodeClass(it) => {
                let class = class(object, it, &mut faults);
                desired.classes.insert(object.name().to_owned(), class);
            }
            Object::PackageSet(it) => {
                let set = package_set(it);
                desired.package_sets.insert(object.name().to_owned(), set);
            }
            Object::FleetNode(it) => match object.name().parse::<NodeName>() {
                Ok(name) => {
                    desired.nodes.insert(name, it.into());
                }
                Err(error) => faults.push(fault(object, &["metadata", "name"], error.to_string())),
            },
            Object::GitSource(_) | Object::Rollout(_) => {}
        }
    }
    for object in objects {
        check_references(object, &desired, &mut faults);
    }
    if faults.is_empty() {
        Ok(desired)
    } else {
        Err(faults)
    }
}

fn check_references(object: &Object, desired: &Desired, faults: &mut Vec<Fault>) {
    let package_sets = match object {
        Object::NodeClass(class) => class.spec.package_sets.as_slice(),
        Object::FleetNode(node) => {
            if let Some(class) = &node.spec.class
                && !desired.classes.contains_key(class)
            {
                let message = missing("NodeClass", class, &desired.classes);
                faults.push(fault(object, &["spec", "class"], message));
            }
            node.spec.package_sets.as_deref().unwrap_or_default()
        }
        _ => return,
    };
    for (index, name) in package_sets.iter().enumerate() {
        if !desired.package_sets.contains_key(name) {
            let message = missing("PackageSet", name, &desired.package_sets);
            let mut path = ["spec", "packageSets"].map(key).to_vec();
            path.push(Step::Index(index));
            faults.push(Finding::new(&path, message).into_fault(&object.id(), None));
        }
    }
}

fn missing<V>(kind: &str, name: &str, known: &BTreeMap<String, V>) -> String {
    let names = || known.keys().map(String::as_str);
    let advice = match nearest(name, names()) {
        Some(word) => format!("did you mean `{word}`?"),
        None if known.is_empty() => format!("no {kind} is declared"),
        None => format!("declared are {}", list(names())),
    };
    format!("there is no {kind} `{}`; {advice}", visible(name))
}

fn fault(object: &Object, path: &[&str], message: String) -> Fault {
    let path: Vec<Step> = path.iter().copied().map(key).collect();
    Finding::new(&path, message).into_fault(&object.id(), None)
}

fn key(name: &str) -> Step {
    Step::Key(name.to_owned())
}

fn class(object: &Object, class: &NodeClass, faults: &mut Vec<Fault>) -> ClassDeclaration {
    let spec = &class.spec;
    let mut veto_rules = Vec::new();
    for (index, rule) in spec.veto_rules.iter().enumerate() {
        match veto_rule(rule) {
            Ok(rule) => veto_rules.push(rule),
            Err(error) => {
                let path = [
                    key("spec"),
                    key("vetoRules"),
                    Step::Index(index),
                    key("name"),
                ];
                let finding = Finding::new(&path, error.to_string());
                faults.push(finding.into_fault(&object.id(), None));
            }
        }
    }
    ClassDeclaration {
        selector: (&spec.selector).into(),
        package_sets: spec.package_sets.clone(),
        wants: (&spec.wants).into(),
        strategy: (&spec.strategy).into(),
        veto_rules,
        memory_only: !spec.persistence.packages,
        transient_image: !spec.persistence.boot_image,
        drift: placet_model::DriftPolicy {
            running: spec.drift.running,
        },
        boot_images: spec.boot_images.iter().map(boot_image).collect(),
    }
}

fn boot_image(image: &BootImage) -> BootDeclaration {
    let BootImage {
        selector,
        install,
        confirm,
        restart,
        command_seconds,
        restart_seconds,
        ..
    } = image;
    BootDeclaration {
        selector: selector.into(),
        package: image.into(),
        commands: BootCommands {
            install: install.clone(),
            confirm: confirm.clone(),
            restart: restart.clone(),
            command_seconds: *command_seconds,
            restart_seconds: *restart_seconds,
        },
    }
}

fn veto_rule(rule: &VetoRule) -> Result<placet_model::VetoRule, NameError> {
    let VetoRule {
        name,
        rule,
        message,
    } = rule.clone();
    Ok(placet_model::VetoRule {
        name: name.parse()?,
        rule,
        message,
    })
}

fn package_set(set: &PackageSet) -> PackageSetDeclaration {
    let packages = set.spec.packages.iter().map(PackageReference::from);
    let entries = || set.spec.packages.iter();
    let inactive = entries().filter(|entry| !entry.active);
    let hinted = entries().filter(|entry| !entry.before.is_empty());
    PackageSetDeclaration {
        packages: packages.collect(),
        inactive: inactive.map(|entry| entry.name.clone()).collect(),
        before: hinted
            .map(|entry| (entry.name.clone(), entry.before.iter().cloned().collect()))
            .collect(),
    }
}

impl From<&FleetNode> for NodeDeclaration {
    fn from(node: &FleetNode) -> Self {
        let spec = &node.spec;
        let mut labels = node.metadata.labels.clone().unwrap_or_default();
        labels.extend(spec.labels.clone());
        Self {
            class: spec.class.clone(),
            package_sets: spec.package_sets.clone(),
            facts: (&spec.facts).into(),
            labels,
            wants: (&spec.wants).into(),
            suspended: spec.suspended,
            maintenance: spec.maintenance,
            test_seconds: spec.test_mode.as_ref().map(|test| test.seconds),
        }
    }
}

impl From<&NodeSelector> for Selector {
    fn from(selector: &NodeSelector) -> Self {
        let NodeSelector {
            types,
            architectures,
            locations,
            labels,
        } = selector.clone();
        Self {
            types,
            architectures,
            locations,
            labels,
        }
    }
}

impl From<&Wanted> for Wants {
    fn from(wanted: &Wanted) -> Self {
        let Wanted {
            types,
            functions,
            features,
            characteristics,
        } = wanted.clone();
        Self {
            types,
            functions,
            features,
            characteristics,
        }
    }
}

impl From<&RolloutStrategy> for Strategy {
    fn from(strategy: &RolloutStrategy) -> Self {
        let usual = Self::default();
        Self {
            max_unavailable: strategy.max_unavailable,
            max_unavailable_percent: strategy.max_unavailable_percent,
            vote_seconds: strategy.vote_seconds,
            promise_seconds: strategy.promise_seconds,
            on_unreachable: strategy.on_unreachable,
            max_defer_seconds: (strategy.max_defer_seconds).unwrap_or(usual.max_defer_seconds),
            canaries: strategy.canaries.unwrap_or(usual.canaries),
            waves: strategy.waves.iter().map(wave).collect(),
            windows: strategy.windows.iter().map(window).collect(),
            halt_threshold: strategy.halt_threshold.unwrap_or(usual.halt_threshold),
            soak_seconds: strategy.soak_seconds.unwrap_or(usual.soak_seconds),
            verify_seconds: strategy.verify_seconds.unwrap_or(usual.verify_seconds),
            confirm_above_percent: strategy.confirm_above_percent,
        }
    }
}

fn wave(wave: &crate::Wave) -> Wave {
    Wave {
        name: wave.name.clone(),
        selector: (&wave.selector).into(),
        percent: wave.percent,
    }
}

fn window(window: &crate::Window) -> Window {
    // The schema lets nothing else through than `hh:mm`.
    let (hour, minute) = window.opens.split_once(':').unwrap_or_default();
    Window {
        days: window.days.clone(),
        hour: hour.parse().unwrap_or_default(),
        minute: minute.parse().unwrap_or_default(),
        minutes: window.minutes,
        time_zone: window.time_zone.clone(),
    }
}

impl From<&DeclaredFacts> for NodeFacts {
    fn from(facts: &DeclaredFacts) -> Self {
        let DeclaredFacts {
            kind,
            architecture,
            location,
            features,
        } = facts.clone();
        Self {
            kind,
            architecture,
            location,
            features,
        }
    }
}
