//! `DESCRIBE`: the schema as statements that make it again.

mod text;

use std::collections::BTreeSet;

use super::ast::{Describe, Described, Element, Name};
use super::fail::Fail;
use super::session::{Rows, Session};
use super::types::Type;
use crate::schema::options::quote;
use crate::schema::{Keyspace, Kind, Model, Table, logical_index, name};
use text::statement;

/// One row of an answer.
struct Description {
    keyspace: Option<String>,
    kind: &'static str,
    name: String,
    statement: String,
}

impl Description {
    fn new(keyspace: &str, kind: &'static str, name: &str, statement: String) -> Self {
        let (keyspace, name) = (Some(keyspace.to_owned()), name.to_owned());
        Self {
            keyspace,
            kind,
            name,
            statement,
        }
    }
}

impl Session<'_> {
    /// Answers a `DESCRIBE`.
    ///
    /// # Errors
    /// When there is nothing of that name, or passwords are asked for by somebody who may not.
    pub(crate) fn describe(&self, describe: &Describe) -> Result<Rows, Fail> {
        let internals = describe.internals;
        let model = self.sim.model();
        let list = match &describe.what {
            Described::Cluster => return Ok(cluster(&model)),
            Described::List(element) => return self.list(&model, *element),
            Described::Schema { full } => {
                if describe.passwords
                    && self
                        .user
                        .is_some_and(|user| !model.access.is_superuser(user))
                {
                    return Err(Fail::unauthorized(
                        "DESCRIBE SCHEMA WITH INTERNALS AND PASSWORDS can only be issued by a superuser",
                    ));
                }
                schema(&model, *full, internals, describe.passwords)
            }
            Described::Keyspace { name, only } => {
                let used = name.as_deref().or(self.keyspace);
                let wanted = used.ok_or_else(|| {
                    Fail::invalid("No keyspace specified and no current keyspace")
                })?;
                let found = found(&model, wanted)?;
                if *only {
                    vec![keyspace(wanted, found)]
                } else {
                    whole(wanted, found, internals)
                }
            }
            Described::One(element, wanted) => {
                let ks = wanted.keyspace.as_deref().or(self.keyspace);
                let ks = ks.ok_or_else(|| {
                    Fail::invalid("No keyspace specified and no current keyspace")
                })?;
                one(ks, found(&model, ks)?, *element, &wanted.name, internals)?
            }
            Described::Any(wanted) => self.any(&model, wanted, internals)?,
        };
        let row = |d: Description| {
            vec![
                d.keyspace,
                Some(d.kind.to_owned()),
                Some(d.name),
                Some(d.statement),
            ]
        };
        let columns = ["keyspace_name", "type", "name", "create_statement"];
        Ok(Rows::texts(
            "describe",
            &columns,
            list.into_iter().map(row).collect(),
        ))
    }

    /// Names of all elements of a kind, in the used keyspace or all.
    fn list(&self, model: &Model, element: Element) -> Result<Rows, Fail> {
        let mut rows = Vec::new();
        for (ks, keyspace) in &model.keyspaces {
            if self.keyspace.is_some_and(|used| used != ks) && element != Element::Keyspace {
                continue;
            }
            let names: Vec<(&str, &String)> = match element {
                Element::Keyspace => vec![("keyspace", ks)],
                Element::Table => tables(keyspace).map(|(name, _)| ("table", name)).collect(),
                Element::Type => keyspace.types.keys().map(|name| ("type", name)).collect(),
                Element::View | Element::Index | Element::Function | Element::Aggregate => {
                    Vec::new()
                }
            };
            let row = |(kind, name): (&str, &String)| {
                vec![Some(ks.clone()), Some(kind.to_owned()), Some(name.clone())]
            };
            rows.extend(names.into_iter().map(row));
        }
        Ok(Rows::texts(
            "describe",
            &["keyspace_name", "type", "name"],
            rows,
        ))
    }

    /// Whatever has that name: a keyspace, or something in the used one.
    fn any(&self, model: &Model, wanted: &Name, internals: bool) -> Result<Vec<Description>, Fail> {
        let missing = |what: &str| Fail::invalid(format!("'{what}' not found in keyspaces"));
        if let (None, Some(found)) = (&wanted.keyspace, model.keyspaces.get(&wanted.name)) {
            return Ok(whole(&wanted.name, found, internals));
        }
        let ks = wanted
            .keyspace
            .as_deref()
            .or(self.keyspace)
            .ok_or_else(|| missing(&wanted.name))?;
        let found = model.keyspaces.get(ks).ok_or_else(|| missing(ks))?;
        for element in [Element::Table, Element::View, Element::Index, Element::Type] {
            if let Ok(list) = one(ks, found, element, &wanted.name, internals) {
                return Ok(list);
            }
        }
        Err(Fail::invalid(format!(
            "'{}' not found in keyspace '{ks}'",
            wanted.name
        )))
    }
}

fn found<'m>(model: &'m Model, keyspace: &str) -> Result<&'m Keyspace, Fail> {
    let found = model.keyspaces.get(keyspace);
    found.ok_or_else(|| Fail::invalid(format!("'{keyspace}' not found in keyspaces")))
}

fn cluster(model: &Model) -> Rows {
    let row = [
        model.cluster_name.as_str(),
        "org.apache.cassandra.dht.Murmur3Partitioner",
        "org.apache.cassandra.locator.GossipingPropertyFileSnitch",
    ];
    let row = row.iter().map(|text| Some((*text).to_owned())).collect();
    Rows::texts("describe", &["cluster", "partitioner", "snitch"], vec![row])
}

/// Everything users made: keyspaces with what is in them; with `internals` also who may do what.
fn schema(model: &Model, full: bool, internals: bool, passwords: bool) -> Vec<Description> {
    let users = model
        .keyspaces
        .iter()
        .filter(|(_, keyspace)| full || !keyspace.system);
    let mut list: Vec<_> = users
        .flat_map(|(name, found)| whole(name, found, internals))
        .collect();
    if internals {
        let access = super::role::describe(&model.access, passwords);
        list.extend(
            access
                .into_iter()
                .map(|(kind, name, statement)| Description {
                    keyspace: None,
                    kind,
                    name,
                    statement,
                }),
        );
    }
    list
}

/// A keyspace with its types, and its tables with their indexes and views.
fn whole(ks: &str, found: &Keyspace, internals: bool) -> Vec<Description> {
    let mut list = vec![keyspace(ks, found)];
    list.extend(
        sorted_types(found)
            .into_iter()
            .map(|udt| user_type(ks, udt, &found.types[udt])),
    );
    for (name, _) in tables(found) {
        list.extend(with_followers(ks, found, name, internals));
    }
    list
}

fn tables(found: &Keyspace) -> impl Iterator<Item = (&String, &Table)> {
    found
        .tables
        .iter()
        .filter(|(_, table)| table.kind == Kind::Table)
}

/// A table, its indexes, its views.
fn with_followers(ks: &str, found: &Keyspace, name: &str, internals: bool) -> Vec<Description> {
    let mut list = vec![described(ks, found, name, internals)];
    for kind in [Kind::Index, Kind::View] {
        let of_it = found.tables.iter();
        let of_it = of_it.filter(|(_, t)| t.kind == kind && t.base.as_deref() == Some(name));
        list.extend(of_it.map(|(follower, _)| described(ks, found, follower, internals)));
    }
    list
}

fn one(
    ks: &str,
    found: &Keyspace,
    element: Element,
    wanted: &str,
    internals: bool,
) -> Result<Vec<Description>, Fail> {
    let kind = |name: &str| found.tables.get(name).map(|table| table.kind);
    let missing =
        |what: &str| Fail::invalid(format!("{what} '{wanted}' not found in keyspace '{ks}'"));
    match element {
        Element::Keyspace => Ok(vec![keyspace(ks, found)]),
        Element::Table => match kind(wanted) {
            Some(Kind::Table) => Ok(with_followers(ks, found, wanted, internals)),
            Some(Kind::View | Kind::Index) => {
                Err(Fail::invalid("Cannot use DESC TABLE on materialized View"))
            }
            None => Err(missing("Table")),
        },
        Element::View if kind(wanted) == Some(Kind::View) => {
            Ok(vec![described(ks, found, wanted, internals)])
        }
        Element::View => Err(missing("Materialized view")),
        Element::Index => {
            let backing = format!("{wanted}_index");
            if kind(&backing) == Some(Kind::Index) {
                return Ok(vec![described(ks, found, &backing, internals)]);
            }
            Err(Fail::invalid(format!(
                "Table for existing index '{wanted}' not found in '{ks}'"
            )))
        }
        Element::Type => {
            let fields = found.types.get(wanted).ok_or_else(|| missing("Type"))?;
            Ok(vec![user_type(ks, wanted, fields)])
        }
        Element::Function => Err(missing("Function")),
        Element::Aggregate => Err(missing("Aggregate")),
    }
}

/// The replication options of a keyspace, as told everywhere.
pub(crate) fn replication(found: &Keyspace) -> Vec<(String, String)> {
    let class = match (found.local, found.simple) {
        (true, _) => "LocalStrategy",
        (_, true) => "SimpleStrategy",
        (_, false) => "NetworkTopologyStrategy",
    };
    let class = (
        "class".to_owned(),
        format!("org.apache.cassandra.locator.{class}"),
    );
    let factors = found.replication.iter().filter(|_| !found.local);
    let factors = factors.map(|(dc, factor)| (dc.clone(), factor.to_string()));
    std::iter::once(class).chain(factors).collect()
}

fn keyspace(ks: &str, found: &Keyspace) -> Description {
    let pairs: Vec<String> = replication(found)
        .iter()
        .map(|(key, value)| format!("{}: {}", quote(key), quote(value)))
        .collect();
    let mut text = format!(
        "CREATE KEYSPACE {} WITH replication = {{{}}} AND durable_writes = {}",
        name(ks),
        pairs.join(", "),
        found.durable_writes
    );
    if !found.local {
        let initial = found.initial.map(|count| format!(", 'initial': {count}"));
        text += &format!(
            " AND tablets = {{'enabled': {}{}}}",
            found.tablets,
            initial.unwrap_or_default()
        );
    }
    Description::new(ks, "keyspace", ks, text + ";")
}

/// Types after those they are made of.
fn sorted_types(found: &Keyspace) -> Vec<&String> {
    let (mut sorted, mut done) = (Vec::new(), BTreeSet::new());
    while sorted.len() < found.types.len() {
        let ready = |fields: &Vec<(String, Type)>| {
            fields
                .iter()
                .all(|(_, ty)| ty.udts().iter().all(|udt| done.contains(*udt)))
        };
        let next = found
            .types
            .iter()
            .find(|(udt, fields)| !done.contains(udt.as_str()) && ready(fields));
        let Some((udt, _)) = next else {
            // Types cannot be made of each other; were they, the rest would come in any order.
            sorted.extend(
                found
                    .types
                    .keys()
                    .filter(|udt| !done.contains(udt.as_str())),
            );
            break;
        };
        sorted.push(udt);
        done.insert(udt.as_str());
    }
    sorted
}

fn user_type(ks: &str, udt: &str, fields: &[(String, Type)]) -> Description {
    let fields: Vec<String> = fields
        .iter()
        .map(|(field, ty)| format!("    {} {ty}", name(field)))
        .collect();
    let text = format!(
        "CREATE TYPE {}.{} (\n{}\n);",
        name(ks),
        name(udt),
        fields.join(",\n")
    );
    Description::new(ks, "type", udt, text)
}

/// A table, view or index.
fn described(ks: &str, found: &Keyspace, wanted: &str, internals: bool) -> Description {
    let table = &found.tables[wanted];
    let text = statement(ks, wanted, table, internals);
    match table.kind {
        Kind::Table => Description::new(ks, "table", wanted, text),
        Kind::View => Description::new(ks, "view", wanted, text),
        Kind::Index => Description::new(ks, "index", logical_index(wanted), text),
    }
}

/// What `schema.cql` in a snapshot says; empty when there is no such table.
pub(crate) fn snapshot(model: &Model, keyspace: &str, wanted: &str) -> String {
    let table = model.table(keyspace, wanted).map(|(_, table)| table);
    table
        .map(|table| statement(keyspace, wanted, table, true) + "\n")
        .unwrap_or_default()
}
