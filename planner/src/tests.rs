//! The policy, sentence by sentence, and properties over random fleets.

#![expect(clippy::needless_raw_string_hashes, reason = "expect-test writes them")]

mod again;
mod boot;
mod build;
mod change;
mod display;
mod random;
mod rollout;
mod rollout_trouble;
mod strategy;
mod symbols;
mod symbols_mixed;
mod symbols_random;
mod target;
mod target_require;
mod test_mode;
mod together;
mod uses;
mod world;
