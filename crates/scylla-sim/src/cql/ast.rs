//! Statements as they are understood.

use super::types::Type;
use super::value::Term;
use crate::roles::Resource;
use crate::schema::options::Setting;

/// A name with its keyspace, if that was said.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Name {
    pub(crate) keyspace: Option<String>,
    pub(crate) name: String,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Statement {
    Use(String),
    Select(Select),
    Write(Write),
    Batch(Vec<Write>),
    Truncate(Name),
    Describe(Describe),
    Schema(Schema),
    Role(Role),
}

/// A comparison: `=`, `<`, `IN`…
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Operator {
    Equal,
    Less,
    LessOrEqual,
    Greater,
    GreaterOrEqual,
    In,
}

/// One condition of a `WHERE`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Condition {
    /// One column, or all of `token(…)`.
    pub(crate) columns: Vec<String>,
    pub(crate) token: bool,
    pub(crate) operator: Operator,
    /// One, or those of `IN`.
    pub(crate) terms: Vec<Term>,
    /// `IN` a list that is one value.
    pub(crate) whole: bool,
}

/// One of the things selected.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Selector {
    Column(String),
    /// `count(*)`
    Count,
    Token(Vec<String>),
    WriteTime(String),
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Select {
    pub(crate) table: Name,
    /// With the name it is to have; empty for `*`.
    pub(crate) selectors: Vec<(Selector, Option<String>)>,
    pub(crate) distinct: bool,
    pub(crate) conditions: Vec<Condition>,
    pub(crate) order: Vec<(String, bool)>,
    pub(crate) limit: Option<Term>,
    pub(crate) filtering: bool,
}

/// An `INSERT`, `UPDATE` or `DELETE`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Write {
    pub(crate) table: Name,
    pub(crate) kind: WriteKind,
    /// `USING TIMESTAMP`, microseconds.
    pub(crate) timestamp: Option<Term>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum WriteKind {
    Insert(Vec<(String, Term)>),
    Update {
        set: Vec<(String, Term)>,
        conditions: Vec<Condition>,
    },
    /// Of whole rows when no columns are named.
    Delete {
        columns: Vec<String>,
        conditions: Vec<Condition>,
    },
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Element {
    Keyspace,
    Table,
    View,
    Index,
    Type,
    Function,
    Aggregate,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Describe {
    pub(crate) what: Described,
    pub(crate) internals: bool,
    pub(crate) passwords: bool,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Described {
    Cluster,
    Schema {
        full: bool,
    },
    /// The named or used one; alone or with all that is in it.
    Keyspace {
        name: Option<String>,
        only: bool,
    },
    /// Names of all of a kind.
    List(Element),
    One(Element, Name),
    /// Whatever has that name.
    Any(Name),
}

pub(crate) type Properties = Vec<(String, Setting)>;

/// A statement that changes the schema.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Schema {
    CreateKeyspace {
        name: String,
        lenient: bool,
        properties: Properties,
    },
    AlterKeyspace {
        name: String,
        properties: Properties,
    },
    CreateType {
        name: Name,
        lenient: bool,
        fields: Vec<(String, Type)>,
    },
    AlterType {
        name: Name,
        change: TypeChange,
    },
    CreateTable {
        name: Name,
        lenient: bool,
        table: NewTable,
    },
    AlterTable {
        name: Name,
        change: TableChange,
    },
    CreateView {
        name: Name,
        lenient: bool,
        view: NewView,
    },
    AlterView {
        name: Name,
        properties: Properties,
    },
    CreateIndex {
        name: Option<String>,
        lenient: bool,
        table: Name,
        index: NewIndex,
    },
    /// Anything but an index is named with its kind.
    Drop {
        what: Element,
        name: Name,
        lenient: bool,
    },
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum TypeChange {
    Add(String, Type),
    Rename(Vec<(String, String)>),
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum TableChange {
    Add(Vec<(String, Type)>),
    Drop(Vec<String>, Option<i64>),
    Rename(Vec<(String, String)>),
    With(Properties),
}

/// Keys by name: those of the partition, then of the clustering.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Keys {
    pub(crate) partition: Vec<String>,
    pub(crate) clustering: Vec<String>,
    /// Columns of `CLUSTERING ORDER BY`, and whether they descend.
    pub(crate) order: Vec<(String, bool)>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct NewTable {
    pub(crate) columns: Vec<(String, Type)>,
    pub(crate) keys: Keys,
    pub(crate) properties: Properties,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct NewView {
    pub(crate) base: Name,
    /// Empty for `*`.
    pub(crate) columns: Vec<String>,
    /// Columns that must not be null.
    pub(crate) present: Vec<String>,
    /// The condition, as written.
    pub(crate) condition: String,
    pub(crate) keys: Keys,
    pub(crate) properties: Properties,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct NewIndex {
    pub(crate) column: String,
    /// Partition key of a local index.
    pub(crate) local: Option<Vec<String>>,
    pub(crate) class: Option<String>,
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct RoleOptions {
    pub(crate) password: Option<String>,
    pub(crate) hashed: Option<String>,
    pub(crate) login: Option<bool>,
    pub(crate) superuser: Option<bool>,
}

/// A statement about roles, rights and service levels.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Role {
    Create {
        name: String,
        lenient: bool,
        options: RoleOptions,
    },
    Alter {
        name: String,
        lenient: bool,
        options: RoleOptions,
    },
    Drop {
        name: String,
        lenient: bool,
    },
    Include {
        role: String,
        to: String,
    },
    Exclude {
        role: String,
        from: String,
    },
    /// All rights when none is named.
    Grant {
        rights: Vec<String>,
        on: Resource,
        to: String,
    },
    Revoke {
        rights: Vec<String>,
        on: Resource,
        from: String,
    },
    ListRoles {
        of: Option<String>,
    },
    ListPermissions {
        of: Option<String>,
    },
    CreateLevel {
        name: String,
        lenient: bool,
        properties: Properties,
    },
    AlterLevel {
        name: String,
        properties: Properties,
    },
    DropLevel {
        name: String,
        lenient: bool,
    },
    Attach {
        level: String,
        to: String,
    },
    Detach {
        from: String,
    },
    ListLevels {
        name: Option<String>,
    },
    ListAttached {
        role: Option<String>,
    },
}
