//! What the documents show of declarations is right.

use std::fs;
use std::path::Path;

use placet_crds::{Fault, SourceFile, load_all};

/// The blocks of YAML in a document that declare something of Placet's own.
fn declarations(text: &str) -> impl Iterator<Item = &str> {
    let blocks = text.split("```yaml\n").skip(1);
    let blocks = blocks.filter_map(|rest| Some(rest.split_once("\n```")?.0));
    blocks.filter(|block| block.contains("apiVersion: placet.dev/"))
}

#[test]
fn declarations_in_documents_are_taken() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let docs = fs::read_dir(root.join("docs")).unwrap();
    let docs = docs.map(|entry| entry.unwrap().path());
    let mut looked_at = 0;
    for path in docs.chain([root.join("README.md"), root.join("charts/placet/README.md")]) {
        if path.extension().is_none_or(|it| it != "md") {
            continue;
        }
        let text = fs::read_to_string(&path).unwrap();
        for block in declarations(&text) {
            let file = SourceFile {
                name: path.display().to_string(),
                text: block.to_owned(),
            };
            let faults = load_all(&[file]).err().unwrap_or_default();
            let faults: Vec<_> = faults.iter().map(Fault::to_string).collect();
            assert!(faults.is_empty(), "{}\nin\n{block}", faults.join("\n"));
            looked_at += 1;
        }
    }
    assert!(looked_at > 3, "documents show declarations");
}
