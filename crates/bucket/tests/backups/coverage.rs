//! What of the ring a backup holds.

use std::io::Write as _;

use anyhow::{Context as _, Result, ensure};
use bucket::{
    coverage::{self, Coverage, Source},
    listing,
};
use catalog::Filter;
use flate2::{Compression, write::GzEncoder};
use serde_json::{Value, json};

use crate::world::{World, run};

const TAG: &str = "sm_20260101000000UTC";
const ID: &str = "01920000-0000-7000-8000-0000000000";
const VERSION: &str = "0f00abcd11112222333344445555ffff";

fn id(last: u8) -> String {
    format!("{ID}{last:02}")
}

/// Puts a node's manifest, with these parts, into the bucket.
fn manifest(world: &World, node: u8, end: &str, parts: &Value) -> Result<()> {
    let mut whole = json!({"version": "v2", "tokens": [], "index": []});
    for (key, value) in parts.as_object().context("parts")? {
        whole[key] = value.clone();
    }
    let mut gzip = GzEncoder::new(Vec::new(), Compression::fast());
    gzip.write_all(whole.to_string().as_bytes())?;
    let (cluster, node) = (id(90), id(node));
    let key = format!(
        "backup/meta/cluster/{cluster}/dc/dc1/node/{node}/task_{}_tag_{TAG}_manifest.json.gz{end}",
        id(80)
    );
    world.put(&key, &gzip.finish()?)
}

fn table(keyspace: &str, table: &str, tablets: bool, rest: &Value) -> Value {
    let mut entry = json!({"keyspace": keyspace, "table": table, "version": VERSION, "files": [],
        "replication_type": if tablets { "tablets" } else { "vnodes" }});
    for (key, value) in rest.as_object().into_iter().flatten() {
        entry[key] = value.clone();
    }
    entry
}

async fn of(world: &World) -> Result<Coverage> {
    let listing = listing::list(&world.stores, None).await?;
    let backup = listing.choose(&TAG.parse()?, None)?;
    Ok(coverage::of(&world.stores, backup, &Filter::new::<&str>(&[])?).await?)
}

#[test]
fn ranges_in_the_manifests_come_first() -> Result<()> {
    run(async {
        let world = World::empty().await?;
        let one = json!({
            "thetis": {"ranges": {"shop": [[0, 100], [100, -100]]}, "nodes": [id(1), id(2), id(3)]},
            "tokens": [5],
            "index": [table("shop", "users", false, &json!(null)),
                table("logs", "day", true, &json!({"thetis": {"ranges": [[i64::MIN, 0]]}}))],
        });
        manifest(&world, 1, "", &one)?;
        let two = json!({
            "thetis": {"ranges": {"shop": [[-100, 50]]}},
            "index": [table("shop", "users", false, &json!(null)), table("logs", "day", true, &json!(null))],
        });
        manifest(&world, 2, "", &two)?;
        let coverage = of(&world).await?;
        ensure!(
            coverage
                .missing_nodes
                .iter()
                .map(ToString::to_string)
                .eq([id(3)])
        );
        ensure!(coverage.lacks());
        let [logs, shop] = &coverage.groups[..] else {
            anyhow::bail!("{coverage:?}");
        };
        ensure!((shop.source, shop.gaps.len()) == (Source::Ranges, 0));
        let copies: Vec<(u32, u64)> = shop.copies.iter().map(|c| (c.copies, c.ranges)).collect();
        // Two hold what is behind 0 up to 50; one, the rest on both sides.
        ensure!(copies == [(1, 2), (2, 1)], "{copies:?}");
        ensure!(logs.table.as_deref() == Some("day") && logs.source == Source::Ranges);
        ensure!(logs.gaps == [(0, i64::MAX)]);
        ensure!(
            (logs.copies[0].percent - 50.0).abs() < 1e-9,
            "{:?}",
            logs.copies
        );
        Ok(())
    })
}

#[test]
fn scyllas_own_manifests_come_second() -> Result<()> {
    run(async {
        let world = World::empty().await?;
        for (node, tablets) in [
            (
                1,
                json!([{"first_token": i64::MIN, "last_token": -1}, {"first_token": 100, "last_token": 199}]),
            ),
            (
                2,
                json!([{"first_token": 0, "last_token": 99}, {"first_token": 100, "last_token": 199}]),
            ),
        ] {
            let name = format!("tag_{TAG}_node_{}_manifest.json", id(node));
            let entry = table("logs", "day", true, &json!({"scylla_manifests": [name]}));
            manifest(&world, node, "", &json!({"index": [entry]}))?;
            let dir = format!(
                "backup/sst/cluster/{}/dc/dc1/node/{}/keyspace/logs/table/day/{VERSION}",
                id(90),
                id(node)
            );
            let body =
                json!({"manifest": {"version": "1.0"}, "tablets": tablets, "sstables": [{}]});
            world.put(&format!("{dir}/{name}"), body.to_string().as_bytes())?;
        }
        let coverage = of(&world).await?;
        let [logs] = &coverage.groups[..] else {
            anyhow::bail!("{coverage:?}");
        };
        ensure!(logs.source == Source::ScyllaManifests && logs.silent_nodes.is_empty());
        ensure!(logs.gaps == [(199, i64::MAX)], "{:?}", logs.gaps);
        ensure!(logs.copies.iter().map(|c| c.copies).eq([0, 1, 2]));
        Ok(())
    })
}

#[test]
fn tokens_tell_whose_first_ranges_are_missing() -> Result<()> {
    run(async {
        let world = World::empty().await?;
        let shop = table("shop", "users", false, &json!(null));
        let with = |tokens: &[i64]| json!({"tokens": tokens, "index": [shop.clone()]});
        manifest(&world, 1, "", &with(&[0, 200]))?;
        manifest(&world, 2, "", &with(&[100, i64::MAX]))?;
        let coverage = of(&world).await?;
        ensure!(coverage.groups[0].source == Source::Tokens && !coverage.lacks());
        manifest(&world, 3, ".tmp", &with(&[50, -100]))?;
        let coverage = of(&world).await?;
        ensure!(
            coverage.groups[0].gaps == [(i64::MIN, -100), (0, 50)],
            "{coverage:?}"
        );
        ensure!(
            coverage
                .missing_nodes
                .iter()
                .map(ToString::to_string)
                .eq([id(3)])
        );
        ensure!(coverage.nodes.len() == 2);
        Ok(())
    })
}

#[test]
fn where_nothing_tells_it_nothing_is_said() -> Result<()> {
    run(async {
        let world = World::empty().await?;
        let index = json!([
            table("shop", "users", false, &json!(null)),
            table("logs", "day", true, &json!(null))
        ]);
        manifest(&world, 1, "", &json!({"index": index}))?;
        let coverage = of(&world).await?;
        for group in &coverage.groups {
            ensure!(
                group.source == Source::Nothing && group.copies.is_empty(),
                "{group:?}"
            );
        }
        ensure!(coverage.groups.len() == 2 && !coverage.lacks());
        Ok(())
    })
}
