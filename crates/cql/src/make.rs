//! Statements made from nothing but names and values.

use std::collections::BTreeMap;

use crate::{Kind, Value, subject::Subject};

/// A name as CQL writes it in any place: in double quotes.
#[must_use]
pub fn quote(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}

/// A string as CQL writes it.
#[must_use]
pub fn text(content: &str) -> String {
    format!("'{}'", content.replace('\'', "''"))
}

/// A name for people and for comparing: in quotes only where it is not the same without.
pub(crate) fn shown(name: &str) -> String {
    let plain = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_';
    let first = name.bytes().next();
    if first.is_some_and(|b| b.is_ascii_lowercase()) && name.bytes().all(plain) {
        name.to_owned()
    } else {
        quote(name)
    }
}

/// `keyspace.name`, quoted.
pub(crate) fn qualified(keyspace: &str, name: &str) -> String {
    if keyspace.is_empty() {
        return quote(name);
    }
    format!("{}.{}", quote(keyspace), quote(name))
}

/// `DROP … IF EXISTS` of what a statement makes. None for what has no name, or is not understood.
#[must_use]
pub fn drop(subject: &Subject) -> Option<String> {
    let keywords = subject.kind.keywords()?;
    if subject.name.is_empty() {
        return None;
    }
    let name = match subject.kind {
        Kind::Keyspace | Kind::Role | Kind::ServiceLevel => quote(&subject.name),
        Kind::Function | Kind::Aggregate => format!(
            "{} ({})",
            qualified(&subject.keyspace, &subject.name),
            subject.arguments.join(", ")
        ),
        Kind::Type | Kind::Table | Kind::Index | Kind::View => {
            qualified(&subject.keyspace, &subject.name)
        }
        Kind::Grant | Kind::Other => return None,
    };
    Some(format!("DROP {keywords} IF EXISTS {name}"))
}

/// `ALTER … WITH option = value`, for a keyspace, a table or a view. None for other kinds.
#[must_use]
pub fn alter_option(
    kind: Kind,
    (keyspace, name): (&str, &str),
    option: &str,
    value: &Value,
) -> Option<String> {
    let name = match kind {
        Kind::Keyspace => quote(keyspace),
        Kind::Table | Kind::View => qualified(keyspace, name),
        Kind::Type
        | Kind::Function
        | Kind::Aggregate
        | Kind::Index
        | Kind::ServiceLevel
        | Kind::Role
        | Kind::Grant
        | Kind::Other => return None,
    };
    let keywords = kind.keywords()?;
    Some(format!("ALTER {keywords} {name} WITH {option} = {value}"))
}

/// `ALTER TABLE … WITH tombstone_gc = {…}`. The mode is in the map: `mode` → `disabled`, `timeout`,
/// `repair` or `immediate`.
#[must_use]
pub fn tombstone_gc(keyspace: &str, table: &str, map: &BTreeMap<String, String>) -> String {
    let name = qualified(keyspace, table);
    let value = Value::from_map(map);
    format!("ALTER TABLE {name} WITH tombstone_gc = {value}")
}
