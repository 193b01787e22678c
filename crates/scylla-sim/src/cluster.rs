//! The cluster as a whole: schema, nodes, and the life of its servers.

use std::collections::HashMap;
use std::fs;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Arc, Mutex, RwLock};
use std::time::{Instant, SystemTime};

use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use uuid::Uuid;

use crate::admin;
use crate::answer::Fail;
use crate::config::Config;
use crate::cql;
use crate::error::Error;
use crate::fault::Faults;
use crate::load;
use crate::node::Node;
use crate::record::Recorder;
use crate::schema::{Kind, Model, Table};
use crate::server::{self, Doors};
use crate::tablets::Running;
use crate::topology::Placement;

/// Everything the nodes' servers and the admin server share.
#[derive(Debug)]
pub(crate) struct Sim {
    pub(crate) config: Config,
    pub(crate) nodes: Vec<Arc<Node>>,
    /// As it is now. Whoever reads has it as it was then, and holds up nobody.
    model: RwLock<Arc<Model>>,
    /// Held while the model is changed.
    changing: Mutex<()>,
    placements: Mutex<Placements>,
    pub(crate) faults: Faults,
    pub(crate) recorder: Recorder,
    pub(crate) doors: Doors,
    /// Requests and background work; they go on when a client hangs up.
    pub(crate) tracker: TaskTracker,
    pub(crate) stop: CancellationToken,
    /// Last timestamp given to a row.
    clock: AtomicI64,
    pub(crate) started: Instant,
    /// Tablet-aware restores in flight, by table.
    pub(crate) restores: Mutex<HashMap<Uuid, Arc<Running>>>,
    /// Build states of views other than `SUCCESS`, by keyspace and view.
    pub(crate) view_builds: Mutex<HashMap<(String, String), String>>,
    /// When the last repair of a table's every replica began, seconds.
    pub(crate) repaired: Mutex<HashMap<Uuid, i64>>,
    /// What goes on between the CQL ports of all nodes.
    pub(crate) cql: cql::Hub,
}

/// Who owns what by a model, as far as anybody asked.
#[derive(Debug)]
struct Placements {
    of: Arc<Model>,
    known: HashMap<Uuid, Arc<Placement>>,
}

/// A table of the schema, looked up.
#[derive(Clone, Debug)]
pub(crate) struct Target {
    pub(crate) keyspace: String,
    pub(crate) name: String,
    pub(crate) id: Uuid,
    pub(crate) kind: Kind,
    /// Number of tablets; 0 for vnodes.
    pub(crate) tablets: usize,
    pub(crate) placement: Arc<Placement>,
}

impl Sim {
    pub(crate) fn model(&self) -> Arc<Model> {
        Arc::clone(&self.model.read().expect("no panic while held"))
    }

    /// Changes the model and saves it.
    pub(crate) fn change<T>(
        &self,
        change: impl FnOnce(&mut Model) -> Result<T, Error>,
    ) -> Result<T, Error> {
        self.revise(change)
    }

    /// Changes the model and saves it; a change that fails changes nothing.
    pub(crate) fn revise<T, E: From<Error>>(
        &self,
        change: impl FnOnce(&mut Model) -> Result<T, E>,
    ) -> Result<T, E> {
        let _alone = self.changing.lock().expect("no panic while held");
        let mut next = Model::clone(&self.model());
        let result = change(&mut next)?;
        next.save(&self.config.dir)?;
        *self.model.write().expect("no panic while held") = Arc::new(next);
        Ok(result)
    }

    /// Finds a table, or says what ScyllaDB says when there is none.
    pub(crate) fn target(&self, keyspace: &str, name: &str) -> Result<Target, Fail> {
        let model = self.model();
        if !model.keyspaces.contains_key(keyspace) {
            return Err(Fail::keyspace(keyspace));
        }
        let (ks, table) = model
            .table(keyspace, name)
            .ok_or_else(|| Fail::table(keyspace, name))?;
        let mut placements = self.placements.lock().expect("no panic while held");
        // Who owns what may have changed.
        if !Arc::ptr_eq(&placements.of, &model) {
            *placements = Placements {
                of: Arc::clone(&model),
                known: HashMap::new(),
            };
        }
        let placement = placements
            .known
            .entry(table.id)
            .or_insert_with(|| Arc::new(model.placement(ks, table)));
        Ok(Target {
            keyspace: keyspace.to_owned(),
            name: name.to_owned(),
            id: table.id,
            kind: table.kind,
            tablets: table.tablets.len(),
            placement: Arc::clone(placement),
        })
    }

    /// Changes a table of the schema.
    pub(crate) fn alter<T>(
        &self,
        keyspace: &str,
        name: &str,
        change: impl FnOnce(&mut Table) -> T,
    ) -> Result<T, Error> {
        self.change(|model| {
            let found = model.keyspaces.get_mut(keyspace);
            let table = found
                .and_then(|ks| ks.tables.get_mut(name))
                .ok_or_else(|| Error::settings(format!("no table `{keyspace}.{name}`")))?;
            let result = change(table);
            model.schema_version = Uuid::new_v4();
            Ok(result)
        })
    }

    /// Who owns the rows of a replica; local if its table is gone.
    pub(crate) fn placement(&self, replica: &crate::replica::Replica) -> Arc<Placement> {
        match self.target(&replica.keyspace, &replica.table) {
            Ok(target) => target.placement,
            Err(_) => Arc::new(Placement::local()),
        }
    }

    /// A row timestamp above all before, microseconds.
    pub(crate) fn stamp(&self) -> i64 {
        let now = SystemTime::now()
            .duration_since(SystemTime::UNIX_EPOCH)
            .unwrap_or_default();
        let now = i64::try_from(now.as_micros()).unwrap_or(i64::MAX);
        let before = self
            .clock
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |last| {
                Some(now.max(last + 1))
            })
            .expect("always given a value");
        now.max(before + 1)
    }

    /// A node by its number (from 1), address or host id.
    pub(crate) fn node(&self, which: &str) -> Option<&Arc<Node>> {
        self.nodes.iter().find(|node| {
            (node.index + 1).to_string() == which
                || node.member.address.to_string() == which
                || node.member.host_id.to_string() == which
        })
    }
}

/// What a test needs to know of a node.
#[derive(Clone, Debug, serde::Serialize)]
pub struct NodeInfo {
    /// From 1; the admin API takes it, the address or the host id.
    pub number: usize,
    /// Loopback address, without port.
    pub address: Ipv4Addr,
    /// `http://<address>:<port>`.
    pub api: String,
    /// As in `/storage_service/host_id`.
    pub host_id: Uuid,
    /// Datacenter.
    pub dc: String,
    /// Rack.
    pub rack: String,
    /// Its data directory, with keyspaces as folders.
    pub data: PathBuf,
}

/// A running simulated cluster. Dropping it closes all ports; [`Self::shutdown`] also flushes and waits.
#[derive(Debug)]
pub struct Cluster {
    sim: Arc<Sim>,
    admin: SocketAddr,
    api_port: u16,
}

impl Cluster {
    /// Makes a cluster, or opens the one in `config.dir` again, and serves until shut down.
    ///
    /// # Errors
    /// When addresses are taken, the directory cannot be used, or the configuration makes no sense.
    pub async fn start(config: Config) -> Result<Self, Error> {
        fs::create_dir_all(&config.dir).map_err(|e| Error::file("make", &config.dir, e))?;
        let saved = Model::load(&config.dir)?;
        let fresh = saved.is_none();
        let (model, ports) = server::bind(&config, saved).await?;
        let api_port = model.api_port;
        let sim = Arc::new(assemble(config, model)?);
        if fresh {
            load::system_tables(&sim)?;
        }
        sim.model().save(&sim.config.dir)?;
        for (node, ports) in sim.nodes.iter().zip(ports) {
            sim.doors.open(&sim, node, ports).await;
        }
        cql::view::resume(&sim);
        let admin = admin::serve(&sim).await?;
        Ok(Self {
            sim,
            admin,
            api_port,
        })
    }

    /// `http://127.0.0.1:<port>` of the admin API.
    pub fn admin_url(&self) -> String {
        format!("http://{}", self.admin)
    }

    /// All nodes, by number.
    pub fn nodes(&self) -> Vec<NodeInfo> {
        self.sim
            .nodes
            .iter()
            .map(|node| info(node, self.api_port))
            .collect()
    }

    /// Stops serving, waits for requests in hand, flushes memtables.
    ///
    /// # Errors
    /// When a memtable cannot be written.
    pub async fn shutdown(self) -> Result<(), Error> {
        self.sim.stop.cancel();
        self.sim.doors.close_all().await;
        self.sim.tracker.close();
        self.sim.tracker.wait().await;
        for node in &self.sim.nodes {
            let replicas: Vec<_> = node
                .replicas
                .read()
                .expect("no panic while held")
                .values()
                .cloned()
                .collect();
            for replica in replicas {
                let placement = self.sim.placement(&replica);
                replica
                    .flush(&placement)
                    .map_err(|e| Error::file("flush", &replica.dir, e))?;
            }
        }
        Ok(())
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        self.sim.stop.cancel();
    }
}

pub(crate) fn info(node: &Node, api_port: u16) -> NodeInfo {
    NodeInfo {
        number: node.index + 1,
        address: node.member.address,
        api: format!("http://{}:{api_port}", node.member.address),
        host_id: node.member.host_id,
        dc: node.member.dc.clone(),
        rack: node.member.rack.clone(),
        data: node.data.clone(),
    }
}

/// The nodes with their tables, not yet serving.
fn assemble(mut config: Config, model: Model) -> Result<Sim, Error> {
    config.dir = fs::canonicalize(&config.dir).map_err(|e| Error::file("find", &config.dir, e))?;
    let mut nodes = Vec::new();
    for (index, member) in model.members.iter().enumerate() {
        let node = Node::new(&config, index, member, (model.api_port, model.cql_port));
        for (name, keyspace) in &model.keyspaces {
            for (table_name, table) in &keyspace.tables {
                node.open_table(name, table_name, table)
                    .map_err(|e| Error::file("open tables in", &node.data, e))?;
            }
        }
        nodes.push(Arc::new(node));
    }
    let model = Arc::new(model);
    Ok(Sim {
        config,
        doors: Doors::new(nodes.len()),
        nodes,
        placements: Mutex::new(Placements {
            of: Arc::clone(&model),
            known: HashMap::new(),
        }),
        model: RwLock::new(model),
        changing: Mutex::default(),
        faults: Faults::default(),
        recorder: Recorder::default(),
        tracker: TaskTracker::new(),
        stop: CancellationToken::new(),
        clock: AtomicI64::new(0),
        started: Instant::now(),
        restores: Mutex::default(),
        view_builds: Mutex::default(),
        repaired: Mutex::default(),
        cql: cql::Hub::default(),
    })
}
