//! How often, and how often the same.

use std::collections::{BTreeSet, VecDeque};

use tokio::time::Instant;

/// So many in a second on average, and a few more at once.
#[derive(Debug)]
pub(super) struct Bucket {
    per_second: u32,
    burst: u32,
    left: f64,
    since: Option<Instant>,
}

impl Bucket {
    pub(super) fn new(per_second: u32, burst: u32) -> Self {
        Self {
            per_second,
            burst,
            left: f64::from(burst),
            since: None,
        }
    }

    /// Takes one, if there is one.
    pub(super) fn take(&mut self, now: Instant) -> bool {
        let since = self.since.replace(now).unwrap_or(now);
        let grown = now.saturating_duration_since(since).as_secs_f64() * f64::from(self.per_second);
        self.left = (self.left + grown).min(f64::from(self.burst));
        let is_there = self.left >= 1.0;
        if is_there {
            self.left -= 1.0;
        }
        is_there
    }
}

/// Deliveries that were taken, the newest of them.
#[derive(Debug)]
pub(super) struct Seen {
    most: usize,
    known: BTreeSet<(String, [u8; 32])>,
    order: VecDeque<(String, [u8; 32])>,
}

impl Seen {
    pub(super) fn new(most: usize) -> Self {
        Self {
            most,
            known: BTreeSet::new(),
            order: VecDeque::new(),
        }
    }

    /// Notes a delivery; false if it was noted before.
    pub(super) fn is_new(&mut self, source: &str, delivery: [u8; 32]) -> bool {
        let key = (source.to_owned(), delivery);
        if !self.known.insert(key.clone()) {
            return false;
        }
        self.order.push_back(key);
        if self.order.len() > self.most
            && let Some(oldest) = self.order.pop_front()
        {
            self.known.remove(&oldest);
        }
        true
    }

    /// What came to nothing may come once more.
    pub(super) fn forget(&mut self, source: &str, delivery: [u8; 32]) {
        let key = (source.to_owned(), delivery);
        self.known.remove(&key);
        self.order.retain(|other| *other != key);
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use tokio::time::Instant;

    use super::{Bucket, Seen};

    #[test]
    fn a_burst_is_let_through_and_then_the_average() {
        let mut bucket = Bucket::new(2, 3);
        let begin = Instant::now();
        let taken = |bucket: &mut Bucket, after| {
            let now = begin + Duration::from_millis(after);
            std::iter::repeat_with(|| bucket.take(now))
                .take_while(|taken| *taken)
                .count()
        };
        assert_eq!(taken(&mut bucket, 0), 3);
        assert_eq!(taken(&mut bucket, 400), 0);
        assert_eq!(taken(&mut bucket, 500), 1);
        assert_eq!(
            taken(&mut bucket, 60_000),
            3,
            "no more than a burst is saved up"
        );
    }

    #[test]
    fn the_oldest_deliveries_are_forgotten_first() {
        let mut seen = Seen::new(2);
        assert!(seen.is_new("a", [1; 32]) && seen.is_new("b", [1; 32]));
        assert!(!seen.is_new("a", [1; 32]));
        assert!(seen.is_new("a", [2; 32]));
        assert!(seen.is_new("a", [1; 32]), "it was the oldest");
        seen.forget("a", [1; 32]);
        assert!(seen.is_new("a", [1; 32]));
        assert_eq!((seen.known.len(), seen.order.len()), (2, 2));
    }
}
