//! The command line.

use std::{collections::BTreeMap, path::PathBuf};

use clap::{Args, Parser, Subcommand};
use reqwest::Url;
use serde_json::{Map, Value, json};

use crate::{
    api::DEFAULT_URL,
    output::Format,
    verbs::{
        audit::AuditArgs,
        backup::BackupArgs,
        bucket::{self, BucketVerb},
        cluster::{self, ClusterVerb},
        completion::CompletionArgs,
        info::InfoArgs,
        location::{self, LocationVerb},
        progress::ProgressArgs,
        restore::RestoreArgs,
        secret::{self, SecretVerb},
        serve::ServiceArgs,
        start::StartArgs,
        stop::StopArgs,
        support_bundle::SupportBundleArgs,
        suspend::{ResumeArgs, SuspendArgs},
        tasks::TasksArgs,
        throttle::ThrottleArgs,
        token::{self, TokenVerb},
        update::UpdateArgs,
        verify::VerifyArgs,
        version,
        watch::WatchArgs,
    },
};

/// What follows the list of verbs.
const AFTER: &str = "\
Exit status:
  0    done
  1    the request failed, or the run that was waited for did not end DONE
  2    the command line makes no sense
  3    no such cluster, task, run, backup or bucket
  4    in conflict with something else: another run, a name that is taken
  5    the API or the bucket did not answer
  64   the configuration is wrong
  130  interrupted while waiting; the run goes on

Environment:
  THETIS_API_URL   the API's address, instead of --api-url
  THETIS_API_TOKEN who you are, instead of --token
  THETIS_CLUSTER   the cluster, instead of --cluster
  THETIS_CONFIG    the configuration file, instead of --config
  NO_COLOR         no colours, if set

Examples:
  thetis cluster add --name prod --host 10.0.0.1
  thetis backup -c prod -L s3:backups --wait
  thetis progress -c prod";

/// Options of every verb.
const GLOBAL: &str = "Global options";

/// Backs up ScyllaDB clusters to object storage, and restores them.
#[derive(Debug, Parser)]
#[command(name = "thetis", version, after_help = AFTER, arg_required_else_help = true, max_term_width = 100)]
pub(crate) struct Cli {
    /// The address of the scheduler's HTTP API
    #[arg(long, global = true, env = "THETIS_API_URL", hide_env_values = true, value_name = "URL",
        default_value = DEFAULT_URL, value_parser = url, help_heading = GLOBAL)]
    pub(crate) api_url: Url,
    /// Who you are, where the API asks for that; better in the environment than here
    #[arg(
        long,
        global = true,
        env = "THETIS_API_TOKEN",
        hide_env_values = true,
        value_name = "TOKEN",
        help_heading = GLOBAL
    )]
    pub(crate) token: Option<String>,
    /// Certificates to trust besides the system's, where the API speaks HTTPS (PEM)
    #[arg(long, global = true, env = "THETIS_API_CA_FILE", hide_env_values = true, value_name = "FILE", help_heading = GLOBAL)]
    pub(crate) api_ca_file: Option<PathBuf>,
    /// The certificate to show there (PEM)
    #[arg(long, global = true, env = "THETIS_API_CERT_FILE", hide_env_values = true, value_name = "FILE", requires = "api_key_file", help_heading = GLOBAL)]
    pub(crate) api_cert_file: Option<PathBuf>,
    /// Its key (PEM)
    #[arg(long, global = true, env = "THETIS_API_KEY_FILE", hide_env_values = true, value_name = "FILE", requires = "api_cert_file", help_heading = GLOBAL)]
    pub(crate) api_key_file: Option<PathBuf>,
    /// How to print results: table, json (the API's own) or yaml
    #[arg(long, short, global = true, value_enum, hide_possible_values = true, value_name = "FORMAT",
        default_value = "table", help_heading = GLOBAL)]
    pub(crate) output: Format,
    #[command(subcommand)]
    pub(crate) verb: Verb,
}

/// What to do.
#[derive(Debug, Subcommand)]
pub(crate) enum Verb {
    #[command(flatten)]
    Asking(Asking),
    #[command(flatten)]
    Running(Running),
}

/// What the API is asked for.
#[derive(Debug, Subcommand)]
pub(crate) enum Asking {
    /// Register clusters, and see how they are
    #[command(subcommand, after_help = cluster::EXAMPLES)]
    Cluster(ClusterVerb),
    /// See how the nodes of a cluster and the workers beside them are
    #[command(after_help = cluster::STATUS_EXAMPLES)]
    Status(ClusterArg),
    /// Back up a cluster, or list its backups
    Backup(Box<BackupArgs>),
    /// Restore a backup into a cluster
    Restore(Box<RestoreArgs>),
    /// Prove that backups can be restored: by names and sizes, contents, or a drill
    Verify(Box<VerifyArgs>),
    /// List the tasks of a cluster
    Tasks(TasksArgs),
    /// See how far a run is: live on a terminal, once elsewhere
    Progress(ProgressArgs),
    /// Watch the tasks of a cluster and how far their runs are
    Watch(WatchArgs),
    /// See what a task does, when, and how its last runs went
    Info(InfoArgs),
    /// Change a task
    Update(UpdateArgs),
    /// Stop a task's run; what it has done is kept
    Stop(StopArgs),
    /// Run a task again, from where its last run was stopped or failed
    Start(StartArgs),
    /// Keep the tasks of a cluster from running, as for maintenance
    Suspend(SuspendArgs),
    /// Let the tasks of a cluster run again
    Resume(ResumeArgs),
    /// Change how fast a cluster's work goes, while it runs
    Throttle(ThrottleArgs),
    /// Gather all there is to know of a run in a file, for whoever has to find out what went wrong
    SupportBundle(SupportBundleArgs),
    /// Say who may ask the API for what
    #[command(subcommand, after_help = token::EXAMPLES)]
    Token(TokenVerb),
    /// See to the credentials that are kept of clusters
    #[command(subcommand, after_help = secret::EXAMPLES)]
    Secret(SecretVerb),
    /// See who changed what
    Audit(AuditArgs),
    /// Print the versions of this tool and of the scheduler
    #[command(after_help = version::EXAMPLES)]
    Version,
}

/// What needs no API.
#[derive(Debug, Subcommand)]
pub(crate) enum Running {
    /// Look into a bucket, and bring backups home, with nothing but the bucket
    #[command(subcommand, after_help = bucket::EXAMPLES)]
    Bucket(BucketVerb),
    /// See whether a place is fit for backups
    #[command(subcommand, after_help = location::EXAMPLES)]
    Location(LocationVerb),
    /// Print a completion script for a shell
    Completion(CompletionArgs),
    /// Run the three workers beside a node, in one process
    #[command(
        after_help = "Examples:\n  thetis node\n  thetis node --config /etc/thetis/thetis.toml"
    )]
    Node(ServiceArgs),
    /// Run the scheduler and the three workers in one process, as for a laptop
    #[command(
        after_help = "Examples:\n  thetis standalone\n  thetis standalone --config thetis.toml"
    )]
    Standalone(ServiceArgs),
    /// Run the scheduler, which decides and serves the HTTP API
    #[command(after_help = "Examples:\n  thetis scheduler --config /etc/thetis/thetis.toml")]
    Scheduler(ServiceArgs),
    /// Run a snapshot-worker, which takes and lists a node's snapshots
    #[command(after_help = "Examples:\n  thetis snapshot-worker --config /etc/thetis/thetis.toml")]
    SnapshotWorker(ServiceArgs),
    /// Run an uploader, which moves a node's files to the bucket; as many as wanted share the work
    #[command(after_help = "Examples:\n  thetis uploader --config /etc/thetis/thetis.toml")]
    Uploader(ServiceArgs),
    /// Run a restore-worker, which moves files from the bucket into a node
    #[command(after_help = "Examples:\n  thetis restore-worker --config /etc/thetis/thetis.toml")]
    RestoreWorker(ServiceArgs),
}

/// How often a run that failed is tried again, and how long after, of a task that runs by itself.
const RETRIES: (u32, &str) = (3, "10m");

/// When a task runs by itself, and what is noted about it.
#[derive(Debug, Default, Args)]
#[command(next_help_heading = "Schedule")]
pub(crate) struct ScheduleArgs {
    /// When it runs: minute, hour, day of month, month, weekday; `@daily`; or `@every 6h`. At once,
    /// and once, when absent
    #[arg(long, value_name = "CRON")]
    cron: Option<String>,
    /// The time zone of --cron and --window, as Europe/Berlin; UTC when absent
    #[arg(long, value_name = "ZONE")]
    timezone: Option<String>,
    /// When it may run: begins and ends in turn, as 23:00,06:00 or SAT-00:00,MON-06:00. What does not
    /// fit in goes on in the next window
    #[arg(long, value_name = "TIMES", value_delimiter = ',')]
    window: Vec<String>,
    /// Not before this, as 2026-01-31T02:00:00Z
    #[arg(long, value_name = "TIME")]
    start_date: Option<String>,
    /// How often a run that failed is tried again; 3 times when absent
    #[arg(long, value_name = "COUNT")]
    num_retries: Option<u32>,
    /// How long to wait before the first time; doubled each time, up to 3 hours; 10m when absent
    #[arg(long, value_name = "SPAN")]
    retry_wait: Option<String>,
    /// A note on the task, as team=db; may be repeated
    #[arg(long, value_name = "KEY=VALUE", value_parser = label)]
    label: Vec<(String, String)>,
}

impl ScheduleArgs {
    /// As the API takes it; `null` for a task that runs once and at once, and whose end is awaited by
    /// whoever began it.
    pub(crate) fn body(&self) -> Value {
        if self.cron.is_none() && self.start_date.is_none() && self.window.is_empty() {
            return Value::Null;
        }
        let mut body = json!({"num_retries": RETRIES.0, "retry_wait": RETRIES.1});
        self.change(&mut body);
        body
    }

    /// Puts what is given into a schedule.
    pub(crate) fn change(&self, schedule: &mut Value) {
        for (key, given) in [
            ("cron", &self.cron),
            ("timezone", &self.timezone),
            ("start_date", &self.start_date),
            ("retry_wait", &self.retry_wait),
        ] {
            if let Some(given) = given {
                schedule[key] = json!(given);
            }
        }
        if let Some(count) = self.num_retries {
            schedule["num_retries"] = json!(count);
        }
        if !self.window.is_empty() {
            schedule["window"] = json!(self.window);
        }
    }

    /// The notes.
    pub(crate) fn labels(&self) -> BTreeMap<&str, &str> {
        let labels = self.label.iter();
        labels.map(|(k, v)| (k.as_str(), v.as_str())).collect()
    }
}

/// How fast a task goes.
#[derive(Debug, Args)]
pub(crate) struct PaceArgs {
    /// MiB per second that each node may move: [<dc>:]<number>, 0 for no limit; what its workers are
    /// set to when absent. `thetis throttle` changes it while it runs
    #[arg(long, value_name = "LIMIT", value_delimiter = ',')]
    rate_limit: Vec<String>,
    /// How many files each node moves at once; what its workers are set to when absent
    #[arg(long, value_name = "COUNT")]
    transfers: Option<u32>,
}

impl PaceArgs {
    /// Puts what is given into a task's properties.
    pub(crate) fn write(&self, properties: &mut Map<String, Value>) {
        properties.insert("rate_limit".to_owned(), json!(self.rate_limit));
        properties.insert("transfers".to_owned(), json!(self.transfers));
    }
}

/// Reads `KEY=VALUE`.
pub(crate) fn label(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((key, value)) if !key.is_empty() => Ok((key.to_owned(), value.to_owned())),
        Some(_) | None => Err("it looks like KEY=VALUE".to_owned()),
    }
}

/// Which cluster.
#[derive(Debug, Args)]
pub(crate) struct ClusterArg {
    /// The cluster, by name or id; may be left out while only one is registered
    #[arg(
        long,
        short,
        env = "THETIS_CLUSTER",
        hide_env_values = true,
        value_name = "CLUSTER"
    )]
    pub(crate) cluster: Option<String>,
}

/// An address to which paths can be added.
fn url(text: &str) -> Result<Url, String> {
    let wrong = || format!("it looks like {DEFAULT_URL}");
    let url: Url = text.parse().map_err(|e| format!("{e}; {}", wrong()))?;
    if matches!(url.scheme(), "http" | "https") {
        Ok(url)
    } else {
        Err(wrong())
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;

    use super::*;

    /// Every verb, with its words.
    fn verbs(command: &clap::Command, words: &[String]) -> Vec<(Vec<String>, clap::Command)> {
        let mut all = Vec::new();
        for verb in command
            .get_subcommands()
            .filter(|verb| verb.get_name() != "help")
        {
            let words = [words, &[verb.get_name().to_owned()]].concat();
            all.extend(verbs(verb, &words));
            all.push((words, verb.clone()));
        }
        all
    }

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn every_verb_has_examples_and_they_are_right() {
        let all = verbs(&Cli::command(), &[]);
        assert!(all.len() >= 20, "{}", all.len());
        for (words, verb) in all {
            let help = verb
                .get_after_help()
                .map(ToString::to_string)
                .unwrap_or_default();
            let examples: Vec<&str> = help
                .lines()
                .filter(|line| line.starts_with("  thetis "))
                .collect();
            assert!(
                (1..=4).contains(&examples.len()),
                "{words:?} has {} examples",
                examples.len()
            );
            for example in examples {
                let command = example
                    .split(" #")
                    .next()
                    .unwrap()
                    .split('>')
                    .next()
                    .unwrap();
                let given = command
                    .split_whitespace()
                    .map(|word| word.trim_matches('\''));
                assert!(command.contains(&words.join(" ")), "{words:?}: {example}");
                Cli::try_parse_from(given).unwrap_or_else(|e| panic!("{example}: {e}"));
            }
        }
    }

    #[test]
    fn the_reference_names_every_verb_option_and_status() {
        let text = include_str!("../../../docs/cli.md");
        for (words, verb) in verbs(&Cli::command(), &[]) {
            assert!(
                text.contains(&format!("`thetis {}", words.join(" "))),
                "docs/cli.md lacks {words:?}"
            );
            let own = verb
                .get_arguments()
                .filter(|arg| !matches!(arg.get_id().as_str(), "help" | "version"));
            for option in own.filter_map(clap::Arg::get_long) {
                assert!(
                    text.contains(&format!("--{option}")),
                    "docs/cli.md lacks --{option} of {words:?}"
                );
            }
        }
        for line in AFTER
            .lines()
            .filter(|line| line.starts_with("  ") && !line.contains("thetis "))
        {
            let word = line.split_whitespace().next().unwrap();
            assert!(
                text.contains(&format!("| `{word}` |")),
                "docs/cli.md lacks {word}"
            );
        }
    }

    #[test]
    fn an_address_must_be_one_of_http() {
        assert!(url("http://h:5080/api/v1").is_ok() && url("https://h").is_ok());
        assert!(url("localhost:5080").unwrap_err().contains("http://"));
        assert!(url("h").unwrap_err().contains("http://"));
    }
}
