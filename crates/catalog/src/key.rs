//! Keys: where each object lies. One builder and one strict parser for each kind.
//!
//! A key is a value whose `Display` is the text, and whose `FromStr` takes that text and no other.

mod own;

use std::{fmt, str::FromStr};

use protocol::{ClusterId, NodeId, SnapshotTag, TaskId};

pub use self::own::OwnKey;
use crate::{
    TableVersion,
    segment::{self, InvalidSegment},
};

/// All manifests of all clusters lie below it.
pub const MANIFESTS: &str = "backup/meta/cluster/";
/// All components of all clusters lie below it.
pub const COMPONENTS: &str = "backup/sst/cluster/";
/// All schema files of all clusters lie below it.
pub const SCHEMAS: &str = "backup/schema/cluster/";

/// A text that is no key of the kind asked for.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{}` is not the key of {what}", .key.escape_default())]
pub struct InvalidKey {
    /// The text.
    pub key: String,
    /// What was expected.
    pub what: &'static str,
}

/// Implements `FromStr` by a function that gives `None` for what it does not know, and makes sure
/// that the text is exactly what `Display` writes.
macro_rules! strict {
    ($name:ident, $what:literal) => {
        impl FromStr for $name {
            type Err = InvalidKey;
            fn from_str(text: &str) -> Result<Self, Self::Err> {
                $name::read(text)
                    .filter(|key| key.to_string() == text)
                    .ok_or_else(|| InvalidKey {
                        key: text.to_owned(),
                        what: $what,
                    })
            }
        }
    };
}
use strict;

/// One node's place in the bucket. Whatever is stored for a node lies below it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Owner {
    /// The cluster.
    pub cluster: ClusterId,
    /// The node's datacenter.
    pub dc: String,
    /// The node.
    pub node: NodeId,
}

impl Owner {
    /// A node's place.
    ///
    /// # Errors
    /// [`InvalidSegment`] if the datacenter's name cannot be part of a key.
    pub fn new(cluster: ClusterId, dc: &str, node: NodeId) -> Result<Self, InvalidSegment> {
        Ok(Self {
            cluster,
            dc: segment::check(dc)?.to_owned(),
            node,
        })
    }

    /// Prefix of the node's manifests, ending in `/`.
    #[must_use]
    pub fn manifests(&self) -> String {
        format!("{MANIFESTS}{self}/")
    }

    /// Prefix of the node's components, ending in `/`.
    #[must_use]
    pub fn components(&self) -> String {
        format!("{COMPONENTS}{self}/")
    }

    fn read(text: &str) -> Option<(Self, &str)> {
        let mut parts = text.splitn(6, '/');
        let cluster = parts.next()?.parse().ok()?;
        let dc = labelled(&mut parts, "dc")?;
        let node = labelled(&mut parts, "node")?.parse().ok()?;
        Some((Self::new(cluster, dc, node).ok()?, parts.next()?))
    }
}

impl fmt::Display for Owner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/dc/{}/node/{}", self.cluster, self.dc, self.node)
    }
}

/// Prefix of all manifests of a cluster, ending in `/`.
#[must_use]
pub fn manifests_of(cluster: ClusterId) -> String {
    format!("{MANIFESTS}{cluster}/")
}

/// Prefix of all components of a cluster, ending in `/`.
#[must_use]
pub fn components_of(cluster: ClusterId) -> String {
    format!("{COMPONENTS}{cluster}/")
}

/// Prefix of all schema files of a cluster, ending in `/`.
#[must_use]
pub fn schemas_of(cluster: ClusterId) -> String {
    format!("{SCHEMAS}{cluster}/")
}

/// A node's manifest.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ManifestKey {
    /// Whose it is.
    pub owner: Owner,
    /// The task that made the backup.
    pub task: TaskId,
    /// The backup.
    pub tag: SnapshotTag,
    /// Whether the backup is not finished: such a manifest promises nothing.
    pub temporary: bool,
}

impl ManifestKey {
    /// The key of the same manifest, finished or not.
    #[must_use]
    pub fn with_temporary(&self, temporary: bool) -> Self {
        Self {
            temporary,
            ..self.clone()
        }
    }

    fn read(text: &str) -> Option<Self> {
        let (owner, name) = Owner::read(text.strip_prefix(MANIFESTS)?)?;
        let (task, rest) = task_and_tag(name)?;
        let (tag, temporary) = match rest.strip_suffix(".tmp") {
            Some(rest) => (rest, true),
            None => (rest, false),
        };
        Some(Self {
            owner,
            task,
            tag: tag.strip_suffix("_manifest.json.gz")?.parse().ok()?,
            temporary,
        })
    }
}

impl fmt::Display for ManifestKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{MANIFESTS}{}/task_{}_tag_{}_manifest.json.gz{}",
            self.owner,
            self.task,
            self.tag,
            if self.temporary { ".tmp" } else { "" }
        )
    }
}

strict!(ManifestKey, "a manifest");

/// What a schema file holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum SchemaKind {
    /// CQL statements.
    Cql,
    /// Alternator's tables.
    Alternator,
    /// CQL in an archive, which ScyllaDB Manager no longer writes.
    Legacy,
}

impl SchemaKind {
    pub(crate) const ALL: [Self; 3] = [Self::Cql, Self::Alternator, Self::Legacy];

    fn suffix(self) -> &'static str {
        match self {
            Self::Cql => "_schema_with_internals.json.gz",
            Self::Alternator => "_alternator_schema.json.gz",
            Self::Legacy => "_schema.tar.gz",
        }
    }
}

/// A cluster's schema, as it was when a backup was taken.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SchemaKey {
    /// The cluster.
    pub cluster: ClusterId,
    /// The task that made the backup.
    pub task: TaskId,
    /// The backup.
    pub tag: SnapshotTag,
    /// What it holds.
    pub kind: SchemaKind,
}

impl SchemaKey {
    fn read(text: &str) -> Option<Self> {
        let (cluster, name) = text.strip_prefix(SCHEMAS)?.split_once('/')?;
        let (task, rest) = task_and_tag(name)?;
        SchemaKind::ALL.into_iter().find_map(|kind| {
            Some(Self {
                cluster: cluster.parse().ok()?,
                task,
                tag: rest.strip_suffix(kind.suffix())?.parse().ok()?,
                kind,
            })
        })
    }
}

impl fmt::Display for SchemaKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{SCHEMAS}{}/task_{}_tag_{}{}",
            self.cluster,
            self.task,
            self.tag,
            self.kind.suffix()
        )
    }
}

strict!(SchemaKey, "a schema file");

/// One table's directory of one node.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TableDir {
    /// Whose it is.
    pub owner: Owner,
    /// The keyspace.
    pub keyspace: String,
    /// The table.
    pub table: String,
    /// Which table of that name.
    pub version: TableVersion,
}

impl TableDir {
    /// A table's directory.
    ///
    /// # Errors
    /// [`InvalidSegment`] if a name cannot be part of a key.
    pub fn new(
        owner: &Owner,
        keyspace: &str,
        table: &str,
        version: TableVersion,
    ) -> Result<Self, InvalidSegment> {
        Ok(Self {
            owner: owner.clone(),
            keyspace: segment::check(keyspace)?.to_owned(),
            table: segment::check(table)?.to_owned(),
            version,
        })
    }

    /// Prefix of all that lies in it, ending in `/`.
    #[must_use]
    pub fn prefix(&self) -> String {
        format!("{COMPONENTS}{self}/")
    }

    /// The key of a component in it.
    ///
    /// # Errors
    /// [`InvalidSegment`] if the name cannot be part of a key.
    pub fn component(&self, name: &str) -> Result<String, InvalidSegment> {
        Ok(format!("{COMPONENTS}{self}/{}", segment::check(name)?))
    }

    fn read(text: &str) -> Option<(Self, &str)> {
        let (owner, rest) = Owner::read(text.strip_prefix(COMPONENTS)?)?;
        let mut parts = rest.split('/');
        let keyspace = labelled(&mut parts, "keyspace")?;
        let table = labelled(&mut parts, "table")?;
        let version = parts.next()?.parse().ok()?;
        let name = parts.next()?;
        let end = parts.next().is_none();
        let dir = Self::new(&owner, keyspace, table, version).ok()?;
        end.then_some((dir, segment::check(name).ok()?))
    }
}

impl fmt::Display for TableDir {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{}/keyspace/{}/table/{}/{}",
            self.owner, self.keyspace, self.table, self.version
        )
    }
}

/// A file of an SSTable, or an older one of the same name.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ComponentKey {
    /// Where it lies.
    pub dir: TableDir,
    /// Its name, without the suffix of an older version.
    pub name: String,
    /// For an older version: the tag of the backup that put another file in its place.
    pub replaced_by: Option<SnapshotTag>,
}

impl ComponentKey {
    fn read(text: &str) -> Option<Self> {
        let (dir, name) = TableDir::read(text)?;
        let (name, replaced_by) = split_version(name);
        name.parse::<crate::Name>().ok()?;
        Some(Self {
            dir,
            name: name.to_owned(),
            replaced_by,
        })
    }
}

impl fmt::Display for ComponentKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{COMPONENTS}{}/{}", self.dir, self.name)?;
        match &self.replaced_by {
            Some(tag) => write!(f, ".{tag}"),
            None => Ok(()),
        }
    }
}

strict!(ComponentKey, "an SSTable's file");

/// Splits `<name>.<tag>` into the two; a name without a tag stays whole.
#[must_use]
pub fn split_version(name: &str) -> (&str, Option<SnapshotTag>) {
    match name.rsplit_once('.').map(|(head, tag)| (head, tag.parse())) {
        Some((head, Ok(tag))) => (head, Some(tag)),
        Some((_, Err(_))) | None => (name, None),
    }
}

/// ScyllaDB's own list of a snapshot, kept beside the components. Not compressed.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ScyllaManifestKey {
    /// Where it lies.
    pub dir: TableDir,
    /// The backup.
    pub tag: SnapshotTag,
}

impl ScyllaManifestKey {
    /// Its name, the key's last segment.
    #[must_use]
    pub fn name(&self) -> String {
        format!(
            "tag_{}_node_{}_manifest.json",
            self.tag, self.dir.owner.node
        )
    }

    fn read(text: &str) -> Option<Self> {
        let (dir, name) = TableDir::read(text)?;
        let (tag, _) = name.strip_prefix("tag_")?.split_once("_node_")?;
        Some(Self {
            dir,
            tag: tag.parse().ok()?,
        })
    }
}

impl fmt::Display for ScyllaManifestKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{COMPONENTS}{}/{}", self.dir, self.name())
    }
}

strict!(ScyllaManifestKey, "a snapshot's own manifest");

fn labelled<'a>(parts: &mut impl Iterator<Item = &'a str>, label: &str) -> Option<&'a str> {
    (parts.next()? == label).then(|| parts.next()).flatten()
}

/// Takes `task_<id>_tag_` off the front.
fn task_and_tag(name: &str) -> Option<(TaskId, &str)> {
    let (task, rest) = name.strip_prefix("task_")?.split_once("_tag_")?;
    Some((task.parse().ok()?, rest))
}

#[cfg(test)]
mod tests;
