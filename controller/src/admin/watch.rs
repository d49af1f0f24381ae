//! The feed of events: those that are kept, then those to come.

use futures_util::Stream;
use placet_protocol::wire::{Event, WatchRequest};
use tokio::sync::broadcast::error::RecvError;
use tokio::sync::{broadcast, mpsc};
use tokio::task::spawn_blocking;
use tokio_stream::wrappers::ReceiverStream;
use tokio_util::sync::CancellationToken;
use tonic::Status;

use crate::home::{Home, StoredEvent};

/// Events that are read ahead of a client that is slow.
const AHEAD: usize = 256;

/// The events that `request` asks for.
pub(super) fn open(
    home: Home,
    request: WatchRequest,
    stopping: CancellationToken,
) -> impl Stream<Item = Result<Event, Status>> {
    let (sender, events) = mpsc::channel(AHEAD);
    // Before what is kept is read, so that nothing falls in between.
    let news = home.watch_events();
    tokio::spawn(async move {
        let feed = Feed {
            home,
            since: request.since,
            rollout: request.rollout,
            sender,
        };
        // Cancel safe: what was not sent is read again by whoever watches again.
        tokio::select! {
            () = feed.run(news, request.kept_only) => {}
            () = stopping.cancelled() => {}
        }
    });
    ReceiverStream::new(events)
}

struct Feed {
    home: Home,
    /// The number of the latest event that was sent.
    since: u64,
    rollout: String,
    sender: mpsc::Sender<Result<Event, Status>>,
}

impl Feed {
    async fn run(mut self, mut news: broadcast::Receiver<StoredEvent>, kept_only: bool) {
        if self.catch_up().await.is_none() || kept_only {
            return;
        }
        loop {
            // Cancel safe, both of them; a client that has gone is noticed at once.
            let next = tokio::select! {
                next = news.recv() => next,
                () = self.sender.closed() => return,
            };
            let sent = match next {
                Ok(event) => self.send(event).await,
                Err(RecvError::Lagged(_)) => self.catch_up().await,
                Err(RecvError::Closed) => return,
            };
            if sent.is_none() {
                return;
            }
        }
    }

    /// Sends what is kept; none if nobody listens any more.
    async fn catch_up(&mut self) -> Option<()> {
        loop {
            let kept = self.kept().await?;
            if kept.is_empty() {
                return Some(());
            }
            for event in kept {
                self.send(event).await?;
            }
        }
    }

    /// The next events that are kept; none if they cannot be read.
    async fn kept(&self) -> Option<Vec<StoredEvent>> {
        let (home, since, rollout) = (self.home.clone(), self.since, self.rollout.clone());
        let kept = spawn_blocking(move || home.events(since, &rollout))
            .await
            .ok()?;
        match kept {
            Ok(kept) => Some(kept),
            Err(error) => {
                tracing::error!(
                    error = &error as &dyn std::error::Error,
                    "events cannot be read"
                );
                let status = Status::internal("the controller's store failed; see its log");
                // Whether anybody hears of it or not, it is over.
                let _ = self.sender.send(Err(status)).await;
                None
            }
        }
    }

    async fn send(&mut self, event: StoredEvent) -> Option<()> {
        let is_meant = self.rollout.is_empty() || self.rollout == event.rollout;
        if event.sequence <= self.since || !is_meant {
            return Some(());
        }
        self.since = event.sequence;
        let event = Event {
            sequence: event.sequence,
            time: event.time.to_string(),
            event: event.event,
            data_json: event.data.to_string().into_bytes(),
        };
        self.sender.send(Ok(event)).await.ok()
    }
}
