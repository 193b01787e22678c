//! The tables of `system_schema` and their columns.

use super::super::{Value, Virtual};
use super::{
    columns, dropped, indexes, keyspaces, none, scylla_keyspaces, scylla_tables, tables, types,
    views,
};
use crate::cluster::Sim;
use crate::node::Node;

pub(super) const TEXT: &str = "text";
pub(super) const INT: &str = "int";
pub(super) const DOUBLE: &str = "double";
pub(super) const UUID: &str = "uuid";
pub(super) const BOOLEAN: &str = "boolean";
pub(super) const TEXTS: &str = "frozen<map<text, text>>";
pub(super) const LIST: &str = "frozen<list<text>>";

pub(in crate::cql::system) const TABLES: &[Virtual] = &[
    schema(
        "keyspaces",
        0,
        &[
            ("keyspace_name", TEXT),
            ("durable_writes", BOOLEAN),
            ("replication", TEXTS),
        ],
        keyspaces,
    ),
    schema(
        "scylla_keyspaces",
        0,
        &[
            ("keyspace_name", TEXT),
            ("initial_tablets", INT),
            ("storage_options", TEXTS),
            ("storage_type", TEXT),
        ],
        scylla_keyspaces,
    ),
    schema("tables", 1, TABLE, tables),
    schema("views", 1, VIEW, views),
    schema(
        "columns",
        2,
        &[
            ("keyspace_name", TEXT),
            ("table_name", TEXT),
            ("column_name", TEXT),
            ("clustering_order", TEXT),
            ("column_name_bytes", "blob"),
            ("kind", TEXT),
            ("position", INT),
            ("type", TEXT),
        ],
        columns,
    ),
    schema(
        "dropped_columns",
        2,
        &[
            ("keyspace_name", TEXT),
            ("table_name", TEXT),
            ("column_name", TEXT),
            ("dropped_time", "timestamp"),
            ("type", TEXT),
        ],
        dropped,
    ),
    schema(
        "types",
        1,
        &[
            ("keyspace_name", TEXT),
            ("type_name", TEXT),
            ("field_names", LIST),
            ("field_types", LIST),
        ],
        types,
    ),
    schema(
        "indexes",
        2,
        &[
            ("keyspace_name", TEXT),
            ("table_name", TEXT),
            ("index_name", TEXT),
            ("kind", TEXT),
            ("options", TEXTS),
        ],
        indexes,
    ),
    schema(
        "scylla_tables",
        1,
        &[
            ("keyspace_name", TEXT),
            ("table_name", TEXT),
            ("cdc", TEXTS),
            ("partitioner", TEXT),
            ("tablets", TEXTS),
            ("version", UUID),
        ],
        scylla_tables,
    ),
    schema(
        "functions",
        2,
        &[
            ("keyspace_name", TEXT),
            ("function_name", TEXT),
            ("argument_types", LIST),
            ("argument_names", LIST),
            ("body", TEXT),
            ("called_on_null_input", BOOLEAN),
            ("language", TEXT),
            ("return_type", TEXT),
        ],
        none,
    ),
    schema(
        "aggregates",
        2,
        &[
            ("keyspace_name", TEXT),
            ("aggregate_name", TEXT),
            ("argument_types", LIST),
            ("final_func", TEXT),
            ("initcond", TEXT),
            ("return_type", TEXT),
            ("state_func", TEXT),
            ("state_type", TEXT),
        ],
        none,
    ),
    schema(
        "triggers",
        2,
        &[
            ("keyspace_name", TEXT),
            ("table_name", TEXT),
            ("trigger_name", TEXT),
            ("options", TEXTS),
        ],
        none,
    ),
    schema(
        "computed_columns",
        2,
        &[
            ("keyspace_name", TEXT),
            ("table_name", TEXT),
            ("column_name", TEXT),
            ("computation", "blob"),
        ],
        none,
    ),
    schema(
        "view_virtual_columns",
        2,
        &[
            ("keyspace_name", TEXT),
            ("table_name", TEXT),
            ("column_name", TEXT),
            ("type", TEXT),
        ],
        none,
    ),
];

pub(super) const TABLE: &[(&str, &str)] = &[
    ("keyspace_name", TEXT),
    ("table_name", TEXT),
    ("bloom_filter_fp_chance", DOUBLE),
    ("caching", TEXTS),
    ("comment", TEXT),
    ("compaction", TEXTS),
    ("compression", TEXTS),
    ("crc_check_chance", DOUBLE),
    ("default_time_to_live", INT),
    ("extensions", "frozen<map<text, blob>>"),
    ("flags", "frozen<set<text>>"),
    ("gc_grace_seconds", INT),
    ("id", UUID),
    ("max_index_interval", INT),
    ("memtable_flush_period_in_ms", INT),
    ("min_index_interval", INT),
    ("speculative_retry", TEXT),
];

pub(super) const VIEW: &[(&str, &str)] = &[
    ("keyspace_name", TEXT),
    ("view_name", TEXT),
    ("base_table_id", UUID),
    ("base_table_name", TEXT),
    ("bloom_filter_fp_chance", DOUBLE),
    ("caching", TEXTS),
    ("comment", TEXT),
    ("compaction", TEXTS),
    ("compression", TEXTS),
    ("crc_check_chance", DOUBLE),
    ("default_time_to_live", INT),
    ("extensions", "frozen<map<text, blob>>"),
    ("gc_grace_seconds", INT),
    ("id", UUID),
    ("include_all_columns", BOOLEAN),
    ("max_index_interval", INT),
    ("memtable_flush_period_in_ms", INT),
    ("min_index_interval", INT),
    ("speculative_retry", TEXT),
    ("where_clause", TEXT),
];

/// A table of `system_schema`, with so many clustering columns after the keyspace's name.
const fn schema(
    name: &'static str,
    clustering: usize,
    columns: &'static [(&'static str, &'static str)],
    rows: fn(&Sim, &Node) -> Vec<Vec<Value>>,
) -> Virtual {
    Virtual {
        keyspace: "system_schema",
        name,
        keys: (1, clustering),
        columns,
        rows,
    }
}
