//! What only S3 can be asked whether it allows it.

use super::{S3, error::explain};
use crate::Error;

impl S3 {
    /// Begins an upload in parts and takes it back.
    pub(crate) async fn begins_and_aborts(&self, key: &str) -> Result<(), Error> {
        let attempt = self.attempt("abort the upload of", key);
        let begun = self.control().create_multipart_upload();
        let begun = begun.bucket(&self.bucket).key(key).send().await;
        let begun = begun.map_err(|e| explain(&attempt, &e))?;
        let aborted = self.control().abort_multipart_upload();
        let aborted = aborted.bucket(&self.bucket).key(key);
        let aborted = aborted.set_upload_id(begun.upload_id).send().await;
        aborted.map(drop).map_err(|e| explain(&attempt, &e))
    }
}
