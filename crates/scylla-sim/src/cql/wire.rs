//! Answers as the protocol has them.

use std::io::Cursor;

use cassandra_protocol::compression::Compression;
use cassandra_protocol::frame::events::{
    SchemaChange, SchemaChangeOptions, SchemaChangeTarget, SchemaChangeType, ServerEvent,
};
use cassandra_protocol::frame::message_event::BodyResEvent;
use cassandra_protocol::frame::message_result::{
    BodyResResultPrepared, BodyResResultRows, BodyResResultSetKeyspace, ColSpec, PreparedMetadata,
    ResResultBody, RowsMetadata, RowsMetadataFlags, TableSpec,
};
use cassandra_protocol::frame::{Direction, Envelope, Flags, Opcode, Serialize, Version};
use cassandra_protocol::types::{CBytes, CBytesShort};

use super::fail::Fail;
use super::session::{About, Change, Happened, Outcome, Rows};
use super::types::{Type, Udts};

/// The version of the protocol that is spoken.
pub(crate) const VERSION: Version = Version::V4;

/// Stream of answers that nobody asked for.
const EVENT: i16 = -1;

/// A whole frame.
pub(crate) fn frame(opcode: Opcode, stream: i16, body: &impl Serialize) -> Vec<u8> {
    let mut bytes = Vec::new();
    body.serialize(&mut Cursor::new(&mut bytes), VERSION);
    let (direction, flags) = (Direction::Response, Flags::empty());
    let envelope = Envelope::new(
        VERSION,
        direction,
        flags,
        opcode,
        stream,
        bytes,
        None,
        Vec::new(),
    );
    envelope.encode_with(Compression::None).unwrap_or_default()
}

/// A frame without content.
pub(crate) fn empty(opcode: Opcode, stream: i16) -> Vec<u8> {
    frame(opcode, stream, &Vec::<u8>::new())
}

pub(crate) fn error(stream: i16, fail: Fail) -> Vec<u8> {
    frame(Opcode::Error, stream, &fail.body())
}

pub(crate) fn event(change: &Change) -> Vec<u8> {
    let event = ServerEvent::SchemaChange(schema_change(change));
    frame(Opcode::Event, EVENT, &BodyResEvent { event })
}

/// The answer to a statement. `udts` are the types of the rows' keyspace; `seen` rows were told before.
pub(crate) fn outcome(stream: i16, outcome: Outcome, udts: &Udts, seen: usize) -> Vec<u8> {
    let body = match outcome {
        Outcome::Void => ResResultBody::Void,
        Outcome::Use(body) => ResResultBody::SetKeyspace(BodyResResultSetKeyspace { body }),
        Outcome::Changed(change) => ResResultBody::SchemaChange(schema_change(&change)),
        Outcome::Rows(rows) => ResResultBody::Rows(told(rows, udts, seen)),
    };
    frame(Opcode::Result, stream, &body)
}

/// The answer to `PREPARE`: what is to be bound, and what will be told.
pub(crate) fn prepared(
    stream: i16,
    id: &[u8],
    bound: &Rows,
    key: Vec<i16>,
    result: Option<&Rows>,
    udts: &Udts,
) -> Vec<u8> {
    let metadata = PreparedMetadata {
        pk_indexes: key,
        global_table_spec: Some(spec(bound)),
        col_specs: specs(bound, udts),
    };
    let body = BodyResResultPrepared {
        id: CBytesShort::new(id.to_vec()),
        result_metadata_id: None,
        metadata,
        result_metadata: result.map_or_else(no_metadata, |rows| metadata_of(rows, udts, None)),
    };
    frame(Opcode::Result, stream, &ResResultBody::Prepared(body))
}

fn no_metadata() -> RowsMetadata {
    RowsMetadata {
        flags: RowsMetadataFlags::NO_METADATA,
        columns_count: 0,
        paging_state: None,
        new_metadata_id: None,
        global_table_spec: None,
        col_specs: Vec::new(),
    }
}

fn spec(rows: &Rows) -> TableSpec {
    TableSpec {
        ks_name: rows.keyspace.clone(),
        table_name: rows.table.clone(),
    }
}

fn specs(rows: &Rows, udts: &Udts) -> Vec<ColSpec> {
    let column = |(name, ty): &(String, Type)| ColSpec {
        table_spec: None,
        name: name.clone(),
        col_type: ty.wire(&rows.keyspace, udts),
    };
    rows.columns.iter().map(column).collect()
}

fn metadata_of(rows: &Rows, udts: &Udts, paging: Option<Vec<u8>>) -> RowsMetadata {
    let more = match paging {
        Some(_) => RowsMetadataFlags::HAS_MORE_PAGES,
        None => RowsMetadataFlags::empty(),
    };
    RowsMetadata {
        flags: RowsMetadataFlags::GLOBAL_TABLE_SPACE | more,
        columns_count: count(rows.columns.len()),
        paging_state: paging.map(CBytes::new),
        new_metadata_id: None,
        global_table_spec: Some(spec(rows)),
        col_specs: specs(rows, udts),
    }
}

fn told(rows: Rows, udts: &Udts, seen: usize) -> BodyResResultRows {
    let paging = rows
        .next
        .map(|token| paging_state(token, seen + rows.rows.len()));
    let cell = |value: Option<Vec<u8>>| value.map_or_else(CBytes::new_null, CBytes::new);
    BodyResResultRows {
        metadata: metadata_of(&rows, udts, paging),
        rows_count: count(rows.rows.len()),
        rows_content: rows
            .rows
            .into_iter()
            .map(|row| row.into_iter().map(cell).collect())
            .collect(),
        protocol_version: VERSION,
    }
}

fn count(of: usize) -> i32 {
    i32::try_from(of).expect("answers are read into memory")
}

/// After which token the next page begins, and how many rows came before.
fn paging_state(token: i64, seen: usize) -> Vec<u8> {
    [token.to_be_bytes(), (seen as u64).to_be_bytes()].concat()
}

/// The inverse of the state that a page was told with.
///
/// # Errors
/// When it is not ours.
pub(crate) fn page_of(state: &[u8]) -> Result<(i64, usize), Fail> {
    let wrong = || Fail::protocol("Invalid value for the paging state");
    let (token, seen) = state.split_first_chunk().ok_or_else(wrong)?;
    let seen = <[u8; 8]>::try_from(seen).map_err(|_| wrong())?;
    let seen = usize::try_from(u64::from_be_bytes(seen)).map_err(|_| wrong())?;
    Ok((i64::from_be_bytes(*token), seen))
}

fn schema_change(change: &Change) -> SchemaChange {
    let (keyspace, name) = (change.keyspace.clone(), change.name.clone());
    SchemaChange {
        change_type: match change.happened {
            Happened::Created => SchemaChangeType::Created,
            Happened::Updated => SchemaChangeType::Updated,
            Happened::Dropped => SchemaChangeType::Dropped,
        },
        target: match change.about {
            About::Keyspace => SchemaChangeTarget::Keyspace,
            About::Table => SchemaChangeTarget::Table,
            About::Type => SchemaChangeTarget::Type,
        },
        options: match change.about {
            About::Keyspace => SchemaChangeOptions::Keyspace(keyspace),
            About::Table | About::Type => SchemaChangeOptions::TableType(keyspace, name),
        },
    }
}
