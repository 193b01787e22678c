//! `thetis location`: whether a place is fit for backups.

use std::path::PathBuf;

use clap::{Args, Subcommand};
use protocol::{Location, Provider};
use serde::{Deserialize, Serialize};
use service::{Chain, Config};
use store::{Met, Need, Stores};

use crate::{
    error::{Exit, Failure},
    output::{Output, note},
    table::{Align, Columns},
};

pub(crate) const EXAMPLES: &str = "\
Examples:
  thetis location check -L s3:backups
  thetis location check -L s3:company/scylla,gcs:backups-eu --output json

Credentials and endpoints are those of the services: from the configuration file or THETIS_STORE__…
Run it where the workers run, beside each node.";

/// What to do with places.
#[derive(Debug, Subcommand)]
pub(crate) enum LocationVerb {
    /// Try everything that backups need there, and say what is missing and what grants it
    #[command(after_help = EXAMPLES)]
    Check(CheckArgs),
}

/// Which places.
#[derive(Debug, Args)]
pub(crate) struct CheckArgs {
    /// The place: [<dc>:]<provider>:<bucket>[/<prefix>]
    #[arg(
        long,
        short = 'L',
        value_name = "LOCATION",
        value_delimiter = ',',
        required = true
    )]
    location: Vec<Location>,
    /// The configuration file, of which only `store` is used
    #[arg(
        long,
        env = "THETIS_CONFIG",
        hide_env_values = true,
        value_name = "FILE"
    )]
    config: Option<PathBuf>,
}

/// One need of one place.
#[derive(Debug, Serialize, Deserialize)]
struct Row {
    location: String,
    need: String,
    /// `yes`, `no`, `untried` or `needless`.
    met: String,
    grant: String,
    cause: String,
}

pub(crate) async fn run(output: Output, verb: &LocationVerb) -> Result<(), Failure> {
    let LocationVerb::Check(args) = verb;
    let configuration = |text: String| Failure::new(Exit::Configuration, text);
    let config =
        Config::load(args.config.as_deref()).map_err(|e| configuration(Chain(&e).to_string()))?;
    let stores =
        Stores::new(config.store).map_err(|e| configuration(format!("`store`: {}", Chain(&e))))?;
    let mut rows = Vec::new();
    for location in &args.location {
        rows.extend(check(&stores, location).await?);
    }
    let lacking = rows.iter().filter(|row| row.met == "no").count();
    output.show(&rows, |rows: Vec<Row>| table(&rows, output.colour()))?;
    if lacking == 0 {
        return Ok(());
    }
    let buckets = args.location.iter().filter(|l| l.provider == Provider::S3);
    if output.for_people() {
        for location in buckets {
            note(&format!(
                "A policy that grants all of it on {}:\n{}",
                location.bucket,
                store::s3_policy(&location.bucket)
            ));
        }
    }
    Err(Failure::new(
        Exit::Failed,
        format!("{lacking} of what backups need is not there"),
    ))
}

async fn check(stores: &Stores, location: &Location) -> Result<Vec<Row>, Failure> {
    let failed = |e: store::Error| Failure::new(Exit::Failed, Chain(&e).to_string());
    let store = stores.open(location).await.map_err(failed)?;
    let scratch = std::env::temp_dir();
    let found = store.probe(&scratch).await.map_err(failed)?;
    Ok(found
        .iter()
        .map(|(need, met)| row(location, *need, met))
        .collect())
}

fn row(location: &Location, need: Need, met: &Met) -> Row {
    let (word, cause) = match met {
        Met::Yes => ("yes", String::new()),
        Met::No(error) => ("no", Chain(error).to_string()),
        Met::Untried => (
            "untried",
            "what it would need could not be written".to_owned(),
        ),
        Met::Needless => ("needless", "this provider has no such thing".to_owned()),
    };
    Row {
        location: location.remote(),
        need: need.as_str().to_owned(),
        met: word.to_owned(),
        grant: need.grant(location.provider).to_owned(),
        cause,
    }
}

fn table(rows: &[Row], colour: bool) -> String {
    let mut columns = Columns::new(
        colour,
        &[
            ("LOCATION", Align::Left),
            ("TO", Align::Left),
            ("MAY", Align::Left),
            ("GRANTED BY", Align::Left),
            ("CAUSE", Align::Left),
        ],
    );
    for row in rows {
        columns.row([
            row.location.clone(),
            row.need.clone(),
            row.met.clone(),
            row.grant.clone(),
            row.cause.clone(),
        ]);
    }
    columns.text()
}
