//! Rows of a table as they lie in SSTables, and as columns.

use crate::cql::value::append;
use crate::hash::token;
use crate::replica::Fresh;
use crate::schema::definition::{Column, Definition, Place};
use crate::sstable::frame::{Entry, Traits};

/// A row with its columns in the order of the table's definition.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Row {
    pub(crate) values: Vec<Option<Vec<u8>>>,
    /// Whether it exists even with nothing but its key: so made by `INSERT`.
    pub(crate) marker: bool,
    /// When it was last written, microseconds.
    pub(crate) stamp: i64,
    pub(crate) token: i64,
}

impl Row {
    /// Whether it is to be seen.
    pub(crate) fn exists(&self, definition: &Definition) -> bool {
        let cells = definition.columns.iter().zip(&self.values);
        let mut cells = cells.filter(|(column, _)| column.place == Place::Regular);
        self.marker || cells.any(|(_, value)| value.is_some())
    }

    /// The values of columns, `None` where one lacks.
    pub(crate) fn parts<'a>(
        &self,
        definition: &Definition,
        columns: impl Iterator<Item = &'a Column>,
    ) -> Option<Vec<Vec<u8>>> {
        let value = |column: &Column| {
            let at = definition
                .columns
                .iter()
                .position(|c| c.name == column.name)?;
            self.values[at].clone()
        };
        columns.map(value).collect()
    }
}

/// The partition key as one value, as tokens are of.
pub(crate) fn partition_key(parts: &[Vec<u8>]) -> Vec<u8> {
    if let [one] = parts {
        return one.clone();
    }
    let mut key = Vec::new();
    for part in parts {
        let length = u16::try_from(part.len()).unwrap_or(u16::MAX);
        key.extend(length.to_be_bytes());
        key.extend(part);
        key.push(0);
    }
    key
}

/// The token of a partition.
pub(crate) fn token_of(parts: &[Vec<u8>]) -> i64 {
    token(&partition_key(parts))
}

/// The whole key of a row, and whether it has two parts.
fn key(partition: &[Vec<u8>], clustering: &[Vec<u8>]) -> (Vec<u8>, bool) {
    let first = partition_key(partition);
    if clustering.is_empty() {
        return (first, false);
    }
    let length = u16::try_from(first.len()).unwrap_or(u16::MAX);
    let mut key = length.to_be_bytes().to_vec();
    key.extend(first);
    clustering
        .iter()
        .for_each(|part| append(&mut key, Some(part)));
    (key, true)
}

/// What deletes a row at `stamp`; `now` is in seconds.
pub(crate) fn tombstone(
    partition: &[Vec<u8>],
    clustering: &[Vec<u8>],
    stamp: i64,
    now: i64,
) -> Fresh {
    let (key, clustered) = key(partition, clustering);
    let traits = Traits {
        clustered,
        dead: true,
        cells: false,
    };
    let value = now.to_be_bytes().to_vec();
    let entry = Entry::with(traits, &key, stamp, &value);
    Fresh { entry, key, value }
}

/// A row as it is stored; `None` when a part of its key lacks.
pub(crate) fn encode(definition: &Definition, row: &Row) -> Option<Fresh> {
    let partition = row.parts(definition, definition.partition())?;
    let clustering = row.parts(definition, definition.clustering())?;
    let (key, clustered) = key(&partition, &clustering);
    let bare = definition.bare() && row.marker;
    let value = match row.values.last() {
        Some(Some(value)) if bare => Some(value.clone()),
        _ => None,
    };
    let traits = Traits {
        clustered,
        dead: false,
        cells: value.is_none(),
    };
    let value = value.unwrap_or_else(|| cells(definition, row));
    let entry = Entry::with(traits, &key, row.stamp, &value);
    Some(Fresh { entry, key, value })
}

/// Whether the row has a marker, then name and value of each column outside the key.
fn cells(definition: &Definition, row: &Row) -> Vec<u8> {
    let mut bytes = vec![u8::from(row.marker)];
    for (column, value) in definition.columns.iter().zip(&row.values) {
        if let (Place::Regular, Some(value)) = (column.place, value) {
            append(&mut bytes, Some(column.name.as_bytes()));
            append(&mut bytes, Some(value));
        }
    }
    bytes
}

/// The columns of a stored row; `None` for tombstones and what is no row of this table.
pub(crate) fn decode(definition: &Definition, fresh: &Fresh) -> Option<Row> {
    let Fresh { entry, key, value } = fresh;
    if entry.traits.dead {
        return None;
    }
    let mut row = Row {
        values: vec![None; definition.columns.len()],
        marker: true,
        stamp: entry.stamp,
        token: entry.token,
    };
    let mut set = |name: &str, value: &[u8]| {
        let dropped = definition.dropped.get(name);
        let at = definition.columns.iter().position(|c| c.name == name);
        if let Some(at) = at.filter(|_| dropped.is_none_or(|d| d.micros < entry.stamp)) {
            row.values[at] = Some(value.to_vec());
        }
    };
    let partition: Vec<&str> = definition.partition().map(|c| c.name.as_str()).collect();
    let first = entry.traits.partition(key);
    match partition.as_slice() {
        // Views of the admin API hold rows of the same form as their tables.
        _ if definition.loose => set("key", key),
        [one] => set(one, first),
        many => {
            for (name, part) in many.iter().zip(composite(first)?) {
                set(name, part);
            }
        }
    }
    if entry.traits.clustered {
        let parts = lengths(&key[2 + first.len()..])?;
        let clustering: Vec<&str> = definition.clustering().map(|c| c.name.as_str()).collect();
        for (name, part) in clustering.iter().zip(parts) {
            set(name, part);
        }
    }
    if !entry.traits.cells {
        set("value", value);
        return Some(row);
    }
    let (marker, rest) = value.split_first()?;
    for pair in lengths(rest)?.chunks_exact(2) {
        set(std::str::from_utf8(pair[0]).ok()?, pair[1]);
    }
    row.marker = *marker != 0;
    Some(row)
}

/// Parts of a partition key of several columns.
fn composite(mut bytes: &[u8]) -> Option<Vec<&[u8]>> {
    let mut parts = Vec::new();
    while !bytes.is_empty() {
        let (length, rest) = bytes.split_first_chunk()?;
        let (part, rest) = rest.split_at_checked(u16::from_be_bytes(*length).into())?;
        parts.push(part);
        bytes = rest.split_first()?.1;
    }
    Some(parts)
}

/// Values that each come after their length.
fn lengths(mut bytes: &[u8]) -> Option<Vec<&[u8]>> {
    let mut parts = Vec::new();
    while !bytes.is_empty() {
        let (length, rest) = bytes.split_first_chunk()?;
        let length = usize::try_from(u32::from_be_bytes(*length)).ok()?;
        let (part, rest) = rest.split_at_checked(length)?;
        parts.push(part);
        bytes = rest;
    }
    Some(parts)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cql::types::Type;

    fn row(values: &[Option<&str>]) -> Row {
        let values: Vec<_> = values
            .iter()
            .map(|v| v.map(|v| v.as_bytes().to_vec()))
            .collect();
        let token = token_of(&[values[0].clone().unwrap()]);
        Row {
            values,
            marker: true,
            stamp: 5,
            token,
        }
    }

    #[test]
    fn rows_come_back_as_they_were() {
        let columns = vec![
            Column::new("k", Type::TEXT, Place::Partition),
            Column::new("c", Type::TEXT, Place::Clustering { descending: false }),
            Column::new("v", Type::TEXT, Place::Regular),
            Column::new("w", Type::TEXT, Place::Regular),
        ];
        let definition = Definition::of(columns);
        let row = row(&[Some("a"), Some("b"), None, Some("w")]);
        let stored = encode(&definition, &row).unwrap();
        assert_eq!(decode(&definition, &stored), Some(row));
        let dead = tombstone(&[b"a".to_vec()], &[b"b".to_vec()], 6, 1);
        assert!(dead.entry.same_key(&stored.entry) && dead.entry.order() < stored.entry.order());
        assert_eq!(decode(&definition, &dead), None);
    }

    #[test]
    fn bare_rows_survive_new_columns() {
        let mut definition = Definition::default();
        let row = row(&[Some("key"), Some("value")]);
        let stored = encode(&definition, &row).unwrap();
        assert_eq!(
            (stored.key.as_slice(), stored.value.as_slice()),
            (&b"key"[..], &b"value"[..])
        );
        definition
            .columns
            .insert(1, Column::new("a", Type::TEXT, Place::Regular));
        let found = decode(&definition, &stored).unwrap();
        assert_eq!(
            found.values,
            [Some(b"key".to_vec()), None, Some(b"value".to_vec())]
        );
    }
}
