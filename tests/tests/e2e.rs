//! End to end, on real parts: NATS, an S3 server, processes, files; only ScyllaDB is simulated.

#[path = "e2e/access.rs"]
mod access;
#[path = "e2e/again.rs"]
mod again;
#[path = "e2e/altered.rs"]
mod altered;
#[path = "e2e/attempts.rs"]
mod attempts;
#[path = "e2e/bad_input.rs"]
mod bad_input;
#[path = "e2e/crash.rs"]
mod crash;
#[path = "e2e/examples.rs"]
mod examples;
#[path = "e2e/faults.rs"]
mod faults;
#[path = "e2e/full.rs"]
mod full;
#[path = "e2e/hostile.rs"]
mod hostile;
#[path = "e2e/life.rs"]
mod life;
#[path = "e2e/limits.rs"]
mod limits;
#[path = "e2e/many.rs"]
mod many;
#[path = "e2e/matrix.rs"]
mod matrix;
#[path = "e2e/memory.rs"]
mod memory;
#[path = "e2e/metrics.rs"]
mod metrics;
#[path = "e2e/native.rs"]
mod native;
#[path = "e2e/native_faults.rs"]
mod native_faults;
#[path = "e2e/openapi.rs"]
mod openapi;
#[path = "e2e/operate.rs"]
mod operate;
#[path = "e2e/rclone.rs"]
mod rclone;
#[path = "e2e/restore.rs"]
mod restore;
#[path = "e2e/retention.rs"]
mod retention;
#[path = "e2e/roundtrip.rs"]
mod roundtrip;
#[path = "e2e/schema.rs"]
mod schema;
#[path = "e2e/share.rs"]
mod share;
#[path = "e2e/spread.rs"]
mod spread;
#[path = "e2e/stop.rs"]
mod stop;
#[path = "e2e/undo.rs"]
mod undo;
#[path = "e2e/validate.rs"]
mod validate;
