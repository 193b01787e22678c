//! Whether a location can be used, asked of the bucket itself and remembered for a while.

use std::{
    collections::HashMap,
    sync::{Mutex, PoisonError},
    time::{Duration, Instant},
};

use protocol::Location;
use store::{Error, Stores};

/// How long a bucket that was fine is taken to be. A check costs four requests.
const FRESH: Duration = Duration::from_secs(300);

/// Buckets that were fine, and when.
#[derive(Debug, Default)]
pub(crate) struct Checks(Mutex<HashMap<String, Instant>>);

impl Checks {
    /// Whether we may write to, read from, list and delete from `location`.
    pub(crate) async fn check(&self, stores: &Stores, location: &Location) -> Result<(), Error> {
        let key = location.remote();
        let fresh = |at: &Instant| at.elapsed() < FRESH;
        if self
            .0
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .get(&key)
            .is_some_and(fresh)
        {
            return Ok(());
        }
        stores.open(location).await?.check().await?;
        self.0
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .insert(key, Instant::now());
        Ok(())
    }
}
