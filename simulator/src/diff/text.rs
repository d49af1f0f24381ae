//! A comparison of packages for a terminal, in 80 columns where names allow.

use std::fmt::{self, Write as _};

use placet_model::{Architecture, Derived, UpdateTool, visible, wrapped};

use super::{Difference, Impact, ModuleDiff, PackageDiff, PackageVersion, Status};
use crate::Paint;
use crate::report::{bytes, count};

/// The whole report.
#[expect(
    clippy::missing_panics_doc,
    reason = "writing to a string does not fail"
)]
pub fn text(diff: &PackageDiff, paint: Paint) -> String {
    let mut text = String::new();
    write_all(&mut text, diff, paint).expect("writing to a string does not fail");
    text
}

fn write_all(f: &mut String, diff: &PackageDiff, paint: Paint) -> fmt::Result {
    writeln!(f, "{}", wrapped(&way(diff), 4))?;
    for origin in origins(diff) {
        writeln!(f, "{}", wrapped(&origin, 4))?;
    }
    writeln!(f, "{}", wrapped(&summary(diff), 4))?;
    if !diff.modules.is_empty() {
        head(f, "Modules", paint)?;
        let mut modules = diff.modules.iter();
        modules.try_for_each(|it| write_module(f, it, diff.is_mixed(), paint))?;
    }
    if !diff.package.is_empty() {
        head(f, "Package", paint)?;
        write_differences(f, &diff.package, 2)?;
    }
    for impact in diff.impact.iter().filter(|it| it.touches()) {
        head(f, &heading(diff, impact), paint)?;
        write_impact(f, impact)?;
    }
    let last = result(diff);
    let style = if diff.touches() {
        paint.wait
    } else {
        paint.good
    };
    writeln!(f, "\n{style}{}{style:#}", wrapped(&last, 0))
}

fn head(f: &mut String, title: &str, paint: Paint) -> fmt::Result {
    let head = paint.head;
    writeln!(f, "\n{head}{title}{head:#}")
}

/// `chat 1.0.0 -> 1.1.0 (sha256:0123… -> sha256:4567…)`
pub(super) fn way(diff: &PackageDiff) -> String {
    let (from, to) = (&diff.from, &diff.to);
    let name = if from.name == to.name {
        String::new()
    } else {
        format!("{} ", to.name)
    };
    format!(
        "{} {} -> {name}{} ({} -> {})",
        from.name,
        from.version,
        to.version,
        from.digest.short(),
        to.digest.short()
    )
}

/// What the packages were made from, a sentence each.
pub(super) fn origins(diff: &PackageDiff) -> Vec<String> {
    let sides = [&diff.from, &diff.to].into_iter();
    sides.filter_map(PackageVersion::origin).collect()
}

impl PackageVersion {
    fn origin(&self) -> Option<String> {
        let derived = self.derived.as_ref()?;
        Some(format!("{} is {}", self.version, origin(derived)))
    }
}

/// What a package is that was made from another: `1.0.0 shaded black: 4 signatures are random`.
pub fn origin(derived: &Derived) -> String {
    let how = match derived.by {
        UpdateTool::Repack => "repacked".to_owned(),
        shade => format!("shaded {shade}"),
    };
    let mut parts = Vec::new();
    match derived.shaded.len() {
        0 => {}
        1 => parts.push("the signature of 1 module is random".to_owned()),
        many => parts.push(format!("the signatures of {many} modules are random")),
    }
    for (paths, what) in [
        (&derived.replaced, "replaced"),
        (&derived.removed, "left out"),
    ] {
        if !paths.is_empty() {
            parts.push(format!(
                "{} {what}",
                count(paths.len(), "module", "modules")
            ));
        }
    }
    let parts = match parts.join(", ") {
        none if none.is_empty() => "all signatures are kept".to_owned(),
        parts => parts,
    };
    let digest = derived.digest.short();
    format!("{} ({digest}) {how}: {parts}", derived.version)
}

/// How many modules became what.
pub(super) fn summary(diff: &PackageDiff) -> String {
    let mut text = Vec::new();
    for status in Status::ALL {
        let Some(number) = diff.counts.get(&status) else {
            continue;
        };
        let number = if text.is_empty() {
            count(*number, "module", "modules")
        } else {
            number.to_string()
        };
        text.push(format!("{number} {}", status.word()));
    }
    if text.is_empty() {
        return "no modules".to_owned();
    }
    text.join(", ")
}

/// One module with all that differs, as plain text.
pub(super) fn module_text(module: &ModuleDiff, is_mixed: bool) -> String {
    let (mut text, paint) = (String::new(), Paint::default());
    write_module(&mut text, module, is_mixed, paint).expect("writing to a string does not fail");
    text
}

/// A module says what it is for where the packages are for several architectures.
fn write_module(f: &mut String, module: &ModuleDiff, is_mixed: bool, paint: Paint) -> fmt::Result {
    let style = match module.status {
        Status::Changed | Status::Added | Status::Removed => paint.wait,
        Status::Rebuilt | Status::Described | Status::Unchanged => paint.good,
    };
    let path = visible(module.path.as_str()).to_string();
    let (word, kind) = (module.status.word(), module.kind);
    let size = module.sizes();
    writeln!(f, "  {style}{word:9}{style:#}  {path:37} {kind:11} {size}")?;
    if is_mixed && module.architecture != Architecture::default() {
        writeln!(f, "      for {}", module.architecture)?;
    }
    for note in module.notes() {
        writeln!(f, "      {}", wrapped(&note, 8))?;
    }
    write_differences(f, &module.differences, 6)
}

fn write_differences(f: &mut String, differences: &[Difference], indent: usize) -> fmt::Result {
    differences.iter().try_for_each(|it| {
        let line = it.line();
        writeln!(f, "{:indent$}{}", "", wrapped(&line, indent + 2))
    })
}

impl ModuleDiff {
    /// `1.2 kB -> 1.3 kB`, or the one that is known.
    fn sizes(&self) -> String {
        match (&self.from, &self.to) {
            (Some(from), Some(to)) if from.size != to.size => {
                format!("{} -> {}", bytes(from.size), bytes(to.size))
            }
            (_, Some(one)) | (Some(one), None) => bytes(one.size),
            (None, None) => String::new(),
        }
    }

    /// What the status alone does not say.
    fn notes(&self) -> Vec<String> {
        let mut notes = Vec::new();
        if let Some(replaced) = &self.replaces {
            notes.push(format!("takes the place of {replaced}"));
        }
        if let (Some(from), Some(to)) = (&self.from, &self.to) {
            let bytes = from.digest != to.digest;
            let content = from.signature != to.signature;
            match (self.status, bytes, content) {
                (Status::Rebuilt | Status::Described, true, _) => {
                    notes.push("bytes differ, signature equal: nothing restarts".to_owned());
                }
                (Status::Changed, false, true) => {
                    notes.push("signature differs, bytes equal: it was shaded".to_owned());
                }
                (Status::Changed, _, false) => {
                    notes.push("signature equal: what is said of it differs".to_owned());
                }
                _ => {}
            }
        }
        notes
    }
}

/// The title of what happens to processes; the architecture where there are several.
pub(super) fn heading(diff: &PackageDiff, impact: &Impact) -> String {
    if diff.is_mixed() {
        format!("Processes on {}", impact.architecture)
    } else {
        "Processes".to_owned()
    }
}

/// What happens to processes, as plain text.
pub(super) fn impact_text(impact: &Impact) -> String {
    let mut text = String::new();
    write_impact(&mut text, impact).expect("writing to a string does not fail");
    text
}

fn write_impact(f: &mut String, impact: &Impact) -> fmt::Result {
    if let Some(restart) = &impact.restart {
        let text = format!("the node, for {restart}");
        writeln!(f, "  {:8} {}", "restart", wrapped(&text, 11))?;
    }
    impact
        .processes
        .iter()
        .try_for_each(|process| write!(f, "{process}"))
}

impl Impact {
    pub(super) fn touches(&self) -> bool {
        self.restart.is_some() || !self.processes.is_empty()
    }
}

impl PackageDiff {
    /// True if the packages are for several architectures.
    pub(super) fn is_mixed(&self) -> bool {
        self.impact.len() > 1
    }

    /// True if a process or a node is touched.
    pub(super) fn touches(&self) -> bool {
        self.impact.iter().any(Impact::touches)
    }
}

/// What it comes to, in one sentence.
pub(super) fn result(diff: &PackageDiff) -> String {
    let text = match (diff.changed, diff.touches()) {
        (false, _) => "Nothing that a node could notice.",
        (true, false) => {
            "No process of the package is touched; `placet check` says it of those of others."
        }
        (true, true) => "Processes of other packages may be touched too: `placet check` says that.",
    };
    text.to_owned()
}
