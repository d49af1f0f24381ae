//! A comparison of packages for a comment on a pull request.

use super::text::{heading, impact_text, module_text, origins, result, summary, way};
use super::{Difference, PackageDiff};
use crate::report::markdown::{Page, block, escaped};

/// A report of at most [`LENGTH_MAX`](crate::LENGTH_MAX) characters; what does not fit is counted.
///
/// Whatever names and values hold, they stand inside code blocks and cannot end them.
pub fn markdown(diff: &PackageDiff) -> String {
    let mut page = Page::default();
    page.always(&format!("### {}\n\n", escaped(&way(diff))));
    for origin in origins(diff) {
        page.always(&format!("{}\n\n", escaped(&origin)));
    }
    page.always(&format!("{}\n\n", summary(diff)));
    for impact in diff.impact.iter().filter(|it| it.touches()) {
        let text = format!(
            "**{}**\n\n{}",
            heading(diff, impact),
            block(&impact_text(impact))
        );
        if !page.add(&text) {
            page.always("The processes that are touched are in the text and JSON reports.\n\n");
        }
    }
    page.list("Package", diff.package.iter().map(Difference::line));
    let modules = diff.modules.iter();
    let modules: Vec<_> = modules.map(|it| module_text(it, diff.is_mixed())).collect();
    page.blocks("Modules", &modules);
    page.always(&format!("{}\n", result(diff)));
    page.text
}
