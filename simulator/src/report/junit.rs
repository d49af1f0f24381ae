//! The effect as a `JUnit` report, which most hosts of continuous integration show as tests.

use std::fmt::{self, Write as _};

use placet_model::Voter;

use super::findings::{Finding, Level, findings};
use super::text::{group, heading};
use super::{at, result, summary};
use crate::effect::{Effect, GroupChange};

/// One test case for each change, which fails for the rules that object to it, and one for each
/// other finding. What cannot be judged is an error, a note a test that passes.
#[expect(
    clippy::missing_panics_doc,
    reason = "writing to a string does not fail"
)]
pub fn junit(effect: &Effect) -> String {
    let mut cases: Vec<Case> = effect.changes.iter().map(Case::of_change).collect();
    let others = findings(effect);
    let others = others.iter().filter(|finding| finding.rule != "veto");
    cases.extend(others.map(Case::of_finding));
    if cases.is_empty() {
        cases.push(Case {
            class: "placet.check".to_owned(),
            name: result(effect),
            ..Case::default()
        });
    }
    let mut text = String::new();
    write(&mut text, effect, &cases).expect("writing to a string does not fail");
    text
}

/// A test of the report.
#[derive(Default)]
struct Case {
    class: String,
    name: String,
    file: Option<String>,
    line: Option<usize>,
    failures: Vec<String>,
    error: Option<String>,
    output: String,
}

impl Case {
    fn of_change(change: &GroupChange) -> Self {
        let objecting = change.vetoes.iter().filter(|veto| veto.objects());
        let vetoes = objecting.map(|veto| {
            let who = match veto.by {
                Voter::Logic => "logic of",
                _ => "rule",
            };
            let place = at(&veto.places);
            format!("{place}{who} {}: {}", veto.rule, veto.message)
        });
        let place = change.vetoes.iter().flat_map(|veto| &veto.places).next();
        Self {
            class: "placet.change".to_owned(),
            name: heading(change),
            file: place.and_then(|place| place.file.clone()),
            line: place.and_then(|place| place.line),
            failures: vetoes.collect(),
            error: None,
            output: group(change),
        }
    }

    fn of_finding(finding: &Finding<'_>) -> Self {
        let text = format!("{}{}", at(finding.places), finding.message);
        let place = finding.places.first();
        let mut case = Self {
            class: format!("placet.{}", finding.rule),
            name: finding.message.clone(),
            file: place.and_then(|place| place.file.clone()),
            line: place.and_then(|place| place.line),
            ..Self::default()
        };
        match finding.level {
            Level::Error => case.failures.push(text),
            Level::Warning => case.error = Some(text),
            Level::Note => case.output = text,
        }
        case
    }

    fn write(&self, f: &mut String) -> fmt::Result {
        let (class, name) = (escaped(&self.class), escaped(&self.name));
        write!(
            f,
            "    <testcase classname=\"{class}\" name=\"{name}\" time=\"0\""
        )?;
        if let Some(file) = &self.file {
            write!(f, " file=\"{}\"", escaped(file))?;
        }
        if let Some(line) = self.line {
            write!(f, " line=\"{line}\"")?;
        }
        writeln!(f, ">")?;
        for text in &self.failures {
            let text = escaped(text);
            writeln!(f, "      <failure message=\"{text}\">{text}</failure>")?;
        }
        if let Some(text) = &self.error {
            let text = escaped(text);
            writeln!(f, "      <error message=\"{text}\">{text}</error>")?;
        }
        if !self.output.is_empty() {
            let text = escaped(&self.output);
            writeln!(f, "      <system-out>{text}</system-out>")?;
        }
        writeln!(f, "    </testcase>")
    }
}

fn write(f: &mut String, effect: &Effect, cases: &[Case]) -> fmt::Result {
    let failures = cases.iter().filter(|it| !it.failures.is_empty()).count();
    let errors = cases.iter().filter(|it| it.error.is_some()).count();
    let counts = format!(
        "tests=\"{}\" failures=\"{failures}\" errors=\"{errors}\" time=\"0\"",
        cases.len()
    );
    writeln!(f, "<?xml version=\"1.0\" encoding=\"UTF-8\"?>")?;
    writeln!(f, "<testsuites name=\"placet check\" {counts}>")?;
    let name = match effect.to.as_str() {
        "" => escaped(&effect.from),
        to => escaped(&format!("{} -> {to}", effect.from)),
    };
    writeln!(f, "  <testsuite name=\"{name}\" {counts}>")?;
    cases.iter().try_for_each(|case| case.write(f))?;
    let text = escaped(&format!("{}\n{}", summary(effect), result(effect)));
    writeln!(f, "    <system-out>{text}</system-out>")?;
    writeln!(f, "  </testsuite>\n</testsuites>")
}

/// Text inside an element or an attribute (XML 1.0, section 2.2: no other control characters).
fn escaped(text: &str) -> String {
    let mut safe = String::new();
    for character in text.chars() {
        match character {
            '&' => safe.push_str("&amp;"),
            '<' => safe.push_str("&lt;"),
            '>' => safe.push_str("&gt;"),
            '"' => safe.push_str("&quot;"),
            '\n' => safe.push_str("&#10;"),
            '\t' => safe.push_str("&#9;"),
            '\u{fffe}' | '\u{ffff}' => safe.push('\u{fffd}'),
            character if character.is_control() => safe.push('\u{fffd}'),
            character => safe.push(character),
        }
    }
    safe
}
