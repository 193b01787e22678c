//! Files of a backup, and the objects they are.

use std::collections::BTreeMap;

use anyhow::{Context as _, Result, ensure};
use bucket::{
    files::{self, Select},
    listing,
};
use catalog::{Filter, filter::DcFilter};
use futures::StreamExt as _;
use testkit::manager::{BackupMade, random_bucket};

use crate::world::{World, id, run};

/// Key and bytes of each file: by node, table and name.
type Files = BTreeMap<(String, String, String), (String, u64)>;

fn truth(made: &BackupMade, select: &Select) -> Files {
    let nodes = made.nodes.iter().filter(|node| {
        let wanted = select.node.is_none_or(|id| id.to_string() == node.node);
        node.manifest.is_some() && select.dcs.takes(&node.dc) && wanted
    });
    let mut files = Files::new();
    for node in nodes {
        for table in &node.tables {
            if !select.filter.takes(&table.keyspace, &table.table) {
                continue;
            }
            for file in &table.files {
                let of = format!("{}.{} {}", table.keyspace, table.table, table.version);
                let bytes = file.content.len() as u64;
                let key = (node.node.clone(), of, file.name.clone());
                files.insert(key, (file.key.clone(), bytes));
            }
        }
    }
    files
}

async fn found(world: &World, backup: &listing::Backup, select: &Select) -> Result<Files> {
    let mut files = Files::new();
    let mut tables = files::tables(&world.stores, backup, select);
    while let Some(table) = tables.next().await {
        let table = table.map_err(|failed| failed.cause)?;
        ensure!(table.missing.is_empty(), "{:?}", table.missing);
        let of = format!(
            "{}.{} {}",
            table.dir.keyspace, table.dir.table, table.dir.version
        );
        for file in table.files {
            ensure!(file.fits());
            let key = (table.dir.owner.node.to_string(), of.clone(), file.name);
            files.insert(key, (file.key, file.bytes));
        }
    }
    Ok(files)
}

#[test]
fn each_file_is_the_object_of_its_time() -> Result<()> {
    run(async {
        let mut versions = 0;
        for seed in 0..60 {
            let bucket = random_bucket(seed);
            let world = World::new(&bucket).await?;
            let listing = listing::list(&world.stores, None).await?;
            for made in &bucket.backups {
                let Some(backup) = listing.backups.get(&id(made)) else {
                    continue;
                };
                let node = made
                    .nodes
                    .first()
                    .map(|node| node.node.parse())
                    .transpose()?;
                let selects = [
                    Select::default(),
                    Select {
                        filter: Filter::new(&["shop.*", "!*.t*"])?,
                        dcs: DcFilter::new(&["dc1"])?,
                        node: None,
                    },
                    Select {
                        node,
                        ..Select::default()
                    },
                ];
                for select in &selects {
                    let (found, truth) =
                        (found(&world, backup, select).await?, truth(made, select));
                    ensure!(found == truth, "seed {seed}: {found:#?}\n{truth:#?}");
                    versions += truth
                        .values()
                        .filter(|(key, _)| key.contains(".sm_"))
                        .count();
                }
            }
        }
        // Else the seeds do not test what they should.
        ensure!(versions > 0);
        Ok(())
    })
    .context("files")
}
