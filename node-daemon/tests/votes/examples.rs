//! The example processes, built as their package files say, against the service.

use std::io::{BufRead as _, BufReader, Read as _};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::Command;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use placet_model::Answer;
use placet_node_daemon::vote::{Handled, Outcome};
use tempfile::TempDir;

use crate::world::{Program, World, compile, name, project, question};

/// Builds the example processes into a folder.
fn build() -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    let sources = project().join("examples/processes");
    let source = |file: &str| sources.join(file).to_str().unwrap().to_owned();
    let built = |file: &str| folder.path().join(file);
    let library = |file: &str| built(file).to_str().unwrap().to_owned();
    let script = format!("-Wl,--version-script={}", source("libgreet.map"));
    let shared = ["-fPIC", "-shared"];
    let arguments = ["-Wl,-soname,libgreet.so.1", &script, &source("libgreet.c")];
    compile(&[&shared[..], &arguments].concat(), &built("libgreet.so.1"));
    let (libgreet, libtext) = (library("libgreet.so.1"), library("libtext.so.1"));
    let arguments = ["-Wl,-soname,libtext.so.1", &source("libtext.c"), &libgreet];
    compile(&[&shared[..], &arguments].concat(), &built("libtext.so.1"));
    compile(&[&source("chatd.c"), &libgreet], &built("chatd"));
    let search = format!("-Wl,-rpath-link,{}", folder.path().display());
    compile(&[&source("clockd.c"), &libtext, &search], &built("clockd"));
    compile(&[&source("metricsd.c")], &built("metricsd"));
    folder
}

fn program(folder: &Path, name: &str) -> Command {
    let mut command = Command::new(folder.join(name));
    command.env("LD_LIBRARY_PATH", folder).current_dir(folder);
    command
}

fn terminate(program: &Program) {
    let pid = i32::try_from(program.pid()).unwrap();
    kill(Pid::from_raw(pid), Signal::SIGTERM).unwrap();
}

/// Starts chatd once the service knows its process id.
fn chatd(world: &World, folder: &Path) -> (Program, PathBuf) {
    let socket = world.serve("chatd");
    let chat = folder.join("chat.sock");
    // The shell waits for a line, and then becomes chatd under the same process id.
    let mut shell = Command::new("sh");
    shell
        .args(["-c", "read line; exec \"$0\" \"$1\""])
        .args([folder.join("chatd"), chat.clone()])
        .env("LD_LIBRARY_PATH", folder)
        .env("PLACET_SOCKET", socket);
    let mut chatd = Program::start(&mut shell);
    world.know(chatd.pid(), "chatd");
    chatd.go_on();
    (chatd, chat)
}

fn session(chat: &Path) -> BufReader<UnixStream> {
    let deadline = std::time::Instant::now() + crate::world::PATIENCE;
    let stream = loop {
        match UnixStream::connect(chat) {
            Ok(stream) => break stream,
            Err(error) if std::time::Instant::now() > deadline => panic!("{error}"),
            Err(_) => std::thread::yield_now(),
        }
    };
    let mut session = BufReader::new(stream);
    let mut greeting = String::new();
    session.read_line(&mut greeting).unwrap();
    assert_eq!(greeting, "Hello, stranger!\n");
    session
}

#[test]
fn the_chat_server_agrees_only_when_nobody_chats() {
    let folder = build();
    let world = World::new();
    let (mut chatd, chat) = chatd(&world, folder.path());
    let first = session(&chat);
    let second = session(&chat);
    chatd.expect("a session begins, 1 open");
    chatd.expect("a session begins, 2 open");

    let ask = |change: &str, chatd: &mut Program| {
        let asking = world.ask(question(change, &["chatd"]));
        chatd.expect("asked about main@sha1:0123: usr/lib/libgreet.so.1 is changed");
        world.finish(asking).remove(0)
    };
    let record = ask("one", &mut chatd);
    assert_eq!(record.answer, Answer::Veto);
    assert_eq!(record.code, "sessions-open");
    assert_eq!(record.message, "2 open sessions");
    drop(second);
    chatd.expect("a session ends, 1 open");
    assert_eq!(ask("two", &mut chatd).message, "1 open session");
    drop(first);
    chatd.expect("a session ends, 0 open");
    let record = ask("three", &mut chatd);
    assert_eq!(record.answer, Answer::Accept);

    let changed = world.run(world.voters.changed(
        &name("chatd"),
        &record.change_digest,
        Outcome::Activated,
        crate::world::PATIENCE,
    ));
    assert_eq!(changed, Handled::AsksDefault);
    terminate(&chatd);
    assert_eq!(chatd.end(), "chatd ends\n");
    assert!(!chat.exists());
}

#[test]
fn chatters_hear_each_other() {
    use std::io::Write as _;
    let folder = build();
    let world = World::new();
    let (_chatd, chat) = chatd(&world, folder.path());
    let mut first = session(&chat);
    let mut second = session(&chat);
    second.get_mut().write_all(b"hi\n").unwrap();
    let mut heard = [0; 3];
    first.read_exact(&mut heard).unwrap();
    assert_eq!(&heard, b"hi\n");
}

#[test]
fn the_simple_processes_run_and_end() {
    let folder = build();
    for (name, says, last) in [
        ("clockd", "Hello, everybody! It is ", "clockd ends\n"),
        ("metricsd", "load ", "metricsd ends\n"),
    ] {
        let mut process = Program::start(&mut program(folder.path(), name));
        assert!(process.line().starts_with(says));
        terminate(&process);
        assert_eq!(process.end(), last);
    }
}
