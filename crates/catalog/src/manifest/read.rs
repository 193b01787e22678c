//! The manifest's JSON as Manager or Thetis wrote it, read from front to back.
//!
//! Of the index, one table's entry is in memory at a time. `null` means the same as a missing
//! field, and in a list nothing at all; keys that are not known are skipped.
//!
//! What Thetis adds is nobody's business but its own, so a later build may write it in another form.
//! That does not make a manifest unreadable: it counts as not said, and the manifest tells what it
//! was ([`super::Manifest::not_understood`]). What has the known form but contradicts the rest is
//! damage, and refused.

use std::{collections::BTreeMap, fmt, io};

use flate2::read::MultiGzDecoder;
use serde::{
    Deserialize, Deserializer,
    de::{
        DeserializeOwned, DeserializeSeed, Error as _, IntoDeserializer as _, MapAccess, SeqAccess,
        Visitor, value::MapAccessDeserializer,
    },
};

use serde_json::value::RawValue;

use super::{Files, ManifestError, NodeFacts, Replication, TableEntry, VERSION, files::Names};
use crate::{Name, TableVersion, key::ManifestKey, segment};

/// Reads the manifest under `key`, of at most `most` bytes of JSON. See [`super::Manifest::visit`].
pub(super) fn read<E: From<ManifestError>>(
    reader: impl io::Read,
    key: &ManifestKey,
    most: u64,
    each: impl FnMut(TableEntry) -> Result<(), E>,
) -> Result<super::Manifest, E> {
    let json = Bounded {
        inner: MultiGzDecoder::new(reader),
        left: most,
    };
    let json = io::BufReader::with_capacity(1 << 16, json);
    let mut json = serde_json::Deserializer::from_reader(json);
    let mut walk = Walk {
        key,
        each,
        ended: None,
        version: None,
        index: false,
        odd: Odd::default(),
    };
    let read = json.deserialize_map(&mut walk);
    let read = read.and_then(|head| json.end().map(|()| head));
    if let Some(ended) = walk.ended {
        return Err(ended);
    }
    let head = read.map_err(|cause| failed(key, most, cause))?;
    if walk.version.is_none() {
        let key = key.to_string();
        return Err(ManifestError::NoVersion { key }.into());
    }
    Ok(head.check(key, walk.odd)?)
}

fn failed(key: &ManifestKey, most: u64, cause: serde_json::Error) -> ManifestError {
    let key = key.to_string();
    match cause.io_error_kind() {
        Some(io::ErrorKind::FileTooLarge) => ManifestError::TooLarge { key, limit: most },
        Some(_) => ManifestError::Read {
            key,
            cause: cause.into(),
        },
        None => ManifestError::Shape {
            key,
            cause: cause.to_string(),
        },
    }
}

/// A reader that fails once more than `left` bytes came.
struct Bounded<R> {
    inner: R,
    left: u64,
}

impl<R: io::Read> io::Read for Bounded<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.inner.read(buffer)?;
        let left = self.left.checked_sub(read as u64);
        self.left = left.ok_or(io::ErrorKind::FileTooLarge)?;
        Ok(read)
    }
}

/// Hands over the index on the way through the manifest, and gathers all else.
struct Walk<'a, E, F> {
    key: &'a ManifestKey,
    each: F,
    /// Why it goes no further, where that is not the JSON's fault.
    ended: Option<E>,
    version: Option<String>,
    /// Whether the index has passed.
    index: bool,
    odd: Odd,
}

impl<E: From<ManifestError>, F> Walk<'_, E, F> {
    /// Stops at a version that is not known: what follows may have any shape.
    fn version<D: serde::de::Error>(&mut self, found: Option<String>) -> Result<(), D> {
        let Some(found) = found.filter(|found| !found.is_empty()) else {
            return Ok(());
        };
        if self.version.is_some() {
            return Err(D::duplicate_field("version"));
        }
        if found != VERSION {
            let key = self.key.to_string();
            self.ended = Some(ManifestError::Version { key, found }.into());
            return Err(D::custom("a version that is not known"));
        }
        self.version = Some(found);
        Ok(())
    }
}

impl<'de, E, F> Visitor<'de> for &mut Walk<'_, E, F>
where
    E: From<ManifestError>,
    F: FnMut(TableEntry) -> Result<(), E>,
{
    type Value = Head;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a manifest")
    }

    fn visit_map<M: MapAccess<'de>>(self, map: M) -> Result<Head, M::Error> {
        Head::deserialize(MapAccessDeserializer::new(Rest { walk: self, map }))
    }
}

/// The manifest without what [`Walk`] takes out of it.
struct Rest<'a, 'b, E, F, M> {
    walk: &'a mut Walk<'b, E, F>,
    map: M,
}

impl<'de, E, F, M> MapAccess<'de> for Rest<'_, '_, E, F, M>
where
    E: From<ManifestError>,
    F: FnMut(TableEntry) -> Result<(), E>,
    M: MapAccess<'de>,
{
    type Error = M::Error;

    fn next_key_seed<K: DeserializeSeed<'de>>(
        &mut self,
        seed: K,
    ) -> Result<Option<K::Value>, M::Error> {
        while let Some(name) = self.map.next_key::<String>()? {
            match name.as_str() {
                "version" => {
                    let found = self.map.next_value()?;
                    self.walk.version(found)?;
                }
                "index" if self.walk.index => return Err(M::Error::duplicate_field("index")),
                "index" => {
                    self.walk.index = true;
                    self.map.next_value_seed(Index(self.walk))?;
                }
                _ => return seed.deserialize(name.into_deserializer()).map(Some),
            }
        }
        Ok(None)
    }

    fn next_value_seed<V: DeserializeSeed<'de>>(&mut self, seed: V) -> Result<V::Value, M::Error> {
        self.map.next_value_seed(seed)
    }
}

/// The index, each entry of which is handed over as soon as it is read.
struct Index<'a, 'b, E, F>(&'a mut Walk<'b, E, F>);

impl<'de, E, F> DeserializeSeed<'de> for Index<'_, '_, E, F>
where
    F: FnMut(TableEntry) -> Result<(), E>,
{
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, from: D) -> Result<(), D::Error> {
        from.deserialize_any(self)
    }
}

impl<'de, E, F> Visitor<'de> for Index<'_, '_, E, F>
where
    F: FnMut(TableEntry) -> Result<(), E>,
{
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a list of tables")
    }

    fn visit_unit<D: serde::de::Error>(self) -> Result<(), D> {
        Ok(())
    }

    fn visit_seq<S: SeqAccess<'de>>(self, mut entries: S) -> Result<(), S::Error> {
        while let Some(entry) = entries.next_element::<Option<Entry>>()? {
            let Some(entry) = entry else { continue };
            let entry = entry.check(&mut self.0.odd).map_err(S::Error::custom)?;
            if let Err(cause) = (self.0.each)(entry) {
                self.0.ended = Some(cause);
                return Err(S::Error::custom("whoever reads it wants no more"));
            }
        }
        Ok(())
    }
}

/// `null` and a missing field mean the same: the default.
fn lax<'de, D: Deserializer<'de>, T: Deserialize<'de> + Default>(from: D) -> Result<T, D::Error> {
    Option::<T>::deserialize(from).map(Option::unwrap_or_default)
}

/// A list, of which `null`s are no part.
fn list<'de, D: Deserializer<'de>, T: Deserialize<'de>>(from: D) -> Result<Vec<T>, D::Error> {
    let list: Vec<Option<T>> = lax(from)?;
    Ok(list.into_iter().flatten().collect())
}

/// All but version and index.
#[derive(Default, Deserialize)]
#[serde(default)]
struct Head {
    #[serde(deserialize_with = "lax")]
    scylla_version: String,
    #[serde(deserialize_with = "lax")]
    cluster_name: String,
    #[serde(deserialize_with = "lax")]
    ip: String,
    #[serde(deserialize_with = "list")]
    tokens: Vec<i64>,
    #[serde(deserialize_with = "lax")]
    schema: String,
    #[serde(deserialize_with = "lax")]
    rack: String,
    #[serde(deserialize_with = "lax")]
    shard_count: u32,
    #[serde(deserialize_with = "lax")]
    cpu_count: u32,
    #[serde(deserialize_with = "lax")]
    storage_size: u64,
    #[serde(deserialize_with = "lax")]
    instance_details: Instance,
    #[serde(deserialize_with = "lax")]
    dc: String,
    #[serde(deserialize_with = "lax")]
    cluster_id: String,
    #[serde(deserialize_with = "lax")]
    node_id: String,
    #[serde(deserialize_with = "lax")]
    task_id: String,
    #[serde(deserialize_with = "lax")]
    snapshot_tag: String,
    thetis: Option<Box<RawValue>>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Instance {
    #[serde(deserialize_with = "lax")]
    cloud_provider: String,
    #[serde(deserialize_with = "lax")]
    instance_type: String,
}

/// What Thetis adds, by name. Of one that comes twice, the last counts.
type Additions<'a> = BTreeMap<String, &'a RawValue>;

/// Which additions were not understood; no more than a few.
#[derive(Default)]
struct Odd(Vec<String>);

impl Odd {
    const MOST: usize = 20;

    /// The additions that lie there; none if they are not understood.
    fn all<'a>(&mut self, raw: Option<&'a RawValue>, place: &str) -> Additions<'a> {
        raw.map_or_else(Additions::new, |raw| self.value(raw, place))
    }

    /// One addition; the default if it is missing, or not understood.
    fn one<T: DeserializeOwned + Default>(
        &mut self,
        of: &Additions<'_>,
        name: &str,
        place: &str,
    ) -> T {
        let raw = of.get(name);
        raw.map_or_else(T::default, |raw| {
            self.value(raw, &format!(".{name}{place}"))
        })
    }

    fn value<'a, T: Deserialize<'a> + Default>(&mut self, raw: &'a RawValue, name: &str) -> T {
        let read: Result<Option<T>, _> = serde_json::from_str(raw.get());
        if read.is_err() && self.0.len() < Self::MOST {
            self.0.push(format!("thetis{name}"));
        }
        read.ok().flatten().unwrap_or_default()
    }
}

impl Head {
    /// Makes sure that it is what its key says.
    fn check(self, key: &ManifestKey, mut odd: Odd) -> Result<super::Manifest, ManifestError> {
        let owner = &key.owner;
        let identity = [
            ("cluster_id", &self.cluster_id, owner.cluster.to_string()),
            ("dc", &self.dc, owner.dc.clone()),
            ("node_id", &self.node_id, owner.node.to_string()),
            ("task_id", &self.task_id, key.task.to_string()),
            ("snapshot_tag", &self.snapshot_tag, key.tag.to_string()),
        ];
        for (field, found, expected) in identity {
            // The digits of an id may have either case.
            let same = *found == expected
                || field.ends_with("_id") && found.eq_ignore_ascii_case(&expected);
            if !same && !found.is_empty() {
                return Err(ManifestError::Identity {
                    key: key.to_string(),
                    field,
                    found: found.clone(),
                });
            }
        }
        let ours = odd.all(self.thetis.as_deref(), "");
        Ok(super::Manifest {
            ranges: odd.one(&ours, "ranges", ""),
            nodes: odd.one(&ours, "nodes", ""),
            snapshot_ms: odd.one(&ours, "snapshot_ms", ""),
            sealed_ms: odd.one(&ours, "sealed_ms", ""),
            not_understood: odd.0,
            info: NodeFacts {
                cluster_name: self.cluster_name,
                scylla_version: self.scylla_version,
                ip: self.ip,
                rack: self.rack,
                tokens: self.tokens,
                shard_count: self.shard_count,
                cpu_count: self.cpu_count,
                storage_size: self.storage_size,
                cloud_provider: self.instance_details.cloud_provider,
                instance_type: self.instance_details.instance_type,
            },
            schema: self.schema,
            ..super::Manifest::new(key)
        })
    }
}

#[derive(Deserialize)]
struct Entry {
    keyspace: String,
    table: String,
    #[serde(default, deserialize_with = "replication")]
    replication_type: Option<Replication>,
    version: TableVersion,
    #[serde(default, deserialize_with = "lax")]
    files: Names,
    #[serde(default, deserialize_with = "lax")]
    size: u64,
    #[serde(default, deserialize_with = "list")]
    scylla_manifests: Vec<String>,
    #[serde(default)]
    thetis: Option<Box<RawValue>>,
}

/// A value this build does not know is none.
fn replication<'de, D: Deserializer<'de>>(from: D) -> Result<Option<Replication>, D::Error> {
    let text = Option::<String>::deserialize(from)?;
    Ok(match text.as_deref() {
        Some("vnodes") => Some(Replication::Vnodes),
        Some("tablets") => Some(Replication::Tablets),
        Some(_) | None => None,
    })
}

impl Entry {
    fn check(self, odd: &mut Odd) -> Result<TableEntry, String> {
        let of = |what: &str| format!("`{}.{}`: {what}", self.keyspace, self.table);
        let names = [&self.keyspace, &self.table].into_iter();
        for name in names.chain(&self.scylla_manifests) {
            segment::check(name).map_err(|e| of(&e.to_string()))?;
        }
        let place = format!(" of {}.{}", self.keyspace, self.table);
        let ours = odd.all(self.thetis.as_deref(), &place);
        let sizes: Vec<Option<u64>> = odd.one(&ours, "sizes", &place);
        let crc32: Vec<Option<u32>> = odd.one(&ours, "crc32", &place);
        let ranges = odd.one(&ours, "ranges", &place);
        let count = self.files.len();
        for (found, what) in [(sizes.len(), "sizes"), (crc32.len(), "checksums")] {
            if found != count && found != 0 {
                return Err(of(&format!("{found} {what} are given for {count} files")));
            }
        }
        Ok(TableEntry {
            files: Files::from_columns(self.files, sizes, crc32),
            keyspace: self.keyspace,
            table: self.table,
            replication: self.replication_type,
            version: self.version,
            bytes: self.size,
            scylla_manifests: self.scylla_manifests,
            ranges,
        })
    }
}

impl<'de> Deserialize<'de> for Names {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        from.deserialize_seq(NameList)
    }
}

struct NameList;

impl<'de> Visitor<'de> for NameList {
    type Value = Names;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a list of files")
    }

    fn visit_seq<S: SeqAccess<'de>>(self, mut list: S) -> Result<Names, S::Error> {
        let mut names = Names::default();
        while list.next_element_seed(NextName(&mut names))?.is_some() {}
        Ok(names)
    }
}

/// One name, which goes straight to the others.
struct NextName<'a>(&'a mut Names);

impl<'de> DeserializeSeed<'de> for NextName<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, from: D) -> Result<(), D::Error> {
        from.deserialize_any(self)
    }
}

impl Visitor<'_> for NextName<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the name of a file")
    }

    fn visit_unit<D: serde::de::Error>(self) -> Result<(), D> {
        Ok(())
    }

    fn visit_str<D: serde::de::Error>(self, name: &str) -> Result<(), D> {
        name.parse::<Name>().map_err(D::custom)?;
        self.0.push(name);
        Ok(())
    }
}
