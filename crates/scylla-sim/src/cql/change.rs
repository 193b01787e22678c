//! Changes of the schema: keyspaces, types, tables, views and indexes are made, altered and dropped.

mod columns;
mod keyspace;
mod table;
mod types;
mod views;

pub(super) use views::TOKEN;

use uuid::Uuid;

use super::ast::{Element, Name, Properties, Schema};
use super::fail::Fail;
use super::session::{About, Change, Happened, Outcome, Session};
use super::table::keyspace_of;
use crate::retire;
use crate::roles::Resource;
use crate::schema::options::{Options, Wrong};
use crate::schema::{Keyspace, Model};

impl Session<'_> {
    /// Runs a statement that changes the schema, and tells all clients that asked to know.
    ///
    /// # Errors
    /// As the server words them; then nothing has changed.
    pub(crate) fn schema(&self, schema: &Schema) -> Result<Outcome, Fail> {
        let change = match schema {
            Schema::CreateKeyspace {
                name,
                lenient,
                properties,
            } => self.create_keyspace(name, *lenient, properties)?,
            Schema::AlterKeyspace { name, properties } => self.alter_keyspace(name, properties)?,
            Schema::CreateType {
                name,
                lenient,
                fields,
            } => self.create_type(name, *lenient, fields)?,
            Schema::AlterType { name, change } => self.alter_type(name, change)?,
            Schema::CreateTable {
                name,
                lenient,
                table,
            } => self.create_table(name, *lenient, table)?,
            Schema::AlterTable { name, change } => self.alter_table(name, change)?,
            Schema::CreateView {
                name,
                lenient,
                view,
            } => self.create_view(name, *lenient, view)?,
            Schema::AlterView { name, properties } => self.alter_view(name, properties)?,
            Schema::CreateIndex {
                name,
                lenient,
                table,
                index,
            } => self.create_index(name.as_deref(), *lenient, table, index)?,
            Schema::Drop {
                what,
                name,
                lenient,
            } => self.drop_element(*what, name, *lenient)?,
        };
        Ok(match change {
            Some(change) => {
                self.sim.cql.announce(&change);
                Outcome::Changed(change)
            }
            None => Outcome::Void,
        })
    }

    fn drop_element(
        &self,
        what: Element,
        name: &Name,
        lenient: bool,
    ) -> Result<Option<Change>, Fail> {
        let result = match what {
            Element::Keyspace => self.drop_keyspace(&name.name),
            Element::Table => self.drop_table(name),
            Element::View => self.drop_view(name),
            Element::Index => self.drop_index(name),
            Element::Type => self.drop_type(name),
            Element::Function | Element::Aggregate => {
                return Err(Fail::invalid("functions are not simulated"));
            }
        };
        match result? {
            Ok(change) => Ok(Some(change)),
            Err(_) if lenient => Ok(None),
            Err(missing) => Err(missing),
        }
    }

    /// The keyspace of a name, which has to be a user's.
    fn users_keyspace(&self, name: &Name) -> Result<String, Fail> {
        let keyspace = keyspace_of(name, self.keyspace)?;
        match self.sim.model().keyspaces.get(&keyspace) {
            None => Err(Fail::no_keyspace(&keyspace)),
            Some(found) if found.system => Err(not_modifiable(&keyspace)),
            Some(_) => Ok(keyspace),
        }
    }

    /// Gives the client all rights on what it made.
    pub(super) fn own(&self, on: &Resource) -> Result<(), Fail> {
        let Some(user) = self.user else {
            return Ok(());
        };
        let rights: Vec<String> = on
            .rights()
            .iter()
            .map(|right| (*right).to_owned())
            .collect();
        self.sim.revise(|model| {
            model.access.grant(user, &rights, on);
            Ok(())
        })
    }

    /// Makes the directories of a new table on all nodes.
    fn open(&self, keyspace: &str, name: &str) -> Result<(), Fail> {
        let table = self
            .sim
            .model()
            .table(keyspace, name)
            .map(|(_, table)| table.clone());
        if let Some(table) = table {
            for node in &self.sim.nodes {
                node.open_table(keyspace, name, &table)?;
            }
        }
        Ok(())
    }

    /// Drops a table or view with the snapshot that `auto_snapshot` wants.
    fn retire(&self, keyspace: &str, name: &str) -> Result<(), Fail> {
        let target = self
            .sim
            .target(keyspace, name)
            .map_err(|_| Fail::no_table(name))?;
        Ok(retire::drop_table(self.sim, &target, self.auto_snapshot())?)
    }

    fn auto_snapshot(&self) -> bool {
        let config = self.node.config.lock().expect("no panic while held");
        config
            .get("auto_snapshot")
            .and_then(serde_json::Value::as_bool)
            .unwrap_or(true)
    }

    /// Empties a table, after the snapshot that `auto_snapshot` wants, and its views and indexes.
    ///
    /// # Errors
    /// When there is no such table, or it is a view.
    pub(crate) fn truncate(&self, name: &Name) -> Result<Outcome, Fail> {
        self.may("MODIFY", &self.resource(name)?)?;
        let keyspace = self.users_keyspace(name)?;
        let known = super::table::find(self.sim, &keyspace, &name.name)?;
        if known.target.kind != crate::schema::Kind::Table {
            return Err(Fail::invalid(
                "Cannot TRUNCATE materialized view directly; must truncate base table instead",
            ));
        }
        let mut names = vec![name.name.clone()];
        if let Some(found) = self.sim.model().keyspaces.get(&keyspace) {
            names.extend(dependants(found, &name.name));
        }
        for name in names {
            let target = self
                .sim
                .target(&keyspace, &name)
                .map_err(|_| Fail::no_table(&name))?;
            retire::truncate(self.sim, &target, self.auto_snapshot())?;
        }
        Ok(Outcome::Void)
    }
}

/// Names of the views and backing tables of indexes that follow a table.
pub(super) fn dependants(keyspace: &Keyspace, base: &str) -> Vec<String> {
    let follows = |table: &crate::schema::Table| {
        table.base.as_deref() == Some(base) && !table.definition.loose
    };
    let all = keyspace.tables.iter().filter(|(_, table)| follows(table));
    all.map(|(name, _)| name.clone()).collect()
}

fn not_modifiable(keyspace: &str) -> Fail {
    Fail::unauthorized(format!("{keyspace} keyspace is not user-modifiable."))
}

/// What clients learn of a change.
fn change(happened: Happened, about: About, keyspace: &str, name: &str) -> Change {
    let (keyspace, name) = (keyspace.to_owned(), name.to_owned());
    Change {
        happened,
        about,
        keyspace,
        name,
    }
}

/// A new schema version; and the keyspace to change.
fn touch<'m>(model: &'m mut Model, keyspace: &str) -> Result<&'m mut Keyspace, Fail> {
    model.schema_version = Uuid::new_v4();
    let found = model.keyspaces.get_mut(keyspace);
    found.ok_or_else(|| Fail::no_keyspace(keyspace))
}

impl From<Wrong> for Fail {
    fn from(wrong: Wrong) -> Self {
        match wrong {
            Wrong::Property(text) => Self::syntax(text),
            Wrong::Value(text) => Self::config(text),
        }
    }
}

/// Sets the options of a table.
fn set(options: &mut Options, properties: &Properties) -> Result<(), Fail> {
    for (name, value) in properties {
        options.set(name, value.clone())?;
    }
    Ok(())
}

/// Names of keyspaces and tables have letters, digits and underscores only.
fn check_name(what: &str, name: &str) -> Result<(), Fail> {
    const LONGEST: usize = 192;
    let fine = |c: char| c.is_ascii_alphanumeric() || c == '_';
    if name.is_empty() || !name.chars().all(fine) {
        return Err(Fail::invalid(format!(
            "\"{name}\" is not a valid {what} name (must be alphanumeric and underscore characters only: [a-zA-Z_0-9]+)"
        )));
    }
    if name.len() > LONGEST {
        return Err(Fail::invalid(format!(
            "{what} names shouldn't be more than {LONGEST} characters long (got \"{name}\")"
        )));
    }
    Ok(())
}
