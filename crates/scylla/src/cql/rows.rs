//! Whether there are rows at all.

use driver::{
    deserialize::{
        DeserializationError, TypeCheckError,
        row::{ColumnIterator, DeserializeRow},
    },
    frame::response::result::ColumnSpec,
};

use super::{CqlError, Session};

impl Session {
    /// Whether a table holds a row, as one replica of each range sees it.
    ///
    /// # Errors
    /// [`CqlError`]; [`CqlError::Refused`] if there is no such table.
    pub async fn has_rows(&self, keyspace: &str, table: &str) -> Result<bool, CqlError> {
        let name = format!("{}.{}", cql::quote(keyspace), cql::quote(table));
        let attempt = format!("look for rows in {keyspace}.{table}");
        let rows: Vec<Any> = self
            .ask(&attempt, &format!("SELECT * FROM {name} LIMIT 1"))
            .await?;
        Ok(!rows.is_empty())
    }
}

/// A row, whatever it holds.
struct Any;

impl<'frame, 'metadata> DeserializeRow<'frame, 'metadata> for Any {
    fn type_check(_: &[ColumnSpec<'_>]) -> Result<(), TypeCheckError> {
        Ok(())
    }

    fn deserialize(
        mut row: ColumnIterator<'frame, 'metadata>,
    ) -> Result<Self, DeserializationError> {
        row.try_for_each(|column| column.map(drop))?;
        Ok(Self)
    }
}
