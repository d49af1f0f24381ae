//! What build commands find, what they may do, and how they end.

use std::cell::Cell;
use std::env;
use std::fs;
use std::ops::ControlFlow;
use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::Command;
use std::time::Instant;

use placet_packager::{BuildOptions, Built, Confine, Confinement, Error, Step, build_watched};

use crate::workshop::{Workshop, chain};

const BOTH: [Confine; 2] = [Confine::Auto, Confine::Never];

/// A package with these lines and one module, `out`, that its commands make.
fn workshop(lines: &str) -> Workshop {
    Workshop::new(&format!(
        "name: a\nversion: 1.0.0\n{lines}\nmodules:\n  - path: out\n    source: out\n"
    ))
}

/// Builds in a namespace; `None`, said on standard error, where the machine has none.
fn confined(workshop: &Workshop) -> Option<Result<Built, Error>> {
    let result = workshop.build_as(Confine::Always);
    if let Err(Error::Confine(error)) = result {
        let missing = format!("user and mount namespaces are not allowed here: {error}");
        assert!(env::var_os("CI").is_none(), "{missing}");
        eprintln!("skipped: builds in a namespace, because {missing}");
        return None;
    }
    Some(result)
}

#[test]
fn commands_find_an_environment_that_is_always_the_same() {
    for confine in BOTH {
        let workshop = workshop(
            "build:\n  - umask > out; echo $SOURCE_DATE_EPOCH $TZ $LC_ALL $GOFLAGS >> out\n  \
             - date -d @0 +%H >> out; cat >> out; ls -A $HOME >> out; touch $HOME/x $TMPDIR/y\n  \
             - ls $HOME $TMPDIR | wc -w >> out; echo ${CARGO_MANIFEST_DIR-unset} >> out\n  \
             - 'echo $A ${CARGO_PKG_NAME-unset} >> out'\n\
             buildEnvironment: {A: \"1 2\"}\npassEnvironment: [CARGO_PKG_NAME]",
        );
        workshop.build_as(confine).unwrap();
        let expected = "0022\n1700000000 UTC C -trimpath\n00\n5\nunset\n1 2 placet-packager\n";
        let found = fs::read_to_string(workshop.path("out")).unwrap();
        assert_eq!(found, expected, "{confine:?}");
    }
}

#[test]
fn a_confined_build_is_at_a_fixed_place_and_writes_nowhere_else() {
    let marker = format!("/var/tmp/placet-{}", std::process::id());
    let workshop =
        workshop("build: ['pwd > out; hostname >> out; echo \"$CFLAGS\" >> out; : > /tmp/x']");
    let Some(built) = confined(&workshop) else {
        return;
    };
    assert_eq!(built.unwrap().confinement, Confinement::Namespace);
    let found = fs::read_to_string(workshop.path("out")).unwrap();
    assert_eq!(found, "/build\nbuild\n\n");
    let outside = self::workshop(&format!("build: [': > {marker}']"));
    let error = chain(&confined(&outside).unwrap().unwrap_err());
    assert!(error.contains("Read-only file system"), "{error}");
    assert!(error.contains("name others in `buildWritable`"), "{error}");
    assert!(!Path::new(&marker).exists());
    let folder = tempfile::tempdir_in("/var/tmp").unwrap();
    let path = folder.path().display();
    let named = self::workshop(&format!(
        "build: [': > {path}/cache; echo > out']\nbuildWritable: [{path}]"
    ));
    confined(&named).unwrap().unwrap();
    assert!(folder.path().join("cache").exists());
    self::workshop("build: ['true']\nbuildWritable: [/none]")
        .refused("package.yaml:4:17: `/none` in `buildWritable` is not a folder");
}

#[test]
fn an_unconfined_build_says_so_and_maps_its_folder() {
    let workshop =
        workshop("build: ['echo $CFLAGS+$RUSTFLAGS > out']\nbuildEnvironment: {CFLAGS: -O2}");
    let built = workshop.build_as(Confine::Never).unwrap();
    let text = built.confinement.to_string();
    assert!(text.contains("not confined (this was asked for)"), "{text}");
    let folder = fs::canonicalize(workshop.path("")).unwrap();
    let folder = folder.display();
    let found = fs::read_to_string(workshop.path("out")).unwrap();
    let maps = format!("-O2 -ffile-prefix-map={folder}=/build+--remap-path-prefix={folder}=/build");
    assert!(found.starts_with(&maps), "{found}");
}

/// Users who are not root get a namespace of their own first. Root runs this test once more as
/// nobody.
#[test]
fn who_is_not_root_is_confined_too() {
    let workshop = workshop("build: ['id -u > out']");
    if confined(&workshop).is_none() || !nix::unistd::getuid().is_root() {
        return;
    }
    let name = "environment::who_is_not_root_is_confined_too";
    let output = Command::new(env::current_exe().unwrap())
        .args(["--exact", name])
        .uid(65_534)
        .gid(65_534)
        .current_dir("/")
        .output();
    match output {
        Ok(output) => {
            let text = String::from_utf8_lossy(&output.stdout);
            assert!(text.contains("1 passed"), "{text}");
        }
        Err(error) => eprintln!("skipped: a build as nobody, who may not run the test: {error}"),
    }
}

#[test]
fn a_command_that_hangs_is_ended_with_all_that_it_started() {
    for confine in BOTH {
        let workshop = workshop(
            "build: ['echo begun; sleep 1000 & echo $! > child; sleep 1000']\nbuildSeconds: 1",
        );
        let started = Instant::now();
        let error = chain(&workshop.build_as(confine).unwrap_err());
        assert!(started.elapsed().as_secs() < 10, "{confine:?}");
        let expected = "was ended after 1 seconds; if it needs longer, say so by `buildSeconds`; it wrote:\n    begun";
        assert!(error.contains("package.yaml:3:9: "), "{error}");
        assert!(error.contains(expected), "{error}");
        assert!(!lives(&workshop), "{confine:?}");
    }
}

#[test]
fn what_a_command_leaves_running_ends_with_it() {
    let workshop = workshop("build: ['sleep 1000 & echo $! > child; echo > out']");
    workshop.built();
    assert!(!lives(&workshop));
}

#[test]
fn a_cancelled_build_ends_its_commands_and_stores_nothing() {
    let workshop = workshop("build: ['sleep 1000 & echo $! > child; echo up; wait']");
    let seen = Cell::new(0);
    let watch = |step: Step<'_>| match step {
        Step::Command {
            line: "up",
            number: 1,
            count: 1,
            ..
        } => {
            seen.set(seen.get() + 1);
            ControlFlow::Break(())
        }
        _ => ControlFlow::Continue(()),
    };
    let file = workshop.path("package.yaml");
    let options = BuildOptions::default();
    let result = build_watched(&file, &workshop.path("layout"), &options, &watch);
    assert!(matches!(result, Err(Error::Cancelled)), "{result:?}");
    assert_eq!(seen.get(), 1);
    assert!(!lives(&workshop));
    assert!(!workshop.path("layout").exists());
}

#[test]
fn commands_that_make_nothing_are_named() {
    workshop("build:\n  - 'true'\n  - |\n    true").refused(
        "package.yaml:9:13: module `out` is refused: source `out` does not exist, and none of the \
         build commands (lines 4, 6) made it",
    );
}

#[test]
fn names_of_variables_are_checked() {
    let refused = |lines: &str, expected: &str| workshop(lines).refused(expected);
    refused(
        "buildEnvironment: {a-b: x}",
        "package.yaml:3:20: `a-b` is not a variable",
    );
    refused(
        "passEnvironment: [SOURCE_DATE_EPOCH]",
        "package.yaml:3:19: `SOURCE_DATE_EPOCH` is not a variable",
    );
    refused(
        "buildSeconds: 0",
        "package.yaml:3:1: invalid value: integer `0`",
    );
}

#[test]
fn the_root_may_be_another_folder() {
    let workshop = Workshop::new(
        "name: a\nversion: 1.0.0\nroot: ..\nbuild: [cat source > out]\nmodules: [{path: out, source: out}]",
    );
    fs::create_dir(workshop.path("packaging")).unwrap();
    workshop.write("source", "text");
    let file = workshop.path("packaging/package.yaml");
    fs::rename(workshop.path("package.yaml"), &file).unwrap();
    let options = BuildOptions::default();
    placet_packager::build(&file, &workshop.path("layout"), &options).unwrap();
}

/// True if the process that the command started still runs. Whoever is sent SIGKILL may be seen
/// for a moment, as a zombie.
fn lives(workshop: &Workshop) -> bool {
    let number = fs::read_to_string(workshop.path("child")).unwrap();
    let status = fs::read_to_string(format!("/proc/{}/stat", number.trim()));
    status.is_ok_and(|text| text.contains("(sleep)") && !text.contains(") Z"))
}
