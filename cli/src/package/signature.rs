//! `placet package signature`.

use std::fs::{self, File};
use std::num::NonZero;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

use anyhow::{Context as _, bail};
use clap::Args;
use placet_model::visible;
use placet_package::{Comparison, Difference, compare, file_signature, fingerprint};
use serde_json::{Value, json};

use crate::arguments::Common;
use crate::output::{self, Answer, Format};

#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  placet package signature build/chatd               elfsig1:… of one program
  placet package signature build/ -o json            Of all files, with digest and size
  placet package signature --explain old/chatd new/chatd
                                                     What differs, and whether it counts;
                                                     exit 0 if not, 1 if so")]
pub(crate) struct Arguments {
    /// Files, or folders with everything in them.
    #[arg(required = true, value_name = "FILE")]
    files: Vec<PathBuf>,
    /// Compare two files region by region.
    #[arg(long)]
    explain: bool,
}

/// `placet package signature`.
pub(crate) fn run(arguments: &Arguments, common: &Common) -> anyhow::Result<Answer> {
    if arguments.explain {
        let [first, second] = &arguments.files[..] else {
            bail!("--explain compares two files; name two");
        };
        return explain([first, second], common);
    }
    let mut files = Vec::new();
    for path in &arguments.files {
        collect(path, &mut files)?;
    }
    let wants_digest = common.output != Format::Table;
    let found = in_parallel(&files, |path| describe(path, wants_digest));
    let mut values = Vec::new();
    let mut failed = 0;
    for (path, result) in files.iter().zip(found) {
        match result {
            Ok(value) if wants_digest => values.push(value),
            Ok(value) => {
                let signature = value["signature"].as_str().unwrap_or_default();
                anstream::println!("{signature}  {}", shown(path));
            }
            Err(error) => {
                failed += 1;
                anstream::eprintln!("{}error:{0:#} {error:#}", output::BAD);
            }
        }
    }
    if wants_digest {
        output::print(&Value::Array(values), common.output)?;
    }
    if failed > 0 {
        bail!("{failed} of {} files have no signature", files.len());
    }
    Ok(Answer::Done)
}

fn shown(path: &Path) -> String {
    visible(&path.to_string_lossy()).to_string()
}

/// The files at `path`, of a folder all below it in the order of their names; links lead nowhere.
fn collect(path: &Path, files: &mut Vec<PathBuf>) -> anyhow::Result<()> {
    let failed = || format!("failed to read `{}`", shown(path));
    if !fs::metadata(path).with_context(failed)?.is_dir() {
        files.push(path.to_owned());
        return Ok(());
    }
    let entries = fs::read_dir(path).with_context(failed)?;
    let mut entries = entries
        .collect::<Result<Vec<_>, _>>()
        .with_context(failed)?;
    entries.sort_by_key(fs::DirEntry::file_name);
    for entry in entries {
        let kind = entry.file_type().with_context(failed)?;
        if kind.is_dir() {
            collect(&entry.path(), files)?;
        } else if kind.is_file() {
            files.push(entry.path());
        }
    }
    Ok(())
}

fn describe(path: &Path, wants_digest: bool) -> anyhow::Result<Value> {
    let failed = || format!("failed to take the signature of `{}`", shown(path));
    let file = open(path)?;
    if wants_digest {
        let found = fingerprint(&file).with_context(failed)?;
        return Ok(json!({
            "path": path.to_string_lossy(),
            "signature": found.signature,
            "digest": found.digest,
            "size": found.size,
        }));
    }
    let signature = file_signature(&file).with_context(failed)?;
    Ok(json!({"signature": signature}))
}

fn open(path: &Path) -> anyhow::Result<File> {
    let file = File::open(path).with_context(|| format!("failed to open `{}`", shown(path)))?;
    if !file.metadata()?.is_file() {
        bail!(
            "`{}` is no file; a signature is taken of files",
            shown(path)
        );
    }
    Ok(file)
}

/// What `work` makes of each item, in the order of the items; on all processors.
fn in_parallel<T: Sync, R: Send>(items: &[T], work: impl Fn(&T) -> R + Sync) -> Vec<R> {
    let threads = thread::available_parallelism().map_or(1, NonZero::get);
    let next = AtomicUsize::new(0);
    let take = || {
        let mut results = Vec::new();
        loop {
            let place = next.fetch_add(1, Ordering::Relaxed);
            let Some(item) = items.get(place) else {
                return results;
            };
            results.push((place, work(item)));
        }
    };
    let mut results: Vec<_> = thread::scope(|scope| {
        let threads: Vec<_> = (0..threads.min(items.len()))
            .map(|_| scope.spawn(take))
            .collect();
        let ended = threads.into_iter().map(thread::ScopedJoinHandle::join);
        ended
            .flat_map(|results| results.expect("the work does not panic"))
            .collect()
    });
    results.sort_by_key(|(place, _)| *place);
    results.into_iter().map(|(_, result)| result).collect()
}

fn explain(paths: [&PathBuf; 2], common: &Common) -> anyhow::Result<Answer> {
    let files = [open(paths[0])?, open(paths[1])?];
    let failed = || {
        format!(
            "failed to compare `{}` and `{}`",
            shown(paths[0]),
            shown(paths[1])
        )
    };
    let comparison = compare([&files[0], &files[1]]).with_context(failed)?;
    let [one, other] = comparison.signatures;
    if common.output == Format::Table {
        print(paths, &comparison);
    } else {
        let regions = comparison.regions.iter().map(value);
        let value = json!({
            "equal": one == other,
            "signatures": comparison.signatures,
            "regions": regions.collect::<Vec<_>>(),
        });
        output::print(&value, common.output)?;
    }
    Ok(if one == other {
        Answer::Done
    } else {
        Answer::No
    })
}

fn value(difference: &Difference) -> Value {
    let excerpts = difference
        .excerpts
        .each_ref()
        .map(|bytes| hexadecimal(bytes));
    json!({
        "region": difference.region,
        "counts": difference.counts,
        "symbol": difference.symbol,
        "offsets": difference.offsets,
        "excerpts": excerpts,
        "sizes": difference.sizes,
        "bytes": difference.bytes,
    })
}

fn print(paths: [&PathBuf; 2], comparison: &Comparison) {
    let [one, other] = comparison.signatures;
    let says = match (one == other, comparison.regions.is_empty()) {
        (true, true) => "The files are equal.",
        (true, false) => "The signatures are equal; nothing that differs counts.",
        (false, _) => "The signatures differ.",
    };
    anstream::println!("{says}\n");
    for (path, signature) in paths.into_iter().zip(comparison.signatures) {
        anstream::println!("{signature}  {}", shown(path));
    }
    let Some(first) = comparison.regions.first() else {
        return;
    };
    let symbol = first
        .symbol
        .as_ref()
        .map_or_else(String::new, |it| format!(", in `{it}`"));
    anstream::println!("\nFirst in {}{symbol}:\n", first.region);
    for side in 0..2 {
        let bytes = &first.excerpts[side];
        let text: String = bytes.iter().map(|byte| printable(*byte)).collect();
        let bytes = if bytes.is_empty() {
            "nothing more".to_owned()
        } else {
            hexadecimal(bytes)
        };
        anstream::println!("  {:#010x}  {bytes:23}  {text}", first.offsets[side]);
    }
    anstream::println!();
    let rows = comparison.regions.iter().map(|region| {
        let counts = if region.counts { "yes" } else { "no" };
        let [one, other] = region.sizes;
        vec![
            region.region.clone(),
            counts.to_owned(),
            region.bytes.to_string(),
            one.to_string(),
            other.to_string(),
        ]
    });
    output::table(&["region", "counts", "differ", "of", "and"], rows.collect());
}

fn printable(byte: u8) -> char {
    match byte {
        b' '..=b'~' => char::from(byte),
        _ => '.',
    }
}

fn hexadecimal(bytes: &[u8]) -> String {
    let digits: Vec<_> = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
    digits.join(" ")
}
