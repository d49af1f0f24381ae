//! `placet node ask`: speaks with the vote service of a node by hand, on the node itself.

mod channel;
mod watch;
mod words;

use std::path::{Path, PathBuf};
use std::{env, fs, io};

use anyhow::{Context as _, bail};
use serde_json::{Value, json};

use self::channel::{Channel, Reply};
use crate::arguments::{Ask, Common};
use crate::output::{self, Answer, Format};

/// A process that has a vote socket.
struct Socket {
    node: String,
    process: String,
    path: PathBuf,
}

/// `placet node ask`.
pub(crate) fn run(arguments: &Ask, common: &Common) -> anyhow::Result<Answer> {
    let format = common.output;
    let Some(process) = &arguments.process else {
        return list(&sockets(arguments.run.as_deref())?, format);
    };
    let path = path_of(process, arguments.run.as_deref())?;
    let method = arguments.method.as_deref().map(words::full_name);
    if arguments.watch || method.as_deref() == Some("dev.placet.Vote.Watch") {
        return watch::run(&path, format);
    }
    let method = method.unwrap_or_else(|| words::full_name("GetInterfaceDescription"));
    let parameters = match &arguments.parameters {
        Some(text) => words::parameters(text)?,
        None if method.ends_with(".GetInterfaceDescription") => {
            json!({"interface": "dev.placet.Vote"})
        }
        None => json!({}),
    };
    let failed = || format!("failed to ask at the vote socket `{}`", path.display());
    let mut channel = Channel::connect(&path).with_context(failed)?;
    let reply = channel.call(&method, &parameters).with_context(failed)?;
    let reply = reply.with_context(|| {
        let path = path.display();
        format!("the node daemon hung up at `{path}`: the process has too many connections")
    })?;
    show(&reply, format)
}

fn show(reply: &Reply, format: Format) -> anyhow::Result<Answer> {
    let Reply { error, parameters } = reply;
    if let Some(error) = error {
        anstream::eprintln!("{}", refusal(error, parameters));
        return Ok(Answer::No);
    }
    match parameters["description"].as_str() {
        Some(text) if format == Format::Table => anstream::println!("{}", text.trim_end()),
        _ => output::print(parameters, format)?,
    }
    Ok(Answer::Done)
}

/// Why a call was refused, and what to do.
fn refusal(error: &str, parameters: &Value) -> String {
    let advice = match error.rsplit('.').next() {
        Some("NotYours") => {
            ": only processes of the service may say something on its socket; others may call \
             GetInfo and GetInterfaceDescription, root also GetUsers and GetChangeSet"
        }
        Some("NotRegistered") => ": take part with `placet node ask PROCESS --watch`",
        _ => "",
    };
    let is_empty = parameters.as_object().is_none_or(serde_json::Map::is_empty);
    let parameters = if is_empty {
        String::new()
    } else {
        format!(" {parameters}")
    };
    format!("{error}{parameters}{advice}")
}

fn list(sockets: &[Socket], format: Format) -> anyhow::Result<Answer> {
    if format != Format::Table {
        let all: Vec<_> = sockets
            .iter()
            .map(|it| json!({"node": it.node, "process": it.process, "socket": it.path}))
            .collect();
        output::print(&json!(all), format)?;
        return Ok(Answer::Done);
    }
    let rows = sockets.iter().map(|it| {
        let path = it.path.display().to_string();
        vec![it.node.clone(), it.process.clone(), path]
    });
    output::table(&["node", "process", "socket"], rows.collect());
    Ok(Answer::Done)
}

/// The socket of a process; of several nodes on one machine the run folder says which.
fn path_of(process: &str, run: Option<&Path>) -> anyhow::Result<PathBuf> {
    if process.contains('/') {
        return Ok(process.into());
    }
    let sockets = sockets(run)?;
    let known: Vec<_> = sockets.iter().map(|it| it.process.as_str()).collect();
    let known = known.join(", ");
    let mut found = sockets.iter().filter(|it| it.process == process);
    match (found.next(), found.next()) {
        (Some(one), None) => Ok(one.path.clone()),
        (None, _) if known.is_empty() => bail!("no process of this node has a vote socket"),
        (None, _) => bail!("process `{process}` has no vote socket here; those that have: {known}"),
        (Some(one), Some(other)) => bail!(
            "nodes {} and {} both have a process `{process}`: say which with --run FOLDER",
            one.node,
            other.node
        ),
    }
}

/// The vote sockets below a run folder, or below those of all nodes of this machine.
fn sockets(run: Option<&Path>) -> anyhow::Result<Vec<Socket>> {
    let runs = match run {
        Some(run) => vec![run.to_owned()],
        None => runs()?,
    };
    let mut sockets = Vec::new();
    for run in runs {
        let node = run.file_name().unwrap_or_default();
        for path in entries(&run.join("vote"))? {
            if let (Some(name), true) =
                (path.file_stem(), path.extension() == Some("sock".as_ref()))
            {
                sockets.push(Socket {
                    node: node.to_string_lossy().into_owned(),
                    process: name.to_string_lossy().into_owned(),
                    path: path.clone(),
                });
            }
        }
    }
    Ok(sockets)
}

/// Where node daemons have their run folders if nobody said otherwise.
fn runs() -> anyhow::Result<Vec<PathBuf>> {
    let parent = if nix::unistd::geteuid().is_root() {
        PathBuf::from("/run/placetd")
    } else {
        let run = env::var_os("XDG_RUNTIME_DIR").map(PathBuf::from);
        run.context("no run folder is known: say it with --run FOLDER, as placetd was started")?
            .join("placetd")
    };
    let runs = entries(&parent)?;
    if runs.is_empty() {
        bail!(
            "no node daemon runs here with its files in `{}`; say where they are with --run FOLDER, as placetd was started",
            parent.display()
        );
    }
    Ok(runs)
}

/// What a folder holds, by name; nothing if it is not there.
fn entries(folder: &Path) -> anyhow::Result<Vec<PathBuf>> {
    let failed = || format!("failed to list `{}`", folder.display());
    let entries = match fs::read_dir(folder) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        entries => entries.with_context(failed)?,
    };
    let paths: io::Result<Vec<_>> = entries.map(|entry| Ok(entry?.path())).collect();
    let mut paths = paths.with_context(failed)?;
    paths.sort();
    Ok(paths)
}
