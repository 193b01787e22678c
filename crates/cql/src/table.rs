//! What an object is, whatever the words it was made by: columns, key, options.

use std::{collections::BTreeMap, ops::Range};

use crate::{Kind, Object, Statement, Verb, canon, options, split, value};

/// What an object is.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Form {
    /// Columns of a table, or fields of a type: name and type.
    pub(crate) columns: BTreeMap<String, String>,
    /// The names of a type's fields, in their order.
    pub(crate) order: Vec<String>,
    /// The primary key of a table.
    pub(crate) key: String,
    /// Options after `WITH`, but the id and secrets.
    pub(crate) options: BTreeMap<String, String>,
    /// Columns that were dropped, and when.
    pub(crate) dropped: BTreeMap<String, String>,
    /// What a view selects, an index is on, a function does.
    pub(crate) definition: String,
    /// Statements that are not understood as any of these.
    pub(crate) others: Vec<String>,
}

impl Form {
    pub(crate) fn of(object: &Object) -> Self {
        let mut form = Self::default();
        for statement in &object.statements {
            form.fold(statement, &object.keyspace);
        }
        form
    }

    fn fold(&mut self, statement: &Statement, keyspace: &str) {
        let subject = statement.subject();
        let body = statement.places().body;
        let end = options::with(statement).unwrap_or(statement.tokens().len());
        match (subject.verb, subject.kind) {
            (Verb::Create, Kind::Table | Kind::Type) => {
                self.columns(statement, keyspace);
                self.options(statement);
            }
            (Verb::Create, Kind::View | Kind::Index | Kind::Function | Kind::Aggregate) => {
                self.definition = local(statement, body..end, keyspace);
                self.options(statement);
            }
            (
                Verb::Create | Verb::Alter,
                Kind::Keyspace | Kind::ServiceLevel | Kind::Role | Kind::Other,
            ) => self.options(statement),
            (Verb::Alter, Kind::Table | Kind::View) if body == end => self.options(statement),
            (Verb::Alter, Kind::Table) if self.column(statement, body, keyspace) => {}
            (Verb::Alter, _) | (Verb::Grant | Verb::Attach | Verb::Other, _) | (_, Kind::Grant) => {
                self.others.extend(whole(statement, keyspace));
            }
        }
    }

    fn options(&mut self, statement: &Statement) {
        let properties = statement.properties().into_iter();
        for property in properties.filter(|p| p.name != "id" && !p.is_secret()) {
            let value = property.value.map(|value| {
                let (text, tokens) = (statement.text(), statement.tokens());
                let plain = || canon::words(text, &tokens[value.clone()]);
                value::read(text, tokens, &value).map_or_else(|_| plain(), |v| v.canonical())
            });
            self.options
                .insert(property.name, value.unwrap_or_default());
        }
    }

    /// The columns and the key between the brackets.
    fn columns(&mut self, statement: &Statement, keyspace: &str) {
        let (text, tokens) = (statement.text(), statement.tokens());
        let Some(inner) = canon::inner(text, tokens, statement.places().body) else {
            return;
        };
        for part in canon::parts(text, tokens, inner) {
            let is_key = statement.is(part.start, "PRIMARY") && statement.is(part.start + 1, "KEY");
            if is_key && statement.is_symbol(part.start + 2, '(') {
                self.key = key(statement, part.start + 2);
                continue;
            }
            let Some(name) = statement.name_at(part.start) else {
                continue;
            };
            let mut end = part.end;
            if part.len() > 3 && statement.is(end - 2, "PRIMARY") && statement.is(end - 1, "KEY") {
                end -= 2;
                self.key = format!("(({}))", canon::word(text, tokens[part.start]));
            }
            let sort = local(statement, part.start + 1..end, keyspace);
            self.order.push(name.clone());
            self.columns.insert(name, sort);
        }
    }

    /// A column that a table is altered by: added, or dropped.
    fn column(&mut self, statement: &Statement, at: usize, keyspace: &str) -> bool {
        let all = statement.tokens().len();
        let Some(name) = statement.name_at(at + 1) else {
            return false;
        };
        if statement.is(at, "ADD") && at + 2 < all {
            let sort = local(statement, at + 2..all, keyspace);
            self.columns.insert(name, sort);
        } else if statement.is(at, "DROP") {
            let when = canon::words(statement.text(), &statement.tokens()[at + 2..]);
            self.columns.remove(&name);
            self.dropped.insert(name, when);
        } else {
            return false;
        }
        true
    }
}

/// `((a, b), c)`, however many brackets it had.
fn key(statement: &Statement, open: usize) -> String {
    let (text, tokens) = (statement.text(), statement.tokens());
    let Some(inner) = canon::inner(text, tokens, open) else {
        return String::new();
    };
    let words = |part: &Range<usize>| canon::words(text, &tokens[part.clone()]);
    let parts: Vec<_> = canon::parts(text, tokens, inner)
        .iter()
        .map(words)
        .collect();
    let Some((partition, clustering)) = parts.split_first() else {
        return String::new();
    };
    let mut all = vec![if partition.starts_with('(') {
        partition.clone()
    } else {
        format!("({partition})")
    }];
    all.extend_from_slice(clustering);
    format!("({})", all.join(", "))
}

/// All of a statement but its secrets.
fn whole(statement: &Statement, keyspace: &str) -> Option<String> {
    let shown = split(&statement.shown()).ok()?;
    let shown = shown.first()?;
    Some(local(shown, 0..shown.tokens().len(), keyspace))
}

/// Tokens in one way of writing, names without the keyspace they are in anyway.
fn local(statement: &Statement, range: Range<usize>, keyspace: &str) -> String {
    canon::local(statement.text(), statement.tokens(), range, keyspace)
}
