//! A shell that sees no processes and mounts but its own, in which other people's tools run.

use std::io::{BufRead as _, BufReader, Write as _};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::time::{Duration, Instant};

use placet_tests::skipped;

pub(crate) struct Machine {
    shell: Child,
    /// Absent once the machine goes down.
    input: Option<ChildStdin>,
    output: BufReader<ChildStdout>,
}

impl Machine {
    /// None where one of the `tools` is not there, or who runs the tests may not mount.
    pub(crate) fn with(tools: &[&str]) -> Option<Self> {
        let found = |command: &mut Command| {
            let command = command.stdout(Stdio::null()).stderr(Stdio::null());
            command.status().is_ok_and(|status| status.success())
        };
        let is_missing = |tool: &&&str| !found(Command::new("which").arg(tool));
        if let Some(tool) = tools.iter().find(is_missing) {
            skipped(&format!("`{tool}` is not there"));
            return None;
        }
        let apart = ["--mount", "--pid", "--fork", "--mount-proc"];
        if !found(Command::new("unshare").args(apart).arg("true")) {
            skipped("mounts of one's own are not allowed here");
            return None;
        }
        // Without a terminal: what has one is somebody's session.
        let mut shell = Command::new("unshare")
            .args(apart)
            .args(["setsid", "sh"])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let input = shell.stdin.take();
        let output = BufReader::new(shell.stdout.take().unwrap());
        let mut machine = Self {
            shell,
            input,
            output,
        };
        machine.run("exec 2>&1");
        Some(machine)
    }

    /// What a command says, and how long it takes.
    pub(crate) fn run(&mut self, command: &str) -> (String, Duration) {
        let begun = Instant::now();
        self.tell(&format!("{command}\necho \"ended with $?\"\n"));
        let mut said = String::new();
        loop {
            let line = self.line();
            if let Some(code) = line.strip_prefix("ended with ") {
                assert_eq!(code, "0", "{command}\n{said}");
                return (said, begun.elapsed());
            }
            said = said + &line + "\n";
        }
    }

    /// Starts a command in the background, which says something when it is ready.
    pub(crate) fn tell(&mut self, text: &str) {
        let input = self.input.as_mut().unwrap();
        input.write_all(text.as_bytes()).unwrap();
    }

    /// The next line that somebody in it writes.
    pub(crate) fn line(&mut self) -> String {
        let mut line = String::new();
        self.output.read_line(&mut line).unwrap();
        let text = line.strip_suffix('\n');
        text.expect("the shell ended").to_owned()
    }
}

impl Drop for Machine {
    /// The shell ends with its input, and everything in it with the shell.
    fn drop(&mut self) {
        drop(self.input.take());
        let _ = self.shell.wait();
    }
}
