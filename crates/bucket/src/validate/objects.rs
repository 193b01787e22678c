//! A node's objects, and which of them backups mean.
//!
//! Takes some 50 bytes for each object: an SSTable's name is kept once, and each of its files is a
//! few numbers. What backups mean a file is a number, too: files that came and went together share
//! it.

use std::collections::{BTreeMap, HashMap};

use catalog::{
    InvalidSegment, Name,
    key::{ComponentKey, Owner, ScyllaManifestKey, TableDir},
    sstable::{DATA, DIGEST},
};
use protocol::SnapshotTag;

/// A file of an SSTable; or, with no component, another file.
#[derive(Clone, Copy, Debug)]
pub(super) struct Part {
    component: u32,
    /// 0 for a plain object, or the place of an older version's tag, counted from 1.
    version: u32,
    pub(super) bytes: u64,
    crc32: u32,
    /// Which backups mean it.
    pub(super) used: Set,
    /// Which of them say another size or checksum.
    pub(super) wrong: Set,
    pub(super) state: State,
}

/// What is known of an object.
#[derive(Clone, Copy, Debug, Default)]
#[expect(clippy::struct_excessive_bools, reason = "each is a fact of its own")]
pub(super) struct State {
    /// It is not there.
    pub(super) absent: bool,
    /// It was written after the check began.
    pub(super) late: bool,
    /// An unfinished backup or a run that is under way means it.
    pub(super) pending: bool,
    /// A backup says another size.
    pub(super) size: bool,
    /// Two backups say different checksums.
    pub(super) disputed: bool,
    /// Its content is not what it was.
    pub(super) content: bool,
    /// It cannot be read.
    pub(super) unreadable: bool,
    has_crc: bool,
}

/// Some backups, as a number.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub(super) struct Set(u32);

impl Set {
    pub(super) fn is_empty(self) -> bool {
        self.0 == 0
    }
}

/// Sets of backups: each is another one and one more. Backups are added in one order to all, so
/// that equal ones meet.
#[derive(Debug, Default)]
struct Sets {
    /// Of set number n, at n - 1: the set without its last backup, and that backup.
    steps: Vec<(u32, u32)>,
    known: HashMap<(u32, u32), u32>,
}

impl Sets {
    fn with(&mut self, set: Set, backup: u32) -> Set {
        if set.0 > 0 && self.steps[set.0 as usize - 1].1 == backup {
            return set;
        }
        let step = (set.0, backup);
        Set(*self.known.entry(step).or_insert_with(|| {
            self.steps.push(step);
            u32::try_from(self.steps.len()).expect("fewer sets than objects of a node")
        }))
    }

    fn backups(&self, mut set: Set) -> Vec<u32> {
        let mut backups = Vec::new();
        while set.0 > 0 {
            let (rest, backup) = self.steps[set.0 as usize - 1];
            backups.push(backup);
            set = Set(rest);
        }
        backups.reverse();
        backups
    }
}

/// Texts that have numbers.
#[derive(Debug, Default)]
struct Numbered {
    texts: Vec<String>,
    known: HashMap<String, u32>,
}

impl Numbered {
    fn number(&mut self, text: &str) -> u32 {
        if let Some(number) = self.known.get(text) {
            return *number;
        }
        let number = u32::try_from(self.texts.len()).expect("fewer names than objects of a node");
        self.texts.push(text.to_owned());
        self.known.insert(text.to_owned(), number);
        number
    }
}

/// SSTables by name, each with its files.
type Table = BTreeMap<Box<str>, Vec<Part>>;

/// All objects of a node.
#[derive(Debug, Default)]
pub(super) struct Objects {
    tables: BTreeMap<TableDir, Table>,
    components: Numbered,
    versions: Vec<SnapshotTag>,
    sets: Sets,
    /// How many there are, and how many of them have no name of a known form.
    pub(super) scanned: u64,
    pub(super) foreign: u64,
}

/// What a manifest says of a file.
#[derive(Clone, Copy, Debug)]
pub(super) struct Claim<'a> {
    pub(super) name: &'a str,
    pub(super) bytes: Option<u64>,
    pub(super) crc32: Option<u32>,
}

/// Who says it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Claimant<'a> {
    pub(super) tag: &'a SnapshotTag,
    /// The backup's number; `None` for one that is unfinished.
    pub(super) backup: Option<u32>,
}

impl Objects {
    /// Adds an object as it was listed, if `takes` takes its table.
    pub(super) fn add(
        &mut self,
        key: &str,
        (bytes, late): (u64, bool),
        takes: impl Fn(&TableDir) -> bool,
    ) {
        let found = match key.parse::<ComponentKey>() {
            Ok(key) => Some((key.dir, key.name, key.replaced_by)),
            Err(_) => {
                let list = key.parse::<ScyllaManifestKey>().ok();
                list.map(|key| (key.dir.clone(), key.name(), None))
            }
        };
        let Some((dir, name, replaced_by)) = found else {
            self.foreign += 1;
            return;
        };
        if !takes(&dir) {
            return;
        }
        self.scanned += 1;
        let version = replaced_by.map_or(0, |tag| self.version(tag));
        let state = State {
            late,
            ..State::default()
        };
        self.push(dir, &name, version, bytes, state);
    }

    fn version(&mut self, tag: SnapshotTag) -> u32 {
        let at = self.versions.iter().position(|known| *known == tag);
        let at = at.unwrap_or_else(|| {
            self.versions.push(tag);
            self.versions.len() - 1
        });
        u32::try_from(at + 1).expect("fewer tags than objects of a node")
    }

    fn push(&mut self, dir: TableDir, name: &str, version: u32, bytes: u64, state: State) -> usize {
        let (sstable, component) = split(name);
        let component = self.components.number(&component);
        let table = self.tables.entry(dir).or_default();
        let parts = table.entry(sstable.into()).or_default();
        parts.push(Part {
            component,
            version,
            bytes,
            crc32: 0,
            used: Set::default(),
            wrong: Set::default(),
            state,
        });
        parts.len() - 1
    }

    /// Notes that a backup means a file. Backups that are finished must come in one order.
    ///
    /// # Errors
    /// [`InvalidSegment`] if a name cannot be part of a key.
    pub(super) fn claim(
        &mut self,
        dir: &TableDir,
        claim: Claim<'_>,
        by: Claimant<'_>,
    ) -> Result<(), InvalidSegment> {
        dir.component(claim.name)?;
        let (sstable, component) = split(claim.name);
        let number = self.components.number(&component);
        let parts = self.tables.get_mut(dir).and_then(|t| t.get_mut(&*sstable));
        let place = parts.as_deref().and_then(|parts| {
            let after = |version: &SnapshotTag| version > by.tag;
            place(parts, number, &self.versions, after)
        });
        let Some(backup) = by.backup else {
            // What a run is going to store is plain; what it found may be either.
            for part in parts.into_iter().flatten() {
                part.state.pending |= part.component == number && part.version == 0;
            }
            self.pend(dir, &sstable, place);
            return Ok(());
        };
        let at = place.unwrap_or_else(|| {
            let absent = State {
                absent: true,
                ..State::default()
            };
            self.push(
                dir.clone(),
                claim.name,
                0,
                claim.bytes.unwrap_or_default(),
                absent,
            )
        });
        let parts = self.tables.get_mut(dir).and_then(|t| t.get_mut(&*sstable));
        if let Some(part) = parts.and_then(|parts| parts.get_mut(at)) {
            note(part, claim, backup, &mut self.sets);
        }
        Ok(())
    }

    fn pend(&mut self, dir: &TableDir, sstable: &str, place: Option<usize>) {
        let parts = self.tables.get_mut(dir).and_then(|t| t.get_mut(sstable));
        let part = parts.zip(place).and_then(|(parts, at)| parts.get_mut(at));
        if let Some(part) = part {
            part.state.pending = true;
        }
    }

    /// Notes that something under way means an object.
    pub(super) fn need(&mut self, key: &str) {
        let Ok(key) = key.parse::<ComponentKey>() else {
            return;
        };
        let version = key.replaced_by.map_or(0, |tag| self.version(tag));
        let (sstable, component) = split(&key.name);
        let component = self.components.number(&component);
        let table = self.tables.get_mut(&key.dir);
        for part in table
            .and_then(|t| t.get_mut(&*sstable))
            .into_iter()
            .flatten()
        {
            part.state.pending |= part.component == component && part.version == version;
        }
    }

    /// All of them, in order of table and SSTable.
    pub(super) fn iter(&self) -> impl Iterator<Item = Found<'_>> {
        self.tables.iter().flat_map(move |(dir, table)| {
            table.iter().flat_map(move |(sstable, parts)| {
                parts.iter().enumerate().map(move |(at, part)| Found {
                    objects: self,
                    dir,
                    sstable,
                    parts,
                    at,
                    part,
                })
            })
        })
    }

    /// The object at a place that [`Found::place`] gave.
    pub(super) fn at(&mut self, place: &Place) -> Option<&mut Part> {
        let table = self.tables.get_mut(&place.0)?;
        table.get_mut(&*place.1)?.get_mut(place.2)
    }

    /// The backups of a set, by number.
    pub(super) fn backups(&self, set: Set) -> Vec<u32> {
        self.sets.backups(set)
    }
}

/// Where an object is among all.
pub(super) type Place = (TableDir, Box<str>, usize);

/// An object among all.
#[derive(Clone, Copy)]
pub(super) struct Found<'a> {
    objects: &'a Objects,
    dir: &'a TableDir,
    sstable: &'a str,
    parts: &'a [Part],
    at: usize,
    pub(super) part: &'a Part,
}

impl Found<'_> {
    pub(super) fn place(&self) -> Place {
        (self.dir.clone(), self.sstable.into(), self.at)
    }

    /// Its key.
    pub(super) fn key(&self) -> String {
        let component = &self.objects.components.texts[self.part.component as usize];
        let mut key = format!("{}{}", self.dir.prefix(), self.sstable);
        if !component.is_empty() {
            key.push('-');
            key.push_str(component);
        }
        if let Some(at) = self.part.version.checked_sub(1) {
            key.push('.');
            key.push_str(self.objects.versions[at as usize].as_str());
        }
        key
    }

    /// Whether nothing means it.
    pub(super) fn unclaimed(&self) -> bool {
        let State {
            absent, pending, ..
        } = self.part.state;
        self.part.used.is_empty() && !pending && !absent
    }

    /// The CRC-32 that a backup says it has.
    pub(super) fn crc32(&self) -> Option<u32> {
        self.part.state.has_crc.then_some(self.part.crc32)
    }

    /// For an SSTable's data: the digest that lay beside it, which has its CRC-32.
    pub(super) fn digest(&self) -> Option<Self> {
        let number = |component| self.objects.components.known.get(component).copied();
        if Some(self.part.component) != number(DATA) {
            return None;
        }
        // Beside an older version lay the one that was replaced at the same time, or later.
        let versions = &self.objects.versions;
        let since = self.part.version.checked_sub(1);
        let since = since.map(|at| &versions[at as usize]);
        let not_before = |version: &SnapshotTag| since.is_some_and(|since| version >= since);
        let at = place(self.parts, number(DIGEST)?, versions, not_before)?;
        let part = &self.parts[at];
        (!part.state.absent).then_some(Self { at, part, ..*self })
    }
}

/// Splits a name into SSTable and component; another name stays whole.
fn split(name: &str) -> (String, String) {
    match name.parse::<Name>() {
        Ok(name) => (name.sstable, name.component),
        Err(_) => (name.to_owned(), String::new()),
    }
}

/// Which of an SSTable's parts a component is: the oldest of the older versions that `fits` takes,
/// or else the plain one.
fn place(
    parts: &[Part],
    component: u32,
    versions: &[SnapshotTag],
    fits: impl Fn(&SnapshotTag) -> bool,
) -> Option<usize> {
    let same = parts.iter().enumerate();
    let same = same.filter(|(_, part)| part.component == component);
    let (mut plain, mut oldest) = (None, None::<(&SnapshotTag, usize)>);
    for (at, part) in same {
        match part.version.checked_sub(1) {
            None => plain = Some(at),
            Some(number) => {
                let tag = &versions[number as usize];
                if fits(tag) && oldest.is_none_or(|(other, _)| tag < other) {
                    oldest = Some((tag, at));
                }
            }
        }
    }
    oldest.map(|(_, at)| at).or(plain)
}

fn note(part: &mut Part, claim: Claim<'_>, backup: u32, sets: &mut Sets) {
    part.used = sets.with(part.used, backup);
    if part.state.absent {
        return;
    }
    let mut wrong = false;
    if claim.bytes.is_some_and(|bytes| bytes != part.bytes) {
        part.state.size = true;
        wrong = true;
    }
    match claim.crc32 {
        Some(crc32) if part.state.has_crc && part.crc32 != crc32 => {
            part.state.disputed = true;
            wrong = true;
        }
        Some(crc32) => {
            part.crc32 = crc32;
            part.state.has_crc = true;
        }
        None => {}
    }
    if wrong {
        part.wrong = sets.with(part.wrong, backup);
    }
}

/// Whether a key lies below a node's components.
pub(super) fn is_of(owner: &Owner, key: &str) -> bool {
    key.starts_with(&owner.components())
}

#[cfg(test)]
mod tests {
    use catalog::TableVersion;

    use super::*;

    fn dir() -> TableDir {
        let id = "3fa1c2de-0000-4000-8000-000000000001";
        let owner = Owner::new(id.parse().unwrap(), "dc1", id.parse().unwrap()).unwrap();
        TableDir::new(&owner, "shop", "users", TableVersion(7)).unwrap()
    }

    fn tag(day: u32) -> SnapshotTag {
        format!("sm_202601{day:02}000000UTC").parse().unwrap()
    }

    fn claim(objects: &mut Objects, name: &str, bytes: u64, day: u32, backup: Option<u32>) {
        let claim = Claim {
            name,
            bytes: Some(bytes),
            crc32: None,
        };
        let tag = tag(day);
        let by = Claimant { tag: &tag, backup };
        objects.claim(&dir(), claim, by).unwrap();
    }

    fn world(names: &[(&str, u64)]) -> Objects {
        let mut objects = Objects::default();
        for (name, bytes) in names {
            let key = format!("{}{name}", dir().prefix());
            objects.add(&key, (*bytes, false), |_| true);
        }
        objects
    }

    fn said(objects: &Objects, of: impl Fn(&Found<'_>) -> bool) -> Vec<String> {
        let name = |found: Found<'_>| found.key()[dir().prefix().len()..].to_owned();
        objects.iter().filter(|f| of(f)).map(name).collect()
    }

    #[test]
    fn each_backup_means_the_version_of_its_time() {
        let data = "mc-1-big-Data.db";
        let (v3, v5) = (format!("{data}.{}", tag(3)), format!("{data}.{}", tag(5)));
        let mut objects = world(&[(data, 50), (&v3, 30), (&v5, 40)]);
        for (day, bytes, backup) in [(1, 30, 0), (3, 40, 1), (4, 40, 2), (5, 50, 3), (9, 50, 4)] {
            claim(&mut objects, data, bytes, day, Some(backup));
        }
        let used: Vec<Vec<u32>> = objects
            .iter()
            .map(|found| objects.backups(found.part.used))
            .collect();
        assert_eq!(used, [vec![3, 4], vec![0], vec![1, 2]]);
        assert!(said(&objects, |f| f.part.state.size || f.unclaimed()).is_empty());
    }

    #[test]
    fn what_is_missing_or_wrong_is_that_of_some_backups() {
        let mut objects = world(&[("mc-1-big-Data.db", 5)]);
        claim(&mut objects, "mc-1-big-Data.db", 5, 1, Some(0));
        claim(&mut objects, "mc-1-big-TOC.txt", 9, 1, Some(0));
        claim(&mut objects, "mc-1-big-Data.db", 6, 2, Some(1));
        claim(&mut objects, "mc-1-big-TOC.txt", 9, 2, Some(1));
        assert_eq!(
            said(&objects, |f| f.part.state.absent),
            ["mc-1-big-TOC.txt"]
        );
        assert_eq!(said(&objects, |f| f.part.state.size), ["mc-1-big-Data.db"]);
        let sets: Vec<_> = objects
            .iter()
            .map(|f| (objects.backups(f.part.used), objects.backups(f.part.wrong)))
            .collect();
        assert_eq!(sets, [(vec![0, 1], vec![1]), (vec![0, 1], vec![])]);
    }

    #[test]
    fn what_nothing_means_is_unclaimed() {
        let older = format!("mc-1-big-Data.db.{}", tag(3));
        let names = [
            "mc-1-big-Data.db",
            &older,
            "mc-2-big-Data.db",
            "mc-3-big-Data.db",
        ];
        let mut objects = world(&names.map(|name| (name, 1)));
        objects.add(&format!("{}schema.cql", dir().prefix()), (1, false), |_| {
            true
        });
        claim(&mut objects, "mc-2-big-Data.db", 1, 9, None);
        objects.need(&format!("{}mc-3-big-Data.db", dir().prefix()));
        assert_eq!(said(&objects, |f| f.unclaimed()), [names[0], &older]);
        assert_eq!((objects.scanned, objects.foreign), (4, 1));
        // An unfinished backup means what it finds, and what it will put there.
        claim(&mut objects, "mc-1-big-Data.db", 1, 1, None);
        assert!(said(&objects, |f| f.unclaimed()).is_empty());
    }

    #[test]
    fn the_digest_of_data_is_of_the_same_time() {
        let (data, digest) = ("mc-1-big-Data.db", "mc-1-big-Digest.crc32");
        let at = |name: &str, day| format!("{name}.{}", tag(day));
        let names = [data, digest, &at(data, 3), &at(data, 4), &at(digest, 4)];
        let objects = world(&names.map(|name| (name, 1)));
        let digests: Vec<_> = objects
            .iter()
            .filter_map(|found| Some((found.key(), found.digest()?.key())))
            .map(|(data, digest)| [data, digest].map(|key| key[dir().prefix().len()..].to_owned()))
            .collect();
        let expected = [
            [data.to_owned(), digest.to_owned()],
            [at(data, 3), at(digest, 4)],
            [at(data, 4), at(digest, 4)],
        ];
        assert_eq!(digests, expected);
    }

    #[test]
    fn files_of_the_same_backups_share_a_set() {
        let mut objects = world(&[]);
        for backup in 0..50 {
            for file in 0..20 {
                claim(
                    &mut objects,
                    &format!("mc-{file}-big-Data.db"),
                    1,
                    1,
                    Some(backup),
                );
            }
        }
        assert_eq!(objects.sets.steps.len(), 50);
        // Twice in one manifest is once.
        claim(&mut objects, "mc-0-big-Data.db", 1, 1, Some(49));
        assert_eq!(objects.sets.steps.len(), 50);
    }
}
