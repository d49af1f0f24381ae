//! API files: what an interface consists of, apart from any library that provides it.
//!
//! An [`ApiFile`] names an API and lists its symbols. The build checks modules against it
//! ([`ApiFile::missing_of`]), stubs are made from it, and [`ApiFile::of_library`] makes one from a
//! library that exists.

mod check;
mod library;

use std::path::Path;

use placet_model::Api;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize, Serializer};
use serde_yaml::{FlowMap, Spanned};

use crate::error::Error;
use crate::yaml;

/// An API file: a named, versioned interface and the symbols of which it consists.
///
/// ```yaml
/// name: greeting
/// version: "1"
/// soname: libgreet.so.1
/// versions:
///   - { name: GREET_1 }
/// symbols:
///   - { name: greet, version: GREET_1 }
///   - { name: greeting, version: GREET_1, kind: object, size: 8 }
/// ```
///
/// Fields that are not described here are refused.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ApiFile {
    /// Name of the API, as modules provide and use it.
    #[schemars(length(min = 1, max = 255))]
    pub name: String,
    /// Version of the API; a user needs exactly this text.
    #[schemars(length(min = 1, max = 255))]
    pub version: String,
    /// The soname of every library that provides it. A stub needs one; without it, as for what
    /// plug-ins offer, any module may provide the API.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 255))]
    pub soname: Option<String>,
    /// The symbol versions that its library defines, each after those that it continues.
    #[serde(
        default,
        skip_serializing_if = "Vec::is_empty",
        serialize_with = "one_a_line"
    )]
    pub versions: Vec<ApiVersion>,
    /// The functions and objects; at least one.
    #[serde(serialize_with = "one_a_line")]
    #[schemars(length(min = 1))]
    pub symbols: Vec<ApiSymbol>,
}

/// A symbol version of an API.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ApiVersion {
    /// Its name (`OPENSSL_3.0.0`).
    #[schemars(length(min = 1, max = 255))]
    pub name: String,
    /// The versions that it continues; each stands further up.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub parents: Vec<String>,
}

/// A function or object of an API.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ApiSymbol {
    /// Its name, as the linker sees it: mangled for C++.
    #[schemars(length(min = 1))]
    pub name: String,
    /// Its symbol version, one of `versions`; none where left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub version: Option<String>,
    /// True for a version that programs that are linked now do not get: it serves those that were
    /// linked before.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub hidden: bool,
    /// What it stands for: `function` (the default), `object` or `thread-local`.
    #[serde(default, skip_serializing_if = "ApiSymbolKind::is_function")]
    pub kind: ApiSymbolKind,
    /// True if another definition may take its place in a static link.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub weak: bool,
    /// Size in bytes of an object, which needs it: programs that are not position-independent
    /// reserve room for a copy. It may differ from one word size to the other.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub size: Option<u64>,
    /// Alignment in bytes of an object, a power of two up to 4096; where left out, the largest
    /// that divides its size, at most 16.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub align: Option<u64>,
}

/// What a symbol of an API stands for.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum ApiSymbolKind {
    /// Code.
    #[default]
    Function,
    /// Data.
    Object,
    /// Data of which every thread has its own.
    ThreadLocal,
}

impl ApiSymbolKind {
    #[expect(
        clippy::trivially_copy_pass_by_ref,
        reason = "serde passes a reference to skip_serializing_if"
    )]
    fn is_function(&self) -> bool {
        *self == Self::Function
    }
}

/// An API file as it is written, with the lines of what may be wrong.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Document {
    name: Spanned<String>,
    version: Spanned<String>,
    #[serde(default)]
    soname: Option<Spanned<String>>,
    #[serde(default)]
    versions: Vec<Spanned<ApiVersion>>,
    symbols: Spanned<Vec<Spanned<ApiSymbol>>>,
}

/// The largest C++ libraries export tens of thousands of symbols with names of hundreds of bytes.
const LIMITS: yaml::Limits = yaml::Limits {
    size: 64 << 20,
    depth: 8,
    values: 4_000_000,
};

impl ApiFile {
    /// Reads and checks the API file at `path`.
    ///
    /// # Errors
    ///
    /// File, line, what is wrong and what to do.
    pub fn read(path: &Path) -> Result<Self, Error> {
        let text = yaml::read_text(path, LIMITS.size)?;
        Self::parse(&text, path)
    }

    /// Reads and checks an API file that is at hand as text; `path` is what errors name.
    ///
    /// # Errors
    ///
    /// As [`ApiFile::read`].
    pub fn parse(text: &str, path: &Path) -> Result<Self, Error> {
        let document: Document = yaml::parse(text, path, &LIMITS)?;
        check::check(&document, path)?;
        let versions = document.versions.into_iter().map(|it| it.value);
        let symbols = document.symbols.value.into_iter().map(|it| it.value);
        Ok(Self {
            name: document.name.value,
            version: document.version.value,
            soname: document.soname.map(|it| it.value),
            versions: versions.collect(),
            symbols: symbols.collect(),
        })
    }

    /// The API that it describes, as modules provide and use it.
    pub fn api(&self) -> Api {
        Api {
            name: self.name.clone(),
            version: self.version.clone(),
        }
    }

    /// It as YAML, one symbol a line.
    #[expect(
        clippy::missing_panics_doc,
        reason = "texts and numbers can always be written"
    )]
    pub fn to_yaml(&self) -> String {
        serde_yaml::to_string(self).expect("texts and numbers can always be written")
    }

    /// The JSON Schema of the format, for editors.
    pub fn schema() -> schemars::Schema {
        schemars::schema_for!(Self)
    }
}

impl ApiSymbol {
    /// As all tools write it: `name`, `name@@version`, or `name@version` where hidden.
    pub fn versioned_name(&self) -> String {
        match &self.version {
            None => self.name.clone(),
            Some(version) if self.hidden => format!("{}@{version}", self.name),
            Some(version) => format!("{}@@{version}", self.name),
        }
    }

    /// Alignment in bytes: what is declared, or what the size of an object allows.
    pub fn alignment(&self) -> u64 {
        let size = self.size.unwrap_or(1).max(1);
        self.align
            .unwrap_or_else(|| (1 << size.trailing_zeros()).min(16))
    }
}

/// Lists of entries that each fit on one line.
fn one_a_line<S: Serializer, T: Serialize>(
    entries: &[T],
    serializer: S,
) -> Result<S::Ok, S::Error> {
    serializer.collect_seq(entries.iter().map(FlowMap))
}
