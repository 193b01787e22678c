//! A bucket, as a model: its objects are numbers.

use std::{
    collections::{BTreeMap, BTreeSet},
    rc::Rc,
};

use catalog::{
    Manifest,
    key::{ManifestKey, Owner},
};
use protocol::Location;

/// One bucket.
#[derive(Clone)]
pub(crate) struct Bucket {
    pub(crate) location: Location,
    /// What each object below the components' prefix holds.
    pub(crate) files: BTreeMap<String, u64>,
    pub(crate) manifests: BTreeMap<ManifestKey, Rc<Manifest>>,
    pub(crate) schemas: BTreeSet<String>,
}

impl Bucket {
    pub(crate) fn new(location: &str) -> Self {
        Self {
            location: location.parse().unwrap(),
            files: BTreeMap::new(),
            manifests: BTreeMap::new(),
            schemas: BTreeSet::new(),
        }
    }

    /// A node's manifests.
    pub(crate) fn of<'a>(
        &'a self,
        owner: &'a Owner,
    ) -> impl Iterator<Item = (&'a ManifestKey, &'a Rc<Manifest>)> {
        let all = self.manifests.iter();
        all.filter(move |(key, _)| key.owner == *owner)
    }

    /// Objects whose keys begin with `prefix`.
    pub(crate) fn below<'a>(
        &'a self,
        prefix: &'a str,
    ) -> impl Iterator<Item = (&'a String, u64)> + 'a {
        let from = self.files.range(prefix.to_owned()..);
        let below = from.take_while(move |(key, _)| key.starts_with(prefix));
        below.map(|(key, content)| (key, *content))
    }

    pub(crate) fn delete(&mut self, key: &str) {
        if let Ok(manifest) = key.parse::<ManifestKey>() {
            self.manifests.remove(&manifest);
        } else if !self.schemas.remove(key) {
            self.files.remove(key);
        }
    }
}
