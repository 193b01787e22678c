//! Schema documents: what makes a cluster's tables anew, kept beside a backup as ScyllaDB Manager
//! does.
//!
//! * CQL: a JSON list of the rows of `DESCRIBE SCHEMA WITH INTERNALS`, in their order.
//! * Alternator: a JSON object with what DynamoDB's API says of each table. What stands in it is
//!   the API's; only a table's name is looked at here.
//!
//! Both are compressed with gzip. Fields may be missing or `null`, and those that are not known are
//! skipped. The third kind, an archive of `.cql` files, is no longer written by anybody and not
//! read here ([`crate::key::SchemaKind::Legacy`]).

use std::io::{self, Read as _};

use flate2::{Compression, read::MultiGzDecoder, write::GzEncoder};
use serde::{Deserialize, Deserializer, Serialize, de::DeserializeOwned};
use serde_json::Value;

use crate::key::SchemaKey;

/// The most JSON of one document that is read, in bytes: tens of thousands of tables, and an end
/// to one that is made to inflate without any.
pub const LARGEST: u64 = 256 << 20;

/// Why bytes are no schema document this build can read.
#[derive(Debug, thiserror::Error)]
pub enum SchemaError {
    /// The bytes stop coming, or are not gzip.
    #[error("cannot read schema `{key}`")]
    Read {
        /// The schema.
        key: String,
        /// What the reader says.
        #[source]
        cause: io::Error,
    },
    /// Not JSON, or not of a schema's shape.
    #[error("schema `{key}` is not readable: {cause}")]
    Shape {
        /// The schema.
        key: String,
        /// What is wrong.
        cause: String,
    },
    /// Its content goes on and on.
    #[error("schema `{key}` inflates to more than {limit} bytes, so it is not read")]
    TooLarge {
        /// The schema.
        key: String,
        /// The most that is read, in bytes.
        limit: u64,
    },
}

/// A row of `DESCRIBE SCHEMA WITH INTERNALS`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Row {
    /// The keyspace; empty for what belongs to none, as a role.
    #[serde(deserialize_with = "lax")]
    pub keyspace: String,
    /// What it makes: `keyspace`, `table`, `view`, `type`, `role`, …
    #[serde(rename = "type", deserialize_with = "lax")]
    pub kind: String,
    /// Its name.
    #[serde(deserialize_with = "lax")]
    pub name: String,
    /// What makes it: one or more statements of CQL.
    #[serde(deserialize_with = "lax")]
    pub cql_stmt: String,
}

/// The tables of DynamoDB's API.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Alternator {
    /// They.
    #[serde(deserialize_with = "lax")]
    pub tables: Vec<AlternatorTable>,
}

/// A table of DynamoDB's API, in that API's words.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct AlternatorTable {
    /// What `DescribeTable` says.
    pub describe: Value,
    /// What `ListTagsOfResource` says.
    pub tags: Value,
    /// What `DescribeTimeToLive` says.
    pub ttl: Value,
}

impl AlternatorTable {
    /// Its name; empty if it has none.
    #[must_use]
    pub fn name(&self) -> &str {
        self.describe["TableName"].as_str().unwrap_or_default()
    }
}

/// `null` and a missing field mean the same: the default.
fn lax<'de, D: Deserializer<'de>, T: Deserialize<'de> + Default>(from: D) -> Result<T, D::Error> {
    Option::<T>::deserialize(from).map(Option::unwrap_or_default)
}

/// Reads the CQL schema that lies under `key`.
///
/// # Errors
/// [`SchemaError`], which names the key.
pub fn read_cql(reader: impl io::Read, key: &SchemaKey) -> Result<Vec<Row>, SchemaError> {
    read::<Option<_>>(reader, key, LARGEST).map(Option::unwrap_or_default)
}

/// Reads the Alternator schema that lies under `key`.
///
/// # Errors
/// [`SchemaError`], which names the key.
pub fn read_alternator(reader: impl io::Read, key: &SchemaKey) -> Result<Alternator, SchemaError> {
    read(reader, key, LARGEST)
}

fn read<T: DeserializeOwned>(
    reader: impl io::Read,
    key: &SchemaKey,
    most: u64,
) -> Result<T, SchemaError> {
    // One more than may come, so that a document of just that size is told from a larger one.
    let mut json = MultiGzDecoder::new(reader).take(most + 1);
    let read = serde_json::from_reader(io::BufReader::new(&mut json));
    let key = || key.to_string();
    if json.limit() == 0 {
        return Err(SchemaError::TooLarge {
            key: key(),
            limit: most,
        });
    }
    read.map_err(|cause: serde_json::Error| {
        if cause.is_io() {
            SchemaError::Read {
                key: key(),
                cause: cause.into(),
            }
        } else {
            SchemaError::Shape {
                key: key(),
                cause: cause.to_string(),
            }
        }
    })
}

/// A CQL schema as it lies in the bucket. The same rows always become the same bytes.
///
/// # Panics
/// Never: rows are text, and memory takes all that is written.
#[must_use]
pub fn write_cql(rows: &[Row]) -> Vec<u8> {
    write(&rows)
}

/// An Alternator schema as it lies in the bucket. The same tables always become the same bytes.
///
/// # Panics
/// Never: tables are JSON, and memory takes all that is written.
#[must_use]
pub fn write_alternator(schema: &Alternator) -> Vec<u8> {
    write(schema)
}

fn write(document: &impl Serialize) -> Vec<u8> {
    let mut gzip = GzEncoder::new(Vec::new(), Compression::default());
    serde_json::to_writer(&mut gzip, document).expect("a schema is plain data");
    gzip.finish().expect("memory takes all that is written")
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use serde_json::json;

    use super::*;

    fn key() -> SchemaKey {
        let id = "3fa1c2de-0000-4000-8000-000000000001";
        format!("backup/schema/cluster/{id}/task_{id}_tag_sm_20260131235959UTC_schema_with_internals.json.gz")
            .parse()
            .unwrap()
    }

    fn gzip(text: &str) -> Vec<u8> {
        let mut gzip = GzEncoder::new(Vec::new(), Compression::fast());
        gzip.write_all(text.as_bytes()).unwrap();
        gzip.finish().unwrap()
    }

    fn row(keyspace: &str, kind: &str, name: &str, cql_stmt: &str) -> Row {
        let [keyspace, kind, name, cql_stmt] = [keyspace, kind, name, cql_stmt].map(str::to_owned);
        Row {
            keyspace,
            kind,
            name,
            cql_stmt,
        }
    }

    #[test]
    fn rows_are_written_as_manager_does() {
        let rows = [
            row("", "role", "ada", "CREATE ROLE ada;"),
            row("shop", "table", "a\"b", "CREATE TABLE …; ALTER TABLE …;"),
        ];
        let bytes = write_cql(&rows);
        assert_eq!(bytes, write_cql(&rows));
        let mut text = String::new();
        MultiGzDecoder::new(&bytes[..])
            .read_to_string(&mut text)
            .unwrap();
        let expected = concat!(
            r#"[{"keyspace":"","type":"role","name":"ada","cql_stmt":"CREATE ROLE ada;"},"#,
            r#"{"keyspace":"shop","type":"table","name":"a\"b","cql_stmt":"CREATE TABLE …; ALTER TABLE …;"}]"#,
        );
        assert_eq!(text, expected);
        assert_eq!(read_cql(&bytes[..], &key()).unwrap(), rows);
    }

    #[test]
    fn what_is_missing_null_or_new_does_no_harm() {
        let text = r#"[{"name":"t","cql_stmt":null,"new":{"a":[1]}}, {}]"#;
        let rows = read_cql(&gzip(text)[..], &key()).unwrap();
        assert_eq!(rows, [row("", "", "t", ""), Row::default()]);
        assert_eq!(read_cql(&gzip("null")[..], &key()).unwrap(), []);
        for text in ["{}", r#"{"tables":null,"b":1}"#] {
            let read = read_alternator(&gzip(text)[..], &key()).unwrap();
            assert_eq!(read, Alternator::default());
        }
    }

    #[test]
    fn alternator_tables_keep_every_word() {
        let describe = json!({"TableName": "music", "CreationDateTime": "2026-01-31T23:59:59Z",
            "KeySchema": [{"AttributeName": "a", "KeyType": "HASH"}], "TableSizeBytes": 9_007_199_254_740_993_i64});
        let text = json!({"tables": [{"describe": describe, "tags": [{"Key": "k", "Value": "v"}], "ttl": null}]});
        let read = read_alternator(&gzip(&text.to_string())[..], &key()).unwrap();
        assert_eq!(read.tables[0].name(), "music");
        assert_eq!(read.tables[0].describe, describe);
        let again = read_alternator(&write_alternator(&read)[..], &key()).unwrap();
        assert_eq!(again, read);
    }

    #[test]
    fn damage_is_named_with_its_key() {
        let whole = gzip(r#"[{"keyspace":"shop"}]"#);
        let said = |bytes: &[u8]| {
            let error = read_cql(bytes, &key()).unwrap_err();
            assert!(error.to_string().contains(&key().to_string()), "{error}");
            error
        };
        assert!(matches!(said(b""), SchemaError::Read { .. }));
        assert!(matches!(said(b"[]"), SchemaError::Read { .. }));
        assert!(matches!(
            said(&whole[..whole.len() - 9]),
            SchemaError::Read { .. }
        ));
        assert!(matches!(said(&gzip("{}")), SchemaError::Shape { .. }));
        assert!(matches!(said(&gzip("[] []")), SchemaError::Shape { .. }));
        let mut flipped = whole;
        flipped[12] ^= 0x20;
        said(&flipped);
    }

    #[test]
    fn what_inflates_without_end_is_refused() {
        let text = format!("[{}]", " ".repeat(100));
        let read = |most| read::<Vec<Row>>(&gzip(&text)[..], &key(), most);
        assert_eq!(read(102).unwrap(), []);
        assert!(matches!(
            read(101),
            Err(SchemaError::TooLarge { limit: 101, .. })
        ));
    }
}
