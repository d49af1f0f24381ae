//! Why nodes have to wait, in words that agree with how many they are.

use std::fmt;

use placet_model::{few, visible};

use crate::plan::WaitingOn;

/// Names of a group that are told.
const FEW: usize = 3;

impl fmt::Display for WaitingOn {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.said_of(1).fmt(f)
    }
}

impl WaitingOn {
    /// The sentence that follows the name of one node, or the names of several: `is suspended`, or
    /// `are suspended`.
    pub fn said_of(&self, nodes: usize) -> impl fmt::Display {
        Said {
            why: self,
            words: if nodes == 1 { &OF_ONE } else { &OF_SEVERAL },
        }
    }
}

struct Said<'a> {
    why: &'a WaitingOn,
    words: &'static Words,
}

/// The words that differ between what is said of one node and of several.
struct Words {
    is: &'static str,
    has: &'static str,
    runs: &'static str,
    waits: &'static str,
    wants: &'static str,
    agrees: &'static str,
    it: &'static str,
    its: &'static str,
    itself: &'static str,
}

const OF_ONE: Words = Words {
    is: "is",
    has: "has",
    runs: "runs",
    waits: "waits",
    wants: "wants",
    agrees: "agrees",
    it: "it",
    its: "its",
    itself: "itself",
};

const OF_SEVERAL: Words = Words {
    is: "are",
    has: "have",
    runs: "run",
    waits: "wait",
    wants: "want",
    agrees: "agree",
    it: "they",
    its: "their",
    itself: "themselves",
};

impl fmt::Display for Said<'_> {
    #[expect(
        clippy::too_many_lines,
        reason = "a flat list of sentences, one for each reason"
    )]
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let &Words {
            is,
            has,
            runs,
            waits,
            wants,
            agrees,
            it,
            its,
            itself,
        } = self.words;
        match self.why {
            WaitingOn::Problems => write!(f, "{waits} until the problems are solved"),
            WaitingOn::FirstContact => write!(f, "{has} never joined"),
            WaitingOn::Observation => write!(f, "{has} not yet said what {it} {is} or {runs}"),
            WaitingOn::Connection => write!(f, "{has} no connection"),
            WaitingOn::OlderRollout(nodes) => {
                let nodes = few(&**nodes, FEW);
                write!(f, "{waits} until the roll-out before has ended on {nodes}")
            }
            WaitingOn::Answer => write!(f, "{is} asked"),
            WaitingOn::OtherAnswers(nodes) => {
                write!(f, "{agrees}, {waits} for {}", few(&**nodes, FEW))
            }
            WaitingOn::Decision(hold) => write!(f, "{waits} for a decision on hold {hold}"),
            WaitingOn::Deferred(until) => write!(f, "{wants} to be asked again at {until}"),
            WaitingOn::Staging => write!(f, "{is} fetching"),
            WaitingOn::OthersStaging(nodes) => {
                write!(f, "{has} fetched, {waits} for {}", few(&**nodes, FEW))
            }
            WaitingOn::Budget { unavailable } => {
                let are = if *unavailable == 1 { "is" } else { "are" };
                write!(
                    f,
                    "{waits} for {its} turn: {unavailable} of {its} class {are} changing"
                )
            }
            WaitingOn::Activating => write!(f, "{is} changing"),
            WaitingOn::Skipped => write!(f, "{is} left out by decision"),
            WaitingOn::Aborted => write!(f, "{is} left as {it} {is}: the roll-out was given up"),
            WaitingOn::NoMemory => write!(
                f,
                "{is} not to store all that {it} {is} given, and cannot have it in memory only: {its} placetd is too old, or {its} --memory is not on a tmpfs"
            ),
            WaitingOn::GivenBack => write!(
                f,
                "ran it and {has} given it back: `placet node retry` has it tried again"
            ),
            WaitingOn::Failed(why) => write!(
                f,
                "failed and {is} not tried again by {itself}: {}",
                visible(why)
            ),
            WaitingOn::Suspended => write!(f, "{is} suspended"),
            WaitingOn::Maintenance(why) => {
                write!(f, "{is} in maintenance, and left out: {}", visible(why))
            }
            WaitingOn::Facts(why) => write!(f, "{is} left as {it} {is}: {}", visible(why)),
            WaitingOn::Paused => write!(f, "{waits}: the roll-out is paused"),
            WaitingOn::Window(Some(opens)) => {
                write!(f, "{waits} for {its} window, which opens at {opens}")
            }
            WaitingOn::Window(None) => write!(f, "{waits} for a window, of which none ever opens"),
            WaitingOn::Wave { earlier, left } => {
                let earlier = visible(earlier);
                write!(f, "{waits} for {its} wave: {left} left in wave {earlier}")
            }
            WaitingOn::Verification(until) => {
                write!(f, "{waits}: the wave before is watched until {until}")
            }
            WaitingOn::Requirement(unmet) => write!(f, "cannot change by {itself}: {unmet}"),
            WaitingOn::AfterTests(unmet) => write!(f, "cannot stand the end of a test: {unmet}"),
        }
    }
}
