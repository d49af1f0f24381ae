//! The rules that a package's metadata keep, whoever wrote them. The packager checks with the same
//! code that every reader checks with.

use std::collections::{BTreeMap, BTreeSet};

use placet_model::{Digest, Module, ModulePath, ModuleType, PackageConfig, Signature, visible};

use crate::manifest::{LAYERS_MAX, symbol_digests};
use crate::signature;

/// A rule that a package's metadata break.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ConfigFault {
    /// Two modules for the same place.
    #[error("path `{path}` occurs twice for architecture `{architecture}`")]
    Duplicate {
        /// The path.
        path: ModulePath,
        /// The architecture.
        architecture: String,
    },
    /// It cannot be run as it is described.
    #[error("module `{path}` cannot be run as described: {source}")]
    Process {
        /// The module.
        path: ModulePath,
        /// Why.
        source: placet_model::ProcessFault,
    },
    /// The modules are not in order.
    #[error("module `{path}` is not in order; modules are sorted by path and architecture")]
    Unsorted {
        /// The module that comes too late.
        path: ModulePath,
    },
    /// One module lies inside another.
    #[error("`{outer}` is a file or link, and `{path}` would lie inside it")]
    Inside {
        /// The outer module.
        outer: ModulePath,
        /// The inner one.
        path: ModulePath,
    },
    /// A symbolic link that could lead out of the generation tree.
    #[error("symbolic link `{path}` -> `{target}` is refused: {why}")]
    Link {
        /// The link.
        path: ModulePath,
        /// Its target.
        target: String,
        /// What is wrong with it.
        why: String,
    },
    /// A text that cannot be what it should be.
    #[error("{what} `{}` of `{path}` is refused: {why}", visible(text))]
    Text {
        /// What the text is.
        what: &'static str,
        /// The text.
        text: String,
        /// The module, or the package.
        path: String,
        /// What is wrong with it.
        why: &'static str,
    },
    /// Two processes of one name.
    #[error("process `{process}` is declared by both `{first}` and `{second}`")]
    DuplicateProcess {
        /// The name.
        process: String,
        /// One module.
        first: ModulePath,
        /// The other.
        second: ModulePath,
    },
    /// A process that nobody may execute, or that is a link.
    #[error("`{path}` is a process, but {why}")]
    NotExecutable {
        /// The module.
        path: ModulePath,
        /// What is in the way.
        why: &'static str,
    },
    /// A module that was shaded or replaced, and is not there.
    #[error("`{path}` is said to be shaded or replaced, and the package has no such module")]
    NotThere {
        /// The path.
        path: ModulePath,
    },
    /// More layers than a manifest may have.
    #[error(
        "the package has {count} layers (modules and lists of symbols), and at most {LAYERS_MAX} are allowed: split it into several packages"
    )]
    TooMany {
        /// How many.
        count: usize,
    },
}

impl ConfigFault {
    /// The path of the module that has to be looked at, where it is one.
    pub fn module(&self) -> Option<&str> {
        match self {
            Self::Duplicate { path, .. }
            | Self::Process { path, .. }
            | Self::Unsorted { path }
            | Self::Inside { path, .. }
            | Self::Link { path, .. }
            | Self::NotExecutable { path, .. }
            | Self::NotThere { path } => Some(path.as_str()),
            Self::DuplicateProcess { second, .. } => Some(second.as_str()),
            Self::Text { path, .. } => Some(path),
            Self::TooMany { .. } => None,
        }
    }
}

/// Checks what the types of the config do not check by themselves.
///
/// # Errors
///
/// The first rule that is broken.
pub fn check_config(config: &PackageConfig) -> Result<(), ConfigFault> {
    let count = config.modules.len() + symbol_digests(config).len();
    if count > LAYERS_MAX {
        return Err(ConfigFault::TooMany { count });
    }
    check_texts(config)?;
    check_order(&config.modules)?;
    check_nesting(&config.modules)?;
    check_processes(&config.modules)?;
    check_derived(config)?;
    let is_shaded = |module: &Module| {
        let mut shaded = config.shaded().into_iter();
        shaded.any(|shaded| shaded.contains(&module.path))
    };
    let mut modules = config.modules.iter();
    modules.try_for_each(|module| check_module(module, is_shaded(module)))
}

/// What was done to a package is told of modules that it has.
fn check_derived(config: &PackageConfig) -> Result<(), ConfigFault> {
    let Some(derived) = &config.derived else {
        return Ok(());
    };
    let paths: BTreeSet<_> = config.modules.iter().map(|module| &module.path).collect();
    let told = derived.shaded.iter().chain(&derived.replaced);
    match told.into_iter().find(|path| !paths.contains(path)) {
        Some(path) => Err(ConfigFault::NotThere { path: path.clone() }),
        None => Ok(()),
    }
}

fn check_order(modules: &[Module]) -> Result<(), ConfigFault> {
    for pair in modules.windows(2) {
        let [first, second] = pair else { continue };
        let key = |module: &Module| (module.path.clone(), module.architecture.clone());
        match key(first).cmp(&key(second)) {
            std::cmp::Ordering::Less => {}
            std::cmp::Ordering::Equal => {
                return Err(ConfigFault::Duplicate {
                    path: second.path.clone(),
                    architecture: second.architecture.to_string(),
                });
            }
            std::cmp::Ordering::Greater => {
                let path = second.path.clone();
                return Err(ConfigFault::Unsorted { path });
            }
        }
    }
    Ok(())
}

/// No module's path leads through another module: what one of them links to stays out of reach.
fn check_nesting(modules: &[Module]) -> Result<(), ConfigFault> {
    let paths: BTreeSet<&str> = modules.iter().map(|module| module.path.as_str()).collect();
    for module in modules {
        let path = module.path.as_str();
        for (index, _) in path.match_indices('/') {
            if paths.contains(&path[..index]) {
                return Err(ConfigFault::Inside {
                    outer: path[..index].parse().expect("it is the path of a module"),
                    path: module.path.clone(),
                });
            }
        }
    }
    Ok(())
}

fn check_processes(modules: &[Module]) -> Result<(), ConfigFault> {
    let mut names = BTreeMap::new();
    for module in modules {
        let Some(process) = &module.process else {
            continue;
        };
        let key = (process.name.clone(), module.architecture.clone());
        if let Some(first) = names.insert(key, &module.path) {
            return Err(ConfigFault::DuplicateProcess {
                process: process.name.to_string(),
                first: first.clone(),
                second: module.path.clone(),
            });
        }
        let why = if module.link.is_some() {
            "it is a symbolic link: make the file that it points at the process"
        } else if !module.mode.is_executable() {
            "its mode lets nobody execute it: give it the mode \"0755\""
        } else {
            continue;
        };
        let path = module.path.clone();
        return Err(ConfigFault::NotExecutable { path, why });
    }
    Ok(())
}

/// `is_shaded` if its signature may be any.
fn check_module(module: &Module, is_shaded: bool) -> Result<(), ConfigFault> {
    let architecture = &module.architecture.0;
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_' || byte == b'-';
    if architecture.is_empty() || architecture.len() > 64 || !architecture.bytes().all(plain) {
        return Err(ConfigFault::Text {
            what: "architecture",
            text: architecture.clone(),
            path: module.path.to_string(),
            why: "it is 1 to 64 letters, digits, `_` and `-`",
        });
    }
    let Some(target) = &module.link else {
        return Ok(());
    };
    let refuse = |why: String| ConfigFault::Link {
        path: module.path.clone(),
        target: target.to_string(),
        why,
    };
    let mut parts = target.as_str().split('/').skip_while(|part| *part == "..");
    if parts.any(|part| part == "..") {
        return Err(refuse("`..` may only stand at its beginning".to_owned()));
    }
    let resolved = module.path.resolve(target);
    resolved.map_err(|error| refuse(error.to_string()))?;
    let bytes = target.as_str().as_bytes();
    let plain: Option<Signature> = signature(bytes).ok();
    let agrees = module.size == bytes.len() as u64
        && module.digest == Digest::of(bytes)
        && (is_shaded || plain == Some(module.signature))
        && module.kind == ModuleType::Data
        && module.elf.is_none();
    if !agrees {
        let why = "size, digest, signature and type are not those of its target text";
        return Err(refuse(why.to_owned()));
    }
    Ok(())
}

/// Free texts: short, and nothing in them that a terminal would obey.
fn check_texts(config: &PackageConfig) -> Result<(), ConfigFault> {
    for (what, text) in package_texts(config) {
        check_text(what, text, config.name.as_str())?;
    }
    for module in &config.modules {
        for (what, text) in module_texts(module) {
            check_text(what, text, module.path.as_str())?;
        }
        if let Some(process) = &module.process {
            check_process_texts(process, module.path.as_str())?;
            process.check().map_err(|source| ConfigFault::Process {
                path: module.path.clone(),
                source,
            })?;
        }
    }
    Ok(())
}

type Texts<'a> = Vec<(&'static str, &'a str)>;

fn package_texts(config: &PackageConfig) -> Texts<'_> {
    let mut texts = Texts::new();
    texts.extend(
        config
            .features
            .iter()
            .map(|text| ("feature", text.as_str())),
    );
    texts.extend(
        config
            .node_types
            .iter()
            .map(|text| ("node type", text.as_str())),
    );
    for (key, value) in &config.characteristics {
        texts.extend([("characteristic", key.as_str()), ("characteristic", value)]);
    }
    for (what, text) in [
        ("description", &config.description),
        ("license", &config.license),
    ] {
        texts.extend(text.iter().map(|text| (what, text.as_str())));
    }
    let revision = config.source_revision.iter();
    texts.extend(revision.map(|text| ("source revision", text.as_str())));
    texts
}

fn module_texts(module: &Module) -> Texts<'_> {
    let mut texts = Texts::new();
    texts.extend(
        module
            .function
            .iter()
            .map(|text| ("function", text.as_str())),
    );
    texts.extend(
        module
            .features
            .iter()
            .map(|text| ("feature", text.as_str())),
    );
    for (key, value) in &module.characteristics {
        texts.extend([("characteristic", key.as_str()), ("characteristic", value)]);
    }
    for api in module.provides.iter().chain(&module.uses) {
        texts.extend([("API", api.name.as_str()), ("API version", &api.version)]);
    }
    let owner = [&module.owner.user, &module.owner.group];
    texts.extend(
        owner
            .into_iter()
            .flatten()
            .map(|text| ("owner", text.as_str())),
    );
    texts
}

fn check_text(what: &'static str, text: &str, path: &str) -> Result<(), ConfigFault> {
    let why = if text.is_empty() {
        "it is empty"
    } else if text.len() > 512 {
        "it is longer than 512 bytes"
    } else if text.chars().any(char::is_control) {
        "it contains a control character"
    } else {
        return Ok(());
    };
    Err(ConfigFault::Text {
        what,
        text: text.to_owned(),
        path: path.to_owned(),
        why,
    })
}

/// What is handed to `execve` must survive it.
fn check_process_texts(process: &placet_model::ProcessSpec, path: &str) -> Result<(), ConfigFault> {
    let refuse = |what, text: &str, why| ConfigFault::Text {
        what,
        text: text.to_owned(),
        path: path.to_owned(),
        why,
    };
    let mut values = process.arguments.iter().chain(process.environment.values());
    if let Some(value) = values.find(|value| crate::manifest::has_control(value, true)) {
        let why = "it contains a control character other than tab and new line";
        return Err(refuse("argument or variable", value, why));
    }
    let good = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_';
    let is_name = |name: &&String| {
        name.bytes().all(good)
            && name
                .bytes()
                .next()
                .is_some_and(|byte| !byte.is_ascii_digit())
    };
    match process.environment.keys().find(|name| !is_name(name)) {
        Some(name) => {
            let why = "it is letters, digits and `_`, not beginning with a digit";
            Err(refuse("environment variable", name, why))
        }
        None => Ok(()),
    }
}
