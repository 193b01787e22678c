//! One simulated node: its tables, switches and tasks.

use std::collections::{BTreeMap, HashMap};
use std::io;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, RwLock};

use serde_json::Value;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use crate::config::{Config, Endpoint};
use crate::cql::prepare::Prepared;
use crate::metrics::Traffic;
use crate::native::Trouble;
use crate::replica::{Origin, Replica};
use crate::schema::{Keyspace, Table};
use crate::sstable::name::Generations;
use crate::sstable::writer::Style;
use crate::task::Tasks;
use crate::topology::Member;

/// Steps of a node's start; a route answers 404 before its own.
pub(crate) const BOOTED: u8 = 6;

/// How a node takes part at present.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Health {
    Up,
    /// Refuses connections.
    Down,
    /// Accepts, never answers.
    Hung,
}

#[derive(Debug)]
pub(crate) struct Node {
    pub(crate) index: usize,
    pub(crate) member: Member,
    pub(crate) data: PathBuf,
    pub(crate) health: watch::Sender<Health>,
    /// How far its start has come, up to [`BOOTED`].
    pub(crate) stage: watch::Sender<u8>,
    /// `NORMAL`, `DRAINED`…
    pub(crate) mode: Mutex<String>,
    pub(crate) generations: Arc<Generations>,
    style: Style,
    pub(crate) replicas: RwLock<HashMap<Uuid, Arc<Replica>>>,
    /// Taking and deleting snapshots writes, listing reads, native backup writes all along.
    pub(crate) snapshot_lock: Arc<tokio::sync::RwLock<()>>,
    pub(crate) volatile: Mutex<Volatile>,
    pub(crate) tasks: Tasks,
    /// Answers of `/v2/config`.
    pub(crate) config: Mutex<BTreeMap<String, Value>>,
    pub(crate) endpoints: Mutex<BTreeMap<String, Endpoint>>,
    /// Overrides the cluster's schema version.
    pub(crate) schema_version: Mutex<Option<Uuid>>,
    /// Coming snapshots that run out of disk space half-way.
    pub(crate) disk_full: Mutex<u32>,
    /// What clients ask of it, for its metrics.
    pub(crate) traffic: Mutex<Traffic>,
    /// What awaits coming native tasks.
    pub(crate) trouble: Mutex<Vec<Trouble>>,
    /// Statements that clients prepared, by id.
    pub(crate) prepared: Mutex<HashMap<Vec<u8>, Arc<Prepared>>>,
}

/// What a restart forgets.
#[derive(Debug, Default)]
pub(crate) struct Volatile {
    /// By shard: whether a refresh holds it.
    pub(crate) loading: Vec<bool>,
    /// When a snapshot with a time to live goes, by table directory and tag: an id to recognise the timer.
    pub(crate) timers: HashMap<(PathBuf, String), u64>,
    pub(crate) next_timer: u64,
    pub(crate) incremental_backups: bool,
    pub(crate) stream_throughput: u32,
    pub(crate) compaction_throughput: u32,
    /// Repairs given an id so far.
    pub(crate) repairs: u64,
    /// Cancelled by the restart.
    pub(crate) life: CancellationToken,
}

impl Node {
    pub(crate) fn new(config: &Config, index: usize, member: &Member, ports: (u16, u16)) -> Self {
        let data = config.dir.join(format!("node-{}", index + 1)).join("data");
        Self {
            index,
            generations: Arc::new(Generations::new(config.ids, member.host_id)),
            config: Mutex::new(settings(config, member, ports, &data)),
            member: member.clone(),
            data,
            health: watch::Sender::new(Health::Up),
            stage: watch::Sender::new(BOOTED),
            mode: Mutex::new("NORMAL".into()),
            style: Style {
                format: config.format,
                release: config.release.clone(),
                compressed: false,
            },
            replicas: RwLock::default(),
            snapshot_lock: Arc::default(),
            volatile: Mutex::new(Volatile {
                loading: vec![false; config.shards],
                ..Volatile::default()
            }),
            tasks: Tasks::default(),
            endpoints: Mutex::new(config.endpoints.clone()),
            schema_version: Mutex::new(None),
            disk_full: Mutex::new(0),
            traffic: Mutex::new(Traffic::new()),
            trouble: Mutex::default(),
            prepared: Mutex::default(),
        }
    }

    pub(crate) fn health(&self) -> Health {
        *self.health.borrow()
    }

    /// Whether the other nodes believe it alive.
    pub(crate) fn live(&self) -> bool {
        self.health() == Health::Up && *self.stage.borrow() == BOOTED
    }

    /// Makes or reopens the directory of a table.
    pub(crate) fn open_table(&self, keyspace: &str, name: &str, table: &Table) -> io::Result<()> {
        let style = Style {
            compressed: table.compressed,
            ..self.style.clone()
        };
        let replica = Replica::open(Origin {
            data: &self.data,
            keyspace,
            table: name,
            id: table.id,
            style,
            generations: Arc::clone(&self.generations),
        })?;
        self.replicas
            .write()
            .expect("no panic while held")
            .insert(table.id, Arc::new(replica));
        Ok(())
    }

    /// Its part of a table of the schema.
    pub(crate) fn replica(&self, id: Uuid) -> Option<Arc<Replica>> {
        self.replicas
            .read()
            .expect("no panic while held")
            .get(&id)
            .cloned()
    }

    /// Its parts of all, or only the named, tables of a keyspace.
    pub(crate) fn replicas_of(
        &self,
        keyspace: &Keyspace,
        only: Option<&[String]>,
    ) -> Vec<Arc<Replica>> {
        let wanted = |name: &String| only.is_none_or(|only| only.contains(name));
        keyspace
            .tables
            .iter()
            .filter(|(name, _)| wanted(name))
            .filter_map(|(_, table)| self.replica(table.id))
            .collect()
    }

    pub(crate) fn volatile(&self) -> std::sync::MutexGuard<'_, Volatile> {
        self.volatile.lock().expect("no panic while held")
    }

    /// Forgets what a restart forgets; rows stay.
    pub(crate) fn forget(&self) {
        self.volatile().life.cancel();
        let shards = self.volatile().loading.len();
        *self.volatile() = Volatile {
            loading: vec![false; shards],
            ..Volatile::default()
        };
        self.tasks.clear();
        self.prepared.lock().expect("no panic while held").clear();
        *self.mode.lock().expect("no panic while held") = "NORMAL".into();
        for replica in self.replicas.read().expect("no panic while held").values() {
            replica.restart();
        }
    }
}

/// The entries of `/v2/config` that backups and restores look at.
fn settings(
    config: &Config,
    member: &Member,
    (api_port, cql_port): (u16, u16),
    data: &std::path::Path,
) -> BTreeMap<String, Value> {
    let address = member.address.to_string();
    let known = serde_json::json!({
        "data_file_directories": [data],
        "stream_io_throughput_mb_per_sec": 0,
        "backup_io_throughput_mb_per_sec": 0,
        "maintenance_io_throughput_mb_per_sec": 0,
        "user_task_ttl_in_seconds": 3600,
        "task_ttl_in_seconds": 0,
        "sstable_format": config.format.as_str(),
        "uuid_sstable_identifiers_enabled": config.ids == crate::config::Ids::Uuid,
        "auto_snapshot": true,
        "auto_snapshot_ttl": 864_000,
        "broadcast_address": address,
        "broadcast_rpc_address": address,
        "rpc_address": address,
        "listen_address": address,
        "native_transport_port": cql_port,
        "prometheus_port": 0,
        "prometheus_address": address,
        "api_port": api_port,
        "api_address": address,
        "incremental_backups": false,
        "object_storage_connections_per_shard": 128,
    });
    let Value::Object(known) = known else {
        unreachable!("an object is written above")
    };
    known.into_iter().collect()
}
