//! Placet's controller: from a commit to running processes.
//!
//! * [`home`] keeps everything that matters, durably, before it is acted on;
//! * [`git`] brings declarations from repositories;
//! * [`catalog`] resolves the packages that declarations name.

pub mod catalog;
pub mod git;
pub mod home;
