//! Lists of backups, with an index and without.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::{Context as _, Result, ensure};
use bucket::{
    index::{self, Contents, Item, Query},
    listing,
};
use catalog::{Filter, key::OwnKey};
use testkit::manager::{Backup, BackupMade, Bucket, Cluster, Kind, Table, random_bucket};

use crate::world::{World, count, id, run};

const SEEDS: u64 = 30;

fn all() -> Query {
    Query {
        cluster: None,
        filter: Filter::new::<&str>(&[]).expect("nothing is left out"),
        min: None,
        max: None,
    }
}

/// What a list tells, as plain text.
fn told(items: &[Item]) -> Vec<String> {
    let mut told = Vec::new();
    for item in items {
        for snapshot in &item.snapshot_info {
            told.push(format!(
                "{} {} {} nodes={} size={} {:?}",
                item.cluster_id,
                item.task_id,
                snapshot.snapshot_tag,
                snapshot.nodes,
                snapshot.size,
                snapshot.dcs,
            ));
        }
    }
    told.sort();
    told
}

fn expected(bucket: &Bucket, filter: &Filter) -> Vec<String> {
    let mut expected: Vec<String> = bucket
        .backups
        .iter()
        .filter_map(|made| line(made, filter))
        .collect();
    expected.sort();
    expected
}

fn line(made: &BackupMade, filter: &Filter) -> Option<String> {
    let (mut nodes, mut size, mut dcs) = (0, 0, BTreeSet::new());
    for node in made.nodes.iter().filter(|node| node.manifest.is_some()) {
        let taken = node.tables.iter();
        let taken = taken.filter(|table| filter.takes(&table.keyspace, &table.table));
        let taken: Vec<_> = taken.collect();
        if taken.is_empty() && !node.tables.is_empty() {
            continue;
        }
        nodes += 1;
        dcs.insert(&node.dc);
        size += taken.iter().map(|table| table.bytes()).sum::<u64>();
    }
    let id = &made.id;
    (nodes > 0).then(|| {
        format!(
            "{} {} {} nodes={nodes} size={size} {:?}",
            id.cluster,
            id.task,
            id.tag,
            Vec::from_iter(dcs)
        )
    })
}

fn units(
    bucket: &Bucket,
    filter: &Filter,
) -> BTreeMap<(String, String), BTreeSet<(String, String)>> {
    let mut units = BTreeMap::<_, BTreeSet<_>>::new();
    for made in &bucket.backups {
        if line(made, filter).is_none() {
            continue;
        }
        let unit = units
            .entry((made.id.cluster.clone(), made.id.task.clone()))
            .or_default();
        for node in made.nodes.iter().filter(|node| node.manifest.is_some()) {
            let taken = node.tables.iter();
            let taken = taken.filter(|table| filter.takes(&table.keyspace, &table.table));
            unit.extend(taken.map(|table| (table.keyspace.clone(), table.table.clone())));
        }
    }
    units
}

fn check(contents: &Contents, bucket: &Bucket, filter: &Filter) -> Result<()> {
    let query = Query {
        filter: filter.clone(),
        ..all()
    };
    let items = contents.items(&query);
    let (told, expected) = (told(&items), expected(bucket, filter));
    ensure!(told == expected, "{told:#?}\n{expected:#?}");
    let mut found = BTreeMap::<_, BTreeSet<_>>::new();
    for item in &items {
        let key = (item.cluster_id.to_string(), item.task_id.to_string());
        let unit = found.entry(key).or_default();
        for one in &item.units {
            let tables = one.tables.iter();
            unit.extend(tables.map(|table| (one.keyspace.clone(), table.clone())));
        }
    }
    ensure!(found == units(bucket, filter), "{found:#?}");
    Ok(())
}

#[test]
fn any_bucket_is_listed_as_it_is() -> Result<()> {
    run(async {
        for seed in 0..SEEDS {
            let bucket = random_bucket(seed);
            for world in [World::new(&bucket).await?, World::by_dc(&bucket).await?] {
                one(&world, &bucket)
                    .await
                    .with_context(|| format!("seed {seed}"))?;
            }
        }
        Ok(())
    })
}

async fn one(world: &World, bucket: &Bucket) -> Result<()> {
    let stores = &world.stores;
    let listing = listing::list(stores, None).await?;
    for made in &bucket.backups {
        let backup = listing.backups.get(&id(made));
        let found = backup.map(|backup| {
            let nodes = backup.nodes.iter();
            let nodes = nodes.map(|node| (node.key.owner.node.to_string(), !node.key.temporary));
            nodes.collect::<BTreeMap<_, _>>()
        });
        let nodes = made
            .nodes
            .iter()
            .filter(|n| n.manifest.is_some() || n.temporary.is_some());
        let truth = nodes.map(|node| (node.node.clone(), node.manifest.is_some()));
        let truth: BTreeMap<_, _> = truth.collect();
        ensure!(found.unwrap_or_default() == truth, "{:?}", made.id);
        let complete = backup.is_none_or(listing::Backup::complete);
        ensure!(complete != made.unfinished() || truth.is_empty());
    }
    let foreign = count(bucket, Kind::Foreign, "backup/meta/cluster/");
    if world.path().is_dir() {
        ensure!(listing.foreign == foreign, "{} {foreign}", listing.foreign);
    }
    let filters = [&[][..], &["shop"], &["shop.u*", "!shop.users1"], &["none"]];
    for round in 0..3 {
        let contents = index::read(stores, None).await?;
        ensure!(contents.unreadable.is_empty() && contents.warnings.is_empty());
        for filter in filters {
            check(&contents, bucket, &Filter::new(filter)?)?;
        }
        let finished = bucket.backups.iter().flat_map(|made| &made.nodes);
        let any = finished.into_iter().any(|node| node.manifest.is_some());
        // Only the first has something to remember.
        ensure!(contents.changed() == (any && round == 0), "round {round}");
        contents.save(stores).await?;
    }
    Ok(())
}

/// A cluster of two nodes with two backups.
fn prod() -> (Cluster, String) {
    let mut prod = Cluster::new(7, "prod");
    let nodes = [prod.node("dc1", "r1"), prod.node("dc2", "r1")];
    let users = prod.table(Table::new("shop", "users"));
    let task = prod.task();
    for day in 1..=2 {
        for node in nodes {
            prod.flush(node, users);
        }
        prod.backup(&Backup::new(&task, &format!("sm_2026010{day}000000UTC")));
    }
    (prod, task)
}

fn index_key(cluster: &Cluster) -> String {
    OwnKey::Catalog(cluster.id().parse().expect("an id")).to_string()
}

#[test]
fn an_index_is_no_more_than_a_memory() -> Result<()> {
    run(async {
        let (mut cluster, task) = prod();
        let world = World::new(&cluster.bucket()).await?;
        let stores = &world.stores;
        index::read(stores, None).await?.save(stores).await?;
        ensure!(world.objects()?.contains_key(&index_key(&cluster)));

        // What it remembers is not read again, so a manifest that is broken by now does not show.
        let manifest = cluster.bucket().backups[0].nodes[0]
            .manifest
            .clone()
            .unwrap();
        let whole = std::fs::read(world.path().join(&manifest))?;
        world.put(&manifest, &vec![0; whole.len()])?;
        let contents = index::read(stores, None).await?;
        check(&contents, &cluster.bucket(), &all().filter)?;
        // One of another size is another one.
        world.put(&manifest, &whole[1..])?;
        let contents = index::read(stores, None).await?;
        ensure!(contents.unreadable.len() == 1, "{contents:?}");
        ensure!(contents.unreadable[0].key.to_string() == manifest);
        contents.save(stores).await?;
        world.put(&manifest, &whole)?;

        // Of what is gone and what is new, only the new is read.
        cluster.purge(&["sm_20260101000000UTC"]);
        cluster.backup(&Backup::new(&task, "sm_20260103000000UTC"));
        let bucket = cluster.bucket();
        for key in world
            .objects()?
            .keys()
            .filter(|key| key.starts_with("backup/meta"))
        {
            std::fs::remove_file(world.path().join(key))?;
        }
        bucket.write(&world.path())?;
        let contents = index::read(stores, None).await?;
        check(&contents, &bucket, &all().filter)?;
        ensure!(contents.changed());
        contents.save(stores).await?;
        let contents = index::read(stores, Some(cluster.id().parse()?)).await?;
        check(&contents, &bucket, &all().filter)?;
        ensure!(!contents.changed());
        Ok(())
    })
}

#[test]
fn an_index_that_is_of_no_use_is_made_anew() -> Result<()> {
    run(async {
        let (cluster, _) = prod();
        let (bucket, key) = (cluster.bucket(), index_key(&cluster));
        let world = World::new(&bucket).await?;
        let stores = &world.stores;
        index::read(stores, None).await?.save(stores).await?;
        let good = world.objects()?[&key].clone();
        let other = {
            let mut other = good.clone();
            let middle = other.len() / 2;
            other[middle] ^= 0x10;
            other
        };
        for wrong in [&b""[..], b"{}", &good[..good.len() / 2], &other] {
            world.put(&key, wrong)?;
            let contents = index::read(stores, None).await?;
            check(&contents, &bucket, &all().filter)?;
            let [warning] = &contents.warnings[..] else {
                anyhow::bail!("{:?}", contents.warnings);
            };
            ensure!(warning.contains(&key) && warning.contains("localstorage:backups"));
            contents.save(stores).await?;
            ensure!(world.objects()?[&key] == good);
        }
        Ok(())
    })
}

#[test]
fn lists_have_a_first_and_a_last_day() -> Result<()> {
    run(async {
        let (cluster, _) = prod();
        let world = World::new(&cluster.bucket()).await?;
        let contents = index::read(&world.stores, None).await?;
        let tags = |min: &str, max: &str| -> Result<Vec<String>> {
            let query = Query {
                min: (!min.is_empty()).then(|| min.parse()).transpose()?,
                max: (!max.is_empty()).then(|| max.parse()).transpose()?,
                ..all()
            };
            let items = contents.items(&query);
            let infos = items.iter().flat_map(|item| &item.snapshot_info);
            Ok(infos.map(|info| info.snapshot_tag.to_string()).collect())
        };
        let (first, second) = ("sm_20260101000000UTC", "sm_20260102000000UTC");
        ensure!(tags("", "")? == [second, first], "the newest comes first");
        ensure!(tags(second, "")? == [second]);
        ensure!(tags("", first)? == [first]);
        ensure!(tags("sm_20260102000001UTC", "")?.is_empty());
        let nobody = Query {
            cluster: Some("3fa1c2de-0000-4000-8000-000000000001".parse()?),
            ..all()
        };
        ensure!(contents.items(&nobody).is_empty());
        Ok(())
    })
}
