//! One statement, for one client: from its text to what is told.

use std::sync::Arc;

use cassandra_protocol::consistency::Consistency;

use super::ast::Statement;
use super::coordinate::Coordinator;
use super::fail::Fail;
use super::parse::Parsed;
use super::table;
use super::types::{Type, Udts};
use crate::cluster::Sim;
use crate::node::Node;
use crate::roles::Resource;

/// What a client gives with a statement.
#[derive(Clone, Debug)]
pub(crate) struct Parameters {
    /// Values of the `?`s.
    pub(crate) bound: Vec<Option<Vec<u8>>>,
    pub(crate) cl: Consistency,
    /// Rows of a page; none: all at once.
    pub(crate) page: Option<usize>,
    /// The page that is asked for begins after this token.
    pub(crate) after: Option<i64>,
    /// Rows told in the pages before.
    pub(crate) seen: usize,
    /// Timestamp of writes, microseconds.
    pub(crate) now: i64,
}

/// Rows to be told.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Rows {
    pub(crate) keyspace: String,
    pub(crate) table: String,
    pub(crate) columns: Vec<(String, Type)>,
    pub(crate) rows: Vec<Vec<Option<Vec<u8>>>>,
    /// There are more, after this token.
    pub(crate) next: Option<i64>,
}

impl Rows {
    /// Rows of texts, as most statements but `SELECT` answer with.
    pub(crate) fn texts(table: &str, columns: &[&str], rows: Vec<Vec<Option<String>>>) -> Self {
        let cells = |row: Vec<Option<String>>| row.into_iter().map(|c| c.map(String::into_bytes));
        let named = columns.iter().map(|name| ((*name).to_owned(), Type::TEXT));
        Self {
            keyspace: "system".to_owned(),
            table: table.to_owned(),
            columns: named.collect(),
            rows: rows.into_iter().map(|row| cells(row).collect()).collect(),
            next: None,
        }
    }
}

/// What happened to a part of the schema.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Happened {
    Created,
    Updated,
    Dropped,
}

/// What a change was about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum About {
    Keyspace,
    Table,
    Type,
}

/// A change of the schema, as all clients learn of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Change {
    pub(crate) happened: Happened,
    pub(crate) about: About,
    pub(crate) keyspace: String,
    /// Empty for keyspaces.
    pub(crate) name: String,
}

/// What a statement answers with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Outcome {
    Void,
    Rows(Rows),
    Use(String),
    Changed(Change),
}

/// A client's place at a node while a statement runs.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Session<'a> {
    pub(crate) sim: &'a Arc<Sim>,
    pub(crate) node: &'a Arc<Node>,
    /// None: the cluster lets everybody in.
    pub(crate) user: Option<&'a str>,
    pub(crate) keyspace: Option<&'a str>,
}

impl Session<'_> {
    /// Runs a statement.
    ///
    /// # Errors
    /// What the server says of a statement that it does not run, or not to its end.
    pub(crate) fn run(&self, parsed: &Parsed, given: &Parameters) -> Result<Outcome, Fail> {
        if parsed.bound.len() != given.bound.len() {
            return Err(Fail::invalid("Invalid amount of bind variables"));
        }
        match &parsed.statement {
            Statement::Use(keyspace) => {
                let known = self.sim.model().keyspaces.contains_key(keyspace);
                let unknown = || Fail::no_keyspace(keyspace);
                known
                    .then(|| Outcome::Use(keyspace.clone()))
                    .ok_or_else(unknown)
            }
            Statement::Select(select) => {
                self.may("SELECT", &self.resource(&select.table)?)?;
                self.select(select, given).map(Outcome::Rows)
            }
            Statement::Write(write) => self.write(write, given),
            Statement::Batch(writes) => {
                for write in writes {
                    self.write(write, given)?;
                }
                Ok(Outcome::Void)
            }
            Statement::Truncate(name) => self.truncate(name),
            Statement::Describe(describe) => self.describe(describe).map(Outcome::Rows),
            Statement::Schema(schema) => self.schema(schema),
            Statement::Role(role) => self.role(role),
        }
    }

    pub(crate) fn coordinator(&self, cl: Consistency) -> Coordinator<'_> {
        let (sim, node) = (self.sim.as_ref(), self.node.as_ref());
        Coordinator { sim, node, cl }
    }

    /// The user-defined types of a keyspace.
    pub(crate) fn udts(&self, keyspace: &str) -> Udts {
        let model = self.sim.model();
        let found = model.keyspaces.get(keyspace);
        found
            .map(|keyspace| keyspace.types.clone())
            .unwrap_or_default()
    }

    /// A table as something there are rights on.
    pub(crate) fn resource(&self, name: &super::ast::Name) -> Result<Resource, Fail> {
        let keyspace = table::keyspace_of(name, self.keyspace)?;
        Ok(Resource::Table(keyspace, name.name.clone()))
    }

    /// Whether the client has a right.
    ///
    /// # Errors
    /// When not, in the server's words.
    pub(crate) fn may(&self, right: &str, on: &Resource) -> Result<(), Fail> {
        let Some(user) = self.user else {
            return Ok(());
        };
        // Everybody may read what drivers have to.
        if let Resource::Table(keyspace, _) = on
            && right == "SELECT"
            && matches!(keyspace.as_str(), "system" | "system_schema")
        {
            return Ok(());
        }
        if self.sim.model().access.allows(user, right, on) {
            return Ok(());
        }
        Err(Fail::unauthorized(format!(
            "User {user} has no {right} permission on {on} or any of its parents"
        )))
    }
}
