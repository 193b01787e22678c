//! A schema that changed since the backup: what is gone comes back, and nothing of rows is lost in silence.

use std::time::Duration;

use anyhow::{Result, ensure};
use serde_json::json;
use tests::{Options, Shape, World};

use crate::schema::{SCHEMA, backup, filled, refused, restore};

const LIMIT: Duration = Duration::from_secs(90);
const OPEN: &str = "SELECT * FROM \"Orders\".\"Open\"";
const VISITS: &str = "SELECT id, at, page FROM shop.visits";
const USERS: &str = "SELECT * FROM shop.users";

#[tokio::test]
async fn tables_that_were_dropped_or_altered_since_lose_nothing() -> Result<()> {
    let mut world = World::start(Options {
        local: true,
        ..Options::default()
    })
    .await?;
    let (cluster, cql) = filled(&mut world, Shape::new("one", 2), &SCHEMA).await?;
    let (open, visits) = (cql.rows(OPEN).await?, cql.rows(VISITS).await?);
    let users = cql.rows(USERS).await?;
    let tag = backup(&world, &cluster).await?;
    cql.run(&[
        "DROP TABLE \"Orders\".\"Open\"",
        "ALTER TABLE shop.visits ADD extra text",
        "DROP MATERIALIZED VIEW shop.by_name",
        "ALTER TABLE shop.users DROP name",
    ])
    .await?;
    let (altered, rest) = (cql.schema().await?, cql.rows(USERS).await?);

    // What differs is told, and of rows alone only what they would lose.
    let lost = "table `shop.users`: column `name` (`text`) is in the backup and not here";
    let more = "column `extra` (`text`) is here and not in the backup";
    let all = restore(&world, &tag, json!({"merge": true}));
    let cause = refused(&world, &cluster, all).await?;
    ensure!(cause.contains(lost) && cause.contains(more), "{cause}");
    let rows = json!({"merge": true, "restore_tables": true, "keyspace": ["shop"]});
    let cause = refused(&world, &cluster, restore(&world, &tag, rows)).await?;
    ensure!(cause.contains(lost) && !cause.contains(more), "{cause}");
    ensure!(
        cause.contains("--rename") && !cause.contains("undo"),
        "{cause}"
    );
    ensure!(cql.schema().await? == altered, "nothing was touched");
    ensure!(cql.rows(USERS).await? == rest, "nothing was loaded");

    // Dropped: it is made again.
    let properties = restore(&world, &tag, json!({"keyspace": ["Orders"]}));
    let dropped = world.api.done(&cluster, "restore", properties, LIMIT);
    dropped.await?;
    let is = cql.rows(OPEN).await?;
    ensure!(is == open && !is.is_empty(), "{open:?} became {is:?}");

    // A column more: rows come without it.
    cql.run(&["TRUNCATE shop.visits"]).await?;
    let rows = json!({"restore_tables": true, "keyspace": ["shop.visits"]});
    let rows = restore(&world, &tag, rows);
    world.api.done(&cluster, "restore", rows, LIMIT).await?;
    let is = cql.rows(VISITS).await?;
    ensure!(is == visits && !is.is_empty(), "{visits:?} became {is:?}");
    let extra = cql.rows("SELECT extra FROM shop.visits").await?;
    ensure!(extra.iter().all(|cell| cell == "null"), "{extra:?}");

    // A column less: rows come whole beside it.
    let aside = json!({"keyspace": ["shop.users"], "rename": {"shop.users": "shop.users_old"}});
    let aside = restore(&world, &tag, aside);
    world.api.done(&cluster, "restore", aside, LIMIT).await?;
    let is = cql.rows("SELECT * FROM shop.users_old").await?;
    ensure!(is == users && !is.is_empty(), "{users:?} became {is:?}");
    ensure!(cql.rows(USERS).await? == rest, "what is there stays");
    world.sims[0].is_clean().await
}
