//! How long a run waits, and why no longer. All in milliseconds.

const SECOND: u64 = 1_000;
const MINUTE: u64 = 60 * SECOND;
const HOUR: u64 = 60 * MINUTE;

/// A look at the cluster: some reads of one node's API, seconds even where ranges are many.
pub const INSPECT_MS: u64 = 2 * MINUTE;
/// Balancing off waits for migrations under way; ScyllaDB Manager allows them as long.
pub const BALANCING_OFF_MS: u64 = 30 * MINUTE;
/// Balancing on returns at once; a node that does not answer by then is passed over for another.
pub const BALANCING_ON_TRY_MS: u64 = 2 * MINUTE;
/// All tries to have balancing on again. Beyond it, a person has to.
pub const BALANCING_ON_MS: u64 = 30 * MINUTE;
/// A snapshot flushes all memtables first; ScyllaDB Manager allows it as long.
pub const SNAPSHOT_MS: u64 = 30 * MINUTE;
/// Listing a node's snapshot and, for deduplication, its part of the bucket: millions of objects
/// at a thousand a page.
pub const INDEX_MS: u64 = HOUR;
/// Reading a schema and writing an object of it.
pub const STORE_SCHEMA_MS: u64 = 10 * MINUTE;
/// Without any chunk of a node: 8 GiB at little more than 1 MiB/s.
pub const UPLOAD_MS: u64 = 2 * HOUR;
/// A manifest of millions of lines is read from receipts and written once.
pub const SEAL_MS: u64 = 30 * MINUTE;
/// Unlinking, while the node's snapshot lock may be held by others.
pub const DROP_MS: u64 = 10 * MINUTE;
/// Millions of objects, deleted by thousands. Nothing else can run on the cluster meanwhile.
pub const PURGE_MS: u64 = 2 * HOUR;
/// All files of all backups may have to be read: 170 TiB at 1 GiB/s.
pub const VALIDATE_MS: u64 = 48 * HOUR;
/// How long a run rests after a purge that has not said that it ended. A worker that cannot be
/// reached leaves off 10 s after the last word it had, and its last request is over or given up 30 s
/// later; the rest is for a tick ([`STEP_MS`]) before it could be told, and for good measure.
pub const REST_MS: u64 = 90 * SECOND;
/// Reading all manifests of a backup.
pub const PLAN_MS: u64 = HOUR;
/// Thousands of changes of a schema, each agreed upon by all nodes.
pub const PREPARE_SCHEMA_MS: u64 = 2 * HOUR;
/// The same, and an answer each few minutes while views are built.
pub const SETTLE_SCHEMA_MS: u64 = 2 * HOUR;
/// All rows are read once: 86 TiB at 1 GiB/s.
pub const PROVE_MS: u64 = 24 * HOUR;
/// Views are built from all rows of their tables.
pub const VIEWS_MS: u64 = 7 * 24 * HOUR;
/// Switches of as many tables as there are; the node may be busy.
pub const PREPARE_MS: u64 = 30 * MINUTE;
/// Without any batch of a datacenter or node: a refresh of one batch may take hours on a busy cluster.
pub const LOAD_MS: u64 = 2 * HOUR;
/// The same where tables come back by tablets: each is one batch, of TiBs maybe. Its worker sees earlier that it
/// stands still.
pub const LOAD_TABLE_MS: u64 = 48 * HOUR;
/// Tables of all nodes together that are counted node by node. With more of them a run's record would
/// come near to what one message may hold.
pub const NODE_TABLES: usize = 20_000;
/// As for [`PREPARE_MS`]; counts from the first try.
pub const PUT_BACK_MS: u64 = 30 * MINUTE;

/// A needed worker may be away for so long: longer than a restart with its presence expiring.
pub const ABSENT_MS: u64 = 90 * SECOND;
/// The same while inspecting, when a person waits for a first answer.
pub const ABSENT_INSPECT_MS: u64 = 30 * SECOND;

/// Pause before a job that must succeed, but failed, is asked for again.
pub const PAUSE_MS: u64 = 30 * SECOND;

/// Longer than an answer is on its way from a worker to the run. Something that was put back, and
/// then changed once more, is put back again only after so long.
pub const ANSWER_MS: u64 = 10 * SECOND;

/// The most that one tick adds to a run's clock. Time in which nobody ticked (no scheduler was
/// running, or the wall clock was set) counts against nobody; below [`ABSENT_MS`], so that no one
/// tick can pass that limit.
pub const STEP_MS: u64 = 30 * SECOND;
/// A tick that only moves the clock by less is not worth saving.
pub const GRAIN_MS: u64 = 10 * SECOND;

/// The most chunks a node's plan, or batches a restore's plan, may have: 8 PiB in full chunks. What
/// claims to be more is an error somewhere, and must not cost memory.
pub const PARTS: u32 = 1 << 20;

/// The highest number of a chunk that is remembered before its plan is known. Higher ones are asked
/// for again, and answered at once; a false one must not make the run large.
pub const EARLY_PARTS: u32 = 1 << 14;

/// A limit as people say it: `90 s`, `30 min`, `2 h`.
pub(crate) fn text(ms: u64) -> String {
    if ms.is_multiple_of(HOUR) {
        format!("{} h", ms / HOUR)
    } else if ms.is_multiple_of(MINUTE) {
        format!("{} min", ms / MINUTE)
    } else {
        format!("{} s", ms / SECOND)
    }
}
