//! Why nothing can be said of a change, with the lines that are to blame.

use std::fmt;

use placet_crds::Fault;
use placet_model::Desired;
use placet_simulator::{Effect, Missing, ObstacleKind, Place};

/// What keeps a change from being judged.
#[derive(Debug)]
pub(super) struct Refused {
    /// In a few words.
    what: String,
    kind: ObstacleKind,
    /// Each reason with the places that it is about.
    reasons: Vec<(String, Vec<Place>)>,
}

impl Refused {
    /// Declarations that are not valid; the faults know their files.
    pub(super) fn declarations(revision: &str, faults: Vec<Fault>) -> Self {
        let reasons = faults.into_iter().map(|fault| {
            let message = match fault.field.as_str() {
                "" => fault.message,
                field => format!("{field}: {}", fault.message),
            };
            let place = Place {
                resource: String::new(),
                field: fault.field,
                file: Some(fault.file).filter(|file| !file.is_empty()),
                line: fault.line,
                column: fault.column,
            };
            (message, vec![place])
        });
        Self {
            what: format!("the declarations of {revision} are not valid"),
            kind: ObstacleKind::Declaration,
            reasons: reasons.collect(),
        }
    }

    /// Packages that could not be had; their places were looked up.
    pub(super) fn packages(missing: Vec<Missing>) -> Self {
        let reasons = missing.into_iter().map(|it| (it.message, it.places));
        Self {
            what: "nothing can be said".to_owned(),
            kind: ObstacleKind::Package,
            reasons: reasons.collect(),
        }
    }

    /// The same for programs that show findings beside lines.
    pub(super) fn effect(&self) -> Effect {
        let mut effect = Effect::none(&self.what, &Desired::default());
        for (message, places) in &self.reasons {
            effect.refuse(self.kind, message.clone(), places.clone());
        }
        effect
    }
}

impl fmt::Display for Refused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.what)?;
        self.reasons.iter().try_for_each(|(message, places)| {
            match places.first().and_then(Place::at) {
                Some(place) => write!(f, "\n  {place}: {message}"),
                None => write!(f, "\n  {message}"),
            }
        })
    }
}

impl std::error::Error for Refused {}
