//! Keyspaces: made, altered, dropped.

use std::collections::{BTreeMap, BTreeSet};

use super::{change, check_name, not_modifiable, touch};
use crate::cql::ast::{Name, Properties};
use crate::cql::fail::Fail;
use crate::cql::session::{About, Change, Happened, Session};
use crate::retire;
use crate::roles::Resource;
use crate::schema::options::Setting;
use crate::schema::{Keyspace, Model};
use crate::topology::Replication;

/// Where the names of strategies come from.
const PACKAGE: &str = "org.apache.cassandra.locator.";

/// The option that stands for all datacenters.
const EVERYWHERE: &str = "replication_factor";

/// Properties of a keyspace, as far as given.
#[derive(Debug, Default)]
struct Wanted {
    /// Whether it is `SimpleStrategy`, and the factors.
    replication: Option<(bool, Replication)>,
    durable_writes: Option<bool>,
    tablets: Option<bool>,
    initial: Option<usize>,
}

impl Session<'_> {
    pub(super) fn create_keyspace(
        &self,
        name: &str,
        lenient: bool,
        properties: &Properties,
    ) -> Result<Option<Change>, Fail> {
        self.may("CREATE", &Resource::Keyspaces)?;
        check_name("Keyspace", name)?;
        let exists = self.sim.model().keyspaces.contains_key(name);
        if exists && lenient {
            return Ok(None);
        }
        self.sim.revise(|model| {
            let wanted = wanted(model, name, properties, None)?;
            let Some((simple, replication)) = wanted.replication else {
                return Err(Fail::config("Missing mandatory replication strategy class"));
            };
            if exists {
                return Err(Fail::keyspace_exists(name));
            }
            let tablets = wanted.tablets.unwrap_or(!simple);
            if simple && tablets {
                return Err(Fail::config(
                    "SimpleStrategy doesn't support tablet replication",
                ));
            }
            let keyspace = Keyspace {
                simple,
                durable_writes: wanted.durable_writes.unwrap_or(true),
                initial: wanted.initial,
                ..Keyspace::new(replication, tablets)
            };
            model.keyspaces.insert(name.to_owned(), keyspace);
            touch(model, name).map(|_| ())
        })?;
        self.own(&Resource::Keyspace(name.to_owned()))?;
        Ok(Some(change(Happened::Created, About::Keyspace, name, "")))
    }

    pub(super) fn alter_keyspace(
        &self,
        name: &str,
        properties: &Properties,
    ) -> Result<Option<Change>, Fail> {
        self.may("ALTER", &Resource::Keyspace(name.to_owned()))?;
        self.users_keyspace(&Name {
            keyspace: Some(name.to_owned()),
            name: String::new(),
        })?;
        self.sim.revise(|model| {
            let old = model
                .keyspaces
                .get(name)
                .ok_or_else(|| Fail::no_keyspace(name))?;
            let wanted = wanted(model, name, properties, Some(old))?;
            let keyspace = touch(model, name)?;
            if wanted
                .tablets
                .is_some_and(|tablets| tablets != keyspace.tablets)
            {
                return Err(Fail::invalid(
                    "Cannot alter replication strategy vnode/tablets flavor",
                ));
            }
            if let Some((simple, replication)) = wanted.replication {
                if keyspace.tablets
                    && replication != keyspace.replication
                    && !keyspace.tables.is_empty()
                {
                    return Err(Fail::invalid(
                        "moving the tablets of existing tables is not simulated",
                    ));
                }
                keyspace.simple = simple;
                keyspace.replication = replication;
            }
            keyspace.durable_writes = wanted.durable_writes.unwrap_or(keyspace.durable_writes);
            keyspace.initial = wanted.initial.or(keyspace.initial);
            Ok(())
        })?;
        Ok(Some(change(Happened::Updated, About::Keyspace, name, "")))
    }

    /// The inner error is that there is none.
    pub(super) fn drop_keyspace(&self, name: &str) -> Result<Result<Change, Fail>, Fail> {
        match self.sim.model().keyspaces.get(name) {
            None => {
                let text = format!("Cannot drop non existing keyspace '{name}'.");
                return Ok(Err(Fail::config(text)));
            }
            Some(found) if found.system => return Err(not_modifiable(name)),
            Some(_) => {}
        }
        self.may("DROP", &Resource::Keyspace(name.to_owned()))?;
        retire::drop_keyspace(self.sim, name, self.auto_snapshot())?;
        Ok(Ok(change(Happened::Dropped, About::Keyspace, name, "")))
    }
}

fn wanted(
    model: &Model,
    name: &str,
    properties: &Properties,
    old: Option<&Keyspace>,
) -> Result<Wanted, Fail> {
    let mut wanted = Wanted::default();
    for (property, value) in properties {
        match (property.as_str(), value) {
            ("replication", Setting::Map(map)) => {
                wanted.replication = Some(replication(model, name, map, old)?);
            }
            ("durable_writes", Setting::Number(text)) => {
                wanted.durable_writes = Some(text == "true")
            }
            ("tablets", Setting::Map(map)) => {
                for (key, value) in map {
                    match key.as_str() {
                        "enabled" => wanted.tablets = Some(value == "true"),
                        "initial" => wanted.initial = value.parse().ok().filter(|n| *n > 0),
                        _ => {
                            return Err(Fail::config(format!("Unrecognized tablets option {key}")));
                        }
                    }
                }
            }
            ("storage", _) => {
                return Err(Fail::invalid(
                    "keyspaces in object storage are not simulated",
                ));
            }
            _ => return Err(Fail::syntax(format!("Unknown property '{property}'"))),
        }
    }
    Ok(wanted)
}

/// Whether the strategy is the simple one, and the factors.
fn replication(
    model: &Model,
    keyspace: &str,
    map: &BTreeMap<String, String>,
    old: Option<&Keyspace>,
) -> Result<(bool, Replication), Fail> {
    let class = map.get("class").map(String::as_str).unwrap_or_default();
    let full = match class.contains('.') {
        true => class.to_owned(),
        false => format!("{PACKAGE}{class}"),
    };
    let mut factors = Replication::new();
    for (key, value) in map.iter().filter(|(key, _)| *key != "class") {
        factors.insert(key.clone(), factor(value)?);
    }
    let unknown = |key: &String| {
        Fail::config(format!(
            "Unrecognized strategy option {{{key}}} passed to {full} for keyspace {keyspace}"
        ))
    };
    match full.strip_prefix(PACKAGE) {
        Some("SimpleStrategy") => {
            if let Some(key) = factors.keys().find(|key| *key != EVERYWHERE) {
                return Err(unknown(key));
            }
            if factors.is_empty() {
                let text = "SimpleStrategy requires a replication_factor strategy option.";
                return Err(Fail::config(text));
            }
            Ok((true, factors))
        }
        Some("NetworkTopologyStrategy") => {
            let everywhere = factors.remove(EVERYWHERE);
            let dcs: BTreeSet<&String> = model.members.iter().map(|member| &member.dc).collect();
            if let Some(key) = factors.keys().find(|key| !dcs.contains(key)) {
                return Err(unknown(key));
            }
            if let Some(factor) = everywhere {
                spread(&mut factors, factor, &dcs, old);
            }
            Ok((false, factors))
        }
        _ if class.is_empty() => Err(Fail::config("Missing mandatory replication strategy class")),
        _ => Err(Fail::config(format!(
            "Unable to find replication strategy class '{full}'"
        ))),
    }
}

fn factor(text: &str) -> Result<usize, Fail> {
    let wrong = |_| {
        Fail::config(format!(
            "Replication factor must be numeric and non-negative, found '{text}'"
        ))
    };
    text.parse().map_err(wrong)
}

/// One factor for all datacenters; what was said of one, now or before, stays.
fn spread(
    factors: &mut Replication,
    everywhere: usize,
    dcs: &BTreeSet<&String>,
    old: Option<&Keyspace>,
) {
    let kept = old.filter(|old| !old.simple).into_iter();
    for (dc, factor) in kept.flat_map(|old| &old.replication) {
        factors.entry(dc.clone()).or_insert(*factor);
    }
    for dc in dcs {
        factors.entry((*dc).clone()).or_insert(everywhere);
    }
}
