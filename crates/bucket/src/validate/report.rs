//! What a check found. Names that ScyllaDB Manager has, too, are Manager's.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use catalog::key::{ManifestKey, Owner};
use protocol::{NodeId, SnapshotTag};
use serde::{Deserialize, Serialize};
use store::Store;

use super::{
    Node,
    content::Covered,
    objects::{Found, Set},
};

/// Findings of each kind that are listed one by one.
const LISTED: usize = 100;

/// What was found of a node in one bucket.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct NodeReport {
    /// The datacenter.
    pub dc: String,
    /// The node's address, as its newest manifest has it; empty if none says it.
    pub host: String,
    /// The node.
    pub node: NodeId,
    /// The bucket.
    pub location: String,
    /// Manifests looked at, finished or not.
    pub manifests: u64,
    /// Objects of a known form that were listed.
    pub scanned_files: u64,
    /// Files that finished manifests list and the bucket has not.
    pub missing_files: u64,
    /// Objects that nothing means.
    pub orphaned_files: u64,
    /// Their bytes.
    pub orphaned_bytes: u64,
    /// Orphans that were deleted.
    pub deleted_files: u64,
    /// Backups with something missing or wrong.
    pub broken_snapshots: BTreeSet<SnapshotTag>,
    /// Files of another size than a manifest says.
    pub wrong_size_files: u64,
    /// Files of another content than a manifest or the SSTable's digest says.
    pub wrong_content_files: u64,
    /// Files that cannot be read.
    pub unreadable_files: u64,
    /// Files whose checksum is known.
    pub checkable_files: u64,
    /// Their bytes.
    pub checkable_bytes: u64,
    /// Files whose content was compared.
    pub checked_files: u64,
    /// Their bytes.
    pub checked_bytes: u64,
    /// Manifests that cannot be read, and why.
    pub unreadable_manifests: BTreeMap<String, String>,
    /// Objects of no known form. They are left alone.
    pub foreign_files: u64,
    /// Objects that nothing means so far, but that were written after the check began.
    pub recent_files: u64,
    /// Why orphans could not be told, if so.
    pub orphans_unknown: Option<String>,
    /// Why orphans were not all deleted, if so.
    pub deletion_stopped: Option<String>,
    /// Some of what was found.
    pub findings: Vec<Finding>,
}

/// Something that was found.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Finding {
    /// What is wrong.
    pub kind: Kind,
    /// The object.
    pub key: String,
    /// Its bytes.
    pub bytes: u64,
    /// The backups it breaks.
    pub snapshots: Vec<SnapshotTag>,
}

/// What is wrong with an object.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    /// It is not there.
    Missing,
    /// It has another size than a manifest says.
    WrongSize,
    /// It has another content than a manifest or the SSTable's digest says.
    WrongContent,
    /// It cannot be read.
    Unreadable,
    /// Nothing means it.
    Orphan,
}

impl Kind {
    /// Its name, as people read it.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Missing => "missing",
            Self::WrongSize => "wrong size",
            Self::WrongContent => "wrong content",
            Self::Unreadable => "unreadable",
            Self::Orphan => "orphan",
        }
    }
}

/// What is wrong with a schema file.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SchemaFinding {
    /// Its key.
    pub key: String,
    /// Where it is, or should be.
    pub location: String,
    /// The backup.
    pub snapshot_tag: SnapshotTag,
    /// What is wrong.
    pub cause: String,
}

/// What was found in all.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Report {
    /// Of each node in each bucket.
    pub nodes: Vec<NodeReport>,
    /// Schema files that were read.
    pub schemas: u64,
    /// Those that are missing or cannot be read.
    pub wrong_schemas: Vec<SchemaFinding>,
    /// Schema files whose backup has no manifest.
    pub lost_schemas: u64,
}

impl Report {
    /// Backups with something missing or wrong.
    #[must_use]
    pub fn broken(&self) -> BTreeSet<&SnapshotTag> {
        let nodes = self.nodes.iter().flat_map(|node| &node.broken_snapshots);
        let schemas = self.wrong_schemas.iter();
        nodes
            .chain(schemas.map(|finding| &finding.snapshot_tag))
            .collect()
    }

    /// Whether nothing is missing or wrong. Orphans do no harm.
    #[must_use]
    pub fn sound(&self) -> bool {
        let fine = |node: &NodeReport| {
            node.broken_snapshots.is_empty() && node.unreadable_manifests.is_empty()
        };
        self.wrong_schemas.is_empty() && self.nodes.iter().all(fine)
    }
}

/// The backups that an object's state breaks, whatever they say of it.
pub(super) fn broken(found: &Found<'_>) -> Set {
    let state = found.part.state;
    if state.absent || state.content || state.unreadable {
        found.part.used
    } else {
        Set::default()
    }
}

/// Whether nothing means an object, and nothing can any more.
pub(super) fn is_orphan(found: &Found<'_>) -> bool {
    found.unclaimed() && !found.part.state.late
}

impl NodeReport {
    pub(super) fn new(store: &Store, owner: &Owner) -> Self {
        Self {
            dc: owner.dc.clone(),
            host: String::new(),
            node: owner.node,
            location: store.location().remote(),
            manifests: 0,
            scanned_files: 0,
            missing_files: 0,
            orphaned_files: 0,
            orphaned_bytes: 0,
            deleted_files: 0,
            broken_snapshots: BTreeSet::new(),
            wrong_size_files: 0,
            wrong_content_files: 0,
            unreadable_files: 0,
            checkable_files: 0,
            checkable_bytes: 0,
            checked_files: 0,
            checked_bytes: 0,
            unreadable_manifests: BTreeMap::new(),
            foreign_files: 0,
            recent_files: 0,
            orphans_unknown: None,
            deletion_stopped: None,
            findings: Vec::new(),
        }
    }

    pub(super) fn cover(&mut self, covered: Covered) {
        self.checkable_files = covered.checkable_files;
        self.checkable_bytes = covered.checkable_bytes;
        self.checked_files = covered.checked_files;
        self.checked_bytes = covered.checked_bytes;
    }

    /// Counts an object that nothing means.
    pub(super) fn orphan(&mut self, found: &Found<'_>) {
        if !is_orphan(found) {
            self.recent_files += 1;
            return;
        }
        self.orphaned_files += 1;
        self.orphaned_bytes += found.part.bytes;
        self.find(Kind::Orphan, found, Vec::new());
    }

    fn find(&mut self, kind: Kind, found: &Found<'_>, snapshots: Vec<SnapshotTag>) {
        // Not many are kept, so counting them is quick.
        let same = self.findings.iter().filter(|finding| finding.kind == kind);
        if same.count() < LISTED {
            self.findings.push(Finding {
                kind,
                key: found.key(),
                bytes: found.part.bytes,
                snapshots,
            });
        }
    }

    /// Adds up what is known in the end. Manifests that are `gone` no longer promise anything.
    pub(super) fn fill(&mut self, node: &Node<'_>, gone: &BTreeSet<ManifestKey>) {
        self.host.clone_from(&node.host);
        self.manifests = node.seen.len() as u64;
        self.scanned_files = node.objects.scanned;
        self.foreign_files = node.objects.foreign;
        let mut known = HashMap::<Set, BTreeSet<SnapshotTag>>::new();
        for found in node.objects.iter() {
            let state = found.part.state;
            let disputed = state.disputed && !state.content;
            let kinds = [
                (state.absent, Kind::Missing, broken(&found)),
                (state.size, Kind::WrongSize, found.part.wrong),
                (state.content, Kind::WrongContent, broken(&found)),
                (disputed, Kind::WrongContent, found.part.wrong),
                (state.unreadable, Kind::Unreadable, broken(&found)),
            ];
            for (_, kind, set) in kinds.into_iter().filter(|(is, ..)| *is) {
                let tags = known.entry(set).or_insert_with(|| node.tags(set, gone));
                self.wrong(kind, &found, tags);
            }
        }
        for (key, cause) in node
            .unreadable
            .iter()
            .filter(|(key, _)| !gone.contains(key))
        {
            self.unreadable_manifests
                .insert(key.to_string(), cause.clone());
            if !key.temporary {
                self.broken_snapshots.insert(key.tag.clone());
            }
        }
        self.findings.sort();
    }

    fn wrong(&mut self, kind: Kind, found: &Found<'_>, tags: &BTreeSet<SnapshotTag>) {
        if tags.is_empty() {
            return;
        }
        match kind {
            Kind::Missing => self.missing_files += 1,
            Kind::WrongSize => self.wrong_size_files += 1,
            Kind::WrongContent => self.wrong_content_files += 1,
            Kind::Unreadable => self.unreadable_files += 1,
            Kind::Orphan => {}
        }
        self.find(kind, found, tags.iter().cloned().collect());
        self.broken_snapshots.extend(tags.iter().cloned());
    }
}
