//! The statements that make tables, views and indexes.

use crate::cql::types::Type;
use crate::schema::definition::{Definition, Place};
use crate::schema::options::Setting;
use crate::schema::{Kind, Table, logical_index, name};

/// The statement that makes a table, view or index; with `internals` one with the same id, and more statements about
/// dropped columns.
pub(super) fn statement(ks: &str, wanted: &str, table: &Table, internals: bool) -> String {
    let definition = &table.definition;
    let full = format!("{}.{}", name(ks), name(wanted));
    let base = format!(
        "{}.{}",
        name(ks),
        name(table.base.as_deref().unwrap_or_default())
    );
    match table.kind {
        Kind::Table => create_table(&full, table, internals),
        Kind::View => format!(
            "CREATE MATERIALIZED VIEW {full} AS\n    SELECT {}\n    FROM {base}\n    WHERE {}\n    PRIMARY KEY ({})\n    WITH {};",
            selected(definition),
            definition
                .view
                .as_ref()
                .map(|view| view.condition.as_str())
                .unwrap_or_default(),
            primary_key(definition),
            properties(table, internals)
        ),
        Kind::Index => {
            let index = definition.index.as_ref();
            let column = index.map(|index| name(&index.column)).unwrap_or_default();
            let local = index.is_some_and(|index| index.local);
            let keys: Vec<String> = definition
                .partition()
                .map(|column| name(&column.name))
                .collect();
            let target = if local {
                format!("({}), {column}", keys.join(", "))
            } else {
                column
            };
            format!(
                "CREATE INDEX {} ON {base}({target});",
                name(logical_index(wanted))
            )
        }
    }
}

fn selected(definition: &Definition) -> String {
    if definition.view.as_ref().is_some_and(|view| view.all) {
        return "*".to_owned();
    }
    let names: Vec<String> = definition
        .shown()
        .iter()
        .map(|column| name(&column.name))
        .collect();
    names.join(", ")
}

fn primary_key(definition: &Definition) -> String {
    let partition: Vec<String> = definition
        .partition()
        .map(|column| name(&column.name))
        .collect();
    let first = match partition.as_slice() {
        [one] => one.clone(),
        many => format!("({})", many.join(", ")),
    };
    let rest = definition.clustering().map(|column| name(&column.name));
    std::iter::once(first)
        .chain(rest)
        .collect::<Vec<_>>()
        .join(", ")
}

/// With `internals`, columns that were dropped are made and dropped again, so that what was written before stays unseen.
fn create_table(full: &str, table: &Table, internals: bool) -> String {
    let definition = &table.definition;
    let mut columns: Vec<(&str, &Type)> = definition
        .shown()
        .iter()
        .map(|c| (c.name.as_str(), &c.ty))
        .collect();
    let dropped = definition.dropped.iter().filter(|_| internals);
    let gone = dropped
        .clone()
        .filter(|(column, _)| definition.column(column).is_none());
    columns.extend(gone.map(|(column, dropped)| (column.as_str(), &dropped.ty)));
    let lines: String = columns
        .iter()
        .map(|(column, ty)| format!("    {} {ty},\n", name(column)))
        .collect();
    let mut text = format!(
        "CREATE TABLE {full} (\n{lines}    PRIMARY KEY ({})\n) WITH {};",
        primary_key(definition),
        properties(table, internals)
    );
    for (column, dropped) in dropped {
        text += &format!(
            "\nALTER TABLE {full} DROP {} USING TIMESTAMP {};",
            name(column),
            dropped.micros
        );
        if let Some(again) = definition.column(column) {
            text += &format!("\nALTER TABLE {full} ADD {} {};", name(column), again.ty);
        }
    }
    text
}

/// What stands after `WITH`.
fn properties(table: &Table, internals: bool) -> String {
    let mut parts = Vec::new();
    if internals {
        parts.push(format!("ID = {}", table.id));
    }
    let order = |place| {
        if place == (Place::Clustering { descending: true }) {
            "DESC"
        } else {
            "ASC"
        }
    };
    let clustering: Vec<String> = table
        .definition
        .clustering()
        .map(|c| format!("{} {}", name(&c.name), order(c.place)))
        .collect();
    if !clustering.is_empty() {
        parts.push(format!("CLUSTERING ORDER BY ({})", clustering.join(", ")));
    }
    let mut settings = table.definition.options.described();
    if let Some(count) = table.hint.map(|count| count.to_string()) {
        let counts = [
            ("min_tablet_count", count.as_str()),
            ("max_tablet_count", count.as_str()),
        ];
        settings.push(("tablets", Setting::map(counts)));
    }
    parts.extend(
        settings
            .into_iter()
            .map(|(option, value)| format!("{option} = {value}")),
    );
    parts.join("\n    AND ")
}
