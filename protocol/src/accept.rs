//! Accepting connections without ever giving up.

use std::io;
use std::time::Duration;

/// Descriptors or memory run out: they come back when a connection ends, not at once.
const PAUSE: Duration = Duration::from_millis(100);

/// What an accept loop does when it could not accept.
#[derive(Debug, Default)]
pub(crate) struct Patience {
    /// Whether the shortage was logged; once is enough until it is over.
    told: bool,
}

impl Patience {
    /// `result` if it is a connection. A client that is gone before it was accepted is passed over;
    /// where the system has no descriptor or memory left, this waits a little.
    pub(crate) async fn take<T>(&mut self, result: io::Result<T>) -> Option<T> {
        match result {
            Ok(connection) => {
                self.told = false;
                return Some(connection);
            }
            Err(error) if is_of_the_client(&error) => {}
            Err(error) => {
                if !self.told {
                    tracing::warn!(%error, "no connection can be accepted for now");
                    self.told = true;
                }
                tokio::time::sleep(PAUSE).await;
            }
        }
        None
    }
}

fn is_of_the_client(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::ConnectionAborted
            | io::ErrorKind::ConnectionReset
            | io::ErrorKind::Interrupted
    )
}
