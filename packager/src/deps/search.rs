//! Where the loader looks for libraries.

use std::path::Path;

use globset::Glob;
use placet_model::{Architecture, ElfClass};

use super::object::Object;

/// Folders in which libraries are looked for beside those that files name themselves.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct SearchOrder {
    /// Absolute folders of the process's `LD_LIBRARY_PATH`: nodes set it to those with libraries.
    pub library_path: Vec<String>,
    /// Absolute folders of `/etc/ld.so.conf`; the default folders come after them.
    pub configured: Vec<String>,
}

/// Nobody includes more files into the loader's configuration.
const FILES_MAX: usize = 1_000;
/// Far more than any such file has.
const SIZE_MAX: u64 = 1 << 20;

impl SearchOrder {
    /// The order of the machine whose root is `root`: what its `etc/ld.so.conf` says.
    pub fn of_root(root: &Path) -> Self {
        let mut order = Self::default();
        let mut files = vec!["/etc/ld.so.conf".to_owned()];
        let mut seen = 0;
        while let Some(file) = files.pop() {
            seen += 1;
            if seen > FILES_MAX {
                break;
            }
            let text = read(&root.join(file.trim_start_matches('/')));
            let mut included = order.add_lines(&text, &file, root);
            included.reverse();
            files.append(&mut included);
        }
        order
    }

    /// Adds the folders of one file; the files that it includes.
    fn add_lines(&mut self, text: &str, file: &str, root: &Path) -> Vec<String> {
        let mut included = Vec::new();
        for line in text.lines() {
            let line = line.split('#').next().unwrap_or_default().trim();
            let mut words = line.split_whitespace();
            match words.next() {
                Some("include") => {
                    included.extend(words.flat_map(|pattern| matching(pattern, file, root)));
                }
                Some("hwcap") | None => {}
                Some(_) => {
                    let folders = line.split([' ', '\t', ',', ':']);
                    // `folder=libc6` is an old way of saying for which loader it is.
                    let folders = folders.filter_map(|folder| folder.split('=').next());
                    let folders = folders.filter(|folder| folder.starts_with('/'));
                    self.configured.extend(folders.map(ToOwned::to_owned));
                }
            }
        }
        included
    }

    /// The folders in which the library path, the configuration and the defaults have it looked
    /// for.
    pub(super) fn system(&self, architecture: &Architecture, class: ElfClass) -> Vec<String> {
        let defaults = default_folders(architecture, class);
        let configured = self.configured.iter().cloned();
        configured.chain(defaults).collect()
    }
}

/// A file of the configuration; nothing where it cannot be read, as the loader has it.
fn read(path: &Path) -> String {
    let is_small = path
        .metadata()
        .is_ok_and(|it| it.is_file() && it.len() <= SIZE_MAX);
    let bytes = is_small.then(|| std::fs::read(path).unwrap_or_default());
    String::from_utf8_lossy(&bytes.unwrap_or_default()).into_owned()
}

/// The files that a pattern of an `include` line names, by name. Only its last part may be one.
fn matching(pattern: &str, file: &str, root: &Path) -> Vec<String> {
    let pattern = match (pattern.starts_with('/'), file.rsplit_once('/')) {
        (false, Some((folder, _))) => format!("{folder}/{pattern}"),
        _ => pattern.to_owned(),
    };
    let Some((folder, name)) = pattern.rsplit_once('/') else {
        return Vec::new();
    };
    let Ok(glob) = Glob::new(name).map(|glob| glob.compile_matcher()) else {
        return Vec::new();
    };
    let entries = std::fs::read_dir(root.join(folder.trim_start_matches('/')));
    let entries = entries.into_iter().flatten().flatten();
    let names = entries.filter_map(|entry| entry.file_name().into_string().ok());
    let mut names: Vec<_> = names.filter(|name| glob.is_match(name)).collect();
    names.sort_unstable();
    let files = names.iter().map(|name| format!("{folder}/{name}"));
    files.collect()
}

/// The default folders of the loaders that distributions ship: Debian's by name of the platform,
/// then those of the word size, then the plain ones.
fn default_folders(architecture: &Architecture, class: ElfClass) -> impl Iterator<Item = String> {
    let libraries = library_folders(architecture, class);
    libraries
        .into_iter()
        .flat_map(|folder| [format!("/{folder}"), format!("/usr/{folder}")])
}

/// What `$LIB` may stand for, relative to `/` and `/usr`.
pub(super) fn library_folders(architecture: &Architecture, class: ElfClass) -> Vec<String> {
    let mut folders = Vec::new();
    for triplet in triplets(&architecture.0) {
        folders.push(format!("lib/{triplet}"));
    }
    match (architecture.0.as_str(), class) {
        ("x32", _) => folders.push("libx32".to_owned()),
        (_, ElfClass::Elf64) => folders.push("lib64".to_owned()),
        ("i686" | "sparc" | "ppc" | "mips" | "mipsel", _) => folders.push("lib32".to_owned()),
        _ => {}
    }
    folders.push("lib".to_owned());
    folders
}

/// How Debian names the platforms of a processor.
fn triplets(architecture: &str) -> &'static [&'static str] {
    match architecture {
        "x86_64" => &["x86_64-linux-gnu"],
        "x32" => &["x86_64-linux-gnux32"],
        "i686" => &["i386-linux-gnu"],
        "aarch64" => &["aarch64-linux-gnu"],
        "arm" => &["arm-linux-gnueabihf", "arm-linux-gnueabi"],
        "riscv64" => &["riscv64-linux-gnu"],
        "ppc64le" => &["powerpc64le-linux-gnu"],
        "ppc64" => &["powerpc64-linux-gnu"],
        "ppc" => &["powerpc-linux-gnu"],
        "s390x" => &["s390x-linux-gnu"],
        "mips64el" => &["mips64el-linux-gnuabi64"],
        "mips64" => &["mips64-linux-gnuabi64"],
        "mipsel" => &["mipsel-linux-gnu"],
        "mips" => &["mips-linux-gnu"],
        "loongarch64" => &["loongarch64-linux-gnu"],
        "sparc64" => &["sparc64-linux-gnu"],
        "m68k" => &["m68k-linux-gnu"],
        "parisc" => &["hppa-linux-gnu"],
        "ia64" => &["ia64-linux-gnu"],
        _ => &[],
    }
}

/// The paths that a path in a file stands for once `$ORIGIN`, `$LIB` and `$PLATFORM` are replaced:
/// several, where the file does not tell what the loader puts for `$LIB`.
pub(super) fn expand(path: &str, origin: &str, object: &Object) -> Vec<String> {
    if !path.contains('$') {
        return vec![path.to_owned()];
    }
    let path = replace(path, "ORIGIN", origin);
    let path = replace(&path, "PLATFORM", &object.architecture.0);
    let folders = library_folders(&object.architecture, object.facts.class);
    let mut paths: Vec<_> = folders
        .iter()
        .map(|folder| replace(&path, "LIB", folder))
        .collect();
    paths.dedup();
    paths
}

/// Replaces `$NAME`, where the name ends there, and `${NAME}`.
fn replace(path: &str, name: &str, value: &str) -> String {
    let path = path.replace(&format!("${{{name}}}"), value);
    let plain = format!("${name}");
    let mut parts = path.split(plain.as_str());
    let mut replaced = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        let goes_on = part.starts_with(|it: char| it.is_ascii_alphanumeric() || it == '_');
        replaced.push_str(if goes_on { &plain } else { value });
        replaced.push_str(part);
    }
    replaced
}
