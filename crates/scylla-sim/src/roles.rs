//! Roles, their rights, and service levels: kept with the schema.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::LazyLock;

use serde::{Deserialize, Serialize};
use sha_crypt::{PasswordHasher as _, PasswordVerifier as _, ShaCrypt};

/// The role that exists from the start, and its password.
pub(crate) const SUPERUSER: &str = "cassandra";

static SUPERUSER_HASH: LazyLock<String> = LazyLock::new(|| hash(SUPERUSER));

/// What a right is about; the wider come first.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Resource {
    Keyspaces,
    Keyspace(String),
    Table(String, String),
    Roles,
    Role(String),
    Functions,
}

impl Resource {
    /// The next wider one.
    pub(crate) fn parent(&self) -> Option<Self> {
        match self {
            Self::Keyspaces | Self::Roles | Self::Functions => None,
            Self::Keyspace(_) => Some(Self::Keyspaces),
            Self::Table(keyspace, _) => Some(Self::Keyspace(keyspace.clone())),
            Self::Role(_) => Some(Self::Roles),
        }
    }

    /// As in a `GRANT`.
    pub(crate) fn cql(&self) -> String {
        use crate::schema::name;
        match self {
            Self::Keyspaces => "ALL KEYSPACES".to_owned(),
            Self::Keyspace(keyspace) => format!("KEYSPACE {}", name(keyspace)),
            Self::Table(keyspace, table) => format!("{}.{}", name(keyspace), name(table)),
            Self::Roles => "ALL ROLES".to_owned(),
            Self::Role(role) => format!("ROLE {}", name(role)),
            Self::Functions => "ALL FUNCTIONS".to_owned(),
        }
    }

    /// As in `system.role_permissions`.
    pub(crate) fn path(&self) -> String {
        match self {
            Self::Keyspaces => "data".to_owned(),
            Self::Keyspace(keyspace) => format!("data/{keyspace}"),
            Self::Table(keyspace, table) => format!("data/{keyspace}/{table}"),
            Self::Roles => "roles".to_owned(),
            Self::Role(role) => format!("roles/{role}"),
            Self::Functions => "functions".to_owned(),
        }
    }

    /// The rights there are for it.
    pub(crate) fn rights(&self) -> &'static [&'static str] {
        match self {
            Self::Keyspaces | Self::Keyspace(_) => &[
                "CREATE",
                "ALTER",
                "DROP",
                "SELECT",
                "MODIFY",
                "AUTHORIZE",
                "VECTOR_SEARCH_INDEXING",
            ],
            Self::Table(..) => &[
                "ALTER",
                "DROP",
                "SELECT",
                "MODIFY",
                "AUTHORIZE",
                "VECTOR_SEARCH_INDEXING",
            ],
            Self::Roles => &["CREATE", "ALTER", "DROP", "AUTHORIZE", "DESCRIBE"],
            Self::Role(_) => &["ALTER", "DROP", "AUTHORIZE"],
            Self::Functions => &["CREATE", "ALTER", "DROP", "AUTHORIZE", "EXECUTE"],
        }
    }
}

impl fmt::Display for Resource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Keyspaces => f.write_str("<all keyspaces>"),
            Self::Keyspace(keyspace) => write!(f, "<keyspace {keyspace}>"),
            Self::Table(keyspace, table) => write!(f, "<table {keyspace}.{table}>"),
            Self::Roles => f.write_str("<all roles>"),
            Self::Role(role) => write!(f, "<role {role}>"),
            Self::Functions => f.write_str("<all functions>"),
        }
    }
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Role {
    /// Of its password, as crypt(3) writes it.
    pub(crate) hash: Option<String>,
    pub(crate) login: bool,
    pub(crate) superuser: bool,
    /// Roles granted to it.
    pub(crate) member_of: BTreeSet<String>,
}

/// Rights of a role on something.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Grant {
    pub(crate) role: String,
    pub(crate) on: Resource,
    pub(crate) rights: BTreeSet<String>,
}

/// Who may do what.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Access {
    pub(crate) roles: BTreeMap<String, Role>,
    pub(crate) grants: Vec<Grant>,
    /// Options of service levels.
    pub(crate) levels: BTreeMap<String, BTreeMap<String, String>>,
    /// The service level of a role.
    pub(crate) attached: BTreeMap<String, String>,
}

impl Default for Access {
    fn default() -> Self {
        let first = Role {
            hash: Some(SUPERUSER_HASH.clone()),
            login: true,
            superuser: true,
            member_of: BTreeSet::new(),
        };
        Self {
            roles: BTreeMap::from([(SUPERUSER.to_owned(), first)]),
            grants: Vec::new(),
            levels: BTreeMap::new(),
            attached: BTreeMap::new(),
        }
    }
}

impl Access {
    /// Whether the name and password let somebody in.
    pub(crate) fn lets_in(&self, name: &str, password: &str) -> Option<&Role> {
        let role = self.roles.get(name)?;
        let hash = role.hash.as_deref()?;
        let checked = ShaCrypt::default().verify_password(password.as_bytes(), hash);
        checked.is_ok().then_some(role)
    }

    /// The role and all it was granted, directly or not.
    pub(crate) fn closure(&self, name: &str) -> BTreeSet<String> {
        let mut all = BTreeSet::new();
        let mut open = vec![name.to_owned()];
        while let Some(next) = open.pop() {
            if let Some(role) = self.roles.get(&next).filter(|_| all.insert(next)) {
                open.extend(role.member_of.iter().cloned());
            }
        }
        all
    }

    pub(crate) fn is_superuser(&self, name: &str) -> bool {
        let superuser = |role: &String| self.roles.get(role).is_some_and(|role| role.superuser);
        self.closure(name).iter().any(superuser)
    }

    /// Whether the role has the right, on the thing or on something wider.
    pub(crate) fn allows(&self, name: &str, right: &str, on: &Resource) -> bool {
        if self.is_superuser(name) {
            return true;
        }
        let roles = self.closure(name);
        let mut place = Some(on.clone());
        while let Some(on) = place {
            let fits = |grant: &&Grant| roles.contains(&grant.role) && grant.on == on;
            if self
                .grants
                .iter()
                .filter(fits)
                .any(|grant| grant.rights.contains(right))
            {
                return true;
            }
            place = on.parent();
        }
        false
    }

    pub(crate) fn grant(&mut self, role: &str, rights: &[String], on: &Resource) {
        let rights = rights.iter().cloned();
        let same = |grant: &&mut Grant| grant.role == role && grant.on == *on;
        if let Some(grant) = self.grants.iter_mut().find(same) {
            grant.rights.extend(rights);
            return;
        }
        self.grants.push(Grant {
            role: role.to_owned(),
            on: on.clone(),
            rights: rights.collect(),
        });
    }

    pub(crate) fn revoke(&mut self, role: &str, rights: &[String], on: &Resource) {
        for grant in &mut self.grants {
            if grant.role == role && grant.on == *on {
                grant.rights.retain(|right| !rights.contains(right));
            }
        }
        self.grants.retain(|grant| !grant.rights.is_empty());
    }

    /// Forgets rights on something that is gone, and on what was inside.
    pub(crate) fn forget(&mut self, gone: &Resource) {
        let inside = |on: &Resource| on == gone || on.parent().as_ref() == Some(gone);
        self.grants.retain(|grant| !inside(&grant.on));
    }
}

/// The hash of a password, with a random salt.
pub(crate) fn hash(password: &str) -> String {
    let made = ShaCrypt::default().hash_password(password.as_bytes());
    made.map(|hash| hash.to_string()).unwrap_or_default()
}
