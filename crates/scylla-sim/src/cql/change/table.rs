//! Tables: made, altered, dropped.

use uuid::Uuid;

use super::columns::{add, drop_columns, rename};
use super::types::known_types;
use super::{change, check_name, dependants, set, touch};
use crate::cql::ast::{Keys, Name, NewTable as Wanted, Properties, TableChange};
use crate::cql::fail::Fail;
use crate::cql::session::{About, Change, Happened, Session};
use crate::cql::types::{Type, Udts};
use crate::roles::Resource;
use crate::schema::definition::{Column, Definition, Place};
use crate::schema::options::{Gc, Setting};
use crate::schema::{Keyspace, Kind, Model, NewTable};

impl Session<'_> {
    pub(super) fn create_table(
        &self,
        name: &Name,
        lenient: bool,
        wanted: &Wanted,
    ) -> Result<Option<Change>, Fail> {
        let keyspace = self.users_keyspace(name)?;
        self.may("CREATE", &Resource::Keyspace(keyspace.clone()))?;
        check_name("Table", &name.name)?;
        let exists = self.sim.model().table(&keyspace, &name.name).is_some();
        if exists {
            let exists = Fail::table_exists(&keyspace, &name.name);
            return if lenient { Ok(None) } else { Err(exists) };
        }
        self.sim.revise(|model| {
            let found = touch(model, &keyspace)?;
            let mut definition = Definition::of(columns(&keyspace, wanted, &found.types)?);
            let (properties, id, tablets) = apart(&wanted.properties)?;
            set(&mut definition.options, &properties)?;
            check_gc(found, &definition)?;
            make(
                model,
                &keyspace,
                &name.name,
                NewTable {
                    id,
                    kind: Kind::Table,
                    base: None,
                    compressed: false,
                    tablets,
                    definition,
                },
            )
        })?;
        self.open(&keyspace, &name.name)?;
        self.own(&Resource::Table(keyspace.clone(), name.name.clone()))?;
        Ok(Some(change(
            Happened::Created,
            About::Table,
            &keyspace,
            &name.name,
        )))
    }

    pub(super) fn alter_table(
        &self,
        name: &Name,
        how: &TableChange,
    ) -> Result<Option<Change>, Fail> {
        let keyspace = self.users_keyspace(name)?;
        self.may(
            "ALTER",
            &Resource::Table(keyspace.clone(), name.name.clone()),
        )?;
        self.sim.revise(|model| {
            let found = touch(model, &keyspace)?;
            let followers = dependants(found, &name.name);
            let table = found
                .tables
                .get(&name.name)
                .ok_or_else(|| Fail::no_table(&name.name))?;
            if table.kind != Kind::Table {
                return Err(Fail::invalid("Cannot use ALTER TABLE on Materialized View"));
            }
            match how {
                TableChange::Add(columns) => add(found, &keyspace, name, columns, &followers),
                TableChange::Drop(columns, micros) => {
                    drop_columns(found, &keyspace, name, columns, &followers, *micros)
                }
                TableChange::Rename(pairs) => rename(found, name, pairs, &followers),
                TableChange::With(properties) => options(found, &name.name, properties),
            }
        })?;
        Ok(Some(change(
            Happened::Updated,
            About::Table,
            &keyspace,
            &name.name,
        )))
    }

    /// The inner error is that there is none.
    pub(super) fn drop_table(&self, name: &Name) -> Result<Result<Change, Fail>, Fail> {
        let keyspace = self.users_keyspace(name)?;
        let (views, indexes) = {
            let model = self.sim.model();
            let Some((found, table)) = model.table(&keyspace, &name.name) else {
                let text = format!(
                    "Cannot drop non existing table '{}' in keyspace '{keyspace}'.",
                    name.name
                );
                return Ok(Err(Fail::config(text)));
            };
            if table.kind != Kind::Table {
                return Err(Fail::invalid("Cannot use DROP TABLE on Materialized View"));
            }
            let all = dependants(found, &name.name).into_iter();
            all.partition::<Vec<_>, _>(|view| found.tables[view].kind == Kind::View)
        };
        self.may(
            "DROP",
            &Resource::Table(keyspace.clone(), name.name.clone()),
        )?;
        if !views.is_empty() {
            return Err(Fail::invalid(format!(
                "Cannot drop table when materialized views still depend on it ({keyspace}.{{{}}})",
                views.join(", ")
            )));
        }
        for index in &indexes {
            self.retire(&keyspace, index)?;
        }
        self.retire(&keyspace, &name.name)?;
        Ok(Ok(change(
            Happened::Dropped,
            About::Table,
            &keyspace,
            &name.name,
        )))
    }
}

/// Makes a table in the model, if the keyspace's factors can be had.
pub(super) fn make(
    model: &mut Model,
    keyspace: &str,
    name: &str,
    table: NewTable,
) -> Result<(), Fail> {
    let found = model
        .keyspaces
        .get(keyspace)
        .ok_or_else(|| Fail::no_keyspace(keyspace))?;
    for (dc, factor) in found.replication.iter().filter(|_| found.tablets) {
        let nodes = model
            .members
            .iter()
            .filter(|member| member.dc == *dc)
            .count();
        if nodes < *factor {
            return Err(Fail::config(format!(
                "Datacenter {dc} doesn't have enough token-owning nodes for replication_factor={factor}"
            )));
        }
    }
    if let Some(id) = table.id {
        for (ks, other) in &model.keyspaces {
            if let Some((taken, _)) = other.tables.iter().find(|(_, table)| table.id == id) {
                return Err(Fail::invalid(format!(
                    "Table with ID {id} already exists: {ks}.{taken}"
                )));
            }
        }
    }
    model.create_table(keyspace, name, table)?;
    Ok(())
}

/// The options proper, and apart from them the id and the number of tablets.
pub(super) fn apart(
    properties: &Properties,
) -> Result<(Properties, Option<Uuid>, Option<usize>), Fail> {
    let (mut rest, mut id, mut tablets) = (Vec::new(), None, None);
    for (name, value) in properties {
        match (name.as_str(), value) {
            ("id", Setting::Number(text) | Setting::Text(text)) => {
                let wrong = |_| Fail::config("Invalid table id");
                id = Some(Uuid::parse_str(text).map_err(wrong)?);
            }
            ("tablets", Setting::Map(map)) => {
                let count = map
                    .get("min_tablet_count")
                    .or_else(|| map.get("max_tablet_count"));
                let number = count.map(|text| text.parse::<usize>());
                let number = number
                    .transpose()
                    .map_err(|_| Fail::config("Invalid tablet count"))?;
                tablets = number.map(usize::next_power_of_two);
            }
            _ => rest.push((name.clone(), value.clone())),
        }
    }
    Ok((rest, id, tablets))
}

/// Repair before collection of tombstones makes no sense with a single replica.
pub(super) fn check_gc(keyspace: &Keyspace, definition: &Definition) -> Result<(), Fail> {
    let set = definition.options.is_set("tombstone_gc");
    if set && definition.options.gc() == Gc::Repair && keyspace.factor() < 2 {
        return Err(Fail::config(
            "tombstone_gc option with mode = repair not supported for table with RF one or local replication strategy",
        ));
    }
    Ok(())
}

/// The columns of a new table.
fn columns(keyspace: &str, wanted: &Wanted, udts: &Udts) -> Result<Vec<Column>, Fail> {
    let Keys {
        partition,
        clustering,
        ..
    } = &wanted.keys;
    if partition.is_empty() {
        return Err(Fail::invalid(
            "No PRIMARY KEY specifed (exactly one required)",
        ));
    }
    for (at, (name, ty)) in wanted.columns.iter().enumerate() {
        known_types(keyspace, ty, udts)?;
        if wanted.columns[..at].iter().any(|(other, _)| other == name) {
            return Err(Fail::invalid(format!(
                "Multiple definition of identifier {name}"
            )));
        }
    }
    let mut made = keys(&wanted.keys, |name| {
        let found = wanted.columns.iter().find(|(column, _)| column == name);
        let unknown = || {
            Fail::invalid(format!(
                "Unknown definition {name} referenced in PRIMARY KEY"
            ))
        };
        let ty = &found.ok_or_else(unknown)?.1;
        if !ty.frozen() {
            return Err(Fail::invalid(format!(
                "Invalid non-frozen collection type for PRIMARY KEY component {name}"
            )));
        }
        if ty.is_counter() {
            return Err(Fail::invalid(format!(
                "counter type is not supported for PRIMARY KEY part {name}"
            )));
        }
        Ok(ty.clone())
    })?;
    let rest = wanted.columns.iter();
    let rest = rest.filter(|(name, _)| !partition.contains(name) && !clustering.contains(name));
    made.extend(rest.map(|(name, ty)| Column::new(name, ty.clone(), Place::Regular)));
    Ok(made)
}

/// The columns of a key, with types as `type_of` tells.
pub(super) fn keys(
    keys: &Keys,
    type_of: impl Fn(&str) -> Result<Type, Fail>,
) -> Result<Vec<Column>, Fail> {
    let unordered = |name: &String| !keys.clustering.contains(name);
    if keys.order.iter().any(|(name, _)| unordered(name)) {
        return Err(Fail::invalid(
            "Only clustering key columns can be defined in CLUSTERING ORDER directive",
        ));
    }
    let mut made: Vec<Column> = Vec::new();
    for (at, name) in keys.partition.iter().chain(&keys.clustering).enumerate() {
        if made.iter().any(|column| column.name == *name) {
            return Err(Fail::invalid(format!(
                "Duplicate column '{name}' in PRIMARY KEY"
            )));
        }
        let descending = keys
            .order
            .iter()
            .any(|(column, descends)| column == name && *descends);
        let place = match at < keys.partition.len() {
            true => Place::Partition,
            false => Place::Clustering { descending },
        };
        made.push(Column::new(name, type_of(name)?, place));
    }
    Ok(made)
}

/// Changes options of a table or view.
pub(super) fn options(
    found: &mut Keyspace,
    name: &str,
    properties: &Properties,
) -> Result<(), Fail> {
    let (properties, id, tablets) = apart(properties)?;
    if id.is_some() {
        return Err(Fail::config("Cannot alter table ID."));
    }
    let vnodes = !found.tablets;
    let table = found
        .tables
        .get_mut(name)
        .ok_or_else(|| Fail::no_table(name))?;
    set(&mut table.definition.options, &properties)?;
    table.hint = tablets.filter(|_| !vnodes).or(table.hint);
    let definition = table.definition.clone();
    check_gc(found, &definition)
}
