//! Boot images and test suites, whatever the processes do and whenever agent and power fail.

use super::*;

/// What may go wrong with the boot loader.
fn loader() -> impl Strategy<Value = (BTreeSet<u64>, Option<BootStep>)> {
    let refuses = prop_oneof![
        4 => Just(None),
        1 => Just(Some(BootStep::Install)),
        1 => Just(Some(BootStep::Restart)),
    ];
    (any::<bool>(), refuses).prop_map(|(is_bad, refuses)| {
        let bad = is_bad.then_some(2);
        (bad.into_iter().collect(), refuses)
    })
}

/// After so many steps the agent dies or, if that is true, the power fails.
fn cuts() -> impl Strategy<Value = Vec<(usize, bool)>> {
    prop::collection::vec((0_usize..40, any::<bool>()), 0..4)
}

impl World {
    /// One step; the machine obeys when it is told to restart.
    fn step_or_restart(&mut self) -> bool {
        if self.is_going_down() {
            self.reboot();
            return true;
        }
        self.step()
    }

    /// Lets events, time and restarts pass; false if that has no end.
    fn comes_to_rest(&mut self) -> bool {
        (0..400).any(|_| !self.step_or_restart())
    }

    /// Every process of the committed generation runs for it, but for those that die.
    fn check_processes(&self) -> Result<(), TestCaseError> {
        let committed = self.generation(self.committed);
        for (_, spec) in committed.manifest.services() {
            let dies = self.habits.die_in.get(spec.name.as_str()) == Some(&self.committed);
            let known = self.running.get(&spec.name);
            prop_assert!(
                dies || known.is_some(),
                "{} does not run:\n{}",
                spec.name,
                self.transcript
            );
            let Some(known) = known else { continue };
            let stale = change_between(&known.handled, &committed);
            let is_stale = stale.iter().any(|process| process.name == spec.name);
            prop_assert!(!is_stale, "{} is stale:\n{}", spec.name, self.transcript);
        }
        Ok(())
    }
}

/// What a change does to processes apart from restarting the node.
fn change_between(from: &Generation, to: &Generation) -> Vec<placet_model::ProcessChange> {
    let without_boot = |generation: &Generation| NodeManifest {
        boot: None,
        ..generation.manifest.clone()
    };
    let (from, to) = (without_boot(from), without_boot(to));
    placet_planner::change(&from, &to).change_set.processes
}

proptest! {
    /// In the end one generation is committed, its processes run, and the node starts from its image,
    /// unless the boot loader did not let it go back.
    #[test]
    fn every_change_of_image_ends_in_one_generation(
        habits in habits(),
        (bad_images, loader_refuses) in loader(),
        cuts in cuts(),
    ) {
        let habits = Habits { bad_images, loader_refuses, ..habits };
        let target = health::watched(boot::with_image(b"2", b"new"));
        let mut world = World::new([boot::with_image(b"1", b"old"), target], habits);
        world.order_change(1, 2);
        for (steps, is_power) in cuts {
            for _ in 0..steps {
                world.step_or_restart();
            }
            if is_power {
                world.reboot();
            } else {
                world.crash();
            }
        }
        prop_assert!(world.comes_to_rest(), "it has no end:\n{}", world.transcript);
        prop_assert_eq!(&world.note, &None, "{}", world.transcript);
        prop_assert!(!world.machine.is_busy(), "{}", world.transcript);
        let committed = world.generation(world.committed);
        prop_assert_eq!(world.machine.current(), &committed);
        world.check_processes()?;
        if world.habits.loader_refuses.is_none() {
            prop_assert_eq!(world.image, world.committed, "{}", world.transcript);
        }
        prop_assert_eq!(world.booting, None, "{}", world.transcript);
    }

    /// Tests of a suite run in their order and one at a time, however often the agent dies; and the end of the test mode brings the committed generation back.
    #[test]
    fn every_run_of_a_suite_ends_where_it_began(
        habits in habits(),
        fails in any::<bool>(),
        steps in prop::collection::vec(0_usize..40, 0..4),
    ) {
        let tests = BTreeMap::from([("t1", (i32::from(fails), Duration::from_secs(2)))]);
        let habits = Habits { tests, ..habits };
        let suite = |program: &[u8]| suite::tested(fleet(program), &["t1", "t2"]);
        let mut world = World::new([suite(b"1"), suite(b"2")], habits);
        suite::order_test(&mut world);
        let crashes = steps.len();
        for steps in steps {
            for _ in 0..steps {
                world.step();
            }
            world.crash();
        }
        prop_assert!(world.comes_to_rest(), "it has no end:\n{}", world.transcript);
        prop_assert_eq!((world.committed, &world.test), (1, &None), "{}", world.transcript);
        prop_assert_eq!(&world.note, &None, "{}", world.transcript);
        world.check_processes()?;
        let services: Vec<_> = ["a", "b", "c", "d", "s"].to_vec();
        prop_assert!(
            world.running.keys().all(|name| services.contains(&name.as_str())),
            "a test still runs:\n{}",
            world.transcript
        );
        let starts = |test: &str| {
            let start = format!("start {test} ");
            let starts = world.transcript.lines().enumerate();
            let starts = starts.filter(|(_, line)| line.contains(&start));
            starts.map(|(at, _)| at).collect::<Vec<_>>()
        };
        let (first, second) = (starts("t1"), starts("t2"));
        // A test that runs when the agent dies is begun anew.
        let most = 1 + crashes;
        prop_assert!(first.len() <= most && second.len() <= most, "{}", world.transcript);
        prop_assert!(second.is_empty() || (!first.is_empty() && first[0] < second[0]), "{}", world.transcript);
    }
}
