//! Which files of the folder of declarations count.

use globset::{GlobBuilder, GlobSet, GlobSetBuilder};
use placet_crds::GitSourceSpec;
use placet_model::visible;

use super::FetchError;

/// `include` and `ignore` of a source.
#[derive(Debug, Clone)]
pub(super) struct Selection {
    /// None where everything is included.
    include: Option<GlobSet>,
    ignore: GlobSet,
}

impl Selection {
    pub(super) fn of(spec: &GitSourceSpec) -> Result<Self, FetchError> {
        let include = globs("spec.include", &spec.include)?;
        Ok(Self {
            include: (!spec.include.is_empty()).then_some(include),
            ignore: globs("spec.ignore", &spec.ignore)?,
        })
    }

    /// Leaves nothing out.
    pub(super) fn all() -> Self {
        Self {
            include: None,
            ignore: GlobSet::empty(),
        }
    }

    /// True for a file or folder that is not even looked at. `path` is relative to the folder of
    /// declarations.
    pub(super) fn ignores(&self, path: &str) -> bool {
        // `x/**` means all that is in `x`, so that `x` itself is of no interest.
        self.ignore.is_match(path) || self.ignore.is_match(format!("{path}/"))
    }

    /// True for a file that counts, if it holds declarations.
    pub(super) fn includes(&self, path: &str) -> bool {
        self.include.as_ref().is_none_or(|it| it.is_match(path))
    }
}

fn globs(field: &'static str, globs: &[String]) -> Result<GlobSet, FetchError> {
    let unfit = |glob: &str, error: &globset::Error| FetchError::Glob {
        field,
        glob: visible(glob).to_string(),
        why: visible(&error.kind().to_string()).to_string(),
    };
    let mut set = GlobSetBuilder::new();
    for text in globs {
        let glob = GlobBuilder::new(text.trim_start_matches("./"))
            .literal_separator(true)
            .backslash_escape(true)
            .build();
        set.add(glob.map_err(|error| unfit(text, &error))?);
    }
    set.build()
        .map_err(|error| unfit(globs.first().map_or("", String::as_str), &error))
}

#[cfg(test)]
mod tests {
    use super::Selection;
    use placet_crds::GitSourceSpec;
    use serde_json::json;

    fn selection(include: &[&str], ignore: &[&str]) -> Result<Selection, super::FetchError> {
        let spec = json!({"url": "/x", "include": include, "ignore": ignore});
        let spec: GitSourceSpec = serde_json::from_value(spec).unwrap();
        Selection::of(&spec)
    }

    #[test]
    fn a_star_stays_within_a_folder_and_two_do_not() {
        let one = selection(&["*.yaml", "nodes/**"], &[]).unwrap();
        assert!(one.includes("a.yaml") && one.includes("nodes/lab/a.yaml"));
        assert!(!one.includes("x/a.yaml"));
        let any = selection(&["**/a.yaml"], &[]).unwrap();
        assert!(any.includes("a.yaml") && any.includes("x/y/a.yaml"));
        assert!(selection(&[], &[]).unwrap().includes("a.yaml"));
    }

    #[test]
    fn a_folder_is_ignored_by_its_name_or_by_all_that_is_in_it() {
        for glob in ["lab", "lab/", "lab/**", "./lab", "**/lab"] {
            let ignore = selection(&[], &[glob]).unwrap();
            assert!(ignore.ignores("lab"), "{glob}");
            assert!(!ignore.ignores("labs"), "{glob}");
        }
        assert!(!selection(&[], &[]).unwrap().ignores("lab"));
    }

    #[test]
    fn what_is_no_glob_is_refused_with_its_field() {
        for glob in ["a[", "{a", "[z-a]"] {
            let error = selection(&[], &[glob]).unwrap_err().to_string();
            assert!(
                error.starts_with(&format!("`{glob}` in `spec.ignore`")),
                "{error}"
            );
        }
    }
}
