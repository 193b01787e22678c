//! Writes generated rows straight to where they belong: many SSTables at once, or memtables.

use std::collections::BTreeMap;
use std::io;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use crate::cluster::{Sim, Target};
use crate::error::Error;
use crate::hash::token;
use crate::replica::{Fresh, Replica};
use crate::rows::Recipe;

/// Threads that write SSTables.
const THREADS: usize = 4;

/// Rows `0..rows` of a recipe, in about `sstables` SSTables on each node.
#[derive(Clone, Debug)]
pub(crate) struct Load {
    pub(crate) recipe: Recipe,
    pub(crate) from: u64,
    pub(crate) rows: u64,
    /// Per node; with tablets at least one per tablet that the node has.
    pub(crate) sstables: usize,
}

/// What was written.
#[derive(Clone, Copy, Debug, Default, serde::Serialize)]
pub(crate) struct Written {
    pub(crate) rows: u64,
    /// SSTables of all nodes.
    pub(crate) sstables: usize,
    /// Bytes of their Data.db.
    pub(crate) bytes: u64,
}

/// One SSTable to be: whose, and which rows with their tokens.
type Part = (Arc<Replica>, Vec<(i64, u64)>);

/// Writes each row to all its replicas.
///
/// # Errors
/// When a file cannot be written.
pub(crate) fn load(sim: &Sim, target: &Target, load: &Load) -> Result<Written, Error> {
    let parts = plan(sim, target, load);
    let written = Mutex::new(Written {
        rows: load.rows,
        ..Written::default()
    });
    let next = AtomicUsize::new(0);
    let work = || -> io::Result<()> {
        while let Some(part) = parts.get(next.fetch_add(1, Ordering::Relaxed)) {
            let bytes = write(part, load.recipe)?;
            let mut written = written.lock().expect("no panic while held");
            written.sstables += 1;
            written.bytes += bytes;
        }
        Ok(())
    };
    let results: Vec<io::Result<()>> = std::thread::scope(|scope| {
        let threads: Vec<_> = (0..THREADS).map(|_| scope.spawn(work)).collect();
        threads
            .into_iter()
            .map(|thread| thread.join().expect("writers do not panic"))
            .collect()
    });
    for result in results {
        result.map_err(|e| Error::file("write SSTables below", &sim.config.dir, e))?;
    }
    Ok(written.into_inner().expect("no panic while held"))
}

/// Deals the rows out: to nodes, to tablets, and round-robin to SSTables.
fn plan(sim: &Sim, target: &Target, load: &Load) -> Vec<Part> {
    let placement = &target.placement;
    let mut groups = BTreeMap::<(usize, usize, u64), Vec<(i64, u64)>>::new();
    let everybody: Vec<usize> = (0..sim.nodes.len()).collect();
    let mut tablets = vec![0usize; sim.nodes.len()];
    if placement.tablets {
        placement
            .replicas
            .iter()
            .flatten()
            .for_each(|node| tablets[*node] += 1);
    }
    for number in load.from..load.from + load.rows {
        let token = token(&load.recipe.key(number));
        let owners = if placement.local {
            &everybody
        } else {
            &placement.replicas[placement.range(token)]
        };
        for node in owners {
            let turns = (load.sstables / tablets[*node].max(1)).max(1) as u64;
            let group = (*node, placement.tablet(token), number % turns);
            groups.entry(group).or_default().push((token, number));
        }
    }
    let replica = |node: usize| sim.nodes[node].replica(target.id);
    groups
        .into_iter()
        .filter_map(|((node, ..), rows)| Some((replica(node)?, rows)))
        .collect()
}

fn write((replica, rows): &Part, recipe: Recipe) -> io::Result<u64> {
    let mut rows = rows.clone();
    rows.sort_unstable();
    let mut writer = replica.writer()?;
    let mut value = Vec::new();
    for (_, number) in rows {
        let (key, entry) = recipe.row(number, &mut value);
        writer.push(entry, &key, &value)?;
    }
    let table = writer.finish()?;
    let bytes = table.data_bytes;
    replica.attach(table);
    Ok(bytes)
}

/// Writes each row into the memtables of its replicas.
pub(crate) fn mutate(sim: &Sim, target: &Target, load: &Load) -> Result<Written, Error> {
    let placement = &target.placement;
    let mut by_node = vec![Vec::new(); sim.nodes.len()];
    let everybody: Vec<usize> = (0..sim.nodes.len()).collect();
    let mut written = Written {
        rows: load.rows,
        ..Written::default()
    };
    let mut value = Vec::new();
    for number in load.from..load.from + load.rows {
        let (key, entry) = load.recipe.row(number, &mut value);
        written.bytes += value.len() as u64;
        let owners = if placement.local {
            &everybody
        } else {
            &placement.replicas[placement.range(entry.token)]
        };
        for node in owners {
            by_node[*node].push(Fresh {
                entry,
                key: key.to_vec(),
                value: value.clone(),
            });
        }
    }
    for (node, rows) in sim.nodes.iter().zip(by_node) {
        if let Some(replica) = node.replica(target.id) {
            replica
                .write(rows, placement)
                .map_err(|e| Error::file("flush into", &replica.dir, e))?;
        }
    }
    Ok(written)
}

/// Gives the system tables of a new cluster a few rows each.
pub(crate) fn system_tables(sim: &Sim) -> Result<(), Error> {
    let names: Vec<(String, String)> = {
        let model = sim.model();
        let each = model.keyspaces.iter().flat_map(|(ks, keyspace)| {
            keyspace
                .tables
                .keys()
                .map(move |table| (ks.clone(), table.clone()))
        });
        each.collect()
    };
    for (keyspace, table) in names {
        let target = sim
            .target(&keyspace, &table)
            .map_err(|fail| Error::settings(fail.message))?;
        let recipe = Recipe {
            seed: sim.config.seed,
            stamp: sim.stamp(),
            min: 100,
            max: 200,
        };
        load(
            sim,
            &target,
            &Load {
                recipe,
                from: 0,
                rows: 5,
                sstables: 1,
            },
        )?;
    }
    Ok(())
}
