//! The configuration: one file for all services, each key overridable from the environment.
//!
//! The file is TOML or YAML. A key `nats.url` is `THETIS_NATS__URL` in the environment, which wins.
//! Every key has a default that suits a laptop.

use std::path::{Path, PathBuf};

use protocol::Location;
use serde::Deserialize;

/// Read when no other file is named and it is there.
const DEFAULT_FILE: &str = "/etc/thetis/thetis.toml";

/// Keys that hold lists, in the environment with commas between.
const LISTS: [&str; 2] = ["scheduler.locations", "scheduler.old_secret_keys"];

/// Everything that can be configured.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// How to reach NATS.
    pub nats: queue::Settings,
    /// How to reach object stores.
    pub store: store::Settings,
    /// The ScyllaDB node beside which the workers run.
    pub node: NodeConfig,
    /// How workers log in to the database.
    pub cql: CqlConfig,
    /// The scheduler's own.
    pub scheduler: SchedulerConfig,
    /// The uploader's own.
    pub uploader: UploaderConfig,
    /// The restore-worker's own.
    pub restore: RestoreConfig,
    /// Threads and CPUs.
    pub runtime: RuntimeConfig,
    /// Logs.
    pub log: LogConfig,
    /// Metrics and health.
    pub admin: AdminConfig,
    /// Traces.
    pub telemetry: TelemetryConfig,
    /// Who is told how runs end.
    pub notify: NotifyConfig,
}

/// `node.*`: the ScyllaDB node beside which the workers run.
#[derive(Clone, Debug, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct NodeConfig {
    /// The node's REST API.
    pub api: String,
    /// The data directory as the workers see it; what the node itself says when unset.
    pub data_dir: Option<PathBuf>,
    /// The node's metrics, as in `http://127.0.0.1:9180/metrics`; where the node itself says when
    /// unset.
    pub metrics: Option<String>,
}

impl Default for NodeConfig {
    fn default() -> Self {
        Self {
            api: "http://127.0.0.1:10000".to_owned(),
            data_dir: None,
            metrics: None,
        }
    }
}

/// `cql.*`: how workers log in to the database, to store schemas and to restore.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct CqlConfig {
    /// The user; none where the database asks for none.
    pub username: Option<String>,
    /// Its password.
    pub password: Option<queue::Secret>,
    /// The port; what the node itself says when unset.
    pub port: Option<u16>,
    /// Authorities whose certificates are believed, in PEM; anybody's when unset. Used only where the
    /// node wants TLS, as are the following.
    pub tls_ca: Option<PathBuf>,
    /// Whether a certificate must also be for the node's address.
    pub tls_check_address: bool,
    /// The certificate to show, in PEM, with those it follows from.
    pub tls_cert: Option<PathBuf>,
    /// The key of `tls_cert`, in PEM.
    pub tls_key: Option<PathBuf>,
}

/// `scheduler.*`.
#[derive(Clone, Debug, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct SchedulerConfig {
    /// Where the HTTP API listens.
    pub listen: String,
    /// Seconds between two looks at all open runs.
    pub sweep_secs: u64,
    /// Seconds between two looks at how nodes answer and what waits in the queue, for metrics.
    pub health_secs: u64,
    /// Hours after which a backup that was left off begins anew, and is not gone on with: for as long its
    /// snapshots hold disk space. For ever if this is 0.
    pub continue_hours: u32,
    /// Days after which backups of tasks go that nobody knows; they stay if this is 0.
    pub unknown_retention_days: u32,
    /// Where to look for clusters, tasks and open runs when NATS has lost them.
    pub locations: Vec<Location>,
    /// Who may ask the API for what: lines of role, name and token. Without it, anybody may ask for
    /// anything.
    pub tokens_file: Option<PathBuf>,
    /// What credentials of clusters are encrypted with: 64 hexadecimal digits.
    pub secret_key: Option<queue::Secret>,
    /// What they were encrypted with before, until they are encrypted anew.
    pub old_secret_keys: Vec<queue::Secret>,
    /// TLS of the API; plain HTTP without.
    pub tls: TlsConfig,
    /// What a GiB costs to be kept for a month, for estimates.
    pub price_gib_month: f64,
    /// What a thousand objects cost to be written, for estimates.
    pub price_1000_puts: f64,
}

/// `scheduler.tls.*`: files, all PEM.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct TlsConfig {
    /// The certificate to show, with those it follows from; needs `key`.
    pub cert: Option<PathBuf>,
    /// The key of `cert`.
    pub key: Option<PathBuf>,
    /// Clients must show a certificate that follows from one of these.
    pub client_ca: Option<PathBuf>,
    /// What those may do: `viewer`, `operator` or `admin`.
    pub client_role: Option<String>,
}

impl Default for SchedulerConfig {
    fn default() -> Self {
        Self {
            listen: "127.0.0.1:5080".to_owned(),
            sweep_secs: 5,
            health_secs: 15,
            continue_hours: 24,
            unknown_retention_days: 0,
            locations: Vec::new(),
            tokens_file: None,
            secret_key: None,
            old_secret_keys: Vec::new(),
            tls: TlsConfig::default(),
            price_gib_month: 0.023,
            price_1000_puts: 0.005,
        }
    }
}

/// `uploader.*`.
#[derive(Clone, Debug, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct UploaderConfig {
    /// Chunks in hand at once.
    pub slots: usize,
    /// Files of one chunk under way at once.
    pub transfers: usize,
    /// The most that is read from the node's disk for the bucket, in MiB per second, whatever tasks
    /// and operators want; 0 is for no limit. Uploaders of one node share it.
    pub rate_limit: u32,
    /// Whether uploads make way for the node's database, as its metrics show that it needs it.
    pub adaptive: bool,
    /// How fast they go, in MiB per second, while those metrics cannot be had.
    pub safe_rate: u32,
    /// Whether files that ScyllaDB uploads itself are read beforehand and compared with their digests.
    pub native_check: bool,
}

impl Default for UploaderConfig {
    fn default() -> Self {
        Self {
            slots: 2,
            transfers: 128,
            rate_limit: 0,
            adaptive: true,
            safe_rate: 100,
            native_check: true,
        }
    }
}

/// `restore.*`.
#[derive(Clone, Debug, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct RestoreConfig {
    /// Batches in hand at once; one loads while others download.
    pub slots: usize,
    /// Files of one batch under way at once.
    pub transfers: usize,
    /// The most that is written to the node's disk from the bucket, in MiB per second, whatever tasks
    /// and operators want; 0 is for no limit. Workers of one node share it.
    pub rate_limit: u32,
    /// Disk space that must stay free on the node, in percent.
    pub min_free_percent: u8,
}

impl Default for RestoreConfig {
    fn default() -> Self {
        Self {
            slots: 4,
            transfers: 16,
            rate_limit: 0,
            min_free_percent: 10,
        }
    }
}

/// `runtime.*`.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct RuntimeConfig {
    /// Threads that work at once; as many as there are CPUs when 0.
    pub threads: usize,
    /// CPUs that may be used, as in `0-3,8`; all when unset. Best those that the database leaves.
    pub cpus: Option<String>,
}

/// `log.*`.
#[derive(Clone, Debug, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct LogConfig {
    /// What to log: `info`, or directives such as `info,uploader=debug`.
    pub level: String,
    /// How to write it.
    pub format: LogFormat,
}

impl Default for LogConfig {
    fn default() -> Self {
        Self {
            level: "info".to_owned(),
            format: LogFormat::Text,
        }
    }
}

/// How a log line looks.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LogFormat {
    /// For people.
    #[default]
    Text,
    /// One JSON object a line.
    Json,
}

/// `admin.*`.
#[derive(Clone, Debug, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct AdminConfig {
    /// Where `/metrics`, `/healthz` and `/readyz` answer. Port 0 takes any free one and logs it.
    pub listen: String,
}

impl Default for AdminConfig {
    fn default() -> Self {
        Self {
            listen: "127.0.0.1:0".to_owned(),
        }
    }
}

/// `telemetry.*`.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct TelemetryConfig {
    /// Where traces go by OTLP over HTTP, as in `http://127.0.0.1:4318/v1/traces`; nowhere when unset.
    pub otlp_endpoint: Option<String>,
}

/// `notify.*`: who is told how runs end.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct NotifyConfig {
    /// Programs that are told by HTTP.
    pub webhooks: Vec<WebhookConfig>,
}

/// `notify.webhooks[].*`: a program that is told by HTTP.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct WebhookConfig {
    /// Where it listens. May hold a secret.
    pub url: queue::Secret,
    /// What is sent is signed with; at least 16 characters.
    #[serde(default)]
    pub secret: Option<queue::Secret>,
    /// Types of tasks it wants to hear of; of all when empty.
    #[serde(default)]
    pub types: Vec<String>,
    /// Statuses it wants to hear of, as `ERROR`; of all when empty.
    #[serde(default)]
    pub outcomes: Vec<String>,
}

impl WebhookConfig {
    fn check(&self) -> Result<(), String> {
        let url = self.url.expose();
        if !url.starts_with("http://") && !url.starts_with("https://") {
            return Err("a `url` begins with https:// or http://".to_owned());
        }
        let short = |secret: &queue::Secret| secret.expose().len() < 16;
        if self.secret.as_ref().is_some_and(short) {
            return Err("a `secret` has at least 16 characters".to_owned());
        }
        let types = [
            "backup",
            "restore",
            "validate_backup",
            "delete_backup",
            "clear_snapshots",
            "suspend",
        ];
        let outcomes = ["DONE", "ERROR", "STOPPED", "WAITING", "ABORTED"];
        for (key, given, known) in [
            ("types", &self.types, &types[..]),
            ("outcomes", &self.outcomes, &outcomes),
        ] {
            for word in given {
                if !known.iter().any(|known| known.eq_ignore_ascii_case(word)) {
                    return Err(format!(
                        "`{key}` has `{word}`; known are {}",
                        known.join(", ")
                    ));
                }
            }
        }
        Ok(())
    }
}

/// Why the configuration can't be used.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// The file or the environment has something no key takes.
    #[error(
        "configuration{}: {cause} (a key `a.b` is THETIS_A__B in the environment)",
        file.as_ref().map(|f| format!(" {}", f.display())).unwrap_or_default()
    )]
    Read {
        /// The file, if one was read.
        file: Option<PathBuf>,
        /// What the reader says; it names the key.
        cause: String,
    },
    /// A value is out of range.
    #[error("configuration key `{key}` (THETIS_{}): {reason}", key.to_uppercase().replace('.', "__"))]
    Value {
        /// The key.
        key: &'static str,
        /// What is wrong with it.
        reason: String,
    },
}

impl Config {
    /// Reads `file`, else the default file if it is there, then the environment.
    ///
    /// # Errors
    /// [`ConfigError`], which names the key.
    pub fn load(file: Option<&Path>) -> Result<Self, ConfigError> {
        let environment = std::env::vars_os()
            .filter_map(|(k, v)| Some((k.into_string().ok()?, v.into_string().ok()?)));
        Self::load_from(file, environment.collect())
    }

    fn load_from(
        file: Option<&Path>,
        mut environment: config::Map<String, String>,
    ) -> Result<Self, ConfigError> {
        environment.retain(|name, _| is_key(name));
        let default = Path::new(DEFAULT_FILE);
        let file = file.or_else(|| default.try_exists().unwrap_or(false).then_some(default));
        let mut builder = config::Config::builder();
        if let Some(path) = file {
            builder = builder.add_source(config::File::from(path));
        }
        for key in LISTS {
            let name = format!("THETIS_{}", key.to_uppercase().replace('.', "__"));
            if let Some(text) = environment.remove(&name) {
                let items: Vec<String> = text.split(',').map(str::to_owned).collect();
                let set = builder.set_override(key, items);
                builder = set.map_err(|e| ConfigError::Read {
                    file: None,
                    cause: e.to_string(),
                })?;
            }
        }
        // Texts stay texts until a key wants a number: a password may look like one.
        let environment = config::Environment::with_prefix("THETIS")
            .prefix_separator("_")
            .separator("__")
            .source(Some(environment));
        let read = builder
            .add_source(environment)
            .build()
            .and_then(config::Config::try_deserialize);
        let config: Self = read.map_err(|e| ConfigError::Read {
            file: file.map(Path::to_owned),
            cause: e.to_string(),
        })?;
        config.validate()?;
        Ok(config)
    }

    fn validate(&self) -> Result<(), ConfigError> {
        let positive = |key, value: usize| {
            let reason = "must be at least 1".to_owned();
            if value == 0 {
                Err(ConfigError::Value { key, reason })
            } else {
                Ok(())
            }
        };
        positive("uploader.slots", self.uploader.slots)?;
        positive("uploader.transfers", self.uploader.transfers)?;
        positive("restore.slots", self.restore.slots)?;
        positive("restore.transfers", self.restore.transfers)?;
        for (key, secs) in [
            ("scheduler.sweep_secs", self.scheduler.sweep_secs),
            ("scheduler.health_secs", self.scheduler.health_secs),
        ] {
            positive(key, usize::from(secs > 0))?;
        }
        positive("uploader.safe_rate", self.uploader.safe_rate as usize)?;
        if let Some(Err(reason)) = self.runtime.cpus.as_deref().map(crate::runtime::parse) {
            return Err(ConfigError::Value {
                key: "runtime.cpus",
                reason,
            });
        }
        for hook in &self.notify.webhooks {
            hook.check().map_err(|reason| ConfigError::Value {
                key: "notify.webhooks",
                reason,
            })?;
        }
        if self.restore.min_free_percent > 90 {
            return Err(ConfigError::Value {
                key: "restore.min_free_percent",
                reason: "must be 0 to 90".to_owned(),
            });
        }
        if self.cql.tls_cert.is_some() != self.cql.tls_key.is_some() {
            return Err(ConfigError::Value {
                key: "cql.tls_cert",
                reason: "goes with `cql.tls_key`: set both or neither".to_owned(),
            });
        }
        if self.cql.password.is_some() && self.cql.username.is_none() {
            return Err(ConfigError::Value {
                key: "cql.username",
                reason: "is missing, though `cql.password` is set".to_owned(),
            });
        }
        if !self.node.api.starts_with("http://") && !self.node.api.starts_with("https://") {
            let reason = format!(
                "`{}` is no URL; it looks like http://127.0.0.1:10000",
                self.node.api
            );
            return Err(ConfigError::Value {
                key: "node.api",
                reason,
            });
        }
        Ok(())
    }
}

/// Whether a variable is meant to be a key. Others of ours are not: `THETIS_CONFIG`,
/// `THETIS_API_URL`. One that begins like a key is, so that a missing underscore is found.
fn is_key(name: &str) -> bool {
    const SECTIONS: [&str; 12] = [
        "NATS",
        "STORE",
        "NODE",
        "CQL",
        "RUNTIME",
        "SCHEDULER",
        "UPLOADER",
        "RESTORE",
        "LOG",
        "ADMIN",
        "TELEMETRY",
        "NOTIFY",
    ];
    let begins = |rest: &str, section| {
        rest.strip_prefix(section)
            .is_some_and(|r| r.starts_with('_'))
    };
    name.strip_prefix("THETIS_").is_some_and(|rest| {
        rest.contains("__") || SECTIONS.iter().any(|section| begins(rest, section))
    })
}

/// The documentation of every key, as `--help-config` prints it: `docs/configuration.md`.
#[must_use]
pub fn reference() -> &'static str {
    include_str!("../../../docs/configuration.md")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn load(file: &str, environment: &[(&str, &str)]) -> Result<Config, ConfigError> {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("thetis.toml");
        std::fs::write(&path, file).unwrap();
        let environment = environment
            .iter()
            .map(|(k, v)| ((*k).to_owned(), (*v).to_owned()))
            .collect();
        Config::load_from(Some(&path), environment)
    }

    #[test]
    fn the_environment_wins_over_the_file() {
        let config = load(
            "[nats]\nurl = \"nats://file:4222\"\n[uploader]\nslots = 3",
            &[
                ("THETIS_NATS__URL", "nats://env:4222"),
                ("THETIS_SCHEDULER__LOCATIONS", "s3:a,dc1:gcs:b"),
                ("THETIS_UPLOADER__TRANSFERS", "5"),
            ],
        )
        .unwrap();
        assert_eq!(config.nats.url, "nats://env:4222");
        assert_eq!((config.uploader.slots, config.uploader.transfers), (3, 5));
        assert_eq!(config.scheduler.locations.len(), 2);
    }

    #[test]
    fn what_looks_like_a_number_stays_the_text_it_is() {
        let digits = "0".repeat(63) + "1";
        let config = load(
            "",
            &[
                ("THETIS_NATS__PASSWORD", "0012345"),
                ("THETIS_STORE__S3__SECRET_ACCESS_KEY", "1e5"),
                ("THETIS_CQL__USERNAME", "true"),
                ("THETIS_CQL__PASSWORD", "007"),
                ("THETIS_CQL__PORT", "9142"),
                ("THETIS_CQL__TLS_CHECK_ADDRESS", "true"),
                ("THETIS_SCHEDULER__OLD_SECRET_KEYS", &digits),
                ("THETIS_SCHEDULER__PRICE_GIB_MONTH", "0.02"),
                ("THETIS_STORE__S3__PATH_STYLE", "false"),
            ],
        )
        .unwrap();
        assert_eq!(config.nats.password.unwrap().expose(), "0012345");
        assert_eq!(config.store.s3.secret_access_key, Some("1e5".into()));
        assert_eq!(config.cql.username.unwrap(), "true");
        assert_eq!(config.cql.password.unwrap().expose(), "007");
        assert_eq!(
            (config.cql.port, config.cql.tls_check_address),
            (Some(9142), true)
        );
        assert_eq!(config.scheduler.old_secret_keys[0].expose(), digits);
        assert!((config.scheduler.price_gib_month - 0.02).abs() < 1e-9);
        assert_eq!(config.store.s3.path_style, Some(false));
    }

    #[test]
    fn variables_that_are_no_keys_are_left_alone() {
        let others = [
            "THETIS_CONFIG",
            "THETIS_API_URL",
            "THETIS_CLUSTER",
            "THETIS_DEPS",
            "PATH",
        ];
        assert!(load("", &others.map(|name| (name, "x"))).is_ok());
        for wrong in [
            "THETIS_NATS_URL",
            "THETIS_NATZ__URL",
            "THETIS_UPLOADER__SLOTZ",
        ] {
            let said = load("", &[(wrong, "x")]).unwrap_err().to_string();
            assert!(said.contains("unknown field"), "{wrong}: {said}");
        }
    }

    #[test]
    fn a_wrong_key_or_value_is_named() {
        let said = |file: &str| load(file, &[]).unwrap_err().to_string();
        assert!(
            said("[uploader]\nslotz = 3").contains("slotz"),
            "{}",
            said("[uploader]\nslotz = 3")
        );
        assert!(
            said("[uploader]\nslots = \"many\"").contains("uploader.slots"),
            "{}",
            said("[uploader]\nslots = \"many\"")
        );
        assert!(said("[uploader]\nslots = 0").contains("THETIS_UPLOADER__SLOTS"));
        let cpus = said("[runtime]\ncpus = \"many\"");
        assert!(
            cpus.contains("THETIS_RUNTIME__CPUS") && cpus.contains("`many`"),
            "{cpus}"
        );
        assert!(said("[scheduler]\nlocations = [\"ftp:x\"]").contains("ftp"));
        assert!(said("[node]\napi = \"localhost\"").contains("node.api"));
        assert!(
            Config::load(Some(Path::new("/nowhere/thetis.toml")))
                .unwrap_err()
                .to_string()
                .contains("/nowhere")
        );
    }

    #[test]
    fn every_key_is_documented() {
        let text = reference();
        for key in [
            "nats.url",
            "nats.inbox",
            "nats.provision",
            "nats.replicas",
            "store.memory_mb",
            "store.requests",
            "store.s3.endpoint",
            "store.s3.region",
            "store.s3.access_key_id",
            "store.s3.secret_access_key",
            "store.localstorage.root",
            "store.rclone.program",
            "store.rclone.config",
            "store.rclone.transfers",
            "node.api",
            "node.data_dir",
            "node.metrics",
            "cql.username",
            "cql.password",
            "cql.port",
            "cql.tls_ca",
            "cql.tls_check_address",
            "cql.tls_cert",
            "cql.tls_key",
            "scheduler.listen",
            "scheduler.sweep_secs",
            "scheduler.health_secs",
            "scheduler.unknown_retention_days",
            "scheduler.locations",
            "uploader.slots",
            "uploader.transfers",
            "uploader.rate_limit",
            "uploader.adaptive",
            "uploader.safe_rate",
            "uploader.native_check",
            "restore.slots",
            "restore.transfers",
            "restore.rate_limit",
            "restore.min_free_percent",
            "runtime.threads",
            "runtime.cpus",
            "log.level",
            "log.format",
            "admin.listen",
            "telemetry.otlp_endpoint",
        ] {
            assert!(
                text.contains(&format!("`{key}`")),
                "docs/configuration.md says nothing of {key}"
            );
        }
    }
}
