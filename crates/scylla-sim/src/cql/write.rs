//! `INSERT`, `UPDATE` and `DELETE`. A row is written whole, with what live replicas held of it before.

use super::ast::{Condition, Operator, Write, WriteKind};
use super::coordinate::Coordinator;
use super::fail::Fail;
use super::row::{Row, decode, encode, token_of, tombstone};
use super::session::{Outcome, Parameters, Session};
use super::table::{self, Known};
use super::types::Type;
use super::value::{Scope, Term};
use super::view;
use crate::replica::Fresh;
use crate::schema::Kind;
use crate::schema::definition::{Column, Place};

/// A column of the key with the values it is to have.
type Asked = (usize, Vec<Vec<u8>>);

/// A value given to a column; `None` is null.
type Given = (usize, Option<Vec<u8>>);

impl Session<'_> {
    /// Answers an `INSERT`, `UPDATE` or `DELETE`.
    ///
    /// # Errors
    /// As the server words them.
    pub(crate) fn write(&self, write: &Write, given: &Parameters) -> Result<Outcome, Fail> {
        self.may("MODIFY", &self.resource(&write.table)?)?;
        let keyspace = table::keyspace_of(&write.table, self.keyspace)?;
        let known = table::find(self.sim, &keyspace, &write.table.name)?;
        if known.target.kind != Kind::Table {
            return Err(Fail::invalid("Cannot directly modify a materialized view"));
        }
        let scope = Scope {
            bound: &given.bound,
            udts: &known.udts,
            now: given.now,
        };
        let stamp = match &write.timestamp {
            Some(term) => stamp(&scope, term)?,
            None => given.now,
        };
        let (keys, cells, marker) = assignments(&known, write, &scope)?;
        let coordinator = self.coordinator(given.cl);
        let mut fresh = Vec::new();
        for key in rows_of(&known, keys)? {
            let before = before(&coordinator, &known, &key)?;
            let whole =
                matches!(&write.kind, WriteKind::Delete { columns, .. } if columns.is_empty());
            if whole {
                fresh.extend(deletions(&known, &key, &before, stamp));
            } else {
                fresh.push(merged(&known, &key, &before, &cells, marker, stamp)?);
            }
        }
        view::write(&coordinator, &known, fresh)?;
        Ok(Outcome::Void)
    }
}

fn stamp(scope: &Scope<'_>, term: &Term) -> Result<i64, Fail> {
    let value = scope.value(term, &Type::BIGINT)?;
    let bytes = value.and_then(|value| <[u8; 8]>::try_from(value).ok());
    let stamp = bytes.map(i64::from_be_bytes);
    stamp.ok_or_else(|| Fail::invalid("Invalid null value of timestamp"))
}

/// Conditions on the key, new cells, and whether the row exists from now on without any.
fn assignments(
    known: &Known,
    write: &Write,
    scope: &Scope<'_>,
) -> Result<(Vec<Asked>, Vec<Given>, bool), Fail> {
    let position = |name: &str| position(known, name);
    let pair = |(name, term): &(String, Term)| -> Result<Given, Fail> {
        let at = position(name)?;
        Ok((at, scope.value(term, &known.definition.columns[at].ty)?))
    };
    let place = |at: usize| known.definition.columns[at].place;
    let (set, conditions, insert): (Vec<Given>, &[Condition], bool) = match &write.kind {
        WriteKind::Insert(pairs) => (pairs.iter().map(pair).collect::<Result<_, _>>()?, &[], true),
        WriteKind::Update { set, conditions } => (
            set.iter().map(pair).collect::<Result<_, _>>()?,
            conditions,
            false,
        ),
        WriteKind::Delete {
            columns,
            conditions,
        } => {
            let none = columns.iter().map(|name| Ok((position(name)?, None)));
            (none.collect::<Result<_, Fail>>()?, conditions, false)
        }
    };
    let mut keys = asked(known, conditions, scope)?;
    let mut cells = Vec::new();
    for (at, value) in set {
        let name = &known.definition.columns[at].name;
        if place(at) == Place::Regular {
            cells.push((at, value));
        } else if insert {
            let null =
                || Fail::invalid(format!("Invalid null value in condition for column {name}"));
            keys.push((at, vec![value.ok_or_else(null)?]));
        } else {
            return Err(Fail::invalid(format!(
                "PRIMARY KEY part {name} found in SET part"
            )));
        }
    }
    if known
        .definition
        .columns
        .iter()
        .any(|column| column.ty.is_counter())
    {
        return Err(Fail::invalid("writes of counters are not simulated"));
    }
    Ok((keys, cells, insert))
}

/// The keys that conditions ask for.
fn asked(known: &Known, conditions: &[Condition], scope: &Scope<'_>) -> Result<Vec<Asked>, Fail> {
    let mut keys = Vec::new();
    for condition in conditions {
        if condition.token || !matches!(condition.operator, Operator::Equal | Operator::In) {
            return Err(Fail::invalid("only = and IN are simulated in writes"));
        }
        let at = position(known, &condition.columns[0])?;
        let ty = &known.definition.columns[at].ty;
        let values = condition
            .terms
            .iter()
            .map(|term| key_value(scope, term, ty));
        keys.push((at, values.collect::<Result<_, _>>()?));
    }
    Ok(keys)
}

fn position(known: &Known, name: &str) -> Result<usize, Fail> {
    let at = known.definition.columns.iter().position(|c| c.name == name);
    at.ok_or_else(|| Fail::invalid(format!("Unknown identifier {name}")))
}

fn key_value(scope: &Scope<'_>, term: &Term, ty: &Type) -> Result<Vec<u8>, Fail> {
    let value = scope.value(term, ty)?;
    value.ok_or_else(|| Fail::invalid("Invalid null value in condition for a key"))
}

/// The key of a row, or of a whole partition when only its columns are given.
struct Key {
    partition: Vec<Vec<u8>>,
    clustering: Option<Vec<Vec<u8>>>,
}

/// The keys that are written: every combination of the values of `IN`.
fn rows_of(known: &Known, keys: Vec<Asked>) -> Result<Vec<Key>, Fail> {
    let values = |column: &Column| {
        let at = known
            .definition
            .columns
            .iter()
            .position(|c| c.name == column.name);
        keys.iter()
            .find(|(key, _)| Some(*key) == at)
            .map(|(_, values)| values.clone())
    };
    let missing = |name: &str| Fail::invalid(format!("Missing mandatory PRIMARY KEY part {name}"));
    if let Some((at, _)) = keys
        .iter()
        .find(|(at, _)| known.definition.columns[*at].place == Place::Regular)
    {
        let name = &known.definition.columns[*at].name;
        return Err(Fail::invalid(format!(
            "Invalid where clause contains non PRIMARY KEY columns: {name}"
        )));
    }
    let mut partitions = vec![Vec::new()];
    for column in known.definition.partition() {
        let values = values(column).ok_or_else(|| missing(&column.name))?;
        partitions = product(partitions, &values);
    }
    let mut clusterings = Some(vec![Vec::new()]);
    for column in known.definition.clustering() {
        clusterings = match (clusterings, values(column)) {
            (Some(so_far), Some(values)) => Some(product(so_far, &values)),
            (None, Some(_)) => return Err(missing(&column.name)),
            (_, None) => None,
        };
    }
    let mut all = Vec::new();
    for partition in partitions {
        let mut add = |clustering| {
            let partition = partition.clone();
            all.push(Key {
                partition,
                clustering,
            });
        };
        match &clusterings {
            Some(each) => each
                .iter()
                .for_each(|clustering| add(Some(clustering.clone()))),
            None => add(None),
        }
    }
    Ok(all)
}

fn product(so_far: Vec<Vec<Vec<u8>>>, values: &[Vec<u8>]) -> Vec<Vec<Vec<u8>>> {
    let longer = |key: &Vec<Vec<u8>>| {
        let one = |value: &Vec<u8>| [key.as_slice(), std::slice::from_ref(value)].concat();
        values.iter().map(one).collect::<Vec<_>>()
    };
    so_far.iter().flat_map(longer).collect()
}

/// Rows that live replicas hold of a key, at whatever consistency can be had.
fn before(coordinator: &Coordinator<'_>, known: &Known, key: &Key) -> Result<Vec<Row>, Fail> {
    let token = token_of(&key.partition);
    let found = coordinator.held(&known.target, token)?;
    let rows = found
        .iter()
        .filter_map(|fresh| decode(&known.definition, fresh));
    let same = |row: &Row| {
        row.parts(&known.definition, known.definition.partition())
            .as_ref()
            == Some(&key.partition)
            && (key.clustering.is_none()
                || row.parts(&known.definition, known.definition.clustering()) == key.clustering)
    };
    Ok(rows.filter(same).collect())
}

/// Tombstones of one row, or of all rows there are of a partition.
fn deletions(known: &Known, key: &Key, before: &[Row], stamp: i64) -> Vec<Fresh> {
    let now = jiff::Timestamp::now().as_second();
    let dead = |clustering: &[Vec<u8>]| tombstone(&key.partition, clustering, stamp, now);
    if let Some(clustering) = &key.clustering {
        return vec![dead(clustering)];
    }
    let clustering = |row: &Row| row.parts(&known.definition, known.definition.clustering());
    before
        .iter()
        .filter_map(clustering)
        .map(|clustering| dead(&clustering))
        .collect()
}

/// The row as it was, with new cells.
fn merged(
    known: &Known,
    key: &Key,
    before: &[Row],
    cells: &[Given],
    marker: bool,
    stamp: i64,
) -> Result<Fresh, Fail> {
    let Some(clustering) = &key.clustering else {
        let mut columns = known.definition.clustering();
        let name = columns.next().map_or("", |column| column.name.as_str());
        return Err(Fail::invalid(format!(
            "Missing mandatory PRIMARY KEY part {name}"
        )));
    };
    let mut row = Row {
        values: vec![None; known.definition.columns.len()],
        marker,
        stamp,
        token: token_of(&key.partition),
    };
    if let Some(old) = before.first().filter(|old| old.stamp <= stamp) {
        row.values.clone_from(&old.values);
        row.marker |= old.marker;
    }
    let keys = known.definition.partition().zip(&key.partition);
    let keys = keys.chain(known.definition.clustering().zip(clustering));
    for (column, value) in keys {
        let at = known
            .definition
            .columns
            .iter()
            .position(|c| c.name == column.name);
        row.values[at.expect("one of its columns")] = Some(value.clone());
    }
    for (at, value) in cells {
        row.values[*at].clone_from(value);
    }
    if !row.exists(&known.definition) {
        let now = jiff::Timestamp::now().as_second();
        return Ok(tombstone(&key.partition, clustering, stamp, now));
    }
    encode(&known.definition, &row).ok_or_else(|| Fail::invalid("Key may not be empty"))
}
