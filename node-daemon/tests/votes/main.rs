//! The vote service over real sockets: against the Rust client, the C header, and people who speak
//! to it by hand or mean no good.

#[cfg(test)]
mod abuse;
#[cfg(test)]
mod by_hand;
#[cfg(test)]
mod dry_run;
#[cfg(test)]
mod examples;
#[cfg(test)]
mod header;
#[cfg(test)]
mod sdk;
#[cfg(test)]
mod world;
