//! `deploy/kubernetes/`: rendered as `kubectl apply -k` does, it fits Kubernetes' schemas, holds together, asks for
//! no rights, and Thetis and nats-server take their settings. No cluster is asked.
//!
//! Where there is no kubectl, validator, or Python that reads YAML, what needs it is left out, with a notice.

#[path = "kubernetes/rendered.rs"]
mod rendered;
#[path = "kubernetes/servers.rs"]
mod servers;

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    process::Command,
};

use anyhow::{Context as _, Result, ensure};
use serde_json::{Value, json};

use self::rendered::{OTHERS_IMAGE, Rendered, name, opens, ports};
use crate::{accepts, image, list, nats_image, output, pinned, program, text, word};

const README: &str = "deploy/README.md";
/// The oldest that the manifests are for, and the newest whose schemas the validator has.
const VERSIONS: [&str; 2] = ["1.33", "1.37"];

#[test]
fn kubernetes_takes_the_manifests() -> Result<()> {
    let (Some(rendered), Some(validate)) = (Rendered::new()?, program("kubernetes-validate"))
    else {
        return Ok(());
    };
    // The validator knows what comes with Kubernetes.
    let known = rendered
        .all()
        .filter(|object| object["kind"] != json!("PodMonitor"));
    let known: Vec<String> = known.map(Value::to_string).collect();
    ensure!(known.len() > 12, "{known:?}");
    let path = rendered.dir.path().join("known.yaml");
    fs::write(&path, known.join("\n---\n"))?;
    for version in VERSIONS {
        let mut check = Command::new(&validate);
        check.args(["--strict", "-k", version]);
        let said = output(check.arg(&path))?;
        ensure!(!said.contains("ERROR"), "{said}");
    }
    Ok(())
}

#[test]
fn pods_ask_for_no_rights_and_say_what_they_use() -> Result<()> {
    let Some(rendered) = Rendered::new()? else {
        return Ok(());
    };
    let mut ours = 0;
    for (pod, container) in rendered.containers() {
        let of = name(container);
        let setting = |key: &str| match container["securityContext"].get(key) {
            Some(own) => own.clone(),
            None => pod["securityContext"][key].clone(),
        };
        ensure!(setting("runAsNonRoot") == json!(true), "{of}");
        ensure!(setting("runAsUser").as_u64() > Some(0), "{of}");
        ensure!(setting("runAsGroup").as_u64() > Some(0), "{of}");
        ensure!(
            setting("seccompProfile") == json!({"type": "RuntimeDefault"}),
            "{of}"
        );
        ensure!(setting("readOnlyRootFilesystem") == json!(true), "{of}");
        ensure!(setting("allowPrivilegeEscalation") == json!(false), "{of}");
        ensure!(setting("capabilities") == json!({"drop": ["ALL"]}), "{of}");
        for (amount, key) in [
            ("requests", "cpu"),
            ("requests", "memory"),
            ("limits", "memory"),
        ] {
            ensure!(
                container["resources"][amount].get(key).is_some(),
                "{of}: {amount}.{key}"
            );
        }
        // One name for all of Thetis, so that one line replaces it.
        let image = word(&container["image"]);
        ours += usize::from(image == OTHERS_IMAGE);
        ensure!(
            image == OTHERS_IMAGE || image == nats_image()?,
            "{of}: {image}"
        );
    }
    ensure!(ours == 2, "{ours} containers are Thetis");
    for workload in rendered
        .workloads()
        .filter(|workload| name(workload) != "scylla")
    {
        let pod = &workload["spec"]["template"]["spec"];
        // Without the variables of Services, one of which Thetis would take for a key.
        for off in ["automountServiceAccountToken", "enableServiceLinks"] {
            ensure!(pod[off] == json!(false), "{}: {off}", name(workload));
        }
    }
    for path in ["scheduler.yaml", "node/sidecar.yaml"] {
        let manifest = text(&format!("deploy/kubernetes/{path}"))?;
        ensure!(
            manifest.contains(&format!("image: {}\n", image())),
            "{path}"
        );
    }
    ensure!(pinned(&image()) && pinned(&nats_image()?));
    Ok(())
}

/// What a pod refers to: the kind, the name, and the key where there is one.
fn referred<'a>(pod: &'a Value, container: &'a Value) -> Vec<(&'static str, &'a str, &'a str)> {
    let mut found = Vec::new();
    for variable in list(&container["env"]) {
        let from = &variable["valueFrom"];
        for (kind, key) in [("Secret", "secretKeyRef"), ("ConfigMap", "configMapKeyRef")] {
            if let Some(from) = from.get(key) {
                found.push((kind, word(&from["name"]), word(&from["key"])));
            }
        }
    }
    let projected = |volume: &'a Value| list(&volume["projected"]["sources"]);
    let volumes = list(&pod["volumes"]).iter();
    for source in volumes.flat_map(|volume| std::iter::once(volume).chain(projected(volume))) {
        for (kind, key) in [("Secret", "secret"), ("ConfigMap", "configMap")] {
            let Some(from) = source.get(key) else {
                continue;
            };
            let of = name(from);
            let of = if of.is_empty() {
                word(&from["secretName"])
            } else {
                of
            };
            let items = list(&from["items"]).iter().map(|item| word(&item["key"]));
            found.extend(items.map(|item| (kind, of, item)));
            found.push((kind, of, ""));
        }
    }
    found
}

#[test]
fn what_pods_refer_to_is_there_or_the_readme_says_how_to_make_it() -> Result<()> {
    let Some(rendered) = Rendered::new()? else {
        return Ok(());
    };
    let readme = text(README)?;
    for workload in rendered.workloads() {
        let pod = &workload["spec"]["template"]["spec"];
        let claims = list(&workload["spec"]["volumeClaimTemplates"]).iter();
        let mut volumes: BTreeMap<&str, bool> = claims
            .chain(list(&pod["volumes"]))
            .map(|volume| (name(volume), false))
            .collect();
        for container in list(&pod["containers"]) {
            for mount in list(&container["volumeMounts"]) {
                let volume = volumes.get_mut(name(mount));
                *volume.with_context(|| format!("{}: {mount}", name(workload)))? = true;
            }
            for probe in ["startupProbe", "readinessProbe", "livenessProbe"] {
                let Some(probe) = container.get(probe) else {
                    continue;
                };
                ensure!(opens(workload, &probe["httpGet"]["port"]), "{probe}");
            }
            for (kind, of, key) in referred(pod, container) {
                match kind {
                    "ConfigMap" => drop(rendered.get(kind, of)?),
                    _ => ensure!(
                        readme.contains(&format!("secret generic {of} ")) && readme.contains(key),
                        "{README} does not say how to make {kind} {of} with {key}"
                    ),
                }
            }
        }
        let unused = volumes.iter().find(|(_, used)| !**used);
        ensure!(
            unused.is_none(),
            "{}: {unused:?} is not mounted",
            name(workload)
        );
    }
    Ok(())
}

/// Keys whose values nobody may read.
fn is_secret(key: &str) -> bool {
    let key = key.to_lowercase();
    [
        "password",
        "secret",
        "token",
        "access_key",
        "account_key",
        "customer_key",
    ]
    .iter()
    .any(|part| key.contains(part))
        && !key.contains("tokens_file")
}

/// A container's variables, those from Secrets with a value that suits.
fn environment(container: &Value) -> Result<BTreeMap<&str, &str>> {
    let mut all = BTreeMap::new();
    let thetis = |variable: &&Value| name(variable).starts_with("THETIS_");
    for variable in list(&container["env"]).iter().filter(thetis) {
        let (key, value) = (name(variable), word(&variable["value"]));
        // Other variables of this beginning are left alone, and would not be missed.
        ensure!(key.contains("__"), "{key} is no key");
        let secret = variable["valueFrom"].get("secretKeyRef").is_some();
        ensure!(
            secret || !is_secret(key),
            "{key} stands there for all to read"
        );
        let of_a_key = "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa";
        all.insert(key, if secret { of_a_key } else { value });
    }
    ensure!(all.len() > 2, "{all:?}");
    Ok(all)
}

/// Address and port of NATS as clients see it.
fn nats_url(rendered: &Rendered) -> Result<String> {
    let service = rendered.get("Service", "nats")?;
    let namespace = word(&service["metadata"]["namespace"]);
    let port = &service["spec"]["ports"][0]["port"];
    Ok(format!("tls://{}.{namespace}.svc:{port}", name(service)))
}

/// The scheduler's configuration. No ConfigMap holds a secret.
fn configured(rendered: &Rendered) -> Result<String> {
    let mut configured = String::new();
    for map in rendered.of_kind("ConfigMap") {
        for (file, content) in map["data"].as_object().context("data")? {
            for line in word(content).lines().map(str::trim) {
                let key = line.split(['=', ':']).next().unwrap_or_default();
                ensure!(line.starts_with('#') || !is_secret(key), "{file}: {line}");
            }
            if file == "thetis.toml" {
                word(content).clone_into(&mut configured);
            }
        }
    }
    Ok(configured)
}

#[test]
fn thetis_takes_its_settings_and_none_that_is_secret_stands_open() -> Result<()> {
    let Some(rendered) = Rendered::new()? else {
        return Ok(());
    };
    let configured = configured(&rendered)?;
    let path = rendered.dir.path().join("thetis.toml");
    fs::write(&path, &configured)?;
    let scheduler = rendered.get("Deployment", "thetis-scheduler")?;
    let container = &scheduler["spec"]["template"]["spec"]["containers"][0];
    accepts("scheduler", Some(&path), &environment(container)?)?;

    let url = nats_url(&rendered)?;
    ensure!(configured.contains(&format!("url = \"{url}\"")), "{url}");
    let servers = rendered.get("StatefulSet", "nats")?;
    let replicas = format!("replicas = {}\n", servers["spec"]["replicas"]);
    ensure!(configured.contains(&replicas), "{replicas}");
    for port in ports(scheduler) {
        let listen = format!("listen = \"0.0.0.0:{}\"", port["containerPort"]);
        ensure!(configured.contains(&listen), "{listen}");
    }
    let pod = &scheduler["spec"]["template"]["spec"];
    let (files, quoted) = (files(pod, container), configured.split('"'));
    for path in quoted.filter(|text| text.starts_with("/etc/thetis/")) {
        ensure!(files.contains(path), "{path} is none of {files:?}");
    }
    Ok(())
}

/// The files of Secrets that a container sees.
fn files(pod: &Value, container: &Value) -> BTreeSet<String> {
    let mut seen = BTreeSet::new();
    for mount in list(&container["volumeMounts"]) {
        let volumes = list(&pod["volumes"]).iter();
        let mounted = volumes.filter(|volume| name(volume) == name(mount));
        for item in mounted.flat_map(|volume| list(&volume["secret"]["items"])) {
            let (at, path) = (word(&mount["mountPath"]), word(&item["path"]));
            seen.insert(format!("{at}/{path}"));
        }
    }
    seen
}

#[test]
fn the_sidecar_takes_its_settings_and_leaves_the_database_alone() -> Result<()> {
    let Some(rendered) = Rendered::new()? else {
        return Ok(());
    };
    let scylla = rendered.get("StatefulSet", "scylla")?;
    let containers = list(&scylla["spec"]["template"]["spec"]["containers"]);
    let of = |named: &str| {
        containers
            .iter()
            .find(|one| name(one) == named)
            .context("a container")
    };
    let (database, sidecar) = (of("scylla")?, of("thetis")?);
    ensure!(containers.len() == 2, "{containers:?}");

    let variables = environment(sidecar)?;
    accepts("node", None, &variables)?;
    ensure!(variables["THETIS_NATS__URL"] == nats_url(&rendered)?);
    ensure!(variables["THETIS_NATS__PROVISION"] == "false");
    let mounts = list(&sidecar["volumeMounts"]);
    let data = &database["volumeMounts"][0];
    ensure!(mounts.contains(data), "{data} is not shared");
    for key in ["THETIS_NATS__TLS__CA", "THETIS_NATS__NKEY"] {
        let at = json!(variables[key]);
        ensure!(mounts.iter().any(|mount| mount["mountPath"] == at), "{key}");
    }
    // Each pod's user is its own.
    let own = mounts.iter().find_map(|mount| mount.get("subPathExpr"));
    let pod = list(&sidecar["env"])
        .iter()
        .find(|variable| name(variable) == "POD_NAME");
    ensure!(own == Some(&json!("$(POD_NAME)")), "{own:?}");
    ensure!(
        pod.context("POD_NAME")?["valueFrom"]["fieldRef"]["fieldPath"] == json!("metadata.name")
    );

    ensure!(
        sidecar.get("readinessProbe").is_none(),
        "it takes the pod out of its Service"
    );
    let resources = &sidecar["resources"];
    ensure!(resources["requests"] == resources["limits"], "{resources}");
    let cpu = word(&resources["limits"]["cpu"]);
    let milli: u32 = cpu.strip_suffix('m').context("thousandths")?.parse()?;
    ensure!(
        !milli.is_multiple_of(1000),
        "{cpu} takes CPUs from ScyllaDB"
    );
    Ok(())
}

#[test]
fn services_budgets_and_policies_are_about_pods_that_there_are() -> Result<()> {
    let Some(rendered) = Rendered::new()? else {
        return Ok(());
    };
    for service in rendered.of_kind("Service") {
        let selector = json!({"matchLabels": service["spec"]["selector"]});
        let pods = rendered.chosen(&selector);
        ensure!(pods.len() == 1, "{}: {}", name(service), pods.len());
        for port in list(&service["spec"]["ports"]) {
            ensure!(
                opens(pods[0], &port["targetPort"]),
                "{}: {port}",
                name(service)
            );
        }
    }
    for budget in rendered.of_kind("PodDisruptionBudget") {
        let pods = rendered.chosen(&budget["spec"]["selector"]);
        ensure!(
            pods.len() == 1 && name(pods[0]) == name(budget),
            "{}",
            name(budget)
        );
        ensure!(
            budget["spec"]["maxUnavailable"] == json!(1),
            "{}",
            name(budget)
        );
        ensure!(pods[0]["spec"]["replicas"] == json!(3), "{}", name(budget));
    }
    ensure!(rendered.of_kind("PodDisruptionBudget").count() == 2);
    for policy in rendered.of_kind("NetworkPolicy") {
        let (spec, of) = (&policy["spec"], name(policy));
        ensure!(spec["policyTypes"] == json!(["Ingress", "Egress"]), "{of}");
        let pods = rendered.chosen(&spec["podSelector"]);
        ensure!(!pods.is_empty(), "{of}");
        for port in list(&spec["ingress"])
            .iter()
            .flat_map(|rule| list(&rule["ports"]))
        {
            ensure!(
                pods.iter().all(|pods| opens(pods, &port["port"])),
                "{of}: {port}"
            );
        }
        for rule in list(&spec["ingress"]).iter().chain(list(&spec["egress"])) {
            let peers = list(&rule["from"]).iter().chain(list(&rule["to"]));
            for selector in peers.filter_map(|peer| peer.get("podSelector")) {
                ensure!(rendered.chosen(selector).len() == 1, "{of}: {selector}");
            }
        }
    }
    // All but what is for probes alone is let in.
    for workload in rendered
        .workloads()
        .filter(|workload| name(workload) != "scylla")
    {
        let policy = rendered.get("NetworkPolicy", name(workload))?;
        let let_in = list(&policy["spec"]["ingress"])
            .iter()
            .flat_map(|rule| list(&rule["ports"]));
        let let_in: Vec<&Value> = let_in.map(|port| &port["port"]).collect();
        for port in ports(workload).filter(|port| port["name"] != json!("monitor")) {
            ensure!(
                let_in.contains(&&port["containerPort"]),
                "{}: {port}",
                name(workload)
            );
        }
    }
    Ok(())
}

#[test]
fn prometheus_scrapes_by_the_names_that_alerts_know() -> Result<()> {
    let Some(rendered) = Rendered::new()? else {
        return Ok(());
    };
    let known = text("deploy/prometheus/prometheus.yml")?;
    let jobs: Vec<&str> = known
        .lines()
        .filter_map(|line| line.trim().strip_prefix("- job_name: "))
        .collect();
    ensure!(
        jobs.len() == 2 && rendered.of_kind("PodMonitor").count() == 2,
        "{jobs:?}"
    );
    for job in jobs {
        let spec = &rendered.get("PodMonitor", job)?["spec"];
        let pods = rendered.chosen(&spec["selector"]);
        ensure!(pods.len() == 1, "{job}: {}", pods.len());
        let endpoints = list(&spec["podMetricsEndpoints"]);
        ensure!(
            endpoints.len() == 1 && opens(pods[0], &endpoints[0]["port"]),
            "{job}"
        );
        let named = json!([{"targetLabel": "job", "replacement": job}]);
        ensure!(endpoints[0]["relabelings"] == named, "{job}");
        // Pods of other namespaces are looked for in all.
        let elsewhere = pods[0]["metadata"]["namespace"]
            != rendered.get("PodMonitor", job)?["metadata"]["namespace"];
        ensure!(
            elsewhere == (spec["namespaceSelector"] == json!({"any": true})),
            "{job}"
        );
    }
    Ok(())
}
