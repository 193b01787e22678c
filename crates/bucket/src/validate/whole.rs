//! All nodes of buckets, and the schema files.

use std::collections::BTreeSet;

use catalog::key::{self, Owner, SchemaKey};
use futures::{StreamExt as _, TryStreamExt as _, stream};
use protocol::ClusterId;
use store::Store;

use super::{Check, Named, NodeReport, Report, SchemaFinding, examine};
use crate::{
    Error,
    error::chain,
    listing::{BackupId, Listing},
    schema,
};

/// Nodes looked at at once.
pub const NODES: usize = 2;
/// Schema files read at once.
const SCHEMAS: usize = 8;

/// Checks what `stores` hold of `cluster`, or of all clusters. `listing` is what is there.
///
/// Without a backup to check, nodes of which there are only files, and no manifest, are looked at,
/// too. The bytes of `check.checksum` are shared out among the nodes.
///
/// # Errors
/// Those of the buckets, but not of single objects.
pub async fn all(
    stores: &[Store],
    listing: &Listing,
    cluster: Option<ClusterId>,
    check: &Check<'_>,
) -> Result<Report, Error> {
    let mut places = places(listing, check);
    if check.backup.is_none() {
        for (bucket, store) in stores.iter().enumerate() {
            let owners = owners(store, cluster).await?;
            places.extend(owners.into_iter().map(|owner| (owner, bucket)));
        }
    }
    places.retain(|(owner, _)| {
        let node = check.select.node;
        check.select.dcs.takes(&owner.dc) && node.is_none_or(|node| node == owner.node)
    });
    let share = check
        .checksum
        .map(|bytes| bytes / (places.len().max(1) as u64));
    let check = Check {
        checksum: share,
        ..*check
    };
    let looks = places.iter();
    let looks: Vec<_> = looks
        .map(|(owner, bucket)| examine(&stores[*bucket], owner, &check))
        .collect();
    let mut looks = stream::iter(looks).buffered(NODES);
    let mut report = Report::default();
    let mut named = Named::new();
    while let Some((node, heads)) = looks.try_next().await? {
        report.nodes.push(node);
        for (id, keys) in heads {
            named.entry(id).or_default().extend(keys);
        }
    }
    report.nodes.retain(something);
    schemas(stores, (listing, cluster), &check, named, &mut report).await?;
    Ok(report)
}

/// Whether there is anything of a node.
fn something(node: &NodeReport) -> bool {
    node.manifests + node.scanned_files + node.foreign_files > 0
}

/// The nodes that have manifests, and in which buckets.
fn places(listing: &Listing, check: &Check<'_>) -> BTreeSet<(Owner, usize)> {
    let backups = listing.backups.values();
    let wanted = backups.filter(|backup| check.backup.is_none_or(|id| *id == backup.id));
    let manifests = wanted.flat_map(|backup| &backup.nodes);
    // An unfinished manifest of one backup alone promises nothing.
    let manifests = manifests.filter(|node| check.backup.is_none() || !node.key.temporary);
    manifests
        .map(|node| (node.key.owner.clone(), node.bucket))
        .collect()
}

/// The nodes that have files.
async fn owners(store: &Store, cluster: Option<ClusterId>) -> Result<Vec<Owner>, Error> {
    let clusters = match cluster {
        Some(cluster) => vec![cluster.to_string()],
        None => store.folders(key::COMPONENTS).await?,
    };
    let mut owners = Vec::new();
    for cluster in clusters {
        let below = format!("{}{cluster}/dc/", key::COMPONENTS);
        let Ok(cluster) = cluster.parse() else {
            continue;
        };
        for dc in store.folders(&below).await? {
            for node in store.folders(&format!("{below}{dc}/node/")).await? {
                if let Ok(node) = node.parse() {
                    owners.extend(Owner::new(cluster, &dc, node));
                }
            }
        }
    }
    Ok(owners)
}

/// A schema file that is there.
struct There {
    bucket: usize,
    key: SchemaKey,
}

/// Reads the schema files of the backups that were checked.
async fn schemas(
    stores: &[Store],
    (listing, cluster): (&Listing, Option<ClusterId>),
    check: &Check<'_>,
    named: Named,
    report: &mut Report,
) -> Result<(), Error> {
    let mut there = Vec::new();
    let mut known = BTreeSet::new();
    for (bucket, store) in stores.iter().enumerate() {
        let prefix = cluster.map_or_else(|| key::SCHEMAS.to_owned(), key::schemas_of);
        let mut objects = store.list(&prefix);
        while let Some(object) = objects.try_next().await? {
            let Ok(key) = object.key.parse::<SchemaKey>() else {
                continue;
            };
            let id = BackupId {
                cluster: key.cluster,
                task: key.task,
                tag: key.tag.clone(),
            };
            if check.backup.is_some_and(|wanted| *wanted != id) {
                continue;
            }
            if listing.backups.contains_key(&id) || named.contains_key(&id) {
                known.insert(object.key);
                there.push(There { bucket, key });
            } else if object.written_ms.is_some_and(|ms| ms < check.started_ms) {
                report.lost_schemas += 1;
            }
        }
    }
    report.schemas = there.len() as u64;
    read(stores, there, report).await?;
    let missing = named.into_iter().flat_map(|(id, keys)| {
        let known = &known;
        let keys = keys.into_iter();
        let keys = keys.filter(move |(key, _)| !known.contains(key));
        keys.map(move |(key, by)| (id.clone(), key, by))
    });
    for (id, key, by) in missing {
        if !anywhere(stores, &by.to_string()).await? {
            continue;
        }
        let places: Vec<String> = stores.iter().map(|s| s.location().remote()).collect();
        report.wrong_schemas.push(SchemaFinding {
            key,
            location: places.join(", "),
            snapshot_tag: id.tag,
            cause: "it is not there, though a manifest names it".to_owned(),
        });
    }
    Ok(())
}

async fn read(stores: &[Store], there: Vec<There>, report: &mut Report) -> Result<(), Error> {
    let checks = there.into_iter().map(|There { bucket, key }| async move {
        let store = &stores[bucket];
        (store, schema::check(store, &key).await, key)
    });
    let mut checks = stream::iter(checks).buffered(SCHEMAS);
    while let Some((store, checked, key)) = checks.next().await {
        match checked {
            Ok(()) => {}
            // Removed since it was listed.
            Err(cause) if cause.gone() => {}
            Err(cause) if cause.retry() => return Err(cause),
            Err(cause) => report.wrong_schemas.push(SchemaFinding {
                key: key.to_string(),
                location: store.location().remote(),
                snapshot_tag: key.tag,
                cause: chain(&cause),
            }),
        }
    }
    Ok(())
}

/// Whether some bucket has an object.
async fn anywhere(stores: &[Store], key: &str) -> Result<bool, Error> {
    for store in stores {
        if store.bytes(key).await?.is_some() {
            return Ok(true);
        }
    }
    Ok(false)
}
