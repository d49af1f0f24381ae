//! What the chart brings for those who watch the controllers.

use serde_json::Value;

use super::{Helm, chart};
use placet_tests::program;

/// The chart with these values, as the objects that it makes.
fn rendered(helm: &Helm, values: &str) -> Vec<Value> {
    let chart = chart();
    let chart = chart.to_str().expect("a path");
    let namespace = ["--namespace", "fleet-system"];
    let mut arguments = vec!["template", "p", chart, "--set", values];
    arguments.extend(namespace);
    let text = helm.succeed(&arguments);
    let objects: Vec<Value> =
        serde_yaml::from_multiple(&text).unwrap_or_else(|error| panic!("{error}"));
    objects.into_iter().filter(Value::is_object).collect()
}

fn of<'a>(objects: &'a [Value], kind: &str, name: &str) -> &'a Value {
    let mut objects = objects.iter();
    let found = objects.find(|it| it["kind"] == kind && it["metadata"]["name"] == name);
    found.unwrap_or_else(|| panic!("no {kind} {name}"))
}

#[test]
fn probes_and_monitors_find_the_port_that_the_controller_tells_on() {
    let Some(program) = program("helm") else {
        return;
    };
    let helm = Helm {
        program,
        kubeconfig: std::env::temp_dir().join("placet-chart-monitoring/none"),
    };
    let plain = rendered(&helm, "replicas=2");
    let kinds: Vec<&Value> = plain.iter().map(|object| &object["kind"]).collect();
    for kind in ["ServiceMonitor", "PrometheusRule"] {
        assert!(!kinds.contains(&&Value::from(kind)), "{kind} by default");
    }
    let container = &of(&plain, "Deployment", "p")["spec"]["template"]["spec"]["containers"][0];
    for (probe, path) in [("readinessProbe", "/readyz"), ("livenessProbe", "/healthz")] {
        let asked = &container[probe]["httpGet"];
        assert_eq!(
            (&asked["port"], &asked["path"]),
            (&"metrics".into(), &path.into())
        );
    }
    let ports = container["ports"].as_array().expect("ports");
    let port = ports.iter().find(|port| port["name"] == "metrics");
    let port = port.expect("a port for metrics")["containerPort"].to_string();
    let listens = Value::from(format!("--metrics-listen=0.0.0.0:{port}"));
    assert!(
        container["args"]
            .as_array()
            .expect("arguments")
            .contains(&listens)
    );
    let ingress = &of(&plain, "NetworkPolicy", "p")["spec"]["ingress"];
    let rules = ingress.as_array().expect("rules");
    assert!(
        rules
            .iter()
            .any(|rule| rule["ports"][0]["port"] == "metrics")
    );

    check_extras(&helm);
}

/// What is there when somebody asks for it.
fn check_extras(helm: &Helm) {
    let all = rendered(
        helm,
        "monitoring.serviceMonitor.enabled=true,monitoring.rules.enabled=true,\
         monitoring.dashboard.enabled=true,monitoring.rules.holdMinutes=5,\
         monitoring.traces.endpoint=http://collector:4318",
    );
    let container = &of(&all, "Deployment", "p")["spec"]["template"]["spec"]["containers"][0];
    let sends = Value::from("--otlp-endpoint=http://collector:4318");
    assert!(
        container["args"]
            .as_array()
            .expect("arguments")
            .contains(&sends)
    );
    let service = of(&all, "Service", "p-metrics");
    let monitor = &of(&all, "ServiceMonitor", "p")["spec"];
    assert_eq!(
        monitor["endpoints"][0]["port"],
        service["spec"]["ports"][0]["name"]
    );
    let wanted = monitor["selector"]["matchLabels"]
        .as_object()
        .expect("labels");
    for (label, value) in wanted {
        assert_eq!(&service["metadata"]["labels"][label], value, "{label}");
    }
    check_rules(of(&all, "PrometheusRule", "p"));
    let map = of(&all, "ConfigMap", "p-dashboard");
    assert_eq!(map["metadata"]["labels"]["grafana_dashboard"], "1");
    let dashboard = map["data"]["placet.json"].as_str().expect("a text");
    let dashboard: Value = serde_json::from_str(dashboard).expect("JSON");
    assert_eq!(dashboard["title"], "Placet");
}

/// Alerts ask for this release alone, and every word in capitals has its value.
fn check_rules(rule: &Value) {
    let alerts = rule["spec"]["groups"][0]["rules"]
        .as_array()
        .expect("rules");
    let text = rule.to_string();
    for word in ["HOLD_SECONDS", "AWAY_FOR", "METRICS_SERVICE", "NAMESPACE"] {
        assert!(!text.contains(word), "{word}");
    }
    for alert in alerts {
        let expression = alert["expr"].as_str().expect("an expression");
        let only = "{namespace=\"fleet-system\",service=\"p-metrics\"";
        let metrics = expression.matches("placet_").count();
        assert_eq!(expression.matches(only).count(), metrics, "{expression}");
        assert!(alert["annotations"]["description"].is_string(), "{alert}");
    }
    let held = alerts
        .iter()
        .find(|it| it["alert"] == "PlacetRolloutWaitsForDecision");
    let held = held.expect("an alert on holds")["expr"].as_str();
    assert!(held.is_some_and(|held| held.ends_with("> 300")), "{held:?}");
}
