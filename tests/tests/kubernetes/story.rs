//! What people do: commit, apply, decide; and who leads.

use std::fs;
use std::time::{Duration, Instant};

use nix::sys::signal::Signal;
use placet_tests::NAMESPACE;

use crate::common::{all_run, kubernetes, open_session, ready, settled};

#[test]
fn a_commit_travels_to_running_processes_and_so_does_kubectl_apply() {
    let Some(mut fleet) = kubernetes(&["a"]) else {
        return;
    };
    settled(&mut fleet);
    let before = fleet.pids("core-1");
    let commit = fleet.commit_greet("1.0.0", "1.1.0");
    fleet.rollout(&commit, "Done");
    all_run(&fleet);
    let after = fleet.pids("core-1");
    assert_eq!(before["metricsd"], after["metricsd"], "it uses no greeting");
    assert_ne!(before["chatd"], after["chatd"], "it uses the greeting");

    // What no repository declares is applied by hand.
    let set = "apiVersion: placet.dev/v1alpha1\nkind: NodeClass\nmetadata: {name: spare}\nspec: {packageSets: [base]}\n";
    let answer = fleet.apply(set, &[]);
    assert!(
        answer.contains("nodeclass.placet.dev/spare created"),
        "{answer}"
    );
    let node = "apiVersion: placet.dev/v1alpha1\nkind: FleetNode\nmetadata: {name: edge-1}\nspec: {class: spare}\n";
    fleet.apply(node, &["--server-side", "--force-conflicts"]);
    fleet.until("edge-1 to run no clock any more", |fleet| {
        let node = fleet.object("fleetnode", "edge-1");
        let is_settled = node["status"]["class"] == "spare" && ready(&node) == Some("True");
        (is_settled
            && node["status"]["processes"]
                .as_array()
                .is_none_or(Vec::is_empty))
        .then_some(())
    });
}

#[test]
fn what_others_do_to_a_repositorys_declaration_is_put_right() {
    let Some(mut fleet) = kubernetes(&["a"]) else {
        return;
    };
    settled(&mut fleet);
    let set = fleet.object("packageset", "base");
    fleet.kubectl(&[
        "patch",
        "packageset",
        "base",
        "--type=json",
        "-p",
        r#"[{"op":"replace","path":"/spec/packages/0/version","value":"1.1.0"}]"#,
    ]);
    fleet.until("the declaration to be put right", |fleet| {
        (fleet.object("packageset", "base")["spec"] == set["spec"]).then_some(())
    });
    fleet.kubectl(&["delete", "packageset", "base"]);
    fleet.until("the declaration to be there again", |fleet| {
        (fleet.object("packageset", "base")["spec"] == set["spec"]).then_some(())
    });
    // A status that somebody wrote is put right too.
    let status = fleet.object("gitsource", "fleet")["status"].clone();
    fleet.kubectl(&[
        "patch",
        "gitsource",
        "fleet",
        "--subresource=status",
        "--type=merge",
        "-p",
        r#"{"status":{"revision":"main@sha1:0000000000000000000000000000000000000000"}}"#,
    ]);
    fleet.until("the status to be put right", |fleet| {
        (fleet.object("gitsource", "fleet")["status"]["revision"] == status["revision"])
            .then_some(())
    });
    // Who asks for a look sees that it was had.
    for (kind, name) in [
        ("gitsource", "fleet"),
        ("packageset", "base"),
        ("nodeclass", "core"),
        ("fleetnode", "core-1"),
        ("rollout", "ro-1"),
    ] {
        let asked = format!("reconcile.placet.dev/requestedAt=for-{kind}");
        fleet.kubectl(&["annotate", kind, name, &asked]);
        fleet.until(&format!("the {kind} to be looked at"), |fleet| {
            let handled = &fleet.object(kind, name)["status"]["lastHandledReconcileAt"];
            (*handled == format!("for-{kind}")).then_some(())
        });
    }
    assert_eq!(fleet.objects("rollouts").len(), 1, "nothing had to change");
}

#[test]
fn a_veto_is_held_until_kubectl_decides() {
    let Some(mut fleet) = kubernetes(&["a"]) else {
        return;
    };
    settled(&mut fleet);
    let session = open_session(&fleet, "core-1");
    let before = fleet.pids("core-1");
    let commit = fleet.commit_greet("1.0.0", "1.1.0");
    let held = fleet.rollout(&commit, "Held");
    let vetoes = held["status"]["vetoes"].to_string();
    assert!(
        vetoes.contains("node core-1: chatd") && vetoes.contains("non placet"),
        "{vetoes}"
    );
    let name = held["metadata"]["name"]
        .as_str()
        .expect("a name")
        .to_owned();

    let decide = |action: &str| {
        let patch = format!(
            r#"{{"spec":{{"decision":{{"hold":1,"action":"{action}","reason":"tonight"}}}}}}"#
        );
        fleet.try_kubectl(&["patch", "rollout", &name, "--type=merge", "-p", &patch])
    };
    assert!(decide("skip").status.success());
    let second = decide("abort");
    assert!(
        !second.status.success(),
        "of two decisions on a hold one wins"
    );
    let words = String::from_utf8_lossy(&second.stderr).into_owned();
    assert!(
        words.contains("this hold has been decided already"),
        "{words}"
    );
    fleet.rollout(&commit, "Done");
    assert_eq!(
        before["chatd"],
        fleet.pids("core-1")["chatd"],
        "it was skipped"
    );
    let decision = fleet.object("rollout", &name)["status"]["decisions"][0].clone();
    assert_eq!(decision["reason"], "tonight");
    assert!(
        decision["overrides"].to_string().contains("non placet"),
        "{decision}"
    );
    drop(session);
}

#[test]
fn another_controller_takes_over_within_five_seconds_and_the_rollout_goes_on() {
    let Some(mut fleet) = kubernetes(&["a", "b"]) else {
        return;
    };
    settled(&mut fleet);
    let session = open_session(&fleet, "core-1");
    let commit = fleet.commit_greet("1.0.0", "1.1.0");
    let held = fleet.rollout(&commit, "Held");
    let leader = fleet.leader().expect("somebody leads");

    let name = held["metadata"]["name"]
        .as_str()
        .expect("a name")
        .to_owned();
    let force = r#"{"spec":{"decision":{"hold":1,"action":"force","reason":"it cannot wait"}}}"#;

    let began = Instant::now();
    fleet.kill_controller(&leader);
    // While nobody leads; the next leader hears of it.
    fleet.kubectl(&["patch", "rollout", &name, "--type=merge", "-p", force]);
    let next = fleet.until("another leader", |fleet| {
        fleet.leader().filter(|next| *next != leader)
    });
    let took = began.elapsed();
    println!("takeover after kill -9: {took:?}");
    assert!(took < Duration::from_secs(5), "{took:?}");
    fleet.rollout(&commit, "Done");
    all_run(&fleet);
    assert_eq!(fleet.objects("rollouts").len(), 2, "none is doubled");
    let decided = fleet.object("rollout", &name)["status"]["decisions"].clone();
    assert_eq!(
        decided[0]["overrides"], held["status"]["hold"]["objections"],
        "the votes are the same, and so is the hold"
    );
    drop(session);

    // The other one comes back and follows.
    fleet.start_controller(&leader);
    assert_eq!(fleet.leader(), Some(next));
}

#[test]
fn a_leader_that_slept_does_no_harm() {
    let Some(mut fleet) = kubernetes(&["a", "b"]) else {
        return;
    };
    settled(&mut fleet);
    let leader = fleet.leader().expect("somebody leads");
    fleet.signal(&leader, Signal::SIGSTOP);
    let next = fleet.until("another leader", |fleet| {
        fleet.leader().filter(|next| *next != leader)
    });
    let commit = fleet.commit_greet("1.0.0", "1.1.0");
    fleet.rollout(&commit, "Done");
    let versions: Vec<_> = ["fleetnodes", "rollouts", "gitsources"]
        .iter()
        .flat_map(|kind| fleet.objects(kind))
        .map(|it| it["metadata"]["resourceVersion"].clone())
        .collect();
    fleet.signal(&leader, Signal::SIGCONT);
    fleet.until("the old leader to see that it is over", |fleet| {
        fleet
            .log(&leader)
            .contains("does not lead any more")
            .then_some(())
    });
    let after: Vec<_> = ["fleetnodes", "rollouts", "gitsources"]
        .iter()
        .flat_map(|kind| fleet.objects(kind))
        .map(|it| it["metadata"]["resourceVersion"].clone())
        .collect();
    assert_eq!(versions, after, "it wrote nothing");
    assert_eq!(fleet.leader(), Some(next));
}

#[test]
fn the_next_leader_can_be_designated() {
    let Some(fleet) = kubernetes(&["a", "b", "c"]) else {
        return;
    };
    let leader = fleet.leader().expect("somebody leads");
    let others = ["a", "b", "c"].into_iter().filter(|name| *name != leader);
    for successor in others {
        let annotation = format!("placet.dev/successor={successor}");
        fleet.kubectl(&[
            "-n",
            NAMESPACE,
            "annotate",
            "lease",
            "placet-controller",
            &annotation,
        ]);
        fleet.until(&format!("{successor} to lead"), |fleet| {
            (fleet.leader().as_deref() == Some(successor)).then_some(())
        });
    }
}

#[test]
fn declarations_that_do_not_fit_together_stay_out_of_force_and_say_so() {
    let Some(mut fleet) = kubernetes(&["a"]) else {
        return;
    };
    settled(&mut fleet);
    let before = fs::read_to_string(fleet.path("fleet/fleet.yaml")).expect("declarations");
    let class = "apiVersion: placet.dev/v1alpha1\nkind: NodeClass\nmetadata: {name: odd}\nspec: {packageSets: [nothing]}\n";
    fleet.apply(class, &[]);
    let status = fleet.until("the class to say what is wrong", |fleet| {
        let odd = fleet.object("nodeclass", "odd");
        (ready(&odd) == Some("False")).then(|| odd["status"]["conditions"].to_string())
    });
    assert!(
        status.contains("nothing") && status.contains("ReferenceMissing"),
        "{status}"
    );
    assert_eq!(
        fs::read_to_string(fleet.path("fleet/fleet.yaml")).expect("declarations"),
        before
    );
    all_run(&fleet);
    let set = "apiVersion: placet.dev/v1alpha1\nkind: PackageSet\nmetadata: {name: nothing}\nspec: {packages: []}\n";
    fleet.apply(set, &[]);
    fleet.until("the class to be well", |fleet| {
        (ready(&fleet.object("nodeclass", "odd")) == Some("True")).then_some(())
    });
}
