//! What a schema makes: one thing, with all statements that make it.

use crate::{Base, Kind, Skipped, Statement, Verb, Why, make};

/// When something is made, in this order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Stage {
    /// Keyspaces.
    Keyspaces,
    /// Types of users, in the order in which they came: each after those it is made of.
    Types,
    /// Functions, and aggregates after them.
    Functions,
    /// Tables.
    Tables,
    /// Indexes and views: after the data, for they are built from it.
    Views,
    /// Service levels, roles and grants.
    Access,
    /// What is not understood.
    Unknown,
}

/// Something a schema makes, with the statements that make it in order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Object {
    /// What it is.
    pub kind: Kind,
    /// Its keyspace; empty for what is in none.
    pub keyspace: String,
    /// Its name. A grant has its text for one.
    pub name: String,
    /// The types of a function's or an aggregate's arguments.
    pub arguments: Vec<String>,
    /// The table of a view or an index.
    pub base: Option<Base>,
    /// What makes it.
    pub statements: Vec<Statement>,
}

/// By what an object is told from all others.
pub(crate) type Key = (Kind, String, String, Vec<String>);

impl Object {
    /// When it is made.
    #[must_use]
    pub fn stage(&self) -> Stage {
        match self.kind {
            Kind::Keyspace => Stage::Keyspaces,
            Kind::Type => Stage::Types,
            Kind::Function | Kind::Aggregate => Stage::Functions,
            Kind::Table => Stage::Tables,
            Kind::Index | Kind::View => Stage::Views,
            Kind::ServiceLevel | Kind::Role | Kind::Grant => Stage::Access,
            Kind::Other => Stage::Unknown,
        }
    }

    /// Its name for people: `shop.users`.
    #[must_use]
    pub fn full_name(&self) -> String {
        let name = match self.kind {
            Kind::Grant | Kind::Other => self.name.clone(),
            Kind::Function | Kind::Aggregate => {
                format!("{}({})", make::shown(&self.name), self.arguments.join(", "))
            }
            Kind::Keyspace
            | Kind::Type
            | Kind::Table
            | Kind::Index
            | Kind::View
            | Kind::ServiceLevel
            | Kind::Role => make::shown(&self.name),
        };
        if self.keyspace.is_empty() || self.kind == Kind::Keyspace {
            return name;
        }
        format!("{}.{name}", make::shown(&self.keyspace))
    }

    /// The statement that makes it, if it is there; the others alter it.
    #[must_use]
    pub fn create(&self) -> Option<&Statement> {
        let mut statements = self.statements.iter();
        statements.find(|statement| statement.subject().verb == Verb::Create)
    }

    /// `DROP … IF EXISTS`; none for what cannot be dropped by its name.
    #[must_use]
    pub fn drop(&self) -> Option<String> {
        let create = self.create()?;
        // An object is in the keyspace its statement says, or says nothing of.
        let mut subject = create.subject().clone();
        subject.keyspace.clone_from(&self.keyspace);
        make::drop(&subject)
    }

    pub(crate) fn is_named(&self) -> bool {
        !matches!(self.kind, Kind::Grant | Kind::Other)
    }

    pub(crate) fn place(&self) -> (String, String) {
        (self.keyspace.clone(), self.name.clone())
    }

    pub(crate) fn key(&self) -> Key {
        let (keyspace, name) = (self.keyspace.clone(), self.name.clone());
        (self.kind, keyspace, name, self.arguments.clone())
    }

    pub(crate) fn add(&mut self, later: Self) {
        self.statements.extend(later.statements);
        self.base = self.base.take().or(later.base);
    }

    pub(crate) fn skipped(&self, why: Why) -> Skipped {
        Skipped {
            kind: self.kind.word().to_owned(),
            keyspace: self.keyspace.clone(),
            name: self.name.clone(),
            why,
        }
    }
}
