//! At the end of a backup, what need not be kept is gone, and nothing else.

use std::{collections::BTreeSet, io::Read as _, time::Duration};

use anyhow::{Context as _, Result, ensure};
use bucket::{
    coverage::{self, Copies, Source},
    listing, pins,
};
use catalog::{Filter, retention::Pin};
use flate2::read::GzDecoder;
use futures::TryStreamExt as _;
use reqwest::Method;
use serde_json::{Value, json};
use store::Stores;
use testkit::{eventually, s3::SeaweedFs};
use tests::{Options, Service, Shape, Store, TableSpec, World, compare};

const LIMIT: Duration = Duration::from_secs(120);

pub(crate) fn table() -> TableSpec {
    TableSpec {
        keyspace: "shop".to_owned(),
        name: "users".to_owned(),
        tablets: false,
        copies: 2,
    }
}

/// The world's bucket, as anyone sees it.
pub(crate) async fn bucket(world: &World) -> Result<store::Store> {
    let Store::S3(s3) = &world.store else {
        unreachable!("the default store is S3")
    };
    let mut settings = store::Settings::default();
    settings.s3.endpoint = Some(s3.endpoint());
    settings.s3.access_key_id = Some(SeaweedFs::ACCESS_KEY.to_owned());
    settings.s3.secret_access_key = Some(SeaweedFs::SECRET_KEY.into());
    Ok(Stores::new(settings)?
        .open(&world.store.location().parse()?)
        .await?)
}

/// What lies in the bucket of a cluster's backups, and what their manifests, read by nothing of
/// Thetis, say lies there.
struct Held {
    tags: BTreeSet<String>,
    components: BTreeSet<String>,
    listed: BTreeSet<String>,
    unfinished: usize,
}

async fn held(store: &store::Store) -> Result<Held> {
    let mut held = Held {
        tags: BTreeSet::new(),
        components: BTreeSet::new(),
        listed: BTreeSet::new(),
        unfinished: 0,
    };
    let keys: Vec<String> = store
        .list("backup/")
        .map_ok(|object| object.key)
        .try_collect()
        .await?;
    for key in keys {
        if key.starts_with("backup/sst/") {
            held.components.insert(key);
        } else if key.ends_with(".tmp") {
            held.unfinished += 1;
        } else if key.starts_with("backup/meta/") {
            let body = store.get(&key).await?;
            let mut text = String::new();
            GzDecoder::new(&body[..]).read_to_string(&mut text)?;
            let manifest: Value = serde_json::from_str(&text)?;
            let told = |name: &str| -> Result<&str> {
                manifest[name]
                    .as_str()
                    .with_context(|| format!("`{name}` of {key}"))
            };
            held.tags.insert(told("snapshot_tag")?.to_owned());
            let node = format!(
                "backup/sst/cluster/{}/dc/{}/node/{}",
                told("cluster_id")?,
                told("dc")?,
                told("node_id")?
            );
            for table in manifest["index"].as_array().context("an index")? {
                let of = |name: &str| table[name].as_str().unwrap_or_default();
                let dir = format!(
                    "{node}/keyspace/{}/table/{}/{}",
                    of("keyspace"),
                    of("table"),
                    of("version")
                );
                let files = ["files", "scylla_manifests"].map(|list| table[list].as_array());
                for name in files.into_iter().flatten().flatten() {
                    let name = name.as_str().context("a name")?;
                    held.listed.insert(format!("{dir}/{name}"));
                }
            }
        }
    }
    Ok(held)
}

/// These backups are there, whole, and nothing else is.
pub(crate) async fn whole(store: &store::Store, tags: &[&String]) -> Result<()> {
    let held = held(store).await?;
    let expected: BTreeSet<String> = tags.iter().map(|tag| (*tag).clone()).collect();
    ensure!(held.tags == expected, "{:?}, not {expected:?}", held.tags);
    ensure!(
        held.unfinished == 0,
        "{} manifests are unfinished",
        held.unfinished
    );
    let lost: Vec<_> = held.listed.difference(&held.components).collect();
    ensure!(lost.is_empty(), "listed and not there: {lost:?}");
    let left: Vec<_> = held.components.difference(&held.listed).collect();
    ensure!(left.is_empty(), "there and not listed: {left:?}");
    Ok(())
}

/// The manifests tell of every range of tokens that so many nodes hold it.
async fn covered(store: &store::Store, tag: &str, copies: u32) -> Result<()> {
    let stores = [store.clone()];
    let listing = listing::list(&stores, None).await?;
    let backup = listing.choose(&tag.parse()?, None)?;
    let all = Filter::new::<&str>(&[])?;
    let coverage = coverage::of(&stores, backup, &all).await?;
    ensure!(
        !coverage.lacks() && coverage.nodes.len() == 3,
        "{coverage:?}"
    );
    for group in &coverage.groups {
        ensure!(group.source == Source::Ranges, "{group:?}");
        let whole = |held: &Copies| held.copies == copies && held.percent > 99.99;
        ensure!(
            group.copies.len() == 1 && whole(&group.copies[0]),
            "{group:?}"
        );
    }
    ensure!(!coverage.groups.is_empty(), "nothing is told");
    Ok(())
}

#[tokio::test]
async fn older_backups_go_and_what_is_kept_restores() -> Result<()> {
    let mut world = World::start(Options::default()).await?;
    let sim = world.add_cluster(Shape::new("full", 3), 1).await?;
    world.sims[sim].create(&[table()]).await?;
    world.sims[sim].load(&table(), 1, 128 << 10, 3).await?;
    let host = world.sims[sim].nodes[0].address.clone();
    let cluster = world.api.add_cluster("full", &host).await?;
    world.api.workers(&cluster, 3, 3).await?;
    let store = bucket(&world).await?;

    let location = world.store.location();
    let properties = json!({"location": [location], "retention": 2});
    let task = world.api.submit(&cluster, "backup", properties).await?;
    let mut tags = vec![world.api.ended(&task, LIMIT).await?.done()?.tag()];
    let mut removed = Vec::new();
    let mut kept = None;
    for round in 2..=5 {
        // What is written anew leaves files behind that only older backups have.
        let place = json!({"keyspace": "shop", "table": "users"});
        world.sims[sim]
            .admin(Method::POST, "/compact", Some(place))
            .await?;
        world.sims[sim].load(&table(), round, 64 << 10, 1).await?;
        if round == 2 {
            let pin = Pin {
                cluster: cluster.parse()?,
                tag: tags[0].parse()?,
                reason: String::new(),
                since_ms: 0,
            };
            pins::put(&store, &pin).await?;
        }
        world
            .api
            .ok(Method::PUT, &format!("{task}/start?continue=false"), None)
            .await?;
        let ended = world.api.ended(&task, LIMIT).await?.done()?;
        ensure!(ended.cause.is_empty(), "{}", ended.cause);
        tags.push(ended.tag());
        removed.push(ended.progress["removed"]["backups"].as_u64());
        if round == 4 {
            kept = Some(world.sims[sim].fingerprints().await?);
        }
    }
    ensure!(
        removed == [Some(0), Some(0), Some(1), Some(1)],
        "{removed:?}"
    );
    let expected = [&tags[0], &tags[3], &tags[4]];
    whole(&store, &expected).await?;

    // What is pinned, or the last, is not deleted; what is not there, neither.
    let backups = format!("/cluster/{cluster}/backups");
    let delete = |tag: &str, more: &str| format!("{backups}?snapshot_tags={tag}{more}");
    for (path, status, says) in [
        (delete(&tags[0], ""), 409, "is pinned"),
        (delete(&tags[1], ""), 404, "there is no backup"),
        (delete(&tags.join(","), "&dry_run=true"), 404, &*tags[2]),
        (delete("sm_2026", ""), 400, "`snapshot_tags`"),
        (backups.clone(), 400, "no backup is named"),
        (
            delete(&tags[3], "&force=perhaps"),
            400,
            "`force` is `perhaps`",
        ),
    ] {
        let (found, body) = world.api.send(Method::DELETE, &path, None).await?;
        ensure!(
            found == status && body.to_string().contains(says),
            "{path}: {found} {body}"
        );
    }
    let path = format!("{backups}/pins/{}", tags[0]);
    world.api.ok(Method::DELETE, &path, None).await?;
    let (found, _) = world.api.send(Method::DELETE, &path, None).await?;
    ensure!(found == 404, "unpinned twice: {found}");
    whole(&store, &expected).await?;
    let path = delete(&tags[0], "&dry_run=true");
    let would = world.api.ok(Method::DELETE, &path, None).await?;
    whole(&store, &expected).await?;
    let did = world
        .api
        .ok(Method::DELETE, &delete(&tags[0], ""), None)
        .await?;
    ensure!(
        did["status"] == "DONE" && did["objects"] == would["objects"],
        "{did} {would}"
    );
    ensure!(would["objects"].as_u64() > Some(3), "{would}");
    whole(&store, &expected[1..]).await?;
    let both = format!("{},{}", tags[3], tags[4]);
    let (found, body) = world
        .api
        .send(Method::DELETE, &delete(&both, ""), None)
        .await?;
    ensure!(
        found == 409 && body.to_string().contains("last good one"),
        "{found} {body}"
    );

    covered(&store, &tags[4], 2).await?;

    let empty = world.add_cluster(Shape::new("empty", 2), 1).await?;
    world.sims[empty].create(&[table()]).await?;
    let host = world.sims[empty].nodes[0].address.clone();
    let other = world.api.add_cluster("empty", &host).await?;
    world.api.workers(&other, 2, 3).await?;
    let properties =
        json!({"location": [location], "snapshot_tag": tags[3], "restore_tables": true});
    world.api.done(&other, "restore", properties, LIMIT).await?;
    compare(
        &kept.context("the fourth")?,
        &world.sims[empty].fingerprints().await?,
    )
}

/// A file that the bucket had when the upload was planned is taken away by somebody else: the backup
/// fails, and the one that continues it is whole.
#[tokio::test]
async fn what_is_taken_away_before_the_seal_is_uploaded_again() -> Result<()> {
    let mut world = World::start(Options::default()).await?;
    let sim = world.add_cluster(Shape::new("one", 1), 1).await?;
    world.sims[sim].create(&[table()]).await?;
    world.sims[sim].load(&table(), 1, 64 << 10, 3).await?;
    let host = world.sims[sim].nodes[0].address.clone();
    let cluster = world.api.add_cluster("one", &host).await?;
    world.api.workers(&cluster, 1, 3).await?;
    let store = bucket(&world).await?;
    let properties = json!({"location": [world.store.location()]});
    let task = world.api.submit(&cluster, "backup", properties).await?;
    world.api.ended(&task, LIMIT).await?.done()?;
    let first = held(&store).await?;

    world.sims[sim].load(&table(), 2, 64 << 10, 1).await?;
    world.find("uploader").for_each(Service::kill);
    world
        .api
        .ok(Method::PUT, &format!("{task}/start?continue=false"), None)
        .await?;
    eventually("the upload to be planned", LIMIT, async || {
        let progress = world.api.progress(&task).await?;
        ensure!(progress["progress"]["stage"] == "UPLOAD", "{progress}");
        Ok(())
    })
    .await?;
    let taken = first.listed.iter().find(|key| key.ends_with("-Data.db"));
    let taken = taken.context("an SSTable")?.clone();
    store.delete(std::slice::from_ref(&taken)).await?;
    world.revive()?;
    let ended = world.api.ended(&task, LIMIT).await?;
    ensure!(
        ended.status == "ERROR" && ended.cause.contains(&taken),
        "{}",
        ended.cause
    );
    let tags = held(&store).await?.tags;
    ensure!(tags == first.tags, "it is published: {tags:?}");

    world
        .api
        .ok(Method::PUT, &format!("{task}/start?continue=true"), None)
        .await?;
    let ended = world.api.ended(&task, LIMIT).await?.done()?;
    let first = first.tags.first().context("a tag")?;
    whole(&store, &[first, &ended.tag()]).await
}
