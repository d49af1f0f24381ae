//! Dry runs that are declared as roll-outs with `dryRun` (M1): begun, ended, and linked to the
//! roll-outs that follow them.

use std::collections::BTreeMap;
use std::time::Duration;

use jiff::Timestamp;
use placet_crds::{GitReference, GitSource, Rollout, RolloutStatus};
use placet_model::visible;

use super::feed;
use super::news::Tried;
use super::objects::Entry;
use super::recover::number;
use super::trials::manifests;
use super::turn::Turn;
use super::world::World;
use crate::shared::{Begun, WantedDryRun};
use crate::status::dry_run as status;

/// Where nobody says how long it may take.
const LIMIT: Duration = Duration::from_secs(30);

/// Why a dry run may not have a name: the roll-outs that the controller opens are called so.
pub(crate) fn refused_name(name: &str) -> Option<String> {
    number(name).map(|_| format!("`{name}` is the name of a roll-out that the controller opens; give the dry run another one"))
}

impl World {
    fn dry_runs(&self) -> impl Iterator<Item = (&str, &Entry, &Rollout)> {
        let rollouts = self.objects.of("Rollout");
        let rollouts = rollouts.filter_map(|(name, entry)| {
            let (_, rollout) = self.objects.rollout(name)?;
            Some((name, entry, rollout))
        });
        rollouts.filter(|(_, _, rollout)| rollout.spec.dry_run)
    }

    /// Notes which dry runs begin; those that cannot are over at once.
    pub(super) fn begin_dry_runs(&mut self, turn: &mut Turn) {
        let begun: Vec<_> = self
            .dry_runs()
            .filter(|(_, entry, _)| entry.status.is_null())
            .map(|(name, entry, rollout)| {
                let asked = status::asked(entry.generation, turn.now);
                let obstacle = refused_name(name).or_else(|| self.wanted(rollout).err());
                let status = match obstacle {
                    Some(why) => status::failed(&asked, why, turn.now),
                    None => asked,
                };
                (name.to_owned(), status)
            })
            .collect();
        for (name, status) in begun {
            self.note_dry_run(&name, &status, turn);
        }
    }

    /// Those that have begun and are not over.
    pub(crate) fn wanted_dry_runs(&self) -> BTreeMap<Begun, WantedDryRun> {
        let wanted = self.dry_runs().filter_map(|(name, entry, rollout)| {
            let begun = entry.status::<RolloutStatus>().under_way()?;
            Some(((name.to_owned(), begun), self.wanted(rollout).ok()?))
        });
        wanted.collect()
    }

    /// What to look at, or why nothing can be looked at.
    fn wanted(&self, rollout: &Rollout) -> Result<WantedDryRun, String> {
        let spec = &rollout.spec;
        let source = spec.source.as_deref().unwrap_or_default();
        let mut sources = self.objects.sources();
        let Some((.., declared)) = sources.find(|(name, ..)| *name == source) else {
            return Err(format!(
                "spec.source: there is no GitSource `{}`",
                visible(source)
            ));
        };
        let Some((_, commit)) = spec.to.rsplit_once("@sha1:") else {
            let why = "a dry run tries out a commit, as in `main@sha1:…`";
            return Err(format!("spec.to: {why}"));
        };
        let mut source = GitSource::new(source, declared.spec.clone());
        source.spec.reference = GitReference {
            commit: Some(commit.to_owned()),
            ..GitReference::default()
        };
        let limit = spec.within_seconds.map(|it| Duration::from_secs(it.into()));
        Ok(WantedDryRun {
            source,
            revision: spec.to.clone(),
            limit: limit.unwrap_or(LIMIT),
        })
    }

    /// A dry run came to its end; one that is over already, or gone, has nothing to say.
    pub(super) fn tried(
        &mut self,
        (name, begun): &Begun,
        outcome: Result<Tried, String>,
        turn: &mut Turn,
    ) {
        let Some((entry, _)) = self.objects.rollout(name) else {
            return;
        };
        let old: RolloutStatus = entry.status();
        if old.under_way() != Some(*begun) {
            return;
        }
        let status = match outcome {
            Ok(tried) => {
                self.trials.rename(&tried.report.name, name);
                status::answered(&old, &tried, turn.now)
            }
            Err(why) => status::failed(&old, why, turn.now),
        };
        self.note_dry_run(name, &status, turn);
    }

    fn note_dry_run(&mut self, name: &str, status: &RolloutStatus, turn: &mut Turn) {
        self.set_status("Rollout", name, status, turn);
        if status.ended.is_some() {
            turn.tell("dryRun", feed::dry_run(name, status));
        }
    }

    /// A roll-out begins: what is still being tried out is tried out on something that is no more,
    /// and what it brings may have been tried out before.
    pub(super) fn end_dry_runs(&mut self, rollout: &str, turn: &mut Turn) -> Option<String> {
        let brought = self.target.as_deref().map(manifests);
        let mut latest: Option<(Timestamp, String)> = None;
        let (mut superseded, mut followed) = (Vec::new(), Vec::new());
        for (name, entry, _) in self.dry_runs() {
            let old: RolloutStatus = entry.status();
            if old.under_way().is_some() {
                let status = status::superseded(&old, rollout, turn.now);
                superseded.push((name.to_owned(), status));
            } else if old.manifests_digest.is_some()
                && old.manifests_digest == brought
                && old.followed_by.is_none()
            {
                latest = latest.max(old.ended.map(|ended| (ended, name.to_owned())));
                let status = RolloutStatus {
                    followed_by: Some(rollout.to_owned()),
                    ..old
                };
                followed.push((name.to_owned(), status));
            }
        }
        for (name, status) in superseded {
            self.note_dry_run(&name, &status, turn);
        }
        for (name, status) in followed {
            self.set_status("Rollout", &name, &status, turn);
        }
        latest.map(|(_, name)| name)
    }
}
