//! A table's rows, read and summed up so that two tables can be compared without their order.

use driver::{
    deserialize::{
        DeserializationError, TypeCheckError,
        row::{ColumnIterator, DeserializeRow},
    },
    frame::response::result::ColumnSpec,
    statement::unprepared::Statement,
};
use futures::TryStreamExt as _;
use md5::{Digest as _, Md5};

use super::{CqlError, Session};

/// Rows asked for at once.
const PAGE: i32 = 1000;
/// A page of rows, from all replicas of many ranges.
const PAGE_LIMIT: std::time::Duration = std::time::Duration::from_secs(2 * 60);

/// From how many replicas rows are read.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Consistency {
    /// From all.
    #[default]
    All,
    /// From most.
    Quorum,
    /// From most of one datacenter.
    LocalQuorum,
    /// From one.
    One,
}

impl From<Consistency> for driver::statement::Consistency {
    fn from(consistency: Consistency) -> Self {
        match consistency {
            Consistency::All => Self::All,
            Consistency::Quorum => Self::Quorum,
            Consistency::LocalQuorum => Self::LocalQuorum,
            Consistency::One => Self::One,
        }
    }
}

/// What a table's rows come to. Tables with the same rows have the same, in whatever order they
/// come; names and values of columns count, times and lifetimes of cells do not.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Fingerprint {
    /// How many rows there are. A partition without rows that has static values is one.
    pub rows: u64,
    /// The sum of all rows' hashes.
    pub sum: u128,
}

impl Fingerprint {
    fn add(&mut self, RowHash(hash): RowHash) {
        self.rows += 1;
        self.sum = self.sum.wrapping_add(hash);
    }
}

impl Session {
    /// Reads all rows of a table, page by page. `seen` is told how many there were so far.
    ///
    /// # Errors
    /// [`CqlError`]; those that [`CqlError::retry`] says so mean to begin anew.
    pub async fn fingerprint(
        &self,
        (keyspace, table): (&str, &str),
        consistency: Consistency,
        mut seen: impl FnMut(u64),
    ) -> Result<Fingerprint, CqlError> {
        let attempt = format!("read the rows of {keyspace}.{table}");
        let name = format!("{}.{}", cql::quote(keyspace), cql::quote(table));
        let mut statement = Statement::new(format!("SELECT * FROM {name}")).with_page_size(PAGE);
        statement.set_consistency(consistency.into());
        statement.set_is_idempotent(true);
        statement.set_request_timeout(Some(PAGE_LIMIT));
        let pages = self.driver.query_iter(statement, ()).await;
        let pages = pages.map_err(|e| CqlError::from_pages(&attempt, &e))?;
        let rows = pages.rows_stream::<RowHash>();
        let mut rows = rows.map_err(|e| CqlError::answer(&attempt, &e))?;
        let mut all = Fingerprint::default();
        while let Some(row) = rows
            .try_next()
            .await
            .map_err(|e| CqlError::from_row(&attempt, &e))?
        {
            all.add(row);
            seen(all.rows);
        }
        Ok(all)
    }
}

/// The hash of a row: of its columns' names and bytes, in the order of the names.
struct RowHash(u128);

impl<'frame, 'metadata> DeserializeRow<'frame, 'metadata> for RowHash {
    fn type_check(_: &[ColumnSpec<'_>]) -> Result<(), TypeCheckError> {
        Ok(())
    }

    fn deserialize(row: ColumnIterator<'frame, 'metadata>) -> Result<Self, DeserializationError> {
        let mut cells = Vec::with_capacity(row.columns_remaining());
        for column in row {
            let column = column?;
            let value = column.slice.map(|slice| slice.as_slice());
            cells.push((column.spec.name().as_bytes(), value));
        }
        Ok(Self(hash(cells)))
    }
}

fn hash(mut cells: Vec<(&[u8], Option<&[u8]>)>) -> u128 {
    cells.sort_unstable_by_key(|(name, _)| *name);
    let mut hash = Md5::new();
    let mut part = |bytes: &[u8]| {
        // With its length before it, for else `ab` + `c` was as `a` + `bc`.
        hash.update((bytes.len() as u64).to_be_bytes());
        hash.update(bytes);
    };
    for (name, value) in cells {
        part(name);
        // No value is not an empty one.
        part(&[u8::from(value.is_some())]);
        part(value.unwrap_or_default());
    }
    u128::from_be_bytes(hash.finalize().into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn order_does_not_count_and_all_else_does() {
        let cell = |name: &'static str, value: Option<&'static str>| {
            (name.as_bytes(), value.map(str::as_bytes))
        };
        let row = hash(vec![cell("a", Some("1")), cell("b", None)]);
        assert_eq!(row, hash(vec![cell("b", None), cell("a", Some("1"))]));
        let other = hash(vec![cell("a", Some("1")), cell("b", Some(""))]);
        assert_ne!(row, other);
        assert_ne!(row, hash(vec![cell("a", Some("1"))]));
        assert_ne!(
            hash(vec![cell("a", Some("1")), cell("b", Some("2"))]),
            hash(vec![cell("a", Some("2")), cell("b", Some("1"))])
        );
        let sum = |rows: &[u128]| {
            let mut all = Fingerprint::default();
            rows.iter().for_each(|row| all.add(RowHash(*row)));
            all
        };
        assert_eq!(sum(&[row, other]), sum(&[other, row]));
        assert_ne!(sum(&[row, row]), sum(&[row]));
        assert_eq!(sum(&[u128::MAX, 2]).sum, 1);
    }
}
