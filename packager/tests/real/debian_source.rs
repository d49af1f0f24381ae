//! Real source packages of Debian, downloaded by name once on a machine.

use std::env;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

/// The unpacked source of the package `name`, kept in the user's cache: not to be changed. `None`,
/// said on standard error, where Debian's archive is not at hand.
///
/// The machine's own configuration need not list sources: a private one does.
///
/// # Panics
///
/// In CI, where nothing is skipped.
pub(crate) fn source(name: &str) -> Option<PathBuf> {
    let home = env::var_os("HOME").unwrap_or_default();
    let cache = Path::new(&home).join(".cache/placet-tests/sources");
    let folder = cache.join(name);
    if !folder.is_dir() {
        // Under another name first: what was only begun is not taken for whole.
        let draft = cache.join(format!("{name}.{}.new", std::process::id()));
        fs::create_dir_all(&draft).expect("a folder in the cache");
        if fetch(name, &draft).is_none() {
            let missing = format!("the source of Debian's {name} cannot be had here");
            assert!(env::var_os("CI").is_none(), "{missing}");
            eprintln!("skipped: a real code base, because {missing}");
            return None;
        }
        if fs::rename(draft.join("source"), &folder).is_err() {
            assert!(folder.is_dir(), "another test was faster");
        }
        fs::remove_dir_all(&draft).expect("a folder of our own");
    }
    Some(folder)
}

fn fetch(name: &str, draft: &Path) -> Option<()> {
    let release = fs::read_to_string("/etc/os-release").ok()?;
    let mut lines = release.lines();
    let codename = lines.find_map(|line| line.strip_prefix("VERSION_CODENAME="))?;
    let key = "/usr/share/keyrings/debian-archive-keyring.gpg";
    let archive = archive(codename)?;
    let line = format!("deb-src [signed-by={key}] {archive} {codename} main\n");
    fs::write(draft.join("sources.list"), line).ok()?;
    fs::create_dir_all(draft.join("lists/partial")).ok()?;
    let settings = [
        ("Etc::SourceList", "sources.list"),
        ("Etc::SourceParts", "none"),
        ("State::Lists", "lists"),
        ("Cache", "archives"),
    ];
    let apt = |arguments: &[&str]| {
        let mut command = Command::new("apt-get");
        for (setting, place) in settings {
            let place = draft.join(place);
            command
                .arg("-o")
                .arg(format!("Dir::{setting}={}", place.display()));
        }
        run(command.args(arguments).current_dir(draft))
    };
    fs::create_dir_all(draft.join("archives/archives/partial")).ok()?;
    apt(&["update", "-q"])?;
    apt(&["source", "-q", "--download-only", name])?;
    let files = fs::read_dir(draft).ok()?.flatten().map(|it| it.path());
    let description = files
        .into_iter()
        .find(|it| it.extension().is_some_and(|it| it == "dsc"))?;
    let mut unpack = Command::new("dpkg-source");
    run(unpack
        .arg("-x")
        .arg(description)
        .arg("source")
        .current_dir(draft))
}

/// Where the machine has its packages of the release from: the sources stand there too.
fn archive(codename: &str) -> Option<String> {
    let format = "$(REPO_URI) $(CODENAME) $(COMPONENT)";
    let mut command = Command::new("apt-get");
    command.args(["indextargets", "--format", format, "Identifier: Packages"]);
    let targets = String::from_utf8(command.output().ok()?.stdout).ok()?;
    let wanted = format!(" {codename} main");
    let mut lines = targets.lines();
    lines.find_map(|line| line.strip_suffix(&wanted).map(str::to_owned))
}

fn run(command: &mut Command) -> Option<()> {
    let output = command.output().ok()?;
    output.status.success().then_some(())
}
