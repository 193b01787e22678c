//! The files of a backup: which object each is, and how large.
//!
//! ScyllaDB Manager puts another file in the place of one of the same name by first moving that one
//! to `<name>.<tag>`; so which object a manifest means shows only in a listing of the table's
//! directory.
//!
//! # Memory
//! A few tables at a time, each with its listing: some 100 bytes for each object of one directory.

use std::{collections::BTreeMap, pin::Pin};

use catalog::{
    Filter, IdKind, Name, TableEntry, filter::DcFilter, key::TableDir, manifest::Replication,
    restore::resolve,
};
use futures::{Stream, StreamExt as _, TryStreamExt as _, stream};
use protocol::NodeId;
use store::Store;

use crate::{
    Error,
    listing::{Backup, Listed},
    reading::{self, Reading},
};

/// Directories listed at once.
const LISTINGS: usize = 8;

/// What of a backup.
#[derive(Clone, Debug)]
pub struct Select {
    /// The tables.
    pub filter: Filter,
    /// The datacenters.
    pub dcs: DcFilter,
    /// The node; `None` for all.
    pub node: Option<NodeId>,
}

impl Default for Select {
    /// All of it.
    fn default() -> Self {
        let none: &[&str] = &[];
        Self {
            filter: Filter::new(none).expect("there is no pattern that could be wrong"),
            dcs: DcFilter::new(none).expect("there is no pattern that could be wrong"),
            node: None,
        }
    }
}

impl Select {
    /// The finished nodes that are chosen.
    pub(crate) fn nodes<'a>(&'a self, backup: &'a Backup) -> impl Iterator<Item = &'a Listed> {
        backup.finished().filter(|listed| {
            let owner = &listed.key.owner;
            self.dcs.takes(&owner.dc) && self.node.is_none_or(|node| node == owner.node)
        })
    }
}

/// A table of a backup on one node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TableFiles {
    /// Which of the buckets it lies in.
    pub bucket: usize,
    /// Its directory there.
    pub dir: TableDir,
    /// How it is spread; `None` if the manifest does not say.
    pub replication: Option<Replication>,
    /// Its files that are there.
    pub files: Vec<Component>,
    /// Names of files that the manifest lists and the bucket has not.
    pub missing: Vec<String>,
    /// Keys of ScyllaDB's own manifests.
    pub scylla_manifests: Vec<String>,
}

/// A file of a backup.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Component {
    /// Its name on a node's disk.
    pub name: String,
    /// The object.
    pub key: String,
    /// The object's bytes.
    pub bytes: u64,
    /// The bytes the manifest says, if it does.
    pub listed: Option<u64>,
    /// The CRC-32 the manifest says, if it does.
    pub crc32: Option<u32>,
}

impl Component {
    /// Whether it has the size that the manifest says.
    #[must_use]
    pub fn fits(&self) -> bool {
        self.listed.is_none_or(|bytes| bytes == self.bytes)
    }
}

impl TableFiles {
    /// Kind of the ids of its SSTables; integers if some are.
    #[must_use]
    pub fn ids(&self) -> IdKind {
        let names = self.files.iter().map(|file| file.name.parse::<Name>());
        let integer = names
            .flatten()
            .any(|name| name.id.kind() == IdKind::Integer);
        if integer {
            IdKind::Integer
        } else {
            IdKind::Uuid
        }
    }
}

/// What went wrong on the way through a backup. The rest comes all the same.
#[derive(Debug)]
pub struct Failed {
    /// The manifest whose tables are not all there.
    pub manifest: Listed,
    /// Why.
    pub cause: Error,
}

/// Tables, and what went wrong between them.
pub type Tables<'a> = Pin<Box<dyn Stream<Item = Result<TableFiles, Failed>> + Send + 'a>>;

/// The tables of a backup, a node after the other, in the order of the manifests.
///
/// Tables of a manifest that turns out to be damaged have come already when that shows; then comes
/// what is wrong with it.
pub fn tables<'a>(stores: &'a [Store], backup: &'a Backup, select: &'a Select) -> Tables<'a> {
    let nodes = stream::iter(select.nodes(backup));
    nodes
        .flat_map(move |listed| {
            let store = &stores[listed.bucket];
            let looked = entries(store, listed).try_filter_map(move |entry| {
                let taken = select.filter.takes(&entry.keyspace, &entry.table);
                futures::future::ready(Ok(taken.then_some(entry)))
            });
            let looked = looked.map(move |entry| async move {
                let found = match entry {
                    Ok(entry) => look(store, listed, entry).await,
                    Err(cause) => Err(cause),
                };
                found.map_err(|cause| Failed {
                    manifest: listed.clone(),
                    cause,
                })
            });
            looked.buffered(LISTINGS)
        })
        .boxed()
}

/// How much a backup holds of a table, on all nodes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Held {
    /// Its files.
    pub files: u64,
    /// Their bytes.
    pub bytes: u64,
}

/// How much a backup holds of each table, by keyspace and table, as its manifests say: nothing but
/// these is read.
///
/// # Errors
/// The first that stands in the way.
pub async fn sizes(
    stores: &[Store],
    backup: &Backup,
    select: &Select,
) -> Result<BTreeMap<(String, String), Held>, Error> {
    let mut sizes = BTreeMap::<(String, String), Held>::new();
    for listed in select.nodes(backup) {
        let filter = select.filter.clone();
        let taken = reading::visit(
            &stores[listed.bucket],
            (&listed.key, listed.bytes),
            Vec::new(),
            move |taken, entry| {
                if filter.takes(&entry.keyspace, &entry.table) {
                    let files = entry.files.len() as u64;
                    taken.push(((entry.keyspace, entry.table), files, entry.bytes));
                }
                Ok(())
            },
        );
        for (table, files, bytes) in taken.await?.1 {
            let held = sizes.entry(table).or_default();
            held.files += files;
            held.bytes += bytes;
        }
    }
    Ok(sizes)
}

/// A manifest's tables, and last what is wrong with it, if anything is.
fn entries<'a>(
    store: &'a Store,
    listed: &'a Listed,
) -> impl Stream<Item = Result<TableEntry, Error>> + Send + 'a {
    enum State {
        Fresh,
        Open(Reading),
        Done,
    }
    stream::unfold(State::Fresh, move |mut state| async move {
        loop {
            state = match state {
                State::Fresh => match Reading::begin(store, (&listed.key, listed.bytes)).await {
                    Ok(reading) => State::Open(reading),
                    Err(cause) => return Some((Err(cause), State::Done)),
                },
                State::Open(mut reading) => match reading.next().await {
                    Some(entry) => return Some((Ok(entry), State::Open(reading))),
                    None => match reading.end().await {
                        Ok(_) => State::Done,
                        Err(cause) => return Some((Err(cause), State::Done)),
                    },
                },
                State::Done => return None,
            }
        }
    })
}

async fn look(store: &Store, listed: &Listed, entry: TableEntry) -> Result<TableFiles, Error> {
    let owner = &listed.key.owner;
    let dir = TableDir::new(owner, &entry.keyspace, &entry.table, entry.version)?;
    let lists = entry
        .scylla_manifests
        .iter()
        .map(|name| dir.component(name));
    let mut table = TableFiles {
        bucket: listed.bucket,
        replication: entry.replication,
        scylla_manifests: lists.collect::<Result<_, _>>()?,
        files: Vec::with_capacity(entry.files.len()),
        missing: Vec::new(),
        dir,
    };
    if entry.files.is_empty() {
        return Ok(table);
    }
    let objects = names(store, &table.dir).await?;
    for file in entry.files.iter() {
        match resolve(file.name, &listed.key.tag, &objects) {
            Some((name, bytes)) => table.files.push(Component {
                key: table.dir.component(&name)?,
                name: file.name.to_owned(),
                bytes,
                listed: file.bytes,
                crc32: file.crc32,
            }),
            None => table.missing.push(file.name.to_owned()),
        }
    }
    Ok(table)
}

/// What lies in a directory: names and bytes.
async fn names(store: &Store, dir: &TableDir) -> Result<BTreeMap<String, u64>, Error> {
    let prefix = dir.prefix();
    let mut objects = store.list(&prefix);
    let mut names = BTreeMap::new();
    while let Some(object) = objects.try_next().await? {
        if let Some(name) = object.key.strip_prefix(&prefix) {
            names.insert(name.to_owned(), object.bytes);
        }
    }
    Ok(names)
}
