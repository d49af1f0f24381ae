//! Where the symbols of a stub come to lie.

use std::collections::BTreeMap;

use placet_package::SymbolKind;

use super::{Place, Stub, StubError, Symbol};

/// A part of memory that takes up no bytes of the file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Area {
    /// Machine code.
    Code,
    /// Data.
    Data,
    /// Data of which every thread has its own.
    ThreadLocal,
}

impl Area {
    /// `None` for a symbol that is a number.
    pub(super) fn of(symbol: &Symbol) -> Option<Self> {
        match (symbol.place, symbol.kind) {
            (Place::Absolute(_), _) => None,
            (_, SymbolKind::ThreadLocal) => Some(Self::ThreadLocal),
            (_, SymbolKind::Object) => Some(Self::Data),
            _ => Some(Self::Code),
        }
    }
}

/// How large an area is, and what it is aligned to.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Extent {
    pub(super) size: u64,
    pub(super) align: u64,
}

/// The areas of a stub, and where each symbol lies in its own.
#[derive(Debug, Default)]
pub(super) struct Layout {
    areas: BTreeMap<Area, Extent>,
    /// By the place of the symbol: from the beginning of its area.
    pub(super) offsets: Vec<u64>,
}

impl Layout {
    pub(super) fn of(stub: &Stub) -> Result<Self, StubError> {
        let mut layout = Self::default();
        let shared = shared(stub);
        let mut placed = BTreeMap::new();
        for (index, symbol) in stub.symbols.iter().enumerate() {
            let offset = match (Area::of(symbol), symbol.place) {
                (None, _) => 0,
                (Some(area), Place::With(place)) => {
                    let extent = shared[&(area, place)];
                    let offset = placed.get(&(area, place)).copied();
                    let offset = offset.unwrap_or_else(|| layout.add(area, extent));
                    placed.insert((area, place), offset);
                    offset
                }
                (Some(area), _) => layout.add(area, extent(symbol)),
            };
            layout.offsets.push(offset);
            let size = layout
                .areas
                .values()
                .try_fold(0, |sum: u64, area| sum.checked_add(area.size));
            if size.is_none_or(|size| size > stub.target.memory_max()) || symbol.size > MAX {
                return Err(StubError::Size {
                    size: size.unwrap_or(u64::MAX),
                    symbol: stub.symbols[index].name.clone(),
                });
            }
        }
        Ok(layout)
    }

    /// The extent of an area, if there is anything in it.
    pub(super) fn area(&self, area: Area) -> Option<Extent> {
        self.areas.get(&area).copied()
    }

    /// Room for one more; where it begins.
    fn add(&mut self, area: Area, new: Extent) -> u64 {
        let extent = self.areas.entry(area).or_default();
        let offset = extent.size.next_multiple_of(new.align);
        // One byte at least, so that different things have different addresses.
        extent.size = offset.saturating_add(new.size.clamp(1, MAX));
        extent.align = extent.align.max(new.align);
        offset
    }
}

/// More than one symbol may take up on any processor; keeps sums from overflowing.
const MAX: u64 = 1 << 48;

/// The room for all symbols that share an address, by area and address.
fn shared(stub: &Stub) -> BTreeMap<(Area, u64), Extent> {
    let mut shared: BTreeMap<_, Extent> = BTreeMap::new();
    for symbol in &stub.symbols {
        if let (Some(area), Place::With(place)) = (Area::of(symbol), symbol.place) {
            let all = shared.entry((area, place)).or_default();
            let one = extent(symbol);
            all.size = all.size.max(one.size);
            all.align = all.align.max(one.align);
        }
    }
    shared
}

fn extent(symbol: &Symbol) -> Extent {
    Extent {
        size: symbol.size,
        align: symbol.align,
    }
}
