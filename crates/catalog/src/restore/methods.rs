//! Who brings which table into the cluster: ScyllaDB itself, or Thetis' own engine.

use std::collections::{BTreeMap, BTreeSet};

use protocol::{Location, Method, TableMethod, TableRef};

use super::{Lists, RestoreError, Sourced};
use crate::IdKind;

/// Which tables can come back by tablets, with ScyllaDB's lists of them; or why not.
pub type Fit = BTreeMap<TableRef, Result<Lists, String>>;

/// Who brings the batches of a table.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Carrier {
    /// Who.
    pub method: Method,
    /// As [`Batch::lists`](super::Batch::lists).
    pub lists: Option<Lists>,
}

/// Decides for each table who brings it, and says why.
///
/// `able` says by which name nodes know the store of a location, for people, or why not all of them
/// do; `fit` which tables can come back by tablets, with ScyllaDB's lists of them, or why not. A table
/// goes one way as a whole. With [`Method::Agent`] there is nothing to decide, and so nothing to say.
///
/// # Errors
/// [`RestoreError::NotNative`] if [`Method::Native`] is asked for and some table cannot go that way.
pub fn methods(
    sstables: &[Sourced],
    asked: Method,
    able: &dyn Fn(&Location) -> Result<String, String>,
    fit: &Fit,
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
        let unfit = (asked == Method::Tablets).then(|| fit.get(table).map(Result::as_ref));
        let (method, reason) = match (fine, unfit) {
            (Ok(_), Some(Some(Ok(_)))) => (Method::Tablets, "asked for".to_owned()),
            (Ok(_), None) if asked == Method::Native => (Method::Native, "asked for".to_owned()),
            (Ok(_), Some(Some(Err(why)))) => (Method::Native, format!("not by tablets: {why}")),
            (Ok(_), Some(None)) => (Method::Native, "not by tablets: it has none".to_owned()),
            (Ok(why), None) => (Method::Native, why.to_owned()),
            (Err(why), _) => (Method::Agent, why.to_owned()),
        };
        TableMethod {
            table: table.clone(),
            method,
            reason,
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

/// What batches of each table bear that is not Thetis' own engine's: unless [`Method::Native`] is asked
/// for, what ScyllaDB does may be taken over.
#[must_use]
pub fn carriers(told: &[TableMethod], asked: Method, fit: &Fit) -> BTreeMap<TableRef, Carrier> {
    let carrier = |told: &TableMethod| {
        let (method, lists) = match told.method {
            Method::Tablets => {
                let lists = fit.get(&told.table).and_then(|lists| lists.as_ref().ok());
                (Method::Tablets, lists.cloned())
            }
            Method::Native if asked == Method::Native => (Method::Native, None),
            Method::Native => (Method::Auto, None),
            Method::Agent | Method::Rclone | Method::Auto => return None,
        };
        Some((told.table.clone(), Carrier { method, lists }))
    };
    told.iter().filter_map(carrier).collect()
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
        let mut told = methods(sstables, asked, &able, &Fit::new()).map_err(|e| e.to_string())?;
        assert!(told.len() <= 1);
        let told = told.pop().map(|told| (told.method, told.reason));
        Ok(told.unwrap_or_default())
    }

    fn lists() -> Lists {
        Lists {
            snapshot: "sm_20260131235959UTC".parse().unwrap(),
            keys: vec!["tag_x_manifest.json".to_owned()],
        }
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
        let told = [
            table("a", Method::Native),
            table("b", Method::Agent),
            table("c", Method::Tablets),
        ];
        let lists = lists();
        let fit = [(told[2].table.clone(), Ok(lists.clone()))].into();
        for (asked, native) in [
            (Method::Auto, Method::Auto),
            (Method::Native, Method::Native),
            (Method::Tablets, Method::Auto),
        ] {
            let carriers = carriers(&told, asked, &fit);
            assert_eq!(carriers.len(), 2);
            assert_eq!(carriers[&told[0].table].method, native);
            let tablets = &carriers[&told[2].table];
            assert_eq!(tablets.method, Method::Tablets);
            assert_eq!(tablets.lists.as_ref(), Some(&lists));
        }
    }

    #[test]
    fn what_does_not_go_by_tablets_goes_as_it_can() {
        let all = sourced(&manifest("01", "dc1", &NAMES, 5));
        let table = all[0].table.clone();
        let told = |fit: Fit, fine: bool| {
            let able = |_: &Location| fine.then(String::new).ok_or_else(|| "no store".to_owned());
            let told = methods(&all, Method::Tablets, &able, &fit).unwrap();
            (told[0].method, told[0].reason.clone())
        };
        let fit = |fit| Fit::from([(table.clone(), fit)]);
        let yes = || fit(Ok(lists()));
        assert_eq!(told(yes(), true), (Method::Tablets, "asked for".into()));
        assert_eq!(told(yes(), false), (Method::Agent, "no store".into()));
        let no = told(fit(Err("it moves".into())), true);
        assert_eq!(no, (Method::Native, "not by tablets: it moves".into()));
        let none = told(Fit::new(), true);
        assert_eq!(none, (Method::Native, "not by tablets: it has none".into()));
    }
}
