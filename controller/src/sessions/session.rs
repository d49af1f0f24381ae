//! One session of a node: what it says goes to the fleet, orders come back.

use std::sync::Arc;
use std::time::Duration;

use futures_util::{Stream, StreamExt as _};
use placet_model::{NodeName, visible};
use placet_protocol::wire::from_node::Message;
use placet_protocol::wire::{FromNode, ToNode};
use placet_protocol::{Apart, Side};
use tokio::sync::{Semaphore, mpsc};
use tokio::time::timeout;
use tokio_stream::wrappers::ReceiverStream;
use tokio_util::sync::CancellationToken;
use tonic::{Status, Streaming};

use super::join::stopping;
use super::read::{announcement, said};
use crate::fleet::news::{News, Session};
use crate::fleet::orders::Outgoing;

/// A node says Hello at once, or something is wrong with it.
const HELLO_WITHIN: Duration = Duration::from_secs(10);

/// Orders that may be on their way to a node. The fleet never has more than a few for one.
const ORDERS: usize = 32;

/// What a node may have said that the fleet has not worked off.
const UNHEARD: usize = 16;

/// More of a version is not told.
const VERSION_MOST: usize = 40;

/// Opens a session; the orders are what the node is answered.
pub(super) fn open(
    node: NodeName,
    id: u64,
    messages: Streaming<FromNode>,
    news: mpsc::Sender<News>,
) -> impl Stream<Item = Result<ToNode, Status>> {
    let (orders, answers) = mpsc::channel(ORDERS);
    tokio::spawn(async move {
        let end = CancellationToken::new();
        let speaker = Speaker {
            node: node.clone(),
            id,
            news: news.clone(),
            end: end.clone(),
        };
        // Cancel safe: a message that was taken is passed on or the session is over.
        let result = tokio::select! {
            result = speaker.listen(messages, orders.clone()) => result,
            () = end.cancelled() => Ok(()),
            () = orders.closed() => Ok(()),
        };
        if let Err(status) = result {
            tracing::warn!(
                "session of node {node} is ended: {}",
                visible(status.message())
            );
            // A node that takes no orders does not take this either.
            let _ = orders.try_send(Err(status));
        }
        drop(orders);
        // The fleet is gone only when the controller stops.
        let _ = news.send(News::Gone { node, session: id }).await;
    });
    ReceiverStream::new(answers).map(|order| order.map(Outgoing::into_wire))
}

/// The node's side of a session.
struct Speaker {
    node: NodeName,
    id: u64,
    news: mpsc::Sender<News>,
    end: CancellationToken,
}

impl Speaker {
    async fn listen(
        &self,
        mut messages: Streaming<FromNode>,
        orders: mpsc::Sender<Result<Outgoing, Status>>,
    ) -> Result<(), Status> {
        let first = timeout(HELLO_WITHIN, messages.message()).await;
        let late = |_| Status::deadline_exceeded("the node did not say Hello within 10 s");
        let Some(first) = first.map_err(late)?? else {
            return Ok(());
        };
        let Some(Message::Hello(hello)) = first.message else {
            return Err(Status::failed_precondition("a session begins with Hello"));
        };
        self.compare_versions(&hello.version);
        let node = Side::said(&hello.version, hello.protocol.as_ref());
        // Before anything else is read: it may mean something else there.
        if let Some(apart) = Apart::find(&self.node, node, Side::own()) {
            let (node, why) = (self.node.clone(), apart.to_string());
            self.tell(News::Apart { node, why }).await?;
            return Err(Status::failed_precondition(apart.to_string()));
        }
        let announcement = Box::new(announcement(hello)?);
        let session = Session {
            id: self.id,
            orders,
            end: self.end.clone(),
        };
        self.tell(News::Hello {
            node: self.node.clone(),
            session,
            announcement,
        })
        .await?;
        let places = Arc::new(Semaphore::new(UNHEARD));
        // Said once: it says nothing new the next time.
        let mut knows_all = true;
        while let Some(message) = messages.message().await? {
            let Some(message) = message.message else {
                if std::mem::replace(&mut knows_all, false) {
                    tracing::warn!(
                        "node {} says what this version does not know: ignored",
                        self.node
                    );
                }
                continue;
            };
            let what = Box::new(said(&self.node, message)?);
            let permit = Arc::clone(&places).acquire_owned().await;
            let permit = permit.map_err(|_| stopping())?;
            self.tell(News::Said {
                node: self.node.clone(),
                session: self.id,
                what,
                permit,
            })
            .await?;
        }
        Ok(())
    }

    /// Nodes and controllers are updated one after the other: what differs meanwhile is told.
    fn compare_versions(&self, version: &str) {
        let own = env!("CARGO_PKG_VERSION");
        if version != own {
            let version: String = visible(version)
                .to_string()
                .chars()
                .take(VERSION_MOST)
                .collect();
            tracing::warn!(
                "node {} runs placetd {version}, this controller is {own}",
                self.node
            );
        }
    }

    async fn tell(&self, news: News) -> Result<(), Status> {
        self.news.send(news).await.map_err(|_| stopping())
    }
}
