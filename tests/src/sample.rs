//! Long matrices are sampled by a printed seed, and run whole with `PLACET_FULL=1`; figures of whole
//! runs are kept.

use std::io::Write as _;
use std::path::Path;
use std::process::Command;
use std::time::Duration;
use std::{env, fs};

use rand::rngs::StdRng;
use rand::{RngExt as _, SeedableRng as _};

/// How much of a matrix is run, and the randomness for it.
#[derive(Debug)]
pub struct Sample {
    random: StdRng,
    /// How many cases to run.
    pub cases: usize,
}

impl Sample {
    /// `whole` cases of the matrix `name` in a full run, `few` otherwise. The seed comes from
    /// `PLACET_SEED`, or is drawn, and is printed.
    pub fn new(name: &str, whole: usize, few: usize) -> Self {
        let seed = env::var("PLACET_SEED")
            .ok()
            .and_then(|seed| seed.parse().ok())
            .unwrap_or_else(rand::random);
        let cases = if is_full() { whole } else { few };
        say(&format!(
            "{name}: {cases} of {whole} cases, PLACET_SEED={seed}"
        ));
        Self {
            random: StdRng::seed_from_u64(seed),
            cases,
        }
    }

    /// A random instant before `most`.
    pub fn instant(&mut self, most: Duration) -> Duration {
        most.mul_f64(self.random.random::<f64>())
    }

    /// A random number below `limit`.
    pub fn below(&mut self, limit: usize) -> usize {
        self.random.random_range(0..limit)
    }

    /// A random one of `items`.
    pub fn pick<'a, T>(&mut self, items: &'a [T]) -> &'a T {
        &items[self.random.random_range(0..items.len())]
    }
}

/// Says something that a passing test does not keep to itself.
fn say(text: &str) {
    // What macros print is captured by the test runner.
    let _ = writeln!(std::io::stderr(), "{text}");
}

/// True in a full run.
pub fn is_full() -> bool {
    env::var("PLACET_FULL").is_ok_and(|full| full == "1")
}

/// The middle one of what was measured, or what is between the two in the middle; 0 of none.
pub fn median(mut values: Vec<f64>) -> f64 {
    if values.is_empty() {
        return 0.0;
    }
    values.sort_by(f64::total_cmp);
    f64::midpoint(values[(values.len() - 1) / 2], values[values.len() / 2])
}

/// A figure with as many digits as people read.
pub fn thousandths(value: f64) -> f64 {
    (value * 1_000.0).round() / 1_000.0
}

/// Prints the figures of `name` and, in a full run, keeps them in `docs/evidence/` with the date
/// and the commit.
pub fn evidence(name: &str, figures: &serde_json::Value) {
    say(&format!("{name}: {figures}"));
    if !is_full() {
        return;
    }
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let text = serde_json::json!({
        "name": name,
        "date": jiff::Timestamp::now().strftime("%Y-%m-%d").to_string(),
        "commit": commit(&root),
        "command": command(),
        "figures": figures,
    });
    let path = root.join("docs/evidence").join(format!("{name}.json"));
    let text = serde_json::to_string_pretty(&text).expect("figures serialise");
    fs::write(path, text + "\n").expect("evidence can be written");
}

/// The commit that is checked out, marked where files differ from it; other evidence may.
fn commit(root: &Path) -> String {
    let git = |arguments: &[&str]| {
        let output = Command::new("git")
            .args(arguments)
            .current_dir(root)
            .output();
        output.expect("git starts")
    };
    let head = git(&["rev-parse", "HEAD"]);
    assert!(head.status.success(), "evidence is of a commit");
    let changed = git(&["diff", "--quiet", "HEAD", "--", ".", ":!docs/evidence"]);
    let mark = if changed.status.success() {
        ""
    } else {
        "-modified"
    };
    format!("{}{mark}", String::from_utf8_lossy(&head.stdout).trim())
}

/// What has these figures measured anew. Where the controller or the program is another than the one
/// that the tests build, or the test is optimised, they are of that one.
fn command() -> String {
    let is_program = env::var("PLACET_PROGRAM").is_ok_and(|it| it.contains("/release/"));
    if is_program || !cfg!(debug_assertions) {
        let program = if is_program {
            "PLACET_PROGRAM=$PWD/target/release/placet "
        } else {
            ""
        };
        let profile = if cfg!(debug_assertions) {
            ""
        } else {
            " --release"
        };
        let (package, test) = running_test();
        format!("{program}PLACET_FULL=1 cargo test{profile} -p placet-{package} --test {test}")
    } else if env::var_os("PLACET_CONTROLLER").is_some() {
        "PLACET_CONTROLLER=target/release/placet-controller PLACET_FULL=1 cargo test -p placet-tests --test kubernetes -- many:: figures:: --test-threads=1".to_owned()
    } else {
        "cargo xtask test --full".to_owned()
    }
}

/// The package, whose folder tests run in, and the name of the test program without its hash.
fn running_test() -> (String, String) {
    let folder = env::current_dir().expect("there is a folder");
    let program = env::current_exe().expect("a program runs");
    let last = |path: &Path| {
        let name = path.file_name().unwrap_or_default();
        name.to_string_lossy().into_owned()
    };
    let program = last(&program);
    let test = program.rsplit_once('-').map_or(&*program, |(name, _)| name);
    (last(&folder), test.to_owned())
}
