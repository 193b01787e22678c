//! SSTables: names of every version, and small files that agree with each other.
//!
//! The rows are noise. What a backup tool looks at is right: the TOC lists the files, the digest is
//! the CRC-32 of the data, and no two SSTables have the same content.

use std::sync::Arc;

use super::random::{Random, uuid};

/// What tells an SSTable from others.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ids {
    /// Numbers from 1, which a node that is set up anew uses again.
    Integer,
    /// Unique in the world.
    Uuid,
}

/// A table, and how its SSTables are written.
#[derive(Clone, Debug)]
pub struct Table {
    /// The keyspace.
    pub keyspace: String,
    /// The table.
    pub name: String,
    /// Kind of its SSTables' ids.
    pub ids: Ids,
    /// Version of the format: `ka`, `la`, `mc`, `md`, `me`, `ms` or `mt`. With unique ids, any two
    /// letters but the first two of these.
    pub format: &'static str,
    /// Whether it is spread by tablets.
    pub tablets: bool,
    /// Whether its data is compressed. If not, there is a `CRC.db` and no `CompressionInfo.db`.
    pub compressed: bool,
}

impl Table {
    /// A table of today: unique ids, `me`, tablets, compressed.
    #[must_use]
    pub fn new(keyspace: &str, name: &str) -> Self {
        Self {
            keyspace: keyspace.to_owned(),
            name: name.to_owned(),
            ids: Ids::Uuid,
            format: "me",
            tablets: true,
            compressed: true,
        }
    }

    /// A table as it was before ids were unique: `mc`, vnodes.
    #[must_use]
    pub fn with_integers(keyspace: &str, name: &str) -> Self {
        Self {
            ids: Ids::Integer,
            format: "mc",
            tablets: false,
            ..Self::new(keyspace, name)
        }
    }
}

/// One SSTable on a node's disk.
#[derive(Clone, Debug)]
pub(super) struct SsTable {
    /// All before the component, as in `me-3gqe_1lnj_4sbpc2ezoscu9hhtor-big`.
    pub(super) name: String,
    /// Stays with the data when it moves to another node.
    pub(super) identifier: String,
    pub(super) files: Vec<(String, Arc<[u8]>)>,
    pub(super) first_token: i64,
    pub(super) last_token: i64,
}

impl SsTable {
    /// Writes one: the node's `number`th of the table, at `unix`.
    pub(super) fn write(random: &mut Random, table: &Table, number: u64, unix: u64) -> Self {
        let unique = TimeUuid::new(random, unix);
        let id = match table.ids {
            Ids::Integer => number.to_string(),
            Ids::Uuid => unique.base36(),
        };
        let name = match table.format {
            "ka" => format!("{}-{}-ka-{id}", table.keyspace, table.name),
            format => format!("{format}-{id}-big"),
        };
        let named = |component: &str| format!("{name}-{component}");
        let length = random.between(40, 400);
        let data = random.bytes(length);
        let components = components(table);
        let files = components.iter().map(|component| {
            let content = match *component {
                "Data.db" => data.clone(),
                "Digest.crc32" => crc32fast::hash(&data).to_string().into_bytes(),
                "TOC.txt" => components.iter().fold(Vec::new(), |mut text, component| {
                    text.extend_from_slice(component.as_bytes());
                    text.push(b'\n');
                    text
                }),
                _ => {
                    let length = random.between(12, 90);
                    random.bytes(length)
                }
            };
            (named(component), content.into())
        });
        let files = files.collect();
        // In order, and within one tablet where there are four of them.
        let first_token = random.number().cast_signed();
        let last_token = first_token | (random.number() >> 2).cast_signed();
        Self {
            files,
            identifier: unique.text(),
            name,
            first_token,
            last_token,
        }
    }

    pub(super) fn content(&self, component: &str) -> Option<&[u8]> {
        let name = format!("{}-{component}", self.name);
        let found = self.files.iter().find(|(other, _)| *other == name);
        found.map(|(_, content)| &**content)
    }
}

fn components(table: &Table) -> Vec<&'static str> {
    let mut components = vec![
        if table.compressed {
            "CompressionInfo.db"
        } else {
            "CRC.db"
        },
        "Data.db",
    ];
    // The two oldest formats have digests of other kinds, which nothing here reads.
    if !matches!(table.format, "ka" | "la") {
        components.push("Digest.crc32");
    }
    components.push("Filter.db");
    components.extend(match table.format {
        "ms" | "mt" => ["Partitions.db", "Rows.db"],
        _ => ["Index.db", "Summary.db"],
    });
    components.extend(["Scylla.db", "Statistics.db", "TOC.txt"]);
    components
}

/// A UUID made of a time (version 1), in the two forms that ScyllaDB writes.
struct TimeUuid {
    /// Steps of 100 ns since 1582-10-15.
    time: u64,
    low: u64,
}

impl TimeUuid {
    fn new(random: &mut Random, unix: u64) -> Self {
        const BEFORE_1970: u64 = 12_219_292_800;
        Self {
            time: (unix + BEFORE_1970) * 10_000_000 + random.between(0, 9_999_999),
            low: random.number() & !(0b11 << 62) | (0b10 << 62),
        }
    }

    fn text(&self) -> String {
        let high = self.time << 32 | self.time >> 16 & 0xffff_0000 | self.time >> 48 | 0x1000;
        uuid(high, self.low)
    }

    /// Days, seconds of the day and steps of the second, then the lower half.
    fn base36(&self) -> String {
        let second = self.time / 10_000_000;
        [
            base36(second / 86_400, 4),
            base36(second % 86_400, 4),
            base36(self.time % 10_000_000, 5) + &base36(self.low, 13),
        ]
        .join("_")
    }
}

fn base36(mut number: u64, width: usize) -> String {
    let mut digits = vec![b'0'; width];
    for digit in digits.iter_mut().rev() {
        *digit = b"0123456789abcdefghijklmnopqrstuvwxyz"[(number % 36) as usize];
        number /= 36;
    }
    String::from_utf8(digits).expect("digits are ASCII")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_two_forms_of_an_id_are_of_one_time() {
        let epoch = TimeUuid {
            time: 12_219_292_800 * 10_000_000,
            low: u64::MAX,
        };
        assert_eq!(epoch.text(), "13814000-1dd2-11b2-ffff-ffffffffffff");
        assert_eq!(epoch.base36(), "314j_0000_000003w5e11264sgsf");
    }
}
