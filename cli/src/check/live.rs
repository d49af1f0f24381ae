//! What the live nodes say to the declarations that are looked at.

use std::time::Duration;

use placet_crds::SourceFile;
use placet_model::DryRunReport;
use placet_protocol::wire::File;
use placet_simulator::Live;

use crate::arguments::Common;
use crate::home::{Home, Tried};

/// How much longer than the nodes the controller may take.
const PATIENCE: Duration = Duration::from_secs(15);

/// Asks the live nodes through the controller that the options name; whatever keeps them from being
/// asked is in the answer.
pub(super) fn ask(
    runtime: &tokio::runtime::Runtime,
    files: &[SourceFile],
    seconds: u32,
    common: &Common,
) -> Live {
    let limit = Duration::from_secs(u64::from(seconds)) + PATIENCE;
    let asking = async { tokio::time::timeout(limit, try_out(files, seconds, common)).await };
    match runtime.block_on(asking) {
        Ok(Ok(live)) => live,
        Ok(Err(error)) => Live::missing(&format!("{error:#}")),
        Err(_) => Live::missing(&format!(
            "the controller did not answer within {} s",
            limit.as_secs()
        )),
    }
}

async fn try_out(files: &[SourceFile], seconds: u32, common: &Common) -> anyhow::Result<Live> {
    let files = files.iter().map(|file| File {
        name: file.name.clone(),
        text: file.text.clone(),
    });
    let tried = Home::open(common).await?;
    let tried = tried.dry_run(files.collect(), seconds).await?;
    Ok(match tried {
        Tried::Refused(problems) => Live::refused(&problems),
        Tried::Report(report) => Live::from(&*report),
        Tried::Answered(applied) => {
            let answers = applied.warnings.iter();
            let mut answers = answers.filter_map(|line| DryRunReport::summary_is_clean(line));
            let is_clean = answers.all(|it| it);
            Live::passed_on(&applied.warnings, &applied.problems, is_clean)
        }
    })
}
