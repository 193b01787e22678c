//! Who the node is, and what it knows of its cluster.

use std::collections::BTreeMap;

use protocol::{NodeId, TableRef};
use reqwest::Method;
use serde::Deserialize;

use super::Node;
use crate::Error;

/// Which keyspaces to list.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Keyspaces {
    /// Those that users made.
    User,
    /// Those that are kept on more than the node itself.
    NonLocal,
}

/// How a keyspace is spread over nodes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Replication {
    /// By vnodes.
    Vnodes,
    /// By tablets.
    Tablets,
}

/// A token range and the nodes that hold it.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub struct Range {
    /// Exclusive; a decimal number, or empty at the ring's open end.
    pub start_token: String,
    /// Inclusive; as `start_token`.
    pub end_token: String,
    /// Addresses of the replicas.
    #[serde(default)]
    pub endpoints: Vec<String>,
}

impl Range {
    /// Its tokens as numbers, the ring's ends as the least and the greatest; `None` if they are none.
    #[must_use]
    pub fn tokens(&self) -> Option<(i64, i64)> {
        let read = |text: &str, open: i64| match text {
            "" => Some(open),
            text => text.parse().ok(),
        };
        Some((
            read(&self.start_token, i64::MIN)?,
            read(&self.end_token, i64::MAX)?,
        ))
    }
}

#[derive(Deserialize)]
pub(super) struct Pair<T> {
    pub(super) key: String,
    pub(super) value: T,
}

impl Node {
    /// ScyllaDB's version.
    ///
    /// # Errors
    /// As for every call: [`Error`].
    pub async fn version(&self) -> Result<String, Error> {
        self.get(
            &["storage_service", "scylla_release_version"],
            "tell its version",
        )
        .await
    }

    /// The cluster's name, as the node has it.
    ///
    /// # Errors
    /// As for every call: [`Error`].
    pub async fn cluster_name(&self) -> Result<String, Error> {
        self.get(
            &["storage_service", "cluster_name"],
            "tell its cluster's name",
        )
        .await
    }

    /// The node's own host id.
    ///
    /// # Errors
    /// [`Error::NotReady`] while it has none yet.
    pub async fn local_host_id(&self) -> Result<NodeId, Error> {
        self.get(&["storage_service", "hostid", "local"], "tell its host id")
            .await
    }

    /// Every node of the cluster: address and host id.
    ///
    /// # Errors
    /// As for every call: [`Error`].
    pub async fn host_ids(&self) -> Result<BTreeMap<String, NodeId>, Error> {
        let attempt = "list the cluster's nodes";
        let pairs: Vec<Pair<NodeId>> = self.get(&["storage_service", "host_id"], attempt).await?;
        Ok(pairs
            .into_iter()
            .map(|pair| (pair.key, pair.value))
            .collect())
    }

    /// The address under which the cluster knows `node`.
    ///
    /// # Errors
    /// [`Error::Answer`] if the cluster does not know it.
    pub async fn address_of(&self, node: NodeId) -> Result<String, Error> {
        let all = self.host_ids().await?;
        all.into_iter()
            .find_map(|(address, id)| (id == node).then_some(address))
            .ok_or_else(|| Error::Answer {
                attempt: "list the cluster's nodes".to_owned(),
                cause: format!("node {node} is not among them"),
            })
    }

    /// Addresses of the nodes this one sees alive.
    ///
    /// # Errors
    /// As for every call: [`Error`].
    pub async fn live(&self) -> Result<Vec<String>, Error> {
        self.get(&["gossiper", "endpoint", "live"], "list live nodes")
            .await
    }

    /// Addresses of the nodes this one sees down.
    ///
    /// # Errors
    /// As for every call: [`Error`].
    pub async fn down(&self) -> Result<Vec<String>, Error> {
        self.get(
            &["gossiper", "endpoint", "down"],
            "list nodes that are down",
        )
        .await
    }

    /// What the node is about, as in `NORMAL` or `DRAINING`.
    ///
    /// # Errors
    /// As for every call: [`Error`].
    pub async fn operation_mode(&self) -> Result<String, Error> {
        self.get(&["storage_service", "operation_mode"], "tell its state")
            .await
    }

    /// Addresses of the nodes that are joining or leaving.
    ///
    /// # Errors
    /// As for every call: [`Error`].
    pub async fn moving(&self) -> Result<Vec<String>, Error> {
        let mut moving: Vec<String> = Vec::new();
        for state in ["joining", "leaving"] {
            moving.extend(
                self.get::<Vec<String>>(&["storage_service", "nodes", state], "list moving nodes")
                    .await?,
            );
        }
        Ok(moving)
    }

    /// The datacenter of the node at `address`.
    ///
    /// # Errors
    /// [`Error::NotReady`] if the node does not know it: it has not heard of that one yet.
    pub async fn datacenter(&self, address: &str) -> Result<String, Error> {
        self.place("datacenter", address).await
    }

    /// The rack of the node at `address`.
    ///
    /// # Errors
    /// [`Error::NotReady`] if the node does not know it: it has not heard of that one yet.
    pub async fn rack(&self, address: &str) -> Result<String, Error> {
        self.place("rack", address).await
    }

    /// Asks where a node is. Of one it does not know a node says `UNKNOWN_DC` or `UNKNOWN_RACK`.
    async fn place(&self, what: &str, address: &str) -> Result<String, Error> {
        let attempt = format!("tell the {what} of {address}");
        let call = self.call(Method::GET, &["snitch", what], attempt.clone());
        let place: String = call.with("host", address).read().await?;
        if place.starts_with("UNKNOWN_") {
            let api = self.api.clone();
            return Err(Error::NotReady { api, attempt });
        }
        Ok(place)
    }

    /// Names of keyspaces.
    ///
    /// # Errors
    /// As for every call: [`Error`].
    pub async fn keyspaces(
        &self,
        which: Keyspaces,
        replication: Replication,
    ) -> Result<Vec<String>, Error> {
        let which = match which {
            Keyspaces::User => "user",
            Keyspaces::NonLocal => "non_local_strategy",
        };
        let replication = match replication {
            Replication::Vnodes => "vnodes",
            Replication::Tablets => "tablets",
        };
        let call = self.call(
            Method::GET,
            &["storage_service", "keyspaces"],
            "list keyspaces",
        );
        call.with("type", which)
            .with("replication", replication)
            .read()
            .await
    }

    /// Every table of every keyspace, views and tables behind indexes among them.
    ///
    /// # Errors
    /// As for every call: [`Error`].
    pub async fn tables(&self) -> Result<Vec<TableRef>, Error> {
        let attempt = "list tables";
        let names: Vec<String> = self.get(&["column_family", "name"], attempt).await?;
        let read = |name: String| match name.split_once(':') {
            Some((keyspace, table)) => Ok(TableRef {
                keyspace: keyspace.to_owned(),
                table: table.to_owned(),
            }),
            None => Err(Error::Answer {
                attempt: attempt.to_owned(),
                cause: format!("`{name}` has no keyspace"),
            }),
        };
        names.into_iter().map(read).collect()
    }

    /// The token ranges of a keyspace spread by vnodes, or of one table spread by tablets.
    ///
    /// # Errors
    /// As for every call: [`Error`].
    pub async fn ranges(&self, keyspace: &str, table: Option<&str>) -> Result<Vec<Range>, Error> {
        let attempt = format!("describe the ring of {keyspace}");
        let mut call = self.call(
            Method::GET,
            &["storage_service", "describe_ring", keyspace],
            attempt,
        );
        if let Some(table) = table {
            call = call.with("table", table);
        }
        call.read().await
    }

    /// The tokens of the node at `address`.
    ///
    /// # Errors
    /// As for every call: [`Error`].
    pub async fn tokens(&self, address: &str) -> Result<Vec<i64>, Error> {
        let attempt = "list tokens";
        let tokens: Vec<String> = self
            .get(&["storage_service", "tokens", address], attempt)
            .await?;
        let read = |token: String| {
            token.parse().map_err(|_| Error::Answer {
                attempt: attempt.to_owned(),
                cause: format!("`{token}` is no token"),
            })
        };
        tokens.into_iter().map(read).collect()
    }

    /// How many shards the node has.
    ///
    /// # Errors
    /// As for every call: [`Error`].
    pub async fn shards(&self) -> Result<u32, Error> {
        let nodes: Vec<i64> = self
            .get(
                &["system", "shard_to_numa_node_mapping"],
                "count its shards",
            )
            .await?;
        Ok(u32::try_from(nodes.len()).unwrap_or(u32::MAX))
    }

    /// Milliseconds since ScyllaDB was started.
    ///
    /// # Errors
    /// As for every call: [`Error`].
    pub async fn uptime_ms(&self) -> Result<u64, Error> {
        self.get(&["system", "uptime_ms"], "tell since when it runs")
            .await
    }

    /// An entry of the node's configuration, as JSON.
    ///
    /// # Errors
    /// [`Error::Refused`](Error) if there is no such entry.
    pub async fn setting(&self, name: &str) -> Result<serde_json::Value, Error> {
        let attempt = format!("tell its `{name}`");
        self.call(Method::GET, &["v2", "config", name], attempt)
            .read()
            .await
    }

    /// Where the node says that its metrics are, as in `http://10.0.0.1:9180/metrics`.
    ///
    /// # Errors
    /// As for every call: [`Error`]; [`Error::Answer`] if it has none.
    pub async fn metrics_url(&self) -> Result<String, Error> {
        let port = self.setting("prometheus_port").await?;
        let none = || Error::Answer {
            attempt: "tell where its metrics are".to_owned(),
            cause: format!("prometheus_port is {port}"),
        };
        let number = port.as_u64().filter(|port| *port > 0).ok_or_else(none)?;
        let address = self.setting("prometheus_address").await?;
        let own = reqwest::Url::parse(self.api()).ok();
        let own = own.and_then(|url| url.host_str().map(str::to_owned));
        let host = match address.as_str() {
            // It listens on all addresses, so also on the one where its API answers.
            None | Some("" | "0.0.0.0" | "::") => own.ok_or_else(none)?,
            Some(address) if address.contains(':') => format!("[{address}]"),
            Some(address) => address.to_owned(),
        };
        Ok(format!("http://{host}:{number}/metrics"))
    }

    /// The node's data directory: the first, should there be several.
    ///
    /// # Errors
    /// [`Error::Answer`] if it names none.
    pub async fn data_directory(&self) -> Result<std::path::PathBuf, Error> {
        let attempt = "tell its data directory";
        let all: Vec<String> = self
            .get(&["v2", "config", "data_file_directories"], attempt)
            .await?;
        let none = || Error::Answer {
            attempt: attempt.to_owned(),
            cause: "it names none".to_owned(),
        };
        all.into_iter().next().map(Into::into).ok_or_else(none)
    }

    /// Switches the cluster's tablet balancing. Switching it off waits for migrations under way.
    ///
    /// # Errors
    /// As for every call: [`Error`].
    pub async fn set_balancing(&self, enabled: bool) -> Result<(), Error> {
        let attempt = if enabled {
            "switch tablet balancing on"
        } else {
            "switch tablet balancing off"
        };
        let call = self.call(
            Method::POST,
            &["storage_service", "tablets", "balancing"],
            attempt,
        );
        call.with("enabled", enabled.to_string())
            .within(super::LONG)
            .done()
            .await
    }

    pub(super) async fn get<T: serde::de::DeserializeOwned>(
        &self,
        path: &[&str],
        attempt: &str,
    ) -> Result<T, Error> {
        self.call(Method::GET, path, attempt).read().await
    }
}
