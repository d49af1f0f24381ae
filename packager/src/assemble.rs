//! From an entry of a package file to a module with everything that its bytes say.

use std::collections::BTreeMap;

use placet_model::{
    Api, Architecture, Digest, Module, ModulePath, ModuleType, Owner, ProcessSpec, Supplemental,
    VetoRule, canonical_json,
};
use placet_package::{Blob, ElfFile, ElfKind, Fingerprint};

use crate::error::ModuleFault;
use crate::file::{ApiEntry, ModuleEntry, ProcessEntry, RuleEntry};
use crate::gather::Found;
use crate::source::Content;
use crate::taint::{Scanner, Warning};

/// Where modules come from, and what they have given so far.
#[derive(Debug)]
pub(crate) struct Assembly {
    /// Finds what the build left in modules.
    pub(crate) scanner: Scanner,
    /// The package file's name, for dependencies to say where they were declared.
    pub(crate) declared_in: String,
    /// The bytes of modules and lists of symbols.
    pub(crate) blobs: BTreeMap<Digest, Blob>,
    pub(crate) warnings: Vec<Warning>,
}

impl Assembly {
    /// The module that was found.
    pub(crate) fn module(&mut self, found: &Found<'_>) -> Result<Module, ModuleFault> {
        let entry = &found.entry.value;
        let source = &found.source;
        let examined = source.examine()?;
        let Fingerprint {
            signature,
            digest,
            size,
        } = examined.fingerprint;
        let mut module = Module {
            path: found.path.clone(),
            mode: source.mode,
            owner: owner(entry, &source.owner),
            kind: ModuleType::Data,
            function: entry.function.clone().or_else(|| source.function.clone()),
            characteristics: entry.characteristics.clone(),
            architecture: Architecture::default(),
            size,
            digest,
            signature,
            build_id: None,
            link: None,
            elf: None,
            features: entry.features.clone(),
            provides: entry.provides.iter().map(api).collect(),
            uses: entry.uses.iter().map(api).collect(),
            supplemental: self.supplemental(entry),
            optional: entry.optional.clone(),
            process: None,
        };
        if let Content::Link(target) = &source.content {
            if entry.process.is_some() {
                return Err(ModuleFault::LinkProcess);
            }
            module.link = Some(target.clone());
        } else {
            self.add_file(&mut module, entry, examined.elf)?;
            if let Content::File(file) = &source.content {
                let warnings = self.scanner.scan(&module.path, file);
                self.warnings
                    .extend(warnings.map_err(|error| source.failed(error))?);
            }
        }
        self.blobs.insert(digest, examined.blob);
        Ok(module)
    }

    /// What files have and links have not.
    fn add_file(
        &mut self,
        module: &mut Module,
        entry: &ModuleEntry,
        elf: Option<ElfFile>,
    ) -> Result<(), ModuleFault> {
        module.mode = entry.mode.unwrap_or(module.mode);
        module.kind = kind(entry, elf.as_ref())?;
        if let Some(process) = &entry.process {
            module.process = Some(spec(&module.path, process)?);
        }
        self.blobs.extend(set_facts(module, elf));
        Ok(())
    }

    fn supplemental(&self, entry: &ModuleEntry) -> Vec<Supplemental> {
        let entries = entry.supplemental.iter();
        entries
            .map(|supplemental| Supplemental {
                one_of: supplemental.one_of.clone(),
                declared_in: Some(self.declared_in.clone()),
            })
            .collect()
    }
}

/// Lets `module` say what the headers of its file say, if it is ELF; its list of symbols.
pub(crate) fn set_facts(module: &mut Module, elf: Option<ElfFile>) -> Option<(Digest, Blob)> {
    let Some(elf) = elf else {
        module.architecture = Architecture::default();
        (module.build_id, module.elf) = (None, None);
        return None;
    };
    let symbols = elf.facts.symbols;
    module.architecture = elf.architecture;
    module.build_id = elf.build_id;
    module.elf = Some(elf.facts);
    symbols.map(|digest| (digest, Blob::Bytes(canonical_json(&elf.symbols))))
}

fn api(entry: &ApiEntry) -> Api {
    Api {
        name: entry.name.clone(),
        version: entry.version.clone(),
    }
}

fn rule(entry: &RuleEntry) -> VetoRule {
    VetoRule {
        name: entry.name.clone(),
        rule: entry.rule.clone(),
        message: entry.message.clone(),
    }
}

/// Whom the package file names, or else the source.
fn owner(entry: &ModuleEntry, source: &Owner) -> Owner {
    let named = &entry.owner;
    Owner {
        user: named.user.clone().or_else(|| source.user.clone()),
        group: named.group.clone().or_else(|| source.group.clone()),
    }
}

/// What the author says that it is, or what its headers say.
fn kind(entry: &ModuleEntry, elf: Option<&ElfFile>) -> Result<ModuleType, ModuleFault> {
    match (entry.kind, &entry.process) {
        (Some(ModuleType::Process), None) => Err(ModuleFault::NoProcess),
        (Some(ModuleType::Process) | None, Some(_)) => Ok(ModuleType::Process),
        (Some(kind), Some(_)) => Err(ModuleFault::ProcessType(kind)),
        (Some(kind), None) => Ok(kind),
        (None, None) => Ok(match elf {
            Some(elf) if elf.facts.soname.is_some() => ModuleType::Library,
            Some(elf) if elf.kind == ElfKind::SharedObject => ModuleType::Plugin,
            _ => ModuleType::Data,
        }),
    }
}

fn spec(path: &ModulePath, process: &ProcessEntry) -> Result<ProcessSpec, ModuleFault> {
    let default = ProcessSpec::default();
    let name = match &process.name {
        Some(name) => name.clone(),
        None => path
            .file_name()
            .parse()
            .map_err(|_| ModuleFault::ProcessName)?,
    };
    Ok(ProcessSpec {
        name,
        kind: process.kind,
        arguments: process.arguments.clone(),
        environment: process.environment.clone(),
        start_order: process.start_order,
        notify: process.notify,
        ready_seconds: process.ready_seconds.unwrap_or(default.ready_seconds),
        stop_seconds: process.stop_seconds.unwrap_or(default.stop_seconds),
        vote_seconds: process.vote_seconds.unwrap_or(default.vote_seconds),
        silence: process.silence,
        user: process.user.clone(),
        group: process.group.clone(),
        working_directory: process.working_directory.clone(),
        limits: process.limits.clone(),
        sockets: process.sockets.clone(),
        stored_descriptors: process.stored_descriptors,
        watchdog_seconds: process.watchdog_seconds,
        stop_signal: process.stop_signal,
        reload_signal: process.reload_signal,
        health: process.health.clone(),
        state: process.state.clone(),
        follows: process.follows.clone(),
        rules: process.rules.iter().map(rule).collect(),
        vote_command: process.vote_command.clone(),
        vote_logic: process.vote_logic.clone(),
    })
}
