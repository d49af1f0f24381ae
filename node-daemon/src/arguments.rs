//! What the daemon is told when it is started: arguments in, checked [`Settings`] out.

mod store;

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::{env, fs, io};

use clap::{Args, ValueEnum};
use placet_model::{Architecture, NameError, NodeFacts, NodeName};

use crate::store::Allowance;
pub use store::StoreArguments;
pub(crate) use store::{Fetches, Looks};

/// Arguments of the node daemon.
///
/// A node is joined once, with a token; from then on its identity is in the state folder and
/// neither token nor controller's key is needed again.
#[derive(Debug, Clone, Args)]
pub struct Arguments {
    /// Name of this node
    #[arg(long, value_name = "NAME", env = "PLACET_NODE")]
    pub node: String,
    /// Where a controller listens for nodes; may be repeated, every address is tried
    #[arg(
        long,
        value_name = "HOST:PORT",
        env = "PLACET_CONTROLLER",
        value_delimiter = ','
    )]
    pub controller: Vec<String>,
    /// Folder for modules, generations, identity and logs [default: /var/lib/placetd/NODE for root]
    #[arg(long, value_name = "FOLDER")]
    pub state: Option<PathBuf>,
    /// Folder for sockets, with a short path [default: /run/placetd/NODE for root]
    #[arg(long, value_name = "FOLDER")]
    pub run: Option<PathBuf>,
    /// Join token, as `placet node token` prints it
    #[arg(
        long,
        env = "PLACET_TOKEN",
        hide_env_values = true,
        conflicts_with = "token_file"
    )]
    pub token: Option<String>,
    /// File that holds the join token
    #[arg(long, value_name = "FILE")]
    pub token_file: Option<PathBuf>,
    /// For a host of the controller's own cluster: file with a projected service account token for
    /// the audience `placet`, in place of a join token
    #[arg(
        long,
        value_name = "FILE",
        requires = "authority",
        conflicts_with_all = ["token", "token_file"]
    )]
    pub service_account_token: Option<PathBuf>,
    /// File with the certificate of the controller's authority (`ca.crt` of the `ConfigMap`
    /// `placet-authority`)
    #[arg(long, value_name = "FILE")]
    pub authority: Option<PathBuf>,
    /// Node type to announce (`line-card`)
    #[arg(long = "type", value_name = "TYPE")]
    pub kind: Option<String>,
    /// Processor architecture to announce [default: the machine's own]
    #[arg(long, value_name = "NAME")]
    pub architecture: Option<String>,
    /// Location to announce
    #[arg(long, value_name = "PLACE")]
    pub location: Option<String>,
    /// Feature to announce; may be repeated
    #[arg(long, value_name = "NAME")]
    pub feature: Vec<String>,
    /// What modules may take of the node's disk and network.
    #[command(flatten)]
    pub store: StoreArguments,
    /// Whether the committed generation starts at once when the node starts, or only once the
    /// controller was reached
    #[arg(long, value_name = "YES|NO", value_enum, default_value = "yes")]
    pub start_alone: StartAlone,
    /// What is logged: `warn`, `info`, `debug`, or a tracing filter
    #[arg(
        long,
        value_name = "FILTER",
        default_value = "info",
        env = "PLACET_LOG"
    )]
    pub log: String,
    /// Set by the keeper for the agent that it starts: the descriptor of their connection, which
    /// is standard input.
    #[arg(long, hide = true)]
    pub agent_fd: Option<i32>,
    /// Set by a keeper for its successor: the descriptor that holds what is handed over.
    #[arg(long, hide = true)]
    pub handover: Option<i32>,
    /// Set by a keeper that asks whether this version could be its successor.
    #[arg(long, hide = true)]
    pub check_handover: bool,
}

/// What a node does that starts while no controller can be reached.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, ValueEnum)]
pub enum StartAlone {
    /// Its committed generation starts at once, and is compared with what is wanted later.
    #[default]
    Yes,
    /// Nothing starts before a controller has welcomed the node.
    No,
}

/// Checked arguments.
#[derive(Debug, Clone)]
pub(crate) struct Settings {
    pub(crate) node: NodeName,
    pub(crate) controllers: Vec<String>,
    pub(crate) state: PathBuf,
    pub(crate) run: PathBuf,
    /// For what runs from memory only.
    pub(crate) memory: PathBuf,
    pub(crate) token: Token,
    pub(crate) facts: NodeFacts,
    pub(crate) allowance: Allowance,
    pub(crate) looks: Looks,
    pub(crate) fetches: Fetches,
    pub(crate) start_alone: StartAlone,
}

/// Where the join token is found, if there is one.
#[derive(Clone)]
pub(crate) enum Token {
    None,
    Given(String),
    File(PathBuf),
    /// A service account's token, and the certificate of the controller's authority.
    Pod {
        token: PathBuf,
        authority: PathBuf,
    },
}

/// Arguments that cannot be used.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ArgumentError {
    #[error("--node cannot be used")]
    Node { source: NameError },
    #[error("no controller is named; add --controller HOST:PORT")]
    NoController,
    #[error("failed to find a state folder; name one with --state")]
    NoState,
    #[error("failed to find the working directory, which `{path}` is relative to")]
    WorkingDirectory { path: PathBuf, source: io::Error },
    #[error("failed to read what the node joins with from `{path}`")]
    TokenFile { path: PathBuf, source: io::Error },
}

impl Arguments {
    pub(crate) fn settings(&self) -> Result<Settings, ArgumentError> {
        let node: NodeName = self
            .node
            .parse()
            .map_err(|source| ArgumentError::Node { source })?;
        if self.controller.is_empty() {
            return Err(ArgumentError::NoController);
        }
        let state = match &self.state {
            Some(path) => path.clone(),
            None => default_state(&node).ok_or(ArgumentError::NoState)?,
        };
        let state = absolute(&state)?;
        let run = match &self.run {
            Some(path) => absolute(path)?,
            None => default_run(&node).unwrap_or_else(|| state.join("run")),
        };
        let memory = match &self.store.memory {
            Some(path) => absolute(path)?,
            None => run.join("memory"),
        };
        Ok(Settings {
            controllers: self.controller.clone(),
            token: self.token(),
            facts: self.facts(),
            allowance: self.store.allowance(),
            looks: self.store.looks(),
            fetches: self.store.fetches(),
            start_alone: self.start_alone,
            node,
            state,
            run,
            memory,
        })
    }

    fn token(&self) -> Token {
        if let (Some(token), Some(authority)) = (&self.service_account_token, &self.authority) {
            return Token::Pod {
                token: token.clone(),
                authority: authority.clone(),
            };
        }
        match (&self.token, &self.token_file) {
            (Some(token), _) => Token::Given(token.clone()),
            (None, Some(file)) => Token::File(file.clone()),
            (None, None) => Token::None,
        }
    }

    fn facts(&self) -> NodeFacts {
        let architecture = self.architecture.as_deref().unwrap_or(env::consts::ARCH);
        NodeFacts {
            kind: self.kind.clone(),
            architecture: Some(Architecture(architecture.to_owned())),
            location: self.location.clone(),
            features: self.feature.iter().cloned().collect(),
        }
    }

    /// The command line and environment with which the keeper starts the agent: these arguments
    /// again. The token goes through the environment, which other users cannot read.
    pub(crate) fn reexec(self, program: Vec<OsString>) -> Reexec {
        let mut arguments = program;
        let mut add = |name: &str, value: &OsString| arguments.extend([name.into(), value.clone()]);
        add("--node", &self.node.clone().into());
        add("--log", &self.log.clone().into());
        if self.start_alone == StartAlone::No {
            add("--start-alone", &"no".into());
        }
        for controller in &self.controller {
            add("--controller", &controller.into());
        }
        for feature in &self.feature {
            add("--feature", &feature.into());
        }
        let paths = [
            ("--state", &self.state),
            ("--run", &self.run),
            ("--token-file", &self.token_file),
            ("--service-account-token", &self.service_account_token),
            ("--authority", &self.authority),
            ("--memory", &self.store.memory),
        ];
        for (name, path) in paths {
            if let Some(path) = path {
                add(name, &path.into());
            }
        }
        let texts = [
            ("--type", &self.kind),
            ("--architecture", &self.architecture),
            ("--location", &self.location),
        ];
        for (name, text) in texts {
            if let Some(text) = text {
                add(name, &text.into());
            }
        }
        arguments.extend(self.store.words());
        let environment = self
            .token
            .iter()
            .map(|token| ("PLACET_TOKEN", token.clone()))
            .collect();
        Reexec {
            arguments,
            environment,
        }
    }
}

/// How the keeper starts the agent.
#[derive(Debug, Clone, Default)]
pub(crate) struct Reexec {
    pub(crate) arguments: Vec<OsString>,
    pub(crate) environment: Vec<(&'static str, String)>,
}

/// What a node shows at first contact.
pub(crate) enum Ticket {
    /// The text of a join token.
    Token(String),
    /// A service account's token, and the certificate of the controller's authority.
    Pod { token: String, authority: String },
}

impl Token {
    /// What there is to show. Read only when it is needed: the file may go once the node has
    /// joined, and the token of a pod is renewed all the time.
    pub(crate) fn read(&self) -> Result<Option<Ticket>, ArgumentError> {
        Ok(match self {
            Self::None => None,
            Self::Given(text) => Some(Ticket::Token(text.trim().to_owned())),
            Self::File(path) => Some(Ticket::Token(read(path)?)),
            Self::Pod { token, authority } => Some(Ticket::Pod {
                token: read(token)?,
                authority: read(authority)?,
            }),
        })
    }
}

fn read(path: &Path) -> Result<String, ArgumentError> {
    let text = fs::read_to_string(path).map_err(|source| ArgumentError::TokenFile {
        path: path.to_owned(),
        source,
    })?;
    Ok(text.trim().to_owned())
}

/// The secret stays out of logs.
impl std::fmt::Debug for Token {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::None => f.write_str("None"),
            Self::Given(_) => f.write_str("Given(…)"),
            Self::File(path) => write!(f, "File({})", path.display()),
            Self::Pod { token, .. } => write!(f, "Pod({})", token.display()),
        }
    }
}

fn absolute(path: &Path) -> Result<PathBuf, ArgumentError> {
    std::path::absolute(path).map_err(|source| ArgumentError::WorkingDirectory {
        path: path.to_owned(),
        source,
    })
}

fn default_state(node: &NodeName) -> Option<PathBuf> {
    if nix::unistd::geteuid().is_root() {
        return Some(Path::new("/var/lib/placetd").join(node.as_str()));
    }
    let home = env::var_os("XDG_STATE_HOME").map(PathBuf::from);
    let home = home.or_else(|| Some(PathBuf::from(env::var_os("HOME")?).join(".local/state")))?;
    Some(home.join("placetd").join(node.as_str()))
}

fn default_run(node: &NodeName) -> Option<PathBuf> {
    if nix::unistd::geteuid().is_root() {
        return Some(Path::new("/run/placetd").join(node.as_str()));
    }
    let run = env::var_os("XDG_RUNTIME_DIR")?;
    Some(Path::new(&run).join("placetd").join(node.as_str()))
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Parser)]
    struct Command {
        #[command(flatten)]
        arguments: Arguments,
    }

    fn parse(arguments: &[&str]) -> Arguments {
        Command::try_parse_from([&["placetd"], arguments].concat())
            .unwrap()
            .arguments
    }

    #[test]
    fn the_agent_gets_the_same_settings_and_the_token_only_through_the_environment() {
        let arguments = parse(&[
            "--node",
            "core-1",
            "--controller",
            "a:1",
            "--controller",
            "b:2",
            "--state",
            "/s",
            "--run",
            "/r",
            "--token",
            "id.secret.pin",
            "--type",
            "core",
            "--location",
            "here",
            "--feature",
            "x",
            "--architecture",
            "aarch64",
            "--log",
            "debug",
            "--fetch-rate=300",
            "--quota=100",
            "--disk-reserve=0",
            "--generations-kept=5",
            "--start-alone=no",
        ]);
        let reexec = arguments.clone().reexec(Vec::new());
        let texts = reexec.arguments.iter().map(|text| text.to_str().unwrap());
        let texts: Vec<_> = texts.collect();
        assert!(
            !texts.iter().any(|text| text.contains("secret")),
            "{texts:?}"
        );
        assert_eq!(
            reexec.environment,
            [("PLACET_TOKEN", "id.secret.pin".to_owned())]
        );
        let again = parse(&texts);
        let (again_settings, settings) = (again.settings().unwrap(), arguments.settings().unwrap());
        assert_eq!(again_settings.facts, settings.facts);
        assert_eq!(again_settings.allowance, settings.allowance);
        assert_eq!(again_settings.looks, settings.looks);
        assert_eq!(again_settings.fetches, settings.fetches);
        assert_eq!(settings.fetches.rate.unwrap().get(), 300 << 10);
        assert_eq!(settings.allowance.quota, Some(100 << 20));
        assert_eq!(again.controller, arguments.controller);
        assert_eq!(
            (again.state, again.run, again.log, again.start_alone),
            (
                arguments.state,
                arguments.run,
                arguments.log,
                StartAlone::No
            )
        );
    }

    #[test]
    fn a_node_name_that_is_none_is_refused_with_the_rule() {
        let error = parse(&["--node", "Core 1", "--controller", "a:1"])
            .settings()
            .unwrap_err();
        assert!(
            crate::Chain(&error)
                .to_string()
                .contains("lower-case letters"),
            "{error:?}"
        );
    }
}
