//! A strict reader of the text format of `OpenMetrics` 1.0: whatever the format forbids is refused
//! with the line.

use std::collections::{BTreeMap, BTreeSet};

/// The metrics of one scrape.
#[derive(Debug, Default)]
pub(crate) struct Scrape {
    pub(crate) families: BTreeMap<String, Family>,
}

/// One metric family.
#[derive(Debug, Default)]
pub(crate) struct Family {
    pub(crate) kind: String,
    pub(crate) unit: String,
    pub(crate) help: String,
    pub(crate) samples: Vec<Sample>,
}

/// One sample.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Sample {
    pub(crate) name: String,
    pub(crate) labels: BTreeMap<String, String>,
    pub(crate) value: f64,
}

const KINDS: [&str; 5] = ["counter", "gauge", "histogram", "info", "unknown"];

impl Scrape {
    /// Reads a scrape.
    pub(crate) fn read(text: &str) -> Result<Self, String> {
        let body = text
            .strip_suffix("# EOF\n")
            .ok_or("no `# EOF` at the end")?;
        let mut reader = Reader::default();
        for (number, line) in body.split_terminator('\n').enumerate() {
            let taken = reader.take(line);
            taken.map_err(|why| format!("line {}: {why}: {line}", number + 1))?;
        }
        for (name, family) in &reader.scrape.families {
            family.check(name).map_err(|why| format!("{name}: {why}"))?;
        }
        Ok(reader.scrape)
    }

    /// The value of the sample with exactly these labels.
    pub(crate) fn value(&self, name: &str, labels: &[(&str, &str)]) -> Option<f64> {
        let labels: BTreeMap<String, String> = labels
            .iter()
            .map(|(key, value)| ((*key).to_owned(), (*value).to_owned()))
            .collect();
        let mut samples = self.families.values().flat_map(|family| &family.samples);
        let found = samples.find(|sample| sample.name == name && sample.labels == labels);
        found.map(|sample| sample.value)
    }

    /// The names of all samples.
    pub(crate) fn names(&self) -> BTreeSet<&str> {
        let samples = self.families.values().flat_map(|family| &family.samples);
        samples.map(|sample| sample.name.as_str()).collect()
    }
}

#[derive(Default)]
struct Reader {
    scrape: Scrape,
    current: String,
    seen: BTreeSet<(String, BTreeMap<String, String>)>,
}

impl Reader {
    fn take(&mut self, line: &str) -> Result<(), String> {
        if let Some(rest) = line.strip_prefix("# ") {
            let (word, rest) = rest.split_once(' ').ok_or("a comment of one word")?;
            let (name, text) = rest.split_once(' ').ok_or("nothing after the name")?;
            return self.describe(word, name, text);
        }
        let sample = sample(line)?;
        let of_current = sample.name.strip_prefix(&self.current);
        let suffix = of_current.ok_or("a sample of another family")?;
        let family = self.scrape.families.get_mut(&self.current);
        let family = family.ok_or("a sample before its family")?;
        let allowed: &[&str] = match family.kind.as_str() {
            "counter" => &["_total"],
            "histogram" => &["_bucket", "_sum", "_count"],
            "info" => &["_info"],
            _ => &[""],
        };
        if !allowed.contains(&suffix) {
            return Err(format!("`{suffix}` ends no sample of a {}", family.kind));
        }
        if family.kind == "counter" && (sample.value.is_nan() || sample.value < 0.0) {
            return Err("a counter below zero".to_owned());
        }
        if !self
            .seen
            .insert((sample.name.clone(), sample.labels.clone()))
        {
            return Err("the same sample again".to_owned());
        }
        family.samples.push(sample);
        Ok(())
    }

    fn describe(&mut self, word: &str, name: &str, text: &str) -> Result<(), String> {
        check_name(name, true)?;
        if self.current != name {
            if self.scrape.families.contains_key(name) {
                return Err("a family in two pieces".to_owned());
            }
            name.clone_into(&mut self.current);
        }
        let family = self.scrape.families.entry(name.to_owned()).or_default();
        if !family.samples.is_empty() {
            return Err("a description after the samples".to_owned());
        }
        let place = match word {
            "TYPE" if KINDS.contains(&text) => &mut family.kind,
            "UNIT" if name.ends_with(&format!("_{text}")) => &mut family.unit,
            "HELP" => &mut family.help,
            _ => return Err(format!("`{word}` of this is not known")),
        };
        if !place.is_empty() {
            return Err(format!("{word} twice"));
        }
        text.clone_into(place);
        Ok(())
    }
}

impl Family {
    fn check(&self, name: &str) -> Result<(), String> {
        if self.kind.is_empty() || self.help.is_empty() || self.samples.is_empty() {
            return Err("without TYPE, HELP or samples".to_owned());
        }
        for suffix in ["_total", "_info", "_bucket", "_count", "_sum", "_created"] {
            if name.ends_with(suffix) {
                return Err(format!("a family must not end with {suffix}"));
            }
        }
        if self.kind == "histogram" {
            self.check_buckets(name)?;
        }
        Ok(())
    }

    fn check_buckets(&self, name: &str) -> Result<(), String> {
        let mut last = (f64::NEG_INFINITY, 0.0);
        for sample in self
            .samples
            .iter()
            .filter(|it| it.name.ends_with("_bucket"))
        {
            let bound = number(sample.labels.get("le").ok_or("a bucket without `le`")?)?;
            if bound <= last.0 || sample.value < last.1 {
                return Err("buckets are out of order".to_owned());
            }
            last = (bound, sample.value);
        }
        let count = self
            .samples
            .iter()
            .find(|it| it.name == format!("{name}_count"));
        if !last.0.is_infinite() || count.is_none_or(|count| (count.value - last.1).abs() > 0.0) {
            return Err("the last bucket is not everything".to_owned());
        }
        Ok(())
    }
}

fn sample(line: &str) -> Result<Sample, String> {
    let end = line.find(['{', ' ']).ok_or("no value")?;
    let (name, rest) = line.split_at(end);
    check_name(name, true)?;
    let (labels, rest) = match rest.strip_prefix('{') {
        Some(rest) => labels(rest)?,
        None => (BTreeMap::new(), rest),
    };
    let value = rest.strip_prefix(' ').ok_or("no blank before the value")?;
    Ok(Sample {
        name: name.to_owned(),
        labels,
        value: number(value)?,
    })
}

/// Labels up to the closing brace, and what is after it.
fn labels(mut rest: &str) -> Result<(BTreeMap<String, String>, &str), String> {
    let mut labels = BTreeMap::new();
    loop {
        if let Some(rest) = rest.strip_prefix('}') {
            return Ok((labels, rest));
        }
        let (key, after) = rest.split_once("=\"").ok_or("a label without a value")?;
        check_name(key, false)?;
        let (value, after) = quoted(after)?;
        if labels.insert(key.to_owned(), value).is_some() {
            return Err(format!("label {key} twice"));
        }
        rest = after.strip_prefix(',').unwrap_or(after);
        if after.starts_with(',') == rest.starts_with('}') {
            return Err("labels are not well separated".to_owned());
        }
    }
}

/// A value up to its closing quote, and what is after it.
fn quoted(text: &str) -> Result<(String, &str), String> {
    let mut value = String::new();
    let mut characters = text.char_indices();
    while let Some((at, character)) = characters.next() {
        match character {
            '"' => return Ok((value, &text[at + 1..])),
            '\\' => match characters.next() {
                Some((_, 'n')) => value.push('\n'),
                Some((_, escaped @ ('\\' | '"'))) => value.push(escaped),
                _ => return Err("an escape that is none".to_owned()),
            },
            _ => value.push(character),
        }
    }
    Err("a value without end".to_owned())
}

fn check_name(name: &str, may_have_colon: bool) -> Result<(), String> {
    let is_part =
        |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_' || (may_have_colon && byte == b':');
    let starts_well = name.bytes().next().is_some_and(|it| !it.is_ascii_digit());
    if starts_well && name.bytes().all(is_part) {
        Ok(())
    } else {
        Err(format!("`{name}` is no name"))
    }
}

fn number(text: &str) -> Result<f64, String> {
    match text {
        "+Inf" => Ok(f64::INFINITY),
        _ => text.parse().map_err(|_| format!("`{text}` is no number")),
    }
}

#[test]
fn what_the_format_forbids_is_refused_with_the_line() {
    let good = "# HELP a A.\n# TYPE a counter\na_total{x=\"1\",y=\"\\\"\"} 1\n# EOF\n";
    let read = Scrape::read(good).unwrap();
    assert_eq!(read.value("a_total", &[("x", "1"), ("y", "\"")]), Some(1.0));
    for (from, to, why) in [
        ("# EOF\n", "", "no `# EOF`"),
        ("a_total", "a", "ends no sample"),
        ("} 1", "} one", "no number"),
        ("} 1", "}1", "no blank"),
        ("\\\"", "\\q", "an escape that is none"),
        ("\",y", "\"y", "not well separated"),
        ("y=", "x=", "twice"),
        ("# HELP a A.\n", "", "without TYPE, HELP"),
        ("# TYPE a counter", "# TYPE a number", "is not known"),
        ("} 1\n", "} 1\na_total{x=\"1\",y=\"\\\"\"} 2\n", "again"),
        ("} 1\n", "} -1\n", "below zero"),
    ] {
        let refused = Scrape::read(&good.replacen(from, to, 1)).unwrap_err();
        assert!(refused.contains(why), "{to}: {refused}");
    }
    let buckets = "# HELP h H.\n# TYPE h histogram\nh_sum 1\nh_count 2\n\
                   h_bucket{le=\"1\"} 3\nh_bucket{le=\"+Inf\"} 2\n# EOF\n";
    let refused = Scrape::read(buckets).unwrap_err();
    assert!(refused.contains("out of order"), "{refused}");
}
