//! What the live nodes say to a change, beside what was worked out (M1).

use placet_model::{Digest, DryRunReport, NodeName, visible};
use serde::Serialize;

use crate::effect::{Effect, Outcome};

/// What came of asking the live nodes.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase")]
pub struct Live {
    /// What is missing, if nobody could be asked.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub missing: Option<String>,
    /// All of it in one line.
    pub summary: String,
    /// What the controller says against the declarations.
    pub problems: Vec<String>,
    /// One line for whatever is not an accept, objections first.
    pub lines: Vec<String>,
    /// Every node that would change.
    pub nodes: Vec<LiveNode>,
    /// True if somebody objects, or the roll-out could not be said to go on.
    pub objects: bool,
}

/// What one live node says.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase")]
pub struct LiveNode {
    /// The node.
    pub node: NodeName,
    /// Its answer in a word or two.
    pub answer: String,
    /// The node change digest; none where it is not known what the node runs.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub change_digest: Option<Digest>,
}

impl From<&DryRunReport> for Live {
    fn from(report: &DryRunReport) -> Self {
        let nodes = report.nodes.iter().map(|node| LiveNode {
            node: node.node.clone(),
            answer: node.answer.to_string(),
            change_digest: node.change_digest,
        });
        Self {
            missing: None,
            summary: report.summary(),
            problems: shown(&report.problems),
            lines: report.lines(),
            nodes: nodes.collect(),
            objects: !report.is_clean(),
        }
    }
}

impl Live {
    /// Nobody could be asked.
    pub fn missing(why: &str) -> Self {
        Self {
            missing: Some(visible(why).to_string()),
            ..Self::default()
        }
    }

    /// Lines that an API server passed on; `is_clean` if none of them objects.
    pub fn passed_on(lines: &[String], problems: &[String], is_clean: bool) -> Self {
        let summary = if is_clean {
            "nobody objects"
        } else {
            "somebody objects"
        };
        Self {
            summary: summary.to_owned(),
            problems: shown(problems),
            lines: shown(lines),
            objects: !is_clean || !problems.is_empty(),
            ..Self::default()
        }
    }

    /// The controller refuses the declarations.
    pub fn refused(problems: &[String]) -> Self {
        Self {
            summary: "the controller refuses the declarations".to_owned(),
            problems: shown(problems),
            objects: true,
            ..Self::default()
        }
    }
}

fn shown(lines: &[String]) -> Vec<String> {
    lines.iter().map(|it| visible(it).to_string()).collect()
}

impl Effect {
    /// Adds what the live nodes say. An objection stands whoever brings it; that nobody could be
    /// asked leaves open what they would say.
    pub fn hear(&mut self, live: Live) {
        let others: Vec<_> = live.nodes.iter().filter(|it| self.differs(it)).collect();
        let others: Vec<_> = others.into_iter().map(|it| it.node.as_str()).collect();
        if !others.is_empty() {
            self.notes.push(format!(
                "the controller would propose another change to {}, as other software runs there than {} declares",
                others.join(", "),
                self.from
            ));
        }
        self.outcome = match self.outcome {
            Outcome::Objection => Outcome::Objection,
            _ if live.objects => Outcome::Objection,
            _ if live.missing.is_some() => Outcome::Unknown,
            outcome => outcome,
        };
        self.live = Some(live);
    }

    /// True if a live node was asked about another change than was worked out for it.
    fn differs(&self, live: &crate::LiveNode) -> bool {
        let mut changes = self.changes.iter();
        let own = changes.find(|change| change.nodes.contains(&live.node));
        live.change_digest.is_some() && live.change_digest != own.map(|it| it.change_digest)
    }
}
