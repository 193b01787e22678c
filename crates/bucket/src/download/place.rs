//! Where SSTables go on the local disk.

use std::{
    collections::HashMap,
    hash::{DefaultHasher, Hash as _, Hasher as _},
    path::{Path, PathBuf},
};

use catalog::{IdKind, key::TableDir};
use protocol::NodeId;

/// Gives each SSTable a directory of its table in which no other has its name.
///
/// The same SSTables in the same order get the same directories, so that a download can go on.
pub(super) struct Places<'a> {
    dir: &'a Path,
    /// Whether there is more than one node.
    several: bool,
    /// The node that has a name first, by what identifies the name.
    taken: HashMap<u128, NodeId>,
}

impl<'a> Places<'a> {
    pub(super) fn new(dir: &'a Path, several: bool) -> Self {
        Self {
            dir,
            several,
            taken: HashMap::new(),
        }
    }

    /// The directory for an SSTable.
    pub(super) fn place(&mut self, table: &TableDir, sstable: &str, ids: IdKind) -> PathBuf {
        let folder = format!("{}-{}", table.table, table.version);
        let upload = self.dir.join(&table.keyspace).join(folder).join("upload");
        let node = table.owner.node;
        let own = self.several
            && match ids {
                IdKind::Integer => true,
                IdKind::Uuid => {
                    let first = self.taken.entry(identity(&upload, sstable)).or_insert(node);
                    *first != node
                }
            };
        if own {
            upload.join(node.to_string())
        } else {
            upload
        }
    }
}

/// A number that no two names share, as far as chance goes: two meet once in 10^20 pairs of
/// billions.
fn identity(dir: &Path, sstable: &str) -> u128 {
    let half = |salt: u8| {
        let mut hasher = DefaultHasher::new();
        (salt, dir, sstable).hash(&mut hasher);
        u128::from(hasher.finish())
    };
    half(0) << 64 | half(1)
}

#[cfg(test)]
mod tests {
    use catalog::{TableVersion, key::Owner};

    use super::*;

    #[test]
    fn names_that_clash_go_into_directories_of_their_own() {
        let node = |last: u8| format!("3fa1c2de-0000-4000-8000-00000000000{last}");
        let table = |last| {
            let (cluster, id) = (node(9).parse().unwrap(), node(last).parse().unwrap());
            let owner = Owner::new(cluster, "dc1", id).unwrap();
            TableDir::new(&owner, "shop", "users", TableVersion(7)).unwrap()
        };
        let upload = "/d/shop/users-00000000000000000000000000000007/upload";
        let mut places = Places::new(Path::new("/d"), true);
        let mut place =
            |last, name, ids| places.place(&table(last), name, ids).display().to_string();
        assert_eq!(place(1, "me-a-big", IdKind::Uuid), upload);
        assert_eq!(place(1, "me-a-big", IdKind::Uuid), upload);
        assert_eq!(place(2, "me-b-big", IdKind::Uuid), upload);
        assert_eq!(
            place(2, "me-a-big", IdKind::Uuid),
            format!("{upload}/{}", node(2))
        );
        assert_eq!(
            place(1, "me-1-big", IdKind::Integer),
            format!("{upload}/{}", node(1))
        );
        let mut alone = Places::new(Path::new("/d"), false);
        let path = alone.place(&table(1), "me-1-big", IdKind::Integer);
        assert_eq!(path, Path::new(upload));
    }
}
