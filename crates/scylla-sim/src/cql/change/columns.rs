//! Columns of a table: added, dropped, renamed, also in the views that have them.

use super::types::known_types;
use crate::cql::ast::Name;
use crate::cql::fail::Fail;
use crate::cql::types::Type;
use crate::schema::Keyspace;
use crate::schema::definition::{Column, Definition, Dropped, Place};

fn definition<'k>(keyspace: &'k mut Keyspace, table: &str) -> Result<&'k mut Definition, Fail> {
    let found = keyspace
        .tables
        .get_mut(table)
        .map(|table| &mut table.definition);
    found.ok_or_else(|| Fail::no_table(table))
}

pub(super) fn add(
    found: &mut Keyspace,
    keyspace: &str,
    name: &Name,
    columns: &[(String, Type)],
    followers: &[String],
) -> Result<(), Fail> {
    for (column, ty) in columns {
        known_types(keyspace, ty, &found.types)?;
        let table = definition(found, &name.name)?;
        if table.column(column).is_some() {
            return Err(Fail::invalid(format!(
                "Invalid column name {column} because it conflicts with an existing column"
            )));
        }
        if let Some(old) = table.dropped.get(column).filter(|old| old.ty != *ty) {
            return Err(Fail::invalid(format!(
                "Cannot re-add previously dropped column '{column}' of type {ty}, incompatible with previous type {}",
                old.ty
            )));
        }
        let new = Column::new(column, ty.clone(), Place::Regular);
        table.columns.push(new.clone());
        for follower in followers {
            let view = definition(found, follower)?;
            if view.view.as_ref().is_some_and(|view| view.all) {
                view.columns.push(new.clone());
            }
        }
    }
    Ok(())
}

pub(super) fn drop_columns(
    found: &mut Keyspace,
    keyspace: &str,
    name: &Name,
    columns: &[String],
    followers: &[String],
    micros: Option<i64>,
) -> Result<(), Fail> {
    for column in columns {
        let needs = |follower: &&String| {
            let view = found.tables.get(*follower);
            view.is_some_and(|view| view.definition.column(column).is_some())
        };
        if let Some(view) = followers.iter().find(needs) {
            return Err(Fail::invalid(format!(
                "Cannot drop column {column} from base table {keyspace}.{}: materialized view {view} needs this column.",
                name.name
            )));
        }
        let table = definition(found, &name.name)?;
        let missing = || {
            Fail::invalid(format!(
                "Column {column} was not found in table {}",
                name.name
            ))
        };
        let old = table.column(column).ok_or_else(missing)?.clone();
        if old.place != Place::Regular {
            return Err(Fail::invalid(format!(
                "Cannot drop PRIMARY KEY part {column}"
            )));
        }
        table.columns.retain(|other| other.name != *column);
        let now = jiff::Timestamp::now().as_microsecond();
        let micros = micros.unwrap_or(now);
        table
            .dropped
            .insert(column.clone(), Dropped { ty: old.ty, micros });
    }
    Ok(())
}

pub(super) fn rename(
    found: &mut Keyspace,
    name: &Name,
    pairs: &[(String, String)],
    followers: &[String],
) -> Result<(), Fail> {
    for (from, to) in pairs {
        let table = definition(found, &name.name)?;
        let missing = || {
            Fail::invalid(format!(
                "Cannot rename unknown column {from} in table {}",
                name.name
            ))
        };
        if table.column(from).ok_or_else(missing)?.place == Place::Regular {
            return Err(Fail::invalid(format!(
                "Cannot rename non PRIMARY KEY part {from}"
            )));
        }
        if table.column(to).is_some() {
            return Err(Fail::invalid(format!(
                "Cannot rename column {from} to {to} in table {}; another column of that name already exist",
                name.name
            )));
        }
        for table in std::iter::once(&name.name).chain(followers) {
            let columns = &mut definition(found, table)?.columns;
            if let Some(column) = columns.iter_mut().find(|column| column.name == *from) {
                column.name.clone_from(to);
            }
        }
    }
    Ok(())
}
