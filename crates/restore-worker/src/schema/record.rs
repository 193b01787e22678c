//! Where it is written down how a schema was: in the bucket, which outlives NATS, and in NATS, which is
//! the same whatever bucket the next restore comes from.

use catalog::{Document as _, Made, SchemaUndo, TombstoneGc, UndoState, key::OwnKey};
use futures::TryStreamExt as _;
use protocol::{ClusterId, Location, RunId};
use queue::{Bucket, Kv};
use store::Store;
use tracing::{info, warn};

use crate::{
    RestoreWorker,
    failure::Failure,
    plan::{put, read},
};

/// The records of a cluster, of one restore among them.
pub(super) struct Records {
    cluster: ClusterId,
    origin: RunId,
    store: Store,
    queue: Kv<SchemaUndo>,
}

impl RestoreWorker {
    pub(super) async fn records(
        &self,
        cluster: ClusterId,
        origin: RunId,
        location: &Location,
    ) -> Result<Records, Failure> {
        Ok(Records {
            cluster,
            origin,
            store: self.open(location).await?,
            queue: self.queue.bucket(Bucket::Undo),
        })
    }
}

impl Records {
    /// This restore's; `None` if it has not begun.
    pub(super) async fn read(&self) -> Result<Option<SchemaUndo>, Failure> {
        let key = OwnKey::SchemaUndo(self.cluster, self.origin).to_string();
        match read(&self.store, &key).await? {
            Some(body) => self.understood(key, &body).map(Some),
            None => Ok(self
                .queue
                .get(&self.key(self.origin))
                .await?
                .map(|(record, _)| record)),
        }
    }

    /// Where it lives: first in the bucket, which is the truth.
    pub(super) async fn write(&self, record: &SchemaUndo) -> Result<(), Failure> {
        let key = OwnKey::SchemaUndo(self.cluster, record.origin).to_string();
        put(&self.store, key, record.to_json()).await?;
        let copied = self.queue.put(&self.key(record.origin), record).await;
        if let Err(error) = copied {
            // One of very many tables is more than a message holds.
            warn!(error = %service::Chain(&error), "how the schema was is noted in the bucket alone");
        }
        Ok(())
    }

    /// Takes over what other restores of the same tables have noted and not put back: what they found is
    /// how it was, not what they made of it.
    pub(super) async fn inherit(&self, record: &mut SchemaUndo) -> Result<(), Failure> {
        for mut older in self.others().await? {
            let shared = |gc: &TombstoneGc| record.tables.iter().any(|own| own.table == gc.table);
            let is_open = matches!(older.state, UndoState::Making | UndoState::Ready);
            if !is_open || !older.tables.iter().any(shared) {
                continue;
            }
            let more: Vec<TombstoneGc> = std::mem::take(&mut older.tables);
            record
                .tables
                .retain(|own| !more.iter().any(|gc| gc.table == own.table));
            record.tables.extend(more);
            let known = |views: &[Made], view: &Made| {
                let name = (&view.keyspace, &view.name);
                views.iter().any(|own| (&own.keyspace, &own.name) == name)
            };
            for view in older.views.drain(..) {
                record
                    .coming
                    .retain(|own| !known(std::slice::from_ref(&view), own));
                if !known(&record.views, &view) {
                    record.views.push(view);
                }
            }
            for view in older.coming.drain(..) {
                if !known(&record.views, &view) && !known(&record.coming, &view) {
                    record.coming.push(view);
                }
            }
            self.write(record).await?;
            older.state = UndoState::Inherited;
            self.write(&older).await?;
            info!(from = %older.origin, to = %record.origin, "what an earlier restore had changed is this one's to put back");
        }
        Ok(())
    }

    /// Those of other restores of the cluster, wherever they are noted.
    async fn others(&self) -> Result<Vec<SchemaUndo>, Failure> {
        let listed = self.queue.list(&self.cluster.to_string()).await?;
        let mut all: Vec<SchemaUndo> = listed.into_iter().map(|(_, record, _)| record).collect();
        let undos = OwnKey::undos(self.cluster);
        let keys: Vec<String> = self
            .store
            .list(&undos)
            .map_ok(|object| object.key)
            .try_collect()
            .await
            .map_err(Failure::store(format!("list `{undos}`")))?;
        for key in keys {
            if let Some(body) = read(&self.store, &key).await? {
                let record = self.understood(key, &body)?;
                // The bucket is written first.
                all.retain(|other| other.origin != record.origin);
                all.push(record);
            }
        }
        all.retain(|record| record.origin != self.origin);
        Ok(all)
    }

    fn understood(&self, key: String, body: &[u8]) -> Result<SchemaUndo, Failure> {
        SchemaUndo::from_json(body).map_err(|cause| Failure::Unreadable { key, cause })
    }

    fn key(&self, origin: RunId) -> String {
        format!("{}.{origin}", self.cluster)
    }
}
