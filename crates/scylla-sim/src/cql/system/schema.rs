//! `system_schema`: keyspaces, tables and what they are made of.

mod tables;

use std::collections::BTreeMap;

use super::{Value, boolean, int, made_up, text};
pub(super) use tables::TABLES;
use tables::{INT, TABLE, TEXTS, VIEW};

use crate::cluster::Sim;
use crate::cql::describe::replication;
use crate::cql::value::{sequence, text_map};
use crate::node::Node;
use crate::schema::definition::{Definition, Place};
use crate::schema::options::Setting;
use crate::schema::{Kind, Table, logical_index, name};

fn none(_: &Sim, _: &Node) -> Vec<Vec<Value>> {
    Vec::new()
}

fn map<'a>(pairs: impl Iterator<Item = (&'a String, &'a String)>) -> Value {
    Some(text_map(
        pairs.map(|(key, value)| (key.as_str(), value.as_bytes())),
    ))
}

fn keyspaces(sim: &Sim, _: &Node) -> Vec<Vec<Value>> {
    let model = sim.model();
    let row = |(name, found): (&String, &crate::schema::Keyspace)| {
        let replication = replication(found);
        let replication = map(replication.iter().map(|(key, value)| (key, value)));
        vec![text(name), boolean(found.durable_writes), replication]
    };
    model.keyspaces.iter().map(row).collect()
}

/// Keyspaces with tablets; the others have no row.
fn scylla_keyspaces(sim: &Sim, _: &Node) -> Vec<Vec<Value>> {
    let model = sim.model();
    let tablets = model.keyspaces.iter().filter(|(_, found)| found.tablets);
    let initial =
        |count: Option<usize>| int(count.and_then(|n| i32::try_from(n).ok()).unwrap_or(0));
    tablets
        .map(|(name, found)| vec![text(name), initial(found.initial), None, None])
        .collect()
}

/// All tables: those that are stored, and of the node's own keyspaces those that are made up.
fn each(sim: &Sim, mut row: impl FnMut(&str, &str, &Table)) {
    for (keyspace, name, table) in made_up() {
        row(keyspace, name, &table);
    }
    let model = sim.model();
    for (keyspace, found) in &model.keyspaces {
        if !matches!(keyspace.as_str(), "system" | "system_schema") {
            found
                .tables
                .iter()
                .for_each(|(name, table)| row(keyspace, name, table));
        }
    }
}

/// An option as its column has it.
fn option(definition: &Definition, name: &str, ty: &str) -> Value {
    match definition.options.get(name)? {
        Setting::Text(value) => text(value),
        Setting::Map(value) => map(value.iter()),
        Setting::Number(value) if ty == INT => int(value.parse().ok()?),
        Setting::Number(value) => Some(value.parse::<f64>().ok()?.to_be_bytes().to_vec()),
    }
}

/// How the server keeps a map of texts inside an extension: numbers and lengths are little-endian.
fn extension(map: &BTreeMap<String, String>) -> Vec<u8> {
    let number = |n: usize| {
        u32::try_from(n)
            .expect("short maps of short texts")
            .to_le_bytes()
    };
    let mut bytes = number(map.len()).to_vec();
    for part in map.iter().flat_map(|(key, value)| [key, value]) {
        bytes.extend(number(part.len()));
        bytes.extend(part.as_bytes());
    }
    bytes
}

fn extensions(definition: &Definition) -> Value {
    let known = ["tombstone_gc", "cdc"];
    let set = known
        .iter()
        .filter_map(|name| match definition.options.get(name) {
            Some(Setting::Map(map)) => Some((*name, extension(&map))),
            _ => None,
        });
    let set: Vec<(&str, Vec<u8>)> = set.collect();
    Some(text_map(
        set.iter().map(|(name, bytes)| (*name, bytes.as_slice())),
    ))
}

/// The columns that tables and views have in common.
fn common(columns: &[(&str, &str)], table: &Table, special: impl Fn(&str) -> Value) -> Vec<Value> {
    let value = |(name, ty): &(&str, &str)| match *name {
        "extensions" => extensions(&table.definition),
        "id" => Some(table.id.into_bytes().to_vec()),
        other => special(other).or_else(|| option(&table.definition, other, ty)),
    };
    columns.iter().map(value).collect()
}

fn tables(sim: &Sim, _: &Node) -> Vec<Vec<Value>> {
    let mut rows = Vec::new();
    each(sim, |keyspace, name, table| {
        if table.kind == Kind::Table {
            rows.push(common(TABLE, table, |column| match column {
                "keyspace_name" => text(keyspace),
                "table_name" => text(name),
                "flags" => Some(sequence(&[b"compound".to_vec()])),
                _ => None,
            }));
        }
    });
    rows
}

fn views(sim: &Sim, _: &Node) -> Vec<Vec<Value>> {
    let mut ids = BTreeMap::new();
    each(sim, |keyspace, name, table| {
        ids.insert((keyspace.to_owned(), name.to_owned()), table.id);
    });
    let mut rows = Vec::new();
    each(sim, |keyspace, name, table| {
        let Some(base) = table.base.clone().filter(|_| table.kind != Kind::Table) else {
            return;
        };
        let view = table.definition.view.as_ref();
        let condition = view.map_or("", |view| view.condition.as_str());
        rows.push(common(VIEW, table, |column| match column {
            "keyspace_name" => text(keyspace),
            "view_name" => text(name),
            "base_table_name" => text(base.as_str()),
            "base_table_id" => {
                let id = ids.get(&(keyspace.to_owned(), base.clone()));
                id.map(|id| id.into_bytes().to_vec())
            }
            "include_all_columns" => boolean(view.is_some_and(|view| view.all)),
            "where_clause" => text(condition),
            _ => None,
        }));
    });
    rows
}

fn columns(sim: &Sim, _: &Node) -> Vec<Vec<Value>> {
    let mut rows = Vec::new();
    each(sim, |keyspace, name, table| {
        let definition = &table.definition;
        for column in &definition.columns {
            let (kind, order) = match column.place {
                Place::Partition => ("partition_key", "none"),
                Place::Clustering { descending: false } => ("clustering", "asc"),
                Place::Clustering { descending: true } => ("clustering", "desc"),
                Place::Regular => ("regular", "none"),
            };
            let of_kind = definition.columns.iter().filter(|c| {
                std::mem::discriminant(&c.place) == std::mem::discriminant(&column.place)
            });
            let position = of_kind.take_while(|c| c.name != column.name).count();
            let position = if kind == "regular" {
                Some(-1)
            } else {
                i32::try_from(position).ok()
            };
            rows.push(vec![
                text(keyspace),
                text(name),
                text(&column.name),
                text(order),
                text(&column.name),
                text(kind),
                position.and_then(int),
                text(column.ty.to_string()),
            ]);
        }
    });
    rows
}

fn dropped(sim: &Sim, _: &Node) -> Vec<Vec<Value>> {
    let mut rows = Vec::new();
    each(sim, |keyspace, name, table| {
        for (column, dropped) in &table.definition.dropped {
            let millis = (dropped.micros / 1000).to_be_bytes().to_vec();
            let ty = dropped.ty.to_string();
            rows.push(vec![
                text(keyspace),
                text(name),
                text(column),
                Some(millis),
                text(ty),
            ]);
        }
    });
    rows
}

fn types(sim: &Sim, _: &Node) -> Vec<Vec<Value>> {
    let model = sim.model();
    let mut rows = Vec::new();
    for (keyspace, found) in &model.keyspaces {
        for (udt, fields) in &found.types {
            let names: Vec<Vec<u8>> = fields
                .iter()
                .map(|(name, _)| name.clone().into_bytes())
                .collect();
            let types: Vec<Vec<u8>> = fields
                .iter()
                .map(|(_, ty)| ty.to_string().into_bytes())
                .collect();
            rows.push(vec![
                text(keyspace),
                text(udt),
                Some(sequence(&names)),
                Some(sequence(&types)),
            ]);
        }
    }
    rows
}

fn indexes(sim: &Sim, _: &Node) -> Vec<Vec<Value>> {
    let mut rows = Vec::new();
    each(sim, |keyspace, backing, table| {
        let (Some(index), Some(base)) = (&table.definition.index, &table.base) else {
            return;
        };
        let keys: Vec<String> = table
            .definition
            .partition()
            .map(|column| name(&column.name))
            .collect();
        let target = if index.local {
            format!(
                "{{\"pk\":[{}],\"ck\":[\"{}\"]}}",
                keys.join(","),
                index.column
            )
        } else {
            name(&index.column)
        };
        let options = map(std::iter::once((&"target".to_owned(), &target)));
        let kind = text("COMPOSITES");
        rows.push(vec![
            text(keyspace),
            text(base),
            text(logical_index(backing)),
            kind,
            options,
        ]);
    });
    rows
}

fn scylla_tables(sim: &Sim, _: &Node) -> Vec<Vec<Value>> {
    let mut rows = Vec::new();
    each(sim, |keyspace, name, table| {
        let cdc = option(&table.definition, "cdc", TEXTS);
        let hint = table.hint.map(|count| count.to_string());
        let tablets = hint.map(|count| {
            let pairs = [
                ("max_tablet_count", count.as_bytes()),
                ("min_tablet_count", count.as_bytes()),
            ];
            text_map(pairs.into_iter())
        });
        let version = Some(table.id.into_bytes().to_vec());
        rows.push(vec![
            text(keyspace),
            text(name),
            cdc,
            None,
            tablets,
            version,
        ]);
    });
    rows
}
