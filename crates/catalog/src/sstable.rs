//! Names of SSTables and their components, of every version ScyllaDB has written.
//!
//! * `<version>-<id>-<format>-<component>`, as in `mt-3gqe_1lnj_4sbpc2ezoscu9hhtor-big-Data.db`;
//! * `<keyspace>-<table>-ka-<id>-<component>`, the oldest form.
//!
//! Which components an SSTable has is not for its name to say: its TOC lists them.

use std::{fmt, str::FromStr};

use serde::{Deserialize, Serialize};

/// The component that lists all others. An SSTable without it is unfinished.
pub const TOC: &str = "TOC.txt";
/// The component that holds the rows.
pub const DATA: &str = "Data.db";
/// The component that holds the CRC-32 of [`DATA`], in decimal.
pub const DIGEST: &str = "Digest.crc32";

/// Versions whose ids may be integers; any two letters are taken with an id that is unique.
const VERSIONS: [&str; 6] = ["la", "mc", "md", "me", "ms", "mt"];
/// Length of an id of the unique kind, underscores included.
const UUID_ID: usize = 28;

/// What tells an SSTable from others of its table.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Id {
    /// A number, given anew by each node: other nodes, and a node's replacement, use it again.
    Integer(u64),
    /// Base-36 text of a time-based UUID, as in `3gqe_1lnj_4sbpc2ezoscu9hhtor`: unique in the world.
    Uuid(String),
}

/// A kind of [`Id`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum IdKind {
    /// See [`Id::Integer`].
    Integer,
    /// See [`Id::Uuid`].
    Uuid,
}

impl Id {
    /// Its kind.
    #[must_use]
    pub fn kind(&self) -> IdKind {
        match self {
            Self::Integer(_) => IdKind::Integer,
            Self::Uuid(_) => IdKind::Uuid,
        }
    }
}

impl fmt::Display for Id {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Integer(id) => id.fmt(f),
            Self::Uuid(id) => f.write_str(id),
        }
    }
}

/// A file name taken apart.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Name {
    /// The SSTable: all before the component, as in `mt-3gqe_1lnj_4sbpc2ezoscu9hhtor-big`.
    pub sstable: String,
    /// Its format's version: two letters.
    pub version: String,
    /// Its id.
    pub id: Id,
    /// Which of its files this is, as in `Data.db`.
    pub component: String,
}

/// A file name that is no SSTable component's.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{}` is not the name of an SSTable's file", .0.escape_default())]
pub struct InvalidName(pub String);

impl Name {
    /// The name of another file of the same SSTable.
    #[must_use]
    pub fn sibling(&self, component: &str) -> String {
        format!("{}-{component}", self.sstable)
    }

    /// The SSTable's name with another id in place of its own, and with its version and format.
    ///
    /// The oldest form (`ka`) becomes the newer one without keyspace and table only in ScyllaDB
    /// itself; here it keeps both.
    #[must_use]
    pub fn renamed(&self, id: &Id) -> String {
        let old = self.id.to_string();
        // Only the oldest form ends in its id. It can begin like the newer one: a keyspace may be
        // called `ka`, and a table `7-t`.
        match self.sstable.strip_suffix(&format!("-ka-{old}")) {
            Some(names) if self.version == "ka" => format!("{names}-ka-{id}"),
            Some(_) | None => {
                let head = self.version.len() + 1 + old.len();
                let format = self.sstable.get(head..).unwrap_or_default();
                format!("{}-{id}{format}", self.version)
            }
        }
    }
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}", self.sstable, self.component)
    }
}

impl FromStr for Name {
    type Err = InvalidName;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        newer(text)
            .or_else(|| oldest(text))
            .ok_or_else(|| InvalidName(text.to_owned()))
    }
}

/// Reads the name of an SSTable without a component, as in `mt-<id>-big`.
///
/// # Errors
/// [`InvalidName`] if it is none.
pub fn parse_sstable(text: &str) -> Result<Name, InvalidName> {
    let name: Option<Name> = format!("{text}-{TOC}").parse().ok();
    // A component may have a hyphen: with one at its end, a file's name would pass for an SSTable's.
    name.filter(|name| name.component == TOC)
        .ok_or_else(|| InvalidName(text.to_owned()))
}

fn newer(text: &str) -> Option<Name> {
    let mut parts = text.splitn(4, '-');
    let (version, id, format, component) =
        (parts.next()?, parts.next()?, parts.next()?, parts.next()?);
    let two_letters = version.len() == 2 && version.bytes().all(|b| b.is_ascii_lowercase());
    let id = match uuid_id(id) {
        Some(id) if two_letters => id,
        None if VERSIONS.contains(&version) => integer_id(id)?,
        Some(_) | None => return None,
    };
    let word = |b: u8| b.is_ascii_alphanumeric() || b == b'_';
    if format.is_empty() || !format.bytes().all(word) || !is_component(component) {
        return None;
    }
    Some(Name {
        sstable: text[..text.len() - component.len() - 1].to_owned(),
        version: version.to_owned(),
        id,
        component: component.to_owned(),
    })
}

fn oldest(text: &str) -> Option<Name> {
    let (sstable, component) = text.rsplit_once('-')?;
    let (head, id) = sstable.rsplit_once('-')?;
    let names = head.strip_suffix("-ka")?;
    let (keyspace, table) = names.split_once('-')?;
    let fine = |name: &str| crate::segment::check(name).is_ok();
    if !fine(keyspace) || !fine(table) || !is_component(component) {
        return None;
    }
    Some(Name {
        sstable: sstable.to_owned(),
        version: "ka".to_owned(),
        id: integer_id(id)?,
        component: component.to_owned(),
    })
}

fn is_component(text: &str) -> bool {
    let inside = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'_' | b'-' | b'+');
    !text.is_empty() && !text.starts_with('.') && text.bytes().all(inside)
}

/// Only the form ScyllaDB writes: no sign and no leading zero, so that a name has one spelling.
fn integer_id(text: &str) -> Option<Id> {
    let plain = text.bytes().all(|b| b.is_ascii_digit()) && (text == "0" || !text.starts_with('0'));
    plain.then(|| text.parse().ok().map(Id::Integer)).flatten()
}

fn uuid_id(text: &str) -> Option<Id> {
    let fits = text.len() == UUID_ID
        && text.bytes().enumerate().all(|(at, b)| match at {
            4 | 9 => b == b'_',
            _ => b.is_ascii_digit() || b.is_ascii_lowercase(),
        });
    fits.then(|| Id::Uuid(text.to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_every_version_are_read() {
        for (text, version, kind, component) in [
            (
                "mt-3gqe_1lnj_4sbpc2ezoscu9hhtor-big-Data.db",
                "mt",
                IdKind::Uuid,
                "Data.db",
            ),
            (
                "me-3gsm_0lob_1zdg02we44my8dy25w-big-TOC.txt",
                "me",
                IdKind::Uuid,
                "TOC.txt",
            ),
            (
                "zz-3gsm_0lob_1zdg02we44my8dy25w-bti-Rows.db",
                "zz",
                IdKind::Uuid,
                "Rows.db",
            ),
            (
                "ms-1-big-Partitions.db",
                "ms",
                IdKind::Integer,
                "Partitions.db",
            ),
            ("me-3-big-TOC.txt.tmp", "me", IdKind::Integer, "TOC.txt.tmp"),
            (
                "mc-42-big-CompressionInfo.db",
                "mc",
                IdKind::Integer,
                "CompressionInfo.db",
            ),
            ("la-7-big-Digest.sha1", "la", IdKind::Integer, "Digest.sha1"),
            (
                "ks-my-table-ka-12-Data.db",
                "ka",
                IdKind::Integer,
                "Data.db",
            ),
        ] {
            let name: Name = text.parse().unwrap();
            assert_eq!(
                (&*name.version, name.id.kind(), &*name.component),
                (version, kind, component),
                "{text}"
            );
            assert_eq!(name.to_string(), text);
            assert_eq!(parse_sstable(&name.sstable).unwrap().id, name.id);
        }
    }

    #[test]
    fn other_names_are_refused() {
        for text in [
            "",
            "manifest.json",
            "schema.cql",
            "zz-1-big-Data.db",
            "mt-x-big-Data.db",
            "mt-01-big-Data.db",
            "mt-99999999999999999999999-big-Data.db",
            "mt-3GQE_1lnj_4sbpc2ezoscu9hhtor-big-Data.db",
            "mt-1-big-",
            "mt-1-big-../x",
            "mt-1-big-a/b",
            "mt-1--Data.db",
            "MT-1-big-Data.db",
            "-t-ka-1-Data.db",
            "ks-t-ka-x-Data.db",
            "tag_sm_20260101000000UTC_node_x_manifest.json",
        ] {
            assert!(text.parse::<Name>().is_err(), "{text}");
        }
    }

    #[test]
    fn a_new_id_leaves_the_rest() {
        let id = Id::Uuid("3gqe_1lnj_4sbpc2ezoscu9hhtor".into());
        let name: Name = "me-3-big-Data.db".parse().unwrap();
        assert_eq!(name.renamed(&id), "me-3gqe_1lnj_4sbpc2ezoscu9hhtor-big");
        assert_eq!(name.sibling(TOC), "me-3-big-TOC.txt");
        let name: Name = "ka-7-t-ka-7-Data.db".parse().unwrap();
        assert_eq!(name.renamed(&Id::Integer(8)), "ka-7-t-ka-8");
    }

    #[test]
    fn the_name_of_a_file_is_not_that_of_an_sstable() {
        for text in ["me-3-big-Data.db", "me-3-big-TOC.txt.tmp", "me-3-big-"] {
            assert!(parse_sstable(text).is_err(), "{text}");
        }
    }
}
