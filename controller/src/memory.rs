//! Memory that the C library keeps for threads.

/// Has all threads share a few places that memory comes from. Each has one of its own otherwise, and
/// keeps what was freed there; with ten thousand sessions on a few cores, that is more than half.
#[cfg(target_env = "gnu")]
pub(crate) fn share() {
    const PLACES: nix::libc::c_int = 2;
    #[expect(
        unsafe_code,
        reason = "a function of the C library that takes two numbers"
    )]
    // SAFETY: it may be called at any time, and refuses what it does not know.
    let is_set = unsafe { nix::libc::mallopt(nix::libc::M_ARENA_MAX, PLACES) };
    if is_set == 0 {
        tracing::debug!("the C library takes no limit for its places of memory");
    }
}

/// Other C libraries have one place for all.
#[cfg(not(target_env = "gnu"))]
pub(crate) fn share() {}
