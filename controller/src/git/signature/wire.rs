//! The encoding of ssh: numbers and strings with their length before them.

/// Bytes that are still to be read.
#[derive(Debug, Clone, Copy)]
pub(super) struct Wire<'a>(&'a [u8]);

impl<'a> Wire<'a> {
    pub(super) fn new(bytes: &'a [u8]) -> Self {
        Self(bytes)
    }

    pub(super) fn take(&mut self, count: usize) -> Option<&'a [u8]> {
        let (taken, rest) = self.0.split_at_checked(count)?;
        self.0 = rest;
        Some(taken)
    }

    pub(super) fn number(&mut self) -> Option<u32> {
        self.take(4)?.try_into().ok().map(u32::from_be_bytes)
    }

    pub(super) fn string(&mut self) -> Option<&'a [u8]> {
        let length = self.number()?;
        self.take(usize::try_from(length).ok()?)
    }

    pub(super) fn text(&mut self) -> Option<&'a str> {
        std::str::from_utf8(self.string()?).ok()
    }

    /// A number that is not negative, without leading zeros.
    pub(super) fn integer(&mut self) -> Option<&'a [u8]> {
        let bytes = self.string()?;
        match bytes {
            [0, rest @ ..] if rest.first().is_some_and(|it| it & 0x80 != 0) => Some(rest),
            [first, ..] if *first != 0 && first & 0x80 == 0 => Some(bytes),
            _ => None,
        }
    }

    /// That nothing is left.
    pub(super) fn end(self) -> Option<()> {
        self.0.is_empty().then_some(())
    }
}

/// A string as it goes into what is signed.
pub(super) fn put(bytes: &mut Vec<u8>, string: &[u8]) {
    let length = u32::try_from(string.len()).unwrap_or(u32::MAX);
    bytes.extend_from_slice(&length.to_be_bytes());
    bytes.extend_from_slice(string);
}

#[cfg(test)]
mod tests {
    use super::Wire;

    #[test]
    fn lengths_that_lie_give_nothing() {
        assert_eq!(Wire::new(&[0, 0, 0, 2, 1]).string(), None);
        assert_eq!(Wire::new(&[255, 255, 255, 255, 1]).string(), None);
        assert_eq!(Wire::new(&[0, 0, 0]).number(), None);
        assert_eq!(Wire::new(&[0, 0, 0, 1, 7]).string(), Some(&[7][..]));
    }

    #[test]
    fn integers_have_one_form() {
        let integer = |bytes: &[u8]| {
            let mut wire = Vec::new();
            super::put(&mut wire, bytes);
            Wire::new(&wire).integer().map(<[u8]>::to_vec)
        };
        assert_eq!(integer(&[0, 0x80]), Some(vec![0x80]));
        assert_eq!(integer(&[0x7f]), Some(vec![0x7f]));
        assert_eq!(integer(&[0x80]), None, "negative");
        assert_eq!(integer(&[0, 1]), None, "a zero too many");
        assert_eq!(integer(&[]), None);
        assert_eq!(integer(&[0]), None);
    }
}
