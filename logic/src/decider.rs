//! From a node's manifest to a vote: the same steps on the node and in a model of it.

use placet_model::{
    Answer, ChangeSet, Module, ModulePath, NodeDescription, NodeManifest, ProcessChange,
    ProcessName, Silence, VoteLogic,
};

use crate::module::MODULE_MOST;
use crate::question::{FILE_MOST, Files};
use crate::{Logic, LogicError, Question};

/// Gives the content of a path that a process's logic names, which the manifest has as that module,
/// if it has it; none where there is no such file.
///
/// # Errors
///
/// The text says why a file that is there cannot be read.
pub type Lookup<'a> =
    dyn FnMut(&ModulePath, Option<&Module>) -> Result<Option<Vec<u8>>, String> + 'a;

/// The logic of a process, with the files that it is given, ready to decide.
#[derive(Debug, Clone)]
pub struct Decider {
    logic: Result<Logic, LogicError>,
    files: Files,
    silence: Silence,
}

/// What was said for a process.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Vote {
    /// The answer.
    pub answer: Answer,
    /// The short code; empty where there is none.
    pub code: String,
    /// For people; empty where there is nothing to say.
    pub message: String,
    /// For a defer: seconds after which to ask again.
    pub again_after: Option<u32>,
}

impl Decider {
    /// The logic of a process of `manifest`, which is what the node runs now; none if it has none.
    ///
    /// # Errors
    ///
    /// The logic, or a file that it needs, cannot be had; the text says which and why.
    pub fn of(
        manifest: &NodeManifest,
        process: &ProcessName,
        lookup: &mut Lookup<'_>,
    ) -> Result<Option<Self>, String> {
        let modules = || manifest.modules.iter().map(|entry| &entry.module);
        let mut specs = modules().filter_map(|module| module.process.as_ref());
        let spec = specs.find(|spec| spec.name == *process);
        let Some((declared, spec)) = spec.and_then(|spec| Some((spec.vote_logic.as_ref()?, spec)))
        else {
            return Ok(None);
        };
        let mut get = |path: &ModulePath, most: u64| {
            // Where a link leads is another module's content.
            let module = modules().find(|module| module.path == *path && module.link.is_none());
            content(path, module, most, lookup)
        };
        let files = files(declared, &mut get)?;
        let path = &declared.module;
        let bytes = get(path, MODULE_MOST)?;
        let bytes = bytes.ok_or_else(|| format!("its logic `{path}` is not on the node"))?;
        Ok(Some(Self {
            logic: Logic::new(&bytes, declared.fuel, declared.memory_bytes),
            files,
            silence: spec.silence,
        }))
    }

    /// What the logic says to a change that touches its process.
    pub fn vote(
        &self,
        process: &ProcessChange,
        node: &NodeDescription,
        change: &ChangeSet,
    ) -> Vote {
        use crate::Opinion::{Accept, Defer, Veto};
        let logic = self.logic.as_ref().map_err(Clone::clone);
        let opinion =
            logic.and_then(|it| it.decide(&Question::new(process, node, change, &self.files)));
        let (answer, code, message, again_after) = match opinion {
            Ok(Accept {}) => (Answer::Accept, String::new(), String::new(), None),
            Ok(Veto { code, message }) => (Answer::Veto, code, message, None),
            Ok(Defer { seconds, message }) => {
                (Answer::Defer, String::new(), message, Some(seconds))
            }
            Err(error) => return silent(self.silence, &error),
        };
        Vote {
            answer,
            code,
            message,
            again_after,
        }
    }
}

impl Vote {
    /// Of logic that could not be asked.
    pub fn error(why: String) -> Self {
        Self {
            answer: Answer::Error,
            code: String::new(),
            message: why,
            again_after: None,
        }
    }
}

fn files(
    declared: &VoteLogic,
    get: &mut impl FnMut(&ModulePath, u64) -> Result<Option<Vec<u8>>, String>,
) -> Result<Files, String> {
    let mut file = |path: &ModulePath| {
        let bytes = get(path, FILE_MOST)?;
        // What is no text is shown as far as it is.
        let text = bytes.map(|bytes| String::from_utf8_lossy(&bytes).into_owned());
        Ok((path.clone(), text))
    };
    declared.files.iter().map(&mut file).collect()
}

/// A file that is not too large; the manifest says so before anything is read.
fn content(
    path: &ModulePath,
    module: Option<&Module>,
    most: u64,
    lookup: &mut Lookup<'_>,
) -> Result<Option<Vec<u8>>, String> {
    let too_large =
        |size: u64| format!("`{path}` has {size} bytes; its logic can be given at most {most}");
    if let Some(size) = module.map(|it| it.size).filter(|size| *size > most) {
        return Err(too_large(size));
    }
    let bytes = lookup(path, module)?;
    match bytes.as_ref().map(|bytes| bytes.len() as u64) {
        Some(size) if size > most => Err(too_large(size)),
        _ => Ok(bytes),
    }
}

/// What no answer counts as, by the process's policy.
fn silent(silence: Silence, error: &LogicError) -> Vote {
    let (answer, counts) = match silence {
        Silence::NoAnswer => (Answer::NoAnswer, ""),
        Silence::Accept => (Answer::Accept, ", which counts as accept"),
        Silence::Veto => (Answer::Veto, ", which counts as veto"),
    };
    Vote {
        answer,
        code: String::new(),
        message: format!("its logic gave no answer: {error}{counts}"),
        again_after: None,
    }
}
