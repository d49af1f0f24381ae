//! What the controller writes.

use placet_crds::Object;
use serde_json::Value;

use super::Owner;

/// A change of what is durable.
#[derive(Debug, Clone)]
pub enum Write {
    /// An object is there like this.
    Put {
        /// The object; its status does not count.
        object: Box<Object>,
        /// Who declares it.
        owner: Owner,
    },
    /// An object is not there.
    Remove {
        /// Its kind.
        kind: &'static str,
        /// Its name.
        name: String,
    },
    /// This is known of an object.
    Status {
        /// Its kind.
        kind: &'static str,
        /// Its name.
        name: String,
        /// Its whole status.
        status: Value,
    },
    /// Something happened.
    Event {
        /// What, in one word.
        name: &'static str,
        /// The roll-out that it is about; empty for none.
        rollout: String,
        /// The details.
        data: Value,
    },
}

/// What came of writing.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Committed {
    /// What was written, where others may write to the same objects.
    pub written: Vec<Written>,
    /// What the home refuses for good.
    pub refused: Vec<Refused>,
}

/// A version of an object that is of this controller's making.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Written {
    /// The kind of the object.
    pub kind: &'static str,
    /// Its name.
    pub name: String,
    /// The version that it has now.
    pub version: u64,
    /// The version that a status was written over: nothing else has changed since. None where a
    /// declaration was written, over whatever was there.
    pub over: Option<u64>,
}

/// A write that was refused for good: repeating it is of no use.
#[derive(Debug, Clone, PartialEq)]
pub struct Refused {
    /// The kind of the object.
    pub kind: &'static str,
    /// Its name.
    pub name: String,
    /// Who wanted to write it.
    pub owner: Option<Owner>,
    /// Why it was refused.
    pub why: String,
}
