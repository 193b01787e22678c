//! Backups that are not uploaded by the own engine: whether nodes can do it, before one begins.
//!
//! What can be done beside a node is what the uploaders there announce. A node without any is no obstacle: its
//! upload waits for one as every upload does, and that one looks again.

use std::collections::BTreeMap;

use catalog::filter::DcFilter;
use protocol::{
    BackupRequest, Cluster, ClusterNode, Location, Method, NativeUpload, NodeId, Presence,
    WorkerKind,
};

/// Nodes that are named one by one.
const NAMED: usize = 10;

/// What is in the way of a backup by `native` or `rclone`, for a person; nothing for any other.
pub(crate) fn objection(
    request: &BackupRequest,
    cluster: &Cluster,
    workers: &[Presence],
) -> Option<String> {
    let hint = match request.method {
        Method::Native => "Or use method `auto` or `agent`",
        Method::Rclone => "Or use method `agent`",
        Method::Agent | Method::Auto | Method::Tablets => return None,
    };
    let mut lacking = BTreeMap::<String, Vec<&str>>::new();
    for (node, location) in chosen(request, cluster) {
        for uploader in uploaders(node.node, workers) {
            let Err(reason) = able(request.method, uploader, location) else {
                continue;
            };
            let nodes = lacking.entry(reason).or_default();
            if !nodes.contains(&&*node.address) {
                nodes.push(&node.address);
            }
        }
    }
    if lacking.is_empty() {
        return None;
    }
    let lacking = lacking
        .into_iter()
        .map(|(reason, nodes)| format!("{}: {reason}", some(&nodes)));
    let lacking: Vec<String> = lacking.collect();
    Some(format!(
        "not every node can upload as method `{}` asks for: {}. {hint}",
        request.method,
        lacking.join("; ")
    ))
}

/// What is worth knowing before a backup by `native` or `auto` begins.
pub(crate) fn notes(
    request: &BackupRequest,
    cluster: &Cluster,
    workers: &[Presence],
) -> Vec<String> {
    let mut notes: Vec<String> = objection(request, cluster, workers).into_iter().collect();
    if !matches!(request.method, Method::Native | Method::Auto) {
        return notes;
    }
    let (mut ways, mut unlimited) = (BTreeMap::<String, Vec<&str>>::new(), Vec::new());
    for (node, location) in chosen(request, cluster) {
        let Some(uploader) = uploaders(node.node, workers).next() else {
            continue;
        };
        let able = endpoint(uploader, location);
        let native = uploader.native.clone().unwrap_or_default();
        if request.method == Method::Auto {
            let way = match native.ready(location.provider) {
                Ok(endpoint) => format!("ScyllaDB itself, to {endpoint}"),
                Err(reason) => format!("the agent, for {reason}"),
            };
            ways.entry(way).or_default().push(&node.address);
        }
        if able.is_ok() && is_unlimited(&native) {
            unlimited.push(&*node.address);
        }
    }
    for (way, nodes) in ways {
        notes.push(format!("uploads of {} go by {way}", some(&nodes)));
    }
    if !unlimited.is_empty() {
        notes.push(format!(
            "nothing limits what ScyllaDB uploads itself from {}: backup_io_throughput_mb_per_sec and \
             stream_io_throughput_mb_per_sec are 0 there",
            some(&unlimited)
        ));
    }
    notes
}

/// The nodes that are to be backed up, with where each goes.
fn chosen<'a>(
    request: &'a BackupRequest,
    cluster: &'a Cluster,
) -> impl Iterator<Item = (&'a ClusterNode, &'a Location)> {
    // A filter that cannot be read is refused elsewhere.
    let dcs = DcFilter::new(&request.dc).ok();
    cluster.nodes.iter().filter_map(move |node| {
        let chosen = dcs.as_ref().is_some_and(|dcs| dcs.takes(&node.dc));
        let location = Location::serving(&request.location, &node.dc)?;
        chosen.then_some((node, location))
    })
}

fn uploaders(node: NodeId, workers: &[Presence]) -> impl Iterator<Item = &Presence> {
    let beside = move |worker: &&Presence| worker.node == node;
    let all = workers.iter().filter(beside);
    all.filter(|worker| worker.worker == WorkerKind::Upload)
}

/// Whether an uploader has what a method needs.
fn able(method: Method, uploader: &Presence, location: &Location) -> Result<(), String> {
    match method {
        Method::Rclone => has_rclone(uploader, location),
        Method::Agent | Method::Native | Method::Auto | Method::Tablets => {
            endpoint(uploader, location).map(drop)
        }
    }
}

fn has_rclone(uploader: &Presence, location: &Location) -> Result<(), String> {
    let provider = location.provider;
    if !store::Rclone::serves(provider) {
        return Err(format!(
            "rclone does not see to it that files are on the disk, so it is not used for {provider}"
        ));
    }
    match uploader.rclone {
        Some(_) => Ok(()),
        None => Err(
            "its uploader finds no rclone; install it there, or set store.rclone.program"
                .to_owned(),
        ),
    }
}

fn endpoint(uploader: &Presence, location: &Location) -> Result<String, String> {
    let native = uploader.native.clone().unwrap_or_default();
    native.endpoint(location.provider).map(str::to_owned)
}

/// Whether neither of the node's own limits is set. What is not told is not said to be so.
fn is_unlimited(native: &NativeUpload) -> bool {
    let unset = |limit: Option<u32>| limit == Some(0);
    unset(native.backup_throughput) && native.stream_throughput.is_none_or(|limit| limit == 0)
}

fn some(nodes: &[&str]) -> String {
    let named = nodes[..nodes.len().min(NAMED)].join(", ");
    match nodes.len().saturating_sub(NAMED) {
        0 => named,
        more => format!("{named} and {more} others"),
    }
}

#[cfg(test)]
mod tests {
    use protocol::{ClusterId, NativeStore, Throttles};

    use super::*;

    fn cluster(nodes: &[(u8, &str)]) -> Cluster {
        Cluster {
            id: ClusterId::generate(),
            name: "prod".into(),
            host: "n1".into(),
            labels: BTreeMap::new(),
            nodes: nodes
                .iter()
                .map(|(number, dc)| ClusterNode {
                    node: id(*number),
                    address: format!("n{number}"),
                    dc: (*dc).to_owned(),
                    rack: "r1".into(),
                })
                .collect(),
            throttles: Throttles::default(),
        }
    }

    fn id(number: u8) -> NodeId {
        NodeId(uuid::Uuid::from_u128(number.into()))
    }

    fn uploader(number: u8, s3: Result<&str, &str>, version: &str) -> Presence {
        let s3 = NativeStore {
            endpoint: s3.ok().map(str::to_owned),
            reason: s3.err().unwrap_or_default().to_owned(),
        };
        Presence {
            node: id(number),
            worker: WorkerKind::Upload,
            instance: "one".into(),
            address: format!("n{number}"),
            dc: "dc1".into(),
            rack: "r1".into(),
            cluster_name: "prod".into(),
            version: "0.1.0".into(),
            said_ms: 0,
            rclone: None,
            native: Some(NativeUpload {
                scylla_version: version.to_owned(),
                s3,
                backup_throughput: Some(0),
                stream_throughput: Some(0),
                ..NativeUpload::default()
            }),
        }
    }

    fn request(method: Method, location: &str) -> BackupRequest {
        BackupRequest {
            location: vec![location.parse().unwrap()],
            method,
            ..BackupRequest::default()
        }
    }

    #[test]
    fn every_uploader_of_every_chosen_node_has_to_be_able() {
        let cluster = cluster(&[(1, "dc1"), (2, "dc1"), (3, "dc2")]);
        let fine = uploader(1, Ok("https://s3"), "2026.1.0");
        let lacks = |number| uploader(number, Err("add this line"), "2026.1.0");
        let old = Presence {
            native: None,
            ..uploader(2, Ok("https://s3"), "2026.1.0")
        };
        let native = request(Method::Native, "s3:backups");
        let said = |request: &BackupRequest, workers: &[Presence]| {
            objection(request, &cluster, workers).unwrap_or_default()
        };
        assert_eq!(said(&native, std::slice::from_ref(&fine)), "");
        assert_eq!(said(&native, &[]), "");
        let both = said(&native, &[fine.clone(), lacks(2), lacks(3)]);
        assert!(both.contains("n2, n3: add this line"), "{both}");
        let one = said(&native, &[fine.clone(), lacks(1)]);
        assert!(one.contains("n1: add this line"), "{one}");
        let silent = said(&native, &[fine.clone(), old]);
        assert!(silent.contains("n2: its worker does not say"), "{silent}");
        let here = BackupRequest {
            dc: vec!["dc1".into()],
            ..native
        };
        assert_eq!(said(&here, &[fine.clone(), lacks(3)]), "");
        for other in ["azure:backups", "localstorage:backups"] {
            let said = said(&request(Method::Native, other), std::slice::from_ref(&fine));
            assert!(said.contains("reaches s3 and gcs"), "{said}");
        }
        let auto = request(Method::Auto, "s3:backups");
        assert_eq!(said(&auto, &[lacks(1)]), "");
    }

    #[test]
    fn rclone_has_to_be_beside_every_chosen_node() {
        let cluster = cluster(&[(1, "dc1"), (2, "dc1")]);
        let has = Presence {
            rclone: Some("v1.75.2".into()),
            ..uploader(1, Err("add this line"), "2026.1.0")
        };
        let lacks = uploader(2, Ok("https://s3"), "2026.1.0");
        let rclone = request(Method::Rclone, "s3:backups");
        let said = |request: &BackupRequest, workers: &[Presence]| {
            objection(request, &cluster, workers).unwrap_or_default()
        };
        assert_eq!(said(&rclone, std::slice::from_ref(&has)), "");
        let told = said(&rclone, &[has.clone(), lacks.clone()]);
        assert!(
            told.contains("n2: its uploader finds no rclone") && !told.contains("n1"),
            "{told}"
        );
        assert_eq!(notes(&rclone, &cluster, &[has.clone(), lacks]), [told]);
        let local = said(&request(Method::Rclone, "localstorage:backups"), &[has]);
        assert!(local.contains("not used for localstorage"), "{local}");
    }

    #[test]
    fn what_auto_would_do_is_told_beforehand() {
        let cluster = cluster(&[(1, "dc1"), (2, "dc1"), (3, "dc1")]);
        let workers = [
            uploader(1, Ok("https://s3"), "2026.1.0"),
            uploader(2, Ok("https://s3"), "2025.1.0"),
            uploader(3, Err("add this line"), "2026.1.0"),
        ];
        let auto = request(Method::Auto, "s3:backups");
        let told = notes(&auto, &cluster, &workers).join("\n");
        for part in [
            "uploads of n1 go by ScyllaDB itself, to https://s3",
            "uploads of n2 go by the agent, for ScyllaDB 2025.1.0 is older",
            "uploads of n3 go by the agent, for add this line",
            "from n1, n2: backup_io_throughput_mb_per_sec",
        ] {
            assert!(told.contains(part), "{told}");
        }
        let agent = request(Method::Agent, "s3:backups");
        assert!(notes(&agent, &cluster, &workers).is_empty());
        let native = request(Method::Native, "s3:backups");
        let told = notes(&native, &cluster, &workers).join("\n");
        assert!(told.contains("n3: add this line"), "{told}");
    }
}
