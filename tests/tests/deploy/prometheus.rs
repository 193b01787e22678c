//! `deploy/prometheus/` and `deploy/grafana/`: Prometheus understands all of it, it asks for metrics that there
//! are, and on a running Thetis it finds something.
//!
//! Where there is no `promtool`, what needs it is left out, with a notice.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::Path,
    process::Command,
    time::Duration,
};

use anyhow::{Context as _, Result, ensure};
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use reqwest::Method;
use serde_json::{Value, json};
use testkit::{
    Process, eventually,
    faults::{Fault, Faults},
    free_port,
    s3::SeaweedFs,
};
use tests::{Kind, Options, Shape, TableSpec, World};

use crate::{at, output, program, text};

const LIMIT: Duration = Duration::from_secs(60);
const RULES: &str = "deploy/prometheus/thetis.rules.yml";
const TESTS: [&str; 2] = [
    "deploy/prometheus/thetis.rules.test.yml",
    "deploy/prometheus/thetis.rules.slow.test.yml",
];

#[test]
fn rules_fire_when_they_should_and_not_before() -> Result<()> {
    let Some(promtool) = program("promtool") else {
        return Ok(());
    };
    let config = at("deploy/prometheus/prometheus.yml");
    output(
        Command::new(&promtool)
            .args(["check", "config"])
            .arg(config),
    )?;
    let checked = output(
        Command::new(&promtool)
            .args(["check", "rules"])
            .arg(at(RULES)),
    )?;
    ensure!(checked.contains("SUCCESS"), "{checked}");
    output(
        Command::new(&promtool)
            .args(["test", "rules"])
            .args(TESTS.map(at)),
    )
    .map(drop)
}

/// What follows `key` on a line, for each line that has it.
fn after<'a>(text: &'a str, key: &'a str) -> Vec<&'a str> {
    text.lines()
        .filter_map(|line| line.split_once(key))
        .map(|(_, rest)| rest.trim_end_matches([' ', '}']).trim())
        .collect()
}

#[test]
fn each_alert_has_a_page_that_says_what_to_do_and_a_test_in_which_it_fires() -> Result<()> {
    let rules = text(RULES)?;
    let alerts = after(&rules, "- alert: ");
    ensure!(alerts.len() > 15, "{alerts:?}");
    let index = text("docs/runbooks/README.md")?;
    let tests = TESTS.map(text).into_iter().collect::<Result<String>>()?;
    let mut pages = BTreeSet::from(["README.md".to_owned()]);
    for (alert, runbook) in alerts.iter().zip(after(&rules, "runbook: ")) {
        ensure!(runbook == format!("docs/runbooks/{alert}.md"), "{runbook}");
        let page = text(runbook)?;
        for part in [
            &format!("# {alert}\n"),
            "Severity: `",
            "\n## Look\n",
            "\n## Do\n",
        ] {
            ensure!(page.contains(part), "{runbook} lacks {part}");
        }
        ensure!(index.contains(&format!("[{alert}]({alert}.md)")), "{alert}");
        // It fires in one, and does not yet in another.
        let fires = format!("alertname: {alert}\n        exp_alerts:");
        ensure!(tests.contains(&fires), "{alert} fires in no test");
        let quiet = format!("alertname: {alert} }}");
        ensure!(tests.contains(&quiet), "{alert} is never quiet in tests");
        pages.insert(format!("{alert}.md"));
    }
    let there = std::fs::read_dir(at("docs/runbooks"))?
        .map(|entry| Ok(entry?.file_name().to_string_lossy().into_owned()))
        .collect::<Result<BTreeSet<_>>>()?;
    ensure!(
        there == pages,
        "pages without an alert: {:?}",
        there.difference(&pages)
    );
    Ok(())
}

/// The words in a text that look like metrics of ours.
fn metrics(text: &str) -> BTreeSet<&str> {
    let is_part = |c: char| c.is_ascii_alphanumeric() || c == '_';
    text.split(|c| !is_part(c))
        .filter(|word| word.starts_with("thetis_") || word.starts_with("scylla_manager_"))
        .collect()
}

/// An expression of a panel.
struct Asked {
    dashboard: String,
    panel: String,
    expression: String,
}

fn dashboards() -> Result<Vec<Asked>> {
    let mut all = Vec::new();
    let mut uids = BTreeSet::new();
    for entry in std::fs::read_dir(at("deploy/grafana"))? {
        let path = entry?.path();
        let name = path
            .file_name()
            .context("a name")?
            .to_string_lossy()
            .into_owned();
        let dashboard: Value = serde_json::from_str(&std::fs::read_to_string(&path)?)?;
        let word = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        ensure!(
            uids.insert(word(&dashboard["uid"])),
            "{name}: its uid is another's"
        );
        let mut ids = BTreeSet::new();
        for panel in dashboard["panels"].as_array().context("panels")? {
            let title = word(&panel["title"]);
            ensure!(
                !title.is_empty() && ids.insert(panel["id"].as_u64()),
                "{name}: {panel}"
            );
            let targets = panel["targets"].as_array().cloned().unwrap_or_default();
            ensure!(
                panel["type"] == json!("row") || !targets.is_empty(),
                "{name}: {title}"
            );
            for target in targets {
                ensure!(
                    target["datasource"]["uid"] == json!("${datasource}"),
                    "{name}: {title}"
                );
                all.push(Asked {
                    dashboard: name.clone(),
                    panel: title.clone(),
                    expression: word(&target["expr"]),
                });
            }
        }
    }
    ensure!(uids.len() == 6, "{uids:?}");
    Ok(all)
}

#[test]
fn rules_and_dashboards_ask_for_metrics_that_there_are() -> Result<()> {
    let docs = text("docs/metrics.md")?;
    let known: BTreeSet<&str> = docs
        .lines()
        .filter_map(|line| line.strip_prefix("| `")?.split_once('`'))
        .map(|(name, _)| name)
        .collect();
    ensure!(known.len() > 50, "{known:?}");
    let rules = text(RULES)?;
    let rules = rules
        .lines()
        .filter(|line| !line.trim_start().starts_with('#'));
    let rules = rules.collect::<Vec<_>>().join("\n");
    for name in metrics(&rules) {
        ensure!(known.contains(name), "{RULES}: no metric {name}");
    }
    for Asked {
        dashboard,
        panel,
        expression,
    } in &dashboards()?
    {
        let asked = metrics(expression);
        ensure!(!asked.is_empty(), "{dashboard}: {panel}: {expression}");
        for name in asked {
            ensure!(
                known.contains(name),
                "{dashboard}: {panel}: no metric {name}"
            );
        }
    }
    Ok(())
}

#[test]
fn prometheus_understands_each_expression_of_a_dashboard() -> Result<()> {
    let Some(promtool) = program("promtool") else {
        return Ok(());
    };
    let rules: Vec<Value> = (1..)
        .zip(dashboards()?)
        .map(|(number, asked)| {
            let expression = filled(&asked.expression, "x", "y");
            json!({"record": format!("panel:{number}"), "expr": expression})
        })
        .collect();
    let dir = tempfile::tempdir()?;
    let path = dir.path().join("panels.yml");
    let groups = json!({"groups": [{"name": "panels", "rules": rules}]});
    std::fs::write(&path, groups.to_string())?;
    output(Command::new(promtool).args(["check", "rules"]).arg(path)).map(drop)
}

/// An expression with a dashboard's variables chosen.
fn filled(expression: &str, cluster: &str, task: &str) -> String {
    expression
        .replace("$cluster", cluster)
        .replace("$task", task)
        .replace("$instance", ".*")
}

/// Prometheus, looking every second at all of a world.
struct Prometheus {
    _process: Process,
    url: String,
}

impl Prometheus {
    fn start(program: &Path, world: &World, dir: &Path) -> Result<Self> {
        let mut jobs: BTreeMap<&str, Vec<String>> = BTreeMap::new();
        for service in &world.services {
            let job = match service.kind {
                Kind::Scheduler => "thetis-scheduler",
                Kind::Snapshot | Kind::Uploader | Kind::Restore | Kind::Node => "thetis-node",
            };
            let target = service.admin()?.trim_start_matches("http://").to_owned();
            jobs.entry(job).or_default().push(target);
        }
        let scraped: Vec<Value> = jobs
            .into_iter()
            .map(
                |(job, targets)| json!({"job_name": job, "static_configs": [{"targets": targets}]}),
            )
            .collect();
        let config = json!({
            "global": {"scrape_interval": "1s", "evaluation_interval": "1s"},
            "rule_files": [at(RULES).display().to_string()],
            "scrape_configs": scraped,
        });
        let path = dir.join("prometheus.yml");
        std::fs::write(&path, config.to_string())?;
        let address = format!("127.0.0.1:{}", free_port());
        let mut command = Command::new(program);
        command
            .arg(format!("--config.file={}", path.display()))
            .arg(format!(
                "--storage.tsdb.path={}",
                dir.join("data").display()
            ))
            .arg(format!("--web.listen-address={address}"));
        Ok(Self {
            _process: Process::start(&mut command, &dir.join("prometheus.log"))?,
            url: format!("http://{address}/api/v1"),
        })
    }

    async fn get(&self, path: &str) -> Result<Value> {
        let answer = reqwest::get(format!("{}/{path}", self.url)).await?;
        let answer: Value = serde_json::from_str(&answer.text().await?)?;
        ensure!(answer["status"] == json!("success"), "{path}: {answer}");
        Ok(answer["data"].clone())
    }

    /// How many series an expression has now.
    async fn count(&self, expression: &str) -> Result<usize> {
        let query = utf8_percent_encode(expression, NON_ALPHANUMERIC);
        let found = self.get(&format!("query?query={query}")).await?;
        Ok(found["result"].as_array().map_or(0, Vec::len))
    }

    /// The state of each alert that there is.
    async fn alerts(&self) -> Result<BTreeMap<String, String>> {
        let found = self.get("alerts").await?;
        let word = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        let alerts = found["alerts"].as_array().cloned().unwrap_or_default();
        let state = |alert: &Value| (word(&alert["labels"]["alertname"]), word(&alert["state"]));
        Ok(alerts.iter().map(state).collect())
    }
}

/// Panels that show nothing, or 0, as long as all is well.
const QUIET: [&str; 3] = [
    "Runs that failed, in a day",
    "Answers of the store that ask to slow down",
    "Given up or refused, in an hour",
];

#[tokio::test]
async fn panels_and_alerts_find_something_on_a_running_thetis() -> Result<()> {
    let Some(program) = program("prometheus") else {
        return Ok(());
    };
    let s3 = SeaweedFs::start().await?;
    s3.bucket("thetis").await?;
    let store = Faults::start(&s3.endpoint(), 1).await?;
    let mut world = World::on(
        s3,
        Options {
            environment: vec![
                (
                    "THETIS_STORE__S3__ENDPOINT".into(),
                    store.endpoint().to_owned(),
                ),
                ("THETIS_NATS__RETRY_PAUSE_MS".into(), "50".into()),
                ("THETIS_SCHEDULER__HEALTH_SECS".into(), "1".into()),
                ("THETIS_UPLOADER__RATE_LIMIT".into(), "500".into()),
                ("THETIS_RESTORE__RATE_LIMIT".into(), "500".into()),
            ],
            ..Options::default()
        },
    )
    .await?;
    let table = TableSpec {
        keyspace: "shop".to_owned(),
        name: "users".to_owned(),
        tablets: false,
        copies: 1,
    };
    let mut ids = Vec::new();
    for name in ["full", "empty"] {
        let sim = world.add_cluster(Shape::new(name, 1), 1).await?;
        world.sims[sim].create(std::slice::from_ref(&table)).await?;
        let host = &world.sims[sim].nodes[0].address;
        ids.push(world.api.add_cluster(name, host).await?);
        world.api.workers(&ids[sim], 1, 3).await?;
    }
    world.sims[0].load(&table, 1, 64 << 10, 2).await?;
    let dir = tempfile::tempdir()?;
    let prometheus = Prometheus::start(&program, &world, dir.path())?;
    eventually("Prometheus to look", LIMIT, async || {
        let up = prometheus.count("up == 1").await?;
        ensure!(up == world.services.len(), "{up} processes are up");
        Ok(())
    })
    .await?;
    let location = world.store.location();
    let properties = json!({"location": [location]});
    let task = world.api.submit(&ids[0], "backup", properties).await?;
    let backup = world.api.ended(&task, LIMIT).await?.done()?;
    let [full, empty] = [ids[0].as_str(), ids[1].as_str()];
    let asked = [location, &backup.tag(), "agent"];
    world
        .api
        .validate_and_restore([full, empty], asked, LIMIT)
        .await?;

    let task = task.rsplit('/').next().unwrap_or_default();
    let panels = dashboards()?;
    eventually("data in each panel", LIMIT, async || {
        for Asked {
            dashboard,
            panel,
            expression,
        } in &panels
        {
            let mut found = 0;
            for cluster in [full, empty] {
                let expression = filled(expression, cluster, task);
                found += prometheus.count(&expression).await?;
            }
            let may_be_empty = QUIET.contains(&panel.as_str());
            ensure!(
                found > 0 || may_be_empty,
                "{dashboard}: {panel}: {expression}"
            );
        }
        Ok(())
    })
    .await?;

    let rules = prometheus.get("rules").await?;
    for group in rules["groups"].as_array().context("groups")? {
        for rule in group["rules"].as_array().context("rules")? {
            ensure!(rule["health"] == json!("ok"), "{rule}");
        }
    }
    // A cluster that was never backed up is one, and nothing else is wrong.
    let pending = ("ThetisNeverBackedUp".to_owned(), "pending".to_owned());
    let expected = BTreeMap::from([pending]);
    eventually("no other alert", LIMIT, async || {
        let alerts = prometheus.alerts().await?;
        ensure!(alerts == expected, "{alerts:?}");
        Ok(())
    })
    .await?;

    // What goes wrong shows where nothing did.
    store.odds(&[(Fault::Busy, 0.1)]);
    // A rate is seen from the second on: the first may have come before anybody looked.
    for seed in [2, 3] {
        world.sims[0].load(&table, seed, 64 << 10, 8).await?;
        world
            .api
            .done(full, "backup", json!({"location": [location]}), LIMIT)
            .await?;
        eventually("the store's refusals to be seen", LIMIT, async || {
            let refused = "thetis_store_requests_total{status=\"503\"} > 0";
            ensure!(prometheus.count(refused).await? > 0, "not yet");
            Ok(())
        })
        .await?;
    }
    store.odds(&[]);
    let nothing = json!({"location": [location], "keyspace": ["nothing.*"]});
    let task = world.api.submit(full, "backup", nothing).await?;
    let ended = world.api.ended(&task, LIMIT).await?;
    ensure!(ended.status == "ERROR", "{ended:?}");
    // An increase is seen from the second on: the first may have come before anybody looked.
    eventually("the first failure to be seen", LIMIT, async || {
        let failed = "scylla_manager_scheduler_run_total{status=\"ERROR\"} > 0";
        ensure!(prometheus.count(failed).await? > 0, "not yet");
        Ok(())
    })
    .await?;
    let again = format!("{task}/start");
    world.api.ok(Method::PUT, &again, None).await?;
    let ended = world.api.ended(&task, LIMIT).await?;
    ensure!(ended.status == "ERROR", "{ended:?}");
    let client = async_nats::connect(world.nats.url()).await?;
    let node = &world.sims[0].nodes[0].host_id;
    let run = "01920000-0000-7000-8000-00000000dead";
    let subject = format!("thetis.job.upload.{full}.{node}.{run}.0");
    client.publish(subject, "no job".into()).await?;
    client.flush().await?;
    eventually(
        "data above nothing in the quiet panels",
        LIMIT,
        async || {
            for Asked {
                panel, expression, ..
            } in &panels
            {
                if QUIET.contains(&panel.as_str()) {
                    let expression = format!("({}) > 0", filled(expression, full, ".*"));
                    let found = prometheus.count(&expression).await?;
                    ensure!(found > 0, "{panel}: {expression}");
                }
            }
            Ok(())
        },
    )
    .await?;

    for scheduler in world.find("scheduler") {
        scheduler.kill();
    }
    eventually("the loss of the leader to be seen", LIMIT, async || {
        let alerts = prometheus.alerts().await?;
        for alert in ["ThetisNoLeader", "ThetisProcessDown"] {
            ensure!(alerts.contains_key(alert), "{alerts:?}");
        }
        Ok(())
    })
    .await
}
