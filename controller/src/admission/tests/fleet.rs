//! A fleet's loop behind the webhook, with nodes that answer by hand.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use jiff::Timestamp;
use placet_model::{
    Answer, Digest, NodeFacts, NodeManifest, NodeName, PackageConfig, Proposal, Verdict,
    VerdictKind, VoteRecord,
};
use placet_package::{Blob, Layout, signature};
use placet_planner::change;
use placet_protocol::wire::to_node::Order;
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::sync::{Semaphore, mpsc, oneshot, watch};
use tokio_util::sync::CancellationToken;

use super::super::Asker;
use super::super::authorities::Authorities;
use super::{Webhook, lifetimes, object, review, warnings};
use crate::catalog::Packages;
use crate::dry_run::DryRuns;
use crate::fleet::Fleet;
use crate::fleet::news::{Announcement, News, Said, Session};
use crate::home::{Embedded, Home};
use crate::shared::{Shared, Wanted};

/// What a node says when it is asked.
#[derive(Clone, Copy)]
enum Says {
    Accept,
    Veto(&'static str),
    Nothing,
}

/// A loop on an embedded home, and the webhook of the replica that leads.
struct World {
    webhook: Webhook,
    news: mpsc::Sender<News>,
    home: Home,
    _wanted: watch::Receiver<Wanted>,
    _folder: TempDir,
}

const DECLARED: &str = "
apiVersion: placet.dev/v1alpha1
kind: NodeClass
metadata: {name: core}
spec: {selector: {types: [core]}, packageSets: [base]}
---
apiVersion: placet.dev/v1alpha1
kind: PackageSet
metadata: {name: base}
spec: {packages: []}
";

impl World {
    async fn start() -> Self {
        let folder = tempfile::tempdir().unwrap();
        write_package(folder.path(), "1.0.0");
        let home = Home::from(Embedded::open(folder.path()).unwrap());
        let (wanted, watched) = watch::channel(Wanted::default());
        let (kept, shared) = (home.clone(), Arc::<Shared>::default());
        let fleet = tokio::task::spawn_blocking(move || Fleet::recover(kept, shared, wanted));
        let fleet = fleet.await.unwrap().unwrap();
        let (news, heard) = mpsc::channel(64);
        tokio::spawn(fleet.run(heard));
        let dry_runs = DryRuns::new(news.clone(), Packages::new(), folder.path().to_owned());
        let webhook = Webhook::start().await;
        webhook.admission.lead(Asker::new(news.clone(), dry_runs));
        let world = Self {
            webhook,
            news,
            home,
            _wanted: watched,
            _folder: folder,
        };
        world.apply(DECLARED).await;
        world
    }

    async fn apply(&self, text: &str) {
        let files = vec![placet_crds::SourceFile {
            name: "a.yaml".to_owned(),
            text: text.to_owned(),
        }];
        let (reply, applied) = oneshot::channel();
        let author = "ann".to_owned();
        let news = News::Apply {
            files,
            author,
            reply,
        };
        self.news.send(news).await.unwrap();
        applied.await.unwrap().unwrap();
    }

    /// A node that is declared, connected, and runs nothing.
    async fn node(&self, name: &str, says: Says) {
        self.apply(&format!("apiVersion: placet.dev/v1alpha1\nkind: FleetNode\nmetadata: {{name: {name}}}\nspec: {{facts: {{type: core, architecture: x86_64}}}}\n")).await;
        let node: NodeName = name.parse().unwrap();
        let (reply, joined) = oneshot::channel();
        let news = News::Joined {
            node: node.clone(),
            reply,
        };
        self.news.send(news).await.unwrap();
        joined.await.unwrap();
        let (orders, mut taken) = mpsc::channel(32);
        let announcement = Announcement {
            boot_id: "boot".to_owned(),
            facts: NodeFacts {
                kind: Some("core".to_owned()),
                ..NodeFacts::default()
            },
            ..Announcement::default()
        };
        let session = Session {
            id: 1,
            orders,
            end: CancellationToken::new(),
        };
        let hello = News::Hello {
            node: node.clone(),
            session,
            announcement: Box::new(announcement),
        };
        self.news.send(hello).await.unwrap();
        let (reply, looked) = oneshot::channel();
        self.news.send(News::Look(reply)).await.unwrap();
        looked.await.unwrap();
        let news = self.news.clone();
        tokio::spawn(async move {
            while let Some(Ok(order)) = taken.recv().await {
                let Some(Order::ProposalJson(bytes)) = order.into_wire().order else {
                    continue;
                };
                let proposal: Proposal = serde_json::from_slice(&bytes).unwrap();
                let Some(verdict) = verdict(&proposal, says) else {
                    continue;
                };
                let permit = Arc::new(Semaphore::new(1)).acquire_owned().await.unwrap();
                let said = News::Said {
                    node: node.clone(),
                    session: 1,
                    what: Box::new(Said::Verdict(verdict)),
                    permit,
                };
                if news.send(said).await.is_err() {
                    return;
                }
            }
        });
    }

    /// Every object and event that is kept.
    fn kept(&self) -> (Vec<Value>, usize) {
        let kinds = placet_crds::kinds().iter();
        let objects = kinds.flat_map(|info| self.home.list(&info.kind).unwrap());
        let objects = objects.map(|stored| stored.to_json()).collect();
        (objects, self.home.events(0, "").unwrap().len())
    }
}

fn verdict(proposal: &Proposal, says: Says) -> Option<Verdict> {
    assert!(proposal.dry_run, "nothing real is proposed here");
    let computed = change(&NodeManifest::default(), &proposal.manifest);
    assert_eq!(computed.digest(), proposal.change_digest);
    let message = match says {
        Says::Accept => None,
        Says::Veto(message) => Some(message),
        Says::Nothing => return None,
    };
    let now = Timestamp::now();
    let records = message.map(|message| VoteRecord {
        voter: placet_model::Voter::Process,
        process: "chatd".parse().unwrap(),
        pid: 412,
        modules: Vec::new(),
        answer: Answer::Veto,
        code: String::new(),
        message: message.to_owned(),
        until: None,
        time: now,
        change_digest: proposal.change_digest,
    });
    Some(Verdict {
        node: proposal.node.clone(),
        rollout: proposal.rollout.clone(),
        plan_digest: proposal.plan_digest,
        change_digest: proposal.change_digest,
        boot_id: "boot".to_owned(),
        verdict: if records.is_some() {
            VerdictKind::Veto
        } else {
            VerdictKind::Accept
        },
        records: records.into_iter().collect(),
        message: String::new(),
        time: now,
        expires: now,
    })
}

/// One version of a package with one file.
fn write_package(folder: &std::path::Path, version: &str) {
    let bytes = format!("version {version}\n").into_bytes();
    let digest = Digest::of(&bytes);
    let module = json!({
        "path": "etc/greeting", "mode": "0644", "type": "data", "architecture": "neutral",
        "size": bytes.len(), "digest": digest, "signature": signature(&bytes).unwrap(),
    });
    let config = json!({
        "name": "greet", "version": version, "created": Timestamp::UNIX_EPOCH, "modules": [module],
    });
    let config: PackageConfig = serde_json::from_value(config).unwrap();
    let layout = Layout::create(&folder.join("greet")).unwrap();
    let blobs = BTreeMap::from([(digest, Blob::Bytes(bytes))]);
    layout.write_package(&config, &blobs, version).unwrap();
}

/// The package set as somebody would apply it.
fn package_set() -> Value {
    let package =
        json!({"name": "greet", "version": "1.0.0", "reference": "oci-layout:greet:1.0.0"});
    object("PackageSet", "base", &json!({"packages": [package]}))
}

fn empty_set() -> Value {
    object("PackageSet", "base", &json!({"packages": []}))
}

fn dry(mut review: Value) -> Value {
    review["request"]["dryRun"] = json!(true);
    review
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dry_run_brings_every_veto_as_a_line_and_leaves_nothing_behind() {
    let world = World::start().await;
    world.node("core-1", Says::Veto("3 open sessions")).await;
    world.node("core-2", Says::Accept).await;
    let before = world.kept();
    let asked = dry(review("UPDATE", &package_set(), &empty_set()));
    let response = world.webhook.validate(&asked).await;
    assert_eq!(response["allowed"], true);
    let told = warnings(&response);
    assert_eq!(
        told[0],
        "node core-1: chatd (412) non placet: 3 open sessions"
    );
    assert!(
        told[1]
            .ends_with("2 nodes would change: 1 would accept, 1 would object; nothing was changed"),
        "{told:?}"
    );
    assert_eq!(told.len(), 2);
    assert_eq!(world.kept(), before);
    // Applied for real, nobody is asked, unless an annotation asks for it.
    let real = review("UPDATE", &package_set(), &empty_set());
    assert_eq!(warnings(&world.webhook.validate(&real).await).len(), 0);
    let mut annotated = package_set();
    annotated["metadata"]["annotations"] = json!({"placet.dev/ask": "true"});
    let annotated = review("UPDATE", &annotated, &empty_set());
    assert_eq!(warnings(&world.webhook.validate(&annotated).await).len(), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn who_does_not_answer_within_the_time_of_the_request_is_named_within_that_time() {
    let world = World::start().await;
    world.node("core-1", Says::Nothing).await;
    let asked = dry(review("UPDATE", &package_set(), &empty_set()));
    let started = Instant::now();
    let response = world.webhook.ask("/validate?timeout=3s", &asked).await;
    assert!(
        started.elapsed() < Duration::from_secs(3),
        "the API server has not given up: {:?}",
        started.elapsed()
    );
    assert_eq!(warnings(&response)[0], "node core-1: no answer within 2 s");
}

#[tokio::test(flavor = "multi_thread")]
async fn hundreds_of_vetoes_are_counted_where_they_do_not_fit() {
    let world = World::start().await;
    for number in 0..60 {
        let name = format!("core-{number}");
        world
            .node(
                &name,
                Says::Veto("a session is open and will be for a long, long while"),
            )
            .await;
    }
    let asked = dry(review("UPDATE", &package_set(), &empty_set()));
    let response = world.webhook.validate(&asked).await;
    let told = warnings(&response);
    let total: usize = told.iter().map(|line| line.len()).sum();
    assert!(total <= 4_096, "{total}");
    let more = told[told.len() - 2];
    let count: usize = more.split(' ').next().unwrap().parse().unwrap();
    assert_eq!(count + told.len() - 2, 60, "{more}");
    assert!(told[told.len() - 1].contains("60 would object"), "{told:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_would_not_fit_together_any_more_is_a_warning() {
    let world = World::start().await;
    let mut other = super::class();
    other["spec"]["packageSets"] = json!(["base", "nothing"]);
    let response = world
        .webhook
        .validate(&review("UPDATE", &other, &super::class()))
        .await;
    assert_eq!(response["allowed"], true);
    assert!(warnings(&response)[0].contains("nothing"), "{response}");
    let deleted = review("DELETE", &Value::Null, &empty_set());
    let response = world.webhook.validate(&deleted).await;
    assert_eq!(response["allowed"], true);
    assert!(
        warnings(&response)[0].starts_with("NodeClass/core: "),
        "{response}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_replica_that_follows_passes_the_question_on_once() {
    let world = World::start().await;
    world.node("core-1", Says::Veto("no")).await;
    let authorities = Authorities::generate(lifetimes(), Timestamp::now()).unwrap();
    world.webhook.admission.0.identity.set(authorities.clone());
    let follower = Webhook::with(authorities).await;
    follower.admission.set_leader(Some(world.webhook.address));
    let asked = dry(review("UPDATE", &package_set(), &empty_set()));
    let response = follower.validate(&asked).await;
    assert_eq!(warnings(&response).len(), 2, "{response}");
    assert_eq!(
        warnings(&response)[0],
        "node core-1: chatd (412) non placet: no"
    );

    // The one that is asked leads no more, and takes the other for the leader.
    world.webhook.admission.set_leader(Some(follower.address));
    let response = follower.validate(&asked).await;
    assert_eq!(response["allowed"], true);
    assert!(
        warnings(&response)[0].starts_with("no controller leads just now"),
        "{response}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_leader_that_is_gone_leaves_words_and_no_harm() {
    let webhook = Webhook::start().await;
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let nobody = listener.local_addr().unwrap();
    drop(listener);
    webhook.admission.set_leader(Some(nobody));
    let asked = dry(review("UPDATE", &package_set(), &empty_set()));
    let response = webhook.validate(&asked).await;
    assert_eq!(response["allowed"], true);
    let told = warnings(&response)[0];
    assert!(
        told.contains("does not answer: no node was asked"),
        "{told}"
    );
}
