//! The variables that build commands find: no others than these.

use std::collections::{BTreeMap, BTreeSet};
use std::env;
use std::ffi::{OsStr, OsString};
use std::path::{Path, PathBuf};

use crate::error::Error;
use crate::variable::VariableName;

/// What stands for the build folder in debug data and `__FILE__`.
pub(crate) const MAPPED_ROOT: &str = "/build";

/// What stands for Cargo's folder with the sources of crates.
const MAPPED_CARGO: &str = "/cargo";

/// What a command may have of the caller's environment without being named: the way to programs
/// and to the network, which decide whether a build works and not what it makes.
const PASSED: &[&str] = &[
    "PATH",
    "http_proxy",
    "https_proxy",
    "no_proxy",
    "HTTP_PROXY",
    "HTTPS_PROXY",
    "NO_PROXY",
    "SSL_CERT_FILE",
    "SSL_CERT_DIR",
    "GOPROXY",
    "GOSUMDB",
    "GONOSUMDB",
    "GOPRIVATE",
];

/// The same everywhere: time zone, locale, and what would make one build differ from the next.
const FIXED: &[(&str, &str)] = &[
    ("TZ", "UTC"),
    ("LC_ALL", "C"),
    ("USER", "build"),
    ("LOGNAME", "build"),
    ("ZERO_AR_DATE", "1"),
    ("PYTHONHASHSEED", "0"),
    ("PERL_HASH_SEED", "0"),
    ("CARGO_INCREMENTAL", "0"),
    ("GOFLAGS", "-trimpath"),
];

/// Variables of compilers that understand the option after them.
const MAPPED: &[(&str, &str)] = &[
    ("CFLAGS", "-ffile-prefix-map="),
    ("CXXFLAGS", "-ffile-prefix-map="),
    ("OBJCFLAGS", "-ffile-prefix-map="),
    ("FFLAGS", "-ffile-prefix-map="),
    ("FCFLAGS", "-ffile-prefix-map="),
    ("RUSTFLAGS", "--remap-path-prefix="),
];

/// What the package file says of the environment.
#[derive(Debug)]
pub(crate) struct Declared<'a> {
    /// Variables and their values.
    pub(crate) set: &'a BTreeMap<VariableName, String>,
    /// Variables of the caller's environment that pass.
    pub(crate) pass: &'a BTreeSet<VariableName>,
}

/// Where commands run, as they see it.
#[derive(Debug)]
pub(crate) struct Folders<'a> {
    /// The build folder.
    pub(crate) build: &'a Path,
    /// A folder for temporary files, in which `home` is.
    pub(crate) temporary: &'a Path,
}

/// All variables of a build command.
pub(crate) fn variables(
    declared: &Declared<'_>,
    folders: &Folders<'_>,
    epoch: i64,
) -> BTreeMap<OsString, OsString> {
    let mut all: BTreeMap<OsString, OsString> = BTreeMap::new();
    all.extend(
        FIXED
            .iter()
            .map(|(name, value)| (name.into(), value.into())),
    );
    all.insert("HOME".into(), folders.temporary.join("home").into());
    all.insert("TMPDIR".into(), folders.temporary.into());
    all.insert("PWD".into(), folders.build.into());
    all.insert("SOURCE_DATE_EPOCH".into(), epoch.to_string().into());
    for (name, folder) in toolchains() {
        all.insert(name.into(), folder.into());
    }
    let passed = declared.pass.iter().map(VariableName::as_str);
    for name in PASSED.iter().copied().chain(passed) {
        if let Some(value) = env::var_os(name) {
            all.insert(name.into(), value);
        }
    }
    let set = declared.set.iter();
    all.extend(set.map(|(name, value)| (name.as_str().into(), value.into())));
    add_maps(&mut all, folders.build);
    all
}

/// Folders of toolchains that live in the caller's home, which commands do not see.
pub(crate) fn toolchains() -> impl Iterator<Item = (&'static str, PathBuf)> {
    let home = env::home_dir().unwrap_or_default();
    let places = [
        ("CARGO_HOME", ".cargo"),
        ("RUSTUP_HOME", ".rustup"),
        ("GOMODCACHE", "go/pkg/mod"),
    ];
    let folders = places.map(|(name, place)| {
        let named = env::var_os(name).map(PathBuf::from);
        (name, named.unwrap_or_else(|| home.join(place)))
    });
    folders.into_iter().filter(|(_, folder)| folder.is_dir())
}

/// Options that keep paths of this machine out of what compilers write.
fn add_maps(all: &mut BTreeMap<OsString, OsString>, build: &Path) {
    if build != Path::new(MAPPED_ROOT) {
        for (name, option) in MAPPED {
            add_map(all, name, option, build, MAPPED_ROOT);
        }
    }
    if let Some(cargo) = all.get(OsStr::new("CARGO_HOME")).map(PathBuf::from) {
        add_map(
            all,
            "RUSTFLAGS",
            "--remap-path-prefix=",
            &cargo,
            MAPPED_CARGO,
        );
    }
}

fn add_map(
    all: &mut BTreeMap<OsString, OsString>,
    name: &str,
    option: &str,
    from: &Path,
    to: &str,
) {
    let value = all.entry(name.into()).or_default();
    if !value.is_empty() {
        value.push(" ");
    }
    value.push(option);
    value.push(from);
    value.push("=");
    value.push(to);
}

/// Shells split variables at white space, and the option at `=`.
pub(crate) fn check_folder(folder: &Path) -> Result<(), Error> {
    let text = folder.to_string_lossy();
    let why = if text.chars().any(char::is_whitespace) {
        "its path contains white space, which compiler options cannot carry"
    } else if text.contains(['=', '*', '?', '[']) || text.chars().any(char::is_control) {
        "its path contains `=`, `*`, `?`, `[` or a control character, which compiler options cannot carry"
    } else {
        return Ok(());
    };
    let path = folder.to_owned();
    Err(Error::Folder { path, why })
}
