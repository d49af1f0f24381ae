//! Health commands: programs that say whether a process does its work, by exiting with 0.

use std::time::Duration;

use placet_model::ProcessName;
use tracing::Instrument as _;

use super::command::{Ended, Spoken, ended_with};
use super::core::{Core, Input};
use super::launch;
use super::machine::{Event, find};
use crate::store::Generation;

impl Core {
    /// Runs the health command of a process; its answer comes as [`Event::Looked`].
    pub(super) fn look_at(&self, process: ProcessName, pid: u32, generation: &Generation) {
        let command = self.health_command(&process, pid, generation);
        let handle = self.handle.clone();
        let looking = async move {
            let answer = match command {
                Ok(command) => examine(&command).await,
                Err(why) => Err(why),
            };
            handle.send(Input::Machine(Event::Looked {
                process,
                pid,
                answer,
            }));
        };
        tokio::spawn(looking.in_current_span());
    }

    fn health_command(
        &self,
        process: &ProcessName,
        pid: u32,
        generation: &Generation,
    ) -> Result<Spoken, String> {
        let health = find(&generation.manifest, process)
            .and_then(|(_, spec)| spec.health.as_ref())
            .ok_or("it has no health command")?;
        let place = launch::Place::new(&self.store, generation, &self.settings.run);
        let start = launch::command(process, generation, &place, &health.command)
            .map_err(|error| crate::Chain(&error).to_string())?;
        Ok(Spoken {
            call: start.into(),
            about: vec![
                ("PLACET_PROCESS", process.to_string()),
                ("MAINPID", pid.to_string()),
            ],
            within: Duration::from_secs(health.seconds.into()),
        })
    }
}

/// What a health command says.
async fn examine(command: &Spoken) -> Result<(), String> {
    match command.run(&[]).await {
        Ok(Ended::Exited(status, _)) if status.success() => Ok(()),
        Ok(Ended::Exited(status, words)) => {
            let how = ended_with(status, &words);
            Err(format!("its health command {how}"))
        }
        Ok(Ended::Late) => {
            let seconds = command.within.as_secs();
            Err(format!("its health command took longer than {seconds} s"))
        }
        Err(error) => {
            let program = command.call.program.display();
            Err(format!(
                "its health command `{program}` cannot be run: {error}"
            ))
        }
    }
}
