//! Debian packages, as `deb(5)` and `deb-control(5)` describe them.

use std::collections::BTreeSet;
use std::io::{BufRead, Read};
use std::path::Path;

use placet_model::{LocalRequirement, Version, VersionRequirement};

use super::error::{Fault, Outcome};
use super::purl::purl;
use super::tar::TarEntry;
use super::tree::Tree;
use super::{About, ar, copyright, decompress, package_name, tar};

/// Fields and lists of a package; the largest lists of symbols have a few million bytes.
const CONTROL_FILE_MAX: u64 = 16 << 20;
const CONTROL_MAX: u64 = 64 << 20;

const SCRIPTS: [&str; 5] = ["preinst", "postinst", "prerm", "postrm", "config"];

/// Reads a whole package.
pub(super) fn read(reader: &mut impl BufRead, tree: &mut Tree) -> Outcome<About> {
    ar::begin(reader)?;
    let mut about = None;
    let mut has_data = false;
    while let Some(member) = ar::next(reader)? {
        let mut bytes = (&mut *reader).take(member.size);
        let refused =
            |(entry, fault): (Option<String>, Fault)| (entry.or(Some(member.name.clone())), fault);
        match member.name.as_str() {
            "debian-binary" => version(&mut bytes).map_err(|fault| fault.at(&member.name))?,
            name if name.starts_with("control.tar") && about.is_none() => {
                about = Some(control(&mut bytes, member.size, tree).map_err(refused)?);
            }
            name if name.starts_with("data.tar") && about.is_some() && !has_data => {
                data(&mut bytes, member.size, tree).map_err(refused)?;
                has_data = true;
            }
            name if name.starts_with('_') => {}
            _ => {
                let why = "it is not the next part of a Debian package";
                return Err(Fault::Malformed(why.to_owned()).at(&member.name));
            }
        }
        ar::finish(bytes, member.size)?;
    }
    match about {
        Some(mut about) if has_data => {
            let name = about.name.iter();
            let copyright = name.map(|name| format!("usr/share/doc/{name}/copyright"));
            let mut files = copyright.filter_map(|name| tree.file(&name).map(Path::to_owned));
            about.license = files.find_map(|file| copyright::licenses(&file));
            about.purl = purl_of(&about);
            Ok(about)
        }
        _ => Err(Fault::Truncated("it").into()),
    }
}

/// A `.deb` does not say which distribution it is of; Ubuntu's versions do.
fn purl_of(about: &About) -> Option<String> {
    let version = about.version.as_ref()?.to_string();
    let version = version.strip_prefix("deb:")?;
    let is_ubuntu = version.contains("ubuntu");
    let vendor = if is_ubuntu { "ubuntu" } else { "debian" };
    let architecture = [("arch", about.architecture.as_deref())];
    let name = about.name.as_ref()?.as_str();
    Some(purl(
        "deb",
        Some(vendor),
        name,
        Some(version),
        &architecture,
    ))
}

fn version(bytes: &mut impl Read) -> Result<(), Fault> {
    let mut text = [0; 2];
    bytes.read_exact(&mut text).map_err(Fault::of_stream)?;
    match &text {
        b"2." => Ok(()),
        _ => Err(Fault::Unsupported("a format other than 2.0")),
    }
}

fn data(bytes: &mut impl BufRead, size: u64, tree: &mut Tree) -> Outcome<()> {
    let mut archive = decompress::open(bytes, size, tree.limits())?;
    tar::each(&mut archive, |entry, bytes| tar::add(entry, bytes, tree))?;
    Ok(decompress::finish(&mut archive)?)
}

/// Reads the metadata; nothing of it is kept as a file.
fn control(bytes: &mut impl BufRead, size: u64, tree: &mut Tree) -> Outcome<About> {
    let mut about = About {
        format: "deb",
        ..About::default()
    };
    let mut has_fields = false;
    let mut total = 0;
    let mut archive = decompress::open(bytes, size, tree.limits())?;
    tar::each(&mut archive, |entry, bytes| {
        let name = String::from_utf8_lossy(&entry.name);
        let name = name.trim_start_matches("./").to_owned();
        let wanted = [
            "control",
            "md5sums",
            "conffiles",
            "shlibs",
            "symbols",
            "triggers",
        ];
        if SCRIPTS.contains(&name.as_str()) {
            about.scripts.push(name);
        } else if wanted.contains(&name.as_str()) {
            let text = control_file(entry, bytes, &mut total).map_err(|fault| fault.at(&name))?;
            has_fields |= name == "control";
            apply(&name, &text, &mut about, tree).map_err(|fault| fault.at(&name))?;
        }
        Ok(())
    })?;
    decompress::finish(&mut archive)?;
    if has_fields {
        Ok(about)
    } else {
        Err(Fault::Malformed("the file `control` is missing".to_owned()).into())
    }
}

fn control_file(entry: &TarEntry, bytes: &mut dyn Read, total: &mut u64) -> Result<String, Fault> {
    *total = total.saturating_add(entry.size);
    if entry.size > CONTROL_FILE_MAX || *total > CONTROL_MAX {
        return Err(Fault::Malformed(format!("it has {} bytes", entry.size)));
    }
    let mut text = Vec::new();
    bytes.read_to_end(&mut text).map_err(Fault::of_stream)?;
    String::from_utf8(text).map_err(|_| Fault::Malformed("it is not UTF-8".to_owned()))
}

fn apply(name: &str, text: &str, about: &mut About, tree: &mut Tree) -> Result<(), Fault> {
    match name {
        "control" => fields(text, about)?,
        "md5sums" => {
            for line in text.lines() {
                if let Some((sum, file)) = line.split_once(char::is_whitespace)
                    && let Some(sum) = md5(sum)
                {
                    let file = file.trim_start().trim_start_matches("./");
                    tree.expect(file.to_owned(), sum);
                }
            }
        }
        "conffiles" => {
            // A conffile that the update is to remove stands there too, and is none of the files.
            let lines = text.lines().filter(|line| line.starts_with('/'));
            about
                .configuration
                .extend(lines.map(|line| line.trim()[1..].to_owned()));
        }
        "shlibs" => shlibs(text, about),
        "symbols" => symbols(text, about),
        _ => about.scripts.push("triggers".to_owned()),
    }
    Ok(())
}

/// The fields of the first paragraph.
fn fields(text: &str, about: &mut About) -> Result<(), Fault> {
    let mut fields = Vec::<(String, String)>::new();
    for line in text.lines().take_while(|line| !line.trim().is_empty()) {
        if line.starts_with([' ', '\t']) {
            if let Some((_, value)) = fields.last_mut() {
                value.push('\n');
                value.push_str(line.trim());
            }
        } else if let Some((name, value)) = line.split_once(':') {
            fields.push((name.to_ascii_lowercase(), value.trim().to_owned()));
        }
    }
    for (name, value) in fields {
        match name.as_str() {
            "package" => about.name = package_name(&value),
            "version" => {
                let version = format!("deb:{value}").parse::<Version>();
                about.version = Some(version.map_err(|error| Fault::Malformed(error.to_string()))?);
            }
            "architecture" => about.architecture = Some(value),
            "description" => about.summary = value.lines().next().map(str::to_owned),
            "depends" | "pre-depends" => depends(&value, about),
            "conflicts" | "breaks" => {
                let all = value.split(',').map(str::trim);
                let lines = all.map(|other| format!("{name} {other}: a package cannot say this"));
                about.not_carried.extend(lines);
            }
            _ => {}
        }
    }
    Ok(())
}

fn depends(value: &str, about: &mut About) {
    for text in value.split(',').map(str::trim).filter(|it| !it.is_empty()) {
        match dependency(text) {
            Ok(requirement) => about.requires.push(requirement),
            Err(why) => about.not_carried.push(format!("depends on {text}: {why}")),
        }
    }
}

/// The requirement that `name:arch (>= version)` is.
fn dependency(text: &str) -> Result<LocalRequirement, &'static str> {
    if text.contains('|') {
        return Err("one of several would do");
    }
    let (name, relation) = text
        .split_once('(')
        .ok_or("it names no version, so that a virtual package would do")?;
    let (relation, _) = relation.split_once(')').ok_or("it cannot be read")?;
    let name = name.trim();
    let name = name.split(':').next().unwrap_or(name);
    let required = format!("deb:{}", relation.trim());
    let version: VersionRequirement = required.parse().map_err(|_| "it cannot be read")?;
    Ok(LocalRequirement {
        package: package_name(name).ok_or("its name cannot be that of a package")?,
        version,
        node_types: BTreeSet::new(),
    })
}

/// What users of a library need, as text: `libssl3 deb:>= 3.0.0`.
fn needed(dependencies: &str) -> String {
    let parts = dependencies.split(',').map(|text| {
        let text = text.trim();
        dependency(text).map_or_else(
            |_| text.to_owned(),
            |it| format!("{} {}", it.package, it.version),
        )
    });
    parts.collect::<Vec<_>>().join(", ")
}

/// Lines of `libssl 3 libssl3 (>= 3.0.0)`.
fn shlibs(text: &str, about: &mut About) {
    for line in text.lines().filter(|line| !line.contains(": ")) {
        let mut words = line.splitn(3, ' ');
        if let (Some(library), Some(version), Some(rest)) =
            (words.next(), words.next(), words.next())
        {
            let soname = format!("{library}.so.{version}");
            about
                .libraries
                .entry(soname)
                .or_insert_with(|| needed(rest));
        }
    }
}

/// Blocks of `libssl.so.3 libssl3 #MINVER#` and lines of ` SYMBOL@VERSION 3.0.0`: users of any
/// symbol are well served by the greatest version.
fn symbols(text: &str, about: &mut About) {
    let mut library: Option<(&str, &str, Option<Version>)> = None;
    let mut done = |library: Option<(&str, &str, Option<Version>)>| {
        let Some((soname, template, version)) = library else {
            return;
        };
        let bound = version.map_or_else(String::new, |version| {
            format!("(>= {})", version.to_string().trim_start_matches("deb:"))
        });
        let needed = needed(template.replace("#MINVER#", &bound).trim());
        about.libraries.insert(soname.to_owned(), needed);
    };
    for line in text.lines() {
        match (line.chars().next(), &mut library) {
            (Some('|' | '*' | '#') | None, _) | (Some(' '), None) => {}
            (Some(' '), Some((_, _, greatest))) => {
                let version = line.split_whitespace().nth(1);
                let version = version.and_then(|it| format!("deb:{it}").parse().ok());
                *greatest = greatest.take().max(version);
            }
            (Some(_), _) => {
                done(library.take());
                library = line
                    .split_once(' ')
                    .map(|(soname, template)| (soname, template, None));
            }
        }
    }
    done(library);
}

fn md5(hex: &str) -> Option<[u8; 16]> {
    let mut bytes = [0; 16];
    if hex.len() != 32 || !hex.is_ascii() {
        return None;
    }
    for (index, byte) in bytes.iter_mut().enumerate() {
        *byte = u8::from_str_radix(&hex[2 * index..2 * index + 2], 16).ok()?;
    }
    Some(bytes)
}
