//! Applying declarations, and trying out what that would do.

use std::time::Duration;

use placet_crds::{Object, SourceFile, load_all};
use placet_model::canonical_json;
use placet_protocol::wire::{ApplyRequest, ApplyResponse, DryRunRequest, DryRunResponse, File};
use tonic::Status;

use super::AdminService;
use crate::dry_run::{Change, NoReport};
use crate::fleet::news::News;
use crate::home::{Home, HomeError};

/// How long the nodes may take in a dry run that names no time, and at most.
const DRY_RUN_SECONDS: u32 = 30;
const DRY_RUN_SECONDS_MOST: u32 = 600;

impl AdminService {
    pub(super) async fn apply_files(
        &self,
        request: ApplyRequest,
        author: String,
    ) -> Result<ApplyResponse, Status> {
        let files = files(request.files);
        let stale = self.stale(&files).await?;
        if !stale.is_empty() {
            return Ok(refused(stale));
        }
        let applied = self.ask(|reply| News::Apply {
            files,
            author,
            reply,
        });
        Ok(match applied.await? {
            Ok(results) => ApplyResponse {
                results,
                problems: Vec::new(),
            },
            Err(problems) => refused(problems),
        })
    }

    /// What would happen, as planned and as the live nodes say.
    pub(super) async fn try_files(
        &self,
        request: DryRunRequest,
        author: String,
    ) -> Result<DryRunResponse, Status> {
        let files = files(request.files);
        let stale = self.stale(&files).await?;
        if !stale.is_empty() {
            return Ok(not_tried(stale));
        }
        let seconds = match request.seconds {
            0 => DRY_RUN_SECONDS,
            seconds => seconds.min(DRY_RUN_SECONDS_MOST),
        };
        let change = Change::Files { files, author };
        let limit = Duration::from_secs(seconds.into());
        match self.dry_runs.report(change, limit).await {
            Ok(report) => Ok(DryRunResponse {
                report_json: canonical_json(&report),
                problems: Vec::new(),
            }),
            Err(NoReport::Declarations(problems)) => Ok(not_tried(problems)),
            Err(busy @ NoReport::Busy) => Err(Status::resource_exhausted(busy.to_string())),
            Err(late @ NoReport::Late(_)) => Err(Status::deadline_exceeded(late.to_string())),
            Err(NoReport::Stopping) => Err(Status::unavailable("the controller is stopping")),
        }
    }

    async fn stale(&self, files: &[SourceFile]) -> Result<Vec<String>, Status> {
        let files = files.to_vec();
        self.with_home(move |home| stale(home, &files)).await
    }
}

fn files(files: Vec<File>) -> Vec<SourceFile> {
    let files = files.into_iter().map(|file| SourceFile {
        name: file.name,
        text: file.text,
    });
    files.collect()
}

fn not_tried(problems: Vec<String>) -> DryRunResponse {
    DryRunResponse {
        report_json: Vec::new(),
        problems,
    }
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
