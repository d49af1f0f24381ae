//! How a controller is set up.

use std::net::SocketAddr;
use std::num::NonZeroU64;
use std::path::PathBuf;

use jiff::SignedDuration;
use url::Url;

/// How many roll-outs are kept where nobody says otherwise.
pub const ROLLOUTS_KEPT: NonZeroU64 = NonZeroU64::new(100).expect("more than none");

/// How a controller is set up.
#[derive(Debug, Clone)]
pub struct Options {
    /// Folder for the store, the authority, clones of repositories and the admin socket.
    pub state: PathBuf,
    /// Where nodes reach the controller. Port 0 lets the system choose; the addresses in use are
    /// written to the file `listen` in the state folder.
    pub listen: Vec<SocketAddr>,
    /// Where git hosts say, over HTTP, that something was pushed; nowhere where left out.
    pub receiver_listen: Option<SocketAddr>,
    /// Where metrics and health are told over HTTP; nowhere where left out.
    pub metrics_listen: Option<SocketAddr>,
    /// The collector that gets traces, by OTLP over HTTP; none where left out.
    pub otlp_endpoint: Option<Url>,
    /// Names and addresses under which nodes reach the controller, beside those that it listens on;
    /// they stand in its certificate.
    pub names: Vec<String>,
    /// Folder that relative package references start from; the state folder where none is given.
    pub packages: Option<PathBuf>,
    /// How many roll-outs are kept, with their history.
    pub rollouts_kept: NonZeroU64,
    /// How long a node's certificate is valid.
    pub certificate_lifetime: SignedDuration,
    /// A repository to follow from the start, as if a `GitSource` of this kind had been applied.
    pub source: Option<InitialSource>,
}

/// A repository to follow from the start: a `GitSource` named `fleet`.
#[derive(Debug, Clone)]
pub struct InitialSource {
    /// Its URL or path.
    pub url: String,
    /// The branch; `main` where left out.
    pub branch: Option<String>,
    /// The folder inside the repository that holds the declarations.
    pub path: Option<String>,
}

impl Options {
    /// A controller with its state in `state`, reached on this machine at a port that the system
    /// chooses.
    pub fn new(state: PathBuf) -> Self {
        Self {
            state,
            listen: vec![SocketAddr::from(([127, 0, 0, 1], 0))],
            receiver_listen: None,
            metrics_listen: None,
            otlp_endpoint: None,
            names: Vec::new(),
            packages: None,
            rollouts_kept: ROLLOUTS_KEPT,
            certificate_lifetime: SignedDuration::from_hours(24),
            source: None,
        }
    }
}
