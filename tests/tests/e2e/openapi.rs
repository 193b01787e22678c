//! The API against its own OpenAPI document: thousands of requests, right and wrong ones, made from it.

use std::{
    collections::{BTreeMap, BTreeSet},
    process::Command,
    time::Duration,
};

use anyhow::{Context as _, Result, ensure};
use reqwest::Method;
use serde_json::{Value, json};
use testkit::binary;
use tests::{Options, Shape, TableSpec, World};

/// Examples for each operation in each phase.
const EXAMPLES: &str = "20";
/// Every status there is.
const STATUSES: [u64; 7] = [200, 201, 202, 400, 404, 405, 409];
/// What only reads and cannot succeed here: there is no deletion, no
/// schema was backed up, a GET is made without a body, and the
/// document itself is not asked for.
const NEVER: [&str; 6] = [
    "/api/v1/cluster/{cluster}/backups/schema",
    "/api/v1/cluster/{cluster}/backups/deletions/{run}",
    "/api/v1/cluster/{cluster}/tasks/backup/target",
    "/api/v1/cluster/{cluster}/tasks/repair/target",
    "/api/v1/cluster/{cluster}/tasks/restore/target",
    "/api/v1/openapi.json",
];
const LIMIT: Duration = Duration::from_secs(60);

#[tokio::test]
async fn no_request_breaks_the_api_or_its_document() -> Result<()> {
    let mut world = World::start(Options {
        local: true,
        ..Options::default()
    })
    .await?;
    let sim = world.add_cluster(Shape::new("prod", 1), 1).await?;
    let users = TableSpec {
        keyspace: "shop".to_owned(),
        name: "users".to_owned(),
        tablets: false,
        copies: 1,
    };
    world.sims[sim].create(std::slice::from_ref(&users)).await?;
    let id = world
        .api
        .add_cluster("prod", &world.sims[sim].nodes[0].address)
        .await?;
    world.api.workers(&id, 1, 3).await?;
    world.sims[sim].load(&users, 1, 16 << 10, 1).await?;
    let properties = json!({"location": [world.store.location()]});
    let path = world.api.submit(&id, "backup", properties).await?;
    let tag = world.api.ended(&path, LIMIT).await?.done()?.tag();
    let task = path.rsplit('/').next().unwrap_or_default();

    // Once with the names of what is there, which stays there; and once with any names.
    let config = world.dir().join("named.toml");
    let names = format!(
        "[parameters]\n\"path.cluster\" = \"{id}\"\n\"path.type\" = \"backup\"\n\"path.task\" = \"{task}\"\n\
         \"path.run\" = \"latest\"\n\"query.snapshot_tag\" = \"{tag}\"\n"
    );
    let left = "/api/v1/cluster/{cluster}";
    let [of_cluster, of_task] = [left.to_owned(), format!("{left}/task/{{type}}/{{task}}")];
    let kept = [
        ("PUT", &of_cluster),
        ("DELETE", &of_cluster),
        ("PUT", &of_task),
        ("DELETE", &of_task),
    ];
    let kept = kept.map(|(method, path)| {
        format!("[[operations]]\ninclude-name = \"{method} {path}\"\nenabled = false\n")
    });
    std::fs::write(&config, names + &kept.concat())?;
    let config = config.display().to_string();
    let named = check(&world, &["--config-file", &config]).await?;
    world.api.ok(Method::GET, &path, None).await?;
    let any = check(&world, &[]).await?;

    let document = world.api.ok(Method::GET, "/openapi.json", None).await?;
    let operations = operations(&document)?;
    let (named, any) = (answers(&operations, &named)?, answers(&operations, &any)?);
    let mut lacking = Vec::new();
    for operation @ (method, path) in &operations {
        let asked = any.contains_key(operation) || path == "/api/v1/openapi.json";
        if !asked {
            lacking.push(format!("{method} {path} was never asked"));
        }
        // The names from the file are those of what is there: what only reads succeeds.
        let reads = *method == "GET" && !NEVER.contains(&path.as_str());
        let statuses = named.get(operation).cloned().unwrap_or_default();
        if reads && !statuses.contains(&200) {
            lacking.push(format!("{method} {path} never succeeded: {statuses:?}"));
        }
    }
    ensure!(lacking.is_empty(), "{}", lacking.join("\n"));
    // Each operation's document has errors in general; so which there are is looked at here.
    for (operation, status) in named
        .iter()
        .chain(&any)
        .flat_map(|(operation, all)| all.iter().map(move |status| (operation, status)))
    {
        ensure!(STATUSES.contains(status), "{operation:?} answered {status}");
    }
    Ok(())
}

/// Methods and paths of a document.
fn operations(document: &Value) -> Result<Vec<(&'static str, String)>> {
    const METHODS: [(&str, &str); 4] = [
        ("get", "GET"),
        ("put", "PUT"),
        ("post", "POST"),
        ("delete", "DELETE"),
    ];
    let paths = document["paths"].as_object().context("paths")?;
    let all = paths.iter().flat_map(|(path, item)| {
        let there = METHODS
            .into_iter()
            .filter(move |(key, _)| item.get(key).is_some());
        there.map(|(_, method)| (method, path.clone()))
    });
    Ok(all.collect())
}

type Answers<'a> = BTreeMap<&'a (&'static str, String), BTreeSet<u64>>;

/// Which statuses each operation was answered with. Requests of other methods belong to none.
fn answers<'a>(
    operations: &'a [(&'static str, String)],
    requests: &[(String, String, u64)],
) -> Result<Answers<'a>> {
    let mut answers = Answers::new();
    for (method, path, status) in requests {
        // A name may be empty, or have a `/`: then it is another path, or none.
        let fits = |template: &str| {
            let (parts, of_template): (Vec<&str>, Vec<&str>) =
                (path.split('/').collect(), template.split('/').collect());
            let fit = |(part, of_template): (&&str, &&str)| {
                part == of_template || of_template.starts_with('{')
            };
            parts.len() == of_template.len() && parts.iter().zip(&of_template).all(fit)
        };
        let found = operations
            .iter()
            .filter(|(known, template)| known == method && fits(template));
        // That with the fewest names is meant.
        if let Some(operation) = found.min_by_key(|(_, template)| template.matches('{').count()) {
            answers.entry(operation).or_default().insert(*status);
        }
    }
    ensure!(!answers.is_empty(), "no request was noted");
    Ok(answers)
}

/// Gives method, path and status of each request.
async fn check(world: &World, more: &[&str]) -> Result<Vec<(String, String, u64)>> {
    let noted = world.dir().join("requests.har");
    let mut command = Command::new(binary("schemathesis")?);
    let (global, more): (Vec<&str>, Vec<&str>) = match more {
        [flag @ "--config-file", file, rest @ ..] => (vec![*flag, *file], rest.to_vec()),
        rest => (Vec::new(), rest.to_vec()),
    };
    command
        .args(global)
        .arg("run")
        .arg(format!("{}/openapi.json", world.api.base()))
        .args(["-n", EXAMPLES, "--phases", "examples,coverage,fuzzing"])
        .args([
            "-c",
            "not_a_server_error,status_code_conformance,content_type_conformance,response_schema_conformance",
        ])
        .arg("--report-har-path")
        .arg(&noted)
        .args(["--continue-on-failure", "--warnings", "off", "--generation-database", "none"])
        .args(more)
        .env("NO_PROXY", "*")
        .current_dir(world.dir());
    let ran = tokio::task::spawn_blocking(move || command.output()).await?;
    let ran = ran.context("running schemathesis")?;
    ensure!(
        ran.status.success(),
        "{}\n{}",
        String::from_utf8_lossy(&ran.stdout),
        String::from_utf8_lossy(&ran.stderr)
    );
    let noted: Value = serde_json::from_slice(&std::fs::read(noted)?)?;
    let entries = noted["log"]["entries"].as_array().context("requests")?;
    let request = |entry: &Value| {
        let url = entry["request"]["url"]
            .as_str()?
            .parse::<reqwest::Url>()
            .ok()?;
        let method = entry["request"]["method"].as_str()?.to_owned();
        Some((
            method,
            url.path().to_owned(),
            entry["response"]["status"].as_u64()?,
        ))
    };
    Ok(entries.iter().filter_map(request).collect())
}
