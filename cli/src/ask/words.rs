//! What people and shell scripts write and read instead of JSON.

use anyhow::{Context as _, bail};
use serde_json::{Value, json};

/// Methods that every varlink service has.
const OF_SERVICE: [&str; 2] = ["GetInfo", "GetInterfaceDescription"];

/// A method's full name: those of the vote interface go by their last part.
pub(super) fn full_name(method: &str) -> String {
    if method.contains('.') {
        method.to_owned()
    } else if OF_SERVICE.contains(&method) {
        format!("org.varlink.service.{method}")
    } else {
        format!("dev.placet.Vote.{method}")
    }
}

/// The parameters of a call, as JSON.
pub(super) fn parameters(text: &str) -> anyhow::Result<Value> {
    let value: Value = serde_json::from_str(text)
        .with_context(|| format!("the parameters `{text}` are no JSON"))?;
    if !value.is_object() {
        bail!(
            "the parameters `{text}` are no JSON object; write them as `{{\"name\": \"value\"}}`"
        );
    }
    Ok(value)
}

/// The call that a line means: `accept CHANGE`, `veto CHANGE MESSAGE`, `defer CHANGE UNTIL MESSAGE`,
/// `ready CHANGE`, `done CHANGE`, `default CHANGE`, or a method and its parameters.
pub(super) fn call(line: &str) -> anyhow::Result<(String, Value)> {
    let (word, rest) = line.trim().split_once(' ').unwrap_or((line.trim(), ""));
    let (change, words) = rest.split_once(' ').unwrap_or((rest, ""));
    let vote = |answer: &str| json!({"changeDigest": change, "answer": answer});
    let (method, parameters) = match word {
        "accept" => ("Vote", vote("accept")),
        "veto" => ("Vote", with(vote("veto"), "message", words)),
        "defer" => {
            let (until, words) = words.split_once(' ').unwrap_or((words, ""));
            let defer = with(vote("defer"), "until", until);
            ("Vote", with(defer, "message", words))
        }
        "ready" => ("Ready", json!({"changeDigest": change})),
        "done" => (
            "Done",
            json!({"changeDigest": change, "outcome": "handled"}),
        ),
        "default" => (
            "Done",
            json!({"changeDigest": change, "outcome": "default"}),
        ),
        method if rest.is_empty() => (method, json!({})),
        method => (method, parameters(rest)?),
    };
    Ok((full_name(method), parameters))
}

fn with(mut vote: Value, name: &str, text: &str) -> Value {
    if !text.is_empty() {
        vote[name] = json!(text);
    }
    vote
}

/// An event as a line: what happened, to which change, and in words.
pub(super) fn event(parameters: &Value) -> String {
    let text = |name: &str| parameters[name].as_str().unwrap_or_default();
    let name = text("event");
    let words = match name {
        "proposed" => text("summary"),
        "released" => text("reason"),
        "changed" | "ended" => text("outcome"),
        "began" => text("rollout"),
        _ => "",
    };
    let line = format!("{name} {} {words}", text("changeDigest"));
    line.trim_end().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn short_words_are_calls() {
        for (line, method, expected) in [
            (
                "accept sha256:1",
                "Vote",
                json!({"changeDigest": "sha256:1", "answer": "accept"}),
            ),
            (
                "veto sha256:1 3 sessions are open",
                "Vote",
                json!({"changeDigest": "sha256:1", "answer": "veto", "message": "3 sessions are open"}),
            ),
            (
                "defer c 2026-01-31T12:00:00Z busy now\n",
                "Vote",
                json!({"changeDigest": "c", "answer": "defer", "until": "2026-01-31T12:00:00Z", "message": "busy now"}),
            ),
            ("ready c", "Ready", json!({"changeDigest": "c"})),
            (
                "done c",
                "Done",
                json!({"changeDigest": "c", "outcome": "handled"}),
            ),
            (
                "default c",
                "Done",
                json!({"changeDigest": "c", "outcome": "default"}),
            ),
            (
                "GetUsers {\"module\": \"lib/x\"}",
                "GetUsers",
                json!({"module": "lib/x"}),
            ),
        ] {
            let method = format!("dev.placet.Vote.{method}");
            assert_eq!(call(line).unwrap(), (method, expected), "{line}");
        }
        assert_eq!(call("GetInfo").unwrap().0, "org.varlink.service.GetInfo");
        assert!(
            call("GetUsers lib/x")
                .unwrap_err()
                .to_string()
                .contains("no JSON")
        );
        assert!(
            call("GetUsers 1")
                .unwrap_err()
                .to_string()
                .contains("JSON object")
        );
    }

    #[test]
    fn events_are_lines() {
        let proposed =
            json!({"event": "proposed", "changeDigest": "sha256:1", "summary": "lib/x is changed"});
        assert_eq!(event(&proposed), "proposed sha256:1 lib/x is changed");
        assert_eq!(event(&json!({"event": "watching"})), "watching");
        let changed =
            json!({"event": "changed", "changeDigest": "c", "outcome": "activated", "seconds": 5});
        assert_eq!(event(&changed), "changed c activated");
    }
}
