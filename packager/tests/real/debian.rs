//! Real packages of Debian, unpacked by Debian's own tool.

use std::path::Path;
use std::process::Command;

pub(crate) use placet_tests::debs;

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
    let Some(first) = debs(&["libssl3=3.0.20-1~deb12u2", "libzstd1"]) else {
        return;
    };
    let folder = tempfile::tempdir().unwrap();
    unpack(&first[0], folder.path());
    let library = "usr/lib/x86_64-linux-gnu/libssl.so.3";
    assert!(folder.path().join(library).is_file());
    assert_eq!(debs(&["libssl3=3.0.20-1~deb12u2", "libzstd1"]), Some(first));
}
