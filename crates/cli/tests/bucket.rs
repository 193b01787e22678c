//! `thetis bucket` on buckets that ScyllaDB Manager filled, good and bad, with nothing else there.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::Path,
    process::{Command, Output},
};

use anyhow::{Context as _, Result, bail, ensure};
use serde_json::{Value, json};
use tempfile::TempDir;
use testkit::manager::{Backup, BackupMade, Bucket, Cluster, Schema, Table, damage, random_bucket};

const TAG: &str = "sm_20260101000000UTC";

/// Where the tool runs: a folder with one bucket, `backups`.
struct World {
    root: TempDir,
}

impl World {
    fn new(bucket: &Bucket) -> Result<Self> {
        let root = tempfile::tempdir()?;
        bucket.write(&root.path().join("backups"))?;
        Ok(Self { root })
    }

    fn bucket(&self) -> std::path::PathBuf {
        self.root.path().join("backups")
    }

    fn run(&self, args: &[&str]) -> Result<Output> {
        let mut command = Command::new(env!("CARGO_BIN_EXE_thetis"));
        command.arg("bucket").args(args).env_clear();
        command.env("THETIS_STORE__LOCALSTORAGE__ROOT", self.root.path());
        Ok(command.output()?)
    }

    /// What it prints when it succeeds.
    fn good(&self, args: &[&str]) -> Result<String> {
        let ran = self.run(args)?;
        let said = String::from_utf8(ran.stderr)?;
        ensure!(ran.status.success(), "{args:?} {}: {said}", ran.status);
        Ok(String::from_utf8(ran.stdout)?)
    }

    fn json(&self, args: &[&str]) -> Result<Value> {
        let args = [args, &["-L", "localstorage:backups", "-o", "json"]].concat();
        let text = self.good(&args)?;
        serde_json::from_str(&text).with_context(|| format!("{args:?}: {text}"))
    }

    /// Its status and what it says of a failure.
    fn bad(&self, args: &[&str]) -> Result<(i32, String)> {
        let ran = self.run(args)?;
        let said = String::from_utf8(ran.stderr)?;
        Ok((ran.status.code().context("a status")?, said))
    }
}

/// A cluster with one table on two nodes, and two backups.
fn prod() -> Bucket {
    let mut prod = Cluster::new(7, "prod");
    let nodes = [prod.node("dc1", "r1"), prod.node("dc2", "r1")];
    let users = prod.table(Table::new("shop", "users"));
    let task = prod.task();
    for tag in [TAG, "sm_20260102000000UTC"] {
        for node in nodes {
            prod.flush(node, users);
        }
        prod.backup(&Backup {
            schemas: vec![Schema::Cql],
            ..Backup::new(&task, tag)
        });
    }
    prod.clutter();
    prod.bucket()
}

/// The finished nodes' files: object by node's and table's directory and name.
fn files(made: &BackupMade) -> BTreeSet<String> {
    let finished = made.nodes.iter().filter(|node| node.manifest.is_some());
    let tables = finished.flat_map(|node| &node.tables);
    let files = tables.flat_map(|table| &table.files);
    files.map(|file| file.key.clone()).collect()
}

/// Backups that no other of the same cluster and tag stands beside.
fn single(bucket: &Bucket) -> impl Iterator<Item = &BackupMade> {
    bucket.backups.iter().filter(|made| {
        let same = |other: &&BackupMade| {
            (&other.id.cluster, &other.id.tag) == (&made.id.cluster, &made.id.tag)
        };
        let finished = made.nodes.iter().any(|node| node.manifest.is_some());
        finished && bucket.backups.iter().filter(same).count() == 1
    })
}

#[test]
fn any_bucket_is_listed_shown_and_downloaded() -> Result<()> {
    for seed in [2, 5] {
        let bucket = random_bucket(seed);
        let world = World::new(&bucket)?;
        let list = world.json(&["list"])?;
        let mut listed = BTreeMap::new();
        for item in list.as_array().context("a list")? {
            for one in item["snapshot_info"].as_array().context("backups")? {
                let id = [&item["cluster_id"], &item["task_id"], &one["snapshot_tag"]];
                let id = id.map(|text| text.as_str().unwrap_or_default().to_owned());
                listed.insert(id, one["complete"] == true);
            }
        }
        let made = bucket
            .backups
            .iter()
            .filter(|made| made.nodes.iter().any(|node| node.manifest.is_some()));
        let made = made.map(|made| {
            let id = &made.id;
            let id = [&id.cluster, &id.task, &id.tag].map(String::clone);
            (id, !made.unfinished())
        });
        ensure!(listed == made.collect(), "seed {seed}: {listed:#?}");

        for made in single(&bucket) {
            let of = [made.id.tag.as_str(), "--cluster-id", &made.id.cluster];
            let shown = world.json(&[&["show"], &of[..]].concat())?;
            let finished = made.nodes.iter().filter(|node| node.manifest.is_some());
            let nodes: BTreeSet<&str> = finished.map(|node| node.node.as_str()).collect();
            let told = shown["nodes"].as_array().context("nodes")?.iter();
            let told: BTreeSet<&str> = told.filter_map(|node| node["node"].as_str()).collect();
            ensure!(
                told == nodes && shown["complete"] == !made.unfinished(),
                "{shown:#}"
            );

            let listed = world.json(&[&["files"], &of[..]].concat())?;
            let mut objects = BTreeSet::new();
            for table in listed.as_array().context("tables")? {
                ensure!(table["missing"] == json!([]));
                for name in table["files"].as_array().context("files")? {
                    let (path, name) = (table["path"].as_str(), name.as_str());
                    objects.insert(format!(
                        "{}/{}",
                        path.context("a path")?,
                        name.context("a name")?
                    ));
                }
            }
            ensure!(objects == files(made), "seed {seed}: {objects:#?}");

            let to = tempfile::tempdir()?;
            let into = to.path().to_str().context("a path")?;
            let done = world.json(&[&["download", "--to", into], &of[..]].concat())?;
            ensure!(done["failures"] == 0, "{done:#}");
            ensure!(
                contents(to.path())? == expected(made),
                "seed {seed} {:?}",
                made.id
            );
        }
        let report = world.json(&["validate", "--checksum"])?;
        let orphans = report["nodes"].as_array().context("nodes")?.iter();
        let orphans: u64 = orphans
            .filter_map(|node| node["orphaned_files"].as_u64())
            .sum();
        ensure!(
            orphans == bucket.orphans().len() as u64,
            "seed {seed}: {report:#}"
        );
    }
    Ok(())
}

/// The contents that must come down, however they are spread over folders.
fn expected(made: &BackupMade) -> BTreeMap<(String, Vec<u8>), usize> {
    let finished = made.nodes.iter().filter(|node| node.manifest.is_some());
    let tables = finished.flat_map(|node| &node.tables);
    let mut files = BTreeMap::new();
    for file in tables.flat_map(|table| &table.files) {
        *files
            .entry((file.name.clone(), file.content.to_vec()))
            .or_default() += 1;
    }
    files
}

fn contents(dir: &Path) -> Result<BTreeMap<(String, Vec<u8>), usize>> {
    let (mut files, mut folders) = (BTreeMap::new(), vec![dir.to_owned()]);
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder)? {
            let path = entry?.path();
            if path.is_dir() {
                folders.push(path);
                continue;
            }
            let name = path.file_name().context("a name")?.to_string_lossy();
            *files
                .entry((name.into_owned(), fs::read(&path)?))
                .or_default() += 1;
        }
    }
    Ok(files)
}

#[test]
fn people_get_tables_and_texts() -> Result<()> {
    let bucket = prod();
    let world = World::new(&bucket)?;
    let at = ["-L", "localstorage:backups"];
    let list = world.good(&[&["list"], &at[..]].concat())?;
    let lines: Vec<&str> = list.lines().collect();
    ensure!(
        lines[0].starts_with("SNAPSHOT TAG") && lines.len() == 3,
        "{list}"
    );
    ensure!(
        lines[1].starts_with("sm_20260102") && lines[2].starts_with(TAG),
        "{list}"
    );

    let show = world.good(&[&["show", TAG], &at[..]].concat())?;
    for word in ["prod", "Complete:  yes", "dc1", "dc2", "shop", "users"] {
        ensure!(show.contains(word), "{word}: {show}");
    }
    let schema = world.good(&[&["schema", TAG], &at[..]].concat())?;
    ensure!(
        schema.contains("CREATE TABLE \"shop\".\"users\"") && schema.ends_with(";\n"),
        "{schema}"
    );

    let printed = world.good(
        &[
            &["files", TAG, "-K", "shop.users", "--with-version"],
            &at[..],
        ]
        .concat(),
    )?;
    let made = bucket
        .backups
        .iter()
        .find(|made| made.id.tag == TAG)
        .context("the backup")?;
    let version = &made.nodes[0].tables[0].version;
    let mut lines = printed.lines();
    let first = format!("localstorage:backups/{}\t./", made.schemas[0]);
    ensure!(lines.next() == Some(first.as_str()), "{printed}");
    let told: BTreeSet<String> = lines.map(str::to_owned).collect();
    let truth = files(made).into_iter();
    let truth = truth.map(|key| format!("localstorage:backups/{key}\tshop/users-{version}/"));
    ensure!(told == truth.collect(), "{printed}");

    let coverage = world.good(&[&["coverage", TAG], &at[..]].concat())?;
    ensure!(
        coverage.starts_with("KEYSPACE") && coverage.contains("shop"),
        "{coverage}"
    );
    Ok(())
}

#[test]
fn pins_hold_until_they_are_taken_away() -> Result<()> {
    let world = World::new(&prod())?;
    let at = ["-L", "localstorage:backups"];
    world.good(&[&["pin", TAG, "--reason", "before the move"], &at[..]].concat())?;
    let pins = world.json(&["pins"])?;
    ensure!(
        pins[0]["snapshot_tag"] == TAG && pins[0]["reason"] == "before the move",
        "{pins}"
    );
    ensure!(world.json(&["show", TAG])?["pinned"] == "before the move");
    world.good(&[&["unpin", TAG], &at[..]].concat())?;
    ensure!(world.json(&["pins"])? == json!([]));
    let (status, said) = world.bad(&[&["unpin", TAG], &at[..]].concat())?;
    ensure!(
        status == 3 && said.contains("is not pinned"),
        "{status} {said}"
    );
    let (status, said) = world.bad(&[&["pin", "sm_20270101000000UTC"], &at[..]].concat())?;
    ensure!(
        status == 3 && said.contains("sm_20270101000000UTC"),
        "{status} {said}"
    );
    Ok(())
}

#[test]
fn orphans_go_when_asked_and_nothing_else_does() -> Result<()> {
    let bucket = prod();
    let world = World::new(&bucket)?;
    let at = ["-L", "localstorage:backups"];
    let asked = [&["validate", "--delete-orphaned-files"], &at[..]].concat();
    let (status, said) = world.bad(&asked)?;
    ensure!(status == 2 && said.contains("--yes"), "{status} {said}");
    let (status, said) = world.bad(&[&asked[..], &["--yes", "-K", "shop"]].concat())?;
    ensure!(
        status == 2 && said.contains("--keyspace"),
        "{status} {said}"
    );
    let orphans = bucket.orphans();
    let there = |key: &&String| {
        world
            .bucket()
            .join(key)
            .try_exists()
            .is_ok_and(|there| there)
    };
    ensure!(!orphans.is_empty() && orphans.iter().all(|key| there(&key)));
    world.good(&[&asked[..], &["--yes"]].concat())?;
    let left: Vec<&String> = orphans.iter().filter(there).collect();
    ensure!(left.is_empty(), "{left:?}");
    let others = bucket.objects.keys().filter(|key| !orphans.contains(*key));
    let gone: Vec<&String> = others.filter(|key| !there(key)).collect();
    ensure!(gone.is_empty(), "{gone:?}");
    Ok(())
}

#[test]
fn what_is_broken_is_named_and_hides_nothing_else() -> Result<()> {
    let bucket = prod();
    let at = ["-L", "localstorage:backups"];
    let made = bucket
        .backups
        .iter()
        .find(|made| made.id.tag == TAG)
        .context("the backup")?;
    let manifest = made.nodes[0].manifest.as_ref().context("finished")?;

    for (way, word) in [("cut", "incomplete deflate stream"), ("future", "version")] {
        let world = World::new(&bucket)?;
        match way {
            "cut" => damage::truncate(&world.bucket(), manifest, 60)?,
            "future" => damage::future_version(&world.bucket(), manifest)?,
            other => bail!("no way {other}"),
        }
        let ran = world.run(&[&["list"], &at[..]].concat())?;
        let (out, said) = (
            String::from_utf8(ran.stdout)?,
            String::from_utf8(ran.stderr)?,
        );
        ensure!(
            ran.status.success() && said.contains(manifest),
            "{way}: {said}"
        );
        ensure!(
            out.contains("1, incomplete") && out.contains("sm_20260102"),
            "{way}: {out}"
        );
        ensure!(said.contains(word), "{way}: {said}");
        for verb in ["validate", "files"] {
            let (status, said) = world.bad(&[&[verb, TAG], &at[..]].concat())?;
            ensure!(
                status == 1 && said.contains(manifest),
                "{way} {verb} {status}: {said}"
            );
        }
    }

    let world = World::new(&bucket)?;
    let lost = &made.nodes[0].tables[0].files[0].key;
    damage::delete(&world.bucket(), lost)?;
    let (status, said) = world.bad(&[&["validate"], &at[..]].concat())?;
    ensure!(
        status == 1 && said.contains(lost) && said.contains(TAG),
        "{status} {said}"
    );
    let to = tempfile::tempdir()?;
    let into = to.path().to_str().context("a path")?;
    let (status, said) = world.bad(&[&["download", TAG, "--to", into], &at[..]].concat())?;
    ensure!(status == 1 && said.contains("goes on"), "{status} {said}");
    Ok(())
}

#[test]
fn a_wrong_question_has_a_clear_answer() -> Result<()> {
    let world = World::new(&prod())?;
    for (args, status, words) in [
        (vec!["list", "-L", "localstorage:other"], 3, vec!["other"]),
        (vec!["list", "-L", "backups"], 2, vec!["backups"]),
        (vec!["list"], 2, vec!["--location"]),
        (
            vec!["show", "yesterday", "-L", "localstorage:backups"],
            2,
            vec!["yesterday"],
        ),
        (
            vec!["show", "sm_20270101000000UTC", "-L", "localstorage:backups"],
            3,
            vec!["sm_2027", "bucket list"],
        ),
        (
            vec!["files", TAG, "-K", "[", "-L", "localstorage:backups"],
            2,
            vec!["--keyspace"],
        ),
        (
            vec![
                "validate",
                "--max-bytes",
                "1GiB",
                "-L",
                "localstorage:backups",
            ],
            2,
            vec!["--checksum"],
        ),
        (
            vec![
                "list",
                "-L",
                "localstorage:backups",
                "--config",
                "/none.toml",
            ],
            64,
            vec!["/none.toml"],
        ),
    ] {
        let (code, said) = world.bad(&args)?;
        ensure!(code == status, "{args:?} {code}: {said}");
        for word in words {
            ensure!(said.contains(word), "{args:?}: {said}");
        }
    }
    let empty = World::new(&Bucket::default())?;
    ensure!(empty.json(&["list"])? == json!([]));
    ensure!(empty.json(&["validate"])?["nodes"] == json!([]));
    Ok(())
}
