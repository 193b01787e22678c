//! How much memory a large manifest takes. Alone in its process, whose peak it looks at.

#![expect(clippy::unwrap_used, reason = "helpers of tests fail as tests do")]

use std::{
    fs::File,
    hash::{DefaultHasher, Hash as _, Hasher as _},
    io::{BufWriter, Write},
    path::Path,
};

use catalog::{
    Manifest, ManifestError,
    key::{ManifestKey, Owner},
};
use flate2::{Compression, write::GzEncoder};
use serde_json::json;

const FILES: usize = 500_000;

/// The most the whole process may take, in bytes.
const MOST: u64 = 64 << 20;

const COMPONENTS: [&str; 9] = [
    "CompressionInfo.db",
    "Data.db",
    "Digest.crc32",
    "Filter.db",
    "Index.db",
    "Scylla.db",
    "Statistics.db",
    "Summary.db",
    "TOC.txt",
];

/// What a manifest says, in one number.
#[derive(Debug, Default, PartialEq)]
struct Said {
    tables: usize,
    files: usize,
    hash: u64,
}

impl Said {
    fn table(&mut self, table: &str) {
        self.tables += 1;
        self.mix(table);
    }

    fn file(&mut self, name: &str, bytes: Option<u64>, crc32: Option<u32>) {
        self.files += 1;
        self.mix((name, bytes, crc32));
    }

    fn mix(&mut self, what: impl std::hash::Hash) {
        let mut hasher = DefaultHasher::new();
        (self.hash, what).hash(&mut hasher);
        self.hash = hasher.finish();
    }
}

fn name(number: usize) -> String {
    let (sstable, component) = (
        number / COMPONENTS.len(),
        COMPONENTS[number % COMPONENTS.len()],
    );
    format!("me-3gqe_1lnj_4{sstable:012}hhtor-big-{component}")
}

fn bytes(number: usize) -> u64 {
    1 << (number % 40)
}

fn crc32(number: usize) -> u32 {
    u32::MAX - u32::try_from(number).unwrap()
}

/// Writes a manifest value by value, as Manager does; with sizes and checksums, as Thetis does.
fn write(path: &Path, key: &ManifestKey, tables: usize, known: bool) -> Said {
    let file = BufWriter::new(File::create(path).unwrap());
    let mut to = GzEncoder::new(file, Compression::fast());
    let mut said = Said::default();
    let tokens: Vec<i64> = (-128..128).map(|n: i64| n << 56).collect();
    write!(
        to,
        r#"{{"version":"v2","cluster_name":"prod","ip":"10.0.0.1","size":0,"tokens":{},"dc":"dc1","node_id":"{}","index":["#,
        json!(tokens),
        key.owner.node
    )
    .unwrap();
    for table in 0..tables {
        let (first, last) = (FILES * table / tables, FILES * (table + 1) / tables);
        let numbers = first..last;
        if table > 0 {
            to.write_all(b",").unwrap();
        }
        said.table(&format!("t{table}"));
        write!(
            to,
            r#"{{"keyspace":"shop","table":"t{table}","version":"{table:032x}","files":["#
        )
        .unwrap();
        list(&mut to, numbers.clone(), |number| json!(name(number)));
        to.write_all(b"]").unwrap();
        if known {
            to.write_all(br#","thetis":{"sizes":["#).unwrap();
            list(&mut to, numbers.clone(), |number| json!(bytes(number)));
            to.write_all(br#"],"crc32":["#).unwrap();
            list(&mut to, numbers.clone(), |number| json!(crc32(number)));
            to.write_all(b"]}").unwrap();
        }
        to.write_all(br#","size":0,"scylla_manifests":[]}"#)
            .unwrap();
        for number in numbers {
            let facts = known.then(|| (bytes(number), crc32(number)));
            said.file(&name(number), facts.map(|f| f.0), facts.map(|f| f.1));
        }
    }
    to.write_all(b"]}").unwrap();
    to.finish().unwrap().flush().unwrap();
    said
}

fn list(
    to: &mut impl Write,
    of: std::ops::Range<usize>,
    value: impl Fn(usize) -> serde_json::Value,
) {
    for number in of.clone() {
        if number > of.start {
            to.write_all(b",").unwrap();
        }
        serde_json::to_writer(&mut *to, &value(number)).unwrap();
    }
}

fn read(path: &Path, key: &ManifestKey) -> Said {
    let mut said = Said::default();
    let head = Manifest::visit(File::open(path).unwrap(), key, |entry| {
        said.table(&entry.table);
        for file in entry.files.iter() {
            said.file(file.name, file.bytes, file.crc32);
        }
        Ok::<_, ManifestError>(())
    })
    .unwrap();
    assert_eq!(head.info.tokens.len(), 256);
    said
}

/// The most memory this process ever had, in bytes.
fn peak() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    let kib = line
        .and_then(|line| line.trim().strip_suffix(" kB"))
        .unwrap();
    kib.trim().parse::<u64>().unwrap() * 1024
}

/// One test, so that no other takes memory meanwhile.
#[test]
fn half_a_million_files_fit_into_64_mib() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("manifest.json.gz");
    let id = |last: &str| format!("01920000-0000-7000-8000-0000000000{last}");
    let key = ManifestKey {
        owner: Owner::new(id("c1").parse().unwrap(), "dc1", id("01").parse().unwrap()).unwrap(),
        task: id("b1").parse().unwrap(),
        tag: "sm_20260131235959UTC".parse().unwrap(),
        temporary: false,
    };
    for (tables, known) in [(1_000, false), (1_000, true), (1, false), (1, true)] {
        let written = write(&path, &key, tables, known);
        assert_eq!((written.tables, written.files), (tables, FILES));
        let before = peak();
        assert_eq!(read(&path, &key), written);
        let (json, peak) = (std::fs::metadata(&path).unwrap().len() >> 20, peak());
        eprintln!(
            "{tables} tables, sizes known: {known}; {json} MiB compressed: \
             {} MiB before, {} MiB at the peak",
            before >> 20,
            peak >> 20
        );
        assert!(peak < MOST, "{tables} tables took {peak} bytes");
    }
}
