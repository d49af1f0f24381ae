//! The format of composite files.

use std::path::Path;

use placet_model::{PackageName, Version};
use serde::Deserialize;
use serde_yaml::Spanned;

use crate::error::Error;
use crate::yaml;

/// A composite file: the packages, boot images and declarations of one artifact.
///
/// ```yaml
/// name: edge-fleet
/// version: 1.2.0
/// packages:
///   - oci-layout:packages/chat:1.1.0
///   - oci://registry.example.org/fleet/greet:1.0.0
/// declarations:
///   - fleet
/// ```
///
/// Fields that are not described here are refused.
#[derive(Debug, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct CompositeFile {
    /// Name of the composite: up to 128 lower-case letters, digits, `-`, `.`, `_` and `+`.
    #[schemars(with = "String", length(min = 1, max = 128))]
    pub name: PackageName,
    /// Version, as of a package (`1.2.3`). It becomes the tag; `+` is written `_`.
    #[schemars(with = "String", length(min = 1, max = 255))]
    pub version: Version,
    /// The packages and boot images, each by reference: `oci-layout:DIR:TAG`, where the folder is
    /// relative to the one of this file, or `oci://HOST/REPOSITORY:TAG`, or a digest in the place
    /// of the tag.
    #[schemars(with = "Vec<String>", length(min = 1, max = 500))]
    pub packages: Vec<Spanned<String>>,
    /// Files of declarations, and folders of such, relative to the folder of this file; none by
    /// default. They keep these paths where they are installed.
    #[serde(default)]
    #[schemars(with = "Vec<String>", length(max = 1000))]
    pub declarations: Vec<Spanned<String>>,
}

impl CompositeFile {
    /// Reads a composite file that is at hand as text; `path` is what errors name.
    ///
    /// # Errors
    ///
    /// File, line, what is wrong and what to do.
    pub fn parse(text: &str, path: &Path) -> Result<Self, Error> {
        yaml::parse(text, path, &yaml::PACKAGE_FILE)
    }

    /// The JSON schema of composite files, for editors.
    pub fn schema() -> serde_json::Value {
        let schema = schemars::schema_for!(Self);
        schema.to_value()
    }
}
