//! What was measured, and what follows from it.

use ::tests::null_s3::Tally;
use serde::Serialize;

use crate::{
    foreground::Foreground, growth::Series, machine::Machine, restore::Restored, targets::Row,
    who::Turn,
};

/// A round in which the limit itself was this far from its median says little of the others.
const DISTURBED: f64 = 0.2;
const MIB: f64 = 1_048_576.0;

/// All results of one run.
#[derive(Debug, Default, Serialize)]
pub(crate) struct Results {
    pub(crate) machine: Machine,
    pub(crate) cases: Vec<Measured>,
    pub(crate) growth: Vec<Series>,
    pub(crate) foreground: Option<Foreground>,
    pub(crate) restored: Option<Restored>,
    pub(crate) targets: Vec<Row>,
    /// What was left out, and why.
    pub(crate) notes: Vec<String>,
    /// What went wrong.
    pub(crate) failures: Vec<String>,
}

/// A case that was measured.
#[derive(Debug, Serialize)]
pub(crate) struct Measured {
    pub(crate) id: String,
    pub(crate) what: String,
    /// Whether files or bytes are what takes the time.
    pub(crate) of_files: bool,
    pub(crate) parties: Vec<Party>,
    /// Rounds, from 1, in which the machine was busy with something else.
    pub(crate) disturbed: Vec<usize>,
}

/// One of those who were measured.
#[derive(Debug, Serialize)]
pub(crate) struct Party {
    pub(crate) name: &'static str,
    pub(crate) turns: Vec<Turn>,
    /// Turns of disturbed rounds are left out if others remain.
    #[serde(skip)]
    pub(crate) left_out: Vec<bool>,
    /// Bytes of the files that the page cache holds afterwards, at most.
    pub(crate) cached_bytes: Option<u64>,
}

impl Results {
    pub(crate) fn case(&self, id: &str) -> Option<&Measured> {
        self.cases.iter().find(|case| case.id == id)
    }
}

impl Measured {
    pub(crate) fn party(&self, name: &str) -> Option<&Party> {
        self.parties.iter().find(|party| party.name == name)
    }

    /// Marks the rounds in which the limit was far from its median.
    pub(crate) fn mark(&mut self) {
        let Some(raw) = self.party("raw") else {
            return;
        };
        let usual = median(raw.turns.iter().map(|turn| turn.seconds).collect());
        let far = |turn: &Turn| (turn.seconds / usual - 1.0).abs() > DISTURBED;
        let far: Vec<bool> = raw.turns.iter().map(far).collect();
        let rounds = far.iter().zip(1..).filter(|(far, _)| **far);
        self.disturbed = rounds.map(|(_, round)| round).collect();
        if far.contains(&false) {
            for party in &mut self.parties {
                party.left_out.clone_from(&far);
            }
        }
    }

    /// How many times as fast one is as another: the median of all rounds, with the least and the most.
    pub(crate) fn ratio(&self, one: &str, other: &str) -> Option<[f64; 3]> {
        let (one, other) = (self.party(one)?, self.party(other)?);
        let rates = one.counted().zip(other.counted());
        let mut rates: Vec<f64> = rates
            .map(|(one, other)| one.files_per_second() / other.files_per_second())
            .collect();
        rates.sort_by(f64::total_cmp);
        let (least, most) = (*rates.first()?, *rates.last()?);
        Some([median(rates), least, most])
    }
}

impl Party {
    /// Turns that count.
    fn counted(&self) -> impl Iterator<Item = &Turn> {
        let out = |n: &usize| self.left_out.get(*n).copied().unwrap_or(false);
        let turns = self.turns.iter().enumerate();
        turns.filter(move |(n, _)| !out(n)).map(|(_, turn)| turn)
    }

    /// The median of something.
    pub(crate) fn median(&self, of: impl Fn(&Turn) -> f64) -> f64 {
        median(self.counted().map(of).collect())
    }

    /// The most memory it ever had, in bytes.
    pub(crate) fn peak(&self) -> u64 {
        let peaks = self.turns.iter().map(|turn| turn.peak_bytes);
        peaks.max().unwrap_or_default()
    }

    /// The most connections it opened in one turn: those it has left from an earlier one serve again.
    pub(crate) fn connections(&self) -> u64 {
        let all = self.turns.iter().map(|turn| turn.tally.connections);
        all.max().unwrap_or_default()
    }

    /// What the server counted in the last turn.
    pub(crate) fn tally(&self) -> Option<&Tally> {
        self.turns.last().map(|turn| &turn.tally)
    }
}

#[expect(clippy::cast_precision_loss, reason = "quotients of counts")]
impl Turn {
    pub(crate) fn files_per_second(&self) -> f64 {
        self.files as f64 / self.seconds
    }

    pub(crate) fn mib_per_second(&self) -> f64 {
        self.bytes as f64 / MIB / self.seconds
    }

    pub(crate) fn cpu_per_gib(&self) -> f64 {
        self.cpu_seconds / (self.bytes as f64 / MIB / 1024.0)
    }

    /// Microseconds.
    pub(crate) fn cpu_per_file(&self) -> f64 {
        self.cpu_seconds * 1e6 / self.files as f64
    }

    pub(crate) fn requests_per_sstable(&self) -> f64 {
        self.tally.total() as f64 / self.sstables as f64
    }

    /// Requests of a kind for each SSTable.
    pub(crate) fn of_kind(&self, kind: &str) -> f64 {
        let count = self.tally.requests.get(kind).copied().unwrap_or_default();
        count as f64 / self.sstables as f64
    }

    /// Bytes read from disks for each byte uploaded.
    pub(crate) fn read_ratio(&self) -> f64 {
        self.read_bytes as f64 / self.bytes as f64
    }
}

/// The middle of some numbers; of two, their mean.
pub(crate) fn median(mut numbers: Vec<f64>) -> f64 {
    numbers.sort_by(f64::total_cmp);
    let middle = numbers.len() / 2;
    match numbers.len() {
        0 => f64::NAN,
        odd if odd % 2 == 1 => numbers[middle],
        _ => f64::midpoint(numbers[middle - 1], numbers[middle]),
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    /// A turn of 100 files and 1 GiB.
    pub(crate) fn turn(seconds: f64, cpu_seconds: f64) -> Turn {
        Turn {
            seconds,
            cpu_seconds,
            server_cpu_seconds: 0.1,
            peak_bytes: 40 << 20,
            read_bytes: 1 << 30,
            files: 100,
            sstables: 10,
            bytes: 1 << 30,
            tally: Tally {
                requests: [("PutObject".to_owned(), 101)].into(),
                bytes: 1 << 30,
                ..Tally::default()
            },
        }
    }

    pub(crate) fn measured(id: &str, parties: &[(&'static str, &[f64])]) -> Measured {
        let party = |(name, seconds): &(&'static str, &[f64])| Party {
            name,
            turns: seconds.iter().map(|s| turn(*s, 1.0)).collect(),
            left_out: Vec::new(),
            cached_bytes: None,
        };
        Measured {
            id: id.to_owned(),
            what: "a case".to_owned(),
            of_files: false,
            parties: parties.iter().map(party).collect(),
            disturbed: Vec::new(),
        }
    }

    #[test]
    fn medians() {
        assert_eq!(median(vec![3.0, 1.0, 2.0]), 2.0);
        assert_eq!(median(vec![4.0, 1.0]), 2.5);
        assert!(median(vec![]).is_nan());
    }

    #[test]
    fn disturbed_rounds_are_marked_and_left_out() {
        let raw: &[f64] = &[1.0, 1.1, 1.5];
        let mut case = measured("x", &[("raw", raw), ("thetis", &[2.0, 2.2, 9.0])]);
        case.mark();
        assert_eq!(case.disturbed, [3]);
        let thetis = case.party("thetis").unwrap();
        assert!((thetis.median(|turn| turn.seconds) - 2.1).abs() < 1e-9);
        let [middle, least, most] = case.ratio("thetis", "raw").unwrap();
        for (found, expected) in [(middle, 0.5), (least, 0.5), (most, 0.5)] {
            assert!((found - expected).abs() < 1e-9, "{found}");
        }
        assert!((thetis.turns[0].cpu_per_gib() - 1.0).abs() < 1e-9);
        assert!((thetis.turns[0].requests_per_sstable() - 10.1).abs() < 1e-9);
    }
}
