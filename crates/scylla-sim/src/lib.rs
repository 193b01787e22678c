//! A simulated ScyllaDB cluster: the REST API and CQL of every node, real files on disk, no database.
//!
//! All nodes live in one process, each on its own loopback address and the same port. Their data
//! directories are laid out as ScyllaDB lays out its own, with hard-linked snapshots and SSTables
//! that look real from outside. Rows are simulated but really there: they lie in `Data.db`, go
//! through snapshot, upload, download and refresh as bytes, and [fingerprints](#data) tell whether
//! each arrived. Where ScyllaDB would let something pass that a careful client never does, the
//! simulator remembers a [violation](#watching); tests assert that there is none.
//!
//! ```no_run
//! # async fn f() -> Result<(), scylla_sim::Error> {
//! let cluster = scylla_sim::Cluster::start(scylla_sim::Config::new("/tmp/some-empty-dir")).await?;
//! println!("{} {:?}", cluster.admin_url(), cluster.nodes());
//! cluster.shutdown().await?;
//! # Ok(()) }
//! ```
//!
//! As a process: `scylla-sim --dir D --nodes 3 --racks 3 --dc dc1 [--dc dc2:2] --base-address
//! 127.0.50.1 --api-port 10000 --admin-port 19000` prints one line of JSON when ready,
//! `{"admin": URL, "nodes": [{"number", "address", "api", "host_id", "dc", "rack", "data"}]}`, and
//! ends on SIGTERM. Started again on the same `--dir` it goes on with the same nodes, schema and
//! SSTables; memtables survive SIGTERM, not SIGKILL.
//!
//! # Promises
//! * Parameters are checked in ScyllaDB's order and refused in its words; see [what is there](#rest-api).
//! * Memory does not grow with the values: some 48 bytes per row and SSTable.
//! * A row loaded by seed and number is the same in every cluster, whatever its nodes.
//!
//! # Admin API
//! HTTP and JSON on 127.0.0.1. Answers 200 with JSON, or 400/500 with `{"error": text}`. A `node` is
//! its number (from 1), address or host id. Fields marked `?` may be left out.
//!
//! ## Schema
//! * `POST /keyspaces` `{"name", "replication"?: 3 | {"dc1": 3}, "tablets"?: false, "local"?: false}` → `{}`.
//!   One number is the factor of every datacenter; the default is 1.
//! * `POST /tables` `{"keyspace", "name", "id"?: uuid, "kind"?: "table"|"view"|"index", "base"?, "tablets"?: 8, "compressed"?: false}`
//!   → `{"id": uuid}`. `tablets` counts only in tablet keyspaces and is a power of two. An index's table is named
//!   `<index>_index`. Compressed tables have CompressionInfo.db, and a `data_size` that is not the size of the file.
//! * `DELETE /tables/{keyspace}/{table}?snapshot=true`, `DELETE /keyspaces/{keyspace}?snapshot=true` → `{}`, leaving
//!   `pre-drop-<ms>` snapshots unless `snapshot=false`.
//! * `POST /tables/{keyspace}/{table}/truncate?snapshot=true` → `{}`, leaving a `<ms>-<table>` snapshot.
//! * `POST /views/{keyspace}/{view}` `{"status": "STARTED"|"SUCCESS"|"UNKNOWN"}`: the answer of `view_build_statuses`.
//! * `PUT /views` `{"build_ms": n}`: how long coming views and indexes, made through CQL, wait before they are built.
//!
//! Tables made here are `key blob PRIMARY KEY, value blob`; views and indexes made here hold what is loaded into them
//! and follow no table: those made through CQL do.
//!
//! ## Data
//! * `POST /load` `{"keyspace", "table", "rows" | "bytes", "sstables"?: 1, "seed"?: 0, "from"?: 0, "min_value"?: 1024, "max_value"?: 1024, "stamp"?}`
//!   → `{"rows", "sstables", "bytes"}`. Writes rows `from..from+rows` of the seed straight into about `sstables` new
//!   SSTables on each node (with tablets at least one for each tablet the node has). `bytes` counts values once, not
//!   per replica. Without `stamp` all loaded rows have the same timestamp in every cluster.
//! * `POST /mutate`, same fields: writes the rows into memtables with a timestamp above all before, so it overwrites
//!   rows of the same seed and number and inserts others. Memtables are flushed by snapshots, `flush`, or at 16 MiB.
//! * `POST /flush` `{"keyspace"?, "table"?, "node"?}` → `{}`.
//! * `POST /compact` `{"keyspace"?, "table"?, "node"?, "sstables"?}` → `{"merged"}`: merges that many (default and most: 200)
//!   SSTables of each table, or tablet, into a new one and deletes the old files. Nothing compacts by itself. Tombstones
//!   that the table's `tombstone_gc` allows are forgotten, even when older versions of their rows come back later.
//! * `POST /corrupt` `{"node", "keyspace", "table", "sstable"?: 0, "component"?: "Data.db", "from_end"?: 1}` → `{"path"}`:
//!   flips a bit in place, so in linked snapshots too; checksums stay as they are.
//! * `GET /fingerprint?keyspace=&table=&deep=false` → a list, one element per table (system tables only when named):
//!   `{"keyspace", "table_name", "table": hex, "rows", "value_bytes", "replicas_consistent": bool, "missing", "extra",
//!   "nodes": [{"address", "rows", "owned", "hash", "sstables", "disk_bytes"}], "corrupt": [path]}`.
//!   `table` and `rows` are of the newest version of every row in the cluster and do not depend on the number of nodes:
//!   equal before a backup and after its restore. `missing` counts owners that lack the newest version of a row,
//!   `extra` rows on nodes that do not own them. `deep` also checks every file against its checksums.
//!
//! ## Watching
//! * `GET /cluster` → `{"name", "nodes", "keyspaces", "schema_version", "balancing": bool, "switched_off": [{"node",
//!   "keyspace", "table", "auto_compaction", "tombstone_gc"}]}`. `switched_off` is empty when all is as it should be.
//! * `GET /calls` → `{"POST /storage_service/snapshots": {"1": 2}}`: REST calls by route, then node; `DELETE /calls` forgets.
//! * `GET /violations` → `[{"node", "request", "problem"}]`; `DELETE /violations` forgets. They are: unknown paths,
//!   unknown query parameters, deleting snapshots without tag, flags that have no effect, `skip_cleanup` or
//!   `skip_reshape` with load-and-stream, files in `upload/` that refresh deletes or refuses, prefixes with a slash
//!   at an end, asking for snapshots while a native backup runs.
//!
//! ## Faults
//! * `POST /faults` `{"node"?, "method"?, "path"?: "/storage_service/sna", "query"?: "tag=x", "skip"?: 0, "times"?,
//!   "when"?: "before"|"after", "action"}` → `{"id"}`; `path` is how the path begins, `query` a text the query
//!   contains; without `times` it strikes for ever. Actions: `{"kind": "delay", "ms"}`, `{"kind": "status", "status",
//!   "message"}`, `{"kind": "reset"}` (connection closed without answer), `{"kind": "hang"}`. `after` means that the
//!   request has had its effect. With `"method": "CQL"` it strikes statements that contain the text `query`; `status` is
//!   then an error code of the protocol (0x1001 overloaded, 0x1100 write timeout…). `GET /faults` lists, `DELETE /faults` and `DELETE /faults/{id}` remove.
//! * `POST /nodes/{node}/down` (refuses connections), `/hang` (accepts, never answers), `/up` (undoes both).
//!   Other nodes list it as down; a hung one is `UNREACHABLE` in `schema_versions`.
//! * `POST /nodes/{node}/restart` `{"boot_ms"?: 0, "stage"?}`: forgets tasks, switches and refreshes; while it boots, routes
//!   appear by stage: 0 task manager and config, 1 tokens and gossip, 2 repair, 3 tables, 4 snapshots and backup,
//!   5 refresh and restore, 6 everything. With `stage` it stays there until `PUT /nodes/{node}/stage` `{"stage": 6}`.
//! * `PUT /nodes/{node}/loading` `{"loading": true}`: every refresh says `Already loading SSTables` until released.
//! * `PUT /nodes/{node}/disk_full` `{"snapshots": n}`: the next n snapshot calls fail half-way with ENOSPC.
//! * `PUT /nodes/{node}/schema_version` `{"version": uuid|null}`: disagrees with the others, or no longer.
//! * `PUT /nodes/{node}/mode` `{"mode": "NORMAL"}`, `PUT /nodes/{node}/config` `{"entry": value|null}`.
//! * `PUT /nodes/{node}/load` `{"requests": per second, "latency_us", "busy_percent"}`: what its metrics say from now on.
//! * `PUT /nodes/{node}/endpoints` `{"name": "/directory" | null}`: object storage endpoints; null for an S3 server.
//! * `PUT /nodes/{node}/trouble` `[{"operation": "backup"|"download_sstables"|"restore_tablets", "after"?: 0, "times"?: 0, "error"?: text,
//!   "step_ms"?: 0}]`: the next `times` native tasks fail with `error` after `after` files (or batches), or are stuck
//!   for ever without `error`; every task waits `step_ms` before each file or batch.
//!
//! # REST API
//! What backups and restores use: identity, topology, keyspaces and tables, snapshots, flush, compaction and
//! balancing switches, repair (done when it is answered: all live replicas get the newest rows), task manager, refresh, configuration, native
//! backup and restore, tablet-aware restore. The object store of these is a directory (`--endpoint name=/dir`; a bucket is a folder
//! that has to exist) or an S3 server that takes unsigned requests (`--endpoint http://host:port`).
//!
//! `tablets/restore` splits or merges the table to the tablet count of the manifests when balancing is on, and
//! waits while it is off; unlike the real one it can be aborted then. Who joined a restore that is aborted on
//! another node fails like it. The table's hint (`GET /cluster`: `hint`) comes back afterwards, the tablet count does
//! not. SSTables that a replica has already (by their id) are left out. All replicas have to be in the called
//! node's datacenter and up.
//!
//! # CQL
//! Version 4 of the protocol on `native_transport_port`, the same on all nodes; no compression, no TLS. With
//! [`Config::cql_auth`] (`--cql-auth`) clients log in and need rights. The schema, `DESCRIBE` and `system_schema` are as of a
//! server of 2026; rows are read from and written to as many live replicas as the consistency level asks for. Materialized
//! views and indexes follow what is written, and what load-and-stream brings; SSTables that are taken over as they are
//! (refresh without load-and-stream, tablet-aware restore) do not reach them. A write stores its row whole, with one timestamp for all
//! cells. Tokens are the simulator's own. Refused: lightweight transactions, counters, static columns, times to live,
//! functions, changes of parts of collections, custom indexes.
//!
//! # Not here
//! Metrics but those of the coordinator's latency and the reactors' load. Cluster-wide snapshots and backups (`tablets/snapshots`, `tablets/backup`)
//! answer 404, as older versions do. The incremental backups switch is
//! only remembered. Tablets do not move, and split or merge only for `tablets/restore`; nodes that were down get no hints.

mod admin;
mod answer;
mod bucket;
mod cluster;
mod config;
mod cql;
mod error;
mod fault;
mod fingerprint;
mod hash;
mod load;
mod metrics;
mod native;
mod node;
mod record;
mod repair;
mod replica;
mod rest;
mod retire;
mod roles;
mod rows;
mod schema;
mod server;
mod snapshot;
mod sstable;
mod stream;
mod tablets;
mod task;
mod topology;

pub use cluster::{Cluster, NodeInfo};
pub use config::{Config, Endpoint, Format, Ids};
pub use error::Error;
