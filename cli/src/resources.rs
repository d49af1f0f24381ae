//! `get`, `describe`, `apply`, `delete`: resources, in kubectl's words.

use std::io::Read as _;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, bail};
use placet_crds::{KindInfo, SourceFile, find_kind, kinds};
use placet_protocol::wire::File;
use serde_json::Value;

use crate::arguments::{Apply, Common, Describe, Get};
use crate::dry_run;
use crate::home::Home;
use crate::output::{self, Answer, Format};

/// `placet get`.
pub(crate) async fn get(arguments: &Get, common: &Common) -> anyhow::Result<Answer> {
    let kind = canonical(&arguments.kind)?;
    let home = Home::open(common).await?;
    let objects = home.get(kind, &arguments.name).await?;
    if objects.is_empty() && !arguments.name.is_empty() {
        bail!("there is no {} `{}`", arguments.kind, arguments.name);
    }
    if common.output != Format::Table {
        output::print(
            &output::list(objects, !arguments.name.is_empty()),
            common.output,
        )?;
        return Ok(Answer::Done);
    }
    if objects.is_empty() {
        anstream::eprintln!("nothing found");
    }
    let mut first = true;
    for info in kinds() {
        let rows: Vec<_> = objects
            .iter()
            .filter(|object| object["kind"] == info.kind)
            .collect();
        if !rows.is_empty() {
            if !std::mem::take(&mut first) {
                anstream::println!();
            }
            print_kind(info, &rows, kind.is_none());
        }
    }
    Ok(Answer::Done)
}

fn canonical(text: &str) -> anyhow::Result<Option<&'static KindInfo>> {
    if text.is_empty() || text == "all" {
        return Ok(None);
    }
    let known = || {
        kinds()
            .iter()
            .map(|info| info.plural.as_str())
            .collect::<Vec<_>>()
            .join(", ")
    };
    find_kind(text)
        .map(Some)
        .with_context(|| format!("`{text}` is not a kind; there are {}", known()))
}

/// Prints the kind's own printer columns, those of priority 0.
fn print_kind(info: &KindInfo, objects: &[&Value], qualified: bool) {
    let columns: Vec<_> = info
        .columns
        .iter()
        .filter(|column| column.priority == 0)
        .collect();
    let mut headings = vec!["name"];
    headings.extend(columns.iter().map(|column| &*column.name));
    let rows = objects.iter().map(|object| {
        let name = output::at(object, ".metadata.name");
        let name = if qualified {
            format!("{}/{name}", info.singular)
        } else {
            name
        };
        let cells = columns.iter().map(|column| {
            let text = output::at(object, &column.json_path);
            if column.kind == "date" {
                age(&text)
            } else {
                text
            }
        });
        std::iter::once(name).chain(cells).collect()
    });
    output::table(&headings, rows.collect());
}

/// How long ago a moment was, in the largest fitting unit.
pub(crate) fn age(time: &str) -> String {
    let Ok(time) = time.parse::<jiff::Timestamp>() else {
        return String::new();
    };
    let seconds = jiff::Timestamp::now().duration_since(time).as_secs();
    match seconds {
        ..120 => format!("{seconds}s"),
        120..7_200 => format!("{}m", seconds / 60),
        7_200..172_800 => format!("{}h", seconds / 3_600),
        _ => format!("{}d", seconds / 86_400),
    }
}

/// `placet describe`.
pub(crate) async fn describe(arguments: &Describe, common: &Common) -> anyhow::Result<Answer> {
    let Some(info) = canonical(&arguments.kind)? else {
        bail!("name a kind to describe")
    };
    let home = Home::open(common).await?;
    let object = home.get_one(&info.kind, &arguments.name).await?;
    if common.output != Format::Table {
        output::print(&object, common.output)?;
        return Ok(Answer::Done);
    }
    heading(&object);
    section("Spec", &object["spec"])?;
    let mut status = object["status"].clone();
    let conditions = status
        .as_object_mut()
        .and_then(|status| status.remove("conditions"));
    section("Status", &status)?;
    if let Some(Value::Array(conditions)) =
        conditions.filter(|value| value != &Value::Array(vec![]))
    {
        print_conditions(&conditions);
    }
    latest_events(&home, info, &arguments.name).await?;
    Ok(Answer::Done)
}

fn heading(object: &Value) {
    let metadata = &object["metadata"];
    anstream::println!("Name:     {}", output::plain(&metadata["name"]));
    anstream::println!("Kind:     {}", output::plain(&object["kind"]));
    let created = output::plain(&metadata["creationTimestamp"]);
    anstream::println!("Created:  {created} ({} ago)", age(&created));
    for (title, key) in [("Labels:   ", "labels"), ("Annotations:", "annotations")] {
        if let Some(map) = metadata[key].as_object().filter(|map| !map.is_empty()) {
            let pairs: Vec<_> = map
                .iter()
                .map(|(key, value)| format!("{key}={}", output::plain(value)))
                .collect();
            anstream::println!("{title}{}", pairs.join(", "));
        }
    }
}

fn section(title: &str, value: &Value) -> anyhow::Result<()> {
    if value.is_null() || value.as_object().is_some_and(serde_json::Map::is_empty) {
        return Ok(());
    }
    anstream::println!("{}{title}{}", output::HEAD, output::HEAD.render_reset());
    for line in serde_yaml::to_string(value)
        .context("failed to write YAML")?
        .lines()
    {
        anstream::println!("  {line}");
    }
    Ok(())
}

fn print_conditions(conditions: &[Value]) {
    anstream::println!("{}Conditions{}", output::HEAD, output::HEAD.render_reset());
    let cell = |condition: &Value, key: &str| output::plain(&condition[key]);
    let rows = conditions.iter().map(|condition| {
        ["type", "status", "reason", "message"]
            .map(|key| cell(condition, key))
            .to_vec()
    });
    output::table(&["type", "status", "reason", "message"], rows.collect());
}

/// How many events `describe` shows.
const LATEST: usize = 10;

async fn latest_events(home: &Home, info: &KindInfo, name: &str) -> anyhow::Result<()> {
    let about = match home.happened(info, name).await {
        Ok(about) => about,
        Err(error) => {
            anstream::eprintln!("its events cannot be read: {error:#}");
            return Ok(());
        }
    };
    if about.is_empty() {
        return Ok(());
    }
    anstream::println!("{}Events{}", output::HEAD, output::HEAD.render_reset());
    for event in about.iter().rev().take(LATEST).rev() {
        for line in &event.lines {
            anstream::println!("  {:>4}  {line}", age(&event.time));
        }
    }
    Ok(())
}

/// `placet apply`.
pub(crate) async fn apply(arguments: &Apply, common: &Common) -> anyhow::Result<Answer> {
    if arguments.dry_run {
        return dry_run::run(&arguments.file, arguments.within, common).await;
    }
    let files = read_all(&arguments.file)?;
    let home = Home::open(common).await?;
    let applied = home.apply(files, arguments.force_conflicts).await?;
    for result in &applied.results {
        anstream::println!("{}", placet_model::visible(result));
    }
    Ok(refused(&applied.problems))
}

/// Says what is wrong with declarations.
pub(crate) fn refused(problems: &[String]) -> Answer {
    for problem in problems {
        anstream::eprintln!(
            "{}refused:{} {problem}",
            output::BAD,
            output::BAD.render_reset()
        );
    }
    if problems.is_empty() {
        Answer::Done
    } else {
        Answer::No
    }
}

/// Every file that is named, or stands in a folder that is.
pub(crate) fn read_all(paths: &[PathBuf]) -> anyhow::Result<Vec<File>> {
    let mut files = Vec::new();
    for path in paths {
        read(path, &mut files)?;
    }
    if files.is_empty() {
        bail!("no .yaml or .yml file was found in what was named");
    }
    Ok(files)
}

/// The same, as declarations are loaded from.
pub(crate) fn read_sources(paths: &[PathBuf]) -> anyhow::Result<Vec<SourceFile>> {
    let source = |File { name, text }| SourceFile { name, text };
    Ok(read_all(paths)?.into_iter().map(source).collect())
}

/// A file larger than this is not worth reading: the controller refuses it.
const FILE_MAX: u64 = 1 << 20;

fn read(path: &Path, files: &mut Vec<File>) -> anyhow::Result<()> {
    if path == Path::new("-") {
        let mut text = String::new();
        std::io::stdin()
            .lock()
            .take(FILE_MAX + 1)
            .read_to_string(&mut text)?;
        files.push(File {
            name: "standard input".to_owned(),
            text,
        });
        return Ok(());
    }
    let metadata = path
        .metadata()
        .with_context(|| format!("failed to look at {}", path.display()))?;
    if metadata.is_dir() {
        return read_folder(path, files);
    }
    if metadata.len() > FILE_MAX {
        bail!(
            "{} has {} bytes; declarations may have at most {FILE_MAX} a file: split it",
            path.display(),
            metadata.len()
        );
    }
    let text = std::fs::read_to_string(path)
        .with_context(|| format!("failed to read {} as text", path.display()))?;
    files.push(File {
        name: path.display().to_string(),
        text,
    });
    Ok(())
}

fn read_folder(path: &Path, files: &mut Vec<File>) -> anyhow::Result<()> {
    let entries = path
        .read_dir()
        .and_then(Iterator::collect::<Result<Vec<_>, _>>)
        .with_context(|| format!("failed to list {}", path.display()))?;
    let mut paths: Vec<PathBuf> = entries.iter().map(std::fs::DirEntry::path).collect();
    paths.sort();
    for path in paths {
        let yaml = path
            .extension()
            .is_some_and(|extension| extension == "yaml" || extension == "yml");
        if path.is_dir() || yaml {
            read(&path, files)?;
        }
    }
    Ok(())
}

/// `placet delete`.
pub(crate) async fn delete(arguments: &Describe, common: &Common) -> anyhow::Result<Answer> {
    let Some(info) = canonical(&arguments.kind)? else {
        bail!("name a kind to delete")
    };
    let home = Home::open(common).await?;
    anstream::println!("{}", home.delete(info, &arguments.name).await?);
    Ok(Answer::Done)
}
