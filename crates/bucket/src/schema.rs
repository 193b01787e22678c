//! The schema that a backup came with.
//!
//! It may be of three kinds, and there may be more than one: rows of CQL, tables of DynamoDB's API
//! (Alternator), and an archive of `.cql` files that ScyllaDB Manager no longer writes. The last is
//! only named.

use std::collections::BTreeMap;

use catalog::{
    key::{self, SchemaKey, SchemaKind},
    schema::{Alternator, Row, read_alternator, read_cql},
};
use futures::TryStreamExt as _;
use protocol::Location;
use store::Store;

use crate::{
    Error,
    listing::{Backup, BackupId},
    reading,
};

/// The schema files of a backup.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Schemas {
    /// Rows of `DESCRIBE SCHEMA WITH INTERNALS`.
    pub cql: Option<Found<Vec<Row>>>,
    /// Tables of DynamoDB's API.
    pub alternator: Option<Found<Alternator>>,
    /// A compressed `tar` archive, which is not read.
    pub legacy: Option<Found<()>>,
}

/// A schema file.
#[derive(Clone, Debug, PartialEq)]
pub struct Found<T> {
    /// Where it lies.
    pub location: Location,
    /// Its key.
    pub key: SchemaKey,
    /// What it holds.
    pub content: T,
}

/// Reads the schema files of a backup.
///
/// # Errors
/// [`Error::NoSchema`] if there is none, [`Error::Schema`] if one cannot be read.
pub async fn read(stores: &[Store], backup: &Backup) -> Result<Schemas, Error> {
    let mut schemas = Schemas::default();
    for (key, places) in find(stores, &backup.id).await? {
        let mut last = Ok(());
        // One copy that can be read is enough.
        for store in places {
            last = add(&mut schemas, store, &key).await;
            if last.is_ok() {
                break;
            }
        }
        last?;
    }
    if schemas == Schemas::default() {
        return Err(Error::NoSchema {
            tag: backup.id.tag.clone(),
            listed: named(stores, backup).await,
        });
    }
    Ok(schemas)
}

async fn add(schemas: &mut Schemas, store: &Store, key: &SchemaKey) -> Result<(), Error> {
    match key.kind {
        SchemaKind::Cql => schemas.cql = Some(found(store, key, cql(store, key).await?)),
        SchemaKind::Alternator => {
            let content = alternator(store, key).await?;
            schemas.alternator = Some(found(store, key, content));
        }
        SchemaKind::Legacy => schemas.legacy = Some(found(store, key, ())),
    }
    Ok(())
}

fn found<T>(store: &Store, key: &SchemaKey, content: T) -> Found<T> {
    Found {
        location: store.location().clone(),
        key: key.clone(),
        content,
    }
}

/// Keys of the schema files of a backup: the one in CQL first, if there is one.
///
/// # Errors
/// Those of the buckets.
pub async fn keys(stores: &[Store], id: &BackupId) -> Result<Vec<SchemaKey>, Error> {
    let mut keys: Vec<SchemaKey> = find(stores, id).await?.into_keys().collect();
    keys.sort_by_key(|key| key.kind != SchemaKind::Cql);
    Ok(keys)
}

/// The schema files of a backup, and the buckets each lies in.
async fn find<'a>(
    stores: &'a [Store],
    id: &BackupId,
) -> Result<BTreeMap<SchemaKey, Vec<&'a Store>>, Error> {
    let below = key::schemas_of(id.cluster);
    let prefix = format!("{below}task_{}_tag_{}_", id.task, id.tag);
    let mut found = BTreeMap::<SchemaKey, Vec<&Store>>::new();
    for store in stores {
        let mut objects = store.list(&prefix);
        while let Some(object) = objects.try_next().await? {
            if let Ok(key) = object.key.parse() {
                found.entry(key).or_default().push(store);
            }
        }
    }
    Ok(found)
}

/// The schema file that the backup's manifests name.
async fn named(stores: &[Store], backup: &Backup) -> String {
    let Some(listed) = backup.finished().next() else {
        return String::new();
    };
    let at = (&listed.key, listed.bytes);
    let read = reading::visit(&stores[listed.bucket], at, (), |(), _| Ok(())).await;
    read.map(|(head, ())| head.schema).unwrap_or_default()
}

async fn cql(store: &Store, key: &SchemaKey) -> Result<Vec<Row>, Error> {
    let (body, key) = (store.get(&key.to_string()).await?, key.clone());
    let read = tokio::task::spawn_blocking(move || read_cql(&body[..], &key)).await;
    Ok(read.expect("reading a schema does not panic")?)
}

async fn alternator(store: &Store, key: &SchemaKey) -> Result<Alternator, Error> {
    let (body, key) = (store.get(&key.to_string()).await?, key.clone());
    let read = tokio::task::spawn_blocking(move || read_alternator(&body[..], &key)).await;
    Ok(read.expect("reading a schema does not panic")?)
}

/// Makes sure that a schema file is there and can be read. An archive only has to be there.
///
/// # Errors
/// Why not.
pub async fn check(store: &Store, key: &SchemaKey) -> Result<(), Error> {
    match key.kind {
        SchemaKind::Cql => cql(store, key).await.map(drop),
        SchemaKind::Alternator => alternator(store, key).await.map(drop),
        SchemaKind::Legacy => {
            let text = key.to_string();
            match store.bytes(&text).await? {
                Some(_) => Ok(()),
                None => Err(store::Error::NotFound {
                    key: text,
                    location: store.location().remote(),
                }
                .into()),
            }
        }
    }
}
