//! Prepared statements: what is to be bound, and what will be told.

use super::ast::{Condition, Name, Select, Statement, Write, WriteKind};
use super::fail::Fail;
use super::parse::{self, Parsed};
use super::select::columns;
use super::session::{Rows, Session};
use super::types::Type;
use super::value::Term;
use super::{system, table};
use crate::hash::hash;
use crate::schema::definition::{Definition, Place};

/// A statement that a client can run by its id.
#[derive(Debug)]
pub(crate) struct Prepared {
    pub(crate) text: String,
    pub(crate) parsed: Parsed,
    /// The keyspace that was in use.
    pub(crate) keyspace: Option<String>,
}

impl Prepared {
    /// Reads a statement to be run later.
    ///
    /// # Errors
    /// When it is none.
    pub(crate) fn new(text: String, keyspace: Option<String>) -> Result<Self, Fail> {
        let parsed = parse::statement(&text)?;
        Ok(Self {
            text,
            parsed,
            keyspace,
        })
    }

    /// The same for the same statement on every node.
    pub(crate) fn id(&self) -> Vec<u8> {
        let text = format!(
            "{}\0{}",
            self.keyspace.as_deref().unwrap_or_default(),
            self.text
        );
        let words = [hash(11, text.as_bytes()), hash(12, text.as_bytes())];
        words.iter().flat_map(|word| word.to_be_bytes()).collect()
    }
}

/// What a client learns of a prepared statement.
pub(crate) struct Shape {
    /// Names and types of what is to be bound; no rows.
    pub(crate) bound: Rows,
    /// Which of these make the partition key.
    pub(crate) key: Vec<i16>,
    /// The columns of the result, if it has any.
    pub(crate) result: Option<Rows>,
}

impl Session<'_> {
    /// Looks up the types of what a statement takes and tells.
    ///
    /// # Errors
    /// When the table or a column is not there.
    pub(crate) fn shape(&self, parsed: &Parsed) -> Result<Shape, Fail> {
        let mut binds = Binds {
            names: &parsed.bound,
            found: vec![None; parsed.bound.len()],
        };
        let mut shape = Shape {
            bound: Rows::default(),
            key: Vec::new(),
            result: None,
        };
        match &parsed.statement {
            Statement::Select(select) => {
                let (keyspace, definition) = self.definition(&select.table)?;
                binds.select(select, &definition)?;
                shape.bound = named(&keyspace, &select.table, binds.columns());
                shape.key = binds.key(&definition, &select.conditions, &[]);
                let told = columns(select, &definition, &keyspace)?;
                shape.result = Some(named(&keyspace, &select.table, told));
            }
            Statement::Write(write) => {
                let (keyspace, definition) = self.definition(&write.table)?;
                let (conditions, pairs) = binds.write(write, &definition)?;
                shape.bound = named(&keyspace, &write.table, binds.columns());
                shape.key = binds.key(&definition, conditions, pairs);
            }
            Statement::Batch(writes) => {
                for write in writes {
                    let (keyspace, definition) = self.definition(&write.table)?;
                    binds.write(write, &definition)?;
                    shape.bound = named(&keyspace, &write.table, binds.columns());
                }
            }
            Statement::Use(_)
            | Statement::Truncate(_)
            | Statement::Describe(_)
            | Statement::Schema(_)
            | Statement::Role(_) => {}
        }
        Ok(shape)
    }

    fn definition(&self, name: &Name) -> Result<(String, Definition), Fail> {
        let keyspace = table::keyspace_of(name, self.keyspace)?;
        if let Some(found) = system::table(self, &keyspace, &name.name) {
            return Ok((keyspace, found?.0));
        }
        let definition = table::find(self.sim, &keyspace, &name.name)?.definition;
        Ok((keyspace, definition))
    }
}

fn named(keyspace: &str, table: &Name, columns: Vec<(String, Type)>) -> Rows {
    Rows {
        keyspace: keyspace.to_owned(),
        table: table.name.clone(),
        columns,
        ..Rows::default()
    }
}

/// Columns and terms that are assigned to each other.
type Pairs = [(String, Term)];

/// Names and types of the `?`s, as far as found.
struct Binds<'a> {
    names: &'a [Option<String>],
    found: Vec<Option<(String, Type)>>,
}

impl Binds<'_> {
    /// Those not found could be anything.
    fn columns(&self) -> Vec<(String, Type)> {
        let unknown = || ("?".to_owned(), Type::BLOB);
        self.found
            .iter()
            .map(|found| found.clone().unwrap_or_else(unknown))
            .collect()
    }

    fn select(&mut self, select: &Select, definition: &Definition) -> Result<(), Fail> {
        self.conditions(&select.conditions, definition)?;
        if let Some(limit) = &select.limit {
            self.term(limit, &Type::INT, "[limit]");
        }
        Ok(())
    }

    /// Returns the conditions and assignments there are.
    fn write<'w>(
        &mut self,
        write: &'w Write,
        definition: &Definition,
    ) -> Result<(&'w [Condition], &'w Pairs), Fail> {
        if let Some(timestamp) = &write.timestamp {
            self.term(timestamp, &Type::BIGINT, "[timestamp]");
        }
        let (conditions, pairs): (&[Condition], &Pairs) = match &write.kind {
            WriteKind::Insert(pairs) => (&[], pairs),
            WriteKind::Update { set, conditions } => (conditions, set),
            WriteKind::Delete { conditions, .. } => (conditions, &[]),
        };
        for (name, term) in pairs {
            self.term(term, type_of(definition, name)?, name);
        }
        self.conditions(conditions, definition)?;
        Ok((conditions, pairs))
    }

    fn conditions(&mut self, all: &[Condition], definition: &Definition) -> Result<(), Fail> {
        for condition in all {
            if condition.token {
                self.term(&condition.terms[0], &Type::BIGINT, "partition key token");
                continue;
            }
            let name = &condition.columns[0];
            let ty = type_of(definition, name)?;
            let list = Type::List(ty.clone().into());
            let ty = if condition.whole { &list } else { ty };
            condition
                .terms
                .iter()
                .for_each(|term| self.term(term, ty, name));
        }
        Ok(())
    }

    fn term(&mut self, term: &Term, ty: &Type, name: &str) {
        match (term, ty.bare()) {
            (Term::Bound(at), _) => {
                let own = self.names[*at].clone();
                self.found[*at] = Some((own.unwrap_or_else(|| name.to_owned()), ty.clone()));
            }
            (Term::List(terms), Type::List(of)) | (Term::Set(terms), Type::Set(of)) => {
                terms.iter().for_each(|term| self.term(term, of, name));
            }
            (Term::Tuple(terms), Type::Tuple(types)) => {
                terms
                    .iter()
                    .zip(types)
                    .for_each(|(term, ty)| self.term(term, ty, name));
            }
            (Term::Map(pairs), Type::Map(key, value)) => {
                for (a, b) in pairs {
                    self.term(a, key, name);
                    self.term(b, value, name);
                }
            }
            _ => {}
        }
    }

    /// Which bound values are the columns of the partition key, if all are.
    fn key(&self, definition: &Definition, conditions: &[Condition], pairs: &Pairs) -> Vec<i16> {
        let number = |term: &Term| {
            let Term::Bound(at) = term else {
                return None;
            };
            i16::try_from(*at).ok()
        };
        let find = |name: &str| {
            let pair = pairs
                .iter()
                .find(|(column, _)| column == name)
                .map(|(_, term)| term);
            let equal = conditions.iter().find(|c| {
                !c.token && c.columns[0] == name && c.operator == super::ast::Operator::Equal
            });
            number(pair.or_else(|| equal.map(|c| &c.terms[0]))?)
        };
        let key = definition
            .columns
            .iter()
            .filter(|c| c.place == Place::Partition);
        let all: Option<Vec<i16>> = key.map(|column| find(&column.name)).collect();
        all.unwrap_or_default()
    }
}

fn type_of<'d>(definition: &'d Definition, name: &str) -> Result<&'d Type, Fail> {
    let column = definition.column(name);
    let unknown = || Fail::invalid(format!("Unknown identifier {name}"));
    Ok(&column.ok_or_else(unknown)?.ty)
}
