//! Applying declarations, and trying out what that would do.

use jiff::Timestamp;
use placet_crds::{Object, SourceFile, load_all};
use placet_protocol::wire::{ApplyRequest, ApplyResponse};
use tokio::task::spawn_blocking;
use tonic::Status;

use super::AdminService;
use crate::catalog::Packages;
use crate::fleet::news::News;
use crate::fleet::turn::Turn;
use crate::fleet::world::World;
use crate::home::{Home, HomeError};

impl AdminService {
    pub(super) async fn apply_files(
        &self,
        request: ApplyRequest,
        author: String,
    ) -> Result<ApplyResponse, Status> {
        let files = request.files.into_iter().map(|file| SourceFile {
            name: file.name,
            text: file.text,
        });
        let files: Vec<SourceFile> = files.collect();
        let checked = files.clone();
        let stale = self.with_home(move |home| stale(home, &checked)).await?;
        if !stale.is_empty() {
            return Ok(refused(stale));
        }
        let applied = if request.dry_run {
            self.try_out(files, author).await?
        } else {
            self.ask(|reply| News::Apply {
                files,
                author,
                reply,
            })
            .await?
        };
        Ok(match applied {
            Ok(results) => ApplyResponse {
                results,
                problems: Vec::new(),
            },
            Err(problems) => refused(problems),
        })
    }

    /// What would happen: on a copy of the world, beside the loop.
    async fn try_out(
        &self,
        files: Vec<SourceFile>,
        author: String,
    ) -> Result<Result<Vec<String>, Vec<String>>, Status> {
        let world = self.ask(News::Look).await?;
        let (packages, base) = (self.packages.clone(), self.base.clone());
        let tried = spawn_blocking(move || {
            let mut world = *world;
            let mut turn = Turn::new(Timestamp::now());
            let mut results = world.apply(&files, &author, &mut turn)?;
            for result in &mut results {
                result.push_str(" (dry run)");
            }
            results.extend(effect(world, &packages, &base));
            Ok(results)
        });
        tried
            .await
            .map_err(|_| Status::unavailable("the controller is stopping"))
    }
}

/// The plan for the world as it would be, in the planner's own words.
fn effect(mut world: World, packages: &Packages, base: &std::path::Path) -> Vec<String> {
    let references = world.objects.references();
    world.catalog = Some(packages.resolve_all(&references, base).into());
    world.retarget();
    let Some(target) = &world.target else {
        return Vec::new();
    };
    let plan = placet_planner::plan(target, &world.observed(Timestamp::now()));
    plan.to_string().lines().map(str::to_owned).collect()
}

/// Resources that have changed since the files were written: a file may name the version that it
/// was made from.
fn stale(home: &Home, files: &[SourceFile]) -> Result<Vec<String>, HomeError> {
    let Ok(loaded) = load_all(files) else {
        // Told with everything else that is wrong.
        return Ok(Vec::new());
    };
    let mut stale = Vec::new();
    for object in &loaded.objects {
        let Some(expected) = &object.metadata().resource_version else {
            continue;
        };
        let found = home.get(object.kind(), object.name())?;
        let found = found.map_or(0, |stored| stored.resource_version);
        if *expected != found.to_string() {
            stale.push(conflict(object));
        }
    }
    Ok(stale)
}

fn conflict(object: &Object) -> String {
    format!(
        "{}/{}: metadata.resourceVersion: it has changed since it was read; read it again, or leave the version out",
        object.kind(),
        object.name()
    )
}

fn refused(problems: Vec<String>) -> ApplyResponse {
    ApplyResponse {
        results: Vec::new(),
        problems,
    }
}
