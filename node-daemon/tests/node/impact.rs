//! How long a node takes to say whom a change touches.

use std::time::Instant;

use placet_model::{ManifestEntry, NodeManifest};
use placet_planner::change;
use placet_tests::{evidence, is_full, median};
use serde_json::{Value, json};

const MODULES: usize = 2_000;
const PROCESSES: usize = 300;
const LIBRARIES: usize = MODULES - PROCESSES;
/// Libraries that each file needs.
const NEEDS: usize = 4;
/// Of what was built with `--release`; a few times what is measured there, so that it fails where
/// the cost grows in another way than it should.
const MILLISECONDS_MAX: f64 = 300.0;

/// Numbers that look random and are the same each time.
struct Dice(u64);

impl Dice {
    fn below(&mut self, bound: usize) -> usize {
        self.0 = self
            .0
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1);
        usize::try_from(self.0 >> 33).unwrap() % bound
    }
}

/// Each file needs libraries that come before it, mostly those that come first, as those of a
/// system do.
fn needed(index: usize, dice: &mut Dice) -> Vec<String> {
    let among = index.min(LIBRARIES);
    let early = |dice: &mut Dice| dice.below(dice_bound(among)).min(among - 1);
    (0..NEEDS.min(among))
        .map(|_| format!("lib{}.so.1", early(dice)))
        .collect()
}

fn dice_bound(among: usize) -> usize {
    among.div_ceil(4).max(1)
}

fn module(index: usize, dice: &mut Dice, version: u8) -> ManifestEntry {
    let is_process = index >= LIBRARIES;
    let mut elf = json!({ "class": "elf64", "needed": needed(index, dice) });
    let path = if is_process {
        format!("usr/bin/process{index}")
    } else {
        elf["soname"] = format!("lib{index}.so.1").into();
        format!("usr/lib/lib{index}.so.1")
    };
    let content = format!("{path} {version}");
    let digest = placet_model::Digest::of(content.as_bytes());
    let mut module = json!({
        "path": path, "mode": "0755", "size": 100_000, "digest": digest, "elf": elf,
        "type": if is_process { "process" } else { "library" },
        "signature": format!("md5:{}", &digest.hex()[..32]),
    });
    if is_process {
        module["process"] = json!({ "name": format!("process{index}") });
    }
    let module = serde_json::from_value(module).unwrap();
    let package = "system".parse().unwrap();
    ManifestEntry { package, module }
}

/// A system in which library `changed` is another one.
fn system(changed: Option<usize>) -> NodeManifest {
    let mut dice = Dice(42);
    let mut modules: Vec<_> = (0..MODULES)
        .map(|index| module(index, &mut dice, u8::from(changed == Some(index))))
        .collect();
    modules.sort_by(|one, other| one.module.path.cmp(&other.module.path));
    NodeManifest {
        modules,
        ..NodeManifest::default()
    }
}

#[test]
fn whom_a_change_touches_is_known_at_once() {
    let (old, new) = (system(None), system(Some(20)));
    let rounds = if is_full() { 50 } else { 5 };
    let mut times = Vec::new();
    let mut touched = 0;
    for _ in 0..rounds {
        let begun = Instant::now();
        let change = change(&old, &new);
        times.push(begun.elapsed().as_secs_f64() * 1_000.0);
        touched = change.change_set.processes.len();
    }
    let median = median(times);
    // As many as use it: more than one and not all, or the figure would say nothing.
    assert!((10..PROCESSES).contains(&touched), "{touched}");
    let profile = if cfg!(debug_assertions) {
        "impact-debug"
    } else {
        "impact"
    };
    let figure: Value = json!({
        "modules": MODULES, "processes": PROCESSES, "touched": touched, "rounds": rounds,
        "medianMilliseconds": median,
    });
    evidence(profile, &figure);
    assert!(
        cfg!(debug_assertions) || median < MILLISECONDS_MAX,
        "{median} ms"
    );
}
