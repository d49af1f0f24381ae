//! What hangs together, for a terminal, in 80 columns where names allow.

use std::fmt::{self, Write as _};

use placet_model::{ModulePath, ProcessAction, ProcessName, few, visible, wrapped};

use super::{Apart, Cut, Entangled, Group, How, Link, Member, ModuleName, Reach};
use crate::Paint;
use crate::report::count;

/// How much is shown.
#[derive(Debug, Clone, Copy)]
pub struct Shown {
    /// Groups that touch one process alone, and modules that touch none, too.
    pub all: bool,
    /// How the parts are coloured.
    pub paint: Paint,
}

/// Where what is said of a group stands.
const INDENT: usize = 11;

/// The whole report.
#[expect(
    clippy::missing_panics_doc,
    reason = "writing to a string does not fail"
)]
pub fn text(entangled: &Entangled, shown: Shown) -> String {
    let mut text = String::new();
    write_all(&mut text, entangled, shown).expect("writing to a string does not fail");
    text
}

fn write_all(f: &mut String, entangled: &Entangled, shown: Shown) -> fmt::Result {
    let groups = &entangled.groups;
    let is_shown = |group: &&Group| shown.all || group.processes.len() > 1;
    let head = shown.paint.head;
    let mut left_out = groups.len();
    if groups.iter().any(|group| is_shown(&group)) {
        writeln!(
            f,
            "{head}PROCESSES  MODULES THAT CAN ONLY CHANGE TOGETHER{head:#}"
        )?;
    }
    for group in groups.iter().filter(is_shown) {
        left_out -= 1;
        write_group(f, group, shown.paint)?;
    }
    for circle in &entangled.circles {
        let paths: Vec<_> = circle.iter().map(ToString::to_string).collect();
        let text = format!("a circle of dependencies: {}", paths.join(", "));
        writeln!(f, "{}", wrapped(&text, 2))?;
    }
    if left_out > 0 {
        let groups = count(left_out, "group touches", "groups touch");
        writeln!(
            f,
            "{}",
            wrapped(&format!("{groups} one process each (--all lists them)"), 2)
        )?;
    }
    write_idle(f, &entangled.idle, shown.all)?;
    writeln!(f, "{}", wrapped(&summary(entangled), 2))
}

fn write_group(f: &mut String, group: &Group, paint: Paint) -> fmt::Result {
    for (index, member) in group.modules.iter().enumerate() {
        let reach = match index {
            0 => group.reach.processes.to_string(),
            _ => String::new(),
        };
        writeln!(f, "{reach:>9}  {}", member.name)?;
    }
    for (action, word) in [
        (ProcessAction::Restart, "restart"),
        (ProcessAction::Ask, "ask"),
    ] {
        let touched = group.processes.iter().filter(|(_, it)| it.action == action);
        let names: Vec<_> = touched.map(|(name, _)| name.as_str()).collect();
        if !names.is_empty() {
            write_line(f, &format!("{word} {}", listed(&names)))?;
        }
    }
    for cut in &group.cuts {
        let style = paint.wait;
        let text = cut_text(cut, group);
        writeln!(
            f,
            "{:INDENT$}{style}cut{style:#} {}",
            "",
            wrapped(&text, INDENT + 4)
        )?;
    }
    if let Some(apart) = group.apart.as_ref().filter(|it| it.links.len() > 1) {
        write_line(f, &apart_text(apart, group.reach))?;
    }
    Ok(())
}

fn write_line(f: &mut String, text: &str) -> fmt::Result {
    writeln!(f, "{:INDENT$}{}", "", wrapped(text, INDENT + 4))
}

/// Names that a line shows before it counts the rest.
const NAMES_SHOWN: usize = 8;

fn listed(names: &[&str]) -> String {
    few(names, NAMES_SHOWN)
}

/// `usr/lib/liba.so -> libb.so: 4 fewer for libb.so`
fn cut_text(cut: &Cut, group: &Group) -> String {
    let most = cut.most();
    let mut text = format!("{}: {most} fewer", cut.link);
    if cut.frees.len() < group.modules.len() {
        let paths: Vec<_> = cut.frees.keys().map(ModulePath::file_name).collect();
        text = format!("{text} for {}", listed(&paths));
    }
    text
}

fn apart_text(apart: &Apart, reach: Reach) -> String {
    let links: Vec<_> = apart.links.iter().map(ToString::to_string).collect();
    let links: Vec<_> = links.iter().map(String::as_str).collect();
    let fewer = reach.processes - apart.left.processes;
    format!(
        "cut all {} together, {fewer} fewer: {}",
        links.len(),
        listed(&links)
    )
}

fn write_idle(f: &mut String, idle: &[Member], all: bool) -> fmt::Result {
    if idle.is_empty() {
        return Ok(());
    }
    let modules = count(idle.len(), "module restarts", "modules restart");
    if !all {
        let text = format!("{modules} nothing (--all lists them)");
        return writeln!(f, "{}", wrapped(&text, 2));
    }
    writeln!(f, "{modules} nothing:")?;
    for member in idle {
        writeln!(f, "{:INDENT$}{}", "", member.name)?;
        if !member.told.is_empty() {
            let told: Vec<_> = member.told.iter().map(ProcessName::as_str).collect();
            write_line(f, &format!("told: {}", listed(&told)))?;
        }
    }
    Ok(())
}

/// All of it in one sentence.
fn summary(entangled: &Entangled) -> String {
    let Reach { processes, nodes } = entangled.total;
    let members: usize = entangled.groups.iter().map(|it| it.modules.len()).sum();
    let modules = count(members + entangled.idle.len(), "module", "modules");
    let groups = count(entangled.groups.len(), "group", "groups");
    let processes = count(processes, "process", "processes");
    let nodes = count(nodes, "node", "nodes");
    format!("{modules} in {groups}; {processes} on {nodes}")
}

impl fmt::Display for ModuleName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        visible(self.path.as_str()).fmt(f)
    }
}

impl fmt::Display for Link {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let how = match self.how {
            How::Linked | How::Interpreter => "",
            How::Supplemental | How::Optional => "opens ",
        };
        write!(f, "{} -> {how}{}", self.user, visible(&self.needs))
    }
}
