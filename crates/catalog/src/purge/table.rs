//! One table's objects, kept small: a large node has millions.

use std::{collections::BTreeMap, sync::Arc};

use protocol::SnapshotTag;

use super::Totals;
use crate::{IdKind, Name, key::split_version};

/// Kinds of component that have a bit. SSTables have about ten; more than these are kept by name.
const KINDS: usize = 64;

/// Names of components, as in `Data.db`. Each one's place is its bit.
#[derive(Debug, Default)]
pub(super) struct Kinds(Vec<Box<str>>);

impl Kinds {
    fn find(&self, component: &str) -> Option<u64> {
        let at = self.0.iter().position(|kind| **kind == *component);
        at.map(|at| 1 << at)
    }

    fn find_or_add(&mut self, component: &str) -> Option<u64> {
        let found = self.find(component);
        if found.is_some() || self.0.len() == KINDS {
            return found;
        }
        self.0.push(component.into());
        Some(1 << (self.0.len() - 1))
    }

    fn names(&self, set: u64) -> impl Iterator<Item = &str> {
        let kinds = self.0.iter().enumerate();
        let kinds = kinds.filter(move |(at, _)| set & (1 << at) != 0);
        kinds.map(|(_, kind)| &**kind)
    }
}

/// Objects of one table.
#[derive(Debug, Default)]
pub(super) struct Table {
    /// By what stands before the component in their names.
    sstables: BTreeMap<Box<str>, Parts>,
    /// Whole names of those whose component has no bit, and their bytes.
    odd: BTreeMap<Box<str>, u64>,
    /// Older versions, by the name they had.
    versions: BTreeMap<Box<str>, BTreeMap<SnapshotTag, Version>>,
    /// ScyllaDB's own manifests, and their bytes.
    lists: BTreeMap<Box<str>, u64>,
    /// Whether there is an SSTable whose id is an integer.
    integer: bool,
}

/// Components of one SSTable.
#[derive(Debug, Default)]
struct Parts {
    kinds: u64,
    bytes: u64,
}

#[derive(Debug)]
struct Version {
    bytes: u64,
    needed: bool,
}

/// Any split will do that is the same each time, and that few components come out of.
fn split(name: &str) -> Option<(&str, &str)> {
    name.rsplit_once('-')
}

impl Table {
    pub(super) fn integer(&self) -> bool {
        self.integer
    }

    pub(super) fn add(&mut self, kinds: &mut Kinds, name: &str, bytes: u64) {
        // A version goes by the rule for versions alone, even if a manifest should list one.
        if version_of(name).is_some() {
            return;
        }
        let Some((sstable, component)) = split(name) else {
            return;
        };
        let Some(kind) = kinds.find_or_add(component) else {
            self.odd.insert(name.into(), bytes);
            return;
        };
        if !self.sstables.contains_key(sstable) {
            let id = name.parse::<Name>().map(|name| name.id.kind());
            self.integer |= id == Ok(IdKind::Integer);
            self.sstables.insert(sstable.into(), Parts::default());
        }
        if let Some(parts) = self.sstables.get_mut(sstable)
            && parts.kinds & kind == 0
        {
            parts.kinds |= kind;
            parts.bytes += bytes;
        }
    }

    pub(super) fn add_version(&mut self, name: &str, tag: SnapshotTag, bytes: u64) {
        let needed = false;
        let versions = self.versions.entry(name.into()).or_default();
        versions.insert(tag, Version { bytes, needed });
    }

    pub(super) fn add_list(&mut self, name: &str, bytes: u64) {
        self.lists.insert(name.into(), bytes);
    }

    /// Strikes out what `name` stands for in a manifest.
    pub(super) fn strike(&mut self, kinds: &Kinds, tag: &SnapshotTag, name: &str, bytes: u64) {
        if let Some((name, tag)) = version_of(name) {
            return self.strike_version(name, &tag);
        }
        if let Some(versions) = self.versions.get_mut(name) {
            let moved = versions.iter_mut().find(|(since, _)| *since > tag);
            if let Some((_, version)) = moved {
                version.needed = true;
                return;
            }
        }
        self.strike_plain(kinds, name, bytes);
    }

    pub(super) fn strike_version(&mut self, name: &str, tag: &SnapshotTag) {
        let versions = self.versions.get_mut(name);
        if let Some(version) = versions.and_then(|versions| versions.get_mut(tag)) {
            version.needed = true;
        }
    }

    pub(super) fn strike_plain(&mut self, kinds: &Kinds, name: &str, bytes: u64) {
        let Some((sstable, component)) = split(name) else {
            return;
        };
        let Some(kind) = kinds.find(component) else {
            self.odd.remove(name);
            return;
        };
        if let Some(parts) = self.sstables.get_mut(sstable)
            && parts.kinds & kind != 0
        {
            parts.kinds &= !kind;
            parts.bytes = parts.bytes.saturating_sub(bytes);
            if parts.kinds == 0 {
                self.sstables.remove(sstable);
            }
        }
    }

    pub(super) fn strike_list(&mut self, name: &str) {
        self.lists.remove(name);
    }

    pub(super) fn totals(&self) -> Totals {
        let parts = self.sstables.values();
        let parts = parts.map(|parts| (u64::from(parts.kinds.count_ones()), parts.bytes));
        let versions = self.versions.values().flat_map(BTreeMap::values);
        let versions = versions.filter(|version| !version.needed);
        let single = self.odd.values().chain(self.lists.values());
        let single = single.copied().chain(versions.map(|version| version.bytes));
        let all = parts.chain(single.map(|bytes| (1, bytes)));
        all.fold(Totals::default(), |sum, (files, bytes)| Totals {
            files: sum.files + files,
            bytes: sum.bytes + bytes,
        })
    }

    /// What is left.
    pub(super) fn into_left(self) -> Left {
        let versions = self.versions.into_iter().flat_map(|(name, versions)| {
            let left = versions.into_iter().filter(|(_, version)| !version.needed);
            left.map(move |(tag, version)| (format!("{name}.{tag}"), version.bytes))
        });
        Left {
            sstables: self.sstables,
            odd: self.odd,
            versions: versions.collect(),
            lists: self.lists,
        }
    }
}

/// What is left of a table: names, and bytes.
pub(super) struct Left {
    sstables: BTreeMap<Box<str>, Parts>,
    odd: BTreeMap<Box<str>, u64>,
    pub(super) versions: Vec<(String, u64)>,
    pub(super) lists: BTreeMap<Box<str>, u64>,
}

impl Left {
    /// The components. They take up memory only as they come; an SSTable's bytes come with its
    /// first.
    pub(super) fn take_components(
        &mut self,
        kinds: &Arc<Kinds>,
    ) -> impl Iterator<Item = (String, u64)> + Send + use<> {
        let kinds = Arc::clone(kinds);
        let odd = std::mem::take(&mut self.odd).into_iter();
        let odd = odd.map(|(name, bytes)| (name.into(), bytes));
        let sstables = std::mem::take(&mut self.sstables).into_iter();
        let components = sstables.flat_map(move |(sstable, parts)| {
            let names = kinds.names(parts.kinds).enumerate();
            let names = names.map(|(at, component)| {
                let bytes = if at == 0 { parts.bytes } else { 0 };
                (format!("{sstable}-{component}"), bytes)
            });
            names.collect::<Vec<_>>()
        });
        components.chain(odd)
    }
}

/// The name and the tag of an older version's name.
fn version_of(name: &str) -> Option<(&str, SnapshotTag)> {
    // A look at the end spares nearly all names the rest.
    let (name, tag) = split_version(name.ends_with("UTC").then_some(name)?);
    Some((name, tag?))
}
