//! What nodes start from (D9): boot images by class, from the commit to the boot loader.

use std::fs;
use std::path::{Path, PathBuf};

use placet_tests::{BootLoader, Fleet, FleetOptions, edit, pids, poll};

const NODE: &str = "core-1";

struct World {
    fleet: Fleet,
    loader: BootLoader,
    source: PathBuf,
}

impl World {
    /// Two nodes, of which one was delivered with version 1.0.0 of the image.
    async fn start() -> Self {
        let fleet = Fleet::settled(FleetOptions {
            nodes: vec![NODE, "edge-1"],
            ..FleetOptions::default()
        })
        .await;
        let examples = Path::new(env!("CARGO_MANIFEST_DIR")).join("../examples/boot");
        let source = fleet.path("image-source");
        fs::create_dir(&source).expect("a folder");
        for file in ["image.yaml", "core.img"] {
            fs::copy(examples.join(file), source.join(file)).expect("a file is copied");
        }
        let image = fs::read(source.join("core.img")).expect("the image");
        let loader = BootLoader::new(&image);
        let world = Self {
            fleet,
            loader,
            source,
        };
        world.build();
        world
    }

    fn build(&self) {
        let options = placet_packager::BuildOptions::default();
        let file = self.source.join("image.yaml");
        let layout = self.fleet.path("image");
        placet_packager::build(&file, &layout, &options).expect("the image builds");
    }

    /// Builds another version of the image, and commits it.
    fn commit(&self, (old, new): (&str, &str), content: &str) -> String {
        self.edit_image((old, new), content);
        self.fleet.commit(&format!("core-image {new}"))
    }

    fn edit_image(&self, (old, new): (&str, &str), content: &str) {
        fs::write(self.source.join("core.img"), content).expect("an image");
        edit(&self.source.join("image.yaml"), old, new);
        self.build();
        edit(&self.fleet.path("fleet/classes.yaml"), old, new);
    }

    fn declare(&self) -> String {
        let (program, folder) = (self.loader.program(), self.loader.path());
        let command = |verb: &str| {
            let (program, folder) = (program.display(), folder.display());
            format!("[{program}, {folder}, {verb}]")
        };
        let declared = format!(
            "  packageSets: [chat, tools, base]\n  bootImages:\n    - name: core-image\n      version: 1.0.0\n      reference: oci-layout:{}:1.0.0\n      selector: {{types: [core]}}\n      install: {}\n      confirm: {}\n      restart: {}\n",
            self.fleet.path("image").display(),
            command("install"),
            command("confirm"),
            command("restart"),
        );
        let classes = self.fleet.path("fleet/classes.yaml");
        edit(&classes, "  packageSets: [chat, tools, base]\n", &declared);
        self.fleet.commit("core-image 1.0.0")
    }

    /// Commits metrics 1.1.0, which does not find its sensor, with whatever else was changed.
    fn commit_faulty(&self) -> String {
        let packages = self.fleet.path("fleet/packages.yaml");
        edit(
            &packages,
            "name: metrics\n      version: 1.0.0",
            "name: metrics\n      version: 1.1.0",
        );
        edit(&packages, "metrics:1.0.0", "metrics:1.1.0");
        self.fleet.commit("metrics 1.1.0")
    }

    /// The machine goes down once the node has told it to, and comes back.
    fn restart(&mut self) {
        poll("the order to restart", || self.loader.read("restarted"));
        fs::remove_file(self.loader.path().join("restarted")).expect("it was there");
        self.fleet.kill_node(NODE);
        self.loader.start_machine();
        self.fleet.start_node(NODE);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_image_reaches_the_nodes_that_it_is_for_and_one_that_fails_is_given_back() {
    let mut world = World::start().await;
    let before = [pids(&world.fleet, NODE), pids(&world.fleet, "edge-1")];
    let commit = world.declare();
    world.fleet.verified(&commit).await;
    let after = [pids(&world.fleet, NODE), pids(&world.fleet, "edge-1")];
    assert_eq!(before, after, "the node runs that image already");

    // Nothing but the image is another one: the chat's open session holds the restart.
    let session = world.fleet.open_session(NODE);
    let commit = world.commit(("1.0.0", "1.1.0"), "version 2\n");
    let held = world.fleet.held(&commit).await;
    assert!(
        held.data["vetoes"].to_string().contains("chatd"),
        "{held:?}"
    );
    let rollout = held.text("rollout").to_owned();
    let plans: Vec<_> = world.fleet.feed.named("plan", 0).collect();
    let plan = plans.iter().rfind(|plan| plan.text("rollout") == rollout);
    assert_eq!(
        plan.expect("a plan").data["changes"][0]["restart"],
        "the node restarts for its boot image: core-image 1.0.0 -> core-image 1.1.0"
    );
    drop(session);
    world.fleet.decide(&rollout, "--force", "at night");
    world.restart();
    world.fleet.verified(&commit).await;
    assert_eq!(world.loader.read("good").as_deref(), Some("version 2\n"));
    assert_eq!(pids(&world.fleet, "edge-1"), before[1]);

    // The next one does not come up.
    let commit = world.commit(("1.1.0", "1.2.0"), "broken\n");
    world.restart();
    world.fleet.held(&commit).await;
    let node = world.fleet.resource("fnode", NODE);
    let why = node["status"]["failed"].to_string();
    assert!(why.contains("sha256:"), "{node:#}");
    assert_eq!(world.loader.read("running").as_deref(), Some("version 2\n"));
    assert!(!pids(&world.fleet, NODE).is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn an_image_that_a_node_does_not_keep_comes_again_from_the_controller() {
    let mut world = World::start().await;
    let classes = world.fleet.path("fleet/classes.yaml");
    edit(
        &classes,
        "  packageSets: [chat, tools, base]\n",
        "  persistence: {bootImage: false}\n  packageSets: [chat, tools, base]\n",
    );
    let commit = world.declare();
    world.fleet.verified(&commit).await;
    let kept = || {
        let found = fs::read_dir(world.fleet.path(NODE).join("generations"));
        let mut found = found.expect("generations").flatten();
        found.any(|it| it.path().join("tree/boot").exists())
    };
    assert!(!kept(), "the image is stored");

    let commit = world.commit(("1.0.0", "1.1.0"), "version 2\n");
    world.restart();
    world.fleet.verified(&commit).await;
    assert_eq!(world.loader.read("good").as_deref(), Some("version 2\n"));

    // The next image comes up, and what should run on it fails.
    world.edit_image(("1.1.0", "1.2.0"), "version 3\n");
    let commit = world.commit_faulty();
    world.restart();
    assert_eq!(world.loader.read("running").as_deref(), Some("version 3\n"));
    world.restart();
    let held = world.fleet.held(&commit).await;
    let why = held.data["vetoes"].to_string();
    assert!(why.contains("no such sensor"), "{why}");
    poll("the image of before to be confirmed", || {
        let good = world.loader.read("good")?;
        (good == "version 2\n").then_some(())
    });
    let node = world.fleet.resource("fnode", NODE);
    assert_eq!(
        node["status"]["drifts"],
        serde_json::Value::Null,
        "{node:#}"
    );
}
