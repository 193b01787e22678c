//! Copies by the store itself.

use std::time::Duration;

use opendal::{ErrorKind, options::CopyOptions};

use super::{Remote, TRANSFER, error::explain};
use crate::{Error, store::torn};

/// Between two looks at a copy that is not complete.
const LOOK: Duration = Duration::from_secs(1);

impl Remote {
    /// Whether the store copies at all: buckets in memory do not.
    pub(crate) fn copies(&self) -> bool {
        self.operator.info().capability().copy
    }

    /// Copies an object unless there is one under `to`: of that the copy itself makes sure, as far
    /// as the store is a real one.
    pub(crate) async fn copy_new(&self, from: &str, to: &str, bytes: u64) -> Result<bool, Error> {
        let found = self.bytes(from).await?;
        let attempt = self.attempt("copy", from);
        match found {
            None => return Err(attempt.not_found()),
            Some(found) if found != bytes => return Err(torn(from, found, bytes)),
            Some(_) => {}
        }
        let request = self.budget.requests(1).await;
        let copied = self.operator.copy_options(from, to, self.only_new()).await;
        drop(request);
        match copied {
            Ok(_) => self.settled(to, bytes).await.map(|()| true),
            Err(e)
                if matches!(
                    e.kind(),
                    ErrorKind::ConditionNotMatch | ErrorKind::AlreadyExists
                ) =>
            {
                self.settled(to, bytes).await.map(|()| false)
            }
            Err(e) => Err(explain(&attempt, &e)),
        }
    }

    /// GCS says it as "there is no generation of it".
    fn only_new(&self) -> CopyOptions {
        let direct = self.operator.info().capability().copy_with_if_not_exists;
        CopyOptions {
            if_not_exists: direct,
            if_version_match: (!direct).then(|| "0".to_owned()),
            ..CopyOptions::default()
        }
    }

    /// Waits until a copy is complete. Azure may go on copying after it has answered, and the copy is
    /// empty until then; the original must not be replaced meanwhile.
    pub(crate) async fn settled(&self, to: &str, bytes: u64) -> Result<(), Error> {
        let complete = async {
            loop {
                match self.bytes(to).await? {
                    None => return Err(self.attempt("copy", to).not_found()),
                    Some(found) if found == bytes => return Ok(()),
                    Some(0) => tokio::time::sleep(LOOK).await,
                    Some(found) => return Err(torn(to, found, bytes)),
                }
            }
        };
        let complete = tokio::time::timeout(TRANSFER, complete).await;
        complete.unwrap_or_else(|_| {
            let attempt = self.attempt("copy", to);
            Err(attempt.unavailable("the copy was begun, but does not become complete"))
        })
    }
}
