//! How much of the past is kept.

/// Which of the roll-outs that are over may go so that the newest `keep` of them stay. `finished`
/// holds their names, oldest first.
pub fn surplus<T>(finished: &[T], keep: usize) -> &[T] {
    &finished[..finished.len().saturating_sub(keep)]
}
