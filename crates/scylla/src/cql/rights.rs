//! What the user of a session may do, asked before anything is touched.

use std::collections::{BTreeMap, BTreeSet};

use driver::{
    deserialize::{
        DeserializationError, TypeCheckError,
        row::{ColumnIterator, DeserializeRow},
    },
    frame::response::result::ColumnSpec,
};

use super::{CqlError, Session};

/// A right on keyspaces and tables.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Right {
    /// To make keyspaces, tables, views and indexes.
    Create,
    /// To alter them.
    Alter,
    /// To drop them.
    Drop,
    /// To read rows.
    Select,
}

impl Right {
    /// CQL's word.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::Create => "CREATE",
            Self::Alter => "ALTER",
            Self::Drop => "DROP",
            Self::Select => "SELECT",
        }
    }
}

/// What a user may do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Rights {
    /// Everything: the server asks nobody for rights.
    Unchecked,
    /// Everything: the user is a superuser, itself or by a role.
    Superuser,
    /// What was granted: on which resource, and what.
    Granted(BTreeSet<(String, String)>),
}

impl Rights {
    /// Whether the user may do everything.
    #[must_use]
    pub fn all(&self) -> bool {
        match self {
            Self::Unchecked | Self::Superuser => true,
            Self::Granted(_) => false,
        }
    }

    /// Whether the user has this right on a keyspace and all in it; without a keyspace, on all.
    #[must_use]
    pub fn may(&self, right: Right, keyspace: Option<&str>) -> bool {
        let Self::Granted(granted) = self else {
            return true;
        };
        let on = |resource: String| granted.contains(&(resource, right.word().to_owned()));
        on("<all keyspaces>".to_owned()) || keyspace.is_some_and(|k| on(format!("<keyspace {k}>")))
    }
}

impl Session {
    /// What the user of this session may do.
    ///
    /// # Errors
    /// [`CqlError`], if the server does not say.
    pub async fn rights(&self) -> Result<Rights, CqlError> {
        let Some(user) = &self.user else {
            // Let in without a user, so nobody is asked for rights.
            return Ok(Rights::Unchecked);
        };
        let user = cql::quote(user);
        let roles = self
            .ask::<Listed>("list the user's roles", &format!("LIST ROLES OF {user}"))
            .await;
        match roles {
            Ok(roles) if roles.iter().any(|role| role.is_true("super")) => {
                return Ok(Rights::Superuser);
            }
            Ok(_) => {}
            // The server asks for no user, though one was given.
            Err(error) if error.to_string().contains("anonymous") => return Ok(Rights::Unchecked),
            Err(error) => return Err(error),
        }
        let question = format!("LIST ALL PERMISSIONS OF {user}");
        match self
            .ask::<Listed>("list the user's rights", &question)
            .await
        {
            Ok(all) => {
                let all = all
                    .into_iter()
                    .map(|p| (p.text("resource"), p.text("permission")));
                Ok(Rights::Granted(all.collect()))
            }
            Err(error) if error.to_string().contains("AllowAllAuthorizer") => Ok(Rights::Unchecked),
            Err(error) => Err(error),
        }
    }
}

/// A row's columns by name, as they came: `LIST` has more of them in newer versions.
struct Listed(BTreeMap<String, Vec<u8>>);

impl Listed {
    fn is_true(&self, column: &str) -> bool {
        self.0.get(column).is_some_and(|value| value[..] == [1])
    }

    fn text(&self, column: &str) -> String {
        let value = self.0.get(column).map(Vec::as_slice);
        String::from_utf8_lossy(value.unwrap_or_default()).into_owned()
    }
}

impl<'frame, 'metadata> DeserializeRow<'frame, 'metadata> for Listed {
    fn type_check(_: &[ColumnSpec<'_>]) -> Result<(), TypeCheckError> {
        Ok(())
    }

    fn deserialize(row: ColumnIterator<'frame, 'metadata>) -> Result<Self, DeserializationError> {
        let column = row.map(|column| {
            let column = column?;
            let value = column.slice.map(|slice| slice.as_slice().to_vec());
            Ok((column.spec.name().to_owned(), value.unwrap_or_default()))
        });
        column.collect::<Result<_, _>>().map(Self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_granted_on_all_counts_for_each() {
        let granted = [
            ("<all keyspaces>", "CREATE"),
            ("<keyspace shop>", "ALTER"),
            ("<table shop.users>", "DROP"),
        ];
        let granted = granted.map(|(a, b)| (a.to_owned(), b.to_owned()));
        let rights = Rights::Granted(BTreeSet::from(granted));
        assert!(rights.may(Right::Create, None) && rights.may(Right::Create, Some("any")));
        assert!(rights.may(Right::Alter, Some("shop")) && !rights.may(Right::Alter, Some("b")));
        assert!(!rights.may(Right::Alter, None) && !rights.may(Right::Drop, Some("shop")));
        assert!(!rights.all() && Rights::Superuser.may(Right::Drop, None));
    }
}
