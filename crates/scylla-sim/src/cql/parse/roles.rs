//! Statements about roles, rights and service levels.

use super::Parser;
use crate::cql::ast::{Role, RoleOptions};
use crate::cql::fail::Fail;
use crate::cql::token::Token;
use crate::roles::Resource;

/// All rights there are.
pub(crate) const RIGHTS: &[&str] = &[
    "CREATE",
    "ALTER",
    "DROP",
    "SELECT",
    "MODIFY",
    "AUTHORIZE",
    "DESCRIBE",
    "EXECUTE",
    "VECTOR_SEARCH_INDEXING",
];

impl Parser<'_> {
    pub(super) fn role(&mut self) -> Result<Role, Fail> {
        let first = match self.peek() {
            Some(Token::Word(word)) => word.clone(),
            _ => return Err(self.unexpected()),
        };
        self.at += 1;
        match first.as_str() {
            "list" => self.list_roles(),
            "attach" => {
                self.service_level_words()?;
                let level = self.identifier()?;
                self.need_word("to")?;
                Ok(Role::Attach {
                    level,
                    to: self.role_name()?,
                })
            }
            "detach" => {
                self.service_level_words()?;
                self.need_word("from")?;
                Ok(Role::Detach {
                    from: self.role_name()?,
                })
            }
            "grant" => self.grant(true),
            "revoke" => self.grant(false),
            verb if self.word("service") || self.word("service_level") => {
                self.at -= 1;
                self.service_level_words()?;
                self.level(verb)
            }
            verb => self.login_role(verb),
        }
    }

    /// `SERVICE LEVEL` or `SERVICE_LEVEL`
    fn service_level_words(&mut self) -> Result<(), Fail> {
        if self.word("service_level") || self.words(&["service", "level"]) {
            return Ok(());
        }
        Err(self.unexpected())
    }

    fn level(&mut self, verb: &str) -> Result<Role, Fail> {
        match verb {
            "create" => {
                let lenient = self.if_not_exists();
                let (name, properties) = (self.identifier()?, self.properties()?);
                Ok(Role::CreateLevel {
                    name,
                    lenient,
                    properties,
                })
            }
            "alter" => {
                let (name, properties) = (self.identifier()?, self.properties()?);
                Ok(Role::AlterLevel { name, properties })
            }
            _ => {
                let lenient = self.if_exists();
                let name = self.identifier()?;
                Ok(Role::DropLevel { name, lenient })
            }
        }
    }

    fn login_role(&mut self, verb: &str) -> Result<Role, Fail> {
        let user = self.word("user");
        if !user {
            self.need_word("role")?;
        }
        match verb {
            "create" => {
                let lenient = self.if_not_exists();
                let name = self.role_name()?;
                let mut options = self.role_options(user)?;
                if user {
                    options.login = Some(true);
                }
                Ok(Role::Create {
                    name,
                    lenient,
                    options,
                })
            }
            "alter" => {
                let lenient = self.if_exists();
                let name = self.role_name()?;
                let options = self.role_options(user)?;
                Ok(Role::Alter {
                    name,
                    lenient,
                    options,
                })
            }
            _ => {
                let lenient = self.if_exists();
                let name = self.role_name()?;
                Ok(Role::Drop { name, lenient })
            }
        }
    }

    /// Names of roles may also be strings.
    fn role_name(&mut self) -> Result<String, Fail> {
        if matches!(self.peek(), Some(Token::Text(_))) {
            return self.text_literal();
        }
        self.identifier()
    }

    fn role_options(&mut self, user: bool) -> Result<RoleOptions, Fail> {
        let mut options = RoleOptions::default();
        if self.word("with") {
            loop {
                self.role_option(&mut options)?;
                if !self.word("and") {
                    break;
                }
            }
        }
        if user {
            let superuser = self.word("superuser");
            if superuser || self.word("nosuperuser") {
                options.superuser = Some(superuser);
            }
        }
        Ok(options)
    }

    fn role_option(&mut self, options: &mut RoleOptions) -> Result<(), Fail> {
        if self.words(&["hashed", "password"]) {
            self.sign("=");
            options.hashed = Some(self.text_literal()?);
        } else if self.word("password") {
            self.sign("=");
            options.password = Some(self.text_literal()?);
        } else if self.word("login") {
            self.need("=")?;
            options.login = Some(self.boolean()?);
        } else {
            self.need_word("superuser")?;
            self.need("=")?;
            options.superuser = Some(self.boolean()?);
        }
        Ok(())
    }

    /// `GRANT right ON resource TO role`, `GRANT role TO role`; likewise `REVOKE … FROM`.
    fn grant(&mut self, give: bool) -> Result<Role, Fail> {
        let preposition = if give { "to" } else { "from" };
        let rights = self.rights()?;
        let Some(rights) = rights else {
            let role = self.role_name()?;
            self.need_word(preposition)?;
            let other = self.role_name()?;
            return Ok(if give {
                Role::Include { role, to: other }
            } else {
                Role::Exclude { role, from: other }
            });
        };
        self.need_word("on")?;
        let on = self.resource()?;
        self.need_word(preposition)?;
        let other = self.role_name()?;
        Ok(if give {
            Role::Grant {
                rights,
                on,
                to: other,
            }
        } else {
            Role::Revoke {
                rights,
                on,
                from: other,
            }
        })
    }

    /// The rights named next; empty for all; `None` when it is a role that is named.
    fn rights(&mut self) -> Result<Option<Vec<String>>, Fail> {
        if self.word("all") {
            let _ = self.word("permissions");
            return Ok(Some(Vec::new()));
        }
        let start = self.at;
        let right = |parser: &mut Self| {
            let found = RIGHTS
                .iter()
                .find(|right| parser.word(&right.to_ascii_lowercase()));
            let _ = parser.word("permission");
            found
                .map(|right| (*right).to_owned())
                .ok_or_else(|| parser.unexpected())
        };
        let listed = self.list(right);
        let on = matches!(self.peek(), Some(Token::Word(word)) if word == "on");
        if listed.is_ok() && on {
            return listed.map(Some);
        }
        self.at = start;
        Ok(None)
    }

    fn resource(&mut self) -> Result<Resource, Fail> {
        if self.words(&["all", "keyspaces"]) {
            return Ok(Resource::Keyspaces);
        }
        if self.words(&["all", "roles"]) {
            return Ok(Resource::Roles);
        }
        if self.words(&["all", "functions"]) {
            return Ok(Resource::Functions);
        }
        if self.word("keyspace") {
            return Ok(Resource::Keyspace(self.identifier()?));
        }
        if self.word("role") {
            return Ok(Resource::Role(self.role_name()?));
        }
        let _ = self.word("table");
        let name = self.name()?;
        Ok(Resource::Table(
            name.keyspace.unwrap_or_default(),
            name.name,
        ))
    }

    fn list_roles(&mut self) -> Result<Role, Fail> {
        if self.word("roles") || self.word("users") {
            let of = if self.word("of") {
                Some(self.role_name()?)
            } else {
                None
            };
            let _ = self.word("norecursive");
            return Ok(Role::ListRoles { of });
        }
        if self.words(&["all", "permissions"]) || self.word("permissions") {
            let of = if self.word("of") {
                Some(self.role_name()?)
            } else {
                None
            };
            let _ = self.word("norecursive");
            return Ok(Role::ListPermissions { of });
        }
        if self.words(&["all", "attached"]) {
            self.need_word("service")?;
            self.need_word("levels")?;
            return Ok(Role::ListAttached { role: None });
        }
        if self.word("attached") {
            self.service_level_words()?;
            self.need_word("of")?;
            let role = Some(self.role_name()?);
            return Ok(Role::ListAttached { role });
        }
        if self.words(&["all", "service"]) {
            self.need_word("levels")?;
            return Ok(Role::ListLevels { name: None });
        }
        self.service_level_words()?;
        let name = Some(self.identifier()?);
        Ok(Role::ListLevels { name })
    }
}
