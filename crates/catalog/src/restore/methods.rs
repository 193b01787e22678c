//! Who brings which table into the cluster: ScyllaDB itself, or Thetis' own engine.

use std::collections::{BTreeMap, BTreeSet};

use protocol::{Location, Method, TableMethod, TableRef};

use super::{RestoreError, Sourced};
use crate::IdKind;

/// Decides for each table who brings it, and says why.
///
/// `able` says by which name nodes know the store of a location, for people, or why not all of them
/// do. A table goes one way as a whole. With [`Method::Agent`] there is nothing to decide, and so
/// nothing to say.
///
/// # Errors
/// [`RestoreError::NotNative`] if [`Method::Native`] is asked for and some table cannot go that way.
pub fn methods(
    sstables: &[Sourced],
    asked: Method,
    able: &dyn Fn(&Location) -> Result<String, String>,
) -> Result<Vec<TableMethod>, RestoreError> {
    if matches!(asked, Method::Agent | Method::Rclone) {
        return Ok(Vec::new());
    }
    let locations: BTreeSet<&Location> = sstables.iter().map(|one| &one.location).collect();
    let stores: BTreeMap<&Location, _> = locations.into_iter().map(|at| (at, able(at))).collect();
    let mut tables = BTreeMap::<&TableRef, Result<&str, &str>>::new();
    for one in sstables {
        let store = stores[&one.location].as_deref().map_err(String::as_str);
        let fine = obstacle(one).map_or(store, Err);
        let table = tables.entry(&one.table).or_insert(fine);
        *table = table.and(fine);
    }
    let tell = |(table, fine): (&TableRef, Result<&str, &str>)| {
        let (method, reason) = match fine {
            Ok(_) if asked == Method::Native => (Method::Native, "asked for"),
            Ok(why) => (Method::Native, why),
            Err(why) => (Method::Agent, why),
        };
        TableMethod {
            table: table.clone(),
            method,
            reason: reason.to_owned(),
        }
    };
    let told: Vec<TableMethod> = tables.into_iter().map(tell).collect();
    if asked == Method::Native {
        let cannot = told.iter().filter(|told| told.method != Method::Native);
        let tables: Vec<TableMethod> = cannot.cloned().collect();
        if !tables.is_empty() {
            return Err(RestoreError::NotNative { tables });
        }
    }
    Ok(told)
}

/// Why ScyllaDB itself cannot restore an SSTable, whatever it is configured with.
fn obstacle(one: &Sourced) -> Option<&'static str> {
    match one.ids {
        IdKind::Integer => Some("it has SSTables with integer ids, which are used again"),
        IdKind::Uuid => one.sstable.is_moved().then_some(
            "files of it lie under other names, for a later backup put others in their place",
        ),
    }
}

/// What batches of each table bear: with [`Method::Auto`] ScyllaDB's may be taken over.
#[must_use]
pub fn batch_methods(told: &[TableMethod], asked: Method) -> BTreeMap<TableRef, Method> {
    let natives = told.iter().filter(|told| told.method == Method::Native);
    natives.map(|told| (told.table.clone(), asked)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::restore::tests::{manifest, sourced};

    const NAMES: [&str; 2] = [
        "mt-3gqe_1lnj_4sbpc2ezoscu9hhtor-big",
        "mt-3gqe_1lnj_4sbpc2ezoscu9hhtos-big",
    ];

    fn told(sstables: &[Sourced], asked: Method, fine: bool) -> Result<(Method, String), String> {
        let able = |_: &Location| match fine {
            true => Ok("nodes know the store as x".to_owned()),
            false => Err("10.0.0.1 does not know the store".to_owned()),
        };
        let mut told = methods(sstables, asked, &able).map_err(|e| e.to_string())?;
        assert!(told.len() <= 1);
        let told = told.pop().map(|told| (told.method, told.reason));
        Ok(told.unwrap_or_default())
    }

    #[test]
    fn a_table_goes_by_scylladb_only_as_a_whole() {
        let mut all = sourced(&manifest("01", "dc1", &NAMES, 5));
        let (method, why) = told(&all, Method::Auto, true).unwrap();
        assert_eq!(
            (method, &*why),
            (Method::Native, "nodes know the store as x")
        );
        let (method, why) = told(&all, Method::Native, true).unwrap();
        assert_eq!((method, &*why), (Method::Native, "asked for"));
        assert_eq!(told(&all, Method::Agent, true).unwrap().1, "");

        let (method, why) = told(&all, Method::Auto, false).unwrap();
        assert_eq!(
            (method, &*why),
            (Method::Agent, "10.0.0.1 does not know the store")
        );
        all[1].sstable.files[0].key += ".sm_20260301000000UTC";
        let (method, why) = told(&all, Method::Auto, true).unwrap();
        assert!(
            method == Method::Agent && why.contains("other names"),
            "{why}"
        );
        all.extend(sourced(&manifest("01", "dc1", &["me-3-big"], 5)));
        let said = told(&all[2..], Method::Native, true).unwrap_err();
        for part in ["shop.users: ", "integer ids", "`auto` or `agent`"] {
            assert!(said.contains(part), "{said}");
        }
        assert_eq!(told(&[], Method::Auto, true).unwrap().1, "");
    }

    #[test]
    fn only_what_scylladb_brings_bears_another_method() {
        let table = |name: &str, method| TableMethod {
            table: TableRef {
                keyspace: "shop".into(),
                table: name.into(),
            },
            method,
            reason: String::new(),
        };
        let told = [table("a", Method::Native), table("b", Method::Agent)];
        let batches = batch_methods(&told, Method::Auto);
        assert_eq!(batches, [(told[0].table.clone(), Method::Auto)].into());
    }
}
