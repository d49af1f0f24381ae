//! Which versions of one object were heard of, and up to which of them what others wrote was told.

/// Versions of one object.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Versions {
    /// The newest that was heard of: what a status is written over.
    pub(super) latest: u64,
    /// What others wrote up to here has been told. What they write later is told, even if a status
    /// was written over it before the watch brought it.
    told: u64,
}

/// What a version is that the watch brought.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Watched {
    /// No newer one was heard of.
    pub(super) is_newest: bool,
    /// Others may have had a part in it, and nobody was told of it.
    pub(super) is_untold: bool,
}

impl Versions {
    /// The object has this version, whoever wrote it; false if that or a newer one was heard of.
    pub(super) fn heard(&mut self, version: u64) -> bool {
        let is_newest = self.latest < version;
        self.latest = self.latest.max(version);
        is_newest
    }

    /// The watch brings this version.
    pub(super) fn watched(&mut self, version: u64) -> Watched {
        let is_untold = self.told < version;
        self.told = self.told.max(version);
        Watched {
            is_newest: self.heard(version),
            is_untold,
        }
    }

    /// The status was written over the version `over`, and nothing else: the object has `version`
    /// now. False if a newer one was heard of.
    pub(super) fn wrote_status(&mut self, over: Option<u64>, version: u64) -> bool {
        if over.is_some_and(|over| over <= self.told) {
            self.told = self.told.max(version);
        }
        self.heard(version)
    }
}

#[cfg(test)]
mod tests {
    use super::{Versions, Watched};

    fn watched_up_to(version: u64) -> Versions {
        let mut versions = Versions::default();
        versions.watched(version);
        versions
    }

    #[test]
    fn a_status_of_our_own_is_not_told() {
        let mut versions = watched_up_to(4);
        assert!(versions.wrote_status(Some(4), 5));
        assert!(versions.wrote_status(Some(5), 6));
        for echo in [5, 6] {
            assert!(!versions.watched(echo).is_untold);
        }
    }

    #[test]
    fn what_others_wrote_is_told_after_a_status_was_written_over_it() {
        let mut versions = watched_up_to(4);
        // The status meant for 4 is refused, since somebody wrote 5, and goes over that.
        versions.heard(5);
        versions.wrote_status(Some(versions.latest), 6);
        let expected = Watched {
            is_newest: false,
            is_untold: true,
        };
        assert_eq!(versions.watched(5), expected);
    }

    #[test]
    fn what_became_of_a_declaration_is_told() {
        let mut versions = watched_up_to(4);
        assert!(versions.heard(6));
        assert!(versions.watched(5).is_untold);
        assert!(versions.watched(6).is_untold);
        assert!(!versions.watched(6).is_untold, "once");
    }
}
