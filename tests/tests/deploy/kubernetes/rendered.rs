//! The manifests as they are applied: by somebody with an image of his own, and beside a ScyllaDB.

use std::{fs, process::Command};

use anyhow::{Context as _, Result};
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::{at, list, output, program, word, yaml};

/// What somebody who deploys writes: an image of his own, and all that there is.
const CONTROL: &str = "
resources: [../thetis]
components: [../thetis/monitoring]
images:
  - { name: thetis, newName: registry.example.com/thetis, newTag: 9.9.9 }
";
const NODES: &str = "
namespace: scylla
resources: [scylla.yaml]
components: [../thetis/node]
images:
  - { name: thetis, newName: registry.example.com/thetis, newTag: 9.9.9 }
";
pub(super) const OTHERS_IMAGE: &str = "registry.example.com/thetis:9.9.9";
const SCYLLA: &str = "
apiVersion: apps/v1
kind: StatefulSet
metadata: { name: scylla, labels: { app.kubernetes.io/name: scylla } }
spec:
  serviceName: scylla
  replicas: 3
  selector: { matchLabels: { app: scylla } }
  template:
    metadata: { labels: { app: scylla } }
    spec:
      containers:
        - name: scylla
          image: scylladb/scylla:2025.4.3
          resources: { limits: { cpu: 4, memory: 16Gi }, requests: { cpu: 4, memory: 16Gi } }
          volumeMounts: [{ name: data, mountPath: /var/lib/scylla }]
  volumeClaimTemplates:
    - metadata: { name: data }
      spec: { accessModes: [ReadWriteOnce], resources: { requests: { storage: 1Ti } } }
";

/// All manifests, rendered: those of the control plane, and those of a ScyllaDB with Thetis beside it.
pub(super) struct Rendered {
    pub(super) dir: TempDir,
    control: Vec<Value>,
    nodes: Vec<Value>,
}

impl Rendered {
    pub(super) fn new() -> Result<Option<Self>> {
        let (Some(kubectl), Some(_)) = (program("kubectl"), program("python-yaml")) else {
            return Ok(None);
        };
        let dir = tempfile::tempdir()?;
        let thetis = dir.path().join("thetis");
        output(
            Command::new("cp")
                .arg("-r")
                .arg(at("deploy/kubernetes"))
                .arg(thetis),
        )?;
        let render = |name: &str, kustomization: &str| -> Result<Vec<Value>> {
            let of = dir.path().join(name);
            fs::create_dir(&of)?;
            fs::write(of.join("kustomization.yaml"), kustomization)?;
            fs::write(of.join("scylla.yaml"), SCYLLA)?;
            let path = dir.path().join(format!("{name}.yaml"));
            fs::write(
                &path,
                output(Command::new(&kubectl).arg("kustomize").arg(of))?,
            )?;
            yaml(&path)?.context("a Python that reads YAML")
        };
        let (control, nodes) = (render("control", CONTROL)?, render("nodes", NODES)?);
        Ok(Some(Self {
            dir,
            control,
            nodes,
        }))
    }

    pub(super) fn all(&self) -> impl Iterator<Item = &Value> {
        self.control.iter().chain(&self.nodes)
    }

    pub(super) fn of_kind(&self, kind: &str) -> impl Iterator<Item = &Value> {
        self.all()
            .filter(move |object| object["kind"] == json!(kind))
    }

    pub(super) fn get(&self, kind: &str, named: &str) -> Result<&Value> {
        let mut found = self.of_kind(kind).filter(|object| name(object) == named);
        found.next().with_context(|| format!("no {kind} {named}"))
    }

    /// What makes pods.
    pub(super) fn workloads(&self) -> impl Iterator<Item = &Value> {
        self.of_kind("Deployment")
            .chain(self.of_kind("StatefulSet"))
    }

    /// Pods of ours and of NATS, with their containers.
    pub(super) fn containers(&self) -> impl Iterator<Item = (&Value, &Value)> {
        let pods = self
            .workloads()
            .map(|workload| &workload["spec"]["template"]["spec"]);
        let each = pods.flat_map(|pod| list(&pod["containers"]).iter().map(move |one| (pod, one)));
        each.filter(|(_, container)| name(container) != "scylla")
    }

    /// The workloads whose pods have these labels.
    pub(super) fn chosen<'a>(&'a self, selector: &'a Value) -> Vec<&'a Value> {
        let wanted = selector["matchLabels"]
            .as_object()
            .cloned()
            .unwrap_or_default();
        let has = |workload: &&Value| {
            let labels = &workload["spec"]["template"]["metadata"]["labels"];
            wanted
                .iter()
                .all(|(label, value)| labels.get(label) == Some(value))
        };
        self.workloads().filter(has).collect()
    }
}

/// The name of an object, or of a part of one.
pub(super) fn name(object: &Value) -> &str {
    let metadata = object.get("metadata").unwrap_or(object);
    word(&metadata["name"])
}

/// The ports of a workload's containers.
pub(super) fn ports(workload: &Value) -> impl Iterator<Item = &Value> {
    let containers = list(&workload["spec"]["template"]["spec"]["containers"]);
    containers
        .iter()
        .flat_map(|container| list(&container["ports"]))
}

/// Whether a workload has a port of this name or number.
pub(super) fn opens(workload: &Value, port: &Value) -> bool {
    ports(workload).any(|open| open["name"] == *port || open["containerPort"] == *port)
}
