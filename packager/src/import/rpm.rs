//! RPM packages: lead, signature, header, payload, as the RPM file format manual describes them.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{BufRead, Read};

use placet_model::{LocalRequirement, Version, VersionRequirement};

use super::error::{Fault, Outcome};
use super::limits::Hashing;
use super::purl::purl;
use super::tree::{Meta, Tree};
use super::{About, cpio, decompress, package_name};

pub(super) const MAGIC: &[u8] = &[0xed, 0xab, 0xee, 0xdb];

const LEAD: usize = 96;
const HEADER_MAGIC: [u8; 4] = [0x8e, 0xad, 0xe8, 0x01];
/// As RPM itself has them.
const TAGS_MAX: usize = 65_535;
const STORE_MAX: usize = 64 << 20;
/// What the paths of all files come to; those of half a million take up less.
const NAMES_MAX: usize = 64 << 20;

mod tag {
    pub(super) const NAME: u32 = 1000;
    pub(super) const VERSION: u32 = 1001;
    pub(super) const RELEASE: u32 = 1002;
    pub(super) const EPOCH: u32 = 1003;
    pub(super) const SUMMARY: u32 = 1004;
    pub(super) const LICENSE: u32 = 1014;
    pub(super) const ARCHITECTURE: u32 = 1022;
    pub(super) const FILE_FLAGS: u32 = 1037;
    pub(super) const FILE_USER: u32 = 1039;
    pub(super) const FILE_GROUP: u32 = 1040;
    pub(super) const REQUIRE_FLAGS: u32 = 1048;
    pub(super) const REQUIRE_NAME: u32 = 1049;
    pub(super) const REQUIRE_VERSION: u32 = 1050;
    pub(super) const CONFLICT_NAME: u32 = 1054;
    pub(super) const DIRECTORY_INDEX: u32 = 1116;
    pub(super) const BASE_NAME: u32 = 1117;
    pub(super) const DIRECTORY_NAME: u32 = 1118;
    pub(super) const PAYLOAD_DIGEST: u32 = 5092;
}

/// Scriptlets and triggers, by the tag of their text.
const SCRIPTS: [(u32, &str); 12] = [
    (1023, "pre"),
    (1024, "post"),
    (1025, "preun"),
    (1026, "postun"),
    (1065, "triggers"),
    (1079, "verify"),
    (1151, "pretrans"),
    (1152, "posttrans"),
    (5066, "file triggers"),
    (5076, "transaction file triggers"),
    (5104, "preuntrans"),
    (5105, "postuntrans"),
];

const CONFIG: u32 = 1;

mod sense {
    pub(super) const LESS: u32 = 2;
    pub(super) const GREATER: u32 = 4;
    pub(super) const EQUAL: u32 = 8;
}

/// One header: values by tag.
struct Header {
    store: Vec<u8>,
    /// Type, offset and count.
    index: BTreeMap<u32, (u32, usize, usize)>,
}

/// Reads a whole package from a file of `size` bytes.
pub(super) fn read(reader: &mut impl BufRead, size: u64, tree: &mut Tree) -> Outcome<About> {
    let mut lead = [0; LEAD];
    reader
        .read_exact(&mut lead)
        .map_err(|_| Fault::Truncated("its lead"))?;
    if lead[4] != 3 {
        return Err(Fault::Unsupported("a format other than 3 and 4").into());
    }
    let (_, length) = Header::read(reader)?;
    let mut padding = [0; 7];
    reader
        .read_exact(&mut padding[..length.wrapping_neg() % 8])
        .map_err(|_| Fault::Truncated("its signature"))?;
    let (header, _) = Header::read(reader)?;
    let about = header.about()?;
    let owners = header.owners()?;
    let mut hashing = Hashing::new(reader);
    let mut payload = decompress::open(&mut hashing, size, tree.limits())?;
    let meta = |name: &str, mode| {
        let (user, group) = owners.get(name).cloned().unwrap_or_default();
        Meta { mode, user, group }
    };
    cpio::read(&mut payload, meta, tree)?;
    decompress::finish(&mut payload)?;
    drop(payload);
    let digest = hashing.finish().map_err(Fault::Read)?;
    match header.texts(tag::PAYLOAD_DIGEST).first() {
        Some(listed) if listed.len() == 64 && *listed != digest.hex() => {
            Err(Fault::Digest(listed.clone()).into())
        }
        _ => Ok(about),
    }
}

/// By name, where the header has one.
type UserAndGroup = (Option<String>, Option<String>);

impl Header {
    /// A header, and how many bytes it has.
    fn read(reader: &mut impl Read) -> Result<(Self, usize), Fault> {
        let mut start = [0; 16];
        reader
            .read_exact(&mut start)
            .map_err(|_| Fault::Truncated("a header"))?;
        if start[..4] != HEADER_MAGIC {
            let why = "where a header should begin there is something else";
            return Err(Fault::Malformed(why.to_owned()));
        }
        let (count, size) = (number(&start[8..12]), number(&start[12..16]));
        let (count, size) = (in_memory(count), in_memory(size));
        if count > TAGS_MAX || size > STORE_MAX {
            let why = format!("a header claims {count} tags and {size} bytes");
            return Err(Fault::Malformed(why));
        }
        let mut bytes = Vec::new();
        let length = 16 * count + size;
        let got = reader.take(length as u64).read_to_end(&mut bytes);
        if got.map_err(Fault::Read)? != length {
            return Err(Fault::Truncated("a header"));
        }
        let store = bytes.split_off(16 * count);
        let index = bytes.chunks_exact(16).map(|entry| {
            let field = |at: usize| number(&entry[at..at + 4]);
            let place = (field(4), in_memory(field(8)), in_memory(field(12)));
            (field(0), place)
        });
        let index = index.collect();
        Ok((Self { store, index }, 16 + length))
    }

    /// The texts of a tag; none where it is absent, or not texts.
    fn texts(&self, tag: u32) -> Vec<String> {
        let Some((6 | 8 | 9, offset, count)) = self.index.get(&tag) else {
            return Vec::new();
        };
        let bytes = self.store.get(*offset..).unwrap_or_default();
        let texts = bytes.split(|byte| *byte == 0).take(*count);
        texts
            .map(|text| String::from_utf8_lossy(text).into_owned())
            .collect()
    }

    fn text(&self, tag: u32) -> Option<String> {
        self.texts(tag).into_iter().next()
    }

    fn numbers(&self, tag: u32) -> Vec<u32> {
        let Some((4, offset, count)) = self.index.get(&tag) else {
            return Vec::new();
        };
        let bytes = self.store.get(*offset..).unwrap_or_default();
        let numbers = bytes.chunks_exact(4).take(*count);
        numbers.map(number).collect()
    }

    /// The vendor is left out: headers have it in words for people.
    fn purl(&self, name: &str, version: &str) -> String {
        let epoch = self.numbers(tag::EPOCH).first().map(u32::to_string);
        let architecture = self.text(tag::ARCHITECTURE);
        let qualifiers = [
            ("arch", architecture.as_deref()),
            ("epoch", epoch.as_deref()),
        ];
        purl("rpm", None, name, Some(version), &qualifiers)
    }

    fn about(&self) -> Result<About, Fault> {
        let needed = |tag, what: &str| {
            let missing = || Fault::Malformed(format!("its header has no {what}"));
            self.text(tag).ok_or_else(missing)
        };
        let (version, release) = (
            needed(tag::VERSION, "version")?,
            needed(tag::RELEASE, "release")?,
        );
        let name = needed(tag::NAME, "name")?;
        let purl = self.purl(&name, &format!("{version}-{release}"));
        let epoch = self.numbers(tag::EPOCH).first().copied();
        let epoch = epoch.map_or_else(String::new, |epoch| format!("{epoch}:"));
        let version = format!("rpm:{epoch}{version}-{release}").parse::<Version>();
        let scripts = SCRIPTS
            .iter()
            .filter(|(tag, _)| self.index.contains_key(tag));
        let conflicts = self.texts(tag::CONFLICT_NAME).into_iter();
        let mut about = About {
            format: "rpm",
            name: package_name(&name),
            purl: Some(purl),
            version: Some(version.map_err(|error| Fault::Malformed(error.to_string()))?),
            architecture: self.text(tag::ARCHITECTURE),
            summary: self.text(tag::SUMMARY),
            license: self.text(tag::LICENSE),
            scripts: scripts.map(|(_, name)| (*name).to_owned()).collect(),
            not_carried: conflicts
                .map(|name| format!("conflicts {name}: a package cannot say this"))
                .collect(),
            ..About::default()
        };
        let flags = self.numbers(tag::FILE_FLAGS);
        let files = self.files()?.into_iter().zip(flags);
        let configuration = files.filter(|(_, flags)| flags & CONFIG != 0);
        about.configuration = configuration.map(|(name, _)| name).collect();
        self.requirements(&mut about);
        Ok(about)
    }

    /// The names of all files, as the payload has them.
    fn files(&self) -> Result<Vec<String>, Fault> {
        let folders = self.texts(tag::DIRECTORY_NAME);
        let indexes = self.numbers(tag::DIRECTORY_INDEX).into_iter();
        let names = self.texts(tag::BASE_NAME).into_iter().zip(indexes);
        // Many files may lie in one folder with a long name.
        let mut length = 0;
        let path = |(name, index): (String, u32)| {
            let folder = usize::try_from(index).ok().and_then(|it| folders.get(it));
            let folder = folder.map_or("", |folder| folder.trim_start_matches('/'));
            length += folder.len() + name.len();
            if length > NAMES_MAX {
                let why = format!("its header names files by more than {NAMES_MAX} bytes");
                return Err(Fault::Malformed(why));
            }
            Ok(format!("{folder}{name}"))
        };
        names.map(path).collect()
    }

    fn owners(&self) -> Result<BTreeMap<String, UserAndGroup>, Fault> {
        let users = self.texts(tag::FILE_USER).into_iter().map(Some);
        let groups = self.texts(tag::FILE_GROUP).into_iter().map(Some);
        Ok(self.files()?.into_iter().zip(users.zip(groups)).collect())
    }

    fn requirements(&self, about: &mut About) {
        let flags = self.numbers(tag::REQUIRE_FLAGS).into_iter();
        let versions = self.texts(tag::REQUIRE_VERSION).into_iter();
        let names = self.texts(tag::REQUIRE_NAME).into_iter();
        for ((name, version), flags) in names.zip(versions).zip(flags) {
            // RPM's own abilities, and sonames, which the link says more exactly.
            if name.starts_with("rpmlib(") || name.contains(".so") || name == "rtld(GNU_HASH)" {
                continue;
            }
            match requirement(&name, &version, flags) {
                Ok(requirement) => about.requires.push(requirement),
                Err(why) => about
                    .not_carried
                    .push(format!("requires {name} {version}: {why}")),
            }
        }
    }
}

fn requirement(name: &str, version: &str, flags: u32) -> Result<LocalRequirement, &'static str> {
    if name.contains(['(', '/', ' ']) {
        return Err("it is not the name of a package");
    }
    let sign = match flags & (sense::LESS | sense::GREATER | sense::EQUAL) {
        sense::EQUAL => "=",
        sense::LESS => "<",
        sense::GREATER => ">",
        0 => return Err("it names no version, so that another package may provide it"),
        both if both & sense::LESS != 0 => "<=",
        _ => ">=",
    };
    let version: VersionRequirement = format!("rpm:{sign} {version}")
        .parse()
        .map_err(|_| "it cannot be read")?;
    Ok(LocalRequirement {
        package: package_name(name).ok_or("its name cannot be that of a package")?,
        version,
        node_types: BTreeSet::new(),
    })
}

/// A number of four bytes.
fn number(bytes: &[u8]) -> u32 {
    bytes
        .iter()
        .fold(0, |number, byte| number << 8 | u32::from(*byte))
}

/// A size that memory cannot have where it does not fit.
fn in_memory(number: u32) -> usize {
    usize::try_from(number).unwrap_or(usize::MAX)
}
