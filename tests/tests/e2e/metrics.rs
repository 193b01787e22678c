//! What the processes count is true, and `docs/metrics.md` lists all of it.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt::Write as _,
    path::PathBuf,
    time::Duration,
};

use anyhow::{Context as _, Result, bail, ensure};
use reqwest::Method;
use serde_json::{Value, json};
use testkit::eventually;
use tests::{Kind, Options, Shape, World};

use crate::retention::table;

const LIMIT: Duration = Duration::from_secs(60);
const BEGIN: &str = "<!-- metrics: written by `make golden` -->\n";
const END: &str = "<!-- end of metrics -->";

/// A metric of all processes that have it.
#[derive(Debug, Default)]
struct Metric {
    kind: String,
    help: String,
    labels: BTreeSet<String>,
    processes: BTreeSet<&'static str>,
    /// By labels, in order, as `cluster=x,host=y`; values of several processes are summed up.
    series: BTreeMap<String, f64>,
}

impl Metric {
    /// The sum of all series whose labels have all of `parts`.
    fn sum(&self, parts: &[&str]) -> f64 {
        let has = |labels: &str| {
            parts
                .iter()
                .all(|part| labels.split(',').any(|label| label == *part))
        };
        self.series
            .iter()
            .filter(|(labels, _)| has(labels))
            .map(|(_, value)| value)
            .sum()
    }
}

type Metrics = BTreeMap<String, Metric>;

/// Reads what a process answers into `all`.
fn read(text: &str, process: &'static str, all: &mut Metrics) -> Result<()> {
    let (mut types, mut helps) = (BTreeMap::new(), BTreeMap::new());
    let mut seen = BTreeSet::new();
    ensure!(text.ends_with("# EOF\n"), "it does not end as it should");
    for line in text.lines() {
        let mut words = line.splitn(4, ' ');
        match (words.next(), words.next(), words.next(), words.next()) {
            (Some("#"), Some("HELP"), Some(name), Some(help)) => {
                ensure!(
                    helps.insert(name, help).is_none(),
                    "{name} is described twice"
                );
            }
            (Some("#"), Some("TYPE"), Some(name), Some(kind)) => {
                types.insert(name, kind);
                let full = if kind == "counter" {
                    format!("{name}_total")
                } else {
                    name.to_owned()
                };
                let metric = all.entry(full).or_default();
                metric.kind = kind.to_owned();
                metric.help = (*helps
                    .get(name)
                    .with_context(|| format!("{name} is not described"))?)
                .to_owned();
                metric.processes.insert(process);
            }
            (Some("#"), ..) => {}
            (Some(series), Some(value), None, None) => {
                ensure!(seen.insert(series), "twice: {series}");
                let (name, labels) = series.split_once('{').unwrap_or((series, "}"));
                let labels = labels.trim_end_matches('}').replace('"', "");
                let metric = all
                    .get_mut(name)
                    .with_context(|| format!("{name} has no type"))?;
                let keys = labels.split(',').filter_map(|label| label.split_once('='));
                metric.labels.extend(keys.map(|(key, _)| key.to_owned()));
                *metric.series.entry(labels).or_default() += value.parse::<f64>()?;
            }
            _ => bail!("not understood: {line}"),
        }
    }
    Ok(())
}

async fn scrape(world: &World) -> Result<Metrics> {
    let mut all = Metrics::new();
    for service in &world.services {
        let url = format!("{}/metrics", service.admin()?);
        let text = reqwest::get(url).await?.error_for_status()?.text().await?;
        read(&text, service.kind.verb(), &mut all).with_context(|| service.name.clone())?;
    }
    Ok(all)
}

/// The table of `docs/metrics.md`.
fn rows(all: &Metrics) -> String {
    let mut rows =
        String::from("| metric | type | labels | of | meaning |\n|---|---|---|---|---|\n");
    for (name, metric) in all {
        let labels: Vec<String> = metric
            .labels
            .iter()
            .map(|label| format!("`{label}`"))
            .collect();
        let of: Vec<&str> = metric.processes.iter().copied().collect();
        let of = if of.len() == 4 {
            "all".to_owned()
        } else {
            of.join(", ")
        };
        let (kind, help) = (&metric.kind, metric.help.trim_end_matches('.'));
        writeln!(
            rows,
            "| `{name}` | {kind} | {} | {of} | {help} |",
            labels.join(", ")
        )
        .expect("a string takes all");
    }
    rows
}

/// Compares the table with what there is; writes it instead when `UPDATE_GOLDEN` is set.
fn documented(all: &Metrics) -> Result<()> {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../docs/metrics.md");
    let text = std::fs::read_to_string(&path)?;
    let (before, rest) = text.split_once(BEGIN).context("where the table begins")?;
    let (table, after) = rest.split_once(END).context("where the table ends")?;
    let rows = rows(all);
    if std::env::var_os("UPDATE_GOLDEN").is_some() {
        return Ok(std::fs::write(
            path,
            format!("{before}{BEGIN}{rows}{END}{after}"),
        )?);
    }
    for (told, is) in table.lines().zip(rows.lines()) {
        ensure!(
            told == is,
            "docs/metrics.md, which `make golden` writes anew:\n told: {told}\n is:   {is}"
        );
    }
    ensure!(
        table == rows,
        "docs/metrics.md has other metrics than there are; `make golden` writes it anew"
    );
    Ok(())
}

fn number(value: &Value) -> f64 {
    value.as_f64().unwrap_or(f64::NAN)
}

#[tokio::test]
async fn what_is_counted_is_true_and_documented() -> Result<()> {
    // Shown to nobody, for these nodes want no TLS.
    let folder = tempfile::tempdir()?;
    let key = rcgen::KeyPair::generate()?;
    let certificate = rcgen::CertificateParams::new(vec!["node".to_owned()])?.self_signed(&key)?;
    let [cert, key_file] = ["node.crt", "node.key"].map(|name| folder.path().join(name));
    std::fs::write(&cert, certificate.pem())?;
    std::fs::write(&key_file, key.serialize_pem())?;
    let settings = [
        ("THETIS_SCHEDULER__HEALTH_SECS", "1".to_owned()),
        ("THETIS_CQL__TLS_CERT", cert.display().to_string()),
        ("THETIS_CQL__TLS_KEY", key_file.display().to_string()),
    ];
    let mut world = World::start(Options {
        environment: settings.map(|(key, value)| (key.to_owned(), value)).into(),
        ..Options::default()
    })
    .await?;
    let mut ids = Vec::new();
    for (name, nodes) in [("full", 2), ("empty", 2)] {
        let sim = world.add_cluster(Shape::new(name, nodes), 1).await?;
        world.sims[sim].create(&[table()]).await?;
        let host = &world.sims[sim].nodes[0].address;
        let id = world.api.add_cluster(name, host).await?;
        world.api.workers(&id, nodes, 3).await?;
        ids.push(id);
    }
    world.sims[0].load(&table(), 1, 128 << 10, 3).await?;
    let [full, empty] = &ids[..] else {
        bail!("two clusters")
    };
    let location = world.store.location();
    // Another task of the same cluster: only the last backup is shown.
    let other = json!({"location": [location]});
    world.api.done(full, "backup", other, LIMIT).await?;
    let properties = json!({"location": [location], "retention": 1});
    let task = world.api.submit(full, "backup", properties).await?;
    world.api.ended(&task, LIMIT).await?.done()?;
    world.sims[0].load(&table(), 2, 64 << 10, 1).await?;
    world
        .api
        .ok(Method::PUT, &format!("{task}/start?continue=false"), None)
        .await?;
    let backup = world.api.ended(&task, LIMIT).await?.done()?;
    let properties = json!({"location": [location], "checksum": true});
    world
        .api
        .done(full, "validate_backup", properties, LIMIT)
        .await?;
    let properties =
        json!({"location": [location], "snapshot_tag": backup.tag(), "restore_tables": true});
    let restore = world.api.done(empty, "restore", properties, LIMIT).await?;
    world
        .api
        .ok(
            Method::PUT,
            &format!("/cluster/{empty}/suspended"),
            Some(&json!(true)),
        )
        .await?;

    let task = task.rsplit('/').next().unwrap_or_default();
    let [of_full, of_empty] = [format!("cluster={full}"), format!("cluster={empty}")];
    let of_task = format!("task={task}");
    // The scheduler looks again and again; what it sees last is how things are.
    let all = eventually("true metrics", LIMIT, async || {
        let all = scrape(&world).await?;
        let expect = |name: &str, parts: &[&str], value: f64| {
            let metric = all
                .get(name)
                .with_context(|| format!("there is no {name}"))?;
            let is = metric.sum(parts);
            ensure!(
                (is - value).abs() < 1e-6,
                "{name} {parts:?} is {is}, not {value}: {:#?}",
                metric.series
            );
            Ok(())
        };
        let progress = &backup.progress;
        for (name, key) in [
            ("size", "size"),
            ("uploaded", "uploaded"),
            ("skipped", "skipped"),
            ("failed", "failed"),
        ] {
            let name = format!("scylla_manager_backup_files_{name}_bytes");
            expect(
                &name,
                &[&of_full, "keyspace=shop", "table=users"],
                number(&progress[key]),
            )?;
        }
        let share = number(&progress["skipped"]) / number(&progress["size"]);
        ensure!(
            share > 0.1 && share < 0.9,
            "the bucket had some of it: {share}"
        );
        expect("thetis_scheduler_backup_dedup_ratio", &[&of_full], share)?;
        expect(
            "thetis_scheduler_backup_files",
            &[&of_full],
            number(&progress["files"]),
        )?;
        expect(
            "scylla_manager_backup_snapshot",
            &[&of_full, "keyspace=shop"],
            2.0,
        )?;
        expect(
            "thetis_scheduler_run_removed_backups",
            &[&of_full, &of_task],
            1.0,
        )?;
        expect("thetis_scheduler_run_stage", &[&of_task, "stage=DONE"], 1.0)?;
        let restored = number(&restore.progress["restored"]);
        ensure!(restored > 0.0, "something was restored");
        expect(
            "scylla_manager_restore_restored_bytes",
            &[&of_empty],
            restored,
        )?;
        expect("scylla_manager_restore_remaining_bytes", &[&of_empty], 0.0)?;
        expect("scylla_manager_restore_progress", &[&of_empty], 100.0)?;
        expect("scylla_manager_cluster_name", &["name=full"], 0.0)?;
        expect(
            "scylla_manager_scheduler_run_total",
            &[&of_task, "status=DONE"],
            2.0,
        )?;
        expect("scylla_manager_scheduler_run_indicator", &[&of_full], 0.0)?;
        expect("scylla_manager_scheduler_suspended", &[&of_full], 0.0)?;
        expect("scylla_manager_scheduler_suspended", &[&of_empty], 1.0)?;
        expect("scylla_manager_healthcheck_cql_status", &[], 4.0)?;
        expect("scylla_manager_healthcheck_rest_status", &[], 4.0)?;
        expect("thetis_scheduler_leader", &[], 1.0)?;
        expect("thetis_scheduler_queue_waiting", &[], 0.0)?;
        expect("thetis_scheduler_queue_in_hand", &[], 0.0)?;
        // Looked at once a minute, so perhaps in the middle of a backup.
        let held = all["thetis_snapshot_held_bytes"].series.len();
        ensure!(held == 2, "{held} kinds of snapshots");
        expect("thetis_queue_jobs_in_hand", &[], 0.0)?;
        expect("thetis_queue_jobs_ended_total", &["outcome=failed"], 0.0)?;
        expect("thetis_uploader_sealed_total", &[], 6.0)?;
        expect("thetis_store_requests_total", &["status=503"], 0.0)?;
        let taken = all["thetis_queue_jobs_taken_total"].sum(&[]);
        expect("thetis_queue_jobs_ended_total", &[], taken)?;
        let age = all["thetis_scheduler_last_good_backup_age_seconds"].sum(&[&of_full]);
        ensure!(age > 0.0 && age < 600.0, "backed up {age} s ago");
        let files = all["thetis_uploader_files_total"].sum(&[]);
        let puts = all["thetis_store_requests_total"].sum(&["method=PUT", "status=200"]);
        ensure!(
            puts >= files && files > 0.0,
            "{puts} requests stored {files} files"
        );
        Ok(all)
    })
    .await?;
    documented(&all)?;

    // A node whose worker is gone cannot be asked.
    for service in world.find("full-1-snapshot") {
        ensure!(service.kind == Kind::Snapshot, "{}", service.name);
        service.kill();
    }
    world.services.retain_mut(|service| service.running());
    eventually("the loss to be seen", LIMIT, async || {
        let all = scrape(&world).await?;
        let status = all["scylla_manager_healthcheck_rest_status"].sum(&[&of_full]);
        ensure!((status - (1.0 - 2.0)).abs() < 1e-6, "it is {status}");
        Ok(())
    })
    .await
}
