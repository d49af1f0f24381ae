//! What fuzzing has found and kept, tried again.

#[cfg(test)]
#[path = "../../fuzz/src/lib.rs"]
#[expect(
    unreachable_pub,
    reason = "it is a crate of its own for the fuzz targets"
)]
mod readers;

#[cfg(test)]
mod corpus {
    use std::fs;
    use std::path::{Path, PathBuf};
    use std::time::{Duration, Instant};

    use crate::readers::READERS;

    /// No file of a corpus needs a tenth of it, in a debug build on a busy machine.
    const LONG: Duration = Duration::from_secs(10);
    /// What all of them may have together, so that a clone stays small.
    const BYTES_MAX: u64 = 2 << 20;

    fn folder() -> PathBuf {
        Path::new(env!("CARGO_MANIFEST_DIR")).join("../fuzz/corpus")
    }

    fn files(target: &str) -> Vec<PathBuf> {
        let folder = folder().join(target);
        let entries =
            fs::read_dir(&folder).unwrap_or_else(|error| panic!("{}: {error}", folder.display()));
        let mut files: Vec<_> = entries.map(|entry| entry.unwrap().path()).collect();
        files.sort();
        files
    }

    #[test]
    fn every_file_is_read_or_refused_in_time() {
        let mut total = 0;
        for (target, read) in READERS {
            let files = files(target);
            assert!(!files.is_empty(), "{target} has no corpus");
            for file in files {
                let bytes = fs::read(&file).unwrap();
                total += bytes.len() as u64;
                // What a failing test has written is shown: the last one is the culprit.
                eprintln!("{}", file.display());
                let started = Instant::now();
                read(&bytes);
                assert!(started.elapsed() < LONG, "{} took long", file.display());
            }
        }
        assert!(total < BYTES_MAX, "the corpora have {total} bytes");
    }

    #[test]
    fn every_corpus_has_a_target() {
        let entries = fs::read_dir(folder()).unwrap();
        let mut found: Vec<_> = entries
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        found.sort();
        assert_eq!(found, READERS.map(|(target, _)| target));
    }
}
