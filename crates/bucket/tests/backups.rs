//! Buckets as ScyllaDB Manager leaves them, whole and damaged, read in every way there is.
//!
//! What is true of them comes from the generator, which knows nothing of how they are read.

#[path = "backups/coverage.rs"]
mod coverage;
#[path = "backups/damage.rs"]
mod damage;
#[path = "backups/download.rs"]
mod download;
#[path = "backups/files.rs"]
mod files;
#[path = "backups/index.rs"]
mod index;
#[path = "backups/schema.rs"]
mod schema;
#[path = "backups/validate.rs"]
mod validate;
#[path = "backups/world.rs"]
mod world;
