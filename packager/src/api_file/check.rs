//! What an API file has to keep to, with the line of what does not.

use std::collections::BTreeSet;
use std::path::Path;

use placet_model::visible;
use serde_yaml::{Location, Spanned};

use super::{ApiSymbol, ApiSymbolKind, ApiVersion, Document};
use crate::error::Error;
use crate::yaml;

/// The longest names of templates run to tens of kilobytes.
const SYMBOL_MAX: usize = 65_535;
/// What other names may have.
const NAME_MAX: usize = 255;
/// A page: nothing is aligned to more that a program could copy.
const ALIGN_MAX: u64 = 4_096;

pub(super) fn check(document: &Document, path: &Path) -> Result<(), Error> {
    let refuse = |location: Location, message: String| Error::Yaml {
        place: yaml::place(path, Some(location)),
        message,
    };
    header(document).map_err(|(location, message)| refuse(location, message))?;
    let mut names = BTreeSet::new();
    for version in &document.versions {
        check_version(&version.value, &names)
            .map_err(|message| refuse(version.referenced, message))?;
        names.insert(version.value.name.as_str());
    }
    let mut symbols = Symbols::default();
    for symbol in &document.symbols.value {
        check_symbol(&symbol.value, &names)
            .and_then(|()| symbols.add(&symbol.value))
            .map_err(|message| refuse(symbol.referenced, message))?;
    }
    Ok(())
}

fn header(document: &Document) -> Result<(), (Location, String)> {
    let fields = [
        ("name", Some(&document.name)),
        ("version", Some(&document.version)),
        ("soname", document.soname.as_ref()),
    ];
    let fields = fields
        .into_iter()
        .filter_map(|(field, value)| Some((field, value?)));
    for (
        field,
        Spanned {
            value, referenced, ..
        },
    ) in fields
    {
        check_name(field, value, NAME_MAX).map_err(|message| (*referenced, message))?;
    }
    if let Some(soname) = document.soname.as_ref().filter(|it| it.value.contains('/')) {
        let message = "`soname` has a `/`; it is the name of a file, without its folder";
        return Err((soname.referenced, message.to_owned()));
    }
    if document.symbols.value.is_empty() {
        let message = "`symbols` is empty; an API has at least one function or object";
        return Err((document.symbols.referenced, message.to_owned()));
    }
    Ok(())
}

fn check_name(field: &str, name: &str, most: usize) -> Result<(), String> {
    if name.is_empty() {
        return Err(format!("`{field}` is empty; give it a name"));
    }
    if name.len() > most {
        return Err(format!("`{field}` has more than {most} bytes; shorten it"));
    }
    if name.chars().any(char::is_control) {
        let shown = visible(name);
        return Err(format!("`{field}` has a control character in `{shown}`"));
    }
    Ok(())
}

fn check_version(version: &ApiVersion, above: &BTreeSet<&str>) -> Result<(), String> {
    let name = visible(&version.name);
    check_name("name", &version.name, NAME_MAX)?;
    if version.name.contains('@') {
        return Err(format!("version `{name}` has an `@`, which no version has"));
    }
    if above.contains(version.name.as_str()) {
        return Err(format!("version `{name}` occurs twice; keep one of them"));
    }
    let unknown = version
        .parents
        .iter()
        .find(|parent| !above.contains(parent.as_str()));
    unknown.map_or(Ok(()), |parent| {
        Err(format!(
            "version `{name}` has the parent `{}`, which does not stand above it; declare that first",
            visible(parent)
        ))
    })
}

fn check_symbol(symbol: &ApiSymbol, versions: &BTreeSet<&str>) -> Result<(), String> {
    check_name("name", &symbol.name, SYMBOL_MAX)?;
    let name = visible(&symbol.name);
    if symbol.name.contains('@') {
        return Err(format!(
            "symbol `{name}` has an `@`; write the version in `version`"
        ));
    }
    match &symbol.version {
        Some(version) if !versions.contains(version.as_str()) => {
            return Err(format!(
                "symbol `{name}` has the version `{}`, which is not among `versions`; add it there",
                visible(version)
            ));
        }
        None if symbol.hidden => {
            return Err(format!(
                "symbol `{name}` is hidden and has no version; only a version can be hidden"
            ));
        }
        _ => {}
    }
    check_size(symbol).map_err(|why| format!("symbol `{name}` {why}"))
}

fn check_size(symbol: &ApiSymbol) -> Result<(), String> {
    if symbol.kind == ApiSymbolKind::Function {
        let field = match (symbol.size, symbol.align) {
            (Some(_), _) => "size",
            (None, Some(_)) => "align",
            (None, None) => return Ok(()),
        };
        return Err(format!(
            "is a function and has `{field}`; remove it, or say `kind: object`"
        ));
    }
    if symbol.size.is_none() {
        return Err("is an object without `size`; give its size in bytes".to_owned());
    }
    match symbol.align {
        Some(align) if !align.is_power_of_two() || align > ALIGN_MAX => Err(format!(
            "has `align: {align}`; it is a power of two up to {ALIGN_MAX}"
        )),
        _ => Ok(()),
    }
}

/// The symbols so far, by what may occur once.
#[derive(Debug, Default)]
struct Symbols<'a> {
    versioned: BTreeSet<(&'a str, Option<&'a str>)>,
    defaults: BTreeSet<&'a str>,
}

impl<'a> Symbols<'a> {
    fn add(&mut self, symbol: &'a ApiSymbol) -> Result<(), String> {
        let name = symbol.name.as_str();
        if !self.versioned.insert((name, symbol.version.as_deref())) {
            return Err(format!(
                "symbol `{}` occurs twice; keep one of them",
                visible(&symbol.versioned_name())
            ));
        }
        if !symbol.hidden && !self.defaults.insert(name) {
            return Err(format!(
                "symbol `{}` has two versions that are not hidden; say `hidden: true` of the older one",
                visible(name)
            ));
        }
        Ok(())
    }
}
