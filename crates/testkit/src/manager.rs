//! Buckets as ScyllaDB Manager leaves them, and what is true of them.
//!
//! A [`Cluster`] lives and is backed up, step by step; [`Bucket::of`] gathers what that leaves,
//! [`Bucket::write`] puts it into a directory, which is a bucket of provider `localstorage`.
//! [`random_bucket`] chooses the steps itself, from a seed; [`scale`](Scale) makes many manifests
//! quickly; [`damage`] breaks what was written.
//!
//! # Promises
//! * The same seed and steps make the same bytes, on every machine.
//! * The truth does not come from the rules by which a bucket is read: it follows each object from
//!   where it was put to where it was moved.
//! * Nothing of Thetis is used, so that an error there cannot hide itself here.
//!
//! ```
//! use testkit::manager::{Backup, Bucket, Cluster, Table};
//!
//! let mut prod = Cluster::new(7, "prod");
//! let node = prod.node("dc1", "rack1");
//! let users = prod.table(Table::with_integers("shop", "users"));
//! let daily = prod.task();
//! prod.flush(node, users);
//! prod.backup(&Backup::new(&daily, "sm_20260102000000UTC"));
//! prod.set_up_anew(node);
//! prod.flush(node, users);
//! prod.backup(&Backup::new(&daily, "sm_20260103000000UTC"));
//! let bucket = Bucket::of([prod]);
//! let first = bucket.backup("sm_20260102000000UTC").unwrap();
//! let data = &first.nodes[0].tables[0].files[1];
//! assert_eq!(data.name, "mc-1-big-Data.db");
//! assert!(data.key.ends_with("/mc-1-big-Data.db.sm_20260103000000UTC"));
//! ```

mod backup;
mod cluster;
mod clutter;
pub mod damage;
mod manifest;
mod purge;
mod random;
mod scale;
mod scenario;
mod sstable;
mod tag;
mod truth;

pub use self::{
    backup::Backup,
    cluster::{Cluster, NodeAt, TableAt},
    manifest::{Era, Schema},
    purge::{Policy, UNKNOWN_TASK},
    scale::{Scale, ScaleMade},
    scenario::random_bucket,
    sstable::{Ids, Table},
    tag::{tag_at, tag_time},
    truth::{BackupId, BackupMade, Bucket, Facts, FileMade, Kind, NodeMade, Object, TableMade},
};

#[cfg(test)]
mod tests;
