//! What a simulated cluster looks like when it is first made.

use std::collections::BTreeMap;
use std::net::Ipv4Addr;
use std::path::PathBuf;
use std::time::Duration;

use serde::{Deserialize, Serialize};

/// SSTable format the nodes write.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum Format {
    /// Partitions.db and Rows.db; checksums of all components in Scylla.db.
    Mt,
    /// Partitions.db and Rows.db; no checksums in Scylla.db.
    Ms,
    /// Index.db and Summary.db.
    Me,
}

impl Format {
    /// Whether it is indexed by Partitions.db and Rows.db.
    pub(crate) fn tries(self) -> bool {
        match self {
            Self::Mt | Self::Ms => true,
            Self::Me => false,
        }
    }

    /// The version as it stands at the front of file names.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Mt => "mt",
            Self::Ms => "ms",
            Self::Me => "me",
        }
    }
}

/// Kind of SSTable generations.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum Ids {
    /// Base-36 text of a time UUID; unique in the cluster.
    Uuid,
    /// Increasing integers, which collide between nodes.
    Int,
}

/// Where the bucket folders of an object storage endpoint are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Endpoint {
    /// A directory of this machine: a bucket is a folder of it.
    Dir(PathBuf),
    /// An S3 server at the endpoint's own name, a URL.
    S3,
    /// A server of Google Cloud Storage's kind, likewise.
    Gcs,
}

/// How to make, or make again, a simulated cluster.
///
/// With a `dir` that holds a cluster already, its nodes, host ids, schema and SSTables are kept, and
/// `datacenters`, `racks`, `vnodes` and `cluster_name` are ignored.
#[derive(Clone, Debug)]
pub struct Config {
    /// Everything lies below: `cluster.json` and `node-<n>/data`.
    pub dir: PathBuf,
    /// As the REST API tells it.
    pub cluster_name: String,
    /// Name and number of nodes of each datacenter.
    pub datacenters: Vec<(String, usize)>,
    /// Racks in each datacenter, `r1`…; nodes take turns.
    pub racks: usize,
    /// Tokens of each node on the ring.
    pub vnodes: usize,
    /// Shards of each node.
    pub shards: usize,
    /// Address of the first node, the others follow; none: the saved ones, else a free block of 127.0.0.0/8.
    pub base_address: Option<Ipv4Addr>,
    /// REST port of all nodes; 0: the saved one, else any free one.
    pub api_port: u16,
    /// Admin port on 127.0.0.1; 0: any free one.
    pub admin_port: u16,
    /// Fixes host ids and ring tokens.
    pub seed: u64,
    /// SSTable format to write.
    pub format: Format,
    /// SSTable generations to write.
    pub ids: Ids,
    /// Answer of `scylla_release_version`.
    pub release: String,
    /// From the answer of a load-and-stream refresh until its files vanish from `upload/`.
    pub unlink_delay: Duration,
    /// Between two looks of a tablet-aware restore at its progress and at the tablets; 5 s in ScyllaDB.
    pub restore_tick: Duration,
    /// Whether load-and-stream with `skip_cleanup` leaves the shard "loading" until restart, as ScyllaDB does.
    pub wedge: bool,
    /// Object storage endpoints all nodes are configured with, by name.
    pub endpoints: BTreeMap<String, Endpoint>,
    /// Whether clients of CQL have to log in: `PasswordAuthenticator` and `CassandraAuthorizer`. At first there is the
    /// superuser `cassandra`, with that as password.
    pub cql_auth: bool,
    /// Access key and secret for all S3 servers; none: requests go unsigned.
    pub s3_keys: Option<(String, String)>,
}

impl Config {
    /// Three nodes in `dc1`, three racks, everything else by default, below `dir`.
    pub fn new(dir: impl Into<PathBuf>) -> Self {
        Self {
            dir: dir.into(),
            cluster_name: "sim".into(),
            datacenters: vec![("dc1".into(), 3)],
            racks: 3,
            vnodes: 16,
            shards: 2,
            base_address: None,
            api_port: 0,
            admin_port: 0,
            seed: 1,
            format: Format::Mt,
            ids: Ids::Uuid,
            release: "2026.4.0-0.20260821.f4a4091ca28e".into(),
            unlink_delay: Duration::from_millis(200),
            restore_tick: Duration::from_millis(100),
            wedge: false,
            endpoints: BTreeMap::new(),
            cql_auth: false,
            s3_keys: None,
        }
    }
}
