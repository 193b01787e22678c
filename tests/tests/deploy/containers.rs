//! `deploy/docker/`, `deploy/compose/` and `deploy/otel/`: those whom they are for take them, and they agree with
//! each other and with Thetis. No image is built.
//!
//! Where there is no program that checks, or no Python that reads YAML, that is left out, with a notice.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context as _, Result, ensure};
use serde_json::{Value, json};

use crate::{accepts, at, image, list, nats_image, output, pinned, program, text, word, yaml};

const DOCKERFILE: &str = "deploy/docker/Dockerfile";
const COMPOSE: &str = "deploy/compose/compose.yaml";
const COLLECTOR: &str = "deploy/otel/collector.yaml";

#[test]
fn hadolint_finds_nothing_in_the_dockerfile() -> Result<()> {
    let Some(hadolint) = program("hadolint") else {
        return Ok(());
    };
    let mut lint = Command::new(hadolint);
    lint.args(["--no-color", "--failure-threshold", "style"]);
    output(lint.arg(at(DOCKERFILE))).map(drop)
}

#[test]
fn the_image_is_of_this_version_and_runs_as_nobody_special() -> Result<()> {
    let dockerfile = text(DOCKERFILE)?;
    let said = |instruction: &str| -> Vec<&str> {
        let of = |line| str::strip_prefix(line, instruction)?.strip_prefix(' ');
        dockerfile.lines().filter_map(of).collect()
    };
    let rust = format!("rust:{}-", env!("CARGO_PKG_RUST_VERSION"));
    ensure!(said("FROM")[0].starts_with(&rust), "not built with {rust}");
    for from in said("FROM") {
        let image = from.split(' ').next().unwrap_or_default();
        ensure!(pinned(image), "{from}");
    }
    ensure!(dockerfile.contains("cargo build --release --locked --bin thetis"));
    let version = format!("VERSION={}", env!("CARGO_PKG_VERSION"));
    ensure!(said("ARG").contains(&version.as_str()), "no {version}");
    let user = said("USER").pop().context("USER")?;
    let (uid, gid) = user.split_once(':').context("a user and a group")?;
    ensure!(uid.parse::<u32>()? > 0 && gid.parse::<u32>()? > 0, "{user}");
    Ok(())
}

#[test]
fn the_build_sees_all_that_it_needs_and_no_more() -> Result<()> {
    let ignored = text("deploy/docker/Dockerfile.dockerignore")?;
    let mut lines = ignored.lines().filter(|line| !line.starts_with('#'));
    ensure!(lines.next() == Some("*"), "not all is left out at first");
    let seen: Vec<&str> = lines.filter_map(|line| line.strip_prefix('!')).collect();
    let dir = tempfile::tempdir()?;
    for path in &seen {
        output(Command::new("cp").arg("-r").arg(at(path)).arg(dir.path()))?;
    }
    // All members of the workspace, with all that their manifests name.
    let mut metadata = Command::new(env!("CARGO"));
    metadata
        .args(["metadata", "--no-deps", "--offline", "--format-version=1"])
        .current_dir(dir.path());
    let metadata: Value = serde_json::from_str(&output(&mut metadata)?)?;
    let programs = list(&metadata["packages"])
        .iter()
        .flat_map(|package| list(&package["targets"]));
    ensure!(
        programs
            .filter(|target| target["kind"] == json!(["bin"]))
            .any(|target| target["name"] == json!("thetis"))
    );
    // And what sources include.
    let mut found = 0;
    for (source, included) in includes(&at("crates"))? {
        let below = source.strip_prefix(at("."))?;
        let folder = below.parent().context("a folder")?;
        let path = dir.path().join(folder).join(&included);
        ensure!(path.try_exists()?, "{}: {included}", below.display());
        found += 1;
    }
    ensure!(found > 1, "found no includes");
    Ok(())
}

/// What is included by sources below a directory, each with its source.
fn includes(dir: &Path) -> Result<Vec<(PathBuf, String)>> {
    let mut found = Vec::new();
    for entry in fs::read_dir(dir)? {
        let path = entry?.path();
        if path.is_dir() {
            found.append(&mut includes(&path)?);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            let source = fs::read_to_string(&path)?;
            for call in ["include_str!(\"", "include_bytes!(\""] {
                let after = source.split(call).skip(1);
                let quoted = after.filter_map(|rest| rest.split_once('"'));
                found.extend(quoted.map(|(file, _)| (path.clone(), file.to_owned())));
            }
        }
    }
    Ok(found)
}

#[test]
fn compose_takes_its_file() -> Result<()> {
    let Some(check) = program("check-jsonschema") else {
        return Ok(());
    };
    let mut check = Command::new(check);
    check.args(["--builtin-schema", "vendor.compose-spec"]);
    output(check.arg(at(COMPOSE))).map(drop)
}

/// The one document of a file.
fn document(path: &Path) -> Result<Option<Value>> {
    let Some(mut documents) = yaml(path)? else {
        return Ok(None);
    };
    ensure!(documents.len() == 1, "{}", path.display());
    Ok(documents.pop())
}

/// The members of an object.
fn members(value: &Value) -> impl Iterator<Item = (&str, &Value)> {
    let members = value.as_object().into_iter().flatten();
    members.map(|(name, value)| (name.as_str(), value))
}

#[test]
fn what_compose_starts_is_there_and_heard_on_this_machine_alone() -> Result<()> {
    let Some(compose) = document(&at(COMPOSE))? else {
        return Ok(());
    };
    let mut ours = 0;
    for (name, service) in members(&compose["services"]) {
        let of = word(&service["image"]);
        ensure!(pinned(of), "{name}: {of}");
        ours += usize::from(of == image());
        ensure!(!of.contains("thetis") || of == image(), "{name}: {of}");
        ensure!(
            !of.starts_with("nats:") || of.starts_with(&nats_image()?),
            "{name}: {of}"
        );
        for port in list(&service["ports"]) {
            ensure!(word(port).starts_with("127.0.0.1:"), "{name}: {port}");
        }
        for volume in list(&service["volumes"]) {
            let from = word(volume).split(':').next().unwrap_or_default();
            let there = match from.starts_with('.') {
                true => at("deploy/compose").join(from).try_exists()?,
                false => compose["volumes"].get(from).is_some(),
            };
            ensure!(there, "{name}: {volume}");
        }
        for config in list(&service["configs"]) {
            let there = compose["configs"].get(word(&config["source"]));
            ensure!(there.is_some(), "{name}: {config}");
            // Compose copies their content into the container.
            ensure!(
                service["read_only"] != json!(true),
                "{name} cannot be written"
            );
        }
    }
    ensure!(ours == 1, "{ours} services are Thetis");
    Ok(())
}

#[test]
fn what_compose_starts_finds_each_other() -> Result<()> {
    let Some(compose) = document(&at(COMPOSE))? else {
        return Ok(());
    };
    // Whatever has an address, in settings as in files written out.
    let written = compose.to_string();
    let mut hosts = BTreeSet::new();
    for rest in written.split("://").skip(1) {
        let host = rest.split([':', '/', '"', '\\']).next().unwrap_or_default();
        hosts.insert(host);
    }
    hosts.remove("127.0.0.1");
    ensure!(hosts.len() > 3, "{hosts:?}");
    for host in hosts {
        ensure!(compose["services"].get(host).is_some(), "no service {host}");
    }

    let scheduler = &compose["services"]["scheduler"]["environment"];
    let environment: BTreeMap<&str, &str> = members(scheduler).map(|(k, v)| (k, word(v))).collect();
    accepts("scheduler", None, &environment)?;
    let login = ["THETIS_NATS__USER", "THETIS_NATS__PASSWORD"].map(|key| environment[key]);
    let users = text("deploy/nats/users.example")?;
    let known = |line: &str| line.split_whitespace().eq(login);
    ensure!(users.lines().any(known), "{login:?} is nobody");
    let Some(collector) = document(&at(COLLECTOR))? else {
        return Ok(());
    };
    let http = word(&collector["receivers"]["otlp"]["protocols"]["http"]["endpoint"]);
    let to = environment["THETIS_TELEMETRY__OTLP_ENDPOINT"];
    ensure!(
        to == format!("http://collector:{}/v1/traces", port(http)),
        "{to}"
    );
    scraped(&compose, port(environment["THETIS_ADMIN__LISTEN"]))
}

/// The port of an address.
fn port(address: &str) -> &str {
    address.rsplit(':').next().unwrap_or_default()
}

/// Prometheus takes its configuration, which has the jobs that alerts and dashboards know.
fn scraped(compose: &Value, admin: &str) -> Result<()> {
    let dir = tempfile::tempdir()?;
    let path = dir.path().join("prometheus.yml");
    fs::write(&path, word(&compose["configs"]["prometheus"]["content"]))?;
    fs::copy(
        at("deploy/prometheus/thetis.rules.yml"),
        dir.path().join("thetis.rules.yml"),
    )?;
    let known = text("deploy/prometheus/prometheus.yml")?;
    let config = document(&path)?.context("a Python that reads YAML")?;
    for job in list(&config["scrape_configs"]) {
        let name = word(&job["job_name"]);
        ensure!(known.contains(&format!("job_name: {name}\n")), "{name}");
        for target in list(&job["static_configs"][0]["targets"]) {
            ensure!(port(word(target)) == admin, "{target}");
        }
    }
    let Some(promtool) = program("promtool") else {
        return Ok(());
    };
    output(Command::new(promtool).args(["check", "config"]).arg(path)).map(drop)
}

#[test]
fn each_part_of_the_collector_is_defined_and_used() -> Result<()> {
    let Some(collector) = document(&at(COLLECTOR))? else {
        return Ok(());
    };
    let mut used = BTreeSet::new();
    for (name, pipeline) in members(&collector["service"]["pipelines"]) {
        for kind in ["receivers", "processors", "exporters"] {
            let parts = list(&pipeline[kind]);
            ensure!(!parts.is_empty(), "{name} has no {kind}");
            for part in parts {
                let there = collector[kind].get(word(part));
                ensure!(there.is_some(), "{name}: no {kind} {part}");
                used.insert((kind, word(part)));
            }
        }
        let processors = list(&pipeline["processors"]);
        ensure!(
            processors.first() == Some(&json!("memory_limiter")),
            "{name}"
        );
        ensure!(processors.last() == Some(&json!("batch")), "{name}");
    }
    for (kind, parts) in members(&collector).filter(|(kind, _)| *kind != "service") {
        for (part, _) in members(parts) {
            ensure!(used.contains(&(kind, part)), "{kind} {part} is not used");
        }
    }
    Ok(())
}
