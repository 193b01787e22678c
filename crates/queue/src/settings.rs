//! What an operator says of the queue.

use std::{fmt, path::PathBuf, time::Duration};

use async_nats::{ConnectOptions, ServerAddr};
use serde::Deserialize;

use crate::Error;

/// A text that is never printed.
#[derive(Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(transparent)]
pub struct Secret(String);

impl Secret {
    /// The text itself, for the one who hands it to the server.
    #[must_use]
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl From<&str> for Secret {
    fn from(text: &str) -> Self {
        Self(text.to_owned())
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("***")
    }
}

/// How to reach the servers and how patient to be. At most one way to log in is used: `creds`,
/// else `nkey`, else `token`, else `user` with `password`, else what stands in the address.
#[derive(Clone, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Settings {
    /// Addresses, separated by commas: `nats://host:4222` or `tls://host:4222`.
    pub url: String,
    /// User to log in as.
    pub user: Option<String>,
    /// The user's password.
    pub password: Option<Secret>,
    /// Token to log in with.
    pub token: Option<Secret>,
    /// Path of a credentials file: JWT and seed.
    pub creds: Option<PathBuf>,
    /// Path of a file that holds an NKey seed.
    pub nkey: Option<PathBuf>,
    /// TLS, where the system's certificates are not enough.
    pub tls: Tls,
    /// What the subjects begin with on which answers come: whole words, as in `_INBOX.scheduler`. A
    /// user that may not listen elsewhere hears no others' answers.
    pub inbox: Option<String>,
    /// Whether to make streams, buckets and consumers that are missing. `false` where the user may
    /// not: then a scheduler makes them.
    pub provision: bool,
    /// Copies that JetStream keeps of each stream and bucket: 1, or 3 in a cluster.
    pub replicas: usize,
    /// How long a job may go without a sign of life before another worker gets it, in seconds.
    pub ack_wait_secs: u64,
    /// How long a job may go without moving a byte before it is taken from its handler, in seconds.
    pub stall_secs: u64,
    /// The pause before a job is tried again, in milliseconds; doubled each time, up to 2 minutes.
    pub retry_pause_ms: u64,
    /// Room for jobs that wait, in MiB. JetStream sets it aside when the stream is made.
    pub jobs_mb: u32,
    /// Room for events, in MiB; the oldest go first.
    pub events_mb: u32,
    /// Room for notes on who changed what, in MiB; the oldest go first.
    pub audit_mb: u32,
}

/// Files for TLS, all PEM.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Tls {
    /// Certificates to trust instead of the system's.
    pub ca: Option<PathBuf>,
    /// Certificate to show to the server; needs `key`.
    pub cert: Option<PathBuf>,
    /// The certificate's key.
    pub key: Option<PathBuf>,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            url: "nats://127.0.0.1:4222".to_owned(),
            user: None,
            password: None,
            token: None,
            creds: None,
            nkey: None,
            tls: Tls::default(),
            inbox: None,
            provision: true,
            replicas: 1,
            ack_wait_secs: 60,
            stall_secs: 300,
            retry_pause_ms: 2_000,
            jobs_mb: 512,
            events_mb: 256,
            audit_mb: 64,
        }
    }
}

impl fmt::Debug for Settings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Settings")
            .field("url", &self.address())
            .field("user", &self.user)
            .field("password", &self.password)
            .field("token", &self.token)
            .field("creds", &self.creds)
            .field("nkey", &self.nkey)
            .field("tls", &self.tls)
            .field("inbox", &self.inbox)
            .field("provision", &self.provision)
            .field("replicas", &self.replicas)
            .field("ack_wait_secs", &self.ack_wait_secs)
            .field("stall_secs", &self.stall_secs)
            .field("retry_pause_ms", &self.retry_pause_ms)
            .field("jobs_mb", &self.jobs_mb)
            .field("events_mb", &self.events_mb)
            .field("audit_mb", &self.audit_mb)
            .finish()
    }
}

impl Settings {
    /// With answers on `_INBOX.<who>.>`, unless the settings say otherwise.
    #[must_use]
    pub fn answered_at(&self, who: &str) -> Self {
        let inbox = self.inbox.clone();
        Self {
            inbox: inbox.or_else(|| Some(format!("_INBOX.{who}"))),
            ..self.clone()
        }
    }

    /// The addresses as they may be shown: without user and password.
    #[must_use]
    pub fn address(&self) -> String {
        let bare = |url: &str| match (url.split_once("://"), url.rsplit_once('@')) {
            (Some((scheme, _)), Some((_, host))) => format!("{scheme}://{host}"),
            (None, Some((_, host))) => host.to_owned(),
            (_, None) => url.to_owned(),
        };
        let bare: Vec<String> = self.url.split(',').map(|url| bare(url.trim())).collect();
        bare.join(",")
    }

    /// Checks what can be checked without a server.
    ///
    /// # Errors
    /// [`Error::Settings`], naming the key.
    pub fn validate(&self) -> Result<(), Error> {
        let refuse = |text: &str| Err(Error::Settings(text.to_owned()));
        if !(1..=5).contains(&self.replicas) {
            return refuse("replicas must be 1 to 5");
        }
        if self.ack_wait_secs == 0 || self.stall_secs == 0 || self.retry_pause_ms == 0 {
            return refuse("ack_wait_secs, stall_secs and retry_pause_ms must not be 0");
        }
        if [self.jobs_mb, self.events_mb, self.audit_mb].contains(&0) {
            return refuse("jobs_mb, events_mb and audit_mb must not be 0");
        }
        if self.user.is_some() != self.password.is_some() {
            return refuse("user and password go together");
        }
        if self.tls.cert.is_some() != self.tls.key.is_some() {
            return refuse("tls.cert and tls.key go together");
        }
        let word = |word: &str| !word.is_empty() && !word.contains(['*', '>', ' ', '\t']);
        if self
            .inbox
            .as_ref()
            .is_some_and(|inbox| !inbox.split('.').all(word))
        {
            return refuse("inbox must be words with dots between them");
        }
        self.servers().map(drop)
    }

    pub(crate) fn servers(&self) -> Result<Vec<ServerAddr>, Error> {
        self.url
            .split(',')
            .map(|url| {
                url.trim().parse().map_err(|cause| {
                    let address = self.address();
                    Error::Settings(format!("url `{address}` is not understood: {cause}"))
                })
            })
            .collect()
    }

    /// The options that log in and set up TLS.
    pub(crate) async fn options(&self) -> Result<ConnectOptions, Error> {
        let unreadable = |key: &str, path: &PathBuf, cause: std::io::Error| {
            Error::Settings(format!("{key} `{}`: {cause}", path.display()))
        };
        let mut options = ConnectOptions::new();
        if let Some(inbox) = &self.inbox {
            options = options.custom_inbox_prefix(inbox);
        }
        if let Some(path) = &self.creds {
            options = options
                .credentials_file(path)
                .await
                .map_err(|e| unreadable("creds", path, e))?;
        } else if let Some(path) = &self.nkey {
            let seed = tokio::fs::read_to_string(path)
                .await
                .map_err(|e| unreadable("nkey", path, e))?;
            options = options.nkey(seed.trim().to_owned());
        } else if let Some(token) = &self.token {
            options = options.token(token.expose().to_owned());
        } else if let (Some(user), Some(password)) = (&self.user, &self.password) {
            options = options.user_and_password(user.clone(), password.expose().to_owned());
        } else {
            options = self.login_of_address(options)?;
        }
        if let Some(ca) = &self.tls.ca {
            options = options.add_root_certificates(ca.clone()).require_tls(true);
        }
        if let (Some(cert), Some(key)) = (&self.tls.cert, &self.tls.key) {
            options = options
                .add_client_certificate(cert.clone(), key.clone())
                .require_tls(true);
        }
        Ok(options)
    }

    /// What stands in the first address that has it: `user:password@`, or `token@`.
    fn login_of_address(&self, options: ConnectOptions) -> Result<ConnectOptions, Error> {
        let servers = self.servers()?;
        let login = servers
            .iter()
            .find_map(|server| Some((server.username()?, server.password())));
        Ok(match login {
            Some((user, Some(password))) => {
                options.user_and_password(unescaped(user), unescaped(password))
            }
            Some((token, None)) => options.token(unescaped(token)),
            None => options,
        })
    }

    pub(crate) fn ack_wait(&self) -> Duration {
        Duration::from_secs(self.ack_wait_secs)
    }

    pub(crate) fn stall(&self) -> Duration {
        Duration::from_secs(self.stall_secs)
    }

    /// The pause after the `attempt`-th attempt, counted from 1.
    pub(crate) fn pause(&self, attempt: u64) -> Duration {
        const LONGEST: Duration = Duration::from_secs(120);
        let doublings = u32::try_from(attempt.saturating_sub(1).min(20)).unwrap_or(20);
        Duration::from_millis(self.retry_pause_ms)
            .saturating_mul(1 << doublings)
            .min(LONGEST)
    }
}

/// A part of a URL with its `%XX` read.
fn unescaped(part: &str) -> String {
    let mut bytes = Vec::with_capacity(part.len());
    let mut rest = part.as_bytes();
    while let [first, tail @ ..] = rest {
        let escaped = match (first, tail) {
            (b'%', [high, low, ..]) => hex(*high).zip(hex(*low)),
            _ => None,
        };
        if let Some((high, low)) = escaped {
            bytes.push(high * 16 + low);
            rest = &tail[2..];
        } else {
            bytes.push(*first);
            rest = tail;
        }
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

fn hex(digit: u8) -> Option<u8> {
    char::from(digit)
        .to_digit(16)
        .and_then(|value| value.try_into().ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn escapes_in_an_address_are_read() {
        assert_eq!(unescaped("a%40b%2fc"), "a@b/c");
        assert_eq!(unescaped("100%"), "100%");
        assert_eq!(unescaped("%zz%4"), "%zz%4");
    }

    #[test]
    fn secrets_are_never_printed() {
        let settings = Settings {
            url: "nats://joe:hunter2@a:4222, tls://b".into(),
            password: Some("hunter2".into()),
            token: Some("hunter2".into()),
            ..Settings::default()
        };
        let printed = format!("{settings:?}");
        assert!(!printed.contains("hunter2"), "{printed}");
        assert_eq!(settings.address(), "nats://a:4222,tls://b");
        let wrong = Settings {
            url: "nats://joe:hunter2@a:port".into(),
            ..Settings::default()
        };
        let error = wrong.validate().unwrap_err().to_string();
        assert!(!error.contains("hunter2"), "{error}");
    }

    #[test]
    fn pauses_grow_up_to_two_minutes() {
        let pauses: Vec<u64> = (1..=9)
            .map(|n| Settings::default().pause(n).as_secs())
            .collect();
        assert_eq!(pauses, [2, 4, 8, 16, 32, 64, 120, 120, 120]);
    }

    #[test]
    fn halves_of_a_pair_are_refused() {
        let settings = Settings {
            user: Some("joe".into()),
            ..Settings::default()
        };
        assert!(settings.validate().is_err());
        assert!(Settings::default().validate().is_ok());
    }

    #[test]
    fn an_inbox_is_made_of_words() {
        let settings = |inbox: &str| Settings {
            inbox: Some(inbox.into()),
            ..Settings::default()
        };
        for wrong in ["", "a..b", "a.", "_INBOX.>", "_INBOX.*", "a b"] {
            assert!(settings(wrong).validate().is_err(), "{wrong}");
        }
        assert!(settings("_INBOX.a-1").validate().is_ok());
        let answered = |settings: Settings| settings.answered_at("me").inbox;
        assert_eq!(answered(settings("mine")).as_deref(), Some("mine"));
        assert_eq!(answered(Settings::default()).as_deref(), Some("_INBOX.me"));
    }
}
