//! The kinds as the API server and `kubectl` know them.

use std::sync::LazyLock;

use kube::CustomResourceExt;
use serde_json::Value;

use crate::schema::{canonical, tidy, whole};
use crate::{FleetNode, GROUP, GitSource, NodeClass, PackageSet, Rollout};

/// What is known of one kind.
#[derive(Debug, Clone)]
pub struct KindInfo {
    /// `NodeClass`.
    pub kind: String,
    /// `nodeclasses`.
    pub plural: String,
    /// `nodeclass`.
    pub singular: String,
    /// `ncls`.
    pub short_names: Vec<String>,
    /// The columns of a table of such resources, after the column `Name`.
    pub columns: Vec<Column>,
    /// The schema of a whole resource, metadata included.
    pub schema: Value,
    /// The custom resource definition.
    pub definition: Value,
}

/// A column of a table of resources.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Column {
    /// Its heading.
    pub name: String,
    /// Where the value stands (`.status.conditions[?(@.type=="Ready")].status`).
    pub json_path: String,
    /// `string`, `integer` or `date`; a date is shown as an age.
    pub kind: String,
    /// 0 for columns that are always shown, more for those of wide tables only.
    pub priority: i64,
}

static KINDS: LazyLock<Vec<KindInfo>> = LazyLock::new(|| {
    vec![
        info::<GitSource>(),
        info::<NodeClass>(),
        info::<PackageSet>(),
        info::<FleetNode>(),
        info::<Rollout>(),
    ]
});

/// All kinds.
pub fn kinds() -> &'static [KindInfo] {
    &KINDS
}

/// The kind that `text` names by kind, plural, singular or short name, in upper or lower case,
/// with or without the group (`nodeclasses.placet.dev`).
pub fn find_kind(text: &str) -> Option<&'static KindInfo> {
    let text = text.to_lowercase();
    let text = text.strip_suffix(".placet.dev").unwrap_or(&text);
    kinds().iter().find(|info| {
        text == info.singular || text == info.plural || info.short_names.iter().any(|it| it == text)
    })
}

/// Kind and name as commands print them: `nodeclass.placet.dev/core`.
pub fn full_name(kind: &str, name: &str) -> String {
    let singular =
        find_kind(kind).map_or_else(|| kind.to_lowercase(), |info| info.singular.clone());
    format!("{singular}.{GROUP}/{name}")
}

/// The files of `charts/placet/definitions`: name and YAML text.
///
/// # Panics
///
/// Never: every JSON value can be written as YAML.
pub fn generated() -> Vec<(String, String)> {
    kinds()
        .iter()
        .map(|info| {
            let yaml = serde_yaml::to_string(&info.definition).expect("JSON is YAML");
            let text = format!(
                "# Generated from the crate `crds` by `cargo xtask generate`. Do not edit.\n{yaml}"
            );
            (format!("{}.yaml", info.plural), text)
        })
        .collect()
}

fn info<K: CustomResourceExt>() -> KindInfo {
    let mut definition = serde_json::to_value(K::crd()).expect("definitions serialise to JSON");
    tidy(&mut definition["spec"]["versions"][0]["schema"]["openAPIV3Schema"]);
    let definition = canonical(definition);
    let spec = &definition["spec"];
    let version = &spec["versions"][0];
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let list = |value: &Value| value.as_array().cloned().unwrap_or_default();
    let kind = text(&spec["names"]["kind"]);
    KindInfo {
        plural: text(&spec["names"]["plural"]),
        singular: text(&spec["names"]["singular"]),
        short_names: list(&spec["names"]["shortNames"])
            .iter()
            .map(text)
            .collect(),
        columns: list(&version["additionalPrinterColumns"])
            .iter()
            .map(|column| Column {
                name: text(&column["name"]),
                json_path: text(&column["jsonPath"]),
                kind: text(&column["type"]),
                priority: column["priority"].as_i64().unwrap_or(0),
            })
            .collect(),
        schema: whole(&version["schema"]["openAPIV3Schema"], &kind),
        kind,
        definition,
    }
}
