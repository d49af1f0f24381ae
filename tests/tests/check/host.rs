//! A host of git, as far as comments on pull requests go: an HTTP server that keeps them.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::thread;

use serde_json::{Value, json};

/// What the token has to be.
pub(crate) const TOKEN: &str = "t0ken";

/// One request that was understood.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Request {
    pub(crate) method: String,
    pub(crate) path: String,
}

#[derive(Debug, Default)]
struct State {
    comments: Vec<Value>,
    requests: Vec<Request>,
}

/// It listens until the test ends.
pub(crate) struct Host {
    address: String,
    state: Arc<Mutex<State>>,
}

impl Host {
    /// One whose token comes in this header, as in `Authorization: Bearer`.
    pub(crate) fn start(login: &'static str) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = format!("http://{}", listener.local_addr().unwrap());
        let state = Arc::new(Mutex::new(State::default()));
        let shared = Arc::clone(&state);
        thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                answer(&stream, login, &mut shared.lock().unwrap());
            }
        });
        Self { address, state }
    }

    pub(crate) fn address(&self) -> &str {
        &self.address
    }

    /// Other people's comments.
    pub(crate) fn fill(&self, count: usize) {
        let comments = &mut self.state.lock().unwrap().comments;
        for _ in 0..count {
            let id = comments.len() + 1;
            comments.push(json!({"id": id, "body": "Nice work"}));
        }
    }

    pub(crate) fn bodies(&self) -> Vec<String> {
        let comments = &self.state.lock().unwrap().comments;
        let bodies = comments.iter().map(|it| it["body"].as_str().unwrap());
        bodies.map(str::to_owned).collect()
    }

    /// What was asked for since the last time, but for lists.
    pub(crate) fn changes(&self) -> Vec<Request> {
        let requests = std::mem::take(&mut self.state.lock().unwrap().requests);
        let changes = requests.into_iter().filter(|it| it.method != "GET");
        changes.collect()
    }
}

fn answer(stream: &TcpStream, login: &str, state: &mut State) {
    let mut reader = BufReader::new(stream);
    let mut lines = Vec::new();
    let mut length = 0;
    loop {
        let mut line = String::new();
        if reader.read_line(&mut line).unwrap_or(0) == 0 {
            return;
        }
        let line = line.trim_end().to_owned();
        if line.is_empty() {
            break;
        }
        if let Some(text) = line.to_lowercase().strip_prefix("content-length:") {
            length = text.trim().parse().unwrap();
        }
        lines.push(line);
    }
    let mut body = vec![0; length];
    reader.read_exact(&mut body).unwrap();
    let wanted = format!("{login} {TOKEN}").to_lowercase();
    let is_allowed = lines.iter().any(|line| line.to_lowercase() == wanted);
    let mut parts = lines[0].split(' ');
    let (method, target) = (parts.next().unwrap(), parts.next().unwrap());
    let (code, value) = if is_allowed {
        handle(method, target, &body, state)
    } else {
        (401, json!({"message": "who are you?"}))
    };
    let text = value.to_string();
    let head = format!(
        "HTTP/1.1 {code} x\r\nContent-Type: application/json\r\nContent-Length: {}\r\nConnection: close\r\n\r\n",
        text.len()
    );
    let mut stream = stream;
    stream.write_all((head + &text).as_bytes()).unwrap();
}

fn handle(method: &str, target: &str, body: &[u8], state: &mut State) -> (u16, Value) {
    let (path, query) = target.split_once('?').unwrap_or((target, ""));
    state.requests.push(Request {
        method: method.to_owned(),
        path: path.to_owned(),
    });
    let body = || serde_json::from_slice::<Value>(body).unwrap()["body"].clone();
    match method {
        "GET" => {
            let page = query.split('&').find_map(|it| it.strip_prefix("page="));
            let page: usize = page.unwrap_or("1").parse().unwrap();
            let comments = state.comments.iter().skip((page - 1) * 50).take(50);
            (200, comments.cloned().collect())
        }
        "POST" => {
            let comment = json!({"id": state.comments.len() + 1, "body": body()});
            state.comments.push(comment.clone());
            (201, comment)
        }
        "PATCH" | "PUT" => {
            let id: usize = path.rsplit('/').next().unwrap().parse().unwrap();
            state.comments[id - 1]["body"] = body();
            (200, state.comments[id - 1].clone())
        }
        _ => (405, json!({})),
    }
}
