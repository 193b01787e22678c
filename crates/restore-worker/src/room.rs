//! How much of a restore a node may have on its disk at once, whatever the number of its workers.
//!
//! # Promises
//! * A node has no more batches in hand, downloading, waiting or loading, than `restore.slots`.
//! * A batch is begun only if it fits beside all that others have still to bring, and leaves free what
//!   has to stay free.
//! * A batch is in one hand: its directory is locked, and free again when its worker dies.
//!
//! Whoever comes in and whoever is in are compared under a lock of the run's directory, which is
//! held for a moment.

use std::{
    fs::{self, File, TryLockError},
    io,
    os::unix::fs::MetadataExt as _,
    path::Path,
};

use protocol::RunId;
use queue::Context as JobContext;
use tokio::time::sleep;

use crate::{
    failure::Failure,
    staging::{InUse, LOCK_PAUSE, Space, Staging, is_held},
};

/// In a batch's directory while it is being downloaded: how many bytes it takes in all.
const WANT: &str = "want";

/// What a batch needs.
pub(crate) struct Order {
    /// Batches that a node may have in hand.
    pub(crate) slots: usize,
    /// Files to be downloaded, by their names here, and their bytes.
    pub(crate) files: Vec<(String, u64)>,
    /// Disk space that must stay free, in percent.
    pub(crate) percent: u8,
}

impl Order {
    /// Of a batch that needs no room.
    pub(crate) fn nothing(slots: usize) -> Self {
        Self {
            slots,
            files: Vec::new(),
            percent: 0,
        }
    }
}

impl Staging {
    /// Gives the directory a batch is downloaded to, once there is room for it on the node and nobody
    /// else has it in hand.
    ///
    /// Whoever gets it must ask next whether the run is over: it may have been cleared just before.
    ///
    /// # Errors
    /// [`Failure::NoSpace`] if it does not even fit when nothing else is in hand.
    pub(crate) async fn admit(
        &self,
        origin: RunId,
        batch: u32,
        order: &Order,
        ctx: &JobContext,
    ) -> Result<InUse, Failure> {
        loop {
            if let Some(admitted) = self.try_admit(origin, batch, order)? {
                return Ok(admitted);
            }
            ctx.alive.moved(0);
            sleep(LOCK_PAUSE).await;
        }
    }

    fn try_admit(
        &self,
        origin: RunId,
        batch: u32,
        order: &Order,
    ) -> Result<Option<InUse>, Failure> {
        let (run, dir) = (self.run(origin), self.batch_dir(origin, batch));
        fs::create_dir_all(&dir).map_err(Failure::file("make", &dir))?;
        let Some(_door) = try_lock(&run)? else {
            return Ok(None);
        };
        let Some(held) = try_lock(&dir)? else {
            return Ok(None);
        };
        let mut others = Vec::new();
        for other in self.batch_dirs(None)? {
            if other != dir && is_held(&other)? {
                others.push(other);
            }
        }
        if others.len() >= order.slots {
            return Ok(None);
        }
        let space = self.space()?;
        let coming = others.iter().map(|other| coming(other)).sum();
        match order.fits(&dir, batch, &space, coming) {
            Ok(want) => note(&dir, want)?,
            // They may make room.
            Err(_) if !others.is_empty() => return Ok(None),
            Err(failure) => return Err(failure),
        }
        Ok(Some(InUse { dir, _held: held }))
    }

    /// Says that a batch is downloaded: it needs no more room.
    pub(crate) fn arrived(dir: &Path) -> Result<(), Failure> {
        let path = dir.join(WANT);
        match fs::remove_file(&path) {
            Ok(()) => Ok(()),
            Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(()),
            Err(e) => Err(Failure::file("remove", path)(e)),
        }
    }
}

impl Order {
    /// Bytes that the batch takes in all; refuses what does not fit. What an earlier attempt has brought
    /// needs no room any more, and what others have still to bring, `coming`, is taken.
    fn fits(&self, dir: &Path, batch: u32, space: &Space, coming: u64) -> Result<u64, Failure> {
        // Each file ends with a block that is not full.
        let whole = |bytes: u64| bytes.div_ceil(space.block).saturating_mul(space.block);
        let mut needed: u64 = 0;
        for (name, bytes) in &self.files {
            let there = fs::metadata(dir.join(name)).map_or(0, |there| there.len());
            needed = needed.saturating_add(whole(bytes.saturating_sub(there)));
        }
        let keep = space.total / 100 * u64::from(self.percent);
        if needed > 0 && space.free < needed.saturating_add(coming).saturating_add(keep) {
            return Err(Failure::NoSpace {
                batch,
                needed,
                free: space.free,
                total: space.total,
                percent: self.percent,
            });
        }
        let all = self.files.iter().map(|(_, bytes)| whole(*bytes));
        Ok(all.fold(0, u64::saturating_add))
    }
}

/// Bytes that a batch in hand has still to bring.
fn coming(dir: &Path) -> u64 {
    // It may be gone by now: then nothing comes any more.
    let Ok(want) = fs::read_to_string(dir.join(WANT)) else {
        return 0;
    };
    let entries = fs::read_dir(dir).into_iter().flatten().flatten();
    let there: u64 = entries
        .filter_map(|entry| entry.metadata().ok())
        .map(|there| there.blocks().saturating_mul(512))
        .sum();
    want.parse::<u64>().unwrap_or(0).saturating_sub(there)
}

fn note(dir: &Path, want: u64) -> Result<(), Failure> {
    if want == 0 {
        return Ok(());
    }
    let path = dir.join(WANT);
    fs::write(&path, want.to_string()).map_err(Failure::file("write", path))
}

/// Locks a directory, if nobody has and it was not removed meanwhile.
fn try_lock(dir: &Path) -> Result<Option<File>, Failure> {
    let file = match File::open(dir) {
        Ok(file) => file,
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(e) => return Err(Failure::file("open", dir)(e)),
    };
    match file.try_lock() {
        Ok(()) => {}
        Err(TryLockError::WouldBlock) => return Ok(None),
        Err(TryLockError::Error(e)) => return Err(Failure::file("lock", dir)(e)),
    }
    let same = match (file.metadata(), fs::metadata(dir)) {
        (Ok(held), Ok(there)) => held.ino() == there.ino(),
        (Err(_), _) | (_, Err(_)) => false,
    };
    Ok(same.then_some(file))
}

#[cfg(test)]
mod tests {
    use queue::CancellationToken;

    use super::*;

    fn order(slots: usize, bytes: u64) -> Order {
        Order {
            slots,
            files: vec![("me-1-big-Data.db".to_owned(), bytes)],
            percent: 0,
        }
    }

    #[test]
    fn a_node_has_only_so_many_batches_in_hand_and_each_only_once() {
        let root = tempfile::tempdir().unwrap();
        let staging = Staging::below(root.path());
        let (one, two) = (RunId::generate(), RunId::generate());
        let admit = |run, batch| staging.try_admit(run, batch, &order(2, 10)).unwrap();
        let first = admit(one, 0).unwrap();
        assert!(admit(one, 0).is_none(), "it is in another's hand");
        let second = admit(two, 7).unwrap();
        assert!(
            admit(one, 1).is_none(),
            "two are in hand, whatever their runs"
        );
        drop(second);
        let third = admit(one, 1).unwrap();
        Staging::clear_batch(&first.dir).unwrap();
        drop(first);
        let again = admit(one, 0).unwrap();
        assert!(again.dir.is_dir() && third.dir.is_dir());
    }

    #[test]
    fn what_others_have_still_to_bring_is_taken() {
        let root = tempfile::tempdir().unwrap();
        let staging = Staging::below(root.path());
        let run = RunId::generate();
        fs::create_dir(root.path().join(".thetis")).unwrap();
        let Space { free, .. } = staging.space().unwrap();
        // Whatever else goes on on this disk: more than half of it, and more than all of it.
        let most = free / 8 * 5;
        let first = staging.try_admit(run, 0, &order(9, most)).unwrap();
        let first = first.expect("it fits alone");
        let second = staging.try_admit(run, 1, &order(9, most)).unwrap();
        assert!(second.is_none(), "both do not fit");
        Staging::arrived(&first.dir).unwrap();
        assert!(
            staging
                .try_admit(run, 1, &order(9, most))
                .unwrap()
                .is_some()
        );
        let failed = staging.try_admit(run, 2, &order(9, free * 2)).err();
        assert!(failed.is_none(), "others may make room");
        drop(first);
        let failed = staging
            .try_admit(run, 2, &order(9, free * 2))
            .err()
            .unwrap();
        assert!(failed.to_string().contains("not enough space"), "{failed}");
    }

    #[test]
    fn a_batch_that_is_partly_there_needs_the_rest() {
        let root = tempfile::tempdir().unwrap();
        fs::write(root.path().join("me-1-big-Data.db"), [0; 10_000]).unwrap();
        let space = Space {
            free: 100_000,
            total: 1_000_000,
            block: 4096,
        };
        let fits = |bytes, coming| order(9, bytes).fits(root.path(), 3, &space, coming);
        assert_eq!(fits(100_000, 0).unwrap(), 102_400);
        assert!(fits(100_000, 10_000).is_err());
        // All of it is there.
        assert!(fits(10_000, 1_000_000).is_ok());
    }

    #[tokio::test]
    async fn whoever_waits_comes_in_when_another_leaves() {
        let root = tempfile::tempdir().unwrap();
        let staging = Staging::below(root.path());
        let ctx = JobContext::new(1, CancellationToken::new());
        let run = RunId::generate();
        let order = Order::nothing(1);
        let first = staging.admit(run, 0, &order, &ctx).await.unwrap();
        let leave = async {
            sleep(LOCK_PAUSE * 2).await;
            Staging::clear_batch(&first.dir).unwrap();
            drop(first);
        };
        let second = staging.admit(run, 0, &order, &ctx);
        let (second, ()) = tokio::join!(second, leave);
        assert!(second.unwrap().dir.is_dir());
    }
}
