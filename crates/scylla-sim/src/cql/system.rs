//! Tables that are not stored: what a node tells of itself, its cluster and the schema.

mod cluster;
mod schema;

use super::fail::Fail;
use super::row::Row;
use super::session::Session;
use super::types::Type;
use crate::cluster::Sim;
use crate::hash::hash;
use crate::node::Node;
use crate::schema::definition::{Column, Definition, Place};
use crate::schema::{Kind, Table as Stored};

/// A value of a column.
type Value = Option<Vec<u8>>;

/// A table and its rows.
type Table = (Definition, Vec<Row>);

/// A table that is made up when it is read: columns of the key first.
struct Virtual {
    keyspace: &'static str,
    name: &'static str,
    /// Of the partition key, and of the clustering key.
    keys: (usize, usize),
    /// With their types as written.
    columns: &'static [(&'static str, &'static str)],
    rows: fn(&Sim, &Node) -> Vec<Vec<Value>>,
}

/// The definition and rows of such a table; `None` when it is none.
pub(crate) fn table(
    session: &Session<'_>,
    keyspace: &str,
    name: &str,
) -> Option<Result<Table, Fail>> {
    let all = cluster::TABLES.iter().chain(schema::TABLES);
    let here = all.filter(|table| table.keyspace == keyspace);
    if let Some(found) = here.clone().find(|table| table.name == name) {
        return Some(Ok(found.table(session.sim, session.node)));
    }
    let made_up = here.count() > 0 && session.sim.model().table(keyspace, name).is_none();
    made_up.then(|| Err(Fail::no_table(name)))
}

/// Keyspace and name of all such tables, each as if it were stored.
fn made_up() -> Vec<(&'static str, &'static str, Stored)> {
    let all = cluster::TABLES.iter().chain(schema::TABLES);
    let stored = |table: &Virtual| {
        let name = format!("{}.{}", table.keyspace, table.name);
        let words = [hash(13, name.as_bytes()), hash(14, name.as_bytes())];
        let words = words.map(u128::from);
        let stored = Stored {
            id: uuid::Uuid::from_u128(words[0] << 64 | words[1]),
            kind: Kind::Table,
            base: None,
            compressed: false,
            tablets: Vec::new(),
            hint: None,
            definition: table.definition(),
        };
        (table.keyspace, table.name, stored)
    };
    all.map(stored).collect()
}

impl Virtual {
    fn definition(&self) -> Definition {
        let place = |at: usize| match at {
            _ if at < self.keys.0 => Place::Partition,
            _ if at < self.keys.0 + self.keys.1 => Place::Clustering { descending: false },
            _ => Place::Regular,
        };
        let columns = self.columns.iter().enumerate();
        let columns = columns.map(|(at, (name, ty))| {
            let ty = Type::try_from((*ty).to_owned()).expect("written below");
            Column::new(*name, ty, place(at))
        });
        Definition::of(columns.collect())
    }

    fn table(&self, sim: &Sim, node: &Node) -> Table {
        let rows = (self.rows)(sim, node).into_iter();
        let rows = rows.map(|values| Row {
            values,
            marker: true,
            stamp: 0,
            token: 0,
        });
        (self.definition(), rows.collect())
    }
}

fn text(text: impl Into<String>) -> Value {
    Some(text.into().into_bytes())
}

fn boolean(value: bool) -> Value {
    Some(vec![u8::from(value)])
}

fn int(value: i32) -> Value {
    Some(value.to_be_bytes().to_vec())
}
