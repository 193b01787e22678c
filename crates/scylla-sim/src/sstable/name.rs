//! File names `<version>-<generation>-big-<component>` and where new generations come from.

use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, SystemTime};

use uuid::Uuid;

use crate::config::Ids;

/// What the file names of one SSTable have in common.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct Name {
    pub(crate) version: String,
    pub(crate) generation: String,
    pub(crate) format: String,
}

impl Name {
    /// Splits a file name into the SSTable's name and the component; `None` if it is no such name.
    pub(crate) fn parse(file: &str) -> Option<(Self, &str)> {
        let mut parts = file.splitn(4, '-');
        let (version, generation) = (parts.next()?, parts.next()?);
        let (format, component) = (parts.next()?, parts.next()?);
        let known = matches!(version, "la" | "mc" | "md" | "me" | "ms" | "mt");
        let word =
            |text: &str| !text.is_empty() && text.chars().all(|c| c.is_alphanumeric() || c == '_');
        let number = generation.parse::<u64>().is_ok();
        if !known || !word(format) || component.is_empty() || !(number || is_base36(generation)) {
            return None;
        }
        let own = |text: &str| text.to_owned();
        Some((
            Self {
                version: own(version),
                generation: own(generation),
                format: own(format),
            },
            component,
        ))
    }

    /// The name of one component's file.
    pub(crate) fn file(&self, component: &str) -> String {
        format!("{self}-{component}")
    }
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}-{}", self.version, self.generation, self.format)
    }
}

fn is_base36(text: &str) -> bool {
    let digit = |c: u8| c.is_ascii_digit() || c.is_ascii_lowercase();
    text.len() == 28
        && text.bytes().enumerate().all(|(at, c)| {
            if at == 4 || at == 9 {
                c == b'_'
            } else {
                digit(c)
            }
        })
}

/// Gives each new SSTable of a node its generation and identifier.
#[derive(Debug)]
pub(crate) struct Generations {
    ids: Ids,
    /// The node's part of time UUIDs.
    lsb: u64,
    next: AtomicU64,
}

impl Generations {
    pub(crate) fn new(ids: Ids, host_id: Uuid) -> Self {
        let (high, low) = host_id.as_u64_pair();
        let lsb = crate::hash::mix(high ^ low) & 0x3fff_ffff_ffff_ffff | 1 << 63;
        Self {
            ids,
            lsb,
            next: AtomicU64::new(1),
        }
    }

    /// Keeps integer generations above one found on disk.
    pub(crate) fn seen(&self, generation: &str) {
        if let Ok(number) = generation.parse::<u64>() {
            self.next.fetch_max(number + 1, Ordering::Relaxed);
        }
    }

    /// A generation never given before on this node, and the SSTable's identifier.
    pub(crate) fn next(&self) -> (String, Uuid) {
        let stamp = stamp();
        let id = uuid_at(stamp, self.lsb);
        match self.ids {
            Ids::Uuid => (base36(stamp, self.lsb), id),
            Ids::Int => (self.next.fetch_add(1, Ordering::Relaxed).to_string(), id),
        }
    }
}

/// From 1582-10-15, where time UUIDs begin, to 1970, in units of 100 ns.
const GREGORIAN: u64 = 0x01b2_1dd2_1381_4000;
/// Units of 100 ns in a second.
const UNITS: u64 = 10_000_000;

/// Now, in units of 100 ns since 1582; never the same twice in this process.
pub(crate) fn stamp() -> u64 {
    static LAST: AtomicU64 = AtomicU64::new(0);
    let now = SystemTime::now()
        .duration_since(SystemTime::UNIX_EPOCH)
        .unwrap_or(Duration::ZERO);
    let now = GREGORIAN + now.as_secs() * UNITS + u64::from(now.subsec_nanos()) / 100;
    let before = LAST
        .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |last| {
            Some(now.max(last + 1))
        })
        .expect("always given a value");
    now.max(before + 1)
}

/// The version-1 UUID of a stamp.
pub(crate) fn uuid_at(stamp: u64, lsb: u64) -> Uuid {
    let low = stamp & 0xffff_ffff;
    let mid = stamp >> 32 & 0xffff;
    let high = stamp >> 48 & 0x0fff | 0x1000;
    Uuid::from_u64_pair(low << 32 | mid << 16 | high, lsb)
}

/// `dddd_ssss_uuuuulllllllllllll`: day, second of the day, 100 ns within it, node part.
fn base36(stamp: u64, lsb: u64) -> String {
    let seconds = stamp / UNITS;
    format!(
        "{}_{}_{}{}",
        digits(seconds / 86_400, 4),
        digits(seconds % 86_400, 4),
        digits(stamp % UNITS, 5),
        digits(lsb, 13)
    )
}

fn digits(mut number: u64, width: usize) -> String {
    let mut text = vec![b'0'; width];
    for place in text.iter_mut().rev() {
        *place = b"0123456789abcdefghijklmnopqrstuvwxyz"
            [usize::try_from(number % 36).expect("below 36")];
        number /= 36;
    }
    String::from_utf8(text).expect("ASCII")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn new_names_are_distinct_and_parse() {
        let generations = Generations::new(Ids::Uuid, Uuid::new_v4());
        let (first, _) = generations.next();
        let (second, id) = generations.next();
        assert!(first < second, "{first} {second}");
        assert_eq!(id.get_version_num(), 1);
        for generation in [&first, "12", "3gsm_0lob_1zdg02we44my8dy25w"] {
            let file = format!("mt-{generation}-big-Data.db");
            let (name, component) = Name::parse(&file).expect("a name");
            assert_eq!((component, name.file(component)), ("Data.db", file.clone()));
        }
        assert!(
            first.starts_with("3g") || first.starts_with("3h"),
            "{first}"
        );
    }

    #[test]
    fn other_names_do_not_parse() {
        for file in [
            "manifest.json",
            "zz-1-big-Data.db",
            "mt-x-big-Data.db",
            "mt-1-big",
            "mt-1-big-",
        ] {
            assert_eq!(Name::parse(file), None, "{file}");
        }
    }
}
