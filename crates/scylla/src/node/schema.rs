//! What REST tells of the schema: versions, agreement, views.

use std::{collections::BTreeMap, time::Duration};

use protocol::TableRef;
use reqwest::Method;
use serde::Deserialize;

use super::{Node, topology::Pair};
use crate::Error;

/// Under this name a node lists those that did not tell their version.
const UNREACHABLE: &str = "UNREACHABLE";

/// How far a node is with building a view.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "UPPERCASE")]
pub enum ViewBuild {
    /// It is building it.
    Started,
    /// It has built it.
    Success,
    /// It knows nothing of it: it has not begun, or there is no such view.
    #[serde(other)]
    Unknown,
}

impl Node {
    /// Versions of the schema, each with the addresses of the nodes that have it.
    ///
    /// Only nodes this one sees alive are asked; those that did not answer are under
    /// `UNREACHABLE`.
    ///
    /// # Errors
    /// As for every call: [`Error`].
    pub async fn schema_versions(&self) -> Result<BTreeMap<String, Vec<String>>, Error> {
        let path = ["storage_proxy", "schema_versions"];
        let all: Vec<Pair<Option<Vec<String>>>> = self.get(&path, "list schema versions").await?;
        let pairs = all.into_iter();
        Ok(pairs
            .map(|pair| (pair.key, pair.value.unwrap_or_default()))
            .collect())
    }

    /// Whether all live nodes have the same schema.
    ///
    /// # Errors
    /// As for every call: [`Error`].
    pub async fn schema_agrees(&self) -> Result<bool, Error> {
        let versions = self.schema_versions().await?;
        Ok(versions.len() == 1 && !versions.contains_key(UNREACHABLE))
    }

    /// Waits until this node knows all that the cluster had agreed on before the call.
    ///
    /// # Errors
    /// [`Error::Refused`] if it does not within `limit`, rounded up to whole seconds.
    pub async fn read_barrier(&self, limit: Duration) -> Result<(), Error> {
        let seconds = limit.as_secs_f64().ceil().max(1.0);
        let attempt = "catch up with the cluster";
        let call = self.call(Method::POST, &["raft", "read_barrier"], attempt);
        let call = call.with("timeout", seconds.to_string());
        call.within(limit + super::SHORT).done().await
    }

    /// How far each node, by address, is with building a view.
    ///
    /// A name that is no view's is fine: every node answers [`ViewBuild::Unknown`].
    ///
    /// # Errors
    /// As for every call: [`Error`].
    pub async fn view_build(&self, view: &TableRef) -> Result<BTreeMap<String, ViewBuild>, Error> {
        let attempt = format!("tell how far view {view} is built");
        let path = [
            "storage_service",
            "view_build_statuses",
            &view.keyspace,
            &view.table,
        ];
        let all: Vec<Pair<ViewBuild>> = self.get(&path, &attempt).await?;
        Ok(all.into_iter().map(|pair| (pair.key, pair.value)).collect())
    }

    /// Bytes that a table has on this node's disk, snapshots not counted.
    ///
    /// # Errors
    /// [`Error::NoSuchTable`] if there is no such table.
    pub async fn bytes_on_disk(&self, table: &TableRef) -> Result<u64, Error> {
        let attempt = format!("tell the size of {table}");
        let name = super::table::joined(table);
        let path = ["column_family", "metrics", "total_disk_space_used", &name];
        // Some versions write whole numbers with an exponent.
        let bytes: serde_json::Number = self.get(&path, &attempt).await?;
        whole(&bytes).ok_or_else(|| Error::Answer {
            attempt,
            cause: format!("`{bytes}` is no number of bytes"),
        })
    }
}

fn whole(number: &serde_json::Number) -> Option<u64> {
    number
        .as_u64()
        .or_else(|| format!("{:.0}", number.as_f64()?).parse().ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn build_states_are_read() {
        let text = r#"[{"key":"10.0.0.1","value":"STARTED"},{"key":"b","value":"SUCCESS"},
            {"key":"c","value":"UNKNOWN"},{"key":"d","value":"LATER"}]"#;
        let all: Vec<Pair<ViewBuild>> = serde_json::from_str(text).unwrap();
        let states: Vec<ViewBuild> = all.into_iter().map(|pair| pair.value).collect();
        use ViewBuild::{Started, Success, Unknown};
        assert_eq!(states, [Started, Success, Unknown, Unknown]);
    }

    #[test]
    fn numbers_come_in_any_form() {
        for (text, expected) in [
            ("144445", Some(144_445)),
            ("1e+6", Some(1_000_000)),
            ("3.0", Some(3)),
            ("-1", None),
        ] {
            assert_eq!(
                whole(&serde_json::from_str(text).unwrap()),
                expected,
                "{text}"
            );
        }
    }
}
