//! What lies in the bucket: keys, manifests, plans and receipts; and which of it a backup needs.
//!
//! The layout below `backup/` is ScyllaDB Manager's, so that either reads the other's backups.
//! What only Thetis needs lies below `thetis/`.
//!
//! # Promises
//! * Every key that a builder makes, its parser reads back to the same value; a parser takes no
//!   other text. A name that could leave its place (`/`, `..`, control characters) never gets
//!   into a key.
//! * A plan never has an object replaced that may belong to another backup, unless that is kept
//!   first, where a restore of that backup finds it.
//! * A manifest is completed only from receipts that cover all that its plan says.
//!
//! # Not here
//! No I/O and no clock: bytes come from `store`, files from `scylla`, times from the caller.

mod document;
pub mod filter;
pub mod key;
pub mod manifest;
mod pack;
pub mod plan;
pub mod purge;
pub mod restore;
pub mod retention;
pub mod schema;
mod schema_undo;
pub mod seal;
pub mod segment;
pub mod sstable;
pub mod tag;

pub use document::{Document, DocumentError, RunDescriptor};
pub use filter::{Filter, InvalidPattern};
pub use manifest::{File, Files, Manifest, ManifestError, TableEntry};
pub use pack::Limits;
pub use plan::{
    Chunk, ChunkFile, Frame, LocalFile, LocalTable, NodePlan, Planned, Receipt, ReceiptFile,
    Remote, Replaced, SsTable,
};
pub use restore::{Batch, BatchFile, BatchReceipt, BatchSsTable, RestorePlan, Undo};
pub use schema_undo::{Made, SchemaUndo, TombstoneGc, UndoState};
pub use seal::Sealer;
pub use segment::{InvalidSegment, TableVersion};
pub use sstable::{Id, IdKind, Name};
