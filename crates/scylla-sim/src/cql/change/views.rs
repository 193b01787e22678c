//! Materialized views and indexes: made, altered, dropped. A new one is built from its table.

use super::table::{apart, check_gc, keys, make, options};
use super::{change, check_name, set, touch};
use crate::cql::ast::{Keys, Name, NewIndex, NewView, Properties};
use crate::cql::fail::Fail;
use crate::cql::session::{About, Change, Happened, Session};
use crate::cql::types::Type;
use crate::cql::view;
use crate::roles::Resource;
use crate::schema::definition::{Column, Definition, Index, Place, View};
use crate::schema::{Kind, NewTable};

impl Session<'_> {
    pub(super) fn create_view(
        &self,
        name: &Name,
        lenient: bool,
        wanted: &NewView,
    ) -> Result<Option<Change>, Fail> {
        let keyspace = self.users_keyspace(name)?;
        check_name("Materialized view", &name.name)?;
        if wanted
            .base
            .keyspace
            .as_ref()
            .is_some_and(|base| *base != keyspace)
        {
            return Err(Fail::invalid(
                "Cannot create a materialized view on a table in a separate keyspace",
            ));
        }
        self.may(
            "ALTER",
            &Resource::Table(keyspace.clone(), wanted.base.name.clone()),
        )?;
        if self.sim.model().table(&keyspace, &name.name).is_some() {
            let exists = Fail::table_exists(&keyspace, &name.name);
            return if lenient { Ok(None) } else { Err(exists) };
        }
        self.sim.revise(|model| {
            let found = touch(model, &keyspace)?;
            let base = found.tables.get(&wanted.base.name);
            let base = base.filter(|base| base.kind == Kind::Table);
            let base = &base
                .ok_or_else(|| Fail::no_table(&wanted.base.name))?
                .definition;
            let mut definition = view_of(base, name, wanted)?;
            let (properties, id, tablets) = apart(&wanted.properties)?;
            set(&mut definition.options, &properties)?;
            check_gc(found, &definition)?;
            definition.building = true;
            make(
                model,
                &keyspace,
                &name.name,
                NewTable {
                    id,
                    kind: Kind::View,
                    base: Some(wanted.base.name.clone()),
                    compressed: false,
                    tablets,
                    definition,
                },
            )
        })?;
        self.open(&keyspace, &name.name)?;
        view::build(self.sim, &keyspace, &name.name);
        Ok(Some(change(
            Happened::Created,
            About::Table,
            &keyspace,
            &name.name,
        )))
    }

    pub(super) fn alter_view(
        &self,
        name: &Name,
        properties: &Properties,
    ) -> Result<Option<Change>, Fail> {
        let keyspace = self.users_keyspace(name)?;
        let base = {
            let model = self.sim.model();
            let table = model.table(&keyspace, &name.name).map(|(_, table)| table);
            table
                .and_then(|table| table.base.clone())
                .unwrap_or_default()
        };
        self.may("ALTER", &Resource::Table(keyspace.clone(), base))?;
        self.sim.revise(|model| {
            let found = touch(model, &keyspace)?;
            let table = found
                .tables
                .get(&name.name)
                .ok_or_else(|| Fail::no_table(&name.name))?;
            if table.kind != Kind::View {
                return Err(Fail::invalid("Cannot use ALTER MATERIALIZED VIEW on Table"));
            }
            options(found, &name.name, properties)
        })?;
        Ok(Some(change(
            Happened::Updated,
            About::Table,
            &keyspace,
            &name.name,
        )))
    }

    /// The inner error is that there is none.
    pub(super) fn drop_view(&self, name: &Name) -> Result<Result<Change, Fail>, Fail> {
        let keyspace = self.users_keyspace(name)?;
        let found = self
            .sim
            .model()
            .table(&keyspace, &name.name)
            .map(|(_, table)| (table.kind, table.base.clone()));
        match found {
            Some((Kind::View, base)) => {
                self.may(
                    "ALTER",
                    &Resource::Table(keyspace.clone(), base.unwrap_or_default()),
                )?;
            }
            Some((Kind::Table | Kind::Index, _)) => {
                return Err(Fail::invalid("Cannot use DROP MATERIALIZED VIEW on Table"));
            }
            None => {
                let text = format!(
                    "Cannot drop non existing materialized view '{}' in keyspace '{keyspace}'.",
                    name.name
                );
                return Ok(Err(Fail::config(text)));
            }
        }
        self.retire(&keyspace, &name.name)?;
        Ok(Ok(change(
            Happened::Dropped,
            About::Table,
            &keyspace,
            &name.name,
        )))
    }

    pub(super) fn create_index(
        &self,
        name: Option<&str>,
        lenient: bool,
        table: &Name,
        wanted: &NewIndex,
    ) -> Result<Option<Change>, Fail> {
        let keyspace = self.users_keyspace(table)?;
        self.may(
            "ALTER",
            &Resource::Table(keyspace.clone(), table.name.clone()),
        )?;
        if wanted.class.is_some() {
            return Err(Fail::invalid("custom indexes are not simulated"));
        }
        let default = || format!("{}_{}_idx", table.name, plain(&wanted.column));
        let name = name.map_or_else(default, str::to_owned);
        check_name("Index", &name)?;
        let backing = format!("{name}_index");
        if self.sim.model().table(&keyspace, &backing).is_some() {
            let exists = Fail::invalid(format!("Index {name} already exists"));
            return if lenient { Ok(None) } else { Err(exists) };
        }
        self.sim.revise(|model| {
            let found = touch(model, &keyspace)?;
            let base = found
                .tables
                .get(&table.name)
                .filter(|base| base.kind == Kind::Table);
            let base = &base.ok_or_else(|| Fail::no_table(&table.name))?.definition;
            let mut definition = index_of(base, wanted)?;
            definition.building = true;
            make(
                model,
                &keyspace,
                &backing,
                NewTable {
                    id: None,
                    kind: Kind::Index,
                    base: Some(table.name.clone()),
                    compressed: false,
                    tablets: None,
                    definition,
                },
            )
        })?;
        self.open(&keyspace, &backing)?;
        view::build(self.sim, &keyspace, &backing);
        Ok(Some(change(
            Happened::Updated,
            About::Table,
            &keyspace,
            &table.name,
        )))
    }

    /// The inner error is that there is none.
    pub(super) fn drop_index(&self, name: &Name) -> Result<Result<Change, Fail>, Fail> {
        let keyspace = self.users_keyspace(name)?;
        let backing = format!("{}_index", name.name);
        let found = self
            .sim
            .model()
            .table(&keyspace, &backing)
            .map(|(_, table)| (table.kind, table.base.clone()));
        let Some((Kind::Index, Some(base))) = found else {
            let text = format!(
                "Index '{}' could not be found in any of the tables of keyspace '{keyspace}'",
                name.name
            );
            return Ok(Err(Fail::invalid(text)));
        };
        self.may("ALTER", &Resource::Table(keyspace.clone(), base.clone()))?;
        self.retire(&keyspace, &backing)?;
        Ok(Ok(change(
            Happened::Updated,
            About::Table,
            &keyspace,
            &base,
        )))
    }
}

/// A column's name as part of an index's.
fn plain(column: &str) -> String {
    column
        .chars()
        .filter(|c| c.is_ascii_alphanumeric() || *c == '_')
        .collect()
}

/// The columns of a view, checked against its table's.
fn view_of(base: &Definition, name: &Name, wanted: &NewView) -> Result<Definition, Fail> {
    let undefined = |column: &str| {
        Fail::invalid(format!(
            "Undefined column name {column} in materialized view {}",
            name.name
        ))
    };
    let selected =
        |column: &str| wanted.columns.is_empty() || wanted.columns.iter().any(|c| c == column);
    if let Some(unknown) = wanted
        .columns
        .iter()
        .find(|column| base.column(column).is_none())
    {
        return Err(undefined(unknown));
    }
    let key: Vec<&String> = wanted
        .keys
        .partition
        .iter()
        .chain(&wanted.keys.clustering)
        .collect();
    check_base_key(base, name, wanted, &key)?;
    let mut made = keys(&wanted.keys, |column| {
        let found = base.column(column).ok_or_else(|| undefined(column))?;
        if !wanted.present.iter().any(|present| present == column) {
            return Err(Fail::invalid(format!(
                "Primary key column '{column}' is required to be filtered by 'IS NOT NULL'"
            )));
        }
        Ok(found.ty.clone())
    })?;
    let mut new = made.iter().filter(|c| {
        base.column(&c.name)
            .is_some_and(|c| c.place == Place::Regular)
    });
    if let Some(second) = new.nth(1) {
        return Err(Fail::invalid(format!(
            "Cannot include more than one non-primary key column '{}' in materialized view primary key",
            second.name
        )));
    }
    let rest = base
        .columns
        .iter()
        .filter(|c| selected(&c.name) && !key.contains(&&c.name));
    made.extend(rest.map(|c| Column::new(&c.name, c.ty.clone(), Place::Regular)));
    let mut definition = Definition::of(made);
    definition.view = Some(View {
        all: wanted.columns.is_empty(),
        condition: wanted.condition.clone(),
    });
    Ok(definition)
}

/// All of the table's key has to be in that of the view.
fn check_base_key(
    base: &Definition,
    name: &Name,
    wanted: &NewView,
    key: &[&String],
) -> Result<(), Fail> {
    let keys = base.partition().chain(base.clustering());
    let lacking: Vec<&str> = keys
        .filter(|column| !key.contains(&&column.name))
        .map(|column| column.name.as_str())
        .collect();
    if lacking.is_empty() {
        return Ok(());
    }
    Err(Fail::invalid(format!(
        "Cannot create Materialized View {} without primary key columns from base {} ({})",
        name.name,
        wanted.base.name,
        lacking.join(", ")
    )))
}

/// The columns of an index's backing table: the indexed one leads to the keys of the table.
fn index_of(base: &Definition, wanted: &NewIndex) -> Result<Definition, Fail> {
    let column = &wanted.column;
    let missing = || Fail::invalid(format!("No column definition found for column {column}"));
    let found = base.column(column).ok_or_else(missing)?;
    if !found.ty.frozen() || found.ty.is_counter() {
        return Err(Fail::invalid(format!(
            "Cannot create secondary index on non-frozen collection or counter column {column}"
        )));
    }
    if found.place == Place::Partition && base.partition().count() == 1 {
        return Err(Fail::invalid(format!(
            "Cannot create secondary index on partition key column {column}"
        )));
    }
    let mut made = Keys::default();
    let partition: Vec<String> = base.partition().map(|c| c.name.clone()).collect();
    if let Some(local) = &wanted.local {
        if *local != partition {
            return Err(Fail::invalid(
                "Local index definition must contain full partition key only",
            ));
        }
        made.partition.clone_from(&partition);
        made.clustering.push(column.clone());
    } else {
        made.partition.push(column.clone());
        made.clustering.push(TOKEN.to_owned());
        made.clustering
            .extend(partition.into_iter().filter(|name| name != column));
    }
    let clustering = base.clustering().map(|c| c.name.clone());
    made.clustering
        .extend(clustering.filter(|name| name != column));
    let columns = keys(&made, |name| match base.column(name) {
        Some(column) => Ok(column.ty.clone()),
        None => Ok(Type::BIGINT),
    })?;
    let mut definition = Definition::of(columns);
    definition.index = Some(Index {
        column: column.clone(),
        local: wanted.local.is_some(),
    });
    Ok(definition)
}

/// The column of an index's table that holds the token of the table's partition.
pub(in crate::cql) const TOKEN: &str = "idx_token";
