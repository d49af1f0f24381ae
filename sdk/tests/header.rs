//! The C header: it compiles everywhere without a warning, and its parser stands whatever arrives.
#![cfg(unix)]

#[cfg(test)]
mod header {
    use std::io::{Read as _, Write as _};
    use std::path::{Path, PathBuf};
    use std::process::{Command, Stdio};
    use std::time::{SystemTime, UNIX_EPOCH};

    use proptest::prelude::*;
    use proptest::strategy::ValueTree as _;
    use proptest::test_runner::{RngAlgorithm, TestRng, TestRunner};
    use serde_json::Value;

    const WARNINGS: [&str; 8] = [
        "-Wall",
        "-Wextra",
        "-Werror",
        "-pedantic",
        "-Wshadow",
        "-Wconversion",
        "-Wsign-conversion",
        "-I",
    ];

    fn folder() -> PathBuf {
        Path::new(env!("CARGO_MANIFEST_DIR")).join("c")
    }

    fn scratch(name: &str) -> PathBuf {
        Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("{}-{name}", std::process::id()))
    }

    fn compile(compiler: &str, arguments: &[&str], source: &Path, output: &Path) {
        let said = Command::new(compiler)
            .args(WARNINGS)
            .arg(folder())
            .args(arguments)
            .arg("-o")
            .args([output, source])
            .output()
            .expect("these tests need gcc and g++");
        let text = String::from_utf8_lossy(&said.stderr);
        assert!(said.status.success(), "{compiler} {arguments:?}: {text}");
    }

    #[test]
    fn it_compiles_without_a_warning_in_c_and_in_cpp() {
        let user = scratch("user.c");
        let text = "#include \"placet.h\"\n\
            static struct placet placet;\n\
            int main(void) { struct placet_event e;\n\
            return placet_open(&placet) > 0 && placet_next(&placet, &e, 0) > 0; }\n";
        std::fs::write(&user, text).unwrap();
        let output = scratch("user");
        for standard in ["-std=c99", "-std=gnu99", "-std=c11", "-std=c17"] {
            for optimise in ["-O0", "-O2", "-O3"] {
                compile(
                    "gcc",
                    &[standard, optimise, "-Wstrict-prototypes"],
                    &user,
                    &output,
                );
            }
        }
        for standard in ["-std=c++11", "-std=c++17", "-std=c++20"] {
            compile("g++", &["-x", "c++", standard, "-O2"], &user, &output);
        }
        std::fs::remove_file(user).unwrap();
        std::fs::remove_file(output).unwrap();
    }

    /// Messages as the node daemon sends them, and some that it does not.
    const SEEDS: [&str; 9] = [
        r#"{"parameters":{"event":"watching"},"continues":true}"#,
        r#"{"continues":true,"parameters":{"event":"proposed","changeDigest":"sha256:0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef","rollout":"main-1","revision":"main@sha1:01","dryRun":false,"deadline":"2026-01-31T12:00:00Z","seconds":5,"modules":["a","b"],"moduleCount":2,"summary":"é\u00e9\ud83d\ude00 \\ \" \n"}}"#,
        r#"{"parameters":{"event":"released","changeDigest":"sha256:00","reason":"\ud800\udc00\udfff\u0000"}}"#,
        r#"{"parameters":{"event":"prepare","changeDigest":"sha256:00","seconds":99999999999999999999}}"#,
        r#"{"parameters":{"event":"changed","changeDigest":"sha256:00","outcome":"regressed","seconds":1e3}}"#,
        r#"{"error":"dev.placet.Vote.UnknownProposal","parameters":{"changeDigest":"x"}}"#,
        r#" { "parameters" : { "changeSet" : { "modules" : [ [ ] , { } , -0.5e+7 , null ] } , "size" : 1 } } "#,
        r#"{"a":[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[1]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]}"#,
        r#"{"parameters":"none","error":5}"#,
    ];

    /// A seed with some bytes replaced, removed, repeated or put in.
    fn mutant() -> impl Strategy<Value = Vec<u8>> {
        let byte = || {
            prop_oneof![
                any::<u8>(),
                prop::sample::select(br#"{}[]",:\u0dtfn-.eE "#.to_vec())
            ]
        };
        let edits = prop::collection::vec((any::<prop::sample::Index>(), 0..4_u8, byte()), 0..6);
        (prop::sample::select(SEEDS.to_vec()), edits).prop_map(|(seed, edits)| {
            let mut bytes = seed.as_bytes().to_vec();
            for (index, edit, byte) in edits {
                let at = index.index(bytes.len());
                match edit {
                    0 => bytes[at] = byte,
                    1 => bytes.insert(at, byte),
                    2 if bytes.len() > 1 => drop(bytes.remove(at)),
                    _ => bytes.extend_from_within(at..),
                }
            }
            bytes
        })
    }

    fn texts(seed: u64, count: usize) -> Vec<Vec<u8>> {
        let mut entropy = [0; 32];
        entropy[..8].copy_from_slice(&seed.to_le_bytes());
        let rng = TestRng::from_seed(RngAlgorithm::ChaCha, &entropy);
        let mut runner = TestRunner::new_with_rng(ProptestConfig::default(), rng);
        let noise = prop::collection::vec(any::<u8>(), 0..300);
        let any_text = prop_oneof![9 => mutant(), 1 => noise];
        let mut texts: Vec<_> = SEEDS.iter().map(|seed| seed.as_bytes().to_vec()).collect();
        // What fits no buffer, and what just fits.
        texts.extend([65_536, 65_537, 70_000].map(|length| vec![b'x'; length]));
        texts.push([&b"{\"a\":\""[..], &vec![b'y'; 65_000], &b"\"}\0"[..]].concat());
        let tree = |_| any_text.new_tree(&mut runner).unwrap().current();
        texts.extend((0..count).map(tree));
        texts
    }

    /// Runs the program over all texts and says which it took for a JSON object.
    fn judge(program: &Path, texts: &[Vec<u8>]) -> Vec<bool> {
        let mut child = Command::new(program)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut input = child.stdin.take().unwrap();
        let records: Vec<u8> = texts
            .iter()
            .flat_map(|text| {
                let length = u32::try_from(text.len()).unwrap().to_le_bytes();
                [&length[..], text].concat()
            })
            .collect();
        // The program may fail halfway; its status says so.
        let writer = std::thread::spawn(move || drop(input.write_all(&records)));
        let mut output = Vec::new();
        child
            .stdout
            .take()
            .unwrap()
            .read_to_end(&mut output)
            .unwrap();
        writer.join().unwrap();
        assert!(child.wait().unwrap().success());
        output.iter().map(|byte| *byte == b'1').collect()
    }

    #[test]
    fn nesting_is_bounded() {
        let program = scratch("fuzz-nesting");
        let source = folder().join("tests/fuzz.c");
        compile(
            "gcc",
            &["-O1", "-fsanitize=address,undefined"],
            &source,
            &program,
        );
        let nested = |depth: usize| {
            let (open, close) = ("[".repeat(depth), "]".repeat(depth));
            format!("{{\"a\":{open}{close}}}").into_bytes()
        };
        assert_eq!(judge(&program, &[nested(63), nested(64)]), [true, false]);
        std::fs::remove_file(program).unwrap();
    }

    #[test]
    fn whatever_arrives_is_judged_as_serde_judges_it_and_does_no_harm() {
        let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
        let seed = std::env::var("PLACET_TEST_SEED")
            .ok()
            .and_then(|seed| seed.parse().ok())
            .unwrap_or(u64::from(since.subsec_nanos()));
        println!("PLACET_TEST_SEED={seed}");
        let program = scratch("fuzz");
        let source = folder().join("tests/fuzz.c");
        let sanitise = "-fsanitize=address,undefined";
        compile(
            "gcc",
            &["-g", "-O1", sanitise, "-fno-sanitize-recover=all"],
            &source,
            &program,
        );
        let texts = texts(seed, 20_000);
        let judged = judge(&program, &texts);
        assert_eq!(judged.len(), texts.len());
        let mut objects = 0;
        for (text, judged) in texts.iter().zip(judged) {
            let shown = String::from_utf8_lossy(text);
            let depth = text.iter().filter(|byte| b"[{".contains(byte)).count();
            if serde_json::from_slice::<Value>(text).is_ok_and(|value| value.is_object()) {
                assert!(judged || depth > 64, "refused: {shown}");
                objects += 1;
            } else if judged {
                // serde judges these more strictly, for reasons that do not matter here.
                let lone_surrogates = shown.contains("\\ud") || shown.contains("\\uD");
                let huge_numbers = shown.contains(['e', 'E']);
                let other = lone_surrogates || huge_numbers || std::str::from_utf8(text).is_err();
                assert!(other, "taken: {shown}");
            }
        }
        assert!(objects > 1_000, "{objects}");
        std::fs::remove_file(program).unwrap();
    }
}
