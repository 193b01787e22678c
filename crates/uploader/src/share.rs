//! How a chunk is shared out between the own engine and another who stores files.

use std::collections::BTreeMap;

use catalog::{Chunk, ChunkFile, IdKind, Name, key::ComponentKey};
use protocol::{Method, SnapshotTag, TableMethod, TableRef};

/// Who stores which files of a chunk.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Share {
    /// For the other, one after the other.
    pub(crate) parts: Vec<Part>,
    /// For the own engine: places in the chunk.
    pub(crate) own: Vec<usize>,
    /// What is told of it.
    pub(crate) methods: Vec<TableMethod>,
}

/// Files of one table's snapshot that go to one place in the bucket under their own names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Part {
    pub(crate) table: TableRef,
    pub(crate) tag: SnapshotTag,
    /// The snapshot's directory, below the data directory.
    pub(crate) snapshot: String,
    /// Where they go, without a slash at the end.
    pub(crate) prefix: String,
    /// Places in the chunk.
    pub(crate) files: Vec<usize>,
}

/// Where a file is and goes, if another can bring it there.
struct Way<'a> {
    tag: SnapshotTag,
    snapshot: &'a str,
    prefix: &'a str,
}

impl Share {
    /// All for the own engine, as a matter of course.
    pub(crate) fn own(chunk: &Chunk) -> Self {
        Self {
            own: (0..chunk.files.len()).collect(),
            ..Self::default()
        }
    }

    /// All for the own engine, although the task may want otherwise.
    pub(crate) fn refused(chunk: &Chunk, reason: &str) -> Self {
        let mut share = Self::own(chunk);
        for file in &chunk.files {
            share.tell(file, Method::Agent, reason);
        }
        share
    }

    /// As much as can be for who does `method`.
    pub(crate) fn others(chunk: &Chunk, method: Method, reason: &str) -> Self {
        let mut share = Self::default();
        let mut parts = BTreeMap::<(&str, &str), usize>::new();
        for (at, file) in chunk.files.iter().enumerate() {
            let way = match way(file) {
                Ok(way) => way,
                Err(reason) => {
                    share.own.push(at);
                    share.tell(file, Method::Agent, reason);
                    continue;
                }
            };
            let Some(table) = table_of(file) else {
                share.own.push(at);
                continue;
            };
            share.tell(file, method, reason);
            let part = *parts.entry((way.snapshot, way.prefix)).or_insert_with(|| {
                share.parts.push(Part {
                    table,
                    tag: way.tag,
                    snapshot: way.snapshot.to_owned(),
                    prefix: way.prefix.to_owned(),
                    files: Vec::new(),
                });
                share.parts.len() - 1
            });
            share.parts[part].files.push(at);
        }
        share
    }

    /// Gives the own engine what is left of the parts from `first` on.
    pub(crate) fn take_over(&mut self, chunk: &Chunk, first: usize, reason: &str) -> Vec<usize> {
        let left = self.parts.split_off(first.min(self.parts.len()));
        let files: Vec<usize> = left.into_iter().flat_map(|part| part.files).collect();
        let stays: Vec<TableRef> = self.parts.iter().map(|part| part.table.clone()).collect();
        for at in &files {
            let file = &chunk.files[*at];
            self.methods.retain(|told| {
                told.method == Method::Agent
                    || stays.contains(&told.table)
                    || Some(&told.table) != table_of(file).as_ref()
            });
            self.tell(file, Method::Agent, reason);
        }
        files
    }

    fn tell(&mut self, file: &ChunkFile, method: Method, reason: &str) {
        let Some(table) = table_of(file) else {
            return;
        };
        let known = |told: &TableMethod| told.table == table && told.method == method;
        if !self.methods.iter().any(known) {
            self.methods.push(TableMethod {
                table,
                method,
                reason: reason.to_owned(),
            });
        }
    }
}

/// The table a file belongs to; what is no component belongs to none.
fn table_of(file: &ChunkFile) -> Option<TableRef> {
    let ComponentKey { dir, .. } = file.key.parse().ok()?;
    Some(TableRef {
        keyspace: dir.keyspace,
        table: dir.table,
    })
}

/// How another can bring a file to its place; or why none can.
fn way(file: &ChunkFile) -> Result<Way<'_>, &'static str> {
    if file.replaces.is_some() {
        return Err("some files take the place of others, which only the own engine keeps");
    }
    let paths = file.path.rsplit_once('/').zip(file.key.rsplit_once('/'));
    let odd = "some files are not where a snapshot has them";
    let ((snapshot, name), (prefix, same)) = paths.ok_or(odd)?;
    let tag = snapshot.rsplit('/').next().and_then(|tag| tag.parse().ok());
    let tag = tag.filter(|_| name == same).ok_or(odd)?;
    match name.parse::<Name>().map(|name| name.id.kind()) {
        Ok(IdKind::Uuid) => Ok(Way {
            tag,
            snapshot,
            prefix,
        }),
        // An upload that goes on although nobody wants it any more would overwrite what is not its own; and
        // that one is listed with the right size would prove nothing.
        Ok(IdKind::Integer) => Err("some SSTables have integer ids, which are used again"),
        Err(_) => Err(odd),
    }
}

#[cfg(test)]
mod tests {
    use catalog::Replaced;

    use super::*;

    const CLUSTER: &str = "6f1e0000-0000-4000-8000-000000000001";
    const ONE: &str = "mt-3gqe_1lnj_4sbpc2ezoscu9hhtor-big";

    fn file(table: &str, name: &str) -> ChunkFile {
        let id = "00000000000000000000000000000001";
        ChunkFile {
            path: format!("ks/{table}-{id}/snapshots/sm_20260131235959UTC/{name}"),
            key: format!(
                "backup/sst/cluster/{CLUSTER}/dc/dc1/node/{CLUSTER}/keyspace/ks/table/{table}/{id}/{name}"
            ),
            bytes: 1,
            crc32: None,
            replaces: None,
        }
    }

    fn chunk() -> Chunk {
        let replaced = ChunkFile {
            replaces: Some(Replaced {
                kept: "old".into(),
                bytes: 1,
            }),
            ..file("a", &format!("{ONE}-Data.db"))
        };
        let elsewhere = ChunkFile {
            key: file("a", &format!("{ONE}-TOC.txt")).key,
            ..file("a", &format!("{ONE}-Rows.db"))
        };
        Chunk {
            chunk: 0,
            files: vec![
                file("a", &format!("{ONE}-Rows.db")),
                replaced,
                file("b", &format!("{ONE}-Data.db")),
                file("c", "me-7-big-Data.db"),
                file("a", &format!("{ONE}-Filter.db")),
                elsewhere,
            ],
        }
    }

    fn told(share: &Share) -> Vec<(&str, Method, &str)> {
        let methods = share.methods.iter();
        methods
            .map(|one| (one.table.table.as_str(), one.method, one.reason.as_str()))
            .collect()
    }

    #[test]
    fn others_get_what_they_can_bring_to_its_place() {
        let chunk = chunk();
        let mut share = Share::others(&chunk, Method::Native, "asked for");
        let parts = share.parts.iter();
        let parts: Vec<_> = parts
            .map(|part| (part.table.table.as_str(), part.files.clone()))
            .collect();
        assert_eq!(parts, [("a", vec![0, 4]), ("b", vec![2])]);
        assert_eq!(share.own, [1, 3, 5]);
        assert_eq!(
            share.parts[0].snapshot,
            "ks/a-00000000000000000000000000000001/snapshots/sm_20260131235959UTC"
        );
        assert!(
            chunk.files[0]
                .key
                .starts_with(&format!("{}/mt-", share.parts[0].prefix))
        );
        let all = told(&share);
        assert_eq!(all.len(), 4, "{all:?}");
        assert!(
            all[0] == ("a", Method::Native, "asked for") && all[1].2.contains("take the place")
        );
        assert!(all[2] == ("b", Method::Native, "asked for") && all[3].2.contains("integer"));

        assert_eq!(share.take_over(&chunk, 1, "it failed"), [2]);
        assert_eq!(share.parts.len(), 1);
        assert!(told(&share).contains(&("b", Method::Agent, "it failed")));
        assert!(!told(&share).contains(&("b", Method::Native, "asked for")));
        assert!(told(&share).contains(&("a", Method::Native, "asked for")));
        assert_eq!(share.take_over(&chunk, 0, "it failed"), [0, 4]);
        assert!(
            share
                .methods
                .iter()
                .all(|told| told.method == Method::Agent)
        );
    }

    #[test]
    fn the_own_engine_tells_only_what_is_a_question() {
        let chunk = chunk();
        assert_eq!(Share::own(&chunk).own.len(), 6);
        assert!(Share::own(&chunk).methods.is_empty());
        let refused = Share::refused(&chunk, "too old");
        assert_eq!(refused.own.len(), 6);
        let all = ["a", "b", "c"].map(|table| (table, Method::Agent, "too old"));
        assert_eq!(told(&refused), all);
    }
}
