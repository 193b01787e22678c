//! Datacenters by other names: the replication of keyspaces, rewritten.

use std::{
    collections::{BTreeMap, BTreeSet},
    ops::Range,
};

use crate::{
    Error, Kind, Statement, make,
    value::{self, Entry, Value},
};

/// What becomes of datacenters that are mapped to none.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Unmapped {
    /// A keyspace with replicas in one is an error.
    #[default]
    Refuse,
    /// Their replicas are left out.
    Drop,
    /// They keep their names.
    Keep,
}

/// Which datacenter becomes which. Several may become one.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Datacenters {
    /// From the name in the schema to the one in its stead.
    pub map: BTreeMap<String, String>,
    /// What becomes of the others.
    pub unmapped: Unmapped,
}

/// How many replicas a datacenter has.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Replicas {
    Number(u64),
    Racks(BTreeSet<String>),
}

impl Replicas {
    fn read(value: &Value) -> Option<Self> {
        if let Some(racks) = value.as_list() {
            return Some(Self::Racks(racks.into_iter().collect()));
        }
        value.as_text()?.parse().ok().map(Self::Number)
    }

    /// The most of both: the larger number, or all racks.
    fn merge(self, other: Self) -> Self {
        let count = |racks: &BTreeSet<String>| racks.len() as u64;
        match (self, other) {
            (Self::Number(a), Self::Number(b)) => Self::Number(a.max(b)),
            (Self::Racks(mut a), Self::Racks(b)) => {
                a.extend(b);
                Self::Racks(a)
            }
            (Self::Number(n), Self::Racks(racks)) | (Self::Racks(racks), Self::Number(n)) => {
                Self::Number(n.max(count(&racks)))
            }
        }
    }

    /// As CQL writes it, a number in quotes if `quoted`.
    fn text(&self, quoted: bool) -> String {
        match self {
            Self::Number(n) if quoted => make::text(&n.to_string()),
            Self::Number(n) => n.to_string(),
            Self::Racks(racks) => {
                let racks: Vec<_> = racks.iter().map(|rack| make::text(rack)).collect();
                format!("[{}]", racks.join(", "))
            }
        }
    }
}

/// Keys of a replication that name no datacenter.
const OTHER_KEYS: [&str; 3] = ["class", "replication_factor", "initial"];

/// An entry of a replication.
struct Placed {
    entry: Entry,
    /// Its datacenter and replicas; none for what is neither.
    of: Option<(String, Replicas)>,
}

impl Statement {
    /// With other datacenters in the replication of the keyspace that this makes or alters. Of
    /// several that become one, it gets the largest number of replicas, or all racks. Unchanged if
    /// this is about no keyspace, or one without datacenters.
    ///
    /// # Errors
    /// [`Error::Unmapped`], [`Error::NoDatacenter`], [`Error::Replicas`], [`Error::TooDeep`].
    pub fn map_datacenters(&self, datacenters: &Datacenters) -> Result<Self, Error> {
        let Some(placed) = self.replication()? else {
            return Ok(self.clone());
        };
        let keyspace = &self.subject().keyspace;
        // By what they become: the first entry that does, all that do, and how many replicas.
        let mut merged: BTreeMap<&str, (usize, usize, Replicas)> = BTreeMap::new();
        let mut kept = vec![true; placed.len()];
        for (at, placed) in placed.iter().enumerate() {
            let Some((from, replicas)) = &placed.of else {
                continue;
            };
            let to = datacenters.becomes(from, keyspace)?;
            kept[at] = to.is_some_and(|to| !merged.contains_key(to));
            if let Some(to) = to {
                let first = || (at, 0, replicas.clone());
                let (_, count, most) = merged.entry(to).or_insert_with(first);
                *count += 1;
                *most = most.clone().merge(replicas.clone());
            }
        }
        if merged.is_empty() && placed.iter().any(|p| p.of.is_some()) {
            let keyspace = keyspace.clone();
            return Err(Error::NoDatacenter { keyspace });
        }
        let mut edits = self.left_out(&placed, &kept);
        for (to, (at, count, most)) in merged {
            let most = (count > 1).then_some(&most);
            edits.extend(self.entry_edits(&placed[at].entry, to, most));
        }
        self.edited(edits)
    }

    /// The datacenters in which the keyspace that this makes has replicas by name.
    ///
    /// # Errors
    /// [`Error::Replicas`], [`Error::TooDeep`].
    pub fn datacenters(&self) -> Result<BTreeSet<String>, Error> {
        let placed = self.replication()?.into_iter().flatten();
        Ok(placed.filter_map(|p| p.of).map(|(dc, _)| dc).collect())
    }

    /// How many copies of each row the keyspace that this makes has, in all datacenters together; 1 where
    /// that is not said.
    ///
    /// # Errors
    /// [`Error::Replicas`], [`Error::TooDeep`].
    pub fn copies(&self) -> Result<u64, Error> {
        let Some(placed) = self.replication()? else {
            let map = self.option("replication")?.and_then(|map| map.as_map());
            let factor = map.and_then(|map| map.get("replication_factor")?.parse().ok());
            return Ok(factor.unwrap_or(1));
        };
        let copies = placed.into_iter().filter_map(|placed| placed.of);
        let copies = copies.map(|(_, replicas)| match replicas {
            Replicas::Number(number) => number,
            Replicas::Racks(racks) => racks.len() as u64,
        });
        Ok(copies.sum())
    }

    /// The entries of the replication, if it goes by datacenters.
    fn replication(&self) -> Result<Option<Vec<Placed>>, Error> {
        if self.subject().kind != Kind::Keyspace {
            return Ok(None);
        }
        let mut properties = self.properties().into_iter();
        let map = properties.find(|property| property.name == "replication");
        let Some(map) = map.and_then(|property| property.value) else {
            return Ok(None);
        };
        let (text, tokens) = (self.text(), self.tokens());
        let Some(entries) = value::entries(text, tokens, &map) else {
            let at = self.offset(map.start);
            let wanted = "a map of the replication";
            return Err(Error::Unexpected { at, wanted });
        };
        let read = |part: &Range<usize>| value::read(text, tokens, part);
        let mut by_datacenter = false;
        let mut all = Vec::new();
        for entry in entries {
            let (key, value) = (read(&entry.key)?, read(&entry.value)?);
            let key = key.as_text().unwrap_or_default().to_owned();
            let class = value.as_text().unwrap_or_default();
            by_datacenter |= key == "class" && class.ends_with("NetworkTopologyStrategy");
            all.push((entry, key, value));
        }
        if !by_datacenter {
            return Ok(None);
        }
        let placed = all.into_iter().map(|(entry, key, value)| {
            let names = !OTHER_KEYS.contains(&key.as_str());
            let of = names.then(|| self.replicas(key, &value)).transpose()?;
            Ok(Placed { entry, of })
        });
        placed.collect::<Result<_, _>>().map(Some)
    }

    fn replicas(&self, datacenter: String, value: &Value) -> Result<(String, Replicas), Error> {
        match Replicas::read(value) {
            Some(replicas) => Ok((datacenter, replicas)),
            None => Err(Error::Replicas {
                keyspace: self.subject().keyspace.clone(),
                datacenter,
                found: value.to_string(),
            }),
        }
    }

    /// What to take out for the entries that are not kept, each with one comma. One of the first
    /// entries goes with the comma after it, any other with the one before.
    fn left_out(&self, placed: &[Placed], kept: &[bool]) -> Vec<(Range<usize>, String)> {
        let first_kept = kept.iter().position(|kept| *kept).unwrap_or(kept.len());
        let gone = (0..placed.len()).filter(|at| !kept[*at]);
        let range = |at: usize| {
            let bytes = self.bytes(&placed[at].entry.whole);
            match placed.get(at + 1) {
                Some(next) if at < first_kept => bytes.start..self.bytes(&next.entry.whole).start,
                _ if at > 0 => self.bytes(&placed[at - 1].entry.whole).end..bytes.end,
                _ => bytes,
            }
        };
        gone.map(|at| (range(at), String::new())).collect()
    }

    /// What gives an entry another name and, if they are given, other replicas.
    fn entry_edits(
        &self,
        entry: &Entry,
        to: &str,
        replicas: Option<&Replicas>,
    ) -> Vec<(Range<usize>, String)> {
        let mut edits = Vec::new();
        let key = self.tokens()[entry.key.start].content(self.text());
        if key.as_deref() != Some(to) {
            edits.push((self.bytes(&entry.key), make::text(to)));
        }
        if let Some(replicas) = replicas {
            let value = self.bytes(&entry.value);
            let quoted = self.text()[value.clone()].starts_with('\'');
            edits.push((value, replicas.text(quoted)));
        }
        edits
    }
}

impl Datacenters {
    /// What a datacenter becomes; none if it is left out.
    fn becomes<'a>(&'a self, from: &'a str, keyspace: &str) -> Result<Option<&'a str>, Error> {
        if let Some(to) = self.map.get(from) {
            return Ok(Some(to));
        }
        match self.unmapped {
            Unmapped::Drop => Ok(None),
            Unmapped::Keep => Ok(Some(from)),
            Unmapped::Refuse => Err(Error::Unmapped {
                keyspace: keyspace.to_owned(),
                datacenter: from.to_owned(),
            }),
        }
    }
}
