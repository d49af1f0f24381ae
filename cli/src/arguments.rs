//! The command line: what can be asked for, with examples.

use std::net::SocketAddr;
use std::num::NonZeroU64;
use std::path::PathBuf;

use clap::{Args, Parser, Subcommand};
use url::Url;

use crate::check::Check;
use crate::fleet::FleetCommand;
use crate::output::Format;
use crate::package;

const EXAMPLES: &str = "\
Examples:
  placet demo                                   The whole story on this machine
  placet up --source /srv/fleet.git             Run the controller for a git repository
  placet get rollouts                           What is under way, and what was
  placet get fleetnodes --context production    The same on a Kubernetes cluster
  placet rollout show ro-2                      Who objects, and why
  placet rollout decide ro-2 --skip --reason 'core-1 can wait'";

/// Delivers software to fleets one component at a time, and asks before it acts.
#[derive(Debug, Parser)]
#[command(name = "placet", version, after_help = EXAMPLES, max_term_width = 100)]
pub(crate) struct Cli {
    #[command(flatten)]
    pub(crate) common: Common,
    #[command(subcommand)]
    pub(crate) command: Command,
}

/// Options of every command.
#[derive(Debug, Clone, Args)]
pub(crate) struct Common {
    /// How to print data.
    #[arg(
        short,
        long,
        global = true,
        value_enum,
        default_value_t,
        value_name = "FORMAT"
    )]
    pub(crate) output: Format,
    /// The controller's admin socket [default: `admin.sock` in the state folder].
    #[arg(long, global = true, env = "PLACET_ADMIN", value_name = "PATH")]
    pub(crate) socket: Option<PathBuf>,
    /// Work on a fleet on Kubernetes with this kubeconfig [default: the one that kubectl uses,
    /// where no controller runs on this machine].
    #[arg(long, global = true, value_name = "PATH")]
    pub(crate) kubeconfig: Option<PathBuf>,
    /// The context of the kubeconfig [default: its current one].
    #[arg(long, global = true, value_name = "NAME")]
    pub(crate) context: Option<String>,
    /// On Kubernetes: the namespace of the controller.
    #[arg(
        long,
        global = true,
        default_value = "placet-system",
        value_name = "NAME"
    )]
    pub(crate) namespace: String,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Show the whole story on this machine: commit, plan, veto, decision, revert.
    Demo(Demo),
    /// Run the controller on an embedded store.
    Up(Up),
    /// Say what a change would do to the fleet, from two git revisions and packages alone.
    Check(Check),
    /// The fleet as a whole.
    #[command(subcommand)]
    Fleet(FleetCommand),
    /// Try a change out without a fleet: on one node type, or on a fleet by a script.
    Simulate(crate::simulate::Simulate),
    /// Apply declarations from files or folders.
    Apply(Apply),
    /// List resources.
    Get(Get),
    /// Show one resource in full, with its latest events.
    Describe(Describe),
    /// Delete a resource.
    Delete(Describe),
    /// Keep everything that the controller of `placet up` needs to go on elsewhere, in one file.
    Backup(Backup),
    /// Lay out a folder for a controller that goes on from a backup.
    Restore(Restore),
    /// Changes under way and past.
    #[command(subcommand)]
    Rollout(RolloutCommand),
    /// Nodes.
    #[command(subcommand)]
    Node(NodeCommand),
    /// The build environment.
    #[command(subcommand)]
    Package(PackageCommand),
    /// Print a completion script for a shell.
    #[command(after_help = "Example:\n  placet completion bash > /etc/bash_completion.d/placet")]
    Completion {
        /// The shell.
        shell: clap_complete::Shell,
    },
    /// Run the node daemon (the same program as `placetd`).
    Placetd(placet_node_daemon::Arguments),
}

#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  placet demo
  placet demo --pause         Wait for Enter at each step
  placet demo --keep          Leave everything up at the end
  placet demo -o json         One JSON object a line")]
pub(crate) struct Demo {
    /// Wait for Enter at each step.
    #[arg(long)]
    pub(crate) pause: bool,
    /// Leave everything up at the end, until Ctrl-C.
    #[arg(long)]
    pub(crate) keep: bool,
}

#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  placet up --source /srv/fleet.git
  placet up --source ssh://git@example.org/fleet.git --ref main --path production
  placet up --listen 0.0.0.0:7440 --name controller.example.org")]
pub(crate) struct Up {
    /// Folder for the store, the certificate authority and the cache
    /// [default: /var/lib/placet for root, otherwise ~/.local/state/placet].
    #[arg(long, env = "PLACET_STATE", value_name = "DIR")]
    pub(crate) state: Option<PathBuf>,
    /// Address on which nodes reach the controller; may be given several times.
    #[arg(long, default_value = "127.0.0.1:7440", value_name = "ADDRESS:PORT")]
    pub(crate) listen: Vec<SocketAddr>,
    /// Address on which git hosts say, over HTTP, that something was pushed (`/hooks/<source>`)
    /// [default: none].
    #[arg(long, value_name = "ADDRESS:PORT")]
    pub(crate) receiver_listen: Option<SocketAddr>,
    /// Address on which metrics and health are told over HTTP (`/metrics`, `/healthz`, `/readyz`)
    /// [default: none].
    #[arg(long, value_name = "ADDRESS:PORT")]
    pub(crate) metrics_listen: Option<SocketAddr>,
    /// Collector that gets traces, by OTLP (protobuf over HTTP), as `http://127.0.0.1:4318`
    /// [default: none].
    #[arg(long, value_name = "URL", env = "OTEL_EXPORTER_OTLP_ENDPOINT")]
    pub(crate) otlp_endpoint: Option<Url>,
    /// Name or address under which nodes reach the controller, for its certificate; may be given
    /// several times [default: the listen addresses and this machine's name].
    #[arg(long, value_name = "NAME")]
    pub(crate) name: Vec<String>,
    /// Git repository with the declarations; the same as applying a `GitSource` named `fleet`.
    #[arg(long, value_name = "URL")]
    pub(crate) source: Option<String>,
    /// Branch of the repository.
    #[arg(long = "ref", value_name = "BRANCH", requires = "source")]
    pub(crate) branch: Option<String>,
    /// Folder inside the repository.
    #[arg(long, value_name = "DIR", requires = "source")]
    pub(crate) path: Option<String>,
    /// Folder that relative package references start from [default: the state folder].
    #[arg(long, value_name = "DIR")]
    pub(crate) packages: Option<PathBuf>,
    /// Seconds for which a node's certificate is valid; it is renewed at half its life.
    #[arg(long, default_value_t = 86_400, value_name = "SECONDS")]
    pub(crate) certificate_seconds: u32,
    /// How many roll-outs are kept, with their history; the oldest go first.
    #[arg(long, default_value_t = placet_controller::ROLLOUTS_KEPT, value_name = "COUNT")]
    pub(crate) rollouts_kept: NonZeroU64,
    /// What to log, as in `info` or `placet_controller=debug`.
    #[arg(
        long,
        default_value = "info",
        env = "PLACET_LOG",
        value_name = "FILTER"
    )]
    pub(crate) log: String,
}

#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  placet apply -f fleet/\n  placet apply -f classes.yaml --dry-run"
)]
pub(crate) struct Apply {
    /// File or folder with YAML; `-` for standard input; may be given several times.
    #[arg(short, long, required = true, value_name = "PATH")]
    pub(crate) file: Vec<PathBuf>,
    /// Validate, plan, ask the live nodes, and say what would happen; change nothing.
    #[arg(long)]
    pub(crate) dry_run: bool,
    /// On Kubernetes: take over fields that others apply too.
    #[arg(long)]
    pub(crate) force_conflicts: bool,
    /// With --dry-run: seconds that nodes may take to answer.
    #[arg(
        long,
        requires = "dry_run",
        default_value_t = 30,
        value_name = "SECONDS"
    )]
    pub(crate) within: u32,
}

#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  placet rollout dry-run -f fleet/
  placet rollout dry-run -f packages.yaml --within 5

Exit code 0: nobody would object; 1: somebody would, or something stands in the way.")]
pub(crate) struct DryRun {
    /// File or folder with YAML; `-` for standard input; may be given several times.
    #[arg(short, long, required = true, value_name = "PATH")]
    pub(crate) file: Vec<PathBuf>,
    /// Seconds that nodes may take to answer.
    #[arg(long, default_value_t = 30, value_name = "SECONDS")]
    pub(crate) within: u32,
}

#[derive(Debug, Args)]
#[command(after_help = "\
Example:
  placet backup /backups/fleet.placet

The file holds the controller's keys, and secrets: whoever has it can act as the controller.")]
pub(crate) struct Backup {
    /// The file to write, readable by its owner alone; it is replaced if it is there.
    pub(crate) file: PathBuf,
}

#[derive(Debug, Args)]
#[command(after_help = "\
Example:
  placet restore /backups/fleet.placet --state /var/lib/placet
  placet up --state /var/lib/placet")]
pub(crate) struct Restore {
    /// The backup.
    pub(crate) file: PathBuf,
    /// Folder for the controller that goes on from it; it holds no fleet yet
    /// [default: /var/lib/placet for root, otherwise ~/.local/state/placet].
    #[arg(long, env = "PLACET_STATE", value_name = "DIR")]
    pub(crate) state: Option<PathBuf>,
}

#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  placet get nodeclasses\n  placet get fnode core-1 -o yaml")]
pub(crate) struct Get {
    /// Kind, plural or short name (`fleetnodes`, `fnode`); all kinds when left out.
    #[arg(default_value = "")]
    pub(crate) kind: String,
    /// Name; all of the kind when left out.
    #[arg(default_value = "")]
    pub(crate) name: String,
}

#[derive(Debug, Args)]
#[command(after_help = "Example:\n  placet describe rollout ro-2")]
pub(crate) struct Describe {
    /// Kind, plural or short name.
    pub(crate) kind: String,
    /// Name.
    pub(crate) name: String,
}

#[derive(Debug, Subcommand)]
pub(crate) enum RolloutCommand {
    /// List roll-outs, newest first.
    List,
    /// Show who was asked, who objects and why, and what can be done.
    Show {
        /// The roll-out.
        name: String,
    },
    /// Follow a roll-out until it is over; without a name, follow the fleet.
    Watch {
        /// The roll-out.
        name: Option<String>,
    },
    /// Ask the live nodes what they would say to a change, and withdraw it; nothing is changed.
    DryRun(DryRun),
    /// Answer a hold: skip the nodes that object, force, or abort.
    Decide(Decide),
    /// Let no further node begin to change; those that have begun go on to the end.
    Pause(Pause),
    /// Let nodes change again after a pause.
    Resume(Pause),
    /// Have every node fetch and store what it is to run, then all start together.
    Prepare(Prepare),
}

#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  placet rollout prepare ro-2                 Pause it, and wait until every node has everything
  placet rollout prepare ro-2 --start         The same, then let all nodes change
  placet rollout prepare ro-2 --within 600    Say who is not ready after ten minutes

Exit code 1: not every node is ready, or somebody objects; the roll-out stays paused.")]
pub(crate) struct Prepare {
    /// The roll-out.
    pub(crate) name: String,
    /// Let the nodes change once all are ready.
    #[arg(long)]
    pub(crate) start: bool,
    /// Seconds to wait for the nodes [default: as long as it takes].
    #[arg(long, value_name = "SECONDS")]
    pub(crate) within: Option<u32>,
}

#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  placet rollout pause ro-2
  placet rollout resume ro-2

Exit code 1: the roll-out is over.")]
pub(crate) struct Pause {
    /// The roll-out.
    pub(crate) name: String,
}

#[derive(Debug, Args)]
#[command(
    group(clap::ArgGroup::new("kind").required(true).args(["skip", "force", "abort"])),
    after_help = "\
Examples:
  placet rollout decide ro-2 --skip --reason 'core-1 has sessions, tonight'
  placet rollout decide ro-2 --force --node core-1 --reason 'announced to users'
  placet rollout decide ro-2 --abort --reason 'wrong version'

Exit code 1: the decision was not taken; somebody else was first, or no hold is open."
)]
pub(crate) struct Decide {
    /// The roll-out.
    pub(crate) name: String,
    /// Update the nodes that accepted; leave the others as they are.
    #[arg(long)]
    pub(crate) skip: bool,
    /// Update all the same. The processes are still told, and may save their state.
    #[arg(long)]
    pub(crate) force: bool,
    /// Give the change up.
    #[arg(long)]
    pub(crate) abort: bool,
    /// With --force: force only this node, skip other objectors; may be given several times.
    #[arg(long, requires = "force", value_name = "NODE")]
    pub(crate) node: Vec<String>,
    /// Why, for the record.
    #[arg(long, value_name = "TEXT")]
    pub(crate) reason: String,
    /// The hold that is answered [default: the one that is open].
    #[arg(long, default_value_t = 0, hide_default_value = true, value_name = "N")]
    pub(crate) hold: u32,
}

#[derive(Debug, Subcommand)]
pub(crate) enum NodeCommand {
    /// Make a join token and print the line that joins the node.
    Token(Token),
    /// List nodes: what they run and are to run, their last verdicts, and what holds them.
    List,
    /// Show what a node answered when it was asked last, process by process.
    Verdicts {
        /// The node.
        name: String,
    },
    /// Store what a node runs in test mode, so that it stays; no process is touched.
    #[command(after_help = "Example:\n  placet node commit core-1 --reason 'ran well for a day'")]
    Commit(NodeOrder),
    /// Have a node go back to what it ran before; what it leaves is not tried again by itself.
    #[command(after_help = "\
Example:
  placet node regress core-1 --reason 'sessions are lost'

The node's processes are told, and not asked: whoever orders this has decided.")]
    Regress(NodeOrder),
    /// Have what failed on a node tried there again.
    #[command(after_help = "Example:\n  placet node retry core-1 --reason 'the disk was replaced'")]
    Retry(NodeOrder),
    /// Speak with the vote service of a process by hand, on the node itself.
    Ask(Ask),
    /// Show what a node runs, its processes and its last verdict.
    Show {
        /// The node.
        name: String,
    },
}

#[derive(Debug, Args)]
pub(crate) struct NodeOrder {
    /// The node.
    pub(crate) name: String,
    /// Why, for those who look at the node later.
    #[arg(long, default_value = "", value_name = "TEXT")]
    pub(crate) reason: String,
}

#[derive(Debug, Args)]
#[command(
    after_help = "Example:\n  placet node token core-1 --valid 600\n  placet node token edge-7 --every-boot"
)]
pub(crate) struct Token {
    /// The node that may join with it.
    pub(crate) node: String,
    /// Seconds for which it can be used; it works once [default: 3600, and a year with
    /// --every-boot].
    #[arg(
        long,
        default_value_t = 0,
        hide_default_value = true,
        value_name = "SECONDS"
    )]
    pub(crate) valid: u32,
    /// A node of this name exists and is replaced.
    #[arg(long)]
    pub(crate) replace: bool,
    /// It works whenever the node starts: for a node that stores nothing. Whoever has it can be that
    /// node, until another one is made for it.
    #[arg(long, conflicts_with = "replace")]
    pub(crate) every_boot: bool,
}

#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  placet node ask                                    The processes that have a vote socket
  placet node ask chat                               What can be called, in words
  placet node ask chat GetInfo
  placet node ask chat GetUsers '{\"module\": \"usr/lib/libz.so.1\"}'
  placet node ask \"$PLACET_SOCKET\" --watch           Take part, from a process of the service

With --watch every event is a line: what happens, the change, and words about it. Lines of standard
input are calls: accept CHANGE, veto CHANGE MESSAGE, defer CHANGE UNTIL MESSAGE, ready CHANGE,
done CHANGE, default CHANGE, or a method and its parameters.")]
pub(crate) struct Ask {
    /// The process, or the path of its socket [default: list them].
    pub(crate) process: Option<String>,
    /// What to call; methods of other interfaces by their full name [default:
    /// `GetInterfaceDescription`].
    pub(crate) method: Option<String>,
    /// The parameters, in JSON.
    #[arg(value_name = "JSON")]
    pub(crate) parameters: Option<String>,
    /// Register, print events, and read calls from standard input.
    #[arg(long, requires = "process", conflicts_with = "method")]
    pub(crate) watch: bool,
    /// Folder of the node daemon's sockets, as placetd was started with [default: those of all
    /// nodes of this machine].
    #[arg(long, value_name = "FOLDER")]
    pub(crate) run: Option<PathBuf>,
}

#[derive(Debug, Subcommand)]
pub(crate) enum PackageCommand {
    /// Build a package from its `package.yaml` into an OCI layout.
    Build(package::build::Arguments),
    /// Print the JSON Schema of `package.yaml`, for editors.
    #[command(after_help = "Example:\n  placet package schema > package.schema.json")]
    Schema,
    /// Show what a package holds and needs.
    Inspect(Inspect),
    /// Make and show keys that packages are signed with.
    #[command(subcommand)]
    Key(package::key::KeyCommand),
    /// Sign a package, and what is known of it.
    Sign(package::sign::Sign),
    /// Say whether a key has signed a package.
    Verify(package::verify::Verify),
    /// List the documents that refer to a package.
    Attached(package::attached::About),
    /// Print the bill of materials of a package (`CycloneDX`).
    Sbom(package::attached::About),
    /// Print how a package was made (SLSA provenance).
    Provenance(package::attached::About),
    /// Send a package to a registry; what is there already does not travel.
    Push(package::push::Push),
    /// Fetch a package from a registry into an OCI layout; an interrupted one goes on where it was.
    Pull(package::pull::Pull),
    /// Copy a package or a composite between layouts and registries, with its signatures.
    Copy(package::copy::Copy),
    /// One artifact with packages, boot images and declarations.
    #[command(subcommand)]
    Composite(package::composite::CompositeCommand),
    /// List the packages of a layout, a repository or a registry.
    List(package::list::List),
    /// List the tags of a repository.
    Tags(package::tags::Tags),
    /// Remove a package; what no other package holds goes with it.
    Remove(package::remove::Remove),
    /// Free what interrupted transfers, builds and removals have left in a layout.
    Prune(package::prune::Prune),
    /// Show which libraries files use, who uses them, and what the loader would miss.
    Deps(package::deps::Deps),
    /// Print the API that a library offers, as an API file.
    Api(crate::package::api::Api),
    /// Say what differs between two packages, and which processes that touches.
    Diff(package::diff::Arguments),
    /// Say which modules can only change together, and what would part them.
    Entangled(package::entangled::Arguments),
    /// Make an update with the same modules, and signatures kept or random, to try out its effect.
    Shade(package::shade::Arguments),
    /// Make an update with other files for some modules.
    Repack(package::repack::Arguments),
    /// Say by which signature a change of files is found, or why two files differ in it.
    Signature(package::signature::Arguments),
    /// Make a library without code to link against, from a library or an API file.
    Stub(package::stub::Arguments),
    /// Make a package of a .deb, an .rpm or an OCI image.
    Import(package::import::Import),
}

/// What a registry wants to see.
#[derive(Debug, Clone, Default, Args)]
pub(crate) struct Login {
    /// Name at the registry [default: what Docker's or Podman's files have for it].
    #[arg(long, env = "PLACET_REGISTRY_USERNAME", requires = "password_file")]
    pub(crate) username: Option<String>,
    /// File with the password.
    #[arg(long, value_name = "PATH", requires = "username")]
    pub(crate) password_file: Option<PathBuf>,
    /// Certificate authorities that the registry is trusted by, PEM [default: the machine's].
    #[arg(long, value_name = "PATH")]
    pub(crate) ca_file: Option<PathBuf>,
}

#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  placet package inspect oci-layout:packages/chat:1.0.0
  placet package inspect oci://registry.example.org/fleet/chat:1.0.0")]
pub(crate) struct Inspect {
    /// The package: `oci-layout:DIR:TAG` or `oci://HOST/REPOSITORY:TAG`, or `@sha256:…` in the
    /// place of `:TAG`.
    pub(crate) reference: String,
    #[command(flatten)]
    pub(crate) login: Login,
}
