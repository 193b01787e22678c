//! Whatever a node's backups did to files of the same name, and however they ended: each that was
//! finished is restored from what it saw.

#![expect(clippy::unwrap_used, reason = "helpers of tests fail as tests do")]

use std::collections::{BTreeMap, BTreeSet};

use catalog::{
    Filter, Frame, Limits, LocalFile, LocalTable, Manifest, Remote, SsTable, TableVersion,
    key::{ManifestKey, Owner},
    plan::{digests, plan},
    restore, tag,
};
use proptest::prelude::*;
use protocol::SnapshotTag;

/// Components, the digest not last.
const COMPONENTS: [&str; 4] = ["Data.db", "Digest.crc32", "CRC.db", "TOC.txt"];
const INTEGER: &str = "me-3-big";
const UNIQUE: &str = "mt-3gqe_1lnj_4sbpc2ezoscu9hhtor-big";

/// What a backup finds on the disk, and how it ends.
#[derive(Clone, Debug)]
struct Step {
    /// Which SSTable has the name now, if any.
    sstable: Option<u8>,
    /// The order in which files are worked at.
    order: Vec<prop::sample::Index>,
    /// After how many copies and stores it ends; all of them, if there are fewer.
    ends_after: usize,
    /// Where a second uploader takes up the same chunk from the start, if it does.
    again_from: Option<usize>,
    /// Whether the oldest backups go afterwards.
    purges: bool,
}

fn step() -> impl Strategy<Value = Step> {
    (
        proptest::option::weighted(0.9, 0..4_u8),
        proptest::collection::vec(any::<prop::sample::Index>(), 4),
        prop_oneof![3 => Just(usize::MAX), 2 => 0..9_usize],
        proptest::option::of(0..9_usize),
        proptest::bool::weighted(0.2),
    )
        .prop_map(|(sstable, order, ends_after, again_from, purges)| Step {
            sstable,
            order,
            ends_after,
            again_from,
            purges,
        })
}

/// An object: its length, and what tells its content from any other.
#[derive(Clone, Debug, PartialEq)]
struct Content {
    bytes: u64,
    of: String,
}

/// SSTables 0 and 1 have equal sizes, as do 2 and 3; the latter have no checksums of their own.
fn content(sstable: u8, component: &str) -> Option<Content> {
    if sstable >= 2 && component == "CRC.db" {
        return None;
    }
    Some(Content {
        bytes: 10 + u64::from(sstable / 2),
        of: format!("{component} of {sstable}"),
    })
}

fn local(sstable: u8, name: &str) -> SsTable {
    let files = COMPONENTS.iter().filter_map(|component| {
        Some(LocalFile {
            name: format!("{name}-{component}"),
            bytes: content(sstable, component)?.bytes,
        })
    });
    SsTable {
        name: name.to_owned(),
        files: files.collect(),
        crc32: None,
        digest: Some(format!("Digest.crc32 of {sstable}").into_bytes()),
    }
}

#[derive(Default)]
struct Bucket {
    objects: BTreeMap<String, Content>,
    /// Finished backups, and which SSTable each saw.
    finished: BTreeMap<SnapshotTag, (Manifest, Option<u8>)>,
}

impl Bucket {
    fn sizes(&self) -> BTreeMap<String, u64> {
        let sizes = self.objects.iter();
        sizes
            .map(|(key, content)| (key.clone(), content.bytes))
            .collect()
    }

    /// One backup. Fails if it is finished and not all of it is there.
    fn backup(&mut self, step: &Step, name: &str, key: &ManifestKey) {
        let table = LocalTable {
            keyspace: "bank".to_owned(),
            table: "ledger".to_owned(),
            version: TableVersion(7),
            dir: "bank/ledger".to_owned(),
            sstables: step
                .sstable
                .map(|number| local(number, name))
                .into_iter()
                .collect(),
        };
        let objects = self.sizes();
        let wanted = digests(&key.owner, std::slice::from_ref(&table), &objects).unwrap();
        let content = |key: String| {
            let content = self.objects[&key].of.clone().into_bytes();
            (key, content)
        };
        let mut remote = Remote {
            digests: wanted.into_iter().map(content).collect(),
            objects,
            ..Remote::default()
        };
        for (tag, (manifest, _)) in &self.finished {
            let of = ManifestKey {
                tag: tag.clone(),
                ..key.clone()
            };
            for entry in &manifest.index {
                remote.list(&of, entry).unwrap();
            }
        }
        let frame = Frame {
            owner: &key.owner,
            origin: "01930000-0000-7000-8000-00000000000a".parse().unwrap(),
            task: key.task,
            tag: &key.tag,
            units: &[],
            limits: Limits::CHUNK,
        };
        let planned = plan(&frame, vec![table], &remote).unwrap();
        let mut files: Vec<_> = planned.chunks.into_iter().flat_map(|c| c.files).collect();
        for (at, with) in step.order.iter().enumerate().take(files.len()) {
            let with = with.index(files.len());
            files.swap(at, with);
        }
        let mut works = Vec::new();
        for file in &files {
            let kept = file
                .replaces
                .as_ref()
                .map(|old| (&file.key, Some(&old.kept)));
            works.extend(kept);
            works.push((&file.key, None));
        }
        let ended = step.ends_after < works.len();
        let first = works.iter().take(step.ends_after);
        let mut done: Vec<_> = first.copied().collect();
        if let Some(from) = step.again_from.filter(|from| *from < done.len()) {
            // A second one, from the start, in step with the rest of the first.
            let rest = done.split_off(from);
            let mut second = works.iter().copied();
            for work in rest {
                done.push(work);
                done.extend(second.next());
            }
            done.extend(second.filter(|_| !ended));
        }
        for (key, kept) in done {
            self.work(key, kept, step.sstable.unwrap_or_default());
        }
        if !ended {
            let manifest = Manifest {
                index: planned.index,
                ..Manifest::new(key)
            };
            self.finished
                .insert(key.tag.clone(), (manifest, step.sstable));
        }
    }

    /// What an uploader does: copies to where nothing is, or stores.
    fn work(&mut self, key: &str, kept: Option<&String>, sstable: u8) {
        match kept {
            Some(kept) if self.objects.contains_key(kept) => {}
            Some(kept) => {
                if let Some(old) = self.objects.get(key).cloned() {
                    self.objects.insert(kept.clone(), old);
                }
            }
            None => {
                let component = key.rsplit('-').next().unwrap();
                let content = content(sstable, component).unwrap();
                self.objects.insert(key.to_owned(), content);
            }
        }
    }

    /// Removes the oldest backup, and what was kept only for it and for older ones.
    fn purge(&mut self) {
        self.finished.pop_first();
        let Some(oldest) = self.finished.keys().next().cloned() else {
            return;
        };
        let needed = |key: &str| {
            let tag = catalog::key::split_version(key).1;
            tag.is_none_or(|tag| tag > oldest)
        };
        self.objects.retain(|key, _| needed(key));
    }

    /// Each finished backup finds what it saw.
    fn check(&self) -> Result<(), TestCaseError> {
        let sizes = self.sizes();
        let (location, all) = ("s3:b".parse().unwrap(), Filter::new::<&str>(&[]).unwrap());
        for (tag, (manifest, sstable)) in &self.finished {
            let found = restore::collect(manifest, &location, &all, &sizes);
            let found = found.map_err(|e| TestCaseError::fail(e.to_string()))?;
            let files = found.iter().flat_map(|one| &one.sstable.files);
            let mut seen = BTreeSet::new();
            for file in files {
                let component = file.name.rsplit('-').next().unwrap();
                let expected = content(sstable.unwrap(), component);
                let object = self.objects.get(&file.key).cloned();
                prop_assert_eq!(object, expected, "{} for {}", &file.key, tag);
                seen.insert(component.to_owned());
            }
            let expected = COMPONENTS.iter().filter(|component| {
                sstable.is_some_and(|sstable| content(sstable, component).is_some())
            });
            prop_assert!(
                seen.iter()
                    .map(String::as_str)
                    .eq(expected.copied().collect::<BTreeSet<_>>())
            );
        }
        Ok(())
    }
}

fn key(number: u64) -> ManifestKey {
    let id = |last: &str| format!("01920000-0000-7000-8000-0000000000{last}");
    let (cluster, node) = (id("c1").parse().unwrap(), id("01").parse().unwrap());
    ManifestKey {
        owner: Owner::new(cluster, "dc1", node).unwrap(),
        task: id("b1").parse().unwrap(),
        tag: tag::at(1_767_225_600 + number * 3600),
        temporary: false,
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2_000))]

    #[test]
    fn every_backup_is_restored_from_what_it_saw(
        steps in proptest::collection::vec(step(), 1..12),
    ) {
        let mut bucket = Bucket::default();
        for (number, step) in (0..).zip(&steps) {
            bucket.backup(step, INTEGER, &key(number));
            bucket.check()?;
            if step.purges {
                bucket.purge();
                bucket.check()?;
            }
        }
    }

    /// The content of a unique id never changes, however often backups are cut short.
    #[test]
    fn what_is_unique_is_never_kept_twice(
        steps in proptest::collection::vec(step(), 1..12),
    ) {
        let mut bucket = Bucket::default();
        for (number, step) in (0..).zip(&steps) {
            let step = Step { sstable: step.sstable.map(|_| 0), ..step.clone() };
            bucket.backup(&step, UNIQUE, &key(number));
            bucket.check()?;
        }
        prop_assert!(bucket.objects.len() <= COMPONENTS.len());
    }
}
