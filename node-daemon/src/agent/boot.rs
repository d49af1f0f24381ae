//! The commands of boot images (D9): what the machine wants of the boot loader is done here.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use placet_model::{BootCommands, Digest};
use tracing::Instrument as _;

use super::command::{Call, Ended, Spoken, ended_with};
use super::core::{Core, Input};
use super::launch::SYSTEM_PATH;
use super::machine::{BootStep, Event};
use super::staging::Patience;
use crate::store::{Booting, Generation, Store};

impl Core {
    /// Runs a command for the boot image of a generation; its answer comes as [`Event::Booted`].
    pub(super) fn boot(&self, work: u64, step: BootStep, generation: Arc<Generation>) {
        let command = command(&self.store, step, &generation);
        let (handle, task) = (self.handle.clone(), self.task());
        let turn = Arc::clone(&self.staging_turn);
        let running = async move {
            let result = match command {
                Some(command) if step == BootStep::Install => {
                    let turn = Arc::new(turn.lock_owned().await);
                    let brought = task.bring_image(&generation, Patience::Long, &turn).await;
                    drop(turn);
                    match brought {
                        Ok(_) => run(step, &command).await,
                        Err(error) => Err(crate::Chain(&error).to_string()),
                    }
                }
                Some(command) => run(step, &command).await,
                // Nothing says what it starts from, so that whatever it runs is right.
                None => Ok(()),
            };
            if (step, &result) == (BootStep::Confirm, &Ok(())) {
                super::effects::log(task.store.drop_image(&generation));
            }
            handle.send(Input::Machine(Event::Booted { work, step, result }));
        };
        tokio::spawn(running.in_current_span());
    }

    /// Remembers over a restart of the node what it is restarted for.
    pub(super) fn note_boot(&self, manifest: Option<Digest>) {
        let boot_id = self.boot_id.clone();
        let booting = manifest.map(|manifest| Booting { manifest, boot_id });
        super::effects::log(self.store.note_booting(booting.as_ref()));
    }

    /// Has the boot loader asked, after a start of the node that no change is the reason of,
    /// whether the node runs the image that it should.
    pub(super) fn ask_after_boot(&self) {
        let generation = Arc::clone(self.machine.current());
        let Some(command) = command(&self.store, BootStep::Confirm, &generation) else {
            return;
        };
        let handle = self.handle.clone();
        tokio::spawn(async move {
            let confirmed = run(BootStep::Confirm, &command).await;
            handle.send(Input::Confirmed(generation, confirmed));
        });
    }

    /// Reports that the node runs another image than the one of `generation`.
    pub(super) fn confirmed(&mut self, generation: &Generation, confirmed: Result<(), String>) {
        let is_current = self.machine.current().digest == generation.digest;
        let Err(why) = confirmed else { return };
        if !is_current {
            return;
        }
        let image = generation.manifest.boot_image().next();
        let Some(image) = image.map(|module| module.path.clone()) else {
            return;
        };
        tracing::warn!("the node does not run its boot image `{image}`: {why}");
        self.other_image = Some((image, why));
        self.tell(&super::report::report(self.report()));
    }
}

/// The manifest that the node was restarted for, in an earlier boot than this one.
pub(super) fn restarted_for(store: &Store, boot_id: &str) -> Option<Digest> {
    let booting = store.journal().ok()?.booting;
    let earlier = booting.filter(|booting| booting.boot_id != boot_id);
    earlier.map(|booting| booting.manifest)
}

/// What is run for this step, if the generation has a boot image.
fn command(store: &Store, step: BootStep, generation: &Generation) -> Option<Spoken> {
    let manifest = &generation.manifest;
    let boot = manifest.boot.as_ref()?;
    let tree = store.tree(generation.number);
    let BootCommands {
        install,
        confirm,
        restart,
        command_seconds,
        restart_seconds: _,
    } = &boot.commands;
    let images = store.boot_image(generation).into_iter();
    let images: Vec<_> = images.map(|path| path.display().to_string()).collect();
    let signatures = manifest.boot_image().map(|it| it.signature.to_string());
    let signatures: Vec<_> = signatures.collect();
    let (words, images) = match step {
        BootStep::Install => (install, images),
        BootStep::Confirm => (confirm, images),
        BootStep::Restart => (restart, Vec::new()),
    };
    let (program, arguments) = words.split_first()?;
    let package = manifest.packages.iter().find(|it| it.name == boot.package);
    let about = package.map(|package| {
        vec![
            ("PLACET_IMAGE_NAME", package.name.to_string()),
            ("PLACET_IMAGE_VERSION", package.version.to_string()),
            ("PLACET_IMAGE_DIGEST", package.digest.to_string()),
            ("PLACET_IMAGE_SIGNATURE", signatures.join(" ")),
        ]
    });
    let environment = [
        ("PATH", SYSTEM_PATH.to_owned()),
        ("PLACET_ROOT", tree.display().to_string()),
    ];
    Some(Spoken {
        call: Call {
            program: program_path(&tree, program),
            arguments: arguments.iter().cloned().chain(images).collect(),
            environment: BTreeMap::from(environment.map(|(name, value)| (name.to_owned(), value))),
            account: None,
        },
        about: about.unwrap_or_default(),
        within: Duration::from_secs((*command_seconds).into()),
    })
}

/// A name alone is one of the base system's programs; a path without a leading slash is in the tree.
fn program_path(tree: &Path, program: &str) -> PathBuf {
    if program.contains('/') {
        tree.join(program)
    } else {
        PathBuf::from(program)
    }
}

async fn run(step: BootStep, command: &Spoken) -> Result<(), String> {
    let what = match step {
        BootStep::Install => "install",
        BootStep::Confirm => "confirm",
        BootStep::Restart => "restart",
    };
    let program = command.call.program.display();
    match command.run(&[]).await {
        Ok(Ended::Exited(status, _)) if status.success() => Ok(()),
        Ok(Ended::Exited(status, words)) => {
            let how = ended_with(status, &words);
            Err(format!("its {what} command `{program}` {how}"))
        }
        Ok(Ended::Late) => {
            let seconds = command.within.as_secs();
            Err(format!(
                "its {what} command `{program}` took longer than {seconds} s"
            ))
        }
        Err(error) => Err(format!(
            "its {what} command `{program}` cannot be run: {error}"
        )),
    }
}
