//! Builds with real compilers and real files.

#[cfg(test)]
mod api_file;
#[cfg(test)]
mod apis;
#[cfg(test)]
mod archives;
#[cfg(test)]
mod bad_archives;
#[cfg(test)]
mod child;
#[cfg(test)]
mod code_base;
#[cfg(test)]
mod completeness;
#[cfg(test)]
mod debian;
#[cfg(test)]
mod debian_source;
#[cfg(test)]
mod entangled;
#[cfg(test)]
mod environment;
#[cfg(test)]
mod facts;
#[cfg(test)]
mod figures;
#[cfg(test)]
mod flips;
#[cfg(test)]
mod import;
#[cfg(test)]
mod loader;
#[cfg(test)]
mod memory;
#[cfg(test)]
mod missing;
#[cfg(test)]
mod patterns;
#[cfg(test)]
#[path = "../../../package/tests/real/readelf.rs"]
mod readelf;
#[cfg(test)]
mod refusals;
#[cfg(test)]
mod reproducible;
#[cfg(test)]
mod schema;
#[cfg(test)]
mod stubs;
#[cfg(test)]
mod update;
#[cfg(test)]
mod versions;
#[cfg(test)]
mod workshop;
