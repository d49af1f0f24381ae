//! Waiting for what is done asynchronously, on threads that may block.

use std::io;

use tokio::runtime::{Builder, Handle, Runtime};

/// The runtime that this thread belongs to, or one of its own.
#[derive(Debug)]
pub(in crate::git) enum Runner {
    Around(Handle),
    Own(Runtime),
}

impl Runner {
    pub(in crate::git) fn new() -> io::Result<Self> {
        match Handle::try_current() {
            Ok(handle) => Ok(Self::Around(handle)),
            Err(_) => Ok(Self::Own(
                Builder::new_current_thread().enable_all().build()?,
            )),
        }
    }

    pub(in crate::git) fn block_on<T>(&self, future: impl Future<Output = T>) -> T {
        match self {
            Self::Around(handle) => handle.block_on(future),
            Self::Own(runtime) => runtime.block_on(future),
        }
    }
}
