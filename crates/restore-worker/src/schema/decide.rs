//! What a restore makes of a cluster's schema, or why the backup can't come into it.
//!
//! A value from values: nothing is asked and nothing changed here.

use std::collections::{BTreeMap, BTreeSet};

use catalog::{Made, SchemaUndo, TombstoneGc, UndoState};
use cql::{Aspect, Difference, Kind, Object, Schema, Stage};
use protocol::{ClusterId, Restored, Room, RunId, TableRef};

/// The most things of a kind that an objection names.
const NAMED: usize = 10;

/// What there is to decide on.
pub(crate) struct Case<'a> {
    pub(crate) cluster: ClusterId,
    pub(crate) origin: RunId,
    pub(crate) what: Restored,
    /// The cluster's schema.
    pub(crate) existing: &'a Schema,
    /// What is to come of the backup's, by the cluster's names; `None` if none is restored.
    pub(crate) wanted: Option<&'a Schema>,
    /// The backup's likewise, if rows alone are restored: what they are made of.
    pub(crate) stored: Option<&'a Schema>,
    /// The tables that rows come into.
    pub(crate) tables: &'a [TableRef],
    /// The cluster's datacenters.
    pub(crate) dcs: &'a [String],
    /// Those of the tables that hold rows, though they should not.
    pub(crate) occupied: &'a [TableRef],
    /// What each node has to take in, and by what name it is known.
    pub(crate) rooms: &'a [(String, Room)],
}

/// What the restore does, or what is in the way, for people.
pub(crate) fn decide(case: &Case) -> Result<SchemaUndo, String> {
    let here = Here::of(case.existing);
    let nothing = Schema::default();
    let wanted = case.wanted.unwrap_or(&nothing);
    let mut objections = Vec::new();
    let mut remarks = remarks(wanted);
    let differing = cql::differences(case.existing, wanted);
    for difference in differing.iter().filter(|one| !one.is_missing()) {
        match tolerable(difference, case.what) {
            true => remarks.push(format!("{difference}: the cluster's is kept")),
            false => objections.push(format!("{difference}")),
        }
    }
    objections.extend(losses(case));
    let lacking = |object: &&Object| {
        !case
            .existing
            .objects
            .iter()
            .any(|there| same(there, object))
    };
    let created: Vec<&Object> = wanted.objects.iter().filter(lacking).collect();
    objections.extend(unknown_datacenters(&created, case.dcs));
    objections.extend(no_tables(case, wanted));
    objections.extend(occupied(case.occupied));
    objections.extend(too_full(case.rooms));
    if !objections.is_empty() {
        return Err(objections.join("; "));
    }
    let (late, early): (Vec<&Object>, Vec<&Object>) = created
        .into_iter()
        .partition(|object| object.stage() == Stage::Views);
    let targets: BTreeSet<&TableRef> = case.tables.iter().collect();
    let views = here.views.iter().filter(|(base, _)| targets.contains(base));
    let views: Result<Vec<Made>, String> = views.map(|(_, view)| remade(view)).collect();
    let coming: Result<Vec<Made>, String> = late.into_iter().map(remade).collect();
    Ok(SchemaUndo {
        cluster: case.cluster,
        origin: case.origin,
        state: UndoState::Making,
        created: early.into_iter().filter_map(made).collect(),
        tables: tombstones(case, &here, wanted),
        views: views?,
        coming: coming?,
        remarks,
    })
}

/// The cluster's schema, by name.
struct Here<'a> {
    tables: BTreeMap<TableRef, &'a Object>,
    views: Vec<(TableRef, &'a Object)>,
}

impl<'a> Here<'a> {
    fn of(schema: &'a Schema) -> Self {
        let tables = schema.stage(Stage::Tables);
        let views = schema.stage(Stage::Views);
        Self {
            tables: tables.map(|table| (name(table), table)).collect(),
            views: views.filter_map(|view| Some((base(view)?, view))).collect(),
        }
    }
}

/// Whether they are called the same.
fn same(a: &Object, b: &Object) -> bool {
    (a.kind, &a.keyspace, &a.name, &a.arguments) == (b.kind, &b.keyspace, &b.name, &b.arguments)
}

fn name(object: &Object) -> TableRef {
    TableRef {
        keyspace: object.keyspace.clone(),
        table: object.name.clone(),
    }
}

fn base(view: &Object) -> Option<TableRef> {
    let base = view.base.as_ref()?;
    let keyspace = match base.keyspace.is_empty() {
        true => view.keyspace.clone(),
        false => base.keyspace.clone(),
    };
    Some(TableRef {
        keyspace,
        table: base.table.clone(),
    })
}

/// What was left out, without what nobody would look for.
fn remarks(wanted: &Schema) -> Vec<String> {
    let left = wanted.skipped.iter().filter(|left| match left.why {
        cql::Why::Alternator | cql::Why::Audit => true,
        cql::Why::System
        | cql::Why::Paxos
        | cql::Why::CdcLog
        | cql::Why::Access
        | cql::Why::Elsewhere
        | cql::Why::Empty => false,
    });
    let text = left.map(|left| {
        let (kind, keyspace, name) = (&left.kind, &left.keyspace, &left.name);
        format!("{kind} {keyspace}.{name} is left out: {}", left.why.text())
    });
    text.take(NAMED).collect()
}

/// Rows fit into a table whatever its options are; and where replicas of a keyspace are is the cluster's to say.
/// Who restores the schema alone wants just that schema.
fn tolerable(difference: &Difference, what: Restored) -> bool {
    let only_options = difference
        .details
        .iter()
        .all(|detail| matches!(detail.aspect, Aspect::Option(_)));
    only_options && what != Restored::Schema
        || matches!(
            difference.kind,
            Kind::Role | Kind::Grant | Kind::ServiceLevel
        )
}

/// What of rows would be lost or misread in the tables that are there.
fn losses(case: &Case) -> Vec<String> {
    let lost = |stored| cql::losses(case.existing, stored);
    let lost = case.stored.map(lost).unwrap_or_default();
    let concerns = |one: &&Difference| {
        let mut tables = case.tables.iter();
        tables.any(|table| {
            table.keyspace == one.keyspace && (one.kind == Kind::Type || table.table == one.name)
        })
    };
    let text = |one: &Difference| {
        format!(
            "{one}: rows would lose that; restore them beside it with their schema, as with --rename {0}={0}_restored",
            one.keyspace
        )
    };
    lost.iter().filter(concerns).map(text).collect()
}

fn unknown_datacenters(created: &[&Object], dcs: &[String]) -> Option<String> {
    let keyspaces = created.iter().filter(|one| one.kind == Kind::Keyspace);
    let mut unknown = BTreeSet::new();
    for keyspace in keyspaces {
        let named = keyspace.create()?.datacenters().unwrap_or_default();
        unknown.extend(named.into_iter().filter(|dc| !dcs.contains(dc)));
    }
    let first = unknown.iter().next()?;
    let all: Vec<&str> = unknown.iter().map(String::as_str).collect();
    Some(format!(
        "the backup's keyspaces are in datacenters that this cluster has not: {}; say where their replicas \
         go, as in --dc-mapping {first}={}",
        all.join(", "),
        dcs.first().map_or("<datacenter>", String::as_str)
    ))
}

fn no_tables(case: &Case, wanted: &Schema) -> Option<String> {
    let there = |schema: &Schema, table: &TableRef| {
        let mut tables = schema.stage(Stage::Tables);
        tables.any(|one| (&one.keyspace, &one.name) == (&table.keyspace, &table.table))
    };
    let lacks = |table: &&TableRef| !there(case.existing, table) && !there(wanted, table);
    let missing: Vec<String> = case
        .tables
        .iter()
        .filter(lacks)
        .map(ToString::to_string)
        .collect();
    let first = missing.first()?;
    let hint = match case.wanted {
        Some(_) => "the backup's schema has not either",
        None => "restore the schema as well, or make them",
    };
    Some(format!(
        "{} tables of the backup are not in this cluster ({}): {hint}; or leave them out with --keyspace '!{first}'",
        missing.len(),
        listed(&missing)
    ))
}

fn occupied(tables: &[TableRef]) -> Option<String> {
    let first = tables.first()?;
    let names: Vec<String> = tables.iter().map(ToString::to_string).collect();
    Some(format!(
        "tables hold rows already ({}): restore beside them, as with --rename {first}={first}_restored; or empty \
         them with TRUNCATE; or have rows of both kept, the newer of each, with --merge",
        listed(&names)
    ))
}

fn too_full(rooms: &[(String, Room)]) -> Option<String> {
    let full = rooms.iter().filter(|(_, room)| room.needed > room.free);
    let text = |(name, room): &(String, Room)| {
        let Room { needed, free, .. } = room;
        format!("{name}: {needed} bytes are needed and {free} are free")
    };
    let full: Vec<String> = full.map(text).collect();
    (!full.is_empty()).then(|| {
        format!(
            "not enough space on nodes for all copies that come, before they are compacted, beyond what has to \
             stay free (`restore.min_free_percent`): {}; make room, restore fewer tables at once with \
             --keyspace, or add nodes",
            listed(&full)
        )
    })
}

/// How many copies of each row the keyspace of a table has.
pub(crate) fn copies(keyspace: &str, existing: &Schema, wanted: Option<&Schema>) -> u64 {
    let of = |schema: &Schema| {
        let mut keyspaces = schema.stage(Stage::Keyspaces);
        let keyspace = keyspaces.find(|one| one.name == keyspace)?;
        keyspace.create()?.copies().ok()
    };
    of(existing).or_else(|| of(wanted?)).unwrap_or(1)
}

fn listed(names: &[String]) -> String {
    let shown = names[..names.len().min(NAMED)].join(", ");
    match names.len() > NAMED {
        true => format!("{shown}, …"),
        false => shown,
    }
}

/// What makes and removes an object that is lacking; none for what cannot be removed by its name.
fn made(object: &Object) -> Option<Made> {
    if object.stage() == Stage::Access {
        return None;
    }
    Some(Made {
        keyspace: object.keyspace.clone(),
        name: object.name.clone(),
        base: None,
        index: false,
        create: object
            .statements
            .iter()
            .map(|statement| statement.text().to_owned())
            .collect(),
        drop: object.drop()?,
    })
}

/// What makes a view or an index again. A new one: files of one that was dropped may still be on disks.
fn remade(view: &Object) -> Result<Made, String> {
    let unclear = |why: String| format!("{} can't be made again: {why}", view.full_name());
    let create = view
        .create()
        .ok_or_else(|| unclear("nothing makes it".to_owned()))?;
    let again = create
        .without_id()
        .and_then(|again| again.with_if_not_exists())
        .map_err(|error| unclear(error.to_string()))?;
    Ok(Made {
        keyspace: view.keyspace.clone(),
        name: view.name.clone(),
        base: base(view),
        index: view.kind == Kind::Index,
        create: vec![again.text().to_owned()],
        drop: view
            .drop()
            .ok_or_else(|| unclear("it has no name to drop it by".to_owned()))?,
    })
}

/// What ScyllaDB does where a table does not say when its tombstones go.
fn default_gc() -> BTreeMap<String, String> {
    let entries = [
        ("mode", "timeout"),
        ("propagation_delay_in_seconds", "3600"),
    ];
    let entries = entries.map(|(key, value)| (key.to_owned(), value.to_owned()));
    entries.into()
}

fn tombstones(case: &Case, here: &Here, wanted: &Schema) -> Vec<TombstoneGc> {
    let coming: BTreeMap<TableRef, &Object> = wanted
        .stage(Stage::Tables)
        .map(|table| (name(table), table))
        .collect();
    let of = |table: &TableRef| {
        let object = here.tables.get(table).or_else(|| coming.get(table))?;
        object.create()?.tombstone_gc().ok().flatten()
    };
    let before = |table: &TableRef| TombstoneGc {
        table: table.clone(),
        options: of(table).unwrap_or_else(default_gc),
    };
    case.tables.iter().map(before).collect()
}

#[cfg(test)]
mod tests {
    use catalog::schema::Row;
    use uuid::Uuid;

    use super::*;

    const KEYSPACE: (&str, &str) = (
        "keyspace",
        "CREATE KEYSPACE shop WITH replication = {'class': 'NetworkTopologyStrategy', 'dc1': '3'}",
    );
    const USERS: (&str, &str) = (
        "table",
        "CREATE TABLE shop.users (id int PRIMARY KEY, name text) WITH ID = 3fa1c2de-0000-4000-8000-000000000001 \
         AND tombstone_gc = {'mode': 'repair'}",
    );
    const VIEW: (&str, &str) = (
        "view",
        "CREATE MATERIALIZED VIEW shop.names AS SELECT * FROM shop.users WHERE name IS NOT NULL AND id IS NOT NULL \
         PRIMARY KEY (name, id) WITH ID = 3fa1c2de-0000-4000-8000-000000000002 AND comment = ''",
    );

    fn schema(rows: &[(&str, &str)]) -> Schema {
        let rows: Vec<Row> = rows
            .iter()
            .map(|(kind, text)| Row {
                keyspace: "shop".into(),
                kind: (*kind).into(),
                name: String::new(),
                cql_stmt: (*text).into(),
            })
            .collect();
        Schema::read(&rows).unwrap()
    }

    fn users() -> TableRef {
        TableRef {
            keyspace: "shop".into(),
            table: "users".into(),
        }
    }

    fn decided(
        existing: &[(&str, &str)],
        wanted: Option<&[(&str, &str)]>,
        change: impl for<'a> FnOnce(&mut Case<'a>),
    ) -> Result<SchemaUndo, String> {
        let (existing, wanted) = (schema(existing), wanted.map(schema));
        let (tables, dcs) = ([users()], ["dc1".to_owned()]);
        let mut case = Case {
            cluster: ClusterId(Uuid::nil()),
            origin: RunId(Uuid::nil()),
            what: Restored::All,
            existing: &existing,
            wanted: wanted.as_ref(),
            stored: None,
            tables: &tables,
            dcs: &dcs,
            occupied: &[],
            rooms: &[],
        };
        change(&mut case);
        decide(&case)
    }

    #[test]
    fn what_is_lacking_is_made_and_its_views_come_last() {
        let record = decided(&[], Some(&[VIEW, USERS, KEYSPACE]), |_| {}).unwrap();
        let created: Vec<&str> = record
            .created
            .iter()
            .map(|made| made.name.as_str())
            .collect();
        assert_eq!(created, ["shop", "users"]);
        assert_eq!(record.created[1].create, [USERS.1]);
        assert!(record.views.is_empty());
        let [view] = &record.coming[..] else {
            panic!("{record:?}")
        };
        assert_eq!(
            (view.name.as_str(), view.base.as_ref()),
            ("names", Some(&users()))
        );
        assert!(
            view.create[0].contains("IF NOT EXISTS") && !view.create[0].contains(" ID "),
            "{view:?}"
        );
        assert_eq!(record.tables[0].options["mode"], "repair");
    }

    #[test]
    fn what_is_there_is_kept_and_its_views_are_made_again() {
        let all = [KEYSPACE, USERS, VIEW];
        let record = decided(&all, Some(&all), |_| {}).unwrap();
        assert!(
            record.created.is_empty() && record.coming.is_empty(),
            "{record:?}"
        );
        assert_eq!(record.views[0].view().table, "names");
        // A cluster's other options are its own.
        let other = (
            "table",
            "CREATE TABLE shop.users (id int PRIMARY KEY, name text) WITH comment = 'x'",
        );
        let here = [KEYSPACE, other];
        let record = decided(&here, Some(&all), |_| {}).unwrap();
        assert!(
            record
                .remarks
                .iter()
                .any(|remark| remark.contains("the cluster's is kept")),
            "{record:?}"
        );
        assert_eq!(record.tables[0].options, default_gc());
        let said = decided(&here, Some(&all), |case| case.what = Restored::Schema).unwrap_err();
        assert!(said.contains("comment"), "{said}");
    }

    #[test]
    fn each_thing_in_the_way_is_named() {
        let wanted = [KEYSPACE, USERS];
        let blob = (
            "table",
            "CREATE TABLE shop.users (id int PRIMARY KEY, name blob)",
        );
        let said = decided(&[KEYSPACE, blob], Some(&wanted), |_| {}).unwrap_err();
        assert!(
            said.contains("column `name` is `blob` here and `text` in the backup"),
            "{said}"
        );

        let said = decided(&[], Some(&wanted), |case| case.dcs = &[]).unwrap_err();
        assert!(said.contains("--dc-mapping dc1=<datacenter>"), "{said}");

        let said = decided(&[], None, |_| {}).unwrap_err();
        assert!(
            said.contains("shop.users") && said.contains("--keyspace '!shop.users'"),
            "{said}"
        );

        let said = decided(&wanted, None, |case| case.occupied = case.tables).unwrap_err();
        assert!(
            said.contains("--merge") && said.contains("--rename shop.users="),
            "{said}"
        );

        let room = |free| {
            let node = protocol::NodeId(Uuid::nil());
            [(
                "n1".to_owned(),
                Room {
                    node,
                    needed: 100,
                    free,
                },
            )]
        };
        let said = too_full(&room(99)).unwrap();
        assert!(
            said.contains("n1: 100 bytes are needed and 99 are free"),
            "{said}"
        );
        assert_eq!(too_full(&room(100)), None);
    }

    #[test]
    fn rows_alone_come_only_where_nothing_of_them_is_lost() {
        let into = |table: &str| {
            let here = [KEYSPACE, ("table", table)];
            decided(&here, Some(&[KEYSPACE, USERS]), |case| {
                case.stored = case.wanted.take();
            })
        };
        let more = "CREATE TABLE shop.users (id int PRIMARY KEY, name text, age int)";
        assert!(into(more).is_ok());
        for (less, lost) in [
            (
                "CREATE TABLE shop.users (id int PRIMARY KEY)",
                "`name` (`text`) is in the backup and not here",
            ),
            (
                "CREATE TABLE shop.users (id int PRIMARY KEY, name blob)",
                "`name` is `blob` here",
            ),
            (
                "CREATE TABLE shop.users (id int, name text, PRIMARY KEY (id, name))",
                "the primary key",
            ),
            (
                "CREATE TABLE shop.users (id int PRIMARY KEY, name text);
                 ALTER TABLE shop.users DROP name USING TIMESTAMP 5; ALTER TABLE shop.users ADD name text;",
                "dropped column `name`",
            ),
        ] {
            let said = into(less).unwrap_err();
            assert!(said.contains(lost) && said.contains("--rename"), "{said}");
        }
    }

    #[test]
    fn copies_are_counted_by_keyspace() {
        let here = schema(&[KEYSPACE]);
        assert_eq!(copies("shop", &here, None), 3);
        assert_eq!(copies("shop", &Schema::default(), Some(&here)), 3);
        assert_eq!(copies("other", &here, None), 1);
    }
}
