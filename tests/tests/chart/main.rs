//! The Helm chart, on a real API server.

#![expect(clippy::panic, reason = "helpers of tests fail by panicking")]

mod lifecycle;
mod monitoring;
mod rights;

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use placet_tests::program;

fn chart() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../charts/placet")
}

/// Runs Helm on the API server; none where nobody built it.
struct Helm {
    program: PathBuf,
    kubeconfig: PathBuf,
}

impl Helm {
    fn run(&self, arguments: &[&str]) -> Output {
        let home = self.kubeconfig.with_file_name("helm");
        Command::new(&self.program)
            .args(arguments)
            .env("KUBECONFIG", &self.kubeconfig)
            .env("HELM_CACHE_HOME", home.join("cache"))
            .env("HELM_CONFIG_HOME", home.join("config"))
            .env("HELM_DATA_HOME", home.join("data"))
            .output()
            .expect("helm starts")
    }

    fn succeed(&self, arguments: &[&str]) -> String {
        let output = self.run(arguments);
        let error = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "helm {arguments:?}: {error}");
        String::from_utf8_lossy(&output.stdout).into_owned()
    }
}

#[test]
fn it_passes_lint_and_refuses_values_that_make_no_sense() {
    let Some(program) = program("helm") else {
        return;
    };
    let helm = Helm {
        program,
        kubeconfig: std::env::temp_dir().join("placet-chart-lint/none"),
    };
    let chart = chart();
    let chart = chart.to_str().expect("a path");
    helm.succeed(&["lint", "--strict", chart]);
    let all = helm.succeed(&[
        "template",
        "p",
        chart,
        "--set",
        "hosts.enabled=true,names={a.example},monitoring.serviceMonitor.enabled=true,\
         monitoring.rules.enabled=true,monitoring.dashboard.enabled=true",
    ]);
    for kind in [
        "Deployment",
        "DaemonSet",
        "PodDisruptionBudget",
        "NetworkPolicy",
        "ClusterRole",
        "ServiceMonitor",
        "PrometheusRule",
        "CustomResourceDefinition",
    ] {
        assert!(all.contains(&format!("kind: {kind}\n")), "{kind}");
    }
    for (value, field) in [
        ("replicas=0", "/replicas"),
        ("replica=2", "replica"),
        ("image.digest=sha256:12", "/image/digest"),
        ("webhook.timeoutSeconds=31", "/webhook/timeoutSeconds"),
        ("log.format=xml", "/log/format"),
        ("crds.keep=maybe", "/crds/keep"),
        ("receiver.service.port=0", "/receiver/service/port"),
        ("nodes.service.type=Any", "/nodes/service/type"),
        (
            "monitoring.serviceMonitor.interval=often",
            "/monitoring/serviceMonitor/interval",
        ),
        (
            "monitoring.traces.endpoint=collector:4318",
            "/monitoring/traces/endpoint",
        ),
        (
            "monitoring.rules.holdMinutes=0",
            "/monitoring/rules/holdMinutes",
        ),
    ] {
        let output = helm.run(&["template", "p", chart, "--set", value]);
        let error = String::from_utf8_lossy(&output.stderr);
        assert!(
            !output.status.success() && error.contains(field),
            "{value}: {error}"
        );
    }
}
