//! Statements about roles, rights and service levels, and these as statements again.

mod list;

use std::collections::BTreeMap;

use super::ast::{Properties, Role as Statement, RoleOptions};
use super::fail::Fail;
use super::session::{Outcome, Session};
use crate::roles::{Access, Resource, hash};
use crate::schema::options::Setting;
pub(super) use list::describe;

impl Session<'_> {
    /// Runs a statement about roles, rights or service levels.
    ///
    /// # Errors
    /// As the server words them.
    pub(crate) fn role(&self, statement: &Statement) -> Result<Outcome, Fail> {
        match statement {
            Statement::Create {
                name,
                lenient,
                options,
            } => self.create_role(name, *lenient, options),
            Statement::Alter {
                name,
                lenient,
                options,
            } => self.alter_role(name, *lenient, options),
            Statement::Drop { name, lenient } => self.drop_role(name, *lenient),
            Statement::Include { role, to } => self.membership(role, to, true),
            Statement::Exclude { role, from } => self.membership(role, from, false),
            Statement::Grant { rights, on, to } => self.rights(rights, on, to, true),
            Statement::Revoke { rights, on, from } => self.rights(rights, on, from, false),
            Statement::CreateLevel {
                name,
                lenient,
                properties,
            } => self.create_level(name, *lenient, properties),
            Statement::AlterLevel { name, properties } => self.alter_level(name, properties),
            Statement::DropLevel { name, lenient } => self.drop_level(name, *lenient),
            Statement::Attach { level, to } => self.attach(level, to),
            Statement::Detach { from } => self.access(|access| {
                existing(access, from)?;
                access.attached.remove(from);
                Ok(())
            }),
            Statement::ListRoles { of } => self.list_roles(of.as_deref()),
            Statement::ListPermissions { of } => self.list_rights(of.as_deref()),
            Statement::ListLevels { name } => self.list_levels(name.as_deref()),
            Statement::ListAttached { role } => self.list_attached(role.as_deref()),
        }
    }

    fn access(
        &self,
        change: impl FnOnce(&mut Access) -> Result<(), Fail>,
    ) -> Result<Outcome, Fail> {
        self.sim.revise(|model| change(&mut model.access))?;
        Ok(Outcome::Void)
    }

    fn superuser(&self) -> bool {
        self.user
            .is_none_or(|user| self.sim.model().access.is_superuser(user))
    }

    fn need_superuser(&self, what: &str) -> Result<(), Fail> {
        if self.superuser() {
            return Ok(());
        }
        Err(Fail::unauthorized(format!("Only superusers {what}")))
    }

    fn create_role(
        &self,
        role: &str,
        lenient: bool,
        options: &RoleOptions,
    ) -> Result<Outcome, Fail> {
        self.may("CREATE", &Resource::Roles)?;
        if options.superuser == Some(true) {
            self.need_superuser("can create a role with superuser status")?;
        }
        if options.hashed.is_some() {
            self.need_superuser("can create a role with a hashed password")?;
        }
        if self.sim.model().access.roles.contains_key(role) {
            let exists = Fail::invalid(format!("Role {role} already exists."));
            return if lenient {
                Ok(Outcome::Void)
            } else {
                Err(exists)
            };
        }
        let made = crate::roles::Role {
            hash: options
                .hashed
                .clone()
                .or_else(|| options.password.as_deref().map(hash)),
            login: options.login.unwrap_or(false),
            superuser: options.superuser.unwrap_or(false),
            ..Default::default()
        };
        self.access(|access| {
            access.roles.insert(role.to_owned(), made);
            Ok(())
        })?;
        self.own(&Resource::Role(role.to_owned()))?;
        Ok(Outcome::Void)
    }

    fn alter_role(
        &self,
        role: &str,
        lenient: bool,
        options: &RoleOptions,
    ) -> Result<Outcome, Fail> {
        if self.user != Some(role) {
            self.may("ALTER", &Resource::Role(role.to_owned()))?;
        }
        if options.superuser.is_some() {
            self.need_superuser("are allowed to alter superuser status.")?;
        }
        if lenient && !self.sim.model().access.roles.contains_key(role) {
            return Ok(Outcome::Void);
        }
        self.access(|access| {
            existing(access, role)?;
            let known = access.roles.entry(role.to_owned()).or_default();
            if let Some(password) = &options.password {
                known.hash = Some(hash(password));
            }
            if options.hashed.is_some() {
                known.hash.clone_from(&options.hashed);
            }
            known.login = options.login.unwrap_or(known.login);
            known.superuser = options.superuser.unwrap_or(known.superuser);
            Ok(())
        })
    }

    fn drop_role(&self, role: &str, lenient: bool) -> Result<Outcome, Fail> {
        self.may("DROP", &Resource::Role(role.to_owned()))?;
        if self.user == Some(role) {
            return Err(Fail::invalid("Cannot DROP primary role for current login."));
        }
        self.access(|access| {
            if access.roles.remove(role).is_none() && !lenient {
                return Err(missing(role));
            }
            access.grants.retain(|grant| grant.role != role);
            access.attached.remove(role);
            for other in access.roles.values_mut() {
                other.member_of.remove(role);
            }
            access.forget(&Resource::Role(role.to_owned()));
            Ok(())
        })
    }

    fn membership(&self, role: &str, member: &str, give: bool) -> Result<Outcome, Fail> {
        self.may("AUTHORIZE", &Resource::Role(role.to_owned()))?;
        self.access(|access| {
            existing(access, role)?;
            existing(access, member)?;
            if give && access.closure(role).contains(member) {
                return Err(Fail::invalid(format!(
                    "{role} already includes role {member}."
                )));
            }
            let known = access.roles.entry(member.to_owned()).or_default();
            if give && !known.member_of.insert(role.to_owned()) {
                return Err(Fail::invalid(format!(
                    "{member} already includes role {role}."
                )));
            }
            if !give && !known.member_of.remove(role) {
                return Err(Fail::invalid(format!(
                    "{member} was not granted role {role}, so it cannot be revoked."
                )));
            }
            Ok(())
        })
    }

    fn rights(
        &self,
        rights: &[String],
        on: &Resource,
        role: &str,
        give: bool,
    ) -> Result<Outcome, Fail> {
        let on = self.qualified(on)?;
        self.may("AUTHORIZE", &on)?;
        if let Some(wrong) = rights
            .iter()
            .find(|right| !on.rights().contains(&right.as_str()))
        {
            return Err(Fail::invalid(format!(
                "Resource {on} does not support any of the requested permissions: {wrong}"
            )));
        }
        let all: Vec<String> = on
            .rights()
            .iter()
            .map(|right| (*right).to_owned())
            .collect();
        let rights = if rights.is_empty() { &all } else { rights };
        self.access(|access| {
            existing(access, role)?;
            if give {
                access.grant(role, rights, &on)
            } else {
                access.revoke(role, rights, &on)
            }
            Ok(())
        })
    }

    /// With the used keyspace, when a table is named without one; and it has to exist.
    fn qualified(&self, on: &Resource) -> Result<Resource, Fail> {
        let model = self.sim.model();
        let gone = |on: &Resource| Fail::invalid(format!("{on} doesn't exist."));
        match on {
            Resource::Table(keyspace, table) => {
                let keyspace = match keyspace.as_str() {
                    "" => self.keyspace.unwrap_or_default(),
                    named => named,
                };
                let on = Resource::Table(keyspace.to_owned(), table.clone());
                let known = model.table(keyspace, table).is_some();
                known.then_some(()).ok_or_else(|| gone(&on))?;
                Ok(on)
            }
            Resource::Keyspace(keyspace) if !model.keyspaces.contains_key(keyspace) => {
                Err(gone(on))
            }
            Resource::Role(role) if !model.access.roles.contains_key(role) => Err(missing(role)),
            Resource::Keyspaces
            | Resource::Keyspace(_)
            | Resource::Roles
            | Resource::Role(_)
            | Resource::Functions => Ok(on.clone()),
        }
    }

    fn create_level(
        &self,
        level: &str,
        lenient: bool,
        properties: &Properties,
    ) -> Result<Outcome, Fail> {
        self.need_superuser("can create service levels")?;
        let options = level_options(properties)?;
        self.access(|access| {
            if access.levels.contains_key(level) {
                let exists = Fail::invalid(format!("The service level '{level}' already exists."));
                return if lenient { Ok(()) } else { Err(exists) };
            }
            access.levels.insert(level.to_owned(), options);
            Ok(())
        })
    }

    fn alter_level(&self, level: &str, properties: &Properties) -> Result<Outcome, Fail> {
        self.need_superuser("can alter service levels")?;
        let options = level_options(properties)?;
        self.access(|access| {
            let known = access
                .levels
                .get_mut(level)
                .ok_or_else(|| no_level(level))?;
            known.extend(options);
            Ok(())
        })
    }

    fn drop_level(&self, level: &str, lenient: bool) -> Result<Outcome, Fail> {
        self.need_superuser("can drop service levels")?;
        self.access(|access| {
            if access.levels.remove(level).is_none() && !lenient {
                return Err(no_level(level));
            }
            access.attached.retain(|_, attached| attached != level);
            Ok(())
        })
    }

    fn attach(&self, level: &str, to: &str) -> Result<Outcome, Fail> {
        self.need_superuser("can attach service levels")?;
        self.access(|access| {
            existing(access, to)?;
            if !access.levels.contains_key(level) {
                return Err(no_level(level));
            }
            access.attached.insert(to.to_owned(), level.to_owned());
            Ok(())
        })
    }
}

fn missing(role: &str) -> Fail {
    Fail::invalid(format!("Role {role} doesn't exist."))
}

fn existing(access: &Access, role: &str) -> Result<(), Fail> {
    if access.roles.contains_key(role) {
        Ok(())
    } else {
        Err(missing(role))
    }
}

fn no_level(level: &str) -> Fail {
    Fail::invalid(format!("Service Level {level} doesn't exists."))
}

/// The options of a service level as texts.
fn level_options(properties: &Properties) -> Result<BTreeMap<String, String>, Fail> {
    let mut options = BTreeMap::new();
    for (option, value) in properties {
        let text = match (option.as_str(), value) {
            ("timeout" | "shares", Setting::Number(text))
            | ("workload_type", Setting::Text(text)) => text,
            ("timeout" | "shares" | "workload_type", _) => {
                return Err(Fail::invalid(format!(
                    "Invalid value for service level option {option}"
                )));
            }
            _ => return Err(Fail::syntax(format!("Unknown property '{option}'"))),
        };
        options.insert(option.clone(), text.clone());
    }
    Ok(options)
}
