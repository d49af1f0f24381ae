//! `placet package signature` and `stub`, as people run them.

use std::fs;
use std::path::Path;
use std::process::{Command, Output};

use serde_json::Value;

fn placet(folder: &Path, arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_placet"))
        .args(["package"])
        .args(arguments)
        .current_dir(folder)
        .output()
        .expect("placet starts")
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

#[track_caller]
fn run(folder: &Path, line: &str) {
    let status = Command::new("sh")
        .args(["-c", line])
        .current_dir(folder)
        .status();
    assert!(status.is_ok_and(|it| it.success()), "{line}");
}

#[test]
fn signatures_of_files_and_folders() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    fs::create_dir_all(folder.join("files/below")).unwrap();
    fs::write(folder.join("files/b"), "placet").unwrap();
    fs::write(folder.join("files/below/c"), "other").unwrap();
    run(folder, "ln -s /nowhere files/a; cp /bin/true files/true");
    let output = placet(folder, &["signature", "files"]);
    assert!(output.status.success());
    let lines = text(&output.stdout);
    let lines: Vec<_> = lines.lines().collect();
    assert_eq!(lines.len(), 3, "{lines:?}");
    assert_eq!(lines[0], "md5:23063593f41d8743965699ce15d9ad10  files/b");
    assert!(lines[2].starts_with("elfsig1:") && lines[2].ends_with("  files/true"));
    let output = placet(folder, &["signature", "files/b", "-o", "json"]);
    let value: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(value[0]["size"], 6);
    assert_eq!(
        value[0]["digest"],
        placet_model::Digest::of(b"placet").to_string()
    );
    fs::write(folder.join("cut"), b"\x7fELF\x02\x01\x01").unwrap();
    let output = placet(folder, &["signature", "cut", "files/b"]);
    assert_eq!(output.status.code(), Some(2));
    assert!(
        text(&output.stdout).contains("files/b"),
        "the others are told all the same"
    );
    assert!(
        text(&output.stderr).contains("truncated"),
        "{}",
        text(&output.stderr)
    );
}

#[test]
fn a_difference_is_explained() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    fs::write(
        folder.join("a.c"),
        "const char greeting[] = \"Hello\"; int main(int count) { return greeting[count]; }",
    )
    .unwrap();
    run(
        folder,
        "gcc -g -o one a.c; strip -o stripped one; sed -i s/Hello/Howdy/ a.c; gcc -g -o two a.c",
    );
    let explain = |names: [&str; 2], format: &str| {
        placet(
            folder,
            &["signature", "--explain", names[0], names[1], "-o", format],
        )
    };
    let output = explain(["one", "two"], "table");
    assert_eq!(output.status.code(), Some(1));
    let said = text(&output.stdout);
    for part in [
        "The signatures differ.",
        "First in .rodata, in `greeting`:",
        "65 6c 6c 6f",
        "owdy",
    ] {
        assert!(said.contains(part), "{said}");
    }
    assert!(
        said.lines().all(|line| line.chars().count() <= 80),
        "{said}"
    );
    let value: Value = serde_json::from_slice(&explain(["one", "two"], "json").stdout).unwrap();
    assert_eq!(
        (&value["equal"], &value["regions"][0]["symbol"]),
        (&false.into(), &"greeting".into())
    );
    let output = explain(["one", "stripped"], "table");
    assert_eq!(output.status.code(), Some(0));
    assert!(text(&output.stdout).contains("nothing that differs counts"));
    assert_eq!(explain(["one", "one"], "table").status.code(), Some(0));
    let output = placet(folder, &["signature", "--explain", "one"]);
    assert_eq!(output.status.code(), Some(2));
}

#[test]
#[expect(clippy::too_many_lines, reason = "one story to its end")]
fn a_stub_is_made_of_a_library_and_of_an_api_file() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    fs::write(folder.join("lib.c"), "int answer(void) { return 42; }").unwrap();
    fs::write(
        folder.join("main.c"),
        "int answer(void); int main(void) { return answer() - 42; }",
    )
    .unwrap();
    fs::write(
        folder.join("api.yaml"),
        "name: answer\nversion: \"1\"\nsoname: libanswer.so.1\nsymbols:\n  - {name: answer}\n",
    )
    .unwrap();
    run(
        folder,
        "gcc -shared -fPIC -Wl,-soname,libanswer.so.1 -o libanswer.so.1 lib.c",
    );
    for source in ["libanswer.so.1", "api.yaml"] {
        let output = placet(folder, &["stub", source, "--to", "stubs.so"]);
        assert!(output.status.success(), "{}", text(&output.stderr));
        assert!(text(&output.stdout).contains("libanswer.so.1 for x86_64: 1 functions"));
        run(
            folder,
            "gcc -o main main.c stubs.so && LD_LIBRARY_PATH=. ./main",
        );
    }
    let output = placet(
        folder,
        &[
            "stub",
            "api.yaml",
            "--to",
            "stubs.so",
            "--architecture",
            "s390x",
            "-o",
            "json",
        ],
    );
    let value: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(value["architecture"], "s390x");
    let before = fs::read(folder.join("stubs.so")).unwrap();
    fs::write(folder.join("bad.yaml"), "name: answer\n").unwrap();
    fs::write(
        folder.join("cut.so"),
        &fs::read(folder.join("libanswer.so.1")).unwrap()[..500],
    )
    .unwrap();
    for (source, part) in [
        ("bad.yaml", "bad.yaml"),
        ("cut.so", "truncated"),
        ("main", "soname"),
        ("none", "none"),
    ] {
        let output = placet(folder, &["stub", source, "--to", "stubs.so"]);
        assert_eq!(output.status.code(), Some(2));
        assert!(
            text(&output.stderr).contains(part),
            "{source}: {}",
            text(&output.stderr)
        );
        assert_eq!(
            fs::read(folder.join("stubs.so")).unwrap(),
            before,
            "nothing half-written"
        );
    }
    let names = fs::read_dir(folder)
        .unwrap()
        .flatten()
        .map(|it| it.file_name());
    assert!(
        names
            .into_iter()
            .all(|name| !name.to_string_lossy().starts_with(".tmp"))
    );
}
