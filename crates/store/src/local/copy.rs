//! Copies that share the content: an object is never changed in place.

use std::{
    fs::{self, File},
    io,
};

use super::{Local, is_missing};
use crate::{Error, source::blocking, store::torn};

impl Local {
    /// Gives the object under `from` a second name, unless that is taken.
    pub(crate) async fn copy_new(&self, from: &str, to: &str, bytes: u64) -> Result<bool, Error> {
        let (source, target) = (self.path(from), self.path(to));
        let (old, new) = (source.clone(), target.clone());
        let linked = blocking(move || {
            let meta = fs::metadata(&old)?;
            if !meta.is_file() {
                return Err(io::ErrorKind::NotFound.into());
            }
            if meta.len() != bytes {
                return Ok(Err(meta.len()));
            }
            let parent = new.parent().expect("a key lies in its bucket");
            fs::create_dir_all(parent)?;
            match fs::hard_link(&old, &new) {
                Err(e) if e.kind() == io::ErrorKind::AlreadyExists => Ok(Ok(false)),
                Err(e) => Err(e),
                Ok(()) => File::open(parent)?.sync_all().map(|()| Ok(true)),
            }
        });
        match linked.await {
            Ok(Ok(linked)) => Ok(linked),
            Ok(Err(found)) => Err(torn(from, found, bytes)),
            Err(e) if is_missing(&e) => Err(self.missing(from)),
            Err(e) => Err(self.failed("copy", from, &target, e)),
        }
    }
}
