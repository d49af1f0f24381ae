//! Which protocol numbers each side of a session speaks.
//!
//! The number grows when something changes that the other side cannot be without: what it does not
//! know it would misread. Whatever may be left out, or is refused where it is not known, needs no
//! new number. Nodes and controllers are updated one after the other, so a version goes on speaking
//! the number before its own.

use std::fmt;

use placet_model::{NodeName, visible};

use crate::wire::Protocol;

/// What this version speaks.
pub const SPOKEN: Spoken = Spoken { least: 1, most: 1 };

/// What versions speak that say nothing of it.
const UNSAID: Spoken = Spoken { least: 1, most: 1 };

/// More of a version is not told.
const VERSION_MOST: usize = 40;

/// A range of protocol numbers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Spoken {
    /// The lowest number.
    pub least: u32,
    /// The highest number.
    pub most: u32,
}

impl Spoken {
    /// What the other side says that it speaks.
    pub fn of(said: Option<&Protocol>) -> Self {
        said.map_or(UNSAID, |said| Self {
            least: said.least,
            most: said.most,
        })
    }

    /// The number that both speak, if there is one: the highest.
    pub fn common(self, other: Self) -> Option<u32> {
        let (least, most) = (self.least.max(other.least), self.most.min(other.most));
        (least <= most).then_some(most)
    }
}

impl From<Spoken> for Protocol {
    fn from(spoken: Spoken) -> Self {
        Self {
            least: spoken.least,
            most: spoken.most,
        }
    }
}

impl fmt::Display for Spoken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { least, most } = self;
        if least == most {
            write!(f, "{least}")
        } else {
            write!(f, "{least} to {most}")
        }
    }
}

/// One side of a session: its version, and what it speaks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Side {
    version: String,
    spoken: Spoken,
}

impl Side {
    /// A program of this version.
    pub fn own() -> Self {
        Self {
            version: env!("CARGO_PKG_VERSION").to_owned(),
            spoken: SPOKEN,
        }
    }

    /// The other side, as it says itself.
    pub fn said(version: &str, spoken: Option<&Protocol>) -> Self {
        let version = visible(version).to_string();
        Self {
            version: version.chars().take(VERSION_MOST).collect(),
            spoken: Spoken::of(spoken),
        }
    }
}

impl fmt::Display for Side {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { version, spoken } = self;
        let known = !version.is_empty();
        let version = if known { version } else { "an earlier version" };
        write!(f, "({version}) speaks protocol {spoken}")
    }
}

/// A node and a controller that have no protocol number in common.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Apart {
    name: NodeName,
    node: Side,
    controller: Side,
}

impl Apart {
    /// How they are apart, if they are.
    pub fn find(name: &NodeName, node: Side, controller: Side) -> Option<Self> {
        let common = node.spoken.common(controller.spoken);
        common.is_none().then(|| Self {
            name: name.clone(),
            node,
            controller,
        })
    }
}

impl fmt::Display for Apart {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            name,
            node,
            controller,
        } = self;
        write!(
            f,
            "placetd of node {name} {node}, the controller {controller}: "
        )?;
        if node.spoken.most < controller.spoken.least {
            write!(f, "update placetd on {name}")?;
        } else {
            write!(
                f,
                "update the controller, or go back to an earlier placetd on {name}"
            )?;
        }
        f.write_str("; until then the node goes on with what it runs")
    }
}

impl std::error::Error for Apart {}

#[cfg(test)]
mod tests {
    use super::*;

    fn side(version: &str, least: u32, most: u32) -> Side {
        Side::said(version, Some(&Protocol { least, most }))
    }

    #[test]
    fn the_highest_number_that_both_speak_is_common() {
        let range = |least, most| Spoken { least, most };
        for (one, other, expected) in [
            (range(1, 1), range(1, 1), Some(1)),
            (range(1, 3), range(2, 5), Some(3)),
            (range(2, 5), range(1, 3), Some(3)),
            (range(1, 1), range(2, 3), None),
            (range(4, 4), range(2, 3), None),
            (range(3, 1), range(1, 3), None),
            (range(0, 0), range(1, 1), None),
            (range(0, u32::MAX), range(1, 1), Some(1)),
        ] {
            assert_eq!(one.common(other), expected, "{one:?} {other:?}");
        }
        assert_eq!(Spoken::of(None), range(1, 1));
    }

    #[test]
    fn who_has_to_be_updated_is_said() {
        let name: NodeName = "core-1".parse().unwrap();
        let apart =
            |node, controller| Apart::find(&name, node, controller).map(|apart| apart.to_string());
        assert_eq!(apart(side("0.9", 2, 3), side("0.8", 1, 2)), None);
        let expected = "placetd of node core-1 (0.9) speaks protocol 3 to 4, the controller (an earlier version) speaks protocol 1: update the controller, or go back to an earlier placetd on core-1; until then the node goes on with what it runs";
        assert_eq!(
            apart(side("0.9", 3, 4), Side::said("", None)).unwrap(),
            expected
        );
        let expected = "placetd of node core-1 (0.1) speaks protocol 1, the controller (0.9) speaks protocol 3 to 4: update placetd on core-1; until then the node goes on with what it runs";
        assert_eq!(
            apart(Side::said("0.1", None), side("0.9", 3, 4)).unwrap(),
            expected
        );
        let long = apart(side(&"9\u{1b}".repeat(100), 3, 4), Side::own()).unwrap();
        assert!(long.len() < 300 && !long.contains('\u{1b}'), "{long}");
    }
}
