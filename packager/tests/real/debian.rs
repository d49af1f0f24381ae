//! Real packages of Debian, unpacked by Debian's own tool.

use std::path::{Path, PathBuf};
use std::process::Command;

pub(crate) use placet_tests::debs;

/// Two different versions of libssl3, the older one first; which they are is said on standard error.
pub(crate) fn two_libssl3() -> Option<[PathBuf; 2]> {
    let [older, newer]: [PathBuf; 2] = debs(&["libssl3=oldest", "libssl3"])?.try_into().ok()?;
    eprintln!("{} and {}", older.display(), newer.display());
    assert_ne!(
        older.file_name(),
        newer.file_name(),
        "the archive has two versions"
    );
    Some([older, newer])
}

/// Unpacks `deb` by Debian's own tool into a new folder `to`.
pub(crate) fn unpack(deb: &Path, to: &Path) {
    let status = Command::new("dpkg-deb")
        .arg("--extract")
        .args([deb, to])
        .status();
    assert!(status.is_ok_and(|it| it.success()), "{}", deb.display());
}

#[test]
fn a_package_comes_whole_and_only_once() {
    let Some(first) = two_libssl3() else {
        return;
    };
    let folder = tempfile::tempdir().unwrap();
    unpack(&first[0], folder.path());
    let library = "usr/lib/x86_64-linux-gnu/libssl.so.3";
    assert!(folder.path().join(library).is_file());
    assert_eq!(two_libssl3(), Some(first));
}
