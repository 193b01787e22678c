//! Schemas of backups.

use anyhow::{Result, ensure};
use bucket::{Error, listing, schema};
use testkit::manager::{Backup, Cluster, Schema, Table, random_bucket};

use crate::world::{World, id, run};

#[test]
fn a_backup_has_the_schemas_that_came_with_it() -> Result<()> {
    run(async {
        let mut kinds = [0; 4];
        for seed in 0..40 {
            let bucket = random_bucket(seed);
            let world = World::by_dc(&bucket).await?;
            let listing = listing::list(&world.stores, None).await?;
            for made in &bucket.backups {
                let Some(backup) = listing.backups.get(&id(made)) else {
                    continue;
                };
                let has = |kind: &str| made.schemas.iter().any(|key| key.ends_with(kind));
                let read = schema::read(&world.stores, backup).await;
                if made.schemas.is_empty() {
                    kinds[3] += 1;
                    ensure!(matches!(read, Err(Error::NoSchema { .. })), "{read:?}");
                    continue;
                }
                let read = read?;
                ensure!(read.cql.is_some() == has("_with_internals.json.gz"));
                ensure!(read.alternator.is_some() == has("_alternator_schema.json.gz"));
                ensure!(read.legacy.is_some() == has("_schema.tar.gz"));
                kinds[0] += usize::from(read.cql.is_some());
                kinds[1] += usize::from(read.alternator.is_some());
                kinds[2] += usize::from(read.legacy.is_some());
            }
        }
        ensure!(kinds.iter().all(|count| *count > 0), "{kinds:?}");
        Ok(())
    })
}

#[test]
fn rows_come_in_their_order() -> Result<()> {
    run(async {
        let mut prod = Cluster::new(7, "prod");
        prod.node("dc1", "r1");
        prod.table(Table::new("shop", "users"));
        prod.table(Table::new("shop", "orders"));
        let task = prod.task();
        prod.backup(&Backup {
            schemas: vec![Schema::Cql, Schema::Alternator],
            ..Backup::new(&task, "sm_20260101000000UTC")
        });
        let world = World::new(&prod.bucket()).await?;
        let listing = listing::list(&world.stores, None).await?;
        let backup = listing.choose(&"sm_20260101000000UTC".parse()?, None)?;
        let read = schema::read(&world.stores, backup).await?;
        let rows = read.cql.map(|found| found.content).unwrap_or_default();
        let names: Vec<(&str, &str)> = rows
            .iter()
            .map(|row| (row.kind.as_str(), row.name.as_str()))
            .collect();
        ensure!(names == [("role", "backup"), ("table", "users"), ("table", "orders")]);
        ensure!(
            rows[1]
                .cql_stmt
                .starts_with("CREATE TABLE \"shop\".\"users\"")
        );
        let tables = read.alternator.map(|found| found.content.tables);
        ensure!(tables.unwrap_or_default()[0].name() == "users");
        Ok(())
    })
}

#[test]
fn a_schema_that_is_named_and_not_there_is_named_again() -> Result<()> {
    run(async {
        let mut prod = Cluster::new(7, "prod");
        prod.node("dc1", "r1");
        let task = prod.task();
        prod.backup(&Backup::new(&task, "sm_20260101000000UTC"));
        let bucket = prod.bucket();
        let world = World::new(&bucket).await?;
        let listing = listing::list(&world.stores, None).await?;
        let backup = listing.choose(&"sm_20260101000000UTC".parse()?, None)?;
        let key = &bucket.backups[0].schemas[0];
        testkit::manager::damage::truncate(&world.path(), key, 20)?;
        let said = schema::read(&world.stores, backup).await.unwrap_err();
        ensure!(matches!(said, Error::Schema(_)) && said.to_string().contains(key));
        testkit::manager::damage::delete(&world.path(), key)?;
        let said = schema::read(&world.stores, backup).await.unwrap_err();
        ensure!(said.to_string().contains(key), "{said}");
        ensure!(matches!(said, Error::NoSchema { .. }));
        Ok(())
    })
}
