//! What the first bytes of an ELF file say, however few or senseless they are.

/// The first bytes of an ELF file.
#[derive(Clone, Copy)]
pub(crate) struct ElfHead<'head>(&'head [u8]);

impl<'head> ElfHead<'head> {
    /// None if the file does not begin as an ELF file does.
    pub(crate) fn new(head: &'head [u8]) -> Option<Self> {
        head.starts_with(b"\x7fELF").then_some(Self(head))
    }

    /// The number of the machine that it is for.
    pub(crate) fn machine(self) -> Option<u16> {
        self.number(18, 2)?.try_into().ok()
    }

    /// The segments of this kind (`p_type`), of which all bytes are there.
    pub(crate) fn segments(self, kind: u32) -> impl Iterator<Item = &'head [u8]> {
        let headers = self.headers().into_iter().flatten();
        headers.filter_map(move |at| self.segment(at, kind))
    }

    /// Where the program headers stand.
    fn headers(self) -> Option<impl Iterator<Item = usize>> {
        let (table, size, count) = if self.is_64() {
            (32, 54, 56)
        } else {
            (28, 42, 44)
        };
        let table = self.number(table, self.word())?;
        let (size, count) = (self.number(size, 2)?, self.number(count, 2)?);
        let header = move |index| usize::try_from(table.checked_add(index * size)?).ok();
        Some((0..count).map_while(header))
    }

    fn segment(self, at: usize, kind: u32) -> Option<&'head [u8]> {
        if self.number(at, 4)? != u64::from(kind) {
            return None;
        }
        let (offset, length) = if self.is_64() { (8, 32) } else { (4, 16) };
        let field = |field| self.number(at.checked_add(field)?, self.word());
        let offset = usize::try_from(field(offset)?).ok()?;
        let length = usize::try_from(field(length)?).ok()?;
        self.0.get(offset..offset.checked_add(length)?)
    }

    fn is_64(self) -> bool {
        self.0.get(4) == Some(&2)
    }

    /// Bytes of an address.
    fn word(self) -> usize {
        if self.is_64() { 8 } else { 4 }
    }

    fn number(self, at: usize, size: usize) -> Option<u64> {
        self.number_in(self.0, at, size)
    }

    /// The number of `size` bytes at `at` of some of the file's bytes, in its byte order.
    pub(crate) fn number_in(self, bytes: &[u8], at: usize, size: usize) -> Option<u64> {
        let bytes = bytes.get(at..at.checked_add(size)?)?;
        let is_big = self.0.get(5) == Some(&2);
        let add = |sum: u64, byte: &u8| sum << 8 | u64::from(*byte);
        Some(if is_big {
            bytes.iter().fold(0, add)
        } else {
            bytes.iter().rev().fold(0, add)
        })
    }
}
