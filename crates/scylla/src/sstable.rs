//! SSTables: names, the list of files in a TOC, and new ids.

use std::{
    collections::BTreeSet,
    time::{SystemTime, UNIX_EPOCH},
};

pub use catalog::sstable::{DATA, DIGEST, Id, IdKind, InvalidName, Name, TOC, parse_sstable};

/// From the beginning of the Gregorian calendar, where UUIDs count from, to 1970: days.
const GREGORIAN_DAYS: u64 = 141_427;
const DAY: u64 = 86_400;

/// A TOC that is none.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvalidToc {
    /// It does not list itself or the rows, so it is not whole.
    #[error("it does not list {0}")]
    Incomplete(&'static str),
    /// A line is no component's name.
    #[error("`{}` is no component's name", .0.escape_default())]
    Line(String),
}

/// Reads the components that a TOC lists, itself among them, in order of name.
///
/// # Errors
/// [`InvalidToc`] if it is cut short or lists what no SSTable has.
pub fn read_toc(content: &str) -> Result<Vec<&str>, InvalidToc> {
    let lines = content.lines().map(str::trim_end);
    let components: BTreeSet<&str> = lines.filter(|line| !line.is_empty()).collect();
    for component in &components {
        // What is a component is for the parser of names to say.
        let name = format!("me-1-big-{component}").parse::<Name>();
        if !name.is_ok_and(|name| name.component == *component) {
            return Err(InvalidToc::Line((*component).to_owned()));
        }
    }
    for needed in [TOC, DATA] {
        if !components.contains(needed) {
            return Err(InvalidToc::Incomplete(needed));
        }
    }
    Ok(components.into_iter().collect())
}

/// Makes an id that no other SSTable has, as ScyllaDB makes them: a time-based UUID, in base 36.
#[must_use]
pub fn new_id(now: SystemTime) -> Id {
    let since = now.duration_since(UNIX_EPOCH).unwrap_or_default();
    let days = GREGORIAN_DAYS + since.as_secs() / DAY;
    let hundreds = u64::from(since.subsec_nanos() / 100);
    // The lower half of a UUID: two bits say which kind it is, the rest is random.
    let (_, low) = uuid::Uuid::new_v4().as_u64_pair();
    Id::Uuid(format!(
        "{}_{}_{}{}",
        base36(days, 4),
        base36(since.as_secs() % DAY, 4),
        base36(hundreds, 5),
        base36(low, 13)
    ))
}

fn base36(mut number: u64, width: usize) -> String {
    const DIGITS: &[u8; 36] = b"0123456789abcdefghijklmnopqrstuvwxyz";
    let mut text = vec!['0'; width];
    for place in text.iter_mut().rev() {
        let digit = usize::try_from(number % 36).expect("a digit is below 36");
        *place = char::from(DIGITS[digit]);
        number /= 36;
    }
    text.into_iter().collect()
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn a_toc_lists_what_it_lists() {
        let toc = "Statistics.db\nTOC.txt\nRows.db\nData.db\n";
        let components = read_toc(toc).unwrap();
        assert_eq!(
            components,
            ["Data.db", "Rows.db", "Statistics.db", "TOC.txt"]
        );
        assert_eq!(read_toc("TOC.txt\n"), Err(InvalidToc::Incomplete(DATA)));
        assert_eq!(read_toc(""), Err(InvalidToc::Incomplete(TOC)));
        for wrong in ["../Data.db", "a/b", "x y", "\u{1}"] {
            let toc = format!("TOC.txt\nData.db\n{wrong}\n");
            assert_eq!(read_toc(&toc), Err(InvalidToc::Line(wrong.to_owned())));
        }
    }

    #[test]
    fn a_new_id_is_one_scylla_could_have_made() {
        // 2025-05-22 12:00:00.1234567
        let now = UNIX_EPOCH + Duration::new(1_747_915_200, 123_456_700);
        let id = new_id(now);
        let text = id.to_string();
        assert!(text.starts_with("3gqh_0xc0_0qglj"), "{text}");
        let name: Name = format!("me-{text}-big-Data.db").parse().unwrap();
        assert_eq!(name.id, id);
        assert_eq!(id.kind(), IdKind::Uuid);
        assert_ne!(new_id(now), id);
        // Upper bits of the lower half: the kind of UUID.
        let low = u64::from_str_radix(&text[15..], 36).unwrap();
        assert_eq!(low >> 62, 0b10);
    }
}
