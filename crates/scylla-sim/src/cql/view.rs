//! Views and indexes: what follows from a write to their table, how a new one is filled, and rows found
//! through an index.
//!
//! What follows goes to all live replicas of the view; which replica of the table leads to which of the view does
//! not count here.

use std::sync::Arc;

use cassandra_protocol::consistency::Consistency;

use super::change::{TOKEN, dependants};
use super::coordinate::Coordinator;
use super::fail::Fail;
use super::row::{Row, decode, encode, token_of, tombstone};
use super::table::{self, Known};
use crate::cluster::Sim;
use crate::replica::Fresh;
use crate::schema::definition::{Column, Definition};

/// Rows that a build reads together.
const BUILD: usize = 1000;

/// The views and indexes of a table.
#[derive(Debug)]
pub(crate) struct Followers<'a> {
    coordinator: Coordinator<'a>,
    base: Known,
    views: Vec<Known>,
    /// For each view, what is to be written into it.
    updates: Vec<Vec<Fresh>>,
}

impl<'a> Followers<'a> {
    /// Those of a table; `None` when it has none.
    ///
    /// # Errors
    /// When the table is gone.
    pub(crate) fn of(coordinator: Coordinator<'a>, base: &Known) -> Result<Option<Self>, Fail> {
        let sim = coordinator.sim;
        let (keyspace, name) = (&base.target.keyspace, &base.target.name);
        let names = {
            let model = sim.model();
            let found = model.keyspaces.get(keyspace);
            found
                .map(|found| dependants(found, name))
                .unwrap_or_default()
        };
        if names.is_empty() {
            return Ok(None);
        }
        let views = names.iter().map(|view| table::find(sim, keyspace, view));
        let views: Vec<Known> = views.collect::<Result<_, _>>()?;
        Ok(Some(Self {
            coordinator,
            base: base.clone(),
            updates: vec![Vec::new(); views.len()],
            views,
        }))
    }

    /// Those of a table by its name, for rows that do not come with a statement.
    ///
    /// # Errors
    /// When the table is gone.
    pub(crate) fn named(
        sim: &'a Sim,
        node: usize,
        keyspace: &str,
        name: &str,
    ) -> Result<Option<Self>, Fail> {
        let coordinator = Coordinator {
            sim,
            node: &sim.nodes[node],
            cl: Consistency::One,
        };
        Self::of(coordinator, &table::find(sim, keyspace, name)?)
    }

    /// Works out what follows from a row that is about to be written.
    ///
    /// # Errors
    /// When what was there before cannot be read.
    pub(crate) fn row(&mut self, fresh: &Fresh) -> Result<(), Fail> {
        let held = self
            .coordinator
            .held(&self.base.target, fresh.entry.token)?;
        let old = held.iter().find(|old| old.entry.same_key(&fresh.entry));
        if old.is_some_and(|old| old.entry.order() <= fresh.entry.order()) {
            return Ok(());
        }
        let shown = |fresh: &Fresh| {
            let row = decode(&self.base.definition, fresh)?;
            row.exists(&self.base.definition).then_some(row)
        };
        let (old, new) = (old.and_then(shown), shown(fresh));
        for (view, updates) in self.views.iter().zip(&mut self.updates) {
            let of = |row: &Option<Row>| {
                view_row(&self.base.definition, &view.definition, row.as_ref()?)
            };
            let (old, new) = (of(&old), of(&new));
            let key = |row: &Row| key_of(&view.definition, row);
            let (old_key, new_key) = (old.as_ref().and_then(key), new.as_ref().and_then(key));
            if let Some((partition, clustering)) =
                old_key.filter(|old| Some(old) != new_key.as_ref())
            {
                let now = jiff::Timestamp::now().as_second();
                updates.push(tombstone(&partition, &clustering, fresh.entry.stamp, now));
            }
            updates.extend(new.and_then(|row| encode(&view.definition, &row)));
        }
        Ok(())
    }

    /// Writes what was worked out.
    ///
    /// # Errors
    /// When a file cannot be written.
    pub(crate) fn write(self) -> Result<(), Fail> {
        for (view, rows) in self.views.iter().zip(self.updates) {
            self.coordinator.spread(&view.target, rows)?;
        }
        Ok(())
    }
}

/// Writes rows into a table, and what follows into its views and indexes.
///
/// # Errors
/// When replicas lack, or a file cannot be written.
pub(crate) fn write(
    coordinator: &Coordinator<'_>,
    known: &Known,
    rows: Vec<Fresh>,
) -> Result<(), Fail> {
    let mut followers = Followers::of(*coordinator, known)?;
    if let Some(followers) = &mut followers {
        rows.iter().try_for_each(|row| followers.row(row))?;
    }
    coordinator.write(&known.target, rows)?;
    followers.map_or(Ok(()), Followers::write)
}

/// The row of a view for a row of its table; `None` when a part of its key is null.
fn view_row(base: &Definition, view: &Definition, row: &Row) -> Option<Row> {
    let value = |column: &Column| {
        if column.name == TOKEN {
            return Some(row.token.to_be_bytes().to_vec());
        }
        let at = base.columns.iter().position(|c| c.name == column.name)?;
        row.values[at].clone()
    };
    let mut made = Row {
        values: view.columns.iter().map(value).collect(),
        marker: true,
        stamp: row.stamp,
        token: 0,
    };
    made.token = token_of(&made.parts(view, view.partition())?);
    made.parts(view, view.clustering())?;
    Some(made)
}

type Key = (Vec<Vec<u8>>, Vec<Vec<u8>>);

fn key_of(definition: &Definition, row: &Row) -> Option<Key> {
    let partition = row.parts(definition, definition.partition())?;
    Some((partition, row.parts(definition, definition.clustering())?))
}

/// Fills a new view or index with what its table holds, in the background.
///
/// It is `building` until then; a build that a restart of the simulator ended begins again.
pub(crate) fn build(sim: &Arc<Sim>, keyspace: &str, name: &str) {
    let (work, keyspace, name) = (Arc::clone(sim), keyspace.to_owned(), name.to_owned());
    sim.tracker.spawn(async move {
        let delay = *work.cql.build_delay.lock().expect("no panic while held");
        tokio::select! {
            () = work.stop.cancelled() => return,
            () = tokio::time::sleep(delay) => {}
        }
        let done = tokio::task::spawn_blocking(move || fill(&work, &keyspace, &name));
        if let Ok(Err(fail)) = done.await {
            tracing::warn!(?fail, "a view was not built");
        }
    });
}

fn fill(sim: &Sim, keyspace: &str, name: &str) -> Result<(), Fail> {
    let view = table::find(sim, keyspace, name)?;
    let base = sim
        .model()
        .table(keyspace, name)
        .and_then(|(_, table)| table.base.clone());
    let base = table::find(sim, keyspace, &base.unwrap_or_default())?;
    let coordinator = Coordinator {
        sim,
        node: &sim.nodes[0],
        cl: Consistency::One,
    };
    let mut low = i64::MIN;
    loop {
        let (rows, far) = coordinator.union(&base.target, (low, i64::MAX), BUILD)?;
        let rows = rows
            .iter()
            .filter_map(|fresh| decode(&base.definition, fresh));
        let rows = rows.filter(|row| row.exists(&base.definition));
        let rows = rows.filter_map(|row| view_row(&base.definition, &view.definition, &row));
        let rows = rows.filter_map(|row| encode(&view.definition, &row));
        coordinator.spread(&view.target, rows.collect())?;
        if far == i64::MAX {
            break;
        }
        low = far + 1;
    }
    sim.revise(|model| {
        let found = model.keyspaces.get_mut(keyspace);
        if let Some(table) = found.and_then(|found| found.tables.get_mut(name)) {
            table.definition.building = false;
        }
        Ok(())
    })
}

/// Goes on with the builds that the last shutdown ended.
pub(crate) fn resume(sim: &Arc<Sim>) {
    let mut open = Vec::new();
    for (keyspace, found) in &sim.model().keyspaces {
        let building = found
            .tables
            .iter()
            .filter(|(_, table)| table.definition.building);
        open.extend(building.map(|(name, _)| (keyspace.clone(), name.clone())));
    }
    open.iter()
        .for_each(|(keyspace, name)| build(sim, keyspace, name));
}

/// Rows of the table that its index lists under `value`.
///
/// # Errors
/// When replicas lack, or a file cannot be read.
pub(crate) fn base_rows(
    coordinator: &Coordinator<'_>,
    known: &Known,
    backing: &str,
    value: Option<Vec<u8>>,
) -> Result<Vec<Row>, Fail> {
    let index = table::find(coordinator.sim, &known.target.keyspace, backing)?;
    let Some(value) = value else {
        return Ok(Vec::new());
    };
    let token = token_of(&[value]);
    let (listed, _) = coordinator.read(&index.target, (token, token), usize::MAX)?;
    let listed = listed
        .iter()
        .filter_map(|fresh| decode(&index.definition, fresh));
    let mut rows = Vec::new();
    for entry in listed {
        let Some(key) = entry.parts(&index.definition, known.definition.partition()) else {
            continue;
        };
        let token = token_of(&key);
        let (found, _) = coordinator.read(&known.target, (token, token), usize::MAX)?;
        let found = found
            .iter()
            .filter_map(|fresh| decode(&known.definition, fresh));
        let clustering = entry.parts(&index.definition, known.definition.clustering());
        let same = |row: &Row| {
            row.parts(&known.definition, known.definition.partition())
                .as_ref()
                == Some(&key)
                && row.parts(&known.definition, known.definition.clustering()) == clustering
        };
        rows.extend(found.filter(same));
    }
    Ok(rows)
}
