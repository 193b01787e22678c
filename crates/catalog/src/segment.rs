//! Names that stand between the slashes of a key or a path.

use std::{fmt, str::FromStr};

use serde::{Deserialize, Deserializer, Serialize, de::Error as _};

/// Why a text cannot be a segment of a key.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{}` cannot be part of a key: {why}", .text.escape_default())]
pub struct InvalidSegment {
    /// The text.
    pub text: String,
    /// What is wrong with it.
    pub why: &'static str,
}

/// Checks that `text` names one thing in one directory and nothing else.
///
/// # Errors
/// [`InvalidSegment`] if it is empty, `.` or `..`, or holds `/` or a control character.
pub fn check(text: &str) -> Result<&str, InvalidSegment> {
    let why = match text {
        "" => "it is empty",
        "." | ".." => "it names another directory",
        _ if text.contains('/') => "it holds a slash",
        _ if text.chars().any(char::is_control) => "it holds a control character",
        _ => return Ok(text),
    };
    Err(InvalidSegment {
        text: text.to_owned(),
        why,
    })
}

/// Reads a name from a document that others may have written.
pub(crate) fn name<'de, D: Deserializer<'de>>(from: D) -> Result<String, D::Error> {
    let text = String::deserialize(from)?;
    check(&text).map_err(D::Error::custom)?;
    Ok(text)
}

/// Reads a path or a key from a document that others may have written: names with slashes between
/// them, so that it leads to nowhere but below where it begins.
pub(crate) fn path<'de, D: Deserializer<'de>>(from: D) -> Result<String, D::Error> {
    let text = String::deserialize(from)?;
    for name in text.split('/') {
        check(name).map_err(D::Error::custom)?;
    }
    Ok(text)
}

/// A table's identity as it stands in keys and directory names: 32 lower-case hex digits.
///
/// A table that is dropped and made again has another one.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(into = "String", try_from = "String")]
pub struct TableVersion(pub u128);

/// A text that is no table version.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{}` is no table version: 32 lower-case hex digits are expected", .0.escape_default())]
pub struct InvalidVersion(pub String);

impl fmt::Display for TableVersion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:032x}", self.0)
    }
}

impl fmt::Debug for TableVersion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl FromStr for TableVersion {
    type Err = InvalidVersion;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let hex = |b: u8| matches!(b, b'0'..=b'9' | b'a'..=b'f');
        if text.len() != 32 || !text.bytes().all(hex) {
            return Err(InvalidVersion(text.to_owned()));
        }
        u128::from_str_radix(text, 16)
            .map(Self)
            .map_err(|_| InvalidVersion(text.to_owned()))
    }
}

impl From<TableVersion> for String {
    fn from(version: TableVersion) -> Self {
        version.to_string()
    }
}

impl TryFrom<String> for TableVersion {
    type Error = InvalidVersion;
    fn try_from(text: String) -> Result<Self, Self::Error> {
        text.parse()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_segment_stays_in_its_place() {
        for fine in ["shop", "a-b.c", "$x", "idx_index", "Ünïcode dc", "..."] {
            assert_eq!(check(fine), Ok(fine));
        }
        for wrong in ["", ".", "..", "a/b", "/", "a\nb", "a\0", "\u{7f}", "\u{85}"] {
            assert_eq!(check(wrong).unwrap_err().text, wrong);
        }
    }

    /// What lies in a bucket may have been put there by others, who must not reach a node's other files.
    #[test]
    fn a_document_leads_to_nowhere_but_its_place() {
        use crate::{plan::ChunkFile, restore::BatchSsTable};
        let chunk = |path: &str, key: &str, kept: &str| {
            let replaces = serde_json::json!({"kept": kept, "bytes": 1});
            let file =
                serde_json::json!({"path": path, "key": key, "bytes": 1, "replaces": replaces});
            serde_json::from_value::<ChunkFile>(file).map_err(|e| e.to_string())
        };
        let batch = |sstable: &str, file: &str, key: &str| {
            let files = serde_json::json!([{"name": file, "key": key, "bytes": 1}]);
            let sstable = serde_json::json!({"name": sstable, "files": files});
            serde_json::from_value::<BatchSsTable>(sstable).map_err(|e| e.to_string())
        };
        let (path, key) = (
            "shop/users-0ab/snapshots/sm_x/me-1-big-Data.db",
            "backup/sst/x",
        );
        assert!(chunk(path, key, "backup/sst/x.sm_y").is_ok());
        assert!(batch("me-1-big", "me-1-big-Data.db", key).is_ok());
        for hostile in [
            "/etc/shadow",
            "../x",
            "a/../../x",
            "a//x",
            "a/./x",
            "",
            "a\0",
            "a/",
        ] {
            for read in [
                chunk(hostile, key, key).err(),
                chunk(path, hostile, key).err(),
                chunk(path, key, hostile).err(),
                batch(hostile, "me-1-big-Data.db", key).err(),
                batch("me-1-big", hostile, key).err(),
                batch("me-1-big", "me-1-big-Data.db", hostile).err(),
            ] {
                let said = read.expect(hostile);
                assert!(
                    said.contains("cannot be part of a key"),
                    "{hostile}: {said}"
                );
            }
        }
        assert!(batch("a/me-1-big", "me-1-big-Data.db", key).is_err());
        assert!(batch("me-1-big", "a/me-1-big-Data.db", key).is_err());
    }

    #[test]
    fn a_version_has_exactly_one_form() {
        let text = "0f00abcd11112222333344445555ffff";
        assert_eq!(text.parse::<TableVersion>().unwrap().to_string(), text);
        for wrong in [
            "",
            "0F00abcd11112222333344445555ffff",
            "0f00abcd-1111-2222-3333-44445555ffff",
            "+f00abcd11112222333344445555ffff",
        ] {
            assert!(wrong.parse::<TableVersion>().is_err(), "{wrong}");
        }
    }
}
