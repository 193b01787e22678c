//! Roles, rights and service levels as rows, and as statements that make them again.

use std::collections::BTreeMap;

use crate::cql::fail::Fail;
use crate::cql::session::{Outcome, Rows, Session};
use crate::cql::types::Type;
use crate::roles::{Access, SUPERUSER};
use crate::schema::name;
use crate::schema::options::quote;

impl Session<'_> {
    pub(super) fn list_roles(&self, of: Option<&str>) -> Result<Outcome, Fail> {
        let model = self.sim.model();
        let access = &model.access;
        let own = self.user.filter(|_| !self.superuser());
        let all = own.or(of).map(|role| access.closure(role));
        let shown = access.roles.iter();
        let shown = shown.filter(|(role, _)| all.as_ref().is_none_or(|all| all.contains(*role)));
        let row = |(name, role): (&String, &crate::roles::Role)| {
            [
                name.clone(),
                role.superuser.to_string(),
                role.login.to_string(),
            ]
            .map(Some)
            .to_vec()
        };
        let rows = shown.map(row).collect();
        let mut rows = Rows::texts("roles", &["role", "super", "login"], rows);
        for column in 1..=2 {
            rows.columns[column].1 = Type::BOOLEAN;
            for row in &mut rows.rows {
                let is = row[column].as_deref() == Some(b"true");
                row[column] = Some(vec![u8::from(is)]);
            }
        }
        Ok(Outcome::Rows(rows))
    }

    pub(super) fn list_rights(&self, of: Option<&str>) -> Result<Outcome, Fail> {
        let model = self.sim.model();
        let mut rows = Vec::new();
        for grant in model
            .access
            .grants
            .iter()
            .filter(|grant| of.is_none_or(|of| grant.role == of))
        {
            for right in &grant.rights {
                let (role, on) = (grant.role.clone(), grant.on.to_string());
                rows.push([role.clone(), role, on, right.clone()].map(Some).to_vec());
            }
        }
        let columns = ["role", "username", "resource", "permission"];
        Ok(Outcome::Rows(Rows::texts("permissions", &columns, rows)))
    }

    pub(super) fn list_levels(&self, wanted: Option<&str>) -> Result<Outcome, Fail> {
        let model = self.sim.model();
        let shown = model.access.levels.iter();
        let shown = shown.filter(|(level, _)| wanted.is_none_or(|wanted| *level == wanted));
        let row = |(level, options): (&String, &BTreeMap<String, String>)| {
            let option = |name: &str| options.get(name).cloned();
            vec![
                Some(level.clone()),
                option("timeout"),
                option("workload_type"),
                option("shares"),
            ]
        };
        let columns = ["service_level", "timeout", "workload_type", "shares"];
        Ok(Outcome::Rows(Rows::texts(
            "service_levels",
            &columns,
            shown.map(row).collect(),
        )))
    }

    pub(super) fn list_attached(&self, wanted: Option<&str>) -> Result<Outcome, Fail> {
        let model = self.sim.model();
        let shown = model.access.attached.iter();
        let shown = shown.filter(|(role, _)| wanted.is_none_or(|wanted| *role == wanted));
        let row = |(role, level): (&String, &String)| vec![Some(role.clone()), Some(level.clone())];
        let columns = ["role", "service_level"];
        Ok(Outcome::Rows(Rows::texts(
            "attached",
            &columns,
            shown.map(row).collect(),
        )))
    }
}

/// Who may do what, as kinds, names and statements: roles, their rights, service levels.
pub(in crate::cql) fn describe(
    access: &Access,
    passwords: bool,
) -> Vec<(&'static str, String, String)> {
    let mut list = Vec::new();
    for (role, known) in &access.roles {
        // It is there in every cluster.
        let lenient = if role == SUPERUSER {
            "IF NOT EXISTS "
        } else {
            ""
        };
        let hashed = known.hash.as_ref().filter(|_| passwords);
        let password = hashed.map(|hash| format!("HASHED PASSWORD = {} AND ", quote(hash)));
        let text = format!(
            "CREATE ROLE {lenient}{} WITH {}LOGIN = {} AND SUPERUSER = {};",
            name(role),
            password.unwrap_or_default(),
            known.login,
            known.superuser
        );
        list.push(("role", role.clone(), text));
    }
    for (member, known) in &access.roles {
        for role in &known.member_of {
            let text = format!("GRANT {} TO {};", name(role), name(member));
            list.push(("grant_role", role.clone(), text));
        }
    }
    for grant in &access.grants {
        for right in &grant.rights {
            let text = format!(
                "GRANT {right} ON {} TO {};",
                grant.on.cql(),
                name(&grant.role)
            );
            list.push(("grant_permission", grant.role.clone(), text));
        }
    }
    list.extend(
        access
            .levels
            .iter()
            .map(|(level, options)| level_text(level, options)),
    );
    for (role, level) in &access.attached {
        let text = format!("ATTACH SERVICE LEVEL {} TO {};", name(level), name(role));
        list.push(("service_level_attachment", level.clone(), text));
    }
    list
}

/// A service level as a statement.
fn level_text(level: &str, options: &BTreeMap<String, String>) -> (&'static str, String, String) {
    let option = |(option, value): (&String, &String)| match option.as_str() {
        "workload_type" => format!("WORKLOAD_TYPE = {}", quote(value)),
        other => format!("{} = {value}", other.to_ascii_uppercase()),
    };
    let options: Vec<String> = options.iter().map(option).collect();
    let with = match options.is_empty() {
        true => String::new(),
        false => format!(" WITH {}", options.join(" AND ")),
    };
    let text = format!("CREATE SERVICE LEVEL {}{with};", name(level));
    ("service_level", level.to_owned(), text)
}
