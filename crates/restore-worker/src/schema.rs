//! The cluster's schema during a restore: made ready for rows, and put right afterwards.
//!
//! # Promises
//! * Nothing is changed where the backup and the cluster do not agree: then the answer is an objection.
//! * How everything was is written down, in the bucket and in NATS, before the first change, and what an
//!   interrupted restore of the same tables has written down is taken over.
//! * What was made is removed again if not all of it can be made; after rows have come, nothing is removed.
//!
//! # Crashes
//! Each change may be made again: what is made anew is first removed, as long as no rows can have come.

mod decide;
mod record;
mod room;
mod wanted;

use std::{collections::BTreeSet, time::Duration};

use catalog::{Made, SchemaUndo, TombstoneGc, UndoState};
use cql::{Schema, Stage};
use protocol::{
    Fact, PrepareSchema, ProveRestore, RestoreProven, Restored, Room, SCRATCH, SchemaPrepared,
    SchemaSettled, SettleSchema, TableRef,
};
use queue::Context as JobContext;
use scylla::{Consistency, CqlError, Keyspaces, Replication, Right, Session, ViewBuild};
use tokio::time::{Instant, sleep};
use tracing::{info, warn};

use self::{decide::Case, record::Records};
use crate::{RestoreWorker, failure::Failure};

/// How long to wait for views before saying that they are still being built.
const BUILD: Duration = Duration::from_secs(3 * 60);
/// Between two looks at how far a view is.
const LOOK: Duration = Duration::from_secs(1);

impl RestoreWorker {
    /// Makes the schema ready for rows, or says why it can't be.
    pub(crate) async fn prepare_schema(
        &self,
        job: PrepareSchema,
        ctx: &JobContext,
    ) -> Result<Fact, Failure> {
        let first = job.request.location.first().ok_or(Failure::NoLocation)?;
        let records = self.records(job.cluster, job.origin, first).await?;
        let known = records.read().await?;
        let session = match self.login.session(&self.node).await {
            Ok(session) => session,
            Err(error) if known.is_none() && !error.retry() => {
                return Ok(objected(error.to_string()));
            }
            Err(error) => return Err(error.into()),
        };
        let mut record = match known {
            Some(record) => record,
            None => match self.decide(&job, &session).await? {
                Ok((record, rooms)) if job.dry => return Ok(told(&record, rooms)),
                Ok((mut record, _)) => {
                    records.inherit(&mut record).await?;
                    record
                }
                Err(objection) => return Ok(objected(objection)),
            },
        };
        if job.dry {
            return Ok(told(&record, Vec::new()));
        }
        match record.state {
            UndoState::Making => {
                records.write(&record).await?;
                if let Err(failure) = make(&session, &record, ctx).await {
                    return give_up_making(&session, &records, record, failure, ctx).await;
                }
                if job.request.with_roles {
                    self.make_access(&job, &session, ctx).await?;
                }
                record.state = UndoState::Ready;
                records.write(&record).await?;
            }
            UndoState::Ready => {}
            // A copy of the job that comes late.
            UndoState::Settled => return Ok(prepared(&record, false)),
            UndoState::Undone | UndoState::Inherited => {
                return Ok(objected(format!(
                    "what restore {} had changed was put back, so it can't be continued: start it anew, with \
                     --no-continue",
                    job.origin
                )));
            }
        }
        shield(&session, &record, ctx).await?;
        let tablets = self.on_tablets(&record.tables).await?;
        info!(
            run = %job.run, created = record.created.len(), views = record.views.len(),
            tables = record.tables.len(), "schema ready for rows"
        );
        Ok(prepared(&record, tablets))
    }

    /// Puts the schema right after a restore, or back if it is given up.
    pub(crate) async fn settle_schema(
        &self,
        job: SettleSchema,
        ctx: &JobContext,
    ) -> Result<Fact, Failure> {
        let records = self.records(job.cluster, job.origin, &job.location).await?;
        let nothing = Ok(Fact::SchemaSettled(SchemaSettled {
            scrapped: job.scrap,
            ..SchemaSettled::default()
        }));
        let Some(mut record) = records.read().await? else {
            return nothing;
        };
        let over = match record.state {
            UndoState::Making | UndoState::Ready => false,
            // What a drill has made is settled before it goes.
            UndoState::Settled => !job.scrap,
            UndoState::Undone | UndoState::Inherited => true,
        };
        // It was put right or back, or is another's to put back: since then it is the users' again.
        if over {
            return nothing;
        }
        let session = self.login.session(&self.node).await?;
        let scrap = job.scrap
            && record
                .created
                .iter()
                .all(|made| made.keyspace.starts_with(SCRATCH));
        if job.scrap && !scrap {
            return Err(Failure::NoDrill { origin: job.origin });
        }
        if scrap {
            drop_made(&session, &record, ctx).await?;
        } else if record.state == UndoState::Making && job.undo {
            unmake(&session, &record, ctx).await?;
        }
        let there = tables_of(&session).await?;
        let tables: Vec<&TombstoneGc> = record
            .tables
            .iter()
            .filter(|gc| there.contains(&gc.table))
            .collect();
        for gc in &tables {
            ctx.alive.moved(0);
            let TableRef { keyspace, table } = &gc.table;
            let statement = cql::tombstone_gc(keyspace, table, &gc.options);
            session.execute_schema(&statement).await?;
        }
        let coming: &[Made] = if job.undo { &[] } else { &record.coming };
        let based = |view: &&Made| view.base.as_ref().is_none_or(|base| there.contains(base));
        let views: Vec<&Made> = record.views.iter().chain(coming).filter(based).collect();
        for view in &views {
            for statement in &view.create {
                ctx.alive.moved(0);
                session.execute_schema(statement).await?;
            }
        }
        let building = self.await_views(&views, ctx).await?;
        let settled = SchemaSettled {
            views: count(views.len()),
            tables: count(tables.len()),
            building,
            scrapped: scrap,
        };
        if building == 0 {
            record.state = match job.undo {
                true => UndoState::Undone,
                false => UndoState::Settled,
            };
            records.write(&record).await?;
            info!(run = %job.run, undo = job.undo, views = settled.views, tables = settled.tables, "schema settled");
        }
        Ok(Fact::SchemaSettled(settled))
    }

    /// Reads all rows of a drill, from all replicas.
    pub(crate) async fn read_back(
        &self,
        job: ProveRestore,
        ctx: &JobContext,
    ) -> Result<Fact, Failure> {
        let session = self.login.session(&self.node).await?;
        let mut rows = 0;
        for table in &job.tables {
            let name = (table.keyspace.as_str(), table.table.as_str());
            let seen = |_| ctx.alive.moved(0);
            let found = session.fingerprint(name, Consistency::All, seen).await?;
            info!(run = %job.run, %table, rows = found.rows, sum = format!("{:032x}", found.sum), "rows read");
            rows += found.rows;
        }
        let tables = count(job.tables.len());
        Ok(Fact::RestoreProven(RestoreProven { tables, rows }))
    }

    /// What to do, by what the backup and the cluster hold, and what that needs; or what is in the way.
    async fn decide(
        &self,
        job: &PrepareSchema,
        session: &Session,
    ) -> Result<Result<(SchemaUndo, Vec<Room>), String>, Failure> {
        let request = &job.request;
        let existing = schema_of(session).await?;
        let (wanted, stored) = match request.what {
            Restored::Tables => (None, self.stored(job).await?),
            Restored::All | Restored::Schema => match self.wanted(job).await? {
                Ok(wanted) => (wanted, None),
                Err(objection) => return Ok(Err(objection)),
            },
        };
        let tables: Vec<TableRef> = job.tables.iter().map(|size| size.table.clone()).collect();
        let occupied = match request.merge {
            true => Vec::new(),
            false => occupied(session, &existing, &tables).await?,
        };
        let rooms = self.rooms(job, &existing, wanted.as_ref()).await?;
        let decided = decide::decide(&Case {
            cluster: job.cluster,
            origin: job.origin,
            what: request.what,
            existing: &existing,
            wanted: wanted.as_ref(),
            stored: stored.as_ref(),
            tables: &tables,
            dcs: &job.dcs,
            occupied: &occupied,
            rooms: &rooms,
        });
        let record = match decided {
            Ok(record) => record,
            Err(objection) => return Ok(Err(objection)),
        };
        if let Some(objection) = rights(session, &record).await? {
            return Ok(Err(objection));
        }
        let rooms = rooms.into_iter().map(|(_, room)| room).collect();
        Ok(Ok((record, rooms)))
    }

    async fn make_access(
        &self,
        job: &PrepareSchema,
        session: &Session,
        ctx: &JobContext,
    ) -> Result<(), Failure> {
        let Ok(Some(wanted)) = self.wanted(job).await? else {
            return Ok(());
        };
        let existing = schema_of(session).await?;
        for difference in cql::differences(&existing, &wanted) {
            let object = wanted.stage(Stage::Access).find(|object| {
                difference.is_missing()
                    && (object.kind, &object.name) == (difference.kind, &difference.name)
            });
            for statement in object.iter().flat_map(|object| &object.statements) {
                ctx.alive.moved(0);
                match session.execute_schema(statement.text()).await {
                    Ok(()) | Err(CqlError::Exists { .. }) => {}
                    Err(error) => return Err(error.into()),
                }
            }
        }
        Ok(())
    }

    async fn on_tablets(&self, tables: &[TombstoneGc]) -> Result<bool, Failure> {
        let keyspaces: BTreeSet<&String> = tables.iter().map(|gc| &gc.table.keyspace).collect();
        let tablets = self
            .node
            .keyspaces(Keyspaces::User, Replication::Tablets)
            .await?;
        Ok(tablets.iter().any(|keyspace| keyspaces.contains(keyspace)))
    }

    /// Waits for a while until views are built; says how many are not.
    async fn await_views(&self, views: &[&Made], ctx: &JobContext) -> Result<u32, Failure> {
        let until = Instant::now() + BUILD;
        let mut building: Vec<TableRef> = views.iter().map(|view| view.view()).collect();
        loop {
            let mut left = Vec::new();
            for view in building {
                ctx.alive.moved(0);
                let nodes = self.node.view_build(&view).await?;
                if !nodes.values().all(|build| *build == ViewBuild::Success) {
                    left.push(view);
                }
            }
            if left.is_empty() || Instant::now() >= until {
                return Ok(count(left.len()));
            }
            building = left;
            sleep(LOOK).await;
        }
    }
}

fn objected(objection: String) -> Fact {
    Fact::SchemaPrepared(SchemaPrepared {
        objection: Some(objection),
        ..SchemaPrepared::default()
    })
}

fn prepared(record: &SchemaUndo, tablets: bool) -> Fact {
    Fact::SchemaPrepared(SchemaPrepared {
        objection: None,
        created: count(record.created.len()),
        views: count(record.views.len() + record.coming.len()),
        tablets,
        rooms: Vec::new(),
        remarks: record.remarks.clone(),
    })
}

/// What would be done.
fn told(record: &SchemaUndo, rooms: Vec<Room>) -> Fact {
    let (created, views) = (
        record.created.len(),
        record.views.len() + record.coming.len(),
    );
    Fact::SchemaPrepared(SchemaPrepared {
        created: count(created),
        views: count(views),
        rooms,
        remarks: record.remarks.clone(),
        ..SchemaPrepared::default()
    })
}

fn count(of: usize) -> u32 {
    u32::try_from(of).unwrap_or(u32::MAX)
}

/// The cluster's own schema.
async fn schema_of(session: &Session) -> Result<Schema, Failure> {
    let described = session.schema(false).await?;
    Ok(Schema::read(&described.rows)?)
}

async fn tables_of(session: &Session) -> Result<BTreeSet<TableRef>, Failure> {
    let schema = schema_of(session).await?;
    let name = |object: &cql::Object| TableRef {
        keyspace: object.keyspace.clone(),
        table: object.name.clone(),
    };
    Ok(schema.stage(Stage::Tables).map(name).collect())
}

/// Those of the tables that are there and hold rows.
async fn occupied(
    session: &Session,
    existing: &Schema,
    tables: &[TableRef],
) -> Result<Vec<TableRef>, Failure> {
    let mut occupied = Vec::new();
    for table in tables {
        let mut there = existing.stage(Stage::Tables);
        let there = there.any(|one| (&one.keyspace, &one.name) == (&table.keyspace, &table.table));
        if there && session.has_rows(&table.keyspace, &table.table).await? {
            occupied.push(table.clone());
        }
    }
    Ok(occupied)
}

/// Whether the user may do what is to be done.
async fn rights(session: &Session, record: &SchemaUndo) -> Result<Option<String>, Failure> {
    let rights = session.rights().await?;
    if rights.all() {
        return Ok(None);
    }
    let mut lacking = BTreeSet::new();
    let mut need = |right: Right, keyspace: &str, on: Option<&str>| {
        if !rights.may(right, on) {
            lacking.insert(format!("{} on keyspace {keyspace}", right.word()));
        }
    };
    for made in &record.created {
        let within = made.keyspace != made.name;
        let on = within.then_some(made.keyspace.as_str());
        need(Right::Create, &made.keyspace, on);
    }
    for gc in &record.tables {
        need(Right::Alter, &gc.table.keyspace, Some(&gc.table.keyspace));
    }
    for view in record.views.iter().chain(&record.coming) {
        need(Right::Create, &view.keyspace, Some(&view.keyspace));
        need(Right::Alter, &view.keyspace, Some(&view.keyspace));
        need(Right::Drop, &view.keyspace, Some(&view.keyspace));
    }
    let lacking: Vec<String> = lacking.into_iter().collect();
    Ok((!lacking.is_empty()).then(|| {
        format!(
            "the user that `cql.username` names lacks rights: {}; grant them, or name a superuser",
            lacking.join(", ")
        )
    }))
}

/// Makes what is lacking. What an attempt cut short has made of it goes first: it holds no rows.
async fn make(session: &Session, record: &SchemaUndo, ctx: &JobContext) -> Result<(), Failure> {
    unmake(session, record, ctx).await?;
    for statement in record.created.iter().flat_map(|made| &made.create) {
        ctx.alive.moved(0);
        session.execute_schema(statement).await?;
    }
    Ok(())
}

/// Removes what is made for the restore before rows come; nothing, if there are any: since the attempt that
/// was cut short, somebody else has put them there.
async fn unmake(session: &Session, record: &SchemaUndo, ctx: &JobContext) -> Result<(), Failure> {
    let goes = |table: &TableRef| {
        record.created.iter().any(|made| {
            let whole = made.name == made.keyspace;
            made.keyspace == table.keyspace && (whole || made.name == table.table)
        })
    };
    for table in tables_of(session).await?.iter().filter(|table| goes(table)) {
        ctx.alive.moved(0);
        if session.has_rows(&table.keyspace, &table.table).await? {
            let table = table.to_string();
            return Err(Failure::HoldsRows { table });
        }
    }
    drop_made(session, record, ctx).await
}

/// Drops what is made for the restore, in the opposite order. Of what is in no keyspace that is there,
/// nothing can be left, and a server does not even say so.
async fn drop_made(
    session: &Session,
    record: &SchemaUndo,
    ctx: &JobContext,
) -> Result<(), Failure> {
    let there = schema_of(session).await?;
    let keyspaces: BTreeSet<&String> = there
        .stage(Stage::Keyspaces)
        .map(|keyspace| &keyspace.name)
        .collect();
    // A table goes only when no view is left of it.
    let left = record.coming.iter().chain(record.created.iter().rev());
    for made in left.filter(|made| keyspaces.contains(&made.keyspace)) {
        ctx.alive.moved(0);
        session.execute_schema(&made.drop).await?;
    }
    Ok(())
}

/// Removes what was made, if the rest can't be; with that, nothing was changed.
async fn give_up_making(
    session: &Session,
    records: &Records,
    mut record: SchemaUndo,
    failure: Failure,
    ctx: &JobContext,
) -> Result<Fact, Failure> {
    if failure.retry() {
        return Err(failure);
    }
    let text = service::Chain(&failure).to_string();
    if let Err(error) = unmake(session, &record, ctx).await {
        warn!(error = %service::Chain(&error), "what was made of a schema can't be removed again");
        return Err(failure);
    }
    record.state = UndoState::Undone;
    records.write(&record).await?;
    Ok(objected(format!(
        "the backup's schema can't be made in this cluster: {text}; what was made of it is removed again"
    )))
}

/// Drops views, and keeps tombstones: rows that come in may be older than what deletes them.
async fn shield(session: &Session, record: &SchemaUndo, ctx: &JobContext) -> Result<(), Failure> {
    for view in &record.views {
        ctx.alive.moved(0);
        session.execute_schema(&view.drop).await?;
    }
    let kept = [("mode".to_owned(), "disabled".to_owned())].into();
    for gc in &record.tables {
        ctx.alive.moved(0);
        let TableRef { keyspace, table } = &gc.table;
        session
            .execute_schema(&cql::tombstone_gc(keyspace, table, &kept))
            .await?;
    }
    Ok(())
}
