//! A temporary folder with a package in it.

use std::fs;
use std::path::PathBuf;

use placet_package::{Package, Reference, Selector, open_package};
use placet_packager::{BuildOptions, Built, Confine, Error, build};
use tempfile::TempDir;

#[derive(Debug)]
pub(crate) struct Workshop(TempDir);

impl Workshop {
    pub(crate) fn new(package: &str) -> Self {
        let folder = tempfile::Builder::new().prefix("workshop-").tempdir();
        let workshop = Self(folder.unwrap());
        workshop.write("package.yaml", package);
        workshop
    }

    /// A package with one module, of which these lines speak.
    pub(crate) fn with_module(lines: &str) -> Self {
        Self::new(&format!("name: a\nversion: 1.0.0\nmodules:\n{lines}"))
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    pub(crate) fn write(&self, name: &str, content: impl AsRef<[u8]>) -> &Self {
        fs::write(self.path(name), content).unwrap();
        self
    }

    pub(crate) fn build(&self) -> Result<Built, Error> {
        self.build_as(Confine::Auto)
    }

    pub(crate) fn build_as(&self, confine: Confine) -> Result<Built, Error> {
        let options = BuildOptions {
            source_date_epoch: Some(1_700_000_000),
            confine,
            ..BuildOptions::default()
        };
        build(&self.path("package.yaml"), &self.path("layout"), &options)
    }

    pub(crate) fn built(&self) -> Built {
        self.build()
            .unwrap_or_else(|error| panic!("{}", chain(&error)))
    }

    /// What a person reads, and that nothing was stored.
    #[track_caller]
    pub(crate) fn refused(&self, expected: &str) -> String {
        let error = chain(&self.build().expect_err(expected));
        assert!(error.contains(expected), "`{expected}` is not in: {error}");
        assert!(error.contains("package.yaml"), "{error}");
        let tags = placet_package::Layout::open(&self.path("layout"));
        assert!(tags.is_err() || tags.unwrap().tags().unwrap().is_empty());
        error
    }

    pub(crate) fn open(&self, tag: &str) -> Package {
        let reference = Reference::Layout {
            dir: self.path("layout"),
            selector: Selector::Tag(tag.to_owned()),
        };
        open_package(&reference, &self.path("")).unwrap()
    }
}

/// An error and its causes in one line.
pub(crate) fn chain(error: &dyn std::error::Error) -> String {
    let causes = std::iter::successors(Some(error), |error| error.source());
    causes
        .map(ToString::to_string)
        .collect::<Vec<_>>()
        .join(": ")
}
