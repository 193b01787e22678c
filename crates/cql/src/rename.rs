//! Keyspaces and tables by other names, in all that speaks of them.
//!
//! What is in a keyspace goes where its tables go. An index and a view go with their table; if that
//! gets another name within its keyspace, so do they, for the old one is taken by the old table's:
//! `by_name` of `users` that becomes `users_old` is `users_old_by_name`. Ids are left out of what
//! gets another name.

use std::{
    collections::{BTreeMap, BTreeSet},
    ops::Range,
};

use crate::{
    Base, Error, Kind, Object, Schema, Statement, Verb,
    make::{self, quote},
    options,
    subject::Named,
};

/// Which keyspaces and tables get other names.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Renames {
    /// Keyspaces, with all that is in them.
    pub keyspaces: BTreeMap<String, String>,
    /// Single tables, views and indexes, by keyspace and name. These go before those of keyspaces.
    pub tables: BTreeMap<(String, String), (String, String)>,
}

/// Where an object goes: keyspace and name.
type Place = (String, String);

/// What changes in a statement.
struct Move {
    /// The keyspace it was in.
    from: String,
    name: Place,
    base: Option<Place>,
}

impl Renames {
    /// What a keyspace is called then.
    #[must_use]
    pub fn keyspace<'a>(&'a self, keyspace: &'a str) -> &'a str {
        self.keyspaces
            .get(keyspace)
            .map_or(keyspace, String::as_str)
    }

    /// What a table is called then: keyspace and name.
    #[must_use]
    pub fn table(&self, keyspace: &str, table: &str) -> (String, String) {
        let key = (keyspace.to_owned(), table.to_owned());
        let single = self.tables.get(&key).cloned();
        single.unwrap_or_else(|| (self.keyspace(keyspace).to_owned(), key.1))
    }

    /// Whether nothing gets another name.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.keyspaces.is_empty() && self.tables.is_empty()
    }

    /// Where a view or an index of a table goes.
    fn attached(&self, (keyspace, name): (&str, &str), base: &Base) -> Place {
        let key = (keyspace.to_owned(), name.to_owned());
        if let Some(single) = self.tables.get(&key) {
            return single.clone();
        }
        let (to, table) = self.table(keyspace, &base.table);
        if to == keyspace && table != base.table && !name.is_empty() {
            let name = format!("{table}_{name}");
            return (to, name);
        }
        (to, key.1)
    }
}

impl Schema {
    /// All of it under other names. What is in a keyspace without being a table is made in each
    /// keyspace into which tables of it go.
    ///
    /// # Errors
    /// [`Error::Clash`], if two things would have one name.
    pub fn renamed(&self, renames: &Renames) -> Result<Self, Error> {
        if renames.is_empty() {
            return Ok(self.clone());
        }
        let mut objects: Vec<Object> = Vec::new();
        let mut made = BTreeMap::new();
        for (number, object) in self.objects.iter().enumerate() {
            for to in self.places(object, renames) {
                let object = object.moved(&to, renames)?;
                let before = made.insert(object.key(), number);
                if before.is_some() && object.kind != Kind::Keyspace && object.is_named() {
                    return Err(Error::Clash {
                        kind: object.kind.word(),
                        name: object.full_name(),
                    });
                }
                if before.is_none() || object.kind != Kind::Keyspace {
                    objects.push(object);
                }
            }
        }
        Ok(Self {
            objects,
            skipped: self.skipped.clone(),
        })
    }

    /// The keyspaces into which an object goes.
    fn places(&self, object: &Object, renames: &Renames) -> BTreeSet<String> {
        let own = &object.keyspace;
        if object.kind == Kind::Table {
            return BTreeSet::from([renames.table(own, &object.name).0]);
        }
        if let Some(base) = &object.base {
            return BTreeSet::from([renames.attached((own, &object.name), base).0]);
        }
        let tables = self.objects.iter();
        let tables = tables.filter(|o| o.kind == Kind::Table && o.keyspace == *own);
        let mut places: BTreeSet<_> = tables.map(|t| renames.table(own, &t.name).0).collect();
        if places.is_empty() {
            places.insert(renames.keyspace(own).to_owned());
        }
        places
    }
}

impl Object {
    /// This one in the keyspace `to`.
    fn moved(&self, to: &str, renames: &Renames) -> Result<Self, Error> {
        let (name, base) = match (&self.base, self.kind) {
            (Some(base), _) => {
                let place = renames.attached((&self.keyspace, &self.name), base);
                (place, Some(renames.table(&self.keyspace, &base.table)))
            }
            (None, Kind::Table) => (renames.table(&self.keyspace, &self.name), None),
            (None, Kind::Keyspace) => ((to.to_owned(), to.to_owned()), None),
            (None, _) => ((to.to_owned(), self.name.clone()), None),
        };
        let change = Move {
            from: self.keyspace.clone(),
            name,
            base,
        };
        let statements = self.statements.iter().map(|statement| {
            if statement.subject().kind == Kind::Grant {
                return statement.grant_renamed(renames);
            }
            statement.moved(&change)
        });
        let statements = statements.collect::<Result<_, _>>()?;
        let base = change
            .base
            .map(|(keyspace, table)| Base { keyspace, table });
        let (keyspace, name) = change.name;
        Ok(Self {
            keyspace,
            name,
            base,
            statements,
            ..self.clone()
        })
    }
}

impl Statement {
    /// This statement with other names for keyspaces and tables, in all it says of them.
    ///
    /// # Errors
    /// [`Error::TooLarge`].
    pub fn renamed(&self, renames: &Renames) -> Result<Self, Error> {
        let subject = self.subject();
        let own = &subject.keyspace;
        let base = subject.base.as_ref();
        let name = match (subject.kind, base) {
            (Kind::Grant, _) => return self.grant_renamed(renames),
            (Kind::Keyspace, _) => {
                let to = renames.keyspace(own).to_owned();
                (to.clone(), to)
            }
            (_, Some(base)) => renames.attached((own, &subject.name), base),
            (Kind::Table | Kind::View, None) => renames.table(own, &subject.name),
            (_, None) => (renames.keyspace(own).to_owned(), subject.name.clone()),
        };
        self.moved(&Move {
            from: own.clone(),
            name,
            base: base.map(|base| renames.table(own, &base.table)),
        })
    }

    /// With the keyspace that its row says, if it says none itself.
    pub(crate) fn qualified(&self, keyspace: &str) -> Result<Self, Error> {
        let subject = self.subject();
        let unsaid = subject.keyspace.is_empty() && !keyspace.is_empty();
        let may = match subject.kind {
            Kind::Type
            | Kind::Function
            | Kind::Aggregate
            | Kind::Table
            | Kind::Index
            | Kind::View => unsaid,
            Kind::Keyspace | Kind::ServiceLevel | Kind::Role | Kind::Grant | Kind::Other => false,
        };
        if !may {
            return Ok(self.clone());
        }
        let base = subject.base.as_ref();
        let mut edits = Vec::new();
        let mut prefix = |named: Option<Named>| {
            if let Some(Named {
                keyspace: None,
                name,
            }) = named
            {
                let at = self.offset(name);
                edits.push((at..at, format!("{}.", quote(keyspace))));
            }
        };
        if subject.kind != Kind::Index {
            prefix(self.places().name);
        }
        if base.is_some() {
            prefix(self.places().base);
        }
        self.edited(edits)
    }

    fn moved(&self, change: &Move) -> Result<Self, Error> {
        let subject = self.subject();
        let (keyspace, name) = &change.name;
        let mut edits = Vec::new();
        if let Some(named) = self.places().name {
            self.own_name_edits(named, change, &mut edits);
        }
        if let (Some(named), Some((keyspace, table))) = (self.places().base, &change.base) {
            self.name_edits(named, (keyspace, table), &change.from, &mut edits);
        }
        self.type_edits(&change.from, keyspace, &mut edits);
        let other = (keyspace, name) != (&change.from, &subject.name);
        let has_id = matches!(subject.kind, Kind::Table | Kind::View);
        if other && has_id && subject.verb == Verb::Create {
            edits.extend(self.id_edit().map(|range| (range, String::new())));
        }
        self.edited(edits)
    }

    fn own_name_edits(&self, named: Named, change: &Move, edits: &mut Vec<(Range<usize>, String)>) {
        let (keyspace, name) = &change.name;
        let subject = self.subject();
        match subject.kind {
            Kind::Keyspace | Kind::Index => {
                if *name != subject.name {
                    edits.push((self.bytes(&(named.name..named.name + 1)), quote(name)));
                }
            }
            Kind::Type | Kind::Function | Kind::Aggregate | Kind::Table | Kind::View => {
                self.name_edits(named, (keyspace, name), &change.from, edits);
            }
            Kind::ServiceLevel | Kind::Role | Kind::Grant | Kind::Other => {}
        }
    }

    /// What puts `to` in place of a name in the keyspace `from`; nothing, if it is that.
    fn name_edits(
        &self,
        named: Named,
        to: (&str, &str),
        from: &str,
        edits: &mut Vec<(Range<usize>, String)>,
    ) {
        let old = self.name_at(named.name).unwrap_or_default();
        if (from, old.as_str()) != to {
            let tokens = named.keyspace.unwrap_or(named.name)..named.name + 1;
            edits.push((self.bytes(&tokens), make::qualified(to.0, to.1)));
        }
    }

    /// What puts another keyspace before types that are named with theirs.
    fn type_edits(&self, from: &str, to: &str, edits: &mut Vec<(Range<usize>, String)>) {
        let places = self.places();
        let end = options::with(self).unwrap_or(self.tokens().len());
        let base = places.base.and_then(|base| base.keyspace);
        for at in places.body..end {
            let qualifies = Some(at) != base
                && self.is_symbol(at + 1, '.')
                && self.name_at(at).as_deref() == Some(from);
            if qualifies && from != to && self.name_at(at + 2).is_some() {
                edits.push((self.bytes(&(at..at + 1)), quote(to)));
            }
        }
    }

    /// The keyspace that a grant is on, or on something in it.
    pub(crate) fn granted_on(&self) -> Option<String> {
        let mut body = self.places().body..self.tokens().len();
        body.find_map(|at| {
            let name = self.name_at(at)?;
            let keyspace = at > 0 && self.is(at - 1, "KEYSPACE");
            (keyspace || self.is_symbol(at + 1, '.')).then_some(name)
        })
    }

    /// A grant on what has another name.
    fn grant_renamed(&self, renames: &Renames) -> Result<Self, Error> {
        let mut edits = Vec::new();
        for at in self.places().body..self.tokens().len() {
            let Some(keyspace) = self.name_at(at) else {
                continue;
            };
            let before = |word| at > 0 && self.is(at - 1, word);
            let to = renames.keyspace(&keyspace);
            if before("KEYSPACE") || before("FUNCTION") {
                if to != keyspace {
                    edits.push((self.bytes(&(at..at + 1)), quote(to)));
                }
            } else if self.is_symbol(at + 1, '.')
                && let Some(name) = self.name_at(at + 2)
            {
                let named = Named {
                    keyspace: Some(at),
                    name: at + 2,
                };
                let (to, table) = renames.table(&keyspace, &name);
                self.name_edits(named, (&to, &table), &keyspace, &mut edits);
            }
        }
        self.edited(edits)
    }
}
