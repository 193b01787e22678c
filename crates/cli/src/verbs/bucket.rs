//! `thetis bucket`: what lies in a bucket, with no scheduler, no NATS and no cluster: for the day
//! when the old cluster is dead.

mod coverage;
mod download;
mod files;
mod list;
mod pins;
mod schema;
mod show;
mod validate;

use std::path::PathBuf;

use bucket::{
    files::Select,
    listing::{self, Backup, Listing},
};
use catalog::{Filter, filter::DcFilter, restore::RestoreError};
use clap::{Args, Subcommand};
use protocol::{ClusterId, Location, NodeId, SnapshotTag};
use service::{Chain, Config};
use store::{Store, Stores};

pub(super) use self::schema::text as statements;

use crate::{
    error::{Exit, Failure},
    output::Output,
};

/// What to do with what lies in a bucket.
#[derive(Debug, Subcommand)]
pub(crate) enum BucketVerb {
    /// List the backups, of all clusters or of one
    List(list::ListArgs),
    /// Show one backup: nodes, tables, and what it lacks
    Show(show::ShowArgs),
    /// List the objects of a backup, for a script that copies them
    Files(files::FilesArgs),
    /// Print the schema that came with a backup
    Schema(schema::SchemaArgs),
    /// Check that backups are whole, and find what no backup needs
    Validate(validate::ValidateArgs),
    /// Bring a backup's tables to this machine, ready for `nodetool refresh`
    Download(download::DownloadArgs),
    /// Say which token ranges a backup holds, how often, and which it lacks
    Coverage(coverage::CoverageArgs),
    /// Keep a backup until it is unpinned, whatever its task's retention is
    Pin(pins::PinArgs),
    /// Leave a backup to its task's retention again
    Unpin(pins::UnpinArgs),
    /// List the pinned backups
    Pins(pins::PinsArgs),
}

pub(crate) const EXAMPLES: &str = "\
Examples:
  thetis bucket list -L s3:backups
  thetis bucket download sm_20260131235959UTC -L s3:backups -K shop --to /var/tmp/shop

Credentials and endpoints are those of the services: from the configuration file or THETIS_STORE__…";

/// Where to look.
#[derive(Debug, Args)]
struct Where {
    /// The bucket: <provider>:<bucket>[/<prefix>]; several if backups are spread over several
    #[arg(
        long,
        short = 'L',
        value_name = "LOCATION",
        value_delimiter = ',',
        required = true
    )]
    location: Vec<Location>,
    /// Only this cluster, by its id
    #[arg(long, value_name = "UUID")]
    cluster_id: Option<ClusterId>,
    /// The configuration file, of which only `store` is used
    #[arg(
        long,
        env = "THETIS_CONFIG",
        hide_env_values = true,
        value_name = "FILE"
    )]
    config: Option<PathBuf>,
}

/// Which of a backup's tables and nodes.
#[derive(Debug, Args)]
struct Choice {
    /// What: globs of <keyspace> or <keyspace>.<table>, `!` leaves out; everything when absent
    #[arg(long, short = 'K', value_name = "GLOB", value_delimiter = ',')]
    keyspace: Vec<String>,
    /// Which datacenters: globs, `!` leaves out; all when absent
    #[arg(long, value_name = "GLOB", value_delimiter = ',')]
    dc: Vec<String>,
    /// Which node, by its host id; all when absent
    #[arg(long, value_name = "UUID")]
    node: Option<NodeId>,
}

/// Does it.
pub(crate) async fn run(output: Output, verb: &BucketVerb) -> Result<(), Failure> {
    match verb {
        BucketVerb::List(args) => list::run(output, args).await,
        BucketVerb::Show(args) => show::run(output, args).await,
        BucketVerb::Files(args) => files::run(output, args).await,
        BucketVerb::Schema(args) => schema::run(output, args).await,
        BucketVerb::Validate(args) => validate::run(output, args).await,
        BucketVerb::Download(args) => download::run(output, args).await,
        BucketVerb::Coverage(args) => coverage::run(output, args).await,
        BucketVerb::Pin(args) => pins::pin(output, args).await,
        BucketVerb::Unpin(args) => pins::unpin(output, args).await,
        BucketVerb::Pins(args) => pins::list(output, args).await,
    }
}

impl Where {
    async fn open(&self) -> Result<Vec<Store>, Failure> {
        let config = Config::load(self.config.as_deref())
            .map_err(|e| configuration(Chain(&e).to_string()))?;
        let stores = Stores::new(config.store)
            .map_err(|e| configuration(format!("`store`: {}", Chain(&e))))?;
        listing::open(&stores, &self.location).await.map_err(failed)
    }

    async fn list(&self, stores: &[Store]) -> Result<Listing, Failure> {
        listing::list(stores, self.cluster_id).await.map_err(failed)
    }

    /// The one backup of a tag.
    async fn backup(&self, stores: &[Store], tag: &SnapshotTag) -> Result<Backup, Failure> {
        let listing = self.list(stores).await?;
        Ok(self.choose(&listing, tag)?.clone())
    }

    fn choose<'a>(&self, of: &'a Listing, tag: &SnapshotTag) -> Result<&'a Backup, Failure> {
        of.choose(tag, self.cluster_id).map_err(failed)
    }
}

impl Choice {
    fn select(&self) -> Result<Select, Failure> {
        Ok(Select {
            filter: filter(&self.keyspace)?,
            dcs: DcFilter::new(&self.dc).map_err(|e| usage(format!("--dc: {e}")))?,
            node: self.node,
        })
    }
}

fn filter(globs: &[String]) -> Result<Filter, Failure> {
    Filter::new(globs).map_err(|e| usage(format!("--keyspace: {e}")))
}

fn usage(message: String) -> Failure {
    Failure::new(Exit::Usage, message)
}

fn configuration(message: String) -> Failure {
    Failure::new(Exit::Configuration, message).advise("docs/configuration.md lists every key")
}

/// What a bucket's refusal means for the exit status, and what to do about it.
fn failed(error: bucket::Error) -> Failure {
    use bucket::Error;
    let message = Chain(&error).to_string();
    let of = |exit| Failure::new(exit, message.clone());
    match &error {
        Error::Store(cause) => match cause {
            store::Error::Unavailable { .. } | store::Error::Rclone { .. } => {
                of(Exit::Unreachable).passing()
            }
            store::Error::NoBucket { .. } | store::Error::NotFound { .. } => of(Exit::NotFound),
            store::Error::Settings(_) => configuration(message.clone()),
            store::Error::Denied { .. }
            | store::Error::DiskFull { .. }
            | store::Error::Corrupt { .. }
            | store::Error::Torn { .. }
            | store::Error::Refused { .. }
            | store::Error::Local { .. }
            | store::Error::TooLarge { .. }
            | store::Error::Key { .. } => of(Exit::Failed),
        },
        Error::Choice(RestoreError::NoBackup { .. }) => {
            of(Exit::NotFound).advise("`thetis bucket list` lists what there is")
        }
        Error::Choice(RestoreError::SeveralClusters { .. }) => {
            of(Exit::Usage).advise("choose one with --cluster-id")
        }
        Error::NoSchema { .. } => of(Exit::NotFound),
        Error::Choice(_)
        | Error::Delete(_)
        | Error::Manifest(_)
        | Error::Document { .. }
        | Error::Segment(_)
        | Error::Schema(_)
        | Error::Strange { .. }
        | Error::Changed { .. }
        | Error::Elsewhere { .. }
        | Error::Stopped
        | Error::Scratch(_)
        | Error::Local { .. }
        | Error::Space { .. } => of(Exit::Failed),
    }
}
