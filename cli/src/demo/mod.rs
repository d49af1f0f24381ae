//! `placet demo`: the whole story on this machine.
//!
//! It uses the public commands alone: it builds packages, makes a git repository, starts the
//! controller and four nodes as processes of their own, and follows the controller's feed.

mod callers;
mod feed;
mod teller;
mod world;

use std::collections::{BTreeMap, BTreeSet};
use std::os::unix::net::UnixStream;
use std::time::Instant;

use anyhow::{Context as _, ensure};
use serde_json::json;

use self::callers::Callers;
use self::feed::Feed;
use self::teller::Teller;
use self::world::{NODES, World};
use crate::arguments::{Common, Demo};
use crate::events::Event;
use crate::output::{Answer, Format};

/// `placet demo`.
pub(crate) async fn run(arguments: &Demo, common: &Common) -> anyhow::Result<Answer> {
    let started = Instant::now();
    let teller = Teller::new(common.output, arguments.pause);
    let mut story = Story::begin(teller).await?;
    let told = tokio::select! {
        told = story.tell() => told,
        _ = tokio::signal::ctrl_c() => return Ok(Answer::No),
    };
    told.with_context(|| story.world.logs())?;
    story.teller.event(&json!({
        "event": "done",
        "time": jiff::Timestamp::now(),
        "seconds": started.elapsed().as_secs_f64(),
    }));
    story.teller.say(&format!(
        "Done in {:.1} s.",
        started.elapsed().as_secs_f64()
    ));
    if arguments.keep {
        story.keep().await?;
    }
    Ok(Answer::Done)
}

/// The demo under way.
struct Story {
    world: World,
    feed: Feed,
    teller: Teller,
}

/// Process ids by node and process.
type Pids = BTreeMap<(String, String), u64>;

impl Story {
    async fn begin(teller: Teller) -> anyhow::Result<Self> {
        teller.step(
            "Setting up",
            "three small programs and two libraries are built here and packaged",
        );
        let world = World::build(&teller).await?;
        let feed = Feed::follow(&world.common()).await?;
        Ok(Self {
            world,
            feed,
            teller,
        })
    }

    async fn tell(&mut self) -> anyhow::Result<()> {
        self.join().await?;
        self.first_rollout().await?;
        let before = self.feed.pids();
        let session = self.veto().await?;
        self.decide(&before).await?;
        self.last_node(session).await?;
        self.bad_update().await?;
        self.revert().await
    }

    async fn join(&mut self) -> anyhow::Result<()> {
        self.teller.step(
            "Four nodes join",
            "each shows a one-time token and gets a short-lived certificate for its name",
        );
        let nodes = self.world.join_nodes().await?;
        let mut missing: BTreeSet<String> = nodes.into_iter().collect();
        let all = |event: &crate::events::Event| {
            if event.name == "nodesJoined" {
                let joined = event.text("nodes");
                missing.retain(|node| !joined.contains(node));
            }
            missing.is_empty()
        };
        self.feed.until(&self.teller, all).await?;
        Ok(())
    }

    async fn first_rollout(&mut self) -> anyhow::Result<()> {
        self.teller.step(
            "1. The first roll-out",
            "the fleet is declared in a git repository; a commit starts it",
        );
        self.world.commit_first()?;
        self.world.follow_repository().await?;
        self.feed
            .verified(&self.teller, &self.world.revision()?)
            .await?;
        self.teller.pids(&Pids::new(), &self.feed.pids());
        Ok(())
    }

    /// Returns the open session: dropping it closes it.
    async fn veto(&mut self) -> anyhow::Result<UnixStream> {
        self.teller.step(
            "2. A change, and a veto",
            "somebody is chatting on core-1 when a commit changes one shared library",
        );
        let session = self.world.open_session("core-1")?;
        self.world.commit_new_greeting()?;
        let held = self
            .feed
            .until(&self.teller, |event| event.name == "held")
            .await?;
        ensure!(
            !self.feed.fetched_in(&held.text("rollout")),
            "a module travelled before the decision"
        );
        self.teller
            .say("The roll-out is held, and no module has travelled. What a person sees:");
        let shown = self
            .world
            .placet(&["rollout", "show", &held.text("rollout")])
            .await?;
        self.teller.output(&shown);
        Ok(session)
    }

    async fn decide(&mut self, before: &Pids) -> anyhow::Result<()> {
        self.teller.step(
            "3. A decision",
            "a person lets the nodes that accepted go on; core-1 keeps what it runs",
        );
        let rollout = self.feed.last_rollout();
        let decision = [
            "rollout",
            "decide",
            &rollout,
            "--skip",
            "--reason",
            "sessions first",
        ];
        self.teller.command(&decision);
        self.world.placet(&decision).await?;
        self.feed
            .verified(&self.teller, &self.world.revision()?)
            .await?;
        self.teller.pids(before, &self.feed.pids());
        Ok(())
    }

    async fn last_node(&mut self, session: UnixStream) -> anyhow::Result<()> {
        self.teller.step(
            "4. The last node",
            "the session ends, and the next commit finds core-1 free to follow the others",
        );
        let before = self.feed.pids();
        drop(session);
        self.world.commit_nothing()?;
        let accepts = |event: &Event| {
            let of = (event.text("node"), event.text("verdict"));
            event.name == "verdict" && of == ("core-1".to_owned(), "accept".to_owned())
        };
        self.feed.until(&self.teller, accepts).await?;
        let callers = Callers::on(self.world.chat("core-1"));
        let revision = self.world.revision()?;
        let verified = self.feed.verified(&self.teller, &revision).await;
        let (answered, refused) = callers.end()?;
        verified?;
        self.teller.event(&json!({
            "event": "callers",
            "time": jiff::Timestamp::now(),
            "answered": answered,
            "refused": refused,
        }));
        self.teller.pids(&before, &self.feed.pids());
        self.teller.say(&format!(
            "The node held the socket of chatd while it was replaced: {answered} callers came\nmeanwhile, and {refused} were refused."
        ));
        ensure!(refused == 0, "{refused} callers were refused");
        Ok(())
    }

    async fn bad_update(&mut self) -> anyhow::Result<()> {
        self.teller.step(
            "5. A bad update",
            "a new metricsd dies at its start: the nodes give it back by themselves",
        );
        let before = self.feed.pids();
        self.world.commit_bad_metrics()?;
        let all_failed = |event: &Event| {
            let objections = event.text("vetoes");
            event.name == "held" && NODES.iter().all(|node| objections.contains(node))
        };
        let held = self.feed.until(&self.teller, all_failed).await?;
        while self.feed.pids().len() < before.len() {
            let news = |event: &Event| event.name == "processes";
            self.feed.until(&self.teller, news).await?;
        }
        let shown = ["rollout", "show", &held.text("rollout")];
        self.teller
            .say("The roll-out halts, and every node runs what it ran before:");
        self.teller.output(&self.world.placet(&shown).await?);
        self.teller.pids(&before, &self.feed.pids());
        Ok(())
    }

    async fn revert(&mut self) -> anyhow::Result<()> {
        self.teller
            .step("6. The way back", "`git revert` is a change like any other");
        let before = self.feed.pids();
        self.world.revert()?;
        self.feed
            .verified(&self.teller, &self.world.revision()?)
            .await?;
        self.teller.pids(&before, &self.feed.pids());
        Ok(())
    }

    async fn keep(&self) -> anyhow::Result<()> {
        if self.teller.format() == Format::Table {
            self.teller.say(&format!(
                "Everything is still up; look around with\n  export PLACET_ADMIN={}\n  placet get\nand end it with Ctrl-C.",
                self.world.socket().display()
            ));
        }
        tokio::signal::ctrl_c()
            .await
            .context("failed to wait for Ctrl-C")
    }
}
