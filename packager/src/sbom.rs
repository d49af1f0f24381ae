//! The bill of materials of a package, in `CycloneDX`: its modules as files with their hashes, the
//! libraries that they need of others, and what the linker says needs what.

use std::collections::{BTreeMap, BTreeSet};

use placet_model::{Digest, Module, PackageConfig, canonical_json};
use serde_json::{Value, json};

use crate::import::{About, Imports};

/// Media type of bills of materials.
pub const SBOM_TYPE: &str = "application/vnd.cyclonedx+json";

/// The bill of materials of the package whose manifest has this digest, made with these imports; the
/// same for the same.
pub(crate) fn sbom(package: &Digest, config: &PackageConfig, imports: &Imports) -> Vec<u8> {
    let libraries = Libraries::of(config);
    let files = config.modules.iter().map(file);
    let needed = libraries.missing.iter().map(|soname| {
        json!({
            "type": "library",
            "bom-ref": needed_reference(soname),
            "name": soname,
            "description": "needed at run time, and not in this package",
            "scope": "required",
        })
    });
    let required = config.requires.iter().map(|requirement| {
        json!({
            "type": "application",
            "bom-ref": package_reference(&requirement.package),
            "name": requirement.package,
            "description": format!("package needed on the same node, {}", requirement.version),
            "scope": "required",
        })
    });
    let components: BTreeMap<String, Value> = files
        .chain(needed)
        .chain(required)
        .chain(imports.about().map(|(name, about)| imported(name, about)))
        .map(|component| (component["bom-ref"].to_string(), component))
        .collect();
    canonical_json(&json!({
        "bomFormat": "CycloneDX",
        "specVersion": "1.6",
        "serialNumber": serial_number(package),
        "version": 1,
        "metadata": {
            "timestamp": config.created.to_string(),
            "tools": {"components": [{
                "type": "application",
                "name": "placet",
                "version": env!("CARGO_PKG_VERSION"),
            }]},
            "component": root(package, config),
        },
        "components": components.into_values().collect::<Vec<_>>(),
        "dependencies": dependencies(config, imports, &libraries),
    }))
}

/// The package itself.
fn root(package: &Digest, config: &PackageConfig) -> Value {
    let component = json!({
        "type": "application",
        "bom-ref": ROOT,
        "name": config.name,
        "version": config.version.to_string(),
        "hashes": [hash(package)],
    });
    described(
        component,
        config.description.as_deref(),
        config.license.as_deref(),
    )
}

/// A package of another format that files come from, as vulnerability databases know it.
fn imported(name: &str, about: &About) -> Value {
    let own = about.name_or(name);
    let mut component = json!({
        "type": "application",
        "bom-ref": import_reference(name),
        "name": own,
    });
    if let Some(version) = &about.version {
        component["version"] = version.to_string().into();
    }
    if let Some(digest) = &about.digest {
        component["hashes"] = json!([hash(digest)]);
    }
    if let Some(purl) = &about.purl {
        component["purl"] = purl.as_str().into();
    }
    described(
        component,
        about.summary.as_deref(),
        about.license.as_deref(),
    )
}

fn described(mut component: Value, description: Option<&str>, license: Option<&str>) -> Value {
    if let Some(description) = description {
        component["description"] = description.into();
    }
    if let Some(license) = license {
        let is_expression = spdx::Expression::parse(license).is_ok();
        component["licenses"] = if is_expression {
            json!([{"expression": license}])
        } else {
            json!([{"license": {"name": license}}])
        };
    }
    component
}

/// Stands for the package in the document.
const ROOT: &str = "package";

/// Where the libraries are that modules need.
struct Libraries<'c> {
    /// The modules that provide each library.
    here: BTreeMap<&'c str, Vec<&'c Module>>,
    /// Libraries that no module provides.
    missing: BTreeSet<&'c str>,
}

impl<'c> Libraries<'c> {
    fn of(config: &'c PackageConfig) -> Self {
        let mut here: BTreeMap<&str, Vec<&Module>> = BTreeMap::new();
        for module in &config.modules {
            let elf = module.elf.as_ref();
            if let Some(soname) = elf.and_then(|elf| elf.soname.as_deref()) {
                here.entry(soname).or_default().push(module);
            }
        }
        let needed = config.modules.iter().flat_map(needed);
        let missing = needed.filter(|soname| !here.contains_key(soname));
        Self {
            missing: missing.collect(),
            here,
        }
    }

    /// What `module` needs, by reference.
    fn needs_of(&self, module: &'c Module) -> BTreeSet<String> {
        let of_same = |it: &&&Module| it.architecture == module.architecture;
        let needs = needed(module).flat_map(|soname| match self.here.get(soname) {
            Some(providers) => providers
                .iter()
                .filter(of_same)
                .map(|it| reference(it))
                .collect(),
            None => vec![needed_reference(soname)],
        });
        needs.collect()
    }
}

fn needed(module: &Module) -> impl Iterator<Item = &str> {
    let elf = module.elf.iter();
    elf.flat_map(|elf| elf.needed.iter().map(String::as_str))
}

/// Two modules may have one path, for two architectures.
fn reference(module: &Module) -> String {
    format!("file:{}:{}", module.architecture, module.path)
}

fn needed_reference(soname: &str) -> String {
    format!("library:{soname}")
}

fn package_reference(name: &placet_model::PackageName) -> String {
    format!("package:{name}")
}

fn import_reference(name: &str) -> String {
    format!("import:{name}")
}

fn hash(digest: &Digest) -> Value {
    json!({"alg": "SHA-256", "content": digest.hex()})
}

fn file(module: &Module) -> Value {
    let property =
        |name: &str, value: String| json!({"name": format!("placet:{name}"), "value": value});
    let mut properties = vec![
        property("type", module.kind.to_string()),
        property("architecture", module.architecture.to_string()),
        property("signature", module.signature.to_string()),
        property("size", module.size.to_string()),
    ];
    if let Some(id) = &module.build_id {
        properties.push(property("build-id", id.clone()));
    }
    if let Some(target) = &module.link {
        properties.push(property("link", target.to_string()));
    }
    json!({
        "type": "file",
        "bom-ref": reference(module),
        "name": module.path,
        "hashes": [hash(&module.digest)],
        "properties": properties,
    })
}

fn dependencies(
    config: &PackageConfig,
    imports: &Imports,
    libraries: &Libraries<'_>,
) -> Vec<Value> {
    let files = config.modules.iter().map(reference);
    let required = config
        .requires
        .iter()
        .map(|it| package_reference(&it.package));
    let imported = imports.about().map(|(name, _)| import_reference(name));
    let of_package: BTreeSet<String> = files.chain(required).chain(imported).collect();
    let mut all = BTreeMap::from([(ROOT.to_owned(), of_package)]);
    for module in &config.modules {
        all.insert(reference(module), libraries.needs_of(module));
    }
    let all = all.into_iter();
    all.map(|(of, on)| json!({"ref": of, "dependsOn": on}))
        .collect()
}

/// A UUID of the package's digest: a document of the same package has the same number.
fn serial_number(package: &Digest) -> String {
    let mut bytes = [0; 16];
    bytes.copy_from_slice(&package.as_bytes()[..16]);
    // Version 8 is free in how it is made.
    bytes[6] = bytes[6] & 0x0f | 0x80;
    bytes[8] = bytes[8] & 0x3f | 0x80;
    let number = u128::from_be_bytes(bytes);
    let hex = format!("{number:032x}");
    let parts = [
        &hex[..8],
        &hex[8..12],
        &hex[12..16],
        &hex[16..20],
        &hex[20..],
    ];
    format!("urn:uuid:{}", parts.join("-"))
}
