//! User-defined types: made, altered, dropped.

use super::{change, touch};
use crate::cql::ast::{Name, TypeChange};
use crate::cql::fail::Fail;
use crate::cql::session::{About, Change, Happened, Session};
use crate::cql::types::{Type, Udts};
use crate::roles::Resource;

impl Session<'_> {
    pub(super) fn create_type(
        &self,
        name: &Name,
        lenient: bool,
        fields: &[(String, Type)],
    ) -> Result<Option<Change>, Fail> {
        let keyspace = self.users_keyspace(name)?;
        self.may("CREATE", &Resource::Keyspace(keyspace.clone()))?;
        let udts = self.udts(&keyspace);
        if udts.contains_key(&name.name) {
            let exists = format!(
                "A user type of name {keyspace}.{} already exists",
                name.name
            );
            return if lenient {
                Ok(None)
            } else {
                Err(Fail::invalid(exists))
            };
        }
        for (at, (field, ty)) in fields.iter().enumerate() {
            known_types(&keyspace, ty, &udts)?;
            if fields[..at].iter().any(|(other, _)| other == field) {
                return Err(Fail::invalid(format!(
                    "Duplicate field name {field} in type {}",
                    name.name
                )));
            }
        }
        self.sim.revise(|model| {
            let types = &mut touch(model, &keyspace)?.types;
            types.insert(name.name.clone(), fields.to_vec());
            Ok::<_, Fail>(())
        })?;
        Ok(Some(change(
            Happened::Created,
            About::Type,
            &keyspace,
            &name.name,
        )))
    }

    pub(super) fn alter_type(&self, name: &Name, how: &TypeChange) -> Result<Option<Change>, Fail> {
        let keyspace = self.users_keyspace(name)?;
        self.may("ALTER", &Resource::Keyspace(keyspace.clone()))?;
        let udts = self.udts(&keyspace);
        let missing = || Fail::invalid(format!("No user type named {} exists.", name.name));
        let mut fields = udts.get(&name.name).ok_or_else(missing)?.clone();
        match how {
            TypeChange::Add(field, ty) => {
                known_types(&keyspace, ty, &udts)?;
                if fields.iter().any(|(known, _)| known == field) {
                    return Err(Fail::invalid(format!(
                        "Cannot add new field {field} to type {keyspace}.{}: a field of the same name already exists",
                        name.name
                    )));
                }
                fields.push((field.clone(), ty.clone()));
            }
            TypeChange::Rename(pairs) => {
                for (from, to) in pairs {
                    let found = fields.iter_mut().find(|(field, _)| field == from);
                    let unknown = || {
                        Fail::invalid(format!(
                            "Unknown field {from} in type {keyspace}.{}",
                            name.name
                        ))
                    };
                    found.ok_or_else(unknown)?.0.clone_from(to);
                }
            }
        }
        self.sim.revise(|model| {
            touch(model, &keyspace)?
                .types
                .insert(name.name.clone(), fields);
            Ok::<_, Fail>(())
        })?;
        Ok(Some(change(
            Happened::Updated,
            About::Type,
            &keyspace,
            &name.name,
        )))
    }

    /// The inner error is that there is none.
    pub(super) fn drop_type(&self, name: &Name) -> Result<Result<Change, Fail>, Fail> {
        let keyspace = self.users_keyspace(name)?;
        self.may("DROP", &Resource::Keyspace(keyspace.clone()))?;
        let udt = name.name.as_str();
        let user = {
            let model = self.sim.model();
            let Some(found) = model
                .keyspaces
                .get(&keyspace)
                .filter(|ks| ks.types.contains_key(udt))
            else {
                return Ok(Err(Fail::invalid(format!(
                    "No user type named {udt} exists."
                ))));
            };
            let types = found.types.iter();
            let in_type =
                types.filter(|(_, fields)| fields.iter().any(|(_, ty)| ty.udts().contains(&udt)));
            let in_type = in_type.map(|(other, _)| format!("user type {other}"));
            let tables = found.tables.iter();
            let in_table = tables.filter(|(_, table)| {
                table
                    .definition
                    .columns
                    .iter()
                    .any(|c| c.ty.udts().contains(&udt))
            });
            let in_table = in_table.map(|(table, _)| format!("table {keyspace}.{table}"));
            in_type.chain(in_table).next()
        };
        if let Some(user) = user {
            return Err(Fail::invalid(format!(
                "Cannot drop user type {keyspace}.{udt} as it is still used by {user}"
            )));
        }
        self.sim.revise(|model| {
            touch(model, &keyspace)?.types.remove(udt);
            Ok::<_, Fail>(())
        })?;
        Ok(Ok(change(Happened::Dropped, About::Type, &keyspace, udt)))
    }
}

/// Whether all user-defined types inside are known.
pub(super) fn known_types(keyspace: &str, ty: &Type, udts: &Udts) -> Result<(), Fail> {
    match ty.udts().into_iter().find(|name| !udts.contains_key(*name)) {
        Some(unknown) => Err(Fail::invalid(format!("Unknown type {keyspace}.{unknown}"))),
        None => Ok(()),
    }
}
