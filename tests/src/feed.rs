//! The controller's feed of events, followed across its restarts.

use std::path::{Path, PathBuf};
use std::time::Duration;

use placet_protocol::wire::WatchRequest;
use placet_protocol::wire::admin_client::AdminClient;
use serde_json::Value;
use tokio::sync::mpsc;

/// One event; `data` holds its members beside name and time.
#[derive(Debug, Clone)]
pub struct Event {
    /// Its place in the feed.
    pub sequence: u64,
    /// Its name.
    pub name: String,
    /// Its members.
    pub data: Value,
}

impl Event {
    /// The member `key` as text; empty if it is not a text.
    pub fn text(&self, key: &str) -> &str {
        self.data[key].as_str().unwrap_or_default()
    }
}

/// Everything heard so far, and what comes.
#[derive(Debug)]
pub struct Feed {
    incoming: mpsc::UnboundedReceiver<Event>,
    /// Events heard so far, oldest first.
    pub heard: Vec<Event>,
    task: tokio::task::JoinHandle<()>,
}

/// Longer than any wait of a test that passes.
const PATIENCE_SECONDS: u32 = 60;

impl Feed {
    /// Follows the controller behind `socket`, whether it runs already or not.
    pub fn follow(socket: &Path) -> Self {
        let (sender, incoming) = mpsc::unbounded_channel();
        let task = tokio::spawn(pump(socket.to_owned(), sender));
        Self {
            incoming,
            heard: Vec::new(),
            task,
        }
    }

    /// Hears events up to the first that is `wanted`, which may have been heard before from
    /// sequence `since` on.
    pub async fn wait(&mut self, since: u64, what: &str, wanted: impl Fn(&Event) -> bool) -> Event {
        self.wait_long(since, what, PATIENCE_SECONDS, wanted).await
    }

    /// As [`Self::wait`], for at most `seconds` between two events.
    pub async fn wait_long(
        &mut self,
        since: u64,
        what: &str,
        seconds: u32,
        wanted: impl Fn(&Event) -> bool,
    ) -> Event {
        let patience = Duration::from_secs(seconds.into());
        let matches = |event: &Event| event.sequence > since && wanted(event);
        if let Some(event) = self.heard.iter().find(|event| matches(event)) {
            return event.clone();
        }
        loop {
            let next = tokio::time::timeout(patience, self.incoming.recv()).await;
            let Ok(Some(event)) = next else {
                panic!("waited in vain for {what}; heard:\n{}", self.tail())
            };
            self.heard.push(event.clone());
            if matches(&event) {
                return event;
            }
        }
    }

    /// The sequence number of the latest event heard.
    pub fn latest(&mut self) -> u64 {
        while let Ok(event) = self.incoming.try_recv() {
            self.heard.push(event);
        }
        self.heard.last().map_or(0, |event| event.sequence)
    }

    /// Events with this name and a greater sequence number than `since`.
    pub fn named(&self, name: &str, since: u64) -> impl Iterator<Item = &Event> {
        self.heard
            .iter()
            .filter(move |event| event.sequence > since && event.name == name)
    }

    fn tail(&self) -> String {
        let last = self.heard.iter().rev().take(12).rev();
        let lines: Vec<_> = last
            .map(|event| format!("{} {} {}", event.sequence, event.name, event.data))
            .collect();
        lines.join("\n")
    }
}

impl Drop for Feed {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn pump(socket: PathBuf, sender: mpsc::UnboundedSender<Event>) {
    let mut since = 0;
    while !sender.is_closed() {
        if let Ok(channel) = placet_protocol::admin_connect(&socket).await {
            let request = WatchRequest {
                since,
                rollout: String::new(),
                kept_only: false,
            };
            // The plan of a large fleet is one event.
            let mut client = AdminClient::new(channel).max_decoding_message_size(64 << 20);
            if let Ok(stream) = client.watch(request).await {
                let mut stream = stream.into_inner();
                while let Ok(Some(event)) = stream.message().await {
                    since = event.sequence;
                    let data = serde_json::from_slice(&event.data_json).unwrap_or_default();
                    let _ = sender.send(Event {
                        sequence: since,
                        name: event.event,
                        data,
                    });
                }
            }
        }
        // A controller that is down announces nothing: asking again is the only way.
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}
