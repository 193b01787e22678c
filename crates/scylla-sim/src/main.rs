//! The simulator's process: one line of JSON on stdout when ready, then until SIGTERM or SIGINT.

use std::net::Ipv4Addr;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, Result};
use clap::Parser;
use scylla_sim::{Cluster, Config, Endpoint, Format, Ids};
use tokio::signal::unix::{SignalKind, signal};

/// A simulated ScyllaDB cluster: REST ports of all nodes, real files, an admin port.
#[derive(Debug, Parser)]
#[command(version)]
struct Options {
    /// Where everything is kept; an existing cluster there is opened again
    #[arg(long)]
    dir: PathBuf,
    /// Nodes of each datacenter given without a number
    #[arg(long, default_value_t = 3)]
    nodes: usize,
    /// Datacenter, `name` or `name:nodes`; may be repeated
    #[arg(long = "dc", default_value = "dc1")]
    dcs: Vec<String>,
    /// Racks in each datacenter
    #[arg(long, default_value_t = 3)]
    racks: usize,
    /// Tokens of each node
    #[arg(long, default_value_t = 16)]
    vnodes: usize,
    /// Shards of each node
    #[arg(long, default_value_t = 2)]
    shards: usize,
    /// Address of the first node; the others follow
    #[arg(long)]
    base_address: Option<Ipv4Addr>,
    /// REST port of all nodes; 0 for any free one
    #[arg(long, default_value_t = 10_000)]
    api_port: u16,
    /// Admin port on 127.0.0.1; 0 for any free one
    #[arg(long, default_value_t = 0)]
    admin_port: u16,
    /// Fixes host ids and tokens
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// SSTable format
    #[arg(long, value_enum, default_value = "mt")]
    sstable_format: Format,
    /// SSTable generations
    #[arg(long, value_enum, default_value = "uuid")]
    ids: Ids,
    /// The cluster's name
    #[arg(long, default_value = "sim")]
    cluster_name: String,
    /// Answer of `scylla_release_version`
    #[arg(long)]
    release: Option<String>,
    /// From a refresh's answer until its files vanish, milliseconds
    #[arg(long, default_value_t = 200)]
    unlink_delay_ms: u64,
    /// Between two steps of a tablet-aware restore's progress, milliseconds
    #[arg(long, default_value_t = 100)]
    restore_tick_ms: u64,
    /// Let load-and-stream with `skip_cleanup` block its shard until restart
    #[arg(long)]
    wedge: bool,
    /// Clients of CQL have to log in, at first as cassandra with password cassandra
    #[arg(long)]
    cql_auth: bool,
    /// Object storage endpoint: `name=/directory`, or the URL of an S3 server, for which
    /// AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY of the environment hold as for a node
    #[arg(long = "endpoint")]
    endpoints: Vec<String>,
    /// Object storage endpoint of type `gs`: the URL of a server that asks for no credentials.
    #[arg(long = "gcs-endpoint")]
    gcs_endpoints: Vec<String>,
}

impl Options {
    fn config(self) -> Result<Config> {
        let mut config = Config::new(self.dir);
        config.datacenters = Vec::new();
        for dc in &self.dcs {
            config.datacenters.push(match dc.split_once(':') {
                Some((name, nodes)) => (
                    name.to_owned(),
                    nodes.parse().context("nodes of a datacenter")?,
                ),
                None => (dc.clone(), self.nodes),
            });
        }
        for endpoint in self.endpoints {
            let (name, value) = match endpoint.split_once('=') {
                Some((name, dir)) => (name.to_owned(), Endpoint::Dir(dir.into())),
                None => (endpoint, Endpoint::S3),
            };
            config.endpoints.insert(name, value);
        }
        for endpoint in self.gcs_endpoints {
            config.endpoints.insert(endpoint, Endpoint::Gcs);
        }
        let key = |name| std::env::var(name).ok();
        config.s3_keys = key("AWS_ACCESS_KEY_ID").zip(key("AWS_SECRET_ACCESS_KEY"));
        config.racks = self.racks;
        config.vnodes = self.vnodes;
        config.shards = self.shards.max(1);
        config.base_address = self.base_address;
        config.api_port = self.api_port;
        config.admin_port = self.admin_port;
        config.seed = self.seed;
        config.format = self.sstable_format;
        config.ids = self.ids;
        config.cluster_name = self.cluster_name;
        config.unlink_delay = Duration::from_millis(self.unlink_delay_ms);
        config.restore_tick = Duration::from_millis(self.restore_tick_ms);
        config.wedge = self.wedge;
        config.cql_auth = self.cql_auth;
        if let Some(release) = self.release {
            config.release = release;
        }
        Ok(config)
    }
}

#[tokio::main]
async fn main() -> Result<()> {
    tracing_subscriber::fmt()
        .with_env_filter(tracing_subscriber::EnvFilter::from_default_env())
        .with_writer(std::io::stderr)
        .init();
    let mut terminated = signal(SignalKind::terminate()).context("cannot watch for SIGTERM")?;
    let cluster = Cluster::start(Options::parse().config()?).await?;
    announce(&cluster);
    tokio::select! {
        _ = terminated.recv() => {}
        _ = tokio::signal::ctrl_c() => {}
    }
    cluster.shutdown().await?;
    Ok(())
}

#[expect(
    clippy::print_stdout,
    reason = "the one line by which whoever started us learns the ports"
)]
fn announce(cluster: &Cluster) {
    println!(
        "{}",
        serde_json::json!({ "admin": cluster.admin_url(), "nodes": cluster.nodes() })
    );
}
