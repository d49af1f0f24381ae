//! Applying declarations, on the server's side and in the name of `placet`.

use kube::api::{ObjectMeta, Patch, PatchParams};
use placet_controller::home::kubernetes::{PERSON, declared};
use placet_crds::{Object, RolloutDecision, SourceFile, full_name, load_all};
use placet_model::DryRunReport;
use placet_protocol::wire::File;

use super::Kubernetes;
use crate::home::{Applied, Decided, Tried};

impl Kubernetes {
    /// Applies each of the declarations, where all of them are right in themselves. There are no
    /// transactions in an API server: what one of them refuses does not keep the others back.
    pub(in crate::home) async fn apply(
        &self,
        files: Vec<File>,
        force: bool,
    ) -> anyhow::Result<Applied> {
        let mut applied = Applied::default();
        let loaded = match load_all(&sources(files)) {
            Ok(loaded) => loaded,
            Err(faults) => {
                applied.problems = faults.iter().map(ToString::to_string).collect();
                return Ok(applied);
            }
        };
        let mut by = PatchParams::apply(PERSON);
        by.force = force;
        for object in &loaded.objects {
            self.put(object, &by, &mut applied).await?;
        }
        for decision in loaded.decisions {
            self.rule(decision, &mut applied).await?;
        }
        let warnings = self.said.take().into_iter();
        let warnings = warnings.map(|warning| format!("warning: {warning}"));
        applied.results.extend(warnings);
        Ok(applied)
    }

    /// Asks the API server what it would say. Its webhook asks the live nodes.
    pub(in crate::home) async fn dry_run(&self, files: Vec<File>) -> anyhow::Result<Tried> {
        let loaded = match load_all(&sources(files)) {
            Ok(loaded) => loaded,
            Err(faults) => {
                let problems = faults.iter().map(ToString::to_string).collect();
                return Ok(Tried::Refused(problems));
            }
        };
        let mut tried = Applied::default();
        // Who else applies a field matters to a real apply alone.
        let by = PatchParams::apply(PERSON).force().dry_run();
        for object in &loaded.objects {
            self.put(object, &by, &mut tried).await?;
        }
        for decision in loaded.decisions {
            let text = format!("Rollout/{}: a decision is not tried out", decision.rollout);
            tried.warnings.push(text);
        }
        tried.warnings.extend(self.said.take());
        let is_asked =
            |object: &Object| !matches!(object, Object::GitSource(_) | Object::Rollout(_));
        let answered = tried.warnings.iter();
        let answered = answered.filter_map(|line| DryRunReport::summary_is_clean(line));
        if loaded.objects.iter().any(is_asked) && answered.count() == 0 {
            let text =
                "no node was asked: the cluster has no admission webhook of Placet that answers";
            tried.problems.push(text.to_owned());
        }
        Ok(Tried::Answered(tried))
    }

    async fn put(
        &self,
        object: &Object,
        by: &PatchParams,
        applied: &mut Applied,
    ) -> anyhow::Result<()> {
        let (kind, name) = (object.kind(), object.name());
        let api = self.api(kind)?;
        let before = api.get_metadata_opt(name).await;
        let before = before.map_err(|error| self.failed(error))?;
        let patched = api.patch(name, by, &Patch::Apply(declared(object))).await;
        let after = match patched {
            Ok(after) => after,
            Err(kube::Error::Api(status)) if matches!(status.code, 400 | 403 | 404 | 409 | 422) => {
                let hint = match status.code {
                    409 if !by.force => "; to take over, use --force-conflicts",
                    _ => "",
                };
                let text = format!("{kind}/{name}: {}{hint}", status.message);
                applied.problems.push(text);
                return Ok(());
            }
            Err(error) => return Err(self.failed(error)),
        };
        let word = match before {
            None => "created",
            Some(before) if is_same(&before.metadata, &after.metadata) => "unchanged",
            Some(_) => "configured",
        };
        applied
            .results
            .push(format!("{} {word}", full_name(kind, name)));
        Ok(())
    }

    /// A decision that came as a file.
    async fn rule(&self, decision: RolloutDecision, applied: &mut Applied) -> anyhow::Result<()> {
        let RolloutDecision { rollout, decision } = decision;
        match self.answer(&rollout, Some(decision.hold), decision).await? {
            Decided::Taken(decision) => applied.results.push(format!(
                "{} decided: {}",
                full_name("Rollout", &rollout),
                decision.kind
            )),
            Decided::Written(text) => applied.results.push(text),
            Decided::Refused(why) => {
                let text = format!("Rollout/{rollout}: spec.decision: {why}");
                applied.problems.push(text);
            }
        }
        Ok(())
    }
}

/// True if nothing differs of what can be declared.
fn is_same(one: &ObjectMeta, other: &ObjectMeta) -> bool {
    one.generation == other.generation
        && one.labels == other.labels
        && one.annotations == other.annotations
}

fn sources(files: Vec<File>) -> Vec<SourceFile> {
    let files = files.into_iter().map(|file| SourceFile {
        name: file.name,
        text: file.text,
    });
    files.collect()
}
