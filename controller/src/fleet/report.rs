//! At the end of a turn: what is known goes into the status of every object that has news.

use std::sync::Arc;

use jiff::Timestamp;
use placet_crds::{FleetNodeStatus, Object};
use placet_model::NodeName;

use super::turn::Turn;
use super::world::World;
use crate::status;

impl World {
    /// Writes every status that has changed.
    pub(super) fn report_all(&mut self, turn: &mut Turn) {
        self.report_refused(turn);
        self.spread_states();
        self.write_rollout(turn);
        self.begin_dry_runs(turn);
        self.write_sources(turn);
        self.write_nodes(turn);
        self.write_classes(turn);
        self.write_package_sets(turn);
    }

    fn write_nodes(&mut self, turn: &mut Turn) {
        let mut names = std::mem::take(&mut self.touched);
        if std::mem::take(&mut self.all_touched) {
            names = self.objects.node_names().collect();
        }
        let due = self.later.iter().filter(|(_, due)| **due <= turn.now);
        names.extend(due.map(|(name, _)| name.clone()));
        for name in names {
            if let Some(status) = self.node_status(&name, turn.now) {
                self.write_node(&name, &status, turn);
            }
        }
    }

    fn node_status(&self, name: &NodeName, now: Timestamp) -> Option<FleetNodeStatus> {
        let (entry, _) = self.objects.node(name)?;
        let view = status::node::View {
            name,
            node: self.nodes.get(name)?,
            target: self.target.as_deref(),
            plan: self.plan.as_deref(),
        };
        let old = entry.status();
        let mut status = status::node::status(&old, &view, entry.generation, now);
        if let Some(fault) = self.fault_of("FleetNode", name.as_str()) {
            status.conditions = status::misfit(&old.conditions, fault, entry.generation, now);
        }
        Some(status)
    }

    /// Writes the status of a node now, or with the next that has to be written now, or later: an
    /// API server that serves a whole fleet is asked for no more than what somebody needs.
    fn write_node(&mut self, name: &NodeName, status: &FleetNodeStatus, turn: &mut Turn) {
        let Some((entry, _)) = self.objects.node(name) else {
            return;
        };
        let may_wait = || status::node::may_wait(&entry.status(), status);
        if let Some(wait) = self.is_patient.then(may_wait).flatten() {
            let due = turn.now.checked_add(wait).unwrap_or(turn.now);
            let due = *self.later.entry(name.clone()).or_insert(due);
            if due > turn.now {
                return;
            }
        }
        self.later.remove(name);
        self.set_status("FleetNode", name.as_str(), status, turn);
    }

    /// When the next status is due that was to be written later.
    pub(super) fn next_due(&self) -> Option<Timestamp> {
        self.later.values().min().copied()
    }

    fn write_classes(&mut self, turn: &mut Turn) {
        if self.target.is_none() && self.faults.is_empty() {
            return;
        }
        let target = self.target.clone().unwrap_or_default();
        let counts = status::class::counts(&target, &self.nodes);
        let classes: Vec<String> = self
            .objects
            .of("NodeClass")
            .map(|(name, _)| name.to_owned())
            .collect();
        for name in classes {
            let Some(entry) = self.objects.get("NodeClass", &name) else {
                continue;
            };
            let count = counts.get(&name).cloned().unwrap_or_default();
            let old = entry.status();
            let mut status = status::class::status(&old, &count, entry.generation, turn.now);
            if let Some(fault) = self.fault_of("NodeClass", &name) {
                status.conditions =
                    status::misfit(&old.conditions, fault, entry.generation, turn.now);
            }
            self.set_status("NodeClass", &name, &status, turn);
        }
    }

    fn write_package_sets(&mut self, turn: &mut Turn) {
        let Some(catalog) = self.catalog.clone() else {
            return;
        };
        // What packages are found changes with the catalog alone.
        if self
            .reported
            .as_ref()
            .is_some_and(|reported| Arc::ptr_eq(reported, &catalog))
        {
            return;
        }
        let sets: Vec<String> = self
            .objects
            .of("PackageSet")
            .map(|(name, _)| name.to_owned())
            .collect();
        for name in sets {
            let Some(entry) = self.objects.get("PackageSet", &name) else {
                continue;
            };
            let Object::PackageSet(set) = &entry.object else {
                continue;
            };
            let status = status::package_set::status(
                &entry.status(),
                &set.spec,
                &catalog,
                entry.generation,
                turn.now,
            );
            self.set_status("PackageSet", &name, &status, turn);
        }
        self.reported = Some(catalog);
    }
}
