//! Schemas come back with the rows, and rows are compared over CQL.

use std::time::Duration;

use anyhow::{Context as _, Result, bail, ensure};
use reqwest::Method;
use serde_json::{Value, json};
use testkit::eventually;
use tests::{Cql, Options, Shape, World};

use crate::bad_input::Tmpfs;

const LIMIT: Duration = Duration::from_secs(90);

/// Two keyspaces, with all that a schema may hold.
pub(crate) const SCHEMA: [&str; 8] = [
    "CREATE KEYSPACE shop WITH replication = {'class': 'NetworkTopologyStrategy', 'dc1': 2} AND tablets = {'enabled': false}",
    "CREATE KEYSPACE \"Orders\" WITH replication = {'class': 'NetworkTopologyStrategy', 'dc1': 1}",
    "CREATE TYPE shop.address (street text, city text)",
    "CREATE TABLE shop.users (id int PRIMARY KEY, name text, home frozen<address>, tags set<text>) WITH comment = 'who; and \"where\" it''s'",
    "CREATE TABLE shop.visits (id int, at timestamp, page text, PRIMARY KEY (id, at)) WITH tombstone_gc = {'mode': 'immediate'}",
    "CREATE TABLE \"Orders\".\"Open\" (id int PRIMARY KEY, sum bigint)",
    "CREATE MATERIALIZED VIEW shop.by_name AS SELECT * FROM shop.users WHERE name IS NOT NULL AND id IS NOT NULL PRIMARY KEY (name, id)",
    "CREATE INDEX pages ON shop.visits (page)",
];

/// What is read of them.
pub(crate) const QUESTIONS: [&str; 5] = [
    "SELECT * FROM shop.users",
    "SELECT * FROM shop.by_name",
    "SELECT * FROM shop.visits",
    "SELECT * FROM shop.visits WHERE page = 'p1'",
    "SELECT * FROM \"Orders\".\"Open\"",
];

/// A cluster with rows in all tables.
pub(crate) async fn filled(
    world: &mut World,
    shape: Shape,
    schema: &[&str],
) -> Result<(String, Cql)> {
    let (cluster, cql) = fresh(world, shape).await?;
    cql.run(schema).await?;
    for id in 0..40 {
        let page = id % 3;
        let rows = [
            format!(
                "INSERT INTO shop.users (id, name, home, tags) VALUES ({id}, 'n{id}', {{street: 's;{id}', city: 'c'}}, {{'a', 'b{id}'}})"
            ),
            format!("INSERT INTO shop.visits (id, at, page) VALUES ({id}, {id}000, 'p{page}')"),
            format!("INSERT INTO \"Orders\".\"Open\" (id, sum) VALUES ({id}, {id}00)"),
        ];
        let rows: Vec<&str> = rows.iter().map(String::as_str).collect();
        cql.run(&rows).await?;
    }
    Ok((cluster, cql))
}

/// A cluster without keyspaces; gives its id in Thetis.
pub(crate) async fn fresh(world: &mut World, shape: Shape) -> Result<(String, Cql)> {
    let name = shape.name.clone();
    let sim = world.add_cluster(shape, 1).await?;
    let node = &world.sims[sim].nodes[0];
    let cluster = world.api.add_cluster(&name, &node.address).await?;
    let nodes = world.sims[sim].nodes.len();
    world.api.workers(&cluster, nodes, 3).await?;
    Ok((cluster, Cql::connect(&world.sims[sim]).await?))
}

pub(crate) async fn backup(world: &World, cluster: &str) -> Result<String> {
    let properties = json!({"location": [world.store.location()]});
    let ended = world.api.done(cluster, "backup", properties, LIMIT).await?;
    ensure!(ended.cause.is_empty(), "{}", ended.cause);
    Ok(ended.tag())
}

/// A restore's properties, with more of them.
pub(crate) fn restore(world: &World, tag: &str, more: Value) -> Value {
    let mut properties = json!({"location": [world.store.location()], "snapshot_tag": tag});
    if let (Value::Object(all), Value::Object(more)) = (&mut properties, more) {
        all.extend(more);
    }
    properties
}

/// Why a restore fails.
pub(crate) async fn refused(world: &World, cluster: &str, properties: Value) -> Result<String> {
    let task = world.api.submit(cluster, "restore", properties).await?;
    let ended = world.api.ended(&task, LIMIT).await?;
    if ended.status != "ERROR" {
        bail!("it ended {}: {}", ended.status, ended.cause);
    }
    Ok(ended.cause)
}

pub(crate) async fn same(before: &Cql, after: &Cql) -> Result<()> {
    for question in QUESTIONS {
        let (was, is) = (before.rows(question).await?, after.rows(question).await?);
        ensure!(!was.is_empty(), "{question}: nothing to compare");
        ensure!(was == is, "{question}: {was:?} became {is:?}");
    }
    Ok(())
}

#[tokio::test]
async fn schema_and_rows_come_back_into_an_empty_cluster() -> Result<()> {
    let mut world = World::start(Options {
        local: true,
        ..Options::default()
    })
    .await?;
    let (from, before) = filled(&mut world, Shape::new("from", 3), &SCHEMA).await?;
    let tag = backup(&world, &from).await?;
    let (to, after) = fresh(&mut world, Shape::new("to", 5)).await?;
    let properties = restore(&world, &tag, json!({}));
    world
        .api
        .done(&to, "restore", properties.clone(), LIMIT)
        .await?;
    same(&before, &after).await?;
    let (was, is) = (before.schema().await?, after.schema().await?);
    ensure!(was == is, "the schema differs: {was:#?} became {is:#?}");

    // What is there and the same is accepted, but for the rows.
    let cause = refused(&world, &to, properties).await?;
    ensure!(
        cause.contains("hold rows already") && cause.contains("--merge"),
        "{cause}"
    );
    let merged = restore(&world, &tag, json!({"merge": true}));
    after
        .run(&[
            "UPDATE shop.users SET name = 'new' WHERE id = 1",
            "DELETE FROM shop.users WHERE id = 2",
        ])
        .await?;
    let expected = after.rows("SELECT * FROM shop.by_name").await?;
    world.api.done(&to, "restore", merged, LIMIT).await?;
    let merged = after.rows("SELECT * FROM shop.by_name").await?;
    ensure!(merged == expected, "what is newer stays: {merged:?}");
    ensure!(after.schema().await? == was, "the schema is as before");

    // A side table holds what was there.
    let aside = json!({"keyspace": ["shop.users"], "rename": {"shop.users": "shop.users_old"}});
    world
        .api
        .done(&to, "restore", restore(&world, &tag, aside), LIMIT)
        .await?;
    let old = after.rows("SELECT * FROM shop.users_old").await?;
    ensure!(
        old == before.rows("SELECT * FROM shop.users").await?,
        "{old:?}"
    );
    for sim in &world.sims {
        sim.is_clean().await?;
    }
    Ok(())
}

#[tokio::test]
async fn a_schema_that_differs_is_told_before_anything_is_touched() -> Result<()> {
    let mut world = World::start(Options {
        local: true,
        ..Options::default()
    })
    .await?;
    let schema: Vec<String> = SCHEMA
        .iter()
        .map(|text| text.replace("'dc1': 2", "'dc1': 1, 'dc2': 1"))
        .collect();
    let schema: Vec<&str> = schema.iter().map(String::as_str).collect();
    let mut two = Shape::new("two", 2);
    two.dcs.push(("dc2".to_owned(), 2));
    let (from, before) = filled(&mut world, two, &schema).await?;
    let tag = backup(&world, &from).await?;

    let (to, after) = fresh(&mut world, Shape::new("one", 3)).await?;
    let empty = after.schema().await?;
    let cause = refused(&world, &to, restore(&world, &tag, json!({}))).await?;
    ensure!(
        cause.contains("dc2") && cause.contains("--dc-mapping dc2=dc1"),
        "{cause}"
    );
    ensure!(after.schema().await? == empty, "nothing was made");

    after
        .run(&[
            SCHEMA[0],
            SCHEMA[2],
            "CREATE TABLE shop.users (id int PRIMARY KEY, name blob)",
        ])
        .await?;
    let mapping = json!({"dc_mapping": {"dc1": "dc1", "dc2": "dc1"}});
    let held = after.schema().await?;
    let cause = refused(&world, &to, restore(&world, &tag, mapping.clone())).await?;
    ensure!(
        cause.contains("table `shop.users`: ")
            && cause.contains("column `name` is `blob` here and `text` in the backup"),
        "{cause}"
    );
    ensure!(after.schema().await? == held, "nothing was touched");

    after.run(&["DROP TABLE shop.users"]).await?;
    world
        .api
        .done(&to, "restore", restore(&world, &tag, mapping), LIMIT)
        .await?;
    same(&before, &after).await
}

#[tokio::test]
async fn a_restore_that_fails_leaves_what_an_undo_puts_back() -> Result<()> {
    let mut world = World::start(Options {
        local: true,
        ..Options::default()
    })
    .await?;
    let (from, before) = filled(&mut world, Shape::new("from", 3), &SCHEMA).await?;
    let tag = backup(&world, &from).await?;
    let (to, after) = fresh(&mut world, Shape::new("to", 3)).await?;
    after.run(&SCHEMA).await?;
    let was = after.schema().await?;
    let tables = restore(&world, &tag, json!({"restore_tables": true}));
    let lost = hide_one(&world)?;
    let cause = refused(&world, &to, tables.clone()).await?;
    ensure!(
        !cause.contains("restore undo"),
        "the plan found it, and nothing was touched: {cause}"
    );
    std::fs::rename(&lost.1, &lost.0)?;

    // A file that is damaged is found only when it is fetched.
    let content = std::fs::read(&lost.0)?;
    let mut damaged = content.clone();
    damaged[0] ^= 1;
    std::fs::write(&lost.0, &damaged)?;
    let cause = refused(&world, &to, tables.clone()).await?;
    let (_, run) = cause.split_once("thetis restore undo ").unwrap_or_default();
    let run: String = run.chars().take(36).collect();
    ensure!(run.len() == 36, "{cause}");
    let left = after.schema().await?;
    ensure!(
        !left.iter().any(|one| one.contains("by_name")),
        "views are dropped: {left:#?}"
    );
    ensure!(
        left.iter().any(|one| one.contains("disabled")),
        "tombstones are kept: {left:#?}"
    );
    let properties = json!({"undo": run});
    world.api.done(&to, "restore", properties, LIMIT).await?;
    let is = after.schema().await?;
    ensure!(was == is, "it was {was:#?} and is {is:#?}");

    // Once it is put back, it is the users' again.
    after
        .run(&["ALTER TABLE shop.visits WITH tombstone_gc = {'mode': 'timeout'}"])
        .await?;
    let changed = after.schema().await?;
    ensure!(changed != was, "it is another schema");
    let properties = json!({"undo": run});
    world.api.done(&to, "restore", properties, LIMIT).await?;
    ensure!(after.schema().await? == changed, "an undo is done once");

    std::fs::write(&lost.0, &content)?;
    let again = restore(&world, &tag, json!({"restore_tables": true, "merge": true}));
    world.api.done(&to, "restore", again, LIMIT).await?;
    same(&before, &after).await?;
    for sim in &world.sims {
        sim.is_clean().await?;
    }
    Ok(())
}

#[tokio::test]
async fn rows_of_vnodes_come_into_tablets_and_a_drill_proves_it() -> Result<()> {
    let mut world = World::start(Options {
        local: true,
        ..Options::default()
    })
    .await?;
    let (from, before) = filled(&mut world, Shape::new("from", 5), &SCHEMA).await?;
    let tag = backup(&world, &from).await?;
    let (to, after) = fresh(&mut world, Shape::new("to", 3)).await?;
    let tablets = SCHEMA[0].replace("'enabled': false", "'enabled': true");
    after.run(&[&tablets]).await?;
    let ended = world
        .api
        .done(&to, "restore", restore(&world, &tag, json!({})), LIMIT)
        .await?;
    ensure!(
        ended.cause.contains("keyspace `shop`") && ended.cause.contains("the cluster's is kept"),
        "{}",
        ended.cause
    );
    same(&before, &after).await?;

    // A drill in a cluster that is in use.
    let was = after.schema().await?;
    let source = json!({"drill": true, "source_cluster_id": from});
    let ended = world
        .api
        .done(&to, "restore", restore(&world, &tag, source), LIMIT)
        .await?;
    ensure!(
        ended
            .cause
            .contains("120 rows of 3 tables were restored and read"),
        "{}",
        ended.cause
    );
    ensure!(after.schema().await? == was, "nothing is left of the drill");
    same(&before, &after).await?;
    // A proof is noted when its run has ended.
    let listed = eventually("the drill's proof", LIMIT, async || {
        let listed = proven(&world, &from, &tag).await?;
        ensure!(
            listed["drill"] == listed["content"] && listed["drill"] != json!(""),
            "{listed}"
        );
        Ok(listed)
    })
    .await?;

    // One that fails leaves nothing, either.
    let (path, aside) = hide_one(&world)?;
    let damaged = vec![0; std::fs::read(&aside)?.len()];
    std::fs::write(&path, damaged)?;
    let source = json!({"drill": true, "source_cluster_id": from});
    let cause = refused(&world, &to, restore(&world, &tag, source)).await?;
    ensure!(cause.contains("damaged"), "{cause}");
    ensure!(
        after.schema().await? == was,
        "nothing is left of the drill that failed"
    );
    std::fs::rename(&aside, &path)?;

    let properties = json!({"location": [world.store.location()], "snapshot_tag": tag});
    world
        .api
        .done(&from, "validate_backup", properties, LIMIT)
        .await?;
    eventually("the proof", LIMIT, async || {
        let later = proven(&world, &from, &tag).await?;
        ensure!(
            later["present"].as_str() > listed["present"].as_str()
                && later["content"] == listed["content"],
            "{later}"
        );
        Ok(())
    })
    .await?;
    for sim in &world.sims {
        sim.is_clean().await?;
    }
    Ok(())
}

/// When a backup was proven, by depth.
async fn proven(world: &World, cluster: &str, tag: &str) -> Result<Value> {
    let path = format!(
        "/cluster/{cluster}/backups?locations={}",
        world.store.location()
    );
    let listed = world.api.ok(Method::GET, &path, None).await?;
    let backups = listed.as_array().into_iter().flatten();
    let mut all =
        backups.flat_map(|backup| backup["snapshot_info"].as_array().into_iter().flatten());
    let found = all.find(|one| one["snapshot_tag"] == tag);
    let found = found.with_context(|| format!("{tag} is not listed: {listed}"))?;
    ensure!(
        found["last_proven_restorable_timestamp"] != json!(""),
        "{found}"
    );
    Ok(found["proven"].clone())
}

#[tokio::test]
async fn what_is_in_the_way_is_told_beforehand() -> Result<()> {
    // Dropped last to first: nothing may use the file system when it goes.
    let dir = tempfile::Builder::new().prefix("thetis-world-").tempdir()?;
    let guarded = dir.path().join("guarded");
    let disk = Tmpfs::mount(&guarded, "size=16m")?;
    let mut world = World::start(Options {
        local: true,
        dir: Some(dir.path().to_owned()),
        ..Options::default()
    })
    .await?;
    let (from, before) = filled(&mut world, Shape::new("from", 3), &SCHEMA).await?;
    let tag = backup(&world, &from).await?;
    drop(before);
    // A cluster that lets in only whom it knows.
    let name = "guarded";
    let sim = world
        .add_cluster(Shape::new(name, 2).with(&["--cql-auth"]), 0)
        .await?;
    let to = world
        .api
        .add_cluster(name, &world.sims[sim].nodes[0].address)
        .await?;
    world.api.workers(&to, 2, 2).await?;
    let target = async |world: &World| {
        let path = format!("/cluster/{to}/tasks/restore/target");
        let task = json!({"type": "restore", "properties": restore(world, &tag, json!({}))});
        world.api.ok(Method::GET, &path, Some(&task)).await
    };
    let told = target(&world).await?["objections"].to_string();
    ensure!(told.contains("wants a user"), "{told}");
    let cause = refused(&world, &to, restore(&world, &tag, json!({}))).await?;
    ensure!(cause.contains("wants a user"), "{cause}");
    ensure!(!cause.contains("undo"), "nothing was touched: {cause}");

    world.find("guarded-").for_each(tests::Service::kill);
    let login = |user: &str, secret: &str| {
        let pairs = [
            ("THETIS_CQL__USERNAME", user),
            ("THETIS_CQL__PASSWORD", secret),
        ];
        pairs.map(|(key, value)| (key.to_owned(), value.to_owned()))
    };
    world.again_with("guarded-", &login("cassandra", "cassandra"))?;
    world.api.workers(&to, 2, 2).await?;
    let told = eventually("an answer", LIMIT, async || {
        let told = target(&world).await?;
        if told["objections"] == json!([]) {
            Ok(told)
        } else {
            bail!("{told}")
        }
    })
    .await?;
    ensure!(
        told["created"] == json!(6) && told["view_count"] == json!(2),
        "{told}"
    );
    ensure!(
        told["rooms"]
            .as_array()
            .is_some_and(|rooms| rooms.len() == 2),
        "{told}"
    );
    let cql = Cql::login(&world.sims[sim], "cassandra", "cassandra").await?;
    cql.run(&["CREATE ROLE thetis WITH PASSWORD = 'hidden' AND LOGIN = true"])
        .await?;

    world.find("guarded-").for_each(tests::Service::kill);
    world.again_with("guarded-", &login("thetis", "hidden"))?;
    let cause = refused(&world, &to, restore(&world, &tag, json!({}))).await?;
    ensure!(
        cause.contains("lacks rights: ") && cause.contains("CREATE on keyspace shop"),
        "{cause}"
    );
    for service in &world.services {
        ensure!(
            !service.log().contains("hidden"),
            "{} shows a secret",
            service.name
        );
    }

    // Disks that are too small, where a small one can be had.
    if disk.is_some() {
        cql.run(&["GRANT ALL ON ALL KEYSPACES TO thetis"]).await?;
        std::fs::write(guarded.join("other"), vec![1; 8 << 20])?;
        let kept = (
            "THETIS_RESTORE__MIN_FREE_PERCENT".to_owned(),
            "90".to_owned(),
        );
        world.find("guarded-").for_each(tests::Service::kill);
        world.again_with("guarded-", &[kept])?;
        let cause = refused(&world, &to, restore(&world, &tag, json!({}))).await?;
        ensure!(cause.contains("not enough space"), "{cause}");
    }
    Ok(())
}

/// Moves one `Data.db` of the bucket aside; where it was, and is.
fn hide_one(world: &World) -> Result<(std::path::PathBuf, std::path::PathBuf)> {
    let mut open = vec![world.dir().join("store/thetis/backup/sst")];
    while let Some(dir) = open.pop() {
        for entry in std::fs::read_dir(&dir)? {
            let path = entry?.path();
            if path.is_dir() {
                open.push(path);
            } else if path.to_string_lossy().ends_with("-Data.db") {
                let aside = world.dir().join("aside");
                std::fs::rename(&path, &aside)?;
                return Ok((path, aside));
            }
        }
    }
    bail!("the bucket holds no Data.db")
}
