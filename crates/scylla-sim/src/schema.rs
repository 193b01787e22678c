//! Keyspaces and tables, and the file in which a cluster remembers them.

pub(crate) mod definition;
pub(crate) mod options;

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::cql::types::Udts;
use crate::error::Error;
use crate::roles::Access;
use crate::topology::{self, Member, Placement, Replication};
use definition::Definition;

/// What a table is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Kind {
    #[default]
    Table,
    View,
    /// The backing table of a secondary index, `<index>_index`.
    Index,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Table {
    pub(crate) id: Uuid,
    pub(crate) kind: Kind,
    /// The table a view or index is of.
    pub(crate) base: Option<String>,
    /// CompressionInfo.db instead of CRC.db.
    pub(crate) compressed: bool,
    /// Replicas of each tablet; empty for vnodes.
    pub(crate) tablets: Vec<Vec<usize>>,
    /// `min_tablet_count` and `max_tablet_count`, which are always the same here.
    #[serde(default)]
    pub(crate) hint: Option<usize>,
    #[serde(default)]
    pub(crate) definition: Definition,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Keyspace {
    pub(crate) replication: Replication,
    pub(crate) tablets: bool,
    /// Every node has its own rows.
    pub(crate) local: bool,
    /// Not a user's.
    pub(crate) system: bool,
    pub(crate) tables: BTreeMap<String, Table>,
    /// `SimpleStrategy`: its factor is in `replication` under `replication_factor`.
    #[serde(default)]
    pub(crate) simple: bool,
    #[serde(default = "yes")]
    pub(crate) durable_writes: bool,
    /// Tablets of tables that do not say.
    #[serde(default)]
    pub(crate) initial: Option<usize>,
    #[serde(default)]
    pub(crate) types: Udts,
}

fn yes() -> bool {
    true
}

impl Keyspace {
    /// One without tables.
    pub(crate) fn new(replication: Replication, tablets: bool) -> Self {
        Self {
            replication,
            tablets,
            local: false,
            system: false,
            tables: BTreeMap::new(),
            simple: false,
            durable_writes: true,
            initial: None,
            types: Udts::new(),
        }
    }

    /// Replicas of each row in all datacenters.
    pub(crate) fn factor(&self) -> usize {
        self.replication.values().sum()
    }
}

/// All a cluster knows of itself besides its rows.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Model {
    pub(crate) cluster_name: String,
    pub(crate) api_port: u16,
    /// 0: not yet known.
    #[serde(default)]
    pub(crate) cql_port: u16,
    pub(crate) members: Vec<Member>,
    pub(crate) keyspaces: BTreeMap<String, Keyspace>,
    pub(crate) schema_version: Uuid,
    /// Of tablets; survives restarts, as in the real thing.
    pub(crate) balancing: bool,
    /// Roles, rights and service levels.
    #[serde(default)]
    pub(crate) access: Access,
}

/// Keyspaces every cluster has: name, whether local, tables.
const SYSTEM: &[(&str, bool, &[&str])] = &[
    ("system", true, &["local", "peers"]),
    ("system_schema", true, &["tables"]),
    ("system_distributed", false, &["view_build_status"]),
    ("system_traces", false, &["sessions"]),
];

impl Model {
    /// A new cluster with nothing but system keyspaces.
    pub(crate) fn new(cluster_name: &str, api_port: u16, members: Vec<Member>) -> Self {
        let dcs: std::collections::BTreeSet<_> = members.iter().map(|m| m.dc.clone()).collect();
        let mut keyspaces = BTreeMap::new();
        for (name, local, tables) in SYSTEM {
            let replication: Replication = dcs.iter().map(|dc| (dc.clone(), 2)).collect();
            let tables = tables.iter().map(|table| {
                // The ids of system tables are the same in every cluster.
                let seed = crate::hash::hash(7, format!("{name}.{table}").as_bytes());
                let id = uuid::Builder::from_random_bytes((u128::from(seed) << 64).to_be_bytes());
                let table_ = Table {
                    id: id.into_uuid(),
                    kind: Kind::Table,
                    base: None,
                    compressed: false,
                    tablets: Vec::new(),
                    hint: None,
                    definition: Definition::default(),
                };
                ((*table).to_owned(), table_)
            });
            let tables = tables.collect();
            keyspaces.insert(
                (*name).to_owned(),
                Keyspace {
                    local: *local,
                    system: true,
                    tables,
                    ..Keyspace::new(replication, false)
                },
            );
        }
        Self {
            cluster_name: cluster_name.to_owned(),
            api_port,
            cql_port: 0,
            members,
            keyspaces,
            schema_version: Uuid::new_v4(),
            balancing: true,
            access: Access::default(),
        }
    }

    /// The cluster kept in `dir`, if there is one.
    pub(crate) fn load(dir: &Path) -> Result<Option<Self>, Error> {
        let path = dir.join("cluster.json");
        match fs::read(&path) {
            Ok(text) => serde_json::from_slice(&text)
                .map(Some)
                .map_err(|e| Error::settings(format!("{} is not ours: {e}", path.display()))),
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => Ok(None),
            Err(e) => Err(Error::file("read", &path, e)),
        }
    }

    /// Replaces the file in one step.
    pub(crate) fn save(&self, dir: &Path) -> Result<(), Error> {
        let path = dir.join("cluster.json");
        let new = dir.join("cluster.json.new");
        let text = serde_json::to_vec_pretty(self).expect("plain data");
        fs::write(&new, text).map_err(|e| Error::file("write", &new, e))?;
        fs::rename(&new, &path).map_err(|e| Error::file("replace", &path, e))
    }

    pub(crate) fn table(&self, keyspace: &str, table: &str) -> Option<(&Keyspace, &Table)> {
        let keyspace = self.keyspaces.get(keyspace)?;
        Some((keyspace, keyspace.tables.get(table)?))
    }

    /// Who owns the rows of `table`.
    pub(crate) fn placement(&self, keyspace: &Keyspace, table: &Table) -> Placement {
        if keyspace.local {
            Placement::local()
        } else if keyspace.tablets {
            Placement::tablets(&table.tablets)
        } else if keyspace.simple {
            Placement::simple(&self.members, keyspace.factor())
        } else {
            Placement::vnodes(&self.members, &keyspace.replication)
        }
    }

    /// Makes a new table; the schema version changes.
    pub(crate) fn create_table(
        &mut self,
        keyspace: &str,
        name: &str,
        wanted: NewTable,
    ) -> Result<Uuid, Error> {
        let ks = self
            .keyspaces
            .get(keyspace)
            .ok_or_else(|| no_keyspace(keyspace))?;
        if ks.tables.contains_key(name) {
            return Err(Error::settings(format!("table `{keyspace}.{name}` exists")));
        }
        if wanted.kind != Kind::Table
            && !wanted
                .base
                .as_ref()
                .is_some_and(|base| ks.tables.contains_key(base))
        {
            return Err(Error::settings(
                "a view or index needs a `base` table".to_owned(),
            ));
        }
        let tablets = if ks.tablets {
            topology::place_tablets(
                &self.members,
                &ks.replication,
                wanted.tablets.or(ks.initial).unwrap_or(TABLETS),
            )?
        } else {
            Vec::new()
        };
        let id = wanted.id.unwrap_or_else(time_uuid);
        let hint = wanted.tablets.filter(|_| ks.tablets);
        let NewTable {
            kind,
            base,
            compressed,
            mut definition,
            ..
        } = wanted;
        if !definition.options.is_set("tombstone_gc") {
            let repair = ks.tablets && ks.factor() > 1;
            definition
                .options
                .set_gc(if repair { "repair" } else { "timeout" });
        }
        let ks = self.keyspaces.get_mut(keyspace).expect("just looked up");
        ks.tables.insert(
            name.to_owned(),
            Table {
                id,
                kind,
                base,
                compressed,
                tablets,
                hint,
                definition,
            },
        );
        self.schema_version = Uuid::new_v4();
        Ok(id)
    }
}

/// A table to be made.
pub(crate) struct NewTable {
    pub(crate) id: Option<Uuid>,
    pub(crate) kind: Kind,
    pub(crate) base: Option<String>,
    pub(crate) compressed: bool,
    /// None: as the keyspace says or [`TABLETS`], without a hint.
    pub(crate) tablets: Option<usize>,
    pub(crate) definition: Definition,
}

/// Tablets of a table that does not say.
const TABLETS: usize = 8;

pub(crate) fn no_keyspace(keyspace: &str) -> Error {
    Error::settings(format!("no keyspace `{keyspace}`"))
}

/// A version-1 UUID of now, as the ids of tables are.
pub(crate) fn time_uuid() -> Uuid {
    crate::sstable::name::uuid_at(crate::sstable::name::stamp(), rand_lsb())
}

fn rand_lsb() -> u64 {
    let (_, low) = Uuid::new_v4().as_u64_pair();
    low
}

/// Words that are no names unless quoted.
const RESERVED: &[&str] = &[
    "add",
    "allow",
    "alter",
    "and",
    "apply",
    "asc",
    "authorize",
    "batch",
    "begin",
    "by",
    "cast",
    "columnfamily",
    "create",
    "default",
    "delete",
    "desc",
    "describe",
    "drop",
    "entries",
    "execute",
    "from",
    "full",
    "grant",
    "if",
    "in",
    "index",
    "infinity",
    "insert",
    "into",
    "is",
    "keyspace",
    "limit",
    "mbean",
    "mbeans",
    "materialized",
    "modify",
    "nan",
    "norecursive",
    "not",
    "null",
    "of",
    "on",
    "or",
    "order",
    "primary",
    "rename",
    "replace",
    "revoke",
    "schema",
    "select",
    "set",
    "table",
    "to",
    "token",
    "truncate",
    "unlogged",
    "unset",
    "update",
    "use",
    "using",
    "view",
    "where",
    "with",
];

pub(crate) fn reserved(word: &str) -> bool {
    RESERVED.contains(&word)
}

/// A name as it is written in a statement: in double quotes if it has to be.
pub(crate) fn name(name: &str) -> String {
    let plain = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_';
    if name.starts_with(|c: char| c.is_ascii_lowercase())
        && name.chars().all(plain)
        && !reserved(name)
    {
        return name.to_owned();
    }
    format!("\"{}\"", name.replace('"', "\"\""))
}

/// The index's name as users know it, from that of its backing table.
pub(crate) fn logical_index(name: &str) -> &str {
    name.strip_suffix("_index").unwrap_or(name)
}
