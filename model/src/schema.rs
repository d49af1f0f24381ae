//! JSON Schema of the types that are written as text, in the structural subset that Kubernetes
//! accepts. The patterns are no laxer than `FromStr` where a regular expression can say it.

use std::borrow::Cow;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};

use crate::{
    DecisionKind, Digest, LinkTarget, Mode, ModulePath, NodeName, PackageName, ProcessName,
    Signature, StateFormat, Version,
};

macro_rules! text {
    ($($name:ident: $most:literal, $pattern:literal;)+) => {$(
        impl JsonSchema for $name {
            fn inline_schema() -> bool {
                true
            }

            fn schema_name() -> Cow<'static, str> {
                stringify!($name).into()
            }

            fn json_schema(_: &mut SchemaGenerator) -> Schema {
                json_schema!({
                    "type": "string",
                    "minLength": 1,
                    "maxLength": $most,
                    "pattern": $pattern,
                })
            }
        }
    )+};
}

text! {
    Digest: 71, "^sha256:[0-9a-f]{64}$";
    Signature: 40, "^(md5|elfsig1|objsig1|arsig1):[0-9a-f]{32}$";
    NodeName: 253, "^[a-z0-9]([-a-z0-9.]*[a-z0-9])?$";
    PackageName: 128, "^[a-z0-9]([-a-z0-9._+]*[a-z0-9])?$";
    ProcessName: 64, "^[a-z0-9]([-a-z0-9._]*[a-z0-9])?$";
    Version: 256, "^((deb|rpm):)?[0-9A-Za-z][0-9A-Za-z.+~^:_-]*$";
    Mode: 4, "^0[0-7]{3}$";
    StateFormat: 75, "^[a-z0-9]([-a-z0-9._]*[a-z0-9])?/(0|[1-9][0-9]{0,9})$";
    LinkTarget: 1024, "^[^/\\\\\\x00-\\x1f\\x7f][^\\\\\\x00-\\x1f\\x7f]*$";
    ModulePath: 1024, "^[^/\\\\\\x00-\\x1f\\x7f][^\\\\\\x00-\\x1f\\x7f]*$";
}

/// Written by hand: a structural schema cannot tell variants apart, so that `nodes` stands beside
/// `action` whatever the action is.
impl JsonSchema for DecisionKind {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        "DecisionKind".into()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        let node = generator.subschema_for::<NodeName>();
        json_schema!({
            "type": "object",
            "required": ["action"],
            "properties": {
                "action": {
                    "type": "string",
                    "enum": ["skip", "force", "abort"],
                    "description": "`skip` updates the nodes that accepted, `force` updates all \
                        the same, `abort` gives the change up.",
                },
                "nodes": {
                    "type": "array",
                    "items": node,
                    "description": "For `force`: the nodes to force; all where left out.",
                },
            },
        })
    }
}
