//! Who may ask for what.
//!
//! # Promises
//! * Without tokens and clients' certificates anybody may ask for anything, as with ScyllaDB Manager;
//!   with either, nobody is let in without one. Only the version is told to everybody.
//! * Tokens are kept as hashes, compared in constant time, and never shown.
//!
//! A viewer may look; an operator may also make, start, stop and delete tasks, suspend clusters and
//! pin backups; an admin may also register clusters and delete backups.

use std::{fmt, fs, path::Path, str::FromStr};

use aws_lc_rs::{
    constant_time,
    digest::{SHA256, digest},
};
use axum::http::Method;
use service::{Config, Error};

/// What somebody may do: more than all before.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
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
        if method == Method::GET || method == Method::HEAD || method == Method::OPTIONS {
            return Self::Viewer;
        }
        match parts[..] {
            // Clusters themselves, and whole backups.
            ["clusters"] | ["cluster", _] | ["cluster", _, "backups"] => Self::Admin,
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

/// Who is let in.
#[derive(Debug)]
pub(crate) struct Access {
    tokens: Vec<Token>,
    clients: Role,
    /// Whether clients without a token or certificate are let in.
    open: bool,
}

#[derive(Debug)]
struct Token {
    caller: Caller,
    hash: Vec<u8>,
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
        })
    }

    /// Whether nobody has to say who they are.
    pub(crate) fn open(&self) -> bool {
        self.open
    }

    /// Who it is that shows this; `None` if that is nobody who is let in.
    pub(crate) fn caller(
        &self,
        authorization: Option<&str>,
        certified: Option<&Certified>,
    ) -> Option<Caller> {
        if let Some(shown) = authorization {
            let token = shown.strip_prefix("Bearer ").unwrap_or(shown).trim();
            let hash = hash(token);
            let same =
                |known: &&Token| constant_time::verify_slices_are_equal(&known.hash, &hash).is_ok();
            // All are compared, so that the time tells nothing.
            let mut found: Vec<&Token> = self.tokens.iter().filter(same).collect();
            if let Some(token) = found.pop() {
                return Some(token.caller.clone());
            }
        }
        if let Some(Certified { name }) = certified {
            return Some(Caller {
                name: name.clone(),
                role: self.clients,
            });
        }
        self.open.then(|| Caller {
            name: "anyone".to_owned(),
            role: Role::Admin,
        })
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
                .caller(shown, None)
                .map(|caller| (caller.name, caller.role))
        };
        let is = |name: &str, role| Some((name.to_owned(), role));
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
            assert_eq!(who(wrong), None, "{wrong:?}");
        }
        assert!(!format!("{access:?}").contains("0123456789abcdef"));
    }

    #[test]
    fn without_tokens_anybody_may() {
        let access = Access::read(&Config::default()).unwrap();
        assert_eq!(access.caller(None, None).unwrap().role, Role::Admin);
        let mut config = Config::default();
        config.scheduler.tls.client_ca = Some("ca.pem".into());
        config.scheduler.tls.client_role = Some("viewer".to_owned());
        let access = Access::read(&config).unwrap();
        assert_eq!(access.caller(None, None), None);
        let certified = Certified {
            name: "operator".to_owned(),
        };
        assert_eq!(
            access.caller(None, Some(&certified)).unwrap().role,
            Role::Viewer
        );
        config.scheduler.tls.client_role = Some("root".to_owned());
        assert!(Access::read(&config).is_err());
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
