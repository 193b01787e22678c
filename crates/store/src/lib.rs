//! Objects in buckets: the only user of `aws-sdk-s3`, `opendal` and rclone.
//!
//! A [`Store`] is one bucket of S3 (or what speaks its protocol), Google Cloud Storage, Azure Blob
//! Storage, or one directory of a local or mounted file system; [`Stores`] opens them and holds
//! what all of them share: settings, connections and budgets.
//!
//! # Promises
//! * An object is seen under its key whole or not at all, whatever dies when.
//! * Storing a file reads it once, past the page cache if it is large, and leaves nothing of it there.
//!   Its CRC-32 is computed on the way and, on S3, checked by the server with every request.
//! * Buffers stay below `memory_mb` for the whole process (an [`Rclone`] is another one), whatever the
//!   number and size of files, up to files whose parts are larger than that, of which there is one at a
//!   time; requests in flight stay below `requests`.
//! * Nothing waits for ever: connecting has 5 s, and a request in which nothing moves for 60 s to
//!   2 min is given up (3 min as a whole, moving or not, when storing in GCS and Azure); after a
//!   few tries that is [`Error::Unavailable`].
//! * What may pass (5xx, 429, cut connections) is retried with growing, jittered pauses; what will
//!   not (403, 404) fails at once. [`Error::retry`] says which it was.
//! * No error and no `Debug` output holds a secret.
//!
//! # Crashes
//! Nothing is remembered. A dead process leaves at most parts of uploads that were under way: on
//! S3 and GCS until a lifecycle rule of the bucket removes them, on Azure for a week, and in a
//! directory below `.thetis-tmp` until the bucket is opened a day later.
//!
//! # Not here
//! What keys mean is `catalog`'s. Which files go where is the workers'.

mod budget;
mod download;
mod error;
mod flight;
mod http;
mod key;
mod local;
mod part;
mod probe;
mod rate;
mod rclone;
mod remote;
mod requests;
mod s3;
mod settings;
mod source;
mod store;
mod stores;
mod time;

pub use error::Error;
pub use probe::{Met, Need, s3_policy};
pub use rclone::{Copy, Files, Rclone, Step};
pub use requests::Requests;
pub use settings::{
    AzureSettings, GcsSettings, LocalSettings, RcloneSettings, S3Settings, Secret, Settings,
    check_class, has_classes,
};
pub use store::{Moved, Object, Store};
pub use stores::Stores;
