//! The news of a fleet in an API server, told as a controller tells them.
//!
//! An API server keeps what is, not what happened: what differs from what was seen before is told
//! as the event that brought it about. Who looks seldom sees less, and never anything wrong.

use std::collections::{BTreeMap, VecDeque};

use anyhow::Context as _;
use futures_util::stream::{BoxStream, StreamExt as _, select};
use jiff::Timestamp;
use kube::Api;
use kube::api::DynamicObject;
use kube::runtime::watcher::{self, Config, Event as Watched, watcher};
use serde_json::{Value, json};

use crate::events::Event;
use crate::output::plain;

/// The news of a fleet, or of one roll-out from its beginning.
pub(crate) struct Follow {
    watched: BoxStream<'static, Result<Watched<DynamicObject>, watcher::Error>>,
    rollout: Option<String>,
    /// Status by kind and name.
    seen: BTreeMap<(bool, String), Value>,
    news: VecDeque<Event>,
    /// Watches that have listed what is there.
    listed: usize,
}

/// Roll-outs and nodes.
const WATCHES: usize = 2;

impl Follow {
    pub(super) fn new(
        rollouts: Api<DynamicObject>,
        nodes: Api<DynamicObject>,
        rollout: Option<&str>,
    ) -> Self {
        let of = rollout.map_or_else(Config::default, |name| {
            Config::default().fields(&format!("metadata.name={name}"))
        });
        // What a node says comes first: it is why a roll-out goes on.
        let watched = select(watcher(nodes, Config::default()), watcher(rollouts, of));
        Self {
            watched: watched.boxed(),
            rollout: rollout.map(str::to_owned),
            seen: BTreeMap::new(),
            news: VecDeque::new(),
            listed: 0,
        }
    }

    pub(super) async fn next(&mut self) -> anyhow::Result<Event> {
        loop {
            if let Some(event) = self.news.pop_front() {
                return Ok(event);
            }
            let next = self.watched.next().await;
            match next.context("the API server ended the watch")? {
                Ok(Watched::Apply(object) | Watched::InitApply(object)) => self.see(&object),
                Ok(Watched::InitDone) => self.listed += 1,
                Err(error @ watcher::Error::InitialListFailed(_)) => {
                    return Err(error).context("failed to watch the fleet");
                }
                // After another error the watch begins again by itself.
                Ok(Watched::Init | Watched::Delete(_)) | Err(_) => {}
            }
        }
    }

    fn see(&mut self, object: &DynamicObject) {
        let status = object.data["status"].clone();
        let name = object.metadata.name.clone().unwrap_or_default();
        let is_rollout = object.data["spec"].get("planDigest").is_some();
        let old = self.seen.insert((is_rollout, name.clone()), status.clone());
        // What was there before is no news of a fleet, and the beginning of a roll-out.
        if old.is_none() && self.rollout.is_none() && self.listed < WATCHES {
            return;
        }
        let change = Change {
            name: &name,
            old: &old.unwrap_or_default(),
            new: &status,
        };
        let news = if is_rollout {
            change.of_rollout(&object.data["spec"])
        } else {
            change.of_node()
        };
        let wanted = |event: &Event| match &self.rollout {
            Some(rollout) => event.text("rollout") == *rollout,
            None => true,
        };
        self.news.extend(news.into_iter().filter(wanted));
    }
}

/// What became of a status.
struct Change<'a> {
    name: &'a str,
    old: &'a Value,
    new: &'a Value,
}

impl Change<'_> {
    fn of_rollout(&self, spec: &Value) -> Vec<Event> {
        let Self { name, old, new } = *self;
        let mut news = Vec::new();
        for decision in added(&old["decisions"], &new["decisions"]) {
            let mut data = decision.clone();
            data["rollout"] = name.into();
            data["kind"] = decision["kind"]["action"].clone();
            news.push(event("decision", &decision["time"], data));
        }
        let last = added(&Value::Null, &new["history"]).last();
        let time = last.map_or(&Value::Null, |last| &last["time"]);
        let revision = &spec["to"];
        for phase in added(&old["history"], &new["history"]) {
            let told = match plain(&phase["phase"]).as_str() {
                "Done" => Some(("verified", json!({ "rollout": name, "revision": revision }))),
                "Aborted" => Some(("aborted", json!({ "rollout": name, "revision": revision }))),
                // Told with its vetoes below.
                "Held" => None,
                _ => Some((
                    "phase",
                    json!({ "rollout": name, "phase": phase["phase"], "reason": phase["message"] }),
                )),
            };
            news.extend(told.map(|(what, data)| event(what, &phase["time"], data)));
        }
        if new["hold"]["number"].is_u64() && old["hold"] != new["hold"] {
            let (hold, vetoes) = (&new["hold"]["number"], &new["hold"]["objections"]);
            let data = json!({ "rollout": name, "hold": hold, "vetoes": vetoes });
            news.push(event("held", time, data));
        }
        news
    }

    fn of_node(&self) -> Vec<Event> {
        let Self { name, old, new } = *self;
        let mut news = Vec::new();
        let rollout = &new["rollout"]["name"];
        let (was, is) = (&old["rollout"]["state"], &new["rollout"]["state"]);
        let verdict = &is["verdict"];
        if !verdict.is_null() && was["verdict"] != *verdict {
            news.push(event("verdict", &verdict["time"], verdict.clone()));
        }
        let failed = &is["activation"]["failed"];
        if failed.is_string() && was["activation"]["failed"] != *failed {
            let data = json!({ "rollout": rollout, "node": name, "reason": failed });
            news.push(event("failed", &Value::Null, data));
        }
        let done = &is["activation"]["done"];
        if !done.is_null() && was["activation"]["done"] != *done {
            let (generation, processes) = (&new["generation"], &new["processes"]);
            let data = json!({
                "rollout": rollout, "node": name,
                "generation": generation, "processes": processes,
            });
            news.push(event("processes", &Value::Null, data));
        }
        news.extend(self.of_suites());
        news
    }

    /// Test suites that have ended.
    fn of_suites(&self) -> impl Iterator<Item = Event> {
        let list = |status: &Value| status["suites"].as_array().cloned().unwrap_or_default();
        let before = list(self.old);
        let ended = list(self.new).into_iter();
        let ended = ended.filter(move |suite| !before.contains(suite));
        ended.filter_map(|suite| {
            let what = match plain(&suite["state"]).as_str() {
                "Passed" => "testsPassed",
                "Failed" => "testsFailed",
                _ => return None,
            };
            let failures = suite["failures"].as_array().into_iter().flatten();
            let failures: Vec<_> = failures
                .map(|it| format!("{}: it {}", plain(&it["test"]), plain(&it["why"])))
                .collect();
            let data = json!({
                "rollout": self.new["rollout"]["name"], "node": self.name,
                "suite": suite["package"], "version": suite["version"],
                "tests": suite["tests"], "failed": suite["failed"], "failures": failures,
            });
            Some(event(what, &Value::Null, data))
        })
    }
}

/// What a list has that it had not.
fn added<'a>(old: &Value, new: &'a Value) -> impl Iterator<Item = &'a Value> + use<'a> {
    let before = old.as_array().map_or(0, Vec::len);
    new.as_array().into_iter().flatten().skip(before)
}

fn event(name: &str, time: &Value, data: Value) -> Event {
    let time = time.as_str().map(str::to_owned);
    Event {
        sequence: 0,
        time: time.unwrap_or_else(|| Timestamp::now().to_string()),
        name: name.to_owned(),
        data: match data {
            Value::Object(data) => data,
            _ => serde_json::Map::new(),
        },
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::{Change, Event};

    fn told(old: &Value, new: &Value) -> Vec<String> {
        let name = "core-1";
        let news = Change { name, old, new }.of_node();
        news.iter().flat_map(Event::lines).collect()
    }

    #[test]
    fn suites_that_have_ended_are_told_once() {
        let suite = |state: &str| {
            json!({ "suites": [{
                "package": "checks", "version": "1.0.0", "state": state, "tests": 2, "failed": 1,
                "failures": [{ "test": "t1", "why": "exited with code 3" }],
            }] })
        };
        let (running, failed) = (suite("Running"), suite("Failed"));
        assert_eq!(told(&Value::Null, &running), [""; 0]);
        let expected = [
            "tests of checks failed on core-1:",
            "  t1: it exited with code 3",
        ];
        assert_eq!(told(&running, &failed), expected);
        assert_eq!(told(&failed, &failed), [""; 0]);
        let passed = told(&running, &suite("Passed"));
        assert_eq!(passed, ["the tests of checks passed on core-1"]);
    }
}
