//! What a table is made of: columns, options, and for views and indexes what they are of.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::options::Options;
use crate::cql::types::Type;

/// What a column is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Place {
    Partition,
    Clustering { descending: bool },
    Regular,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Column {
    pub(crate) name: String,
    #[serde(rename = "type")]
    pub(crate) ty: Type,
    pub(crate) place: Place,
}

impl Column {
    pub(crate) fn new(name: impl Into<String>, ty: Type, place: Place) -> Self {
        let name = name.into();
        Self { name, ty, place }
    }
}

/// A column that is no more.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Dropped {
    #[serde(rename = "type")]
    pub(crate) ty: Type,
    /// What was written before is not shown, should the column come again. Microseconds.
    pub(crate) micros: i64,
}

/// What makes a table a view.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct View {
    /// All columns of the base table, also those it gets later.
    pub(crate) all: bool,
    /// The condition, as written.
    pub(crate) condition: String,
}

/// What makes a table the backing table of an index.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Index {
    /// The indexed column.
    pub(crate) column: String,
    /// Whether it serves only whole partitions of the base table.
    pub(crate) local: bool,
}

/// Everything a table is besides its name and place.
///
/// By default that of tables made by the admin API: `key blob PRIMARY KEY, value blob`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Definition {
    /// In order of creation; keys in their own order.
    pub(crate) columns: Vec<Column>,
    #[serde(default)]
    pub(crate) options: Options,
    #[serde(default)]
    pub(crate) dropped: BTreeMap<String, Dropped>,
    #[serde(default)]
    pub(crate) view: Option<View>,
    #[serde(default)]
    pub(crate) index: Option<Index>,
    /// A view or index made by the admin API: it holds what is loaded into it and follows no table.
    #[serde(default)]
    pub(crate) loose: bool,
    /// A view or index that is not yet filled with what its table holds.
    #[serde(default)]
    pub(crate) building: bool,
}

impl Default for Definition {
    fn default() -> Self {
        Self::of(vec![
            Column::new("key", Type::BLOB, Place::Partition),
            Column::new("value", Type::BLOB, Place::Regular),
        ])
    }
}

impl Definition {
    pub(crate) fn of(columns: Vec<Column>) -> Self {
        Self {
            columns,
            options: Options::default(),
            dropped: BTreeMap::new(),
            view: None,
            index: None,
            loose: false,
            building: false,
        }
    }

    /// That of a view (or the backing table of an index) made by the admin API: of the column `value`.
    pub(crate) fn loose(index: bool) -> Self {
        let key = Place::Clustering { descending: false };
        let mut made = Self::of(vec![
            Column::new("value", Type::BLOB, Place::Partition),
            Column::new("key", Type::BLOB, key),
        ]);
        made.loose = true;
        if index {
            let column = "value".to_owned();
            made.index = Some(Index {
                column,
                local: false,
            });
        } else {
            let condition = "key IS NOT null AND value IS NOT null".to_owned();
            made.view = Some(View {
                all: true,
                condition,
            });
        }
        made
    }

    pub(crate) fn partition(&self) -> impl Iterator<Item = &Column> {
        self.columns.iter().filter(|c| c.place == Place::Partition)
    }

    pub(crate) fn clustering(&self) -> impl Iterator<Item = &Column> {
        let clustering = |c: &&Column| matches!(c.place, Place::Clustering { .. });
        self.columns.iter().filter(clustering)
    }

    /// Columns outside the key, by name.
    pub(crate) fn regular(&self) -> Vec<&Column> {
        let mut columns: Vec<_> = self
            .columns
            .iter()
            .filter(|c| c.place == Place::Regular)
            .collect();
        columns.sort_by(|a, b| a.name.cmp(&b.name));
        columns
    }

    /// All columns in the order in which they are shown: keys, then the others by name.
    pub(crate) fn shown(&self) -> Vec<&Column> {
        let keys = self.partition().chain(self.clustering());
        keys.chain(self.regular()).collect()
    }

    pub(crate) fn column(&self, name: &str) -> Option<&Column> {
        self.columns.iter().find(|column| column.name == name)
    }

    /// Whether it has the columns of tables made by the admin API, whose rows are stored bare.
    pub(crate) fn bare(&self) -> bool {
        let [key, value] = self.columns.as_slice() else {
            return false;
        };
        key.place == Place::Partition
            && (key.ty == Type::BLOB && value.ty == Type::BLOB)
            && (value.place, value.name.as_str()) == (Place::Regular, "value")
    }
}
