//! Who may ask for what.
//!
//! # Promises
//! * Without tokens and clients' certificates anybody may ask for anything, as with ScyllaDB Manager;
//!   with either, nobody is let in without one. Only the version is told to everybody.
//! * Tokens are kept as hashes, compared in constant time, and never shown but once: to whoever has
//!   one made.
//! * One that is revoked is refused by every replica as soon as NATS has told it so; one whose time is
//!   over, at once.
//! * Strangers cannot fill the log of changes: at most one of their requests a second is noted.
//!
//! A viewer may look; an operator may also make, start, stop and delete tasks, suspend clusters and
//! pin backups; an admin may also register clusters, delete backups, and make tokens.

use std::{
    collections::BTreeMap,
    fmt, fs,
    path::Path,
    str::FromStr,
    sync::{Mutex, PoisonError, RwLock},
};

use aws_lc_rs::{
    constant_time,
    digest::{SHA256, digest},
};
use axum::http::Method;
use futures::StreamExt as _;
use queue::{CancellationToken, Change};
use serde::{Deserialize, Serialize};
use service::{Config, Error};
use tracing::info;

use crate::ledger::Ledger;

/// What somebody may do: more than all before.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Role {
    Viewer,
    Operator,
    Admin,
}

impl Role {
    const ALL: [Self; 3] = [Self::Viewer, Self::Operator, Self::Admin];

    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Viewer => "viewer",
            Self::Operator => "operator",
            Self::Admin => "admin",
        }
    }

    /// What it takes to ask for this. `path` begins behind `/api/v1`.
    pub(crate) fn for_request(method: &Method, path: &str) -> Self {
        let parts: Vec<&str> = path.split('/').filter(|part| !part.is_empty()).collect();
        // Also to look at.
        match parts[..] {
            ["tokens", ..] => return Self::Admin,
            // It shows logs, and how schedulers are configured.
            [.., "bundle"] => return Self::Operator,
            _ => {}
        }
        if method == Method::GET || method == Method::HEAD || method == Method::OPTIONS {
            return Self::Viewer;
        }
        match parts[..] {
            // Clusters themselves, and whole backups.
            ["clusters"] | ["cluster", _] | ["cluster", _, "backups"] => Self::Admin,
            ["secrets", ..] => Self::Admin,
            _ => Self::Operator,
        }
    }
}

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for Role {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let found = Self::ALL.into_iter().find(|role| role.as_str() == text);
        found.ok_or_else(|| format!("there is no role `{text}`; use viewer, operator or admin"))
    }
}

/// Who asks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Caller {
    pub(crate) name: String,
    pub(crate) role: Role,
}

/// A client's certificate was checked, on the connection that a request came over.
#[derive(Clone, Debug)]
pub(crate) struct Certified {
    /// The name in it.
    pub(crate) name: String,
}

/// A token that was made over the API. Key `token.<name>`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Made {
    pub(crate) role: Role,
    hash: Vec<u8>,
    /// Who had it made.
    pub(crate) by: String,
    /// When, in milliseconds since 1970.
    pub(crate) made_ms: u64,
    /// When it ends; never if it does not.
    pub(crate) ends_ms: Option<u64>,
}

impl Made {
    pub(crate) fn new(token: &str, role: Role, by: &str, made_ms: u64, ends: Option<u64>) -> Self {
        Self {
            role,
            hash: hash(token),
            by: by.to_owned(),
            made_ms,
            ends_ms: ends,
        }
    }

    /// Whether its time is over.
    pub(crate) fn over(&self, now_ms: u64) -> bool {
        self.ends_ms.is_some_and(|ends| ends <= now_ms)
    }
}

/// Who is let in.
#[derive(Debug)]
pub(crate) struct Access {
    tokens: Vec<Token>,
    made: RwLock<BTreeMap<String, Made>>,
    clients: Role,
    /// Whether clients without a token or certificate are let in.
    open: bool,
    /// Those that were not let in.
    pub(crate) strangers: Sparing,
}

#[derive(Debug)]
struct Token {
    caller: Caller,
    hash: Vec<u8>,
}

/// Why somebody is not let in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Stranger {
    /// Nobody knows what they show.
    Unknown,
    /// The time of the token with this name is over.
    Late(String),
}

/// Notes on what anybody can bring about, as often as he likes: one a second, and how many were left out.
#[derive(Debug, Default)]
pub(crate) struct Sparing(Mutex<(u64, u64)>);

/// How often one of them is noted.
const NOTED_EVERY_MS: u64 = 1_000;

impl Sparing {
    /// Whether this is to be noted; if so, how many before it were not.
    pub(crate) fn noted(&self, now_ms: u64) -> Option<u64> {
        let mut last = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let (noted_ms, unnoted) = *last;
        if now_ms.saturating_sub(noted_ms) < NOTED_EVERY_MS {
            last.1 += 1;
            return None;
        }
        *last = (now_ms, 0);
        Some(unnoted)
    }
}

impl Access {
    /// As the configuration says.
    ///
    /// # Errors
    /// What is wrong with it; no token is shown.
    pub(crate) fn read(config: &Config) -> Result<Self, Error> {
        let tls = &config.scheduler.tls;
        let tokens = match &config.scheduler.tokens_file {
            None => Vec::new(),
            Some(path) => {
                tokens(path).map_err(|e| Error::new("reading `scheduler.tokens_file`", Wrong(e)))?
            }
        };
        let role = tls.client_role.as_deref().unwrap_or("admin").parse();
        Ok(Self {
            open: config.scheduler.tokens_file.is_none() && tls.client_ca.is_none(),
            clients: role
                .map_err(|e| Error::new("reading `scheduler.tls.client_role`", Wrong(e)))?,
            tokens,
            made: RwLock::default(),
            strangers: Sparing::default(),
        })
    }

    /// Whether nobody has to say who they are.
    pub(crate) fn open(&self) -> bool {
        self.open
    }

    /// Whether the configuration has a token of this name.
    pub(crate) fn configured(&self, name: &str) -> bool {
        self.tokens.iter().any(|token| token.caller.name == name)
    }

    /// Learns the tokens that were made.
    ///
    /// # Errors
    /// Those of NATS.
    pub(crate) async fn learn(&self, ledger: &Ledger) -> Result<(), queue::Error> {
        let listed = ledger.tokens().await?;
        *self.made.write().unwrap_or_else(PoisonError::into_inner) = listed;
        Ok(())
    }

    /// Goes on learning which are made and revoked, until `stop`.
    pub(crate) async fn follow(&self, ledger: &Ledger, stop: &CancellationToken) {
        let mut changes = ledger.watch_tokens();
        while let Some(Some(change)) = stop.run_until_cancelled(changes.next()).await {
            let (key, made) = match change {
                Change::Put { key, value, .. } => (key, Some(value)),
                Change::Delete { key } => (key, None),
                Change::Current => continue,
            };
            let Some(name) = Ledger::token_name(&key) else {
                continue;
            };
            let mut known = self.made.write().unwrap_or_else(PoisonError::into_inner);
            match made {
                Some(made) => known.insert(name.to_owned(), made),
                None => {
                    info!(name, "token revoked");
                    known.remove(name)
                }
            };
        }
    }

    /// Who it is that shows this.
    ///
    /// # Errors
    /// Why that is nobody who is let in.
    pub(crate) fn caller(
        &self,
        authorization: Option<&str>,
        certified: Option<&Certified>,
        now_ms: u64,
    ) -> Result<Caller, Stranger> {
        let mut stranger = Stranger::Unknown;
        if let Some(shown) = authorization {
            let token = shown.strip_prefix("Bearer ").unwrap_or(shown).trim();
            match self.known(&hash(token), now_ms) {
                Ok(caller) => return Ok(caller),
                Err(why) => stranger = why,
            }
        }
        if let Some(Certified { name }) = certified {
            return Ok(Caller {
                name: name.clone(),
                role: self.clients,
            });
        }
        match self.open {
            true => Ok(Caller {
                name: "anyone".to_owned(),
                role: Role::Admin,
            }),
            false => Err(stranger),
        }
    }

    /// Whose token has this hash. All are compared, so that the time tells nothing.
    fn known(&self, hash: &[u8], now_ms: u64) -> Result<Caller, Stranger> {
        let same = |known: &[u8]| constant_time::verify_slices_are_equal(known, hash).is_ok();
        let mut found = Err(Stranger::Unknown);
        for token in &self.tokens {
            if same(&token.hash) {
                found = Ok(token.caller.clone());
            }
        }
        let made = self.made.read().unwrap_or_else(PoisonError::into_inner);
        for (name, made) in made.iter() {
            if same(&made.hash) {
                let (name, role) = (name.clone(), made.role);
                found = match made.over(now_ms) {
                    true => Err(Stranger::Late(name)),
                    false => Ok(Caller { name, role }),
                };
            }
        }
        found
    }
}

/// A text that says what is wrong.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
struct Wrong(String);

fn hash(token: &str) -> Vec<u8> {
    digest(&SHA256, token.as_bytes()).as_ref().to_vec()
}

fn tokens(path: &Path) -> Result<Vec<Token>, String> {
    let text = fs::read_to_string(path).map_err(|e| format!("{}: {e}", path.display()))?;
    let mut tokens: Vec<Token> = Vec::new();
    for (number, line) in text.lines().enumerate() {
        let line = line.trim();
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        let wrong = |what: &str| format!("{}, line {}: {what}", path.display(), number + 1);
        let fields: Vec<&str> = line.split_whitespace().collect();
        let [role, name, token] = fields[..] else {
            return Err(wrong("it is not `role name token`"));
        };
        if token.len() < 16 {
            return Err(wrong("the token is shorter than 16 characters"));
        }
        let hash = hash(token);
        if tokens
            .iter()
            .any(|known| known.hash == hash || known.caller.name == name)
        {
            return Err(wrong("the name or the token is there already"));
        }
        let role = role.parse().map_err(|e: String| wrong(&e))?;
        let name = name.to_owned();
        tokens.push(Token {
            caller: Caller { name, role },
            hash,
        });
    }
    if tokens.is_empty() {
        return Err(format!(
            "{} has no token, so nobody could ask for anything",
            path.display()
        ));
    }
    Ok(tokens)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(lines: &str) -> Result<Access, String> {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("tokens");
        fs::write(&file, lines).unwrap();
        let mut config = Config::default();
        config.scheduler.tokens_file = Some(file);
        Access::read(&config).map_err(|e| service::Chain(&e).to_string())
    }

    #[test]
    fn a_token_says_who_asks_and_nothing_else_does() {
        let access =
            read("# who may\nviewer dashboards 0123456789abcdef\n\nadmin ci fedcba9876543210\n");
        let access = access.unwrap();
        let who = |shown| {
            access
                .caller(shown, None, 0)
                .map(|caller| (caller.name, caller.role))
        };
        let is = |name: &str, role| Ok((name.to_owned(), role));
        assert_eq!(
            who(Some("Bearer 0123456789abcdef")),
            is("dashboards", Role::Viewer)
        );
        assert_eq!(who(Some("fedcba9876543210")), is("ci", Role::Admin));
        for wrong in [
            None,
            Some(""),
            Some("Bearer "),
            Some("Bearer 0123456789abcdeF"),
        ] {
            assert_eq!(who(wrong), Err(Stranger::Unknown), "{wrong:?}");
        }
        assert!(!format!("{access:?}").contains("0123456789abcdef"));
    }

    #[test]
    fn without_tokens_anybody_may() {
        let access = Access::read(&Config::default()).unwrap();
        assert_eq!(access.caller(None, None, 0).unwrap().role, Role::Admin);
        let mut config = Config::default();
        config.scheduler.tls.client_ca = Some("ca.pem".into());
        config.scheduler.tls.client_role = Some("viewer".to_owned());
        let access = Access::read(&config).unwrap();
        assert_eq!(access.caller(None, None, 0), Err(Stranger::Unknown));
        let certified = Certified {
            name: "operator".to_owned(),
        };
        assert_eq!(
            access.caller(None, Some(&certified), 0).unwrap().role,
            Role::Viewer
        );
        config.scheduler.tls.client_role = Some("root".to_owned());
        assert!(Access::read(&config).is_err());
    }

    #[test]
    fn a_token_that_was_made_ends() {
        let access = read("admin ada 0123456789abcdef").unwrap();
        let made = Made::new("thetis_x", Role::Operator, "ada", 1_000, Some(5_000));
        let lasting = Made::new("thetis_y", Role::Viewer, "ada", 1_000, None);
        *access.made.write().unwrap() =
            BTreeMap::from([("ci".to_owned(), made), ("eve".to_owned(), lasting)]);
        let who = |token, now_ms| access.caller(Some(token), None, now_ms);
        assert_eq!(who("thetis_x", 4_999).unwrap().role, Role::Operator);
        assert_eq!(who("thetis_x", 5_000), Err(Stranger::Late("ci".to_owned())));
        assert_eq!(who("thetis_y", u64::MAX).unwrap().name, "eve");
        assert_eq!(who("thetis_z", 0), Err(Stranger::Unknown));
    }

    #[test]
    fn one_stranger_a_second_is_noted_and_the_others_are_counted() {
        let strangers = Sparing::default();
        let times = [10_000, 10_001, 10_999, 11_000, 50_000];
        let noted = times.map(|now_ms| strangers.noted(now_ms));
        assert_eq!(noted, [Some(0), None, None, Some(2), Some(0)]);
    }

    #[test]
    fn what_is_wrong_with_tokens_is_told_without_them() {
        for (lines, named) in [
            ("", "no token"),
            ("viewer a", "line 1"),
            (
                "\nroot a 0123456789abcdef",
                "line 2: there is no role `root`",
            ),
            ("viewer a 0123456789", "shorter"),
            (
                "viewer a 0123456789abcdef\nadmin b 0123456789abcdef",
                "line 2",
            ),
        ] {
            let said = read(lines).unwrap_err();
            assert!(
                said.contains(named) && !said.contains("0123456789"),
                "{said}"
            );
        }
    }

    #[test]
    fn each_request_takes_a_role() {
        for (method, path, role) in [
            (Method::GET, "/clusters", Role::Viewer),
            (Method::POST, "/clusters", Role::Admin),
            (Method::DELETE, "/cluster/prod", Role::Admin),
            (Method::PUT, "/cluster/prod", Role::Admin),
            (Method::DELETE, "/cluster/prod/backups", Role::Admin),
            (Method::POST, "/cluster/prod/tasks", Role::Operator),
            (Method::GET, "/tokens", Role::Admin),
            (Method::POST, "/tokens", Role::Admin),
            (Method::DELETE, "/tokens/ci", Role::Admin),
            (Method::POST, "/secrets/rotation", Role::Admin),
            (Method::GET, "/audit", Role::Viewer),
            (
                Method::GET,
                "/cluster/prod/task/backup/x/latest/bundle",
                Role::Operator,
            ),
            (Method::PUT, "/cluster/prod/suspended", Role::Operator),
            (
                Method::DELETE,
                "/cluster/prod/task/backup/x",
                Role::Operator,
            ),
            (
                Method::PUT,
                "/cluster/prod/task/backup/x/start",
                Role::Operator,
            ),
        ] {
            assert_eq!(Role::for_request(&method, path), role, "{method} {path}");
        }
    }
}
