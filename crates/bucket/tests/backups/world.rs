//! Buckets in directories, and what is true of them.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::{Path, PathBuf},
};

use anyhow::Result;
use bucket::listing::BackupId;
use store::{LocalSettings, Settings, Store, Stores};
use tempfile::TempDir;
use testkit::manager::{BackupMade, Bucket, Kind};

/// Buckets, gone when dropped.
pub(crate) struct World {
    root: TempDir,
    pub(crate) stores: Vec<Store>,
}

impl World {
    /// All of it in one bucket.
    pub(crate) async fn new(bucket: &Bucket) -> Result<Self> {
        let root = tempfile::tempdir()?;
        bucket.write(&root.path().join("backups"))?;
        Self::open(root, &["backups".to_owned()]).await
    }

    /// A bucket for each datacenter; what belongs to none is in all of them.
    pub(crate) async fn by_dc(bucket: &Bucket) -> Result<Self> {
        let root = tempfile::tempdir()?;
        let dcs = bucket.backups.iter().flat_map(|backup| &backup.nodes);
        let mut dcs: BTreeSet<&str> = dcs.map(|node| node.dc.as_str()).collect();
        dcs.insert("dc1");
        let mut names = Vec::new();
        for (at, dc) in dcs.iter().enumerate() {
            let name = format!("backups-{at}");
            let within = format!("/dc/{dc}/");
            for (key, object) in &bucket.objects {
                if key.contains(&within) || !key.contains("/dc/") {
                    put(&root.path().join(&name).join(key), &object.content)?;
                }
            }
            names.push(name);
        }
        Self::open(root, &names).await
    }

    /// An empty bucket.
    pub(crate) async fn empty() -> Result<Self> {
        Self::new(&Bucket::default()).await
    }

    async fn open(root: TempDir, names: &[String]) -> Result<Self> {
        let settings = Settings {
            localstorage: LocalSettings {
                root: Some(root.path().to_owned()),
            },
            ..Settings::default()
        };
        let locations: Vec<_> = names
            .iter()
            .map(|name| format!("localstorage:{name}").parse())
            .collect::<Result<_, _>>()?;
        let stores = bucket::listing::open(&Stores::new(settings)?, &locations).await?;
        Ok(Self { root, stores })
    }

    /// The directory that is the only bucket.
    pub(crate) fn path(&self) -> PathBuf {
        self.root.path().join("backups")
    }

    pub(crate) fn put(&self, key: &str, content: &[u8]) -> Result<()> {
        put(&self.path().join(key), content)
    }

    /// Keys and contents of all objects of the only bucket.
    pub(crate) fn objects(&self) -> Result<BTreeMap<String, Vec<u8>>> {
        let mut all = BTreeMap::new();
        gather(&self.path(), &self.path(), &mut all)?;
        Ok(all)
    }
}

fn put(path: &Path, content: &[u8]) -> Result<()> {
    fs::create_dir_all(path.parent().expect("a key lies in its bucket"))?;
    Ok(fs::write(path, content)?)
}

/// All files below a directory, by path from `root`.
pub(crate) fn gather(root: &Path, dir: &Path, all: &mut BTreeMap<String, Vec<u8>>) -> Result<()> {
    for entry in fs::read_dir(dir)? {
        let path = entry?.path();
        if path.is_dir() {
            gather(root, &path, all)?;
        } else {
            let key = path.strip_prefix(root)?.display().to_string();
            all.insert(key, fs::read(&path)?);
        }
    }
    Ok(())
}

pub(crate) fn id(made: &BackupMade) -> BackupId {
    BackupId {
        cluster: made.id.cluster.parse().expect("an id"),
        task: made.id.task.parse().expect("an id"),
        tag: made.id.tag.parse().expect("a tag"),
    }
}

/// How many objects of a kind have keys that begin so.
pub(crate) fn count(bucket: &Bucket, kind: Kind, prefix: &str) -> u64 {
    let keys = bucket.keys(kind);
    keys.filter(|key| key.starts_with(prefix)).count() as u64
}

/// A task for a future, on threads that may block.
pub(crate) fn run(work: impl Future<Output = Result<()>>) -> Result<()> {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()?;
    runtime.block_on(work)
}
