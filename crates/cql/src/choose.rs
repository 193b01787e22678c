//! What is in a schema, and what of it is wanted.

use std::collections::{BTreeMap, BTreeSet};

use catalog::{
    filter::{self, Skip},
    schema::Row,
};

use crate::{Datacenters, Error, Kind, Object, Stage, Statement, canon, object::Key, split};

/// Why something of a schema is left out.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Why {
    /// It is ScyllaDB's own.
    System,
    /// State of lightweight transactions: made when it is needed.
    Paxos,
    /// A log of changes: made with its table.
    CdcLog,
    /// The log of ScyllaDB's audit.
    Audit,
    /// A table of DynamoDB's API: made by that.
    Alternator,
    /// Roles, grants and service levels, which nobody asked for.
    Access,
    /// It is granted in a keyspace that is not chosen.
    Elsewhere,
    /// Its text holds no statement.
    Empty,
}

impl Why {
    /// The reason, for people.
    #[must_use]
    pub fn text(self) -> &'static str {
        match self {
            Self::System => "it belongs to ScyllaDB itself",
            Self::Paxos => {
                "it holds the state of lightweight transactions, and is made when needed"
            }
            Self::CdcLog => "it is a log of changes, and is made with its table",
            Self::Audit => "it holds the log of ScyllaDB's audit",
            Self::Alternator => "it belongs to DynamoDB's API, and is made by that",
            Self::Access => "roles, grants and service levels are restored only on request",
            Self::Elsewhere => "it is granted in a keyspace that is not restored",
            Self::Empty => "its text holds no statement",
        }
    }
}

/// Something that was left out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Skipped {
    /// What it is, in the schema's word.
    pub kind: String,
    /// Its keyspace.
    pub keyspace: String,
    /// Its name.
    pub name: String,
    /// Why it was.
    pub why: Why,
}

/// What a schema makes, by stage, and what was left out of it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Schema {
    /// What it makes. In each stage, in the order in which it came.
    pub objects: Vec<Object>,
    /// What was left out, and why.
    pub skipped: Vec<Skipped>,
}

impl Schema {
    /// Reads the rows of `DESCRIBE SCHEMA WITH INTERNALS`. What no restore makes is left out.
    ///
    /// # Errors
    /// [`Error::Row`], which names the row that cannot be read.
    pub fn read(rows: &[Row]) -> Result<Self, Error> {
        let mut schema = Self::default();
        let mut known = BTreeMap::new();
        for row in rows {
            let row = &plain(row);
            if let Some(why) = skip(&row.keyspace, &row.name) {
                schema.skipped.push(skipped(row, why));
                continue;
            }
            let objects = objects(row).map_err(|cause| Error::Row {
                kind: row.kind.clone(),
                name: format!("{}.{}", row.keyspace, row.name),
                cause: Box::new(cause),
            })?;
            if objects.is_empty() {
                schema.skipped.push(skipped(row, Why::Empty));
            }
            for object in objects {
                // A row of a table may alter its log, too.
                if skip(&object.keyspace, &object.name).is_none() {
                    schema.add(object, &mut known);
                }
            }
        }
        schema.objects.sort_by_key(|o| (o.stage(), o.kind));
        Ok(schema)
    }

    fn add(&mut self, object: Object, known: &mut BTreeMap<Key, usize>) {
        let at = *known.entry(object.key()).or_insert(self.objects.len());
        match self.objects.get_mut(at) {
            Some(before) => before.add(object),
            None => self.objects.push(object),
        }
    }

    /// Only the tables that `takes` takes (keyspace, name), and what they need: their keyspaces,
    /// with all types, functions and aggregates of these, and their indexes and views. A keyspace
    /// without tables is asked for with an empty name. Access only on request, and then all of it
    /// but what is granted in keyspaces that are not taken.
    #[must_use]
    pub fn choose(mut self, takes: impl Fn(&str, &str) -> bool, access: bool) -> Self {
        let wanted = Wanted::new(&self, takes, access);
        let mut skipped = Vec::new();
        self.objects.retain(|o| {
            let why = wanted.left_out(o);
            // What nobody chose in a keyspace is no news.
            skipped.extend(
                why.filter(|_| o.keyspace.is_empty())
                    .map(|why| o.skipped(why)),
            );
            why.is_none()
        });
        self.skipped.extend(skipped);
        self
    }

    /// What is made in one stage.
    pub fn stage(&self, stage: Stage) -> impl Iterator<Item = &Object> {
        self.objects.iter().filter(move |o| o.stage() == stage)
    }

    /// With other datacenters ([`Statement::map_datacenters`]).
    ///
    /// # Errors
    /// As there.
    pub fn map_datacenters(mut self, datacenters: &Datacenters) -> Result<Self, Error> {
        let keyspaces = self.objects.iter_mut().filter(|o| o.kind == Kind::Keyspace);
        for statement in keyspaces.flat_map(|o| &mut o.statements) {
            *statement = statement.map_datacenters(datacenters)?;
        }
        Ok(self)
    }
}

/// What of a schema is chosen.
struct Wanted {
    access: bool,
    tables: BTreeSet<(String, String)>,
    /// The keyspaces of these, and chosen ones without tables.
    keyspaces: BTreeSet<String>,
    /// All there are.
    all: BTreeSet<String>,
}

impl Wanted {
    fn new(schema: &Schema, takes: impl Fn(&str, &str) -> bool, access: bool) -> Self {
        let mut wanted = Self {
            access,
            tables: BTreeSet::new(),
            keyspaces: BTreeSet::new(),
            all: BTreeSet::new(),
        };
        let mut full = BTreeSet::new();
        for table in schema.stage(Stage::Tables) {
            full.insert(table.keyspace.clone());
            if takes(&table.keyspace, &table.name) {
                wanted.keyspaces.insert(table.keyspace.clone());
                wanted.tables.insert(table.place());
            }
        }
        for keyspace in schema.stage(Stage::Keyspaces) {
            if !full.contains(&keyspace.name) && takes(&keyspace.name, "") {
                wanted.keyspaces.insert(keyspace.name.clone());
            }
            wanted.all.insert(keyspace.name.clone());
        }
        wanted.all.extend(full);
        wanted
    }

    /// Why an object is not of it.
    fn left_out(&self, o: &Object) -> Option<Why> {
        let (taken, why) = match (o.stage(), &o.base) {
            (Stage::Access, _) if self.access => {
                let on = o.statements.iter().find_map(Statement::granted_on);
                let on = on.filter(|keyspace| self.all.contains(keyspace));
                let taken = on.is_none_or(|keyspace| self.keyspaces.contains(&keyspace));
                (taken, Why::Elsewhere)
            }
            (Stage::Access, _) => (false, Why::Access),
            (Stage::Unknown, _) if o.keyspace.is_empty() => (self.access, Why::Access),
            (Stage::Tables, _) => (self.tables.contains(&o.place()), Why::Elsewhere),
            (Stage::Views, Some(base)) => {
                let table = (o.keyspace.clone(), base.table.clone());
                (self.tables.contains(&table), Why::Elsewhere)
            }
            (
                Stage::Keyspaces | Stage::Types | Stage::Functions | Stage::Views | Stage::Unknown,
                _,
            ) => (self.keyspaces.contains(&o.keyspace), Why::Elsewhere),
        };
        (!taken).then_some(why)
    }
}

/// A row with its names as they are: some versions put those in quotes that CQL wants so.
fn plain(row: &Row) -> Row {
    let name = |text: &String| {
        let inner = text.strip_prefix('"').and_then(|t| t.strip_suffix('"'));
        inner.map_or_else(|| text.clone(), |inner| inner.replace("\"\"", "\""))
    };
    Row {
        keyspace: name(&row.keyspace),
        name: name(&row.name),
        ..row.clone()
    }
}

fn skipped(row: &Row, why: Why) -> Skipped {
    Skipped {
        kind: row.kind.clone(),
        keyspace: row.keyspace.clone(),
        name: row.name.clone(),
        why,
    }
}

/// Why no restore makes something of this name.
fn skip(keyspace: &str, name: &str) -> Option<Why> {
    if keyspace.is_empty() {
        return None;
    }
    if let Some(skip) = filter::skip(keyspace, name) {
        return Some(match skip {
            Skip::System => Why::System,
            Skip::Paxos => Why::Paxos,
            Skip::CdcLog => Why::CdcLog,
        });
    }
    if keyspace == "audit" {
        return Some(Why::Audit);
    }
    keyspace
        .starts_with("alternator_")
        .then_some(Why::Alternator)
}

/// What the statements of a row make. One that is not understood goes by the row's name.
fn objects(row: &Row) -> Result<Vec<Object>, Error> {
    let statements = split(&row.cql_stmt)?.into_iter();
    let object = |statement: Statement| {
        let statement = statement.qualified(&row.keyspace)?;
        let subject = statement.subject().clone();
        let (keyspace, name) = match subject.kind {
            Kind::Other => (row.keyspace.clone(), row.name.clone()),
            Kind::Grant => {
                let text = canon::words(statement.text(), statement.tokens());
                (String::new(), text)
            }
            Kind::Keyspace
            | Kind::Type
            | Kind::Function
            | Kind::Aggregate
            | Kind::Table
            | Kind::Index
            | Kind::View
            | Kind::ServiceLevel
            | Kind::Role => (subject.keyspace, subject.name),
        };
        Ok(Object {
            kind: subject.kind,
            keyspace,
            name,
            arguments: subject.arguments,
            base: subject.base,
            statements: vec![statement],
        })
    };
    statements.map(object).collect()
}
