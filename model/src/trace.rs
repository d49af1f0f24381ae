//! What links the work of several programs: the `traceparent` of W3C Trace Context.

use std::fmt;
use std::str::FromStr;

/// A trace, and the span in it that whatever follows belongs to.
///
/// ```
/// # use placet_model::TraceParent;
/// let text = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
/// let parent: TraceParent = text.parse().unwrap();
/// assert_eq!(parent.trace_id(), "4bf92f3577b34da6a3ce929d0e0e4736");
/// assert_eq!(parent.to_string(), text);
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct TraceParent {
    trace: u128,
    span: u64,
}

/// A text is no `traceparent` that is understood here.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error(
    "it is no `traceparent` of W3C Trace Context: `00-`, 32 hexadecimal digits, `-`, 16, `-`, 2, neither of the first two zero"
)]
pub struct TraceParentError;

impl TraceParent {
    /// Of a trace and a span; none where one of them is zero, which stands for none.
    pub fn new(trace: u128, span: u64) -> Option<Self> {
        (trace != 0 && span != 0).then_some(Self { trace, span })
    }

    /// The trace.
    pub fn trace(self) -> u128 {
        self.trace
    }

    /// The span.
    pub fn span(self) -> u64 {
        self.span
    }

    /// The trace as logs and traces show it.
    pub fn trace_id(self) -> String {
        format!("{:032x}", self.trace)
    }
}

impl fmt::Display for TraceParent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "00-{:032x}-{:016x}-01", self.trace, self.span)
    }
}

impl FromStr for TraceParent {
    type Err = TraceParentError;

    fn from_str(text: &str) -> Result<Self, TraceParentError> {
        let is_digit = |byte: u8| matches!(byte, b'0'..=b'9' | b'a'..=b'f');
        let mut parts = text.split('-');
        let mut next = |length: usize| {
            let part = parts.next().filter(|part| part.len() == length);
            part.filter(|part| part.bytes().all(is_digit))
                .ok_or(TraceParentError)
        };
        let (version, trace, span, _flags) = (next(2)?, next(32)?, next(16)?, next(2)?);
        // Later versions may carry more, after the same beginning; 255 is none.
        if version == "ff" || (version == "00" && parts.next().is_some()) {
            return Err(TraceParentError);
        }
        let trace = u128::from_str_radix(trace, 16).map_err(|_| TraceParentError)?;
        let span = u64::from_str_radix(span, 16).map_err(|_| TraceParentError)?;
        Self::new(trace, span).ok_or(TraceParentError)
    }
}

#[cfg(test)]
mod tests {
    use super::TraceParent;

    #[test]
    fn what_is_no_traceparent_is_refused() {
        let good = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
        assert!(good.parse::<TraceParent>().is_ok());
        for bad in [
            "",
            "00",
            &good[..54],
            &good.to_uppercase(),
            &format!("{good}-more"),
            &format!("ff{}", &good[2..]),
            &good.replace("4bf9", "4bg9"),
            &good.replace("4bf9", "+bf9"),
            "00-00000000000000000000000000000000-00f067aa0ba902b7-01",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-0000000000000000-01",
        ] {
            assert!(bad.parse::<TraceParent>().is_err(), "{bad}");
        }
        let later = format!("01{}-more", &good[2..]);
        assert_eq!(later.parse::<TraceParent>().unwrap().to_string(), good);
    }
}
