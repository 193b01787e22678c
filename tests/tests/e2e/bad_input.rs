//! What users get wrong, and what breaks around them: each is answered by what, where, what to do.

use std::{path::Path, process::Command, time::Duration};

use anyhow::{Context as _, Result, ensure};
use reqwest::{Method, StatusCode};
use serde_json::{Value, json};
use testkit::{Process, nats::Nats};
use tests::{Ended, Options, Shape, Store, TableSpec, World, bin, compare};

const LIMIT: Duration = Duration::from_secs(90);

fn table(name: &str, copies: usize) -> TableSpec {
    TableSpec {
        keyspace: "shop".to_owned(),
        name: name.to_owned(),
        tablets: false,
        copies,
    }
}

fn options(environment: &[(&str, &str)]) -> Options {
    let mut all = vec![("THETIS_NATS__RETRY_PAUSE_MS".to_owned(), "20".to_owned())];
    all.extend(
        environment
            .iter()
            .map(|(k, v)| ((*k).to_owned(), (*v).to_owned())),
    );
    Options {
        environment: all,
        ..Options::default()
    }
}

/// A cluster `name` of three nodes with some data.
async fn cluster(world: &mut World, name: &str, tables: &[TableSpec]) -> Result<String> {
    let sim = world.add_cluster(Shape::new(name, 3), 1).await?;
    world.sims[sim].create(tables).await?;
    for (seed, table) in (0..).zip(tables) {
        world.sims[sim].load(table, seed, 64 << 10, 2).await?;
    }
    let id = world
        .api
        .add_cluster(name, &world.sims[sim].nodes[0].address)
        .await?;
    world.api.workers(&id, 3, 3).await?;
    Ok(id)
}

/// The error body of a request that must be refused with `status`.
async fn refused(world: &World, path: &str, body: Value, status: StatusCode) -> Result<String> {
    let (found, answer) = world.api.send(Method::POST, path, Some(&body)).await?;
    ensure!(
        found == status,
        "{path}: {found} instead of {status}: {answer}"
    );
    for field in ["message", "details", "trace_id"] {
        ensure!(
            answer[field].is_string(),
            "the error body has no {field}: {answer}"
        );
    }
    Ok(format!("{} {}", answer["message"], answer["details"]))
}

/// The cause of a run that must not end well: refused at once, or ended by an error.
async fn cause(world: &World, cluster: &str, kind: &str, properties: Value) -> Result<String> {
    let body = json!({"type": kind, "enabled": true, "properties": properties});
    let (status, answer) = world
        .api
        .send(
            Method::POST,
            &format!("/cluster/{cluster}/tasks"),
            Some(&body),
        )
        .await?;
    if status.is_client_error() {
        return Ok(answer.to_string());
    }
    let task = format!(
        "/cluster/{cluster}/task/{kind}/{}",
        answer["id"].as_str().context("a task has an id")?
    );
    let Ended { status, cause, .. } = world.api.ended(&task, LIMIT).await?;
    ensure!(status == "ERROR", "{kind} {properties} ended {status}");
    Ok(cause)
}

fn says(text: &str, all: &[&str]) -> Result<()> {
    for part in all {
        ensure!(text.contains(part), "`{part}` is not in: {text}");
    }
    Ok(())
}

#[tokio::test]
async fn requests_that_make_no_sense_are_refused_at_once() -> Result<()> {
    let mut world = World::start(options(&[])).await?;
    let id = cluster(&mut world, "prod", &[table("users", 2)]).await?;
    let tasks = format!("/cluster/{id}/tasks");
    let backup = |location: &str| json!({"type": "backup", "enabled": true, "properties": {"location": [location]}});
    let restore =
        |properties: Value| json!({"type": "restore", "enabled": true, "properties": properties});

    says(
        &refused(
            &world,
            "/cluster/nope/tasks",
            backup("s3:thetis"),
            StatusCode::NOT_FOUND,
        )
        .await?,
        &["nope"],
    )?;
    says(
        &refused(
            &world,
            &tasks,
            backup("ftp:thetis"),
            StatusCode::BAD_REQUEST,
        )
        .await?,
        &["ftp", "s3, gcs, azure"],
    )?;
    says(
        &refused(&world, &tasks, backup("thetis"), StatusCode::BAD_REQUEST).await?,
        &["<provider>:<bucket>"],
    )?;
    let odd = json!({"type": "backup", "enabled": true, "properties": {"location": ["s3:thetis"], "colour": "red"}});
    says(
        &refused(&world, &tasks, odd, StatusCode::BAD_REQUEST).await?,
        &["colour"],
    )?;
    let tag = restore(json!({"location": ["s3:thetis"], "snapshot_tag": "yesterday"}));
    says(
        &refused(&world, &tasks, tag, StatusCode::BAD_REQUEST).await?,
        &["yesterday", "sm_"],
    )?;
    says(
        &refused(
            &world,
            &tasks,
            json!({"type": "dance"}),
            StatusCode::BAD_REQUEST,
        )
        .await?,
        &["dance"],
    )?;
    let absent = json!({"name": "other", "host": "127.99.99.99"});
    let answer = refused(&world, "/clusters", absent, StatusCode::BAD_REQUEST).await;
    says(&answer?, &["127.99.99.99", "thetis node"])?;

    let text = cause(&world, &id, "backup", json!({"location": ["s3:nowhere"]})).await?;
    says(&text, &["nowhere", "create it"])?;
    let text = cause(
        &world,
        &id,
        "backup",
        json!({"location": ["s3:thetis"], "keyspace": ["nothing*"]}),
    )
    .await?;
    says(&text, &["nothing*"])?;
    let text = cause(
        &world,
        &id,
        "restore",
        json!({"location": ["s3:thetis"], "snapshot_tag": "sm_20200101000000UTC"}),
    )
    .await?;
    says(&text, &["sm_20200101000000UTC"])
}

#[tokio::test]
async fn a_wrong_key_of_the_bucket_is_told_and_not_shown() -> Result<()> {
    let mut world = World::start(options(&[(
        "THETIS_STORE__S3__SECRET_ACCESS_KEY",
        "hunter2-is-wrong",
    )]))
    .await?;
    let id = cluster(&mut world, "prod", &[table("users", 2)]).await?;
    let text = cause(&world, &id, "backup", json!({"location": ["s3:thetis"]})).await?;
    says(&text, &["not allowed", "thetis"])?;
    ensure!(
        !text.contains("hunter2") && !world.last_words().contains("hunter2"),
        "the secret is shown"
    );
    Ok(())
}

#[tokio::test]
async fn a_wrong_nats_password_ends_the_service_with_its_reason() -> Result<()> {
    let nats = Nats::with_password("thetis", "right")?;
    let dir = tempfile::tempdir()?;
    let mut command = Command::new(bin("thetis")?);
    command.arg("scheduler").envs([
        ("THETIS_NATS__URL", nats.url().as_str()),
        ("THETIS_NATS__USER", "thetis"),
        ("THETIS_NATS__PASSWORD", "wrong-one"),
        ("THETIS_SCHEDULER__LISTEN", "127.0.0.1:0"),
    ]);
    let mut process = Process::start(&mut command, &dir.path().join("log"))?;
    testkit::eventually("the scheduler to end", LIMIT, async || {
        ensure!(!process.running(), "it still runs");
        Ok(())
    })
    .await?;
    says(&process.output(), &["refuses the login", "password"])?;
    ensure!(
        !process.output().contains("wrong-one"),
        "the password is shown"
    );
    Ok(())
}

#[tokio::test]
async fn a_node_that_is_down_is_named() -> Result<()> {
    let mut world = World::start(options(&[])).await?;
    let tables = [
        table("users", 1),
        TableSpec {
            keyspace: "safe".to_owned(),
            ..table("users", 3)
        },
    ];
    let id = cluster(&mut world, "prod", &tables).await?;
    world.sims[0]
        .admin(Method::POST, "/nodes/2/down", None)
        .await?;
    let text = cause(&world, &id, "backup", json!({"location": ["s3:thetis"]})).await?;
    says(&text, &["shop", "no live replica"])?;

    let properties = json!({"location": ["s3:thetis"], "keyspace": ["safe"]});
    let ended = world.api.done(&id, "backup", properties, LIMIT).await?;
    says(
        &ended.cause,
        &[&world.sims[0].nodes[1].address, "not in this backup"],
    )
}

#[tokio::test]
async fn damage_is_found_on_either_side() -> Result<()> {
    let mut world = World::start(Options {
        local: true,
        ..options(&[])
    })
    .await?;
    let id = cluster(&mut world, "prod", &[table("users", 2), table("carts", 2)]).await?;
    let location = world.store.location();
    let backup = |keyspace: &str| json!({"location": [location], "keyspace": [keyspace]});
    let good = world
        .api
        .done(&id, "backup", backup("shop.users"), LIMIT)
        .await?;

    let victim = json!({"node": "1", "keyspace": "shop", "table": "carts"});
    let damaged = world.sims[0]
        .admin(Method::POST, "/corrupt", Some(victim))
        .await?;
    let path = damaged["path"].as_str().context("a path")?.to_owned();
    let file = Path::new(&path)
        .file_name()
        .context("a file")?
        .to_string_lossy()
        .into_owned();
    let text = cause(&world, &id, "backup", backup("shop.carts")).await?;
    says(&text, &[&file, "damaged", "CRC-32"])?;
    let Store::Local(root) = &world.store else {
        unreachable!("this world has a directory")
    };
    let objects = files_below(root)?;
    ensure!(
        !objects.iter().any(|object| object.ends_with(&file)),
        "the damaged file is in the bucket"
    );

    let empty = world.add_cluster(Shape::new("empty", 2), 1).await?;
    let target = world
        .api
        .add_cluster("empty", &world.sims[empty].nodes[0].address)
        .await?;
    world.api.workers(&target, 2, 3).await?;
    let restore = json!({
        "location": [location], "snapshot_tag": good.tag(), "restore_tables": true,
    });
    let text = cause(&world, &target, "restore", restore.clone()).await?;
    says(&text, &["shop.users", "schema"])?;

    world.sims[empty].create(&[table("users", 2)]).await?;
    let Store::Local(root) = &world.store else {
        unreachable!("this world has a directory")
    };
    let data = files_below(root)?
        .into_iter()
        .find(|object| object.contains("/table/users/") && object.ends_with("-Data.db"))
        .context("a Data.db")?;
    let mut content = std::fs::read(&data)?;
    content[0] ^= 1;
    std::fs::write(&data, &content)?;
    let name = Path::new(&data)
        .file_name()
        .context("a file")?
        .to_string_lossy()
        .into_owned();
    let text = cause(&world, &target, "restore", restore.clone()).await?;
    says(&text, &[&name, "damaged"])?;

    std::fs::remove_file(&data)?;
    let text = cause(&world, &target, "restore", restore).await?;
    says(&text, &[&name, "missing"])?;
    world.sims[empty].is_clean().await
}

#[tokio::test]
async fn a_full_disk_stops_the_restore_before_it_hurts() -> Result<()> {
    let mut world = World::start(Options {
        local: true,
        ..options(&[("THETIS_RESTORE__MIN_FREE_PERCENT", "90")])
    })
    .await?;
    let tables = [table("users", 2)];
    let id = cluster(&mut world, "prod", &tables).await?;
    let location = world.store.location();
    let backup = world
        .api
        .done(&id, "backup", json!({"location": [location]}), LIMIT)
        .await?;
    let empty = world.add_cluster(Shape::new("empty", 2), 1).await?;
    world.sims[empty].create(&tables).await?;
    let target = world
        .api
        .add_cluster("empty", &world.sims[empty].nodes[0].address)
        .await?;
    world.api.workers(&target, 2, 3).await?;
    let restore = json!({"location": [location], "snapshot_tag": backup.tag()});
    let text = cause(&world, &target, "restore", restore).await?;
    says(&text, &["not enough space", "restore.min_free_percent"])?;
    world.sims[empty].is_clean().await
}

/// A small file system in memory, unmounted when dropped.
pub(crate) struct Tmpfs<'a>(&'a Path);

impl<'a> Tmpfs<'a> {
    /// `None`, with the reason printed, where this may not mount.
    pub(crate) fn mount(at: &'a Path, options: &str) -> Result<Option<Self>> {
        std::fs::create_dir_all(at)?;
        let ran = Command::new("mount")
            .args(["-t", "tmpfs", "-o", options, "tmpfs"])
            .arg(at)
            .output()?;
        if ran.status.success() {
            return Ok(Some(Self(at)));
        }
        eprintln!(
            "SKIPPED, for only root may mount: {}",
            String::from_utf8_lossy(&ran.stderr)
        );
        Ok(None)
    }

    /// Takes all of its inodes but a few.
    pub(crate) fn fill(&self, left: usize) -> Result<()> {
        let dir = self.0.join("filler");
        std::fs::create_dir(&dir)?;
        let mut taken = Vec::new();
        let full = loop {
            let path = dir.join(taken.len().to_string());
            match std::fs::File::create(&path) {
                Ok(_) => taken.push(path),
                Err(e) => break e,
            }
        };
        ensure!(full.kind() == std::io::ErrorKind::StorageFull, "{full}");
        for path in taken.iter().rev().take(left) {
            std::fs::remove_file(path)?;
        }
        Ok(())
    }

    pub(crate) fn make_room(&self) -> Result<()> {
        Ok(std::fs::remove_dir_all(self.0.join("filler"))?)
    }
}

impl Drop for Tmpfs<'_> {
    fn drop(&mut self) {
        let unmounted = Command::new("umount").arg(self.0).status();
        if !unmounted.is_ok_and(|status| status.success()) {
            eprintln!("cannot unmount {}", self.0.display());
        }
    }
}

/// Full of inodes, so that no look at the free bytes can foresee it.
#[tokio::test]
async fn a_file_system_that_is_really_full_ends_the_restore_cleanly() -> Result<()> {
    // Dropped last to first: nothing may use the file system when it goes.
    let dir = tempfile::Builder::new().prefix("thetis-world-").tempdir()?;
    let at = dir.path().join("empty");
    let Some(disk) = Tmpfs::mount(&at, "size=256m,nr_inodes=4k")? else {
        return Ok(());
    };
    let mut world = World::start(Options {
        local: true,
        dir: Some(dir.path().to_owned()),
        ..options(&[("THETIS_RESTORE__MIN_FREE_PERCENT", "0")])
    })
    .await?;
    let tables = [table("users", 2)];
    let id = cluster(&mut world, "prod", &tables).await?;
    let location = world.store.location();
    let backup = world
        .api
        .done(&id, "backup", json!({"location": [location]}), LIMIT)
        .await?;
    let empty = world.add_cluster(Shape::new("empty", 2), 1).await?;
    world.sims[empty].create(&tables).await?;
    let target = world
        .api
        .add_cluster("empty", &world.sims[empty].nodes[0].address)
        .await?;
    world.api.workers(&target, 2, 3).await?;

    // A few files come, and then no more.
    disk.fill(12)?;
    let restore = json!({"location": [location], "snapshot_tag": backup.tag()});
    let text = cause(&world, &target, "restore", restore.clone()).await?;
    says(&text, &["o space left", ".thetis"])?;
    world.sims[empty].is_clean().await?;

    disk.make_room()?;
    world.api.done(&target, "restore", restore, LIMIT).await?;
    let (before, after) = (
        world.sims[0].fingerprints().await?,
        world.sims[empty].fingerprints().await?,
    );
    compare(&before, &after)?;
    world.sims[empty].is_clean().await
}

/// Paths of all files below `root`.
pub(crate) fn files_below(root: &Path) -> Result<Vec<String>> {
    let mut found = Vec::new();
    let mut open = vec![root.to_owned()];
    while let Some(dir) = open.pop() {
        for entry in std::fs::read_dir(&dir)? {
            let path = entry?.path();
            if path.is_dir() {
                open.push(path)
            } else {
                found.push(path.display().to_string())
            }
        }
    }
    found.sort();
    Ok(found)
}
