//! Changes of what the node itself starts from.

use placet_model::{Boot, BootCommands, ModuleType};

use super::*;

impl World {
    /// The boot loader does as it is told, once.
    pub(super) fn boot(&mut self, work: u64, step: BootStep, number: u64) {
        self.line(&format!("{step:?} {number}").to_lowercase());
        let image = |number: u64| {
            self.generation(number)
                .manifest
                .boot_image()
                .next()
                .cloned()
        };
        let result = if self.habits.loader_refuses == Some(step) {
            Err("no space left".to_owned())
        } else if step == BootStep::Confirm && image(self.image) != image(number) {
            Err("another image runs".to_owned())
        } else {
            Ok(())
        };
        if result.is_ok() {
            match step {
                BootStep::Install => self.armed = Some(number),
                BootStep::Confirm => self.armed = None,
                BootStep::Restart => {}
            }
        }
        self.inbox.push_back(Event::Booted { work, step, result });
    }

    /// The node goes down and comes back, with what the boot loader has.
    pub(super) fn reboot(&mut self) {
        self.line("the node comes back");
        self.running.clear();
        self.ended.clear();
        if let Some(armed) = self.armed.take()
            && !self.habits.bad_images.contains(&armed)
        {
            self.image = armed;
        }
        self.booting = self.booting.map(|(manifest, _)| (manifest, true));
        self.crash();
    }

    pub(super) fn is_going_down(&self) -> bool {
        let work = self.machine.work.as_ref();
        work.and_then(Work::is_down_by).is_some()
    }

    /// Lets events pass until the node is about to go down.
    fn until_down(&mut self) {
        while !self.is_going_down() {
            assert!(self.step(), "{}", self.transcript);
        }
    }

    pub(super) fn order_change(&mut self, from: u64, to: u64) {
        let order = self.order(from, to);
        self.inbox.push_back(Event::Activate(order));
    }
}

/// What [`fleet`] has, and a boot image.
pub(super) fn with_image(program: &[u8], image: &[u8]) -> NodeManifest {
    let mut manifest = fleet(program);
    let mut file = file("boot/core.img", "0644", image);
    file.kind = ModuleType::BootImage;
    manifest.modules.insert(0, entry(file));
    manifest
        .modules
        .sort_by(|one, other| one.module.path.cmp(&other.module.path));
    let words = |text: &str| vec![text.to_owned()];
    manifest.boot = Some(Boot {
        package: "test".parse().unwrap(),
        transient: false,
        commands: BootCommands {
            install: words("install"),
            confirm: words("confirm"),
            restart: words("restart"),
            command_seconds: 60,
            restart_seconds: 300,
        },
    });
    manifest
}

fn world(habits: Habits) -> World {
    World::new([with_image(b"1", b"old"), with_image(b"2", b"new")], habits)
}

#[test]
fn the_image_is_installed_before_anybody_is_told_and_confirmed_before_anything_starts() {
    let mut world = world(Habits::default());
    world.order_change(1, 2);
    world.until_down();
    world.reboot();
    world.settle();
    world.check(&expect![[r"
        400 confirm 2
        400 install 2
        400 notice: it begins
        400 prepare s
        400 commit 2
        400 restart 2
        400 the node comes back
        400 confirm 2
        400 start a from 2 as 105
        400 start c from 2 as 106
        600 start b from 2 as 107
        600 start s from 2 as 108
        800 notice: Activated
        800 answer: generation 2
    "]]);
    assert_eq!((world.committed, world.booting), (2, None));
}

#[test]
fn a_boot_loader_that_falls_back_gives_the_change_back() {
    let mut world = world(Habits {
        bad_images: [2].into(),
        ..Habits::default()
    });
    world.order_change(1, 2);
    world.until_down();
    world.reboot();
    world.settle();
    world.check(&expect![[r"
        400 confirm 2
        400 install 2
        400 notice: it begins
        400 prepare s
        400 commit 2
        400 restart 2
        400 the node comes back
        400 confirm 2
        400 record failure: the node was restarted for its boot image, and does not run it: another image runs
        400 commit 1
        400 confirm 1
        400 start a from 1 as 105
        400 start c from 1 as 106
        600 start b from 1 as 107
        600 start s from 1 as 108
        800 notice: Regressed
        800 answer: the node was restarted for its boot image, and does not run it: another image runs
    "]]);
    assert_eq!((world.committed, world.booting), (1, None));
}

#[test]
fn a_failure_after_the_restart_brings_the_image_of_before_back() {
    let mut world = world(Habits {
        die_in: [("a", 2)].into(),
        ..Habits::default()
    });
    world.order_change(1, 2);
    world.until_down();
    world.reboot();
    world.until_down();
    world.reboot();
    world.settle();
    world.check(&expect![[r"
        400 confirm 2
        400 install 2
        400 notice: it begins
        400 prepare s
        400 commit 2
        400 restart 2
        400 the node comes back
        400 confirm 2
        400 start a from 2 as 105
        400 start c from 2 as 106
        400 record failure: a exited with code 127; it wrote: first / cannot open lib\u{1b}
        400 commit 1
        400 confirm 1
        400 install 1
        400 restart 1
        400 the node comes back
        400 confirm 1
        400 start a from 1 as 107
        400 start c from 1 as 108
        600 start b from 1 as 109
        600 start s from 1 as 110
        800 notice: Regressed
        800 answer: a exited with code 127; it wrote: first / cannot open lib\u{1b}
    "]]);
    assert_eq!((world.committed, world.image), (1, 1));
}

#[test]
fn a_boot_loader_that_refuses_leaves_everything_running() {
    for step in [BootStep::Install, BootStep::Restart] {
        let mut world = world(Habits {
            loader_refuses: Some(step),
            ..Habits::default()
        });
        let before = world.running.clone();
        world.order_change(1, 2);
        world.settle();
        assert_eq!(world.committed, 1);
        assert!(
            world.transcript.contains("answer: no space left"),
            "{}",
            world.transcript
        );
        assert_eq!(
            world.running.keys().collect::<Vec<_>>(),
            before.keys().collect::<Vec<_>>()
        );
        assert!(
            !world.transcript.contains("terminate"),
            "{}",
            world.transcript
        );
    }
}

#[test]
fn a_node_that_does_not_go_down_in_time_goes_back() {
    let mut world = world(Habits::default());
    world.order_change(1, 2);
    world.until_down();
    world.settle();
    assert_eq!(world.committed, 1);
    let told = "answer: the node was told to restart, and is not down in time";
    assert!(world.transcript.contains(told), "{}", world.transcript);
    assert!(
        !world.transcript.contains("terminate"),
        "{}",
        world.transcript
    );
}

#[test]
fn a_node_that_runs_the_image_already_is_not_restarted() {
    let mut world = world(Habits::default());
    world.image = 2;
    world.activate(1, 2);
    world.check(&expect![[r"
        400 confirm 2
        400 notice: it begins
        400 prepare s
        400 commit 2
        400 terminate b (103)
        400 terminate a (101)
        400 start a from 2 as 105
        400 start b from 2 as 106
        400 tell s: Activated
        600 notice: Activated
        600 answer: generation 2
    "]]);
}

#[test]
fn an_agent_that_dies_on_the_way_goes_on_or_leaves_all_as_it_was() {
    let whole = {
        let mut world = world(Habits::default());
        world.order_change(1, 2);
        let mut steps = 0;
        while !world.is_going_down() {
            assert!(world.step());
            steps += 1;
        }
        steps
    };
    for cut in 1..=whole {
        for is_boot in [false, true] {
            let mut world = world(Habits::default());
            world.order_change(1, 2);
            for _ in 0..cut {
                world.step();
            }
            if is_boot {
                world.reboot();
            } else {
                world.crash();
            }
            for _ in 0..3 {
                let mut is_going_down = false;
                while !is_going_down && world.step() {
                    is_going_down = world.is_going_down();
                }
                if !is_going_down {
                    break;
                }
                world.reboot();
            }
            assert_eq!(
                world.image, world.committed,
                "{cut} {is_boot}: {}",
                world.transcript
            );
            assert!(
                !world.machine.is_busy(),
                "{cut} {is_boot}: {}",
                world.transcript
            );
            let origins: BTreeSet<_> = world.running.values().map(|it| it.origin.number).collect();
            let handled: BTreeSet<_> = world.running.values().map(|it| it.handled.number).collect();
            assert_eq!(
                handled,
                [world.committed].into(),
                "{cut} {is_boot}: {origins:?}"
            );
        }
    }
}

#[test]
fn a_test_with_an_end_takes_no_restart() {
    let mut world = world(Habits::default());
    let order = Order {
        test: Some(Some(Duration::from_mins(1))),
        ..world.order(1, 2)
    };
    world.inbox.push_back(Event::Activate(order));
    world.settle();
    world.check(&expect![[r"
        400 confirm 2
        400 notice: Failed
        400 answer: it brings another boot image, and a restart would end the test: take the node out of test mode for this change
    "]]);
}
