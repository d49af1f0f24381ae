//! Modules that remember where or when they were built.

mod pieces;

use std::collections::BTreeSet;
use std::fmt;
use std::fs::File;
use std::io::{self, Read};
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};

use aho_corasick::AhoCorasick;
use jiff::Timestamp;
use jiff::civil::Date;
use jiff::tz::TimeZone;
use placet_model::{ModulePath, visible};
use placet_package::place_in_file;

use crate::commands::{MAPPED_ROOT, Ran};
use pieces::{Piece, pieces};

/// Something about a package that was built all the same: a module that another build would make
/// differently.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Warning {
    /// The module.
    pub path: ModulePath,
    /// What it holds.
    pub leak: Leak,
    /// Where in its bytes, the first time.
    pub offset: u64,
    /// In which section of an ELF file.
    pub section: Option<String>,
    /// In which function or object, where the file names it.
    pub symbol: Option<String>,
    /// How often.
    pub count: usize,
}

/// What of a build may get into what it makes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Leak {
    /// The path of a folder in which it was built.
    Folder(PathBuf),
    /// The day, in this spelling.
    Day(String),
    /// The time of day, in this spelling.
    Time(String),
}

impl fmt::Display for Warning {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let path = &self.path;
        write!(f, "`{path}` is tainted: it holds {}", self.leak)?;
        let times = if self.count == 1 { "once" } else { "first" };
        write!(f, ", {times} at offset {:#x}", self.offset)?;
        if let Some(section) = &self.section {
            write!(f, " in section {}", visible(section))?;
        }
        if let Some(symbol) = &self.symbol {
            write!(f, ", symbol `{}`", visible(symbol))?;
        }
        if self.count > 1 {
            write!(f, " ({} times in all)", self.count)?;
        }
        f.write_str(match self.leak {
            Leak::Folder(_) => {
                "; a build in another folder differs. Compile with $CFLAGS, $CXXFLAGS or $RUSTFLAGS"
            }
            Leak::Day(_) | Leak::Time(_) => {
                "; a build at another time differs. Take the date from $SOURCE_DATE_EPOCH, or leave it out"
            }
        })
    }
}

impl fmt::Display for Leak {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Folder(folder) => write!(
                f,
                "the path of its build folder `{}`",
                visible(&folder.to_string_lossy())
            ),
            Self::Day(text) => write!(f, "the day of its build, `{text}`"),
            Self::Time(text) => write!(f, "the time of its build, `{text}`"),
        }
    }
}

/// How a day is written, in the words of `strftime`.
const DAYS: &[&str] = &[
    "%Y-%m-%d",
    "%Y/%m/%d",
    "%Y%m%d",
    "%d.%m.%Y",
    "%d/%m/%Y",
    "%m/%d/%Y",
    // `__DATE__`, and the same with a zero.
    "%b %e %Y",
    "%b %d %Y",
    "%b %-d, %Y",
    "%B %-d, %Y",
    "%-d %b %Y",
    "%d %b %Y",
    "%-d %B %Y",
    // What `date` prints without being asked for more.
    "%a %b %e",
];

/// Builds that take longer see too many times of day by chance.
const TIMES_MAX: i64 = 3_600;

/// `HH:MM:SS`
const TIME_LENGTH: usize = 8;

/// Looks for what a build should not leave in its modules.
#[derive(Debug)]
pub(crate) struct Scanner {
    leaks: Vec<Leak>,
    patterns: AhoCorasick,
    /// Seconds of the day, from the start of the commands to their end.
    times: Option<(i64, i64)>,
}

impl Scanner {
    /// For modules that were built in `folder` by commands that ran as said, with the build date
    /// `epoch`.
    pub(crate) fn new(folder: &Path, ran: Option<&Ran>, epoch: Timestamp) -> Self {
        let scratch = ran.and_then(|ran| ran.scratch.as_deref());
        let folders = [Some(folder), scratch].into_iter().flatten();
        let folders = folders.filter(|it| *it != Path::new("/") && *it != Path::new(MAPPED_ROOT));
        let mut leaks: Vec<_> = folders.map(|it| Leak::Folder(it.to_owned())).collect();
        let mut times = None;
        if let Some(ran) = ran {
            let (first, last) = (day(ran.started), day(ran.ended));
            let days = BTreeSet::from([first, last]).into_iter();
            let days = days.filter(|it| *it != day(epoch));
            let spellings: BTreeSet<_> = days.flat_map(spellings).collect();
            leaks.extend(spellings.into_iter().map(Leak::Day));
            let seconds = |time: Timestamp| time.as_second().rem_euclid(86_400);
            let short = ran.ended.as_second() - ran.started.as_second() <= TIMES_MAX;
            times = (first == last && short && first != day(epoch))
                .then(|| (seconds(ran.started), seconds(ran.ended)));
        }
        let patterns = AhoCorasick::new(leaks.iter().map(Leak::bytes));
        Self {
            leaks,
            patterns: patterns.expect("a few short texts"),
            times,
        }
    }

    /// For files that were built in `folder`, nobody knows when.
    pub(crate) fn of_folder(folder: &Path) -> Self {
        Self::new(folder, None, Timestamp::UNIX_EPOCH)
    }

    /// What the module `path`, whose bytes are in `file`, holds: the first place of each kind.
    pub(crate) fn scan(&self, path: &ModulePath, file: &Path) -> io::Result<Vec<Warning>> {
        let file = File::open(file)?;
        let found = self.search(&file)?;
        let warnings = found.into_iter().map(|found| {
            let place = place_in_file(&file, found.offset);
            Warning {
                path: path.clone(),
                leak: found.leak,
                offset: found.offset,
                section: place.section,
                symbol: place.symbol,
                count: found.count,
            }
        });
        Ok(warnings.collect())
    }

    /// The first place of each kind of leak in what `reader` gives.
    fn search(&self, reader: impl Read) -> io::Result<Vec<Found>> {
        let longest = self.leaks.iter().map(|leak| leak.bytes().len());
        let longest = longest.max().unwrap_or(0).max(TIME_LENGTH);
        let mut found = Vec::new();
        pieces(reader, longest, |piece| {
            self.search_piece(piece, &mut found);
        })?;
        found.sort_by_key(|found| found.offset);
        Ok(found)
    }

    fn search_piece(&self, piece: &Piece<'_>, found: &mut Vec<Found>) {
        let bytes = piece.bytes;
        let mut add = |leak: &Leak, start: usize| {
            let known = found.iter_mut().find(|it| same(&it.leak, leak));
            match known {
                _ if !piece.starts.contains(&start) => {}
                Some(known) => known.count += 1,
                None => found.push(Found {
                    leak: leak.clone(),
                    offset: piece.offset + start as u64,
                    count: 1,
                }),
            }
        };
        for hit in self.patterns.find_overlapping_iter(bytes) {
            let leak = &self.leaks[hit.pattern().as_usize()];
            if leak.stands_alone(bytes, hit.start(), hit.end()) {
                add(leak, hit.start());
            }
        }
        for (start, text) in self.times(bytes) {
            add(&Leak::Time(text), start);
        }
    }

    /// Times of day at which the commands ran, and where they stand.
    fn times<'a>(&'a self, bytes: &'a [u8]) -> impl Iterator<Item = (usize, String)> + 'a {
        let during = self.times.into_iter();
        during.flat_map(move |(first, last)| {
            let windows = bytes.windows(TIME_LENGTH).enumerate();
            let like_times = windows.filter(|(_, it)| it[2] == b':' && it[5] == b':');
            like_times.filter_map(move |(start, window)| {
                let text = std::str::from_utf8(window).ok()?;
                let after = bytes.get(start + TIME_LENGTH);
                let goes_on = after.is_some_and(u8::is_ascii_digit);
                let during = (first..=last).contains(&time_of_day(text)?) && !goes_on;
                during.then(|| (start, text.to_owned()))
            })
        })
    }
}

/// A kind of leak in a file.
#[derive(Debug)]
struct Found {
    leak: Leak,
    /// Where it stands, the first time.
    offset: u64,
    /// How often.
    count: usize,
}

impl Leak {
    fn bytes(&self) -> &[u8] {
        match self {
            Self::Folder(folder) => folder.as_os_str().as_bytes(),
            Self::Day(text) | Self::Time(text) => text.as_bytes(),
        }
    }

    /// True if what was found is not a part of something longer: of the name of another folder, of
    /// another number.
    fn stands_alone(&self, bytes: &[u8], start: usize, end: usize) -> bool {
        let after = bytes.get(end);
        if let Self::Folder(_) = self {
            let continues = |byte: &u8| byte.is_ascii_alphanumeric() || b"_-.+".contains(byte);
            return !after.is_some_and(continues);
        }
        let before = start.checked_sub(1).and_then(|before| bytes.get(before));
        ![before, after]
            .into_iter()
            .flatten()
            .any(u8::is_ascii_digit)
    }
}

/// One day may be found in one spelling inside another; that counts once.
fn same(known: &Leak, other: &Leak) -> bool {
    match (known, other) {
        (Leak::Folder(known), Leak::Folder(other)) => known == other,
        (known, other) => std::mem::discriminant(known) == std::mem::discriminant(other),
    }
}

fn day(time: Timestamp) -> Date {
    time.to_zoned(TimeZone::UTC).date()
}

fn spellings(day: Date) -> impl Iterator<Item = String> {
    DAYS.iter()
        .map(move |format| day.strftime(format).to_string().trim().to_owned())
}

/// Seconds of the day that `HH:MM:SS` stands for.
fn time_of_day(text: &str) -> Option<i64> {
    let mut parts = text.split(':').map(|part| {
        let plain = part.bytes().all(|byte| byte.is_ascii_digit());
        plain.then(|| part.parse::<i64>().ok()).flatten()
    });
    let (hours, minutes, seconds) = (parts.next()??, parts.next()??, parts.next()??);
    (hours < 24 && minutes < 60 && seconds < 60).then_some((hours * 60 + minutes) * 60 + seconds)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn scanner(epoch: i64) -> Scanner {
        let at = |text: &str| text.parse().unwrap();
        let ran = Ran {
            confinement: crate::Confinement::Namespace,
            scratch: None,
            started: at("2026-03-04T23:10:00Z"),
            ended: at("2026-03-04T23:10:09Z"),
        };
        let epoch = Timestamp::from_second(epoch).unwrap();
        Scanner::new(Path::new("/src/a"), Some(&ran), epoch)
    }

    #[track_caller]
    fn holds(text: &str, expected: &[&str]) {
        let found = scanner(0).search(text.as_bytes()).unwrap();
        let found: Vec<_> = found.iter().map(|it| it.leak.to_string()).collect();
        assert_eq!(found, expected, "{text}");
    }

    #[test]
    fn days_and_times_of_the_build_are_found_in_usual_spellings() {
        for text in [
            "2026-03-04",
            "x20260304y",
            "Mar  4 2026",
            "Mar 04 2026",
            "March 4, 2026",
            "4 Mar 2026",
            "Wed Mar  4",
            "03/04/2026",
        ] {
            let found = scanner(0).search(text.as_bytes()).unwrap();
            assert_eq!(found.len(), 1, "{text}: {found:?}");
            assert!(matches!(found[0].leak, Leak::Day(_)), "{text}");
        }
        holds("at 23:10:05", &["the time of its build, `23:10:05`"]);
        for text in [
            "2026-03-05",
            "120260304",
            "14 Mar 2026",
            "Mar  4 20261",
            "23:10:10",
            "23:10:059",
            "aa:bb:cc",
        ] {
            holds(text, &[]);
        }
    }

    #[test]
    fn the_folder_is_found_and_others_of_like_names_are_not() {
        holds("/src/a/b.c", &["the path of its build folder `/src/a`"]);
        holds("/src/a", &["the path of its build folder `/src/a`"]);
        holds("/src/ab /src/a-b", &[]);
    }

    #[test]
    fn the_day_of_the_build_date_may_be_anywhere() {
        let same_day = scanner(
            "2026-03-04T00:00:00Z"
                .parse::<Timestamp>()
                .unwrap()
                .as_second(),
        );
        let found = same_day.search(&b"2026-03-04 23:10:05"[..]).unwrap();
        assert!(found.is_empty(), "{found:?}");
    }

    /// Wherever pieces end, each leak counts once and at its place, and what stands around it counts.
    #[test]
    fn leaks_are_found_across_the_ends_of_pieces() {
        let texts = ["/src/a/b.c", "2026-03-04", "23:10:05"];
        let others = ["/src/a-b", "120260304", "23:10:059"];
        for (text, is_leak) in texts
            .map(|it| (it, 1))
            .into_iter()
            .chain(others.map(|it| (it, 0)))
        {
            for start in pieces::SIZE - 30..pieces::SIZE + 5 {
                let mut bytes = vec![b'x'; start];
                bytes.extend_from_slice(text.as_bytes());
                bytes.resize(pieces::SIZE + 400, b'x');
                let found = scanner(0).search(&*bytes).unwrap();
                assert_eq!(found.len(), is_leak, "{text} at {start}");
                for found in found {
                    assert_eq!((found.offset, found.count), (start as u64, 1), "{text}");
                }
            }
        }
    }
}
