//! The words in which Thetis' services speak: jobs, events and the records they share.
//!
//! Every message is a plain struct in one of two enums, [`Job`] and [`Event`], and travels as
//! MessagePack with named fields (or JSON, when its `Content-Type` header says so). The map carries
//! a `version` and a `kind` beside the message's own fields.
//!
//! # Promises
//! * An unknown field is skipped; an unknown version or kind is an error that names it.
//! * A message this build writes is read by every build that knows its version: golden samples of
//!   each version lie in `proto-schemas/` and are compared byte for byte.
//! * Nothing here can hold a secret: credentials live in each service's own configuration.
//!
//! # Not here
//! No I/O and no clock. How messages are delivered is `queue`'s, what follows from them `workflow`'s.

mod codec;
mod command;
mod event;
mod id;
mod job;
mod location;
mod native;
mod notice;
mod pace;
mod record;
mod retention;
pub mod schema;
pub mod subject;

pub use codec::{DecodeError, Encoding, Message};
pub use command::{
    Answer, Audit, Command, DeleteBackups, NewTask, StartTask, StopTask, TaskProgress,
};
pub use event::{
    BatchLoaded, ChunkStored, DcBatches, Event, Fact, Failed, Indexed, Inspected, NodeInfo,
    NodePrepared, NodeValidated, Pinged, Probe, Purged, RestorePlanned, RestoreProven, Room,
    RunEnded, SchemaPrepared, SchemaSettled, Sealed, SnapshotsCleared, TableSize, Validated,
};
pub use id::{ClusterId, InvalidTag, NodeId, RunId, SnapshotTag, TaskId};
pub use job::{
    BackupId, BackupRequest, ClearRequest, ClearSnapshots, DcMapping, DcNodes, DeleteRequest,
    DropSnapshot, Index, Inspect, Job, LoadBatch, Method, Ping, PlanRestore, PrepareNode,
    PrepareSchema, ProveRestore, Purge, PutBack, Rename, Request, RestoreRequest, Restored,
    SCRATCH, Seal, SetBalancing, SettleSchema, StoreSchema, SuspendRequest, TableRef, TakeSnapshot,
    TaskRetention, Unit, Upload, Validate, ValidateRequest, renamed, scratch,
};
pub use location::{InvalidLocation, Location, Provider};
pub use native::{NativeStore, NativeUpload, TableMethod};
pub use notice::{EndedRun, Notice};
pub use pace::{DcLimit, InvalidLimit, Pace, Throttles};
pub use record::{
    Cluster, ClusterNode, Control, Presence, Progress, RunStatus, Schedule, Task, TaskKind,
    WorkerKind,
};
pub use retention::Retention;
