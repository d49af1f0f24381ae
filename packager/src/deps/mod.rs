//! Dependencies from the link (B3): which libraries ELF files use, who uses them, and what the
//! loader would not find.
//!
//! An [`Object`] is what the loader sees of a file: facts and symbols. A [`Tree`] says which object
//! stands at a path, and a [`SearchOrder`] where libraries are looked for. A [`Loader`] puts
//! together with these what would be in one process ([`Loaded`]), and what it would miss
//! ([`Missing`]), as the GNU C library's loader does. Nothing is executed, and none of these looks
//! at the machine; [`Collection`] is what reads files, folders and packages for them.
//!
//! **Invariant:** time and memory are bounded by the size of the files, whatever they claim and
//! however libraries use each other.

mod collection;
mod error;
mod graph;
mod load;
mod machine;
mod missing;
mod object;
mod open;
mod read;
mod search;
mod sources;
mod tree;
mod unresolved;

pub use collection::{Collection, Entry};
pub use error::Error;
pub use graph::Graph;
pub use load::{Loaded, LoadedObject, Loader, Target, Use};
pub use machine::Machine;
pub use missing::Missing;
pub use object::Object;
pub use search::SearchOrder;
pub use tree::{Files, Found, Tree};
pub use unresolved::Unresolved;
