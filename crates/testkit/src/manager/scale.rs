//! Many manifests, quickly: what a backup holds of a node is compressed once and used again.

use std::{fs, path::Path};

use anyhow::Result;
use crc32fast::Hasher;
use flate2::{Compress, Compression, FlushCompress};
use serde_json::json;

use super::{
    random::Random,
    tag::{tag_at, tag_time},
};

/// The first backup's tag.
const FIRST: &str = "sm_20230101000000UTC";
/// Components of each SSTable, and the bytes of all together.
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
const SSTABLE: usize = 1_000_000;

/// One cluster's manifests, without the files that they list.
#[derive(Clone, Copy, Debug)]
pub struct Scale {
    /// What it is made from.
    pub seed: u64,
    /// Backups, one every six hours, of one task.
    pub backups: usize,
    /// Nodes.
    pub nodes: usize,
    /// Tables.
    pub tables: usize,
    /// SSTables of each table on each node.
    pub sstables: usize,
    /// How often during all backups a quarter of the SSTables is replaced.
    pub changes: usize,
}

impl Default for Scale {
    /// 1,000 backups of 20 nodes, each of 90 files of 5 tables.
    fn default() -> Self {
        Self {
            seed: 1,
            backups: 1_000,
            nodes: 20,
            tables: 5,
            sstables: 2,
            changes: 10,
        }
    }
}

/// What [`Scale::write`] made.
#[derive(Clone, Debug)]
pub struct ScaleMade {
    /// The cluster.
    pub cluster: String,
    /// The task.
    pub task: String,
    /// The nodes, all of datacenter `dc1`.
    pub nodes: Vec<String>,
    /// The backups, oldest first.
    pub tags: Vec<String>,
    /// Files that each manifest lists.
    pub files: usize,
    /// Bytes of those files.
    pub bytes: usize,
}

impl ScaleMade {
    /// Key of a manifest.
    #[must_use]
    pub fn manifest(&self, node: &str, tag: &str) -> String {
        let (cluster, task) = (&self.cluster, &self.task);
        format!(
            "backup/meta/cluster/{cluster}/dc/dc1/node/{node}/task_{task}_tag_{tag}_manifest.json.gz"
        )
    }
}

impl Scale {
    /// Writes the manifests into a bucket.
    ///
    /// # Errors
    /// When the directory can't be written.
    ///
    /// # Panics
    /// Never: the first tag is one.
    pub fn write(&self, bucket: &Path) -> Result<ScaleMade> {
        let mut random = Random::new(self.seed);
        let first = tag_time(FIRST).expect("a tag");
        let sstables = self.tables * self.sstables;
        let made = ScaleMade {
            cluster: random.uuid(),
            task: random.uuid(),
            nodes: (0..self.nodes).map(|_| random.uuid()).collect(),
            tags: (0..self.backups as u64)
                .map(|at| tag_at(first + at * 6 * 3600))
                .collect(),
            files: sstables * COMPONENTS.len(),
            bytes: sstables * SSTABLE,
        };
        let versions: Vec<String> = (0..self.tables).map(|_| random.version()).collect();
        let mut deflate = Deflate::new();
        for node in &made.nodes {
            let path = bucket.join(made.manifest(node, ""));
            fs::create_dir_all(path.parent().expect("a key lies in its bucket"))?;
            let mut body = Piece::default();
            let mut age = None;
            for (at, tag) in made.tags.iter().enumerate() {
                let now = at * self.changes / self.backups;
                if age.replace(now) != Some(now) {
                    body = deflate.last(&self.body(node, &versions, now));
                }
                let head = deflate.first(&head(&made, node, tag));
                fs::write(bucket.join(made.manifest(node, tag)), join(&head, &body))?;
            }
        }
        Ok(made)
    }

    /// The second half of a manifest: what is the same in many.
    fn body(&self, node: &str, versions: &[String], age: usize) -> String {
        // SSTables of a node have random numbers of their own, whatever the age.
        let seed = node.bytes().fold(self.seed, |seed, byte| {
            seed.rotate_left(8) ^ u64::from(byte)
        });
        let first = age * self.sstables.div_ceil(4);
        let index = versions.iter().enumerate().map(|(table, version)| {
            let files = (first..first + self.sstables).flat_map(|number| {
                let seed = seed ^ ((table as u64) << 40) ^ ((number as u64) << 20);
                let mut random = Random::new(seed);
                let id = format!(
                    "3gqe_0lob_1zdg0{:013}",
                    random.between(0, 9_999_999_999_999)
                );
                COMPONENTS.map(|component| format!("me-{id}-big-{component}"))
            });
            json!({
                "keyspace": "shop", "table": format!("table{table}"), "version": version,
                "replication_type": "vnodes", "files": files.collect::<Vec<_>>(),
                "size": self.sstables * SSTABLE, "scylla_manifests": [],
            })
        });
        let index = index.collect::<Vec<_>>();
        let mut random = Random::new(seed);
        let tokens: Vec<i64> = (0..256).map(|_| random.number().cast_signed()).collect();
        let (tokens, index) = (json!(tokens), json!(index));
        let size = self.tables * self.sstables * SSTABLE;
        format!(",\"size\":{size},\"tokens\":{tokens},\"index\":{index}}}")
    }
}

/// The first half, without the bracket that closes it.
fn head(made: &ScaleMade, node: &str, tag: &str) -> String {
    let head = json!({
        "version": "v2", "scylla_version": "2026.2.0", "cluster_name": "prod", "ip": "10.0.0.1",
        "schema": "", "rack": "rack1", "shard_count": 7, "cpu_count": 8,
        "storage_size": 1_900_000_000_000_u64, "instance_details": {}, "dc": "dc1",
        "cluster_id": made.cluster, "node_id": node, "task_id": made.task, "snapshot_tag": tag,
    });
    let mut head = head.to_string();
    head.pop();
    head
}

/// A part of a compressed file.
#[derive(Default)]
struct Piece {
    deflated: Vec<u8>,
    crc: Hasher,
    length: usize,
}

/// One file of two pieces, as if it had been compressed at once.
fn join(first: &Piece, second: &Piece) -> Vec<u8> {
    let mut file = vec![0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 255];
    file.extend_from_slice(&first.deflated);
    file.extend_from_slice(&second.deflated);
    let mut crc = first.crc.clone();
    crc.combine(&second.crc);
    file.extend_from_slice(&crc.finalize().to_le_bytes());
    let length = (first.length + second.length) as u64;
    file.extend_from_slice(&length.to_le_bytes()[..4]);
    file
}

struct Deflate(Compress);

impl Deflate {
    fn new() -> Self {
        Self(Compress::new(Compression::default(), false))
    }

    /// Ends at a whole byte, and refers to nothing before it.
    fn first(&mut self, text: &str) -> Piece {
        self.piece(text, FlushCompress::Full)
    }

    fn last(&mut self, text: &str) -> Piece {
        self.piece(text, FlushCompress::Finish)
    }

    fn piece(&mut self, text: &str, flush: FlushCompress) -> Piece {
        self.0.reset();
        let mut crc = Hasher::new();
        crc.update(text.as_bytes());
        // What can't be made smaller grows by a few bytes a block.
        let mut deflated = Vec::with_capacity(text.len() + text.len() / 100 + 1024);
        let status = self.0.compress_vec(text.as_bytes(), &mut deflated, flush);
        status.expect("there is room for all of it");
        assert_eq!(self.0.total_in(), text.len() as u64, "all of it was taken");
        Piece {
            deflated,
            crc,
            length: text.len(),
        }
    }
}
