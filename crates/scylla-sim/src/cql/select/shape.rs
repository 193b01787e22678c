//! What a `SELECT` tells of each row, and how many rows.

use crate::cql::ast::{Select, Selector};
use crate::cql::fail::Fail;
use crate::cql::row::Row;
use crate::cql::types::Type;
use crate::cql::value::Scope;
use crate::schema::definition::{Definition, Place};

/// How many rows are wanted at most.
pub(super) fn limit(select: &Select, scope: &Scope<'_>) -> Result<Option<usize>, Fail> {
    let Some(term) = &select.limit else {
        return Ok(None);
    };
    let value = scope.value(term, &Type::INT)?;
    let bytes = value.and_then(|value| <[u8; 4]>::try_from(value).ok());
    let limit = bytes.map(i32::from_be_bytes).filter(|limit| *limit > 0);
    let limit = limit.and_then(|limit| usize::try_from(limit).ok());
    limit
        .map(Some)
        .ok_or_else(|| Fail::invalid("LIMIT must be strictly positive"))
}

/// Values inside a list.
pub(super) fn elements(bytes: &[u8]) -> Vec<Option<Vec<u8>>> {
    let mut all = Vec::new();
    let mut rest = bytes.get(4..).unwrap_or_default();
    while let Some((length, tail)) = rest.split_first_chunk() {
        let length = usize::try_from(i32::from_be_bytes(*length))
            .unwrap_or(0)
            .min(tail.len());
        all.push(Some(tail[..length].to_vec()));
        rest = &tail[length..];
    }
    all
}

/// Names and types of what is selected.
///
/// # Errors
/// When a column is none of the table's.
pub(in crate::cql) fn columns(
    select: &Select,
    definition: &Definition,
    keyspace: &str,
) -> Result<Vec<(String, Type)>, Fail> {
    if select.selectors.is_empty() {
        let all = definition.shown().into_iter();
        return Ok(all
            .map(|column| (column.name.clone(), column.ty.clone()))
            .collect());
    }
    let missing = |name: &str| {
        Fail::invalid(format!(
            "Unrecognized name {name} in {keyspace}.{}",
            select.table.name
        ))
    };
    let column = |name: &String| definition.column(name).ok_or_else(|| missing(name));
    let mut all = Vec::new();
    for (selector, alias) in &select.selectors {
        let (name, ty) = match selector {
            Selector::Column(name) => (name.clone(), column(name)?.ty.clone()),
            Selector::Count => ("count".to_owned(), Type::BIGINT),
            Selector::Token(columns) => {
                let key: Vec<&str> = definition.partition().map(|c| c.name.as_str()).collect();
                if columns.iter().map(String::as_str).ne(key.iter().copied()) {
                    return Err(Fail::invalid(
                        "token() takes the columns of the partition key",
                    ));
                }
                (
                    format!("system.token({})", columns.join(", ")),
                    Type::BIGINT,
                )
            }
            Selector::WriteTime(name) => {
                if column(name)?.place != Place::Regular {
                    return Err(Fail::invalid(format!(
                        "Cannot use selection function writeTime on PRIMARY KEY part {name}"
                    )));
                }
                (format!("writetime({name})"), Type::BIGINT)
            }
        };
        all.push((alias.clone().unwrap_or(name), ty));
    }
    Ok(all)
}

/// What is selected of a row.
pub(super) fn show(select: &Select, definition: &Definition, row: &Row) -> Vec<Option<Vec<u8>>> {
    let value = |name: &str| {
        let at = definition
            .columns
            .iter()
            .position(|column| column.name == name)?;
        row.values[at].clone()
    };
    if select.selectors.is_empty() {
        return definition
            .shown()
            .iter()
            .map(|column| value(&column.name))
            .collect();
    }
    let one = |(selector, _): &(Selector, Option<String>)| match selector {
        Selector::Column(name) => value(name),
        Selector::Count => Some(1u64.to_be_bytes().to_vec()),
        Selector::Token(_) => Some(row.token.to_be_bytes().to_vec()),
        Selector::WriteTime(name) => value(name).map(|_| row.stamp.to_be_bytes().to_vec()),
    };
    select.selectors.iter().map(one).collect()
}
