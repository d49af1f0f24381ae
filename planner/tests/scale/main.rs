//! What planning costs in time and memory, and that it grows with what changed.
//!
//! `PLACET_FULL=1 cargo test --release -p placet-planner --test scale` keeps the figures.

#[cfg(test)]
mod figures;
#[cfg(test)]
mod fleet;
#[cfg(test)]
#[path = "../../../tests/src/sample.rs"]
#[expect(
    dead_code,
    unreachable_pub,
    clippy::disallowed_methods,
    reason = "of what tests share, this needs where figures are kept"
)]
mod sample;
