//! Each method brings the same to each store, and it comes back from there.

use std::{collections::BTreeMap, io::Read as _, time::Duration};

use anyhow::{Context as _, Result, ensure};
use flate2::read::GzDecoder;
use futures::TryStreamExt as _;
use reqwest::Method as Verb;
use serde_json::{Value, json};
use store::{AzureSettings, GcsSettings, LocalSettings, S3Settings, Settings, Stores};
use testkit::{azure::Azurite, gcs::FakeGcs, s3::SeaweedFs};
use tests::{Options, Shape, TableSpec, World, compare};

const LIMIT: Duration = Duration::from_secs(120);

/// Each method with each provider that it can write to; and by what is then restored from there, as it is
/// asked for and as it is done.
const PAIRS: [(&str, &str, [&str; 2]); 9] = [
    ("agent", "s3", ["native", "native"]),
    ("agent", "gcs", ["auto", "native"]),
    ("agent", "azure", ["auto", "agent"]),
    ("agent", "localstorage", ["agent", "agent"]),
    ("native", "s3", ["agent", "agent"]),
    ("native", "gcs", ["native", "native"]),
    ("rclone", "s3", ["auto", "native"]),
    ("rclone", "gcs", ["agent", "agent"]),
    ("rclone", "azure", ["agent", "agent"]),
];

/// Fields of manifests, ours and ScyllaDB's, that tell when a backup was made.
const OWN: [&str; 4] = ["snapshot_ms", "sealed_ms", "created_at", "expires_at"];

/// A server of each kind, and a directory.
struct Servers {
    s3: SeaweedFs,
    gcs: FakeGcs,
    azure: Azurite,
    local: tempfile::TempDir,
}

impl Servers {
    async fn start() -> Result<Self> {
        let (s3, gcs, azure) =
            tokio::try_join!(SeaweedFs::start(), FakeGcs::start(), Azurite::start())?;
        let servers = Self {
            s3,
            gcs,
            azure,
            local: tempfile::tempdir()?,
        };
        servers.s3.bucket("thetis").await?;
        for (method, provider, _) in PAIRS {
            let name = bucket(method);
            match provider {
                "s3" => servers.s3.bucket(&name).await?,
                "gcs" => servers.gcs.bucket(&name).await?,
                "azure" => servers.azure.container(&name).await?,
                _ => std::fs::create_dir(servers.local.path().join(name))?,
            }
        }
        Ok(servers)
    }

    fn environment(&self) -> Result<Vec<(String, String)>> {
        let all = [
            (
                "RCLONE__PROGRAM",
                testkit::binary("rclone")?.display().to_string(),
            ),
            ("GCS__ENDPOINT", self.gcs.endpoint()),
            ("GCS__ANONYMOUS", "true".to_owned()),
            ("AZURE__ENDPOINT", self.azure.endpoint()),
            ("AZURE__ACCOUNT", Azurite::ACCOUNT.to_owned()),
            ("AZURE__ACCOUNT_KEY", Azurite::KEY.to_owned()),
            (
                "LOCALSTORAGE__ROOT",
                self.local.path().display().to_string(),
            ),
        ];
        let all = all.map(|(key, value)| (format!("THETIS_STORE__{key}"), value));
        Ok(all.into())
    }

    fn settings(&self) -> Settings {
        Settings {
            s3: S3Settings {
                endpoint: Some(self.s3.endpoint()),
                access_key_id: Some(SeaweedFs::ACCESS_KEY.to_owned()),
                secret_access_key: Some(SeaweedFs::SECRET_KEY.into()),
                ..S3Settings::default()
            },
            gcs: GcsSettings {
                endpoint: Some(self.gcs.endpoint()),
                anonymous: true,
                ..GcsSettings::default()
            },
            azure: AzureSettings {
                endpoint: Some(self.azure.endpoint()),
                account: Some(Azurite::ACCOUNT.to_owned()),
                account_key: Some(Azurite::KEY.into()),
                ..AzureSettings::default()
            },
            localstorage: LocalSettings {
                root: Some(self.local.path().to_owned()),
            },
            ..Settings::default()
        }
    }
}

fn bucket(method: &str) -> String {
    format!("by-{method}")
}

/// Objects by key, without what is each backup's own.
type Objects = BTreeMap<String, Vec<u8>>;

/// All that is read of a backup, whoever reads it; what else lies there is not of one backup. `own` are names of its own, with what they are read as.
async fn objects(store: &store::Store, own: &[(&str, &str)]) -> Result<Objects> {
    let plain = |text: &str| {
        let replaced = own.iter();
        replaced.fold(text.to_owned(), |text, (name, read)| {
            text.replace(name, read)
        })
    };
    let keys: Vec<String> = store
        .list("backup/")
        .map_ok(|object| object.key)
        .try_collect()
        .await?;
    let mut objects = Objects::new();
    for key in keys {
        let body = store.get(&key).await?;
        let content = if key.contains("manifest.json") {
            let text = unpacked(&body).with_context(|| key.clone())?;
            let document = serde_json::from_str(&plain(&text));
            let mut document: Value = document.with_context(|| key.clone())?;
            for part in ["thetis", "snapshot"] {
                if let Some(fields) = document.get_mut(part).and_then(Value::as_object_mut) {
                    fields.retain(|name, _| !OWN.contains(&&**name));
                }
            }
            document.to_string().into_bytes()
        } else {
            body.to_vec()
        };
        objects.insert(plain(&key), content);
    }
    Ok(objects)
}

/// The id that the path of a task ends in.
fn last(task: &str) -> &str {
    task.rsplit('/').next().unwrap_or_default()
}

fn unpacked(body: &[u8]) -> Result<String> {
    let mut text = String::new();
    if body.starts_with(&[0x1f, 0x8b]) {
        GzDecoder::new(body).read_to_string(&mut text)?;
    } else {
        text = String::from_utf8(body.to_vec())?;
    }
    Ok(text)
}

/// The first difference between two buckets.
fn same(name: &str, objects: &Objects, first: &Objects) -> Result<()> {
    let lacking = |here: &Objects, there: &Objects| -> Vec<String> {
        let keys = there.keys().filter(|key| !here.contains_key(*key));
        keys.cloned().collect()
    };
    let (lacks, has) = (lacking(objects, first), lacking(first, objects));
    ensure!(
        lacks.is_empty() && has.is_empty(),
        "{name} lacks {lacks:#?}, and has {has:#?}"
    );
    for (key, body) in objects {
        ensure!(
            *body == first[key],
            "{name}: {key} differs: {} / {}",
            String::from_utf8_lossy(body),
            String::from_utf8_lossy(&first[key])
        );
    }
    Ok(())
}

fn tables() -> Vec<TableSpec> {
    let table = |keyspace: &str, name: &str, tablets| TableSpec {
        keyspace: keyspace.to_owned(),
        name: name.to_owned(),
        tablets,
        copies: 2,
    };
    vec![table("shop", "users", false), table("orders", "open", true)]
}

/// Adds a cluster of two nodes with empty tables; gives its index and its id.
async fn cluster(world: &mut World, name: &str, more: &[&str]) -> Result<(usize, String)> {
    let sim = world.add_cluster(Shape::new(name, 2).with(more), 1).await?;
    world.sims[sim].create(&tables()).await?;
    let host = world.sims[sim].nodes[0].address.clone();
    let id = world.api.add_cluster(name, &host).await?;
    world.api.workers(&id, 2, 3).await?;
    Ok((sim, id))
}

/// Whether nodes of a cluster have restored anything by themselves; by what they were asked.
async fn sims_native(world: &World, sim: usize) -> Result<bool> {
    let calls = world.sims[sim].admin(Verb::GET, "/calls", None).await?;
    let asked = |path: &str| !calls[format!("POST {path}")].is_null();
    let (native, loaded) = (
        asked("/storage_service/restore"),
        asked("/storage_service/sstables/{keyspace}"),
    );
    ensure!(native != loaded, "both ways: {calls}");
    Ok(native)
}

#[tokio::test]
async fn every_method_brings_the_same_to_every_store() -> Result<()> {
    let servers = Servers::start().await?;
    let stores = Stores::new(servers.settings())?;
    let options = Options {
        environment: servers.environment()?,
        ..Options::default()
    };
    let Servers {
        s3,
        gcs,
        azure: _azure,
        local: _local,
    } = servers;
    let (of_s3, of_gcs) = (s3.endpoint(), gcs.endpoint());
    let known = ["--endpoint", &of_s3, "--gcs-endpoint", &of_gcs];
    let mut world = World::on(s3, options).await?;
    let (sim, id) = cluster(&mut world, "full", &known).await?;
    for (seed, table) in (0..).zip(&tables()) {
        world.sims[sim].load(table, seed, 256 << 10, 4).await?;
    }
    let before = world.sims[sim].fingerprints().await?;

    let mut first: Option<Objects> = None;
    for (method, provider, [asked, done]) in PAIRS {
        let location = format!("{provider}:{}", bucket(method));
        let name = format!("{method} to {provider}");
        let properties = json!({"location": [location], "method": method});
        let task = world.api.submit(&id, "backup", properties).await?;
        let ended = world.api.ended(&task, LIMIT).await?.done();
        let ended = ended.with_context(|| name.clone())?;
        let tag = ended.tag();
        // The own engine says nothing where it was asked for.
        let told = ended.progress.to_string();
        let says = told.contains(&format!(r#""method":"{method}""#));
        ensure!(says || method == "agent", "{name}: {told}");
        ensure!(!told.contains(r#""method":"agent""#), "{name}: {told}");
        let own = [(last(&task), "<task>"), (&*tag, "<tag>")];
        let store = stores.open(&location.parse()?).await?;
        let objects = objects(&store, &own).await?;
        match &first {
            Some(first) => same(&name, &objects, first)?,
            None => first = Some(objects),
        }

        let (target, other) = cluster(&mut world, &format!("{method}-{provider}"), &known).await?;
        let restore = [&*location, &*tag, asked];
        let proven = world
            .api
            .validate_and_restore([&id, &other], restore, LIMIT)
            .await
            .with_context(|| name.clone())?;
        let native = sims_native(&world, target).await?;
        ensure!(
            native == (done == "native"),
            "{name}: not restored by {done}"
        );
        let told = proven.progress.to_string();
        let says = told.contains(&format!(r#""method":"{done}""#));
        ensure!(says || asked == "agent", "{name}: {told}");
        let after = world.sims[target].fingerprints().await?;
        compare(&before, &after).with_context(|| name.clone())?;
        world.sims[target].is_clean().await?;
    }
    let first = first.unwrap_or_default();
    let components = first.keys().filter(|key| key.starts_with("backup/sst/"));
    ensure!(components.count() > 50, "{:?}", first.keys());
    world.sims[sim].is_clean().await
}
