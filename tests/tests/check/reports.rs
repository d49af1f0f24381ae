//! What reports say of the place of a finding, in every format.

use std::fs;
use std::path::Path;

use serde_json::Value;

use crate::Repository;

/// A fleet whose edge nodes lose a library that they use, and a rule that objects on the core nodes.
fn broken() -> Repository {
    let repository = Repository::below("production");
    repository.greet("1.1.0");
    repository.edit(
        "classes.yaml",
        "packageSets: [tools, base]",
        "packageSets: [tools]",
    );
    repository.edit(
        "classes.yaml",
        "  packageSets: [chat, tools, base]",
        "  packageSets: [chat, tools, base]\n  vetoRules:\n    - name: sessions\n      rule: change.processes.exists(p, p.name == 'chatd')\n      message: \"people <are> talking & \\\"loud\\\"\"",
    );
    repository
}

impl Repository {
    /// Where a text stands, as `file:line`.
    fn line(&self, name: &str, text: &str) -> (String, usize) {
        let file = fs::read_to_string(self.file(name)).unwrap();
        let line = file.lines().position(|line| line.contains(text)).unwrap();
        (format!("production/{name}"), line + 1)
    }
}

#[test]
fn every_finding_says_where_it_comes_from() {
    let repository = broken();
    let (set, set_line) = repository.line("classes.yaml", "packageSets: [tools]");
    let (rule, rule_line) = repository.line("classes.yaml", "- name: sessions");
    let in_folder = |format: &str| {
        let (code, report, error) = repository.check(&["--path", "production", "-o", format]);
        assert_eq!((code, error.as_str()), (1, ""), "{report}");
        report
    };
    for format in ["text", "markdown"] {
        let report = in_folder(format);
        assert!(
            report.contains(&format!("{set}:{set_line}:3: ")),
            "{report}"
        );
        assert!(report.contains(&format!("{rule}:{rule_line}:")), "{report}");
    }
    let report: Value = serde_json::from_str(&in_folder("json")).unwrap();
    let problem = &report["problems"][0];
    assert_eq!(problem["kind"], "requirement");
    assert_eq!(problem["places"][0]["resource"], "NodeClass/edge");
    assert_eq!(problem["places"][0]["line"], set_line);
    // The package that lacks something is told of too.
    let (user, user_line) = repository.line("packages.yaml", "name: clock");
    assert_eq!(problem["places"][1]["file"], user);
    assert_eq!(problem["places"][1]["line"], user_line + 1, "its version");
    let vetoes = report["changes"].as_array().unwrap().iter();
    let mut vetoes = vetoes.flat_map(|change| change["vetoes"].as_array().unwrap());
    let veto = vetoes.next().unwrap();
    assert_eq!(veto["places"][0]["line"], rule_line);
    assert_eq!(veto["places"][0]["field"], "spec.vetoRules[0]");
}

#[test]
fn json_keeps_to_the_published_schema() {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/check.schema.json");
    let schema: Value = serde_json::from_str(&fs::read_to_string(file).unwrap()).unwrap();
    let validator = jsonschema::validator_for(&schema).unwrap();
    let holds = |report: &str| {
        let report: Value = serde_json::from_str(report).unwrap();
        let errors: Vec<_> = validator
            .iter_errors(&report)
            .map(|error| format!("{}: {error}", error.instance_path()))
            .collect();
        assert!(errors.is_empty(), "{errors:#?}");
        report
    };
    let repository = broken();
    let (_, report, _) = repository.check(&["--path", "production", "-o", "json"]);
    let report = holds(&report);
    let (_, nothing, _) = repository.check(&["--path", "production", "-o", "json", "--to", "HEAD"]);
    holds(&nothing);
    // The schema is none that anything keeps to.
    let mut other = report;
    other["problems"][0]["kind"] = "unheard-of".into();
    assert!(!validator.is_valid(&other));
    other["problems"] = Value::Array(Vec::new());
    other["nodes"]["changed"] = "many".into();
    assert!(!validator.is_valid(&other));
}

#[test]
fn sarif_keeps_to_the_standard() {
    let repository = broken();
    let (code, report, _) = repository.check(&["--path", "production", "-o", "sarif"]);
    assert_eq!(code, 1);
    let report: Value = serde_json::from_str(&report).unwrap();
    if let Some(schema) = placet_tests::sarif_schema() {
        let validator = jsonschema::validator_for(&schema).unwrap();
        let errors: Vec<_> = validator
            .iter_errors(&report)
            .map(|error| format!("{}: {error}", error.instance_path()))
            .collect();
        assert!(errors.is_empty(), "{errors:#?}");
    }
    let run = &report["runs"][0];
    let rules = run["tool"]["driver"]["rules"].as_array().unwrap();
    let results = run["results"].as_array().unwrap();
    for result in results {
        let is_declared = rules.iter().any(|rule| rule["id"] == result["ruleId"]);
        assert!(is_declared, "{result}");
    }
    let (file, line) = repository.line("classes.yaml", "- name: sessions");
    let veto = results.iter().find(|it| it["ruleId"] == "veto").unwrap();
    assert_eq!(veto["level"], "error");
    let place = &veto["locations"][0]["physicalLocation"];
    assert_eq!(place["artifactLocation"]["uri"], file);
    assert_eq!(place["region"]["startLine"], line);
    let notes = results.iter().filter(|it| it["level"] == "note");
    assert!(notes.count() > 0, "{report}");
}

#[test]
fn what_is_not_valid_is_shown_beside_its_line_too() {
    let repository = Repository::new();
    repository.edit("packages.yaml", "kind: PackageSet", "kind: PackageSat");
    let (code, report, error) = repository.check(&["-o", "sarif"]);
    assert_eq!(code, 2);
    assert!(
        error.contains("did you mean"),
        "people are told as ever: {error}"
    );
    let report: Value = serde_json::from_str(&report).unwrap();
    let run = &report["runs"][0];
    assert_eq!(run["invocations"][0]["executionSuccessful"], false);
    let result = &run["results"][0];
    assert_eq!(result["ruleId"], "declaration");
    let place = &result["locations"][0]["physicalLocation"];
    assert_eq!(place["artifactLocation"]["uri"], "packages.yaml");
    assert_eq!(place["region"]["startLine"], 4);

    repository.edit("packages.yaml", "kind: PackageSat", "kind: PackageSet");
    repository.greet("7.0.0");
    let (code, report, _) = repository.check(&["-o", "junit"]);
    assert_eq!(code, 2);
    let (_, line) = repository.line("packages.yaml", "greet:7.0.0");
    assert!(report.contains("classname=\"placet.package\""), "{report}");
    assert!(report.contains(&format!("line=\"{line}\"")), "{report}");
}

#[test]
fn junit_has_a_test_for_each_finding() {
    let repository = broken();
    let junit = |more: &[&str], code: i32| {
        let arguments = [&["--path", "production", "-o", "junit"], more].concat();
        let (ended, report, error) = repository.check(&arguments);
        assert_eq!(ended, code, "{error}{report}");
        report
    };
    let report = junit(&[], 1);
    let document = roxmltree::Document::parse(&report).unwrap();
    let suite = only_suite(&document);
    let is_at = |case: Node<'_>, name: &str, text: &str| {
        let (file, line) = repository.line(name, text);
        assert_eq!(case.attribute("file"), Some(file.as_str()));
        assert_eq!(case.attribute("line"), Some(line.to_string().as_str()));
    };
    let lacking = case_of(suite, "libgreet.so.1");
    assert_eq!(lacking.attribute("classname"), Some("placet.requirement"));
    is_at(lacking, "classes.yaml", "packageSets: [tools]");
    let message = "people <are> talking & \"loud\"";
    let failures = elements(suite, "failure");
    let veto = failures.iter().find(|it| shown(**it).contains(message));
    let change = veto.unwrap().parent().unwrap();
    assert_eq!(change.attribute("classname"), Some("placet.change"));
    is_at(change, "classes.yaml", "- name: sessions");

    // What cannot be judged, in words that would end an attribute or an element.
    let odd = "oci-layout:a<b>&\"c\"]]>:1.0.0";
    repository.edit("packages.yaml", "oci-layout:chat:1.0.0", odd);
    let report = junit(&[], 2);
    let document = roxmltree::Document::parse(&report).unwrap();
    let unknown = case_of(only_suite(&document), odd);
    assert_eq!(unknown.attribute("classname"), Some("placet.package"));
    is_at(unknown, "packages.yaml", odd);

    // What does nothing is one test that passes.
    let report = junit(&["--to", "HEAD"], 0);
    let document = roxmltree::Document::parse(&report).unwrap();
    let suite = only_suite(&document);
    assert_eq!(suite.attribute("tests"), Some("1"));
    assert_eq!(suite.attribute("failures"), Some("0"));
}

/// The test case whose name has these words.
fn case_of<'a>(suite: Node<'a>, words: &str) -> Node<'a> {
    let cases = elements(suite, "testcase").into_iter();
    let mut named = cases.filter(|it| it.attribute("name").unwrap().contains(words));
    named.next().unwrap_or_else(|| panic!("no case of {words}"))
}

type Node<'a> = roxmltree::Node<'a, 'a>;

/// Every element of this name inside of `node`.
fn elements<'a>(node: Node<'a>, name: &str) -> Vec<Node<'a>> {
    let inside = node.descendants().filter(|it| it.has_tag_name(name));
    inside.collect()
}

/// What a failure says, in its attribute as in its text.
fn shown(failure: Node<'_>) -> &str {
    let text = failure.text().unwrap();
    assert_eq!(failure.attribute("message"), Some(text));
    text
}

/// The suite, once what it says of itself is found to be so.
fn only_suite<'a>(document: &'a roxmltree::Document<'a>) -> Node<'a> {
    let root = document.root_element();
    assert!(root.has_tag_name("testsuites"));
    let suites = elements(root, "testsuite");
    let [suite] = suites[..] else {
        panic!("{} suites", suites.len());
    };
    let cases = elements(suite, "testcase");
    let with = |name| {
        let having = cases.iter().filter(|it| !elements(**it, name).is_empty());
        having.count().to_string()
    };
    for of in [root, suite] {
        assert_eq!(
            of.attribute("tests"),
            Some(cases.len().to_string().as_str())
        );
        assert_eq!(of.attribute("failures"), Some(with("failure").as_str()));
        assert_eq!(of.attribute("errors"), Some(with("error").as_str()));
    }
    suite
}

#[test]
fn an_explanation_leads_from_the_process_to_the_line() {
    let repository = Repository::new();
    repository.greet("1.1.0");
    let (code, text, error) = repository.check(&["--explain", "core-1/chatd"]);
    assert_eq!((code, error.as_str()), (0, ""));
    assert!(
        text.lines().all(|line| line.chars().count() <= 80),
        "{text}"
    );
    let (_, line) = repository.line("packages.yaml", "version: 1.1.0");
    let steps = [
        "core-1/chatd is asked",
        "usr/bin/chatd",
        "libgreet.so.1(GREET_1)",
        "usr/lib/libgreet.so.1",
        "1.0.0 -> 1.1.0",
        &format!("packages.yaml:{line}:"),
    ];
    let mut rest = text.as_str();
    for step in steps {
        let at = rest.find(step).unwrap_or_else(|| panic!("{step}: {text}"));
        rest = &rest[at..];
    }

    let (code, json, _) = repository.check(&["--explain", "edge-1/clockd", "-o", "json"]);
    assert_eq!(code, 0);
    let explanation: Value = serde_json::from_str(&json).unwrap();
    let links = explanation["chains"][0]["links"].as_array().unwrap();
    let kinds: Vec<_> = links
        .iter()
        .map(|it| it["kind"].as_str().unwrap())
        .collect();
    assert_eq!(
        kinds,
        [
            "process",
            "api",
            "module",
            "api",
            "module",
            "package",
            "declaration"
        ],
        "through the library of its own package: {json}"
    );
    assert_eq!(links[6]["place"]["line"], line);

    let (code, text, _) = repository.check(&["--explain", "edge-1/metricsd"]);
    assert_eq!(code, 1, "the change does not touch it");
    assert!(text.contains("is not touched"), "{text}");
    let (code, _, error) = repository.check(&["--explain", "edge-1/chatd"]);
    assert_eq!(code, 2);
    assert!(error.contains("it has clockd, metricsd"), "{error}");
    let (code, _, error) = repository.check(&["--explain", "edge-9/clockd"]);
    assert_eq!(code, 2);
    assert!(error.contains("no node `edge-9`"), "{error}");
}
