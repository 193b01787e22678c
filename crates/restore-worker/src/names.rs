//! What SSTables of a backup are called on the node that takes them in.

use std::hash::{DefaultHasher, Hash as _, Hasher as _};

use catalog::{
    Batch, BatchFile, BatchSsTable, IdKind, Name,
    sstable::{self, Id},
};
use protocol::RunId;

use crate::failure::Failure;

/// The SSTable's name on this node. An id that is used again gets a unique one in its place,
/// the same at every attempt.
pub(crate) fn local_name(
    batch: &Batch,
    sstable: &BatchSsTable,
    origin: RunId,
) -> Result<String, Failure> {
    match batch.ids {
        IdKind::Uuid => Ok(sstable.name.clone()),
        IdKind::Integer => {
            let name: Name =
                sstable::parse_sstable(&sstable.name).map_err(|_| Failure::Incomplete {
                    sstable: sstable.name.clone(),
                    component: sstable::TOC.to_owned(),
                })?;
            Ok(name.renamed(&unique_id(origin, batch.batch, &sstable.name)))
        }
    }
}

/// The file's name on this node: the SSTable's, with the component.
pub(crate) fn local_file(sstable: &BatchSsTable, file: &BatchFile, name: &str) -> String {
    let component = file.name.strip_prefix(&*sstable.name).unwrap_or(&file.name);
    format!("{name}{component}")
}

/// A unique id in place of an integer one: the time of the run, and a hash of what it stands for.
fn unique_id(origin: RunId, batch: u32, sstable: &str) -> Id {
    /// Seconds from the calendar's epoch (1582-10-15) to 1970.
    const GREGORIAN: u64 = 12_219_292_800;
    const DAY: u64 = 86_400;
    let (seconds, nanos) = origin
        .0
        .get_timestamp()
        .map_or((0, 0), |time| time.to_unix());
    let seconds = seconds + GREGORIAN;
    // Without random keys, so that every attempt finds what an earlier one has downloaded.
    let mut hasher = DefaultHasher::new();
    (origin.0.as_bytes(), batch, sstable).hash(&mut hasher);
    // The two highest bits say that it is a UUID of the usual variant.
    let node = (hasher.finish() & (u64::MAX >> 2)) | (1 << 63);
    let text = format!(
        "{}_{}_{}{}",
        base36(seconds / DAY, 4),
        base36(seconds % DAY, 4),
        base36(u64::from(nanos / 100), 5),
        base36(node, 13)
    );
    Id::Uuid(text)
}

fn base36(mut value: u64, width: usize) -> String {
    const DIGITS: &[u8; 36] = b"0123456789abcdefghijklmnopqrstuvwxyz";
    let mut text = vec![b'0'; width];
    for digit in text.iter_mut().rev() {
        *digit = DIGITS[usize::try_from(value % 36).expect("below 36")];
        value /= 36;
    }
    text.into_iter().map(char::from).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_new_id_is_one_scylla_reads_and_the_same_each_time() {
        let origin = RunId::generate();
        let id = unique_id(origin, 3, "me-1-big");
        assert_eq!(id, unique_id(origin, 3, "me-1-big"));
        assert_ne!(id, unique_id(origin, 4, "me-1-big"));
        assert_ne!(id, unique_id(origin, 3, "me-2-big"));
        let name = sstable::parse_sstable(&format!("me-{id}-big")).unwrap();
        assert_eq!(name.id, id);
        assert!(
            id.to_string().starts_with("3g") || id.to_string().starts_with("3h"),
            "{id}: of our days"
        );
    }
}
