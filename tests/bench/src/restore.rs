//! What a restore takes beside what its two halves take alone: downloading, and having the node load.
//!
//! All parts are real but ScyllaDB: its simulator reads each row and writes it anew, which costs about
//! a core. Who downloads alone does it by the own engine, all files with as many transfers; who loads
//! alone has the node load one SSTable after the other, as the restore does. The same is measured with the
//! store behind a narrow link, where both halves take about as long.

use std::{
    fs,
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use ::tests::{Options, Shape, TableSpec, World, compare};
use anyhow::{Context as _, Result, ensure};
use futures::{StreamExt as _, TryStreamExt as _, stream};
use protocol::TableRef;
use scylla::{DataDir, LoadOptions, Node};
use serde::Serialize;
use serde_json::json;
use store::{S3Settings, Settings, Store, Stores};
use testkit::{proxy::Proxy, s3::SeaweedFs};

use crate::results::median;

/// SSTables; the node has one shard, so each is a batch.
const SSTABLES: usize = 16;
/// Bytes of each, in the short form and in the full one.
const BYTES: [u64; 2] = [64 << 20, 256 << 20];
/// Bytes a second that the link takes: 2.5 Gbit/s.
const LINK: u64 = 300 << 20;
const ROUNDS: usize = 3;
/// Files under way at once, as workers are set to.
const TRANSFERS: usize = 16;
/// Any one step may take this long.
const LIMIT: Duration = Duration::from_secs(600);
/// Between two looks.
const LOOK: Duration = Duration::from_millis(10);

/// What was measured, without the link and with it.
#[derive(Debug, Default, Serialize)]
pub(crate) struct Restored {
    pub(crate) bytes: u64,
    pub(crate) linked: Halves,
    pub(crate) unlinked: Halves,
}

/// Seconds that each took, by round.
#[derive(Debug, Default, Serialize)]
pub(crate) struct Halves {
    pub(crate) download: Vec<f64>,
    pub(crate) load: Vec<f64>,
    /// From the first batch that may be taken to the last that is told of.
    pub(crate) whole: Vec<f64>,
}

impl Halves {
    /// How many times the longer half the whole takes.
    pub(crate) fn ratio(&self) -> f64 {
        let halves = self.download.iter().zip(&self.load);
        let rounds = self.whole.iter().zip(halves);
        median(
            rounds
                .map(|(whole, (download, load))| whole / download.max(*load))
                .collect(),
        )
    }
}

fn table() -> TableSpec {
    TableSpec {
        keyspace: "bench".to_owned(),
        name: "large".to_owned(),
        tablets: false,
        copies: 1,
    }
}

/// What is measured against.
struct Place {
    world: World,
    link: Proxy,
    store: Store,
    /// Of the cluster that is restored into.
    target: String,
    tag: String,
    node: Node,
    data: PathBuf,
    objects: Vec<(String, u64)>,
}

/// Measures the three in turns.
pub(crate) async fn measure(full: bool, root: &Path) -> Result<Restored> {
    let place = Box::pin(Place::new(BYTES[usize::from(full)], root)).await?;
    let mut restored = Restored {
        bytes: place.objects.iter().map(|(_, bytes)| bytes).sum(),
        ..Restored::default()
    };
    let before = place.world.sims[0].fingerprints().await?;
    for _ in 0..ROUNDS {
        for (link, halves) in [(LINK, &mut restored.linked), (0, &mut restored.unlinked)] {
            place.link.narrow(link);
            let files = place.data.join(".bench");
            fs::create_dir_all(&files)?;
            halves.download.push(place.download(&files).await?);
            halves.load.push(place.load(&files).await?);
            fs::remove_dir_all(&files)?;
            place.truncate().await?;
            halves.whole.push(place.restore().await?);
            compare(&before, &place.world.sims[1].fingerprints().await?)?;
            place.truncate().await?;
        }
    }
    Ok(restored)
}

impl Place {
    async fn new(bytes: u64, root: &Path) -> Result<Self> {
        let dir = root.join("restore");
        fs::create_dir_all(&dir)?;
        let s3 = SeaweedFs::start().await?;
        s3.bucket("thetis").await?;
        let link = Proxy::start(s3.endpoint().trim_start_matches("http://")).await?;
        let endpoint = format!("http://{}", link.address());
        let options = Options {
            dir: Some(dir),
            environment: vec![("THETIS_STORE__S3__ENDPOINT".to_owned(), endpoint.clone())],
            ..Options::default()
        };
        let mut world = World::on(s3, options).await?;
        let mut ids = Vec::new();
        for name in ["source", "target"] {
            let shape = Shape::new(name, 1).with(&["--shards", "1"]);
            let sim = world.add_cluster(shape, 1).await?;
            world.sims[sim].create(&[table()]).await?;
            let host = world.sims[sim].nodes[0].address.clone();
            let id = world.api.add_cluster(name, &host).await?;
            world.api.workers(&id, 1, 3).await?;
            ids.push(id);
        }
        let all = bytes * SSTABLES as u64;
        world.sims[0].load(&table(), 1, all, SSTABLES).await?;
        let properties = json!({"location": [world.store.location()]});
        let backup = world.api.done(&ids[0], "backup", properties, LIMIT).await?;
        let settings = Settings {
            s3: S3Settings {
                endpoint: Some(endpoint),
                access_key_id: Some(SeaweedFs::ACCESS_KEY.to_owned()),
                secret_access_key: Some(SeaweedFs::SECRET_KEY.into()),
                ..S3Settings::default()
            },
            ..Settings::default()
        };
        let store = Stores::new(settings)?
            .open(&world.store.location().parse()?)
            .await?;
        let listed = store.list("backup/sst/");
        let listed = listed.map_ok(|object| (object.key, object.bytes));
        let mut objects: Vec<(String, u64)> = listed.try_collect().await?;
        objects.retain(|(key, _)| key.contains("-big-"));
        let node = &world.sims[1].nodes[0];
        Ok(Self {
            tag: backup.tag(),
            target: ids.remove(1),
            node: Node::new(&node.api)?,
            data: node.data.clone(),
            link,
            world,
            store,
            objects,
        })
    }

    /// Downloads all files, and nothing else.
    async fn download(&self, dir: &Path) -> Result<f64> {
        let get = |(key, bytes): &(String, u64)| {
            let name = key.rsplit('/').next().unwrap_or_default().to_owned();
            let (key, bytes) = (key.clone(), *bytes);
            async move {
                let path = dir.join(name);
                self.store.get_file(&key, &path, bytes, &|_| {}).await
            }
        };
        let gets: Vec<_> = self.objects.iter().map(get).collect();
        let began = Instant::now();
        let done: Vec<_> = stream::iter(gets)
            .buffer_unordered(TRANSFERS)
            .try_collect()
            .await?;
        ensure!(done.len() >= SSTABLES * 8, "{} files", done.len());
        Ok(began.elapsed().as_secs_f64())
    }

    /// Has the node load what lies in `dir`, one SSTable after the other.
    async fn load(&self, dir: &Path) -> Result<f64> {
        let table = TableRef {
            keyspace: table().keyspace,
            table: table().name,
        };
        let upload = DataDir::new(&self.data).upload_dir(&table)?;
        let mut names = Vec::new();
        for entry in fs::read_dir(dir)? {
            names.push(entry?.file_name().to_string_lossy().into_owned());
        }
        let tocs = names.iter().filter_map(|name| name.strip_suffix("TOC.txt"));
        let began = Instant::now();
        for sstable in tocs {
            for name in names.iter().filter(|name| name.starts_with(sstable)) {
                fs::rename(dir.join(name), upload.join(name))?;
            }
            self.node.load(&table, LoadOptions::Stream).await?;
            while fs::read_dir(&upload)?.next().is_some() {
                tokio::time::sleep(LOOK).await;
            }
        }
        Ok(began.elapsed().as_secs_f64())
    }

    /// Restores the backup; gives how long its batches took.
    async fn restore(&self) -> Result<f64> {
        let properties = json!({
            "location": [self.world.store.location()], "snapshot_tag": self.tag, "restore_tables": true,
        });
        let api = &self.world.api;
        let task = api.submit(&self.target, "restore", properties).await?;
        let (mut began, limit) = (None, Instant::now() + LIMIT);
        loop {
            let found = api.progress(&task).await?;
            let progress = &found["progress"];
            if progress["stage"] == "DATA" {
                began.get_or_insert_with(Instant::now);
            }
            let (size, restored) = (&progress["size"], &progress["restored"]);
            if restored.as_u64().is_some_and(|bytes| bytes > 0) && size == restored {
                break;
            }
            ensure!(
                Instant::now() < limit,
                "the restore takes too long: {found}"
            );
            tokio::time::sleep(LOOK).await;
        }
        let began = began.context("the restore was not seen at work")?;
        let took = began.elapsed().as_secs_f64();
        api.ended(&task, LIMIT).await?.done()?;
        Ok(took)
    }

    async fn truncate(&self) -> Result<()> {
        let TableSpec { keyspace, name, .. } = table();
        let path = format!("/tables/{keyspace}/{name}/truncate");
        self.world.sims[1]
            .admin(reqwest::Method::POST, &path, Some(json!({})))
            .await?;
        Ok(())
    }
}
