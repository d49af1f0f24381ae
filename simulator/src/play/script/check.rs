//! What a script has to hold before anything is played: names that are there, times that go on.

use jiff::{SignedDuration, Timestamp};
use placet_model::visible;

use super::entries::{Decides, StepEntry};
use super::{Script, ScriptError};

/// 2026-01-01T00:00:00Z.
const BEGINNING: Timestamp = Timestamp::constant(1_767_225_600, 0);

/// 3000-01-01T00:00:00Z: far from where times end.
const LATEST: Timestamp = Timestamp::constant(32_503_680_000, 0);

/// Ten years: what nodes do by themselves meanwhile, as asking again once their promises have run
/// out, is played too.
const LONGEST: SignedDuration = SignedDuration::from_hours(10 * 366 * 24);

impl Script {
    /// When it begins.
    pub(in crate::play) fn begins(&self) -> Timestamp {
        let start = self.start.as_ref().and_then(|it| it.value.parse().ok());
        start.unwrap_or(BEGINNING)
    }

    pub(super) fn check_revisions(&self) -> Result<(), ScriptError> {
        for (name, entry) in &self.revisions {
            let (place, entry) = (entry.referenced, &entry.value);
            let sources = [&entry.folder, &entry.git, &entry.base];
            let wrong = |why: String| Err(self.error(place, why));
            if sources.into_iter().flatten().count() != 1 {
                return wrong(format!(
                    "revision `{}` needs exactly one of `folder`, `git` and `base`",
                    visible(name)
                ));
            }
            if entry.base.is_none() && !entry.packages.is_empty() {
                return wrong("`packages` changes a `base`, and there is none".to_owned());
            }
            self.check_base(name).or_else(wrong)?;
        }
        if let Some(running) = &self.running {
            self.check_name(&running.value)
                .map_err(|why| self.error(running.referenced, why))?;
        }
        if let Some(start) = &self.start {
            time(&start.value).map_err(|why| self.error(start.referenced, why))?;
        }
        Ok(())
    }

    /// Follows the bases of a revision to their end.
    fn check_base(&self, name: &str) -> Result<(), String> {
        let mut seen = vec![name];
        let mut next = self.revisions[name].value.base.as_deref();
        while let Some(base) = next {
            self.check_name(base)?;
            if seen.contains(&base) {
                seen.push(base);
                let names: Vec<_> = seen.iter().map(|it| visible(it).to_string()).collect();
                return Err(format!(
                    "revisions are based on each other: {}",
                    names.join(", ")
                ));
            }
            seen.push(base);
            next = self.revisions[base].value.base.as_deref();
        }
        Ok(())
    }

    fn check_name(&self, revision: &str) -> Result<(), String> {
        if self.revisions.contains_key(revision) {
            return Ok(());
        }
        let known: Vec<_> = self
            .revisions
            .keys()
            .map(|it| visible(it).to_string())
            .collect();
        Err(format!(
            "there is no revision `{}`; there are {}",
            visible(revision),
            known.join(", ")
        ))
    }

    pub(super) fn check_steps(&self) -> Result<(), ScriptError> {
        let start = self.begins();
        let mut now = start;
        for step in &self.steps {
            let refused = |why| self.error(step.referenced, why);
            now = self.check_step(&step.value, now).map_err(refused)?;
            if now.duration_since(start) > LONGEST {
                return Err(refused("a script lasts ten years at most".to_owned()));
            }
        }
        Ok(())
    }

    /// Checks a step that is reached at `now`; says when the next one is.
    fn check_step(&self, step: &StepEntry, mut now: Timestamp) -> Result<Timestamp, String> {
        let count = step.count();
        if count != 1 && !(count == 0 && step.at.is_some()) {
            return Err(format!("a step does one thing, and this one {count}"));
        }
        if let Some(at) = &step.at {
            let at = time(at)?;
            if at < now {
                return Err(format!("{at} is over: it is {now} by then"));
            }
            now = at;
        }
        if let Some(revision) = &step.commit {
            self.check_name(revision)?;
        }
        if let Some(decision) = &step.decide
            && !decision.nodes.is_empty()
            && decision.action != Decides::Force
        {
            return Err("`nodes` is for `force` alone".to_owned());
        }
        match &step.wait {
            Some(wait) => now
                .checked_add(duration(wait)?)
                .map_err(|_| "too long".to_owned()),
            None => Ok(now),
        }
    }
}

pub(in crate::play) fn time(text: &str) -> Result<Timestamp, String> {
    let time: Timestamp = text
        .parse()
        .map_err(|_| format!("`{}` is no time as 2026-01-01T00:00:00Z", visible(text)))?;
    if time > LATEST {
        return Err(format!("{time} is later than {LATEST}"));
    }
    Ok(time)
}

/// `90s`, `10m`, `2h`, `1d`.
pub(in crate::play) fn duration(text: &str) -> Result<SignedDuration, String> {
    let wrong = || format!("`{}` is no time as 90s, 10m, 2h or 1d", visible(text));
    let (number, unit) = text
        .split_at_checked(text.len().saturating_sub(1))
        .ok_or_else(wrong)?;
    let seconds = match unit {
        "s" => 1,
        "m" => 60,
        "h" => 3_600,
        "d" => 86_400,
        _ => return Err(wrong()),
    };
    let number: u32 = number.parse().map_err(|_| wrong())?;
    Ok(SignedDuration::from_secs(i64::from(number) * seconds))
}
