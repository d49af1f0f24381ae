//! The book: every page is in it, and every link leads somewhere.
#![expect(clippy::unwrap_used, reason = "helpers of tests fail as tests do")]

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Component, Path, PathBuf};

fn root() -> PathBuf {
    let tests = Path::new(env!("CARGO_MANIFEST_DIR"));
    tests.parent().expect("the workspace").to_owned()
}

/// Every Markdown file of the documentation, from the root of the repository.
fn pages() -> BTreeMap<PathBuf, String> {
    let mut open = vec![PathBuf::from("docs")];
    let top = [
        "README.md",
        "ARCHITECTURE.md",
        "CONTRIBUTING.md",
        "CHANGELOG.md",
    ];
    let mut files: Vec<_> = top.map(PathBuf::from).into();
    while let Some(folder) = open.pop() {
        for entry in fs::read_dir(root().join(&folder)).unwrap() {
            let entry = entry.unwrap();
            let path = folder.join(entry.file_name());
            if entry.file_type().unwrap().is_dir() {
                open.push(path);
            } else if path.extension().is_some_and(|it| it == "md") {
                files.push(path);
            }
        }
    }
    let read = |path: PathBuf| {
        let text = fs::read_to_string(root().join(&path)).unwrap();
        (path, text)
    };
    files.into_iter().map(read).collect()
}

/// The lines outside of code blocks.
fn prose(page: &str) -> impl Iterator<Item = &str> {
    let mut is_code = false;
    page.lines().filter(move |line| {
        let is_fence = line.trim_start().starts_with("```");
        is_code ^= is_fence;
        !is_code && !is_fence
    })
}

/// Where the links of a page lead.
fn links(page: &str) -> Vec<String> {
    let text: Vec<_> = prose(page).collect();
    let text = text.join(" ");
    let links = text.split("](").skip(1);
    let targets = links.filter_map(|it| it.split(')').next());
    targets.map(|it| it.trim().to_owned()).collect()
}

/// The names by which headings are linked, as git hosts and mdBook make them.
fn anchors(page: &str) -> BTreeSet<String> {
    let mut anchors = BTreeSet::new();
    for line in prose(page) {
        let Some(title) = line.trim_start_matches('#').strip_prefix(' ') else {
            continue;
        };
        if !line.starts_with('#') {
            continue;
        }
        let kept = title.trim().chars().filter_map(|it| match it {
            ' ' => Some('-'),
            it if it.is_alphanumeric() || it == '-' || it == '_' => it.to_lowercase().next(),
            _ => None,
        });
        let name: String = kept.collect();
        let numbered = (1..).map(|number| format!("{name}-{number}"));
        let mut names = std::iter::once(name.clone()).chain(numbered);
        let free = names.find(|it| !anchors.contains(it));
        anchors.extend(free);
    }
    anchors
}

/// `docs/../README.md` is `README.md`.
fn plain(path: &Path) -> PathBuf {
    let mut parts = PathBuf::new();
    for part in path.components() {
        match part {
            Component::ParentDir => assert!(parts.pop(), "{} leaves the tree", path.display()),
            Component::CurDir => {}
            part => parts.push(part),
        }
    }
    parts
}

#[test]
fn every_page_is_in_the_book_once() {
    let pages = pages();
    let summary = &pages[Path::new("docs/SUMMARY.md")];
    let listed: Vec<_> = links(summary)
        .into_iter()
        .map(|it| Path::new("docs").join(it))
        .collect();
    let expected: BTreeSet<_> = pages
        .keys()
        .filter(|it| it.starts_with("docs") && !it.ends_with("SUMMARY.md"))
        .cloned()
        .collect();
    let found: BTreeSet<_> = listed.iter().cloned().collect();
    assert_eq!(found, expected, "docs/SUMMARY.md lists every page of docs/");
    assert_eq!(found.len(), listed.len(), "and each once");
    for part in ["Tutorial", "How-to", "Reference", "Explanation"] {
        assert!(summary.contains(&format!("# {part}\n")), "{part}");
    }
}

#[test]
fn every_link_leads_somewhere() {
    let pages = pages();
    let mut count = 0;
    for (page, text) in &pages {
        for link in links(text).iter().filter(|it| !it.contains("://")) {
            count += 1;
            let place = format!("{}: {link}", page.display());
            let (file, anchor) = link.split_once('#').unwrap_or((link, ""));
            let folder = page.parent().expect("a page is in a folder");
            let target = match file {
                "" => page.clone(),
                file => plain(&folder.join(file)),
            };
            assert!(
                root().join(&target).exists(),
                "{place}: there is no such file"
            );
            if !anchor.is_empty() {
                let found = pages.get(&target).map(|it| anchors(it));
                let found = found.unwrap_or_else(|| panic!("{place}: it has no headings"));
                assert!(found.contains(anchor), "{place}: there is {found:?}");
            }
        }
    }
    assert!(count > 50, "{count} links were found");
}

/// Whoever has the book alone gets everywhere, too: mdBook makes a page of what the summary lists, keeps
/// other files of `docs/` as they are, and knows nothing of what is outside.
#[test]
fn no_link_of_the_book_leaves_it() {
    for (page, text) in pages() {
        if !page.starts_with("docs") {
            continue;
        }
        for link in links(&text).iter().filter(|it| !it.contains("://")) {
            let file = link.split('#').next().expect("a link");
            let place = format!("{}: {link}", page.display());
            let target = plain(&page.parent().expect("a page is in a folder").join(file));
            assert!(target.starts_with("docs"), "{place} is not in the book");
            let is_file = file.is_empty() || root().join(target).is_file();
            assert!(is_file, "{place}: a book has no listings of folders");
        }
    }
    // Otherwise mdBook makes an index.html of each README.md, and leaves links to it as they are.
    let settings = fs::read_to_string(root().join("docs/book.toml")).unwrap();
    let keeps_names = settings.contains("\nuse-default-preprocessors = false\n");
    assert!(keeps_names && !settings.contains("[preprocessor.index]"));
}

#[test]
fn headings_are_linked_by_what_remains_of_them() {
    let page =
        "# `placet up` & more\n## One\n```\n# no heading\n```\n## One\n[a](b.md) [c](#one)\n";
    let expected = ["one", "one-1", "placet-up--more"];
    assert!(anchors(page).iter().eq(expected));
    assert_eq!(links(page), ["b.md", "#one"]);
}
