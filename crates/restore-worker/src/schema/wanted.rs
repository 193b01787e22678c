//! The backup's schema, as it is to be in this cluster.

use std::collections::BTreeMap;

use bucket::listing;
use catalog::Filter;
use cql::{Datacenters, Renames, Schema, Unmapped};
use protocol::{PrepareSchema, RestoreRequest, scratch};
use tracing::warn;

use crate::{RestoreWorker, failure::Failure};

impl RestoreWorker {
    /// What of the backup's schema the request chooses, by the names it is to have here; `None` if the
    /// backup has none and rows alone can be restored; or what is in the way.
    pub(super) async fn wanted(
        &self,
        job: &PrepareSchema,
    ) -> Result<Result<Option<Schema>, String>, Failure> {
        let request = &job.request;
        let stores = listing::open(&self.stores, &request.location).await?;
        let listed = listing::list(&stores, request.source_cluster).await?;
        let backup = listed.choose(&request.snapshot_tag, request.source_cluster)?;
        let rows = match bucket::schema::read(&stores, backup).await {
            Ok(schemas) => schemas.cql.map(|found| found.content),
            Err(bucket::Error::NoSchema { .. }) => None,
            Err(error) => return Err(error.into()),
        };
        let Some(rows) = rows else {
            let tag = &request.snapshot_tag;
            return Ok(match request.what {
                protocol::Restored::Schema => Err(format!(
                    "backup {tag} holds no schema in CQL; make it by hand"
                )),
                protocol::Restored::All | protocol::Restored::Tables => Ok(None),
            });
        };
        Ok(adapted(&Schema::read(&rows)?, request)?.map(Some))
    }

    /// What the tables were made of that rows alone are restored of; `None` if that is not known, for rows
    /// can come without it.
    pub(super) async fn stored(&self, job: &PrepareSchema) -> Result<Option<Schema>, Failure> {
        match self.wanted(job).await {
            Ok(found) => Ok(found.ok().flatten()),
            Err(failure) if failure.retry() => Err(failure),
            Err(failure) => {
                warn!(error = %service::Chain(&failure), "the backup's schema can't be read, so tables are not compared");
                Ok(None)
            }
        }
    }
}

/// Chosen, with other datacenters and other names.
fn adapted(schema: &Schema, request: &RestoreRequest) -> Result<Result<Schema, String>, Failure> {
    let filter = Filter::new(&request.keyspace)?;
    let takes = |keyspace: &str, table: &str| filter.takes(keyspace, table);
    let mut wanted = schema.clone().choose(takes, request.with_roles);
    if !request.dc_mapping.is_empty() {
        let map: BTreeMap<String, String> = request
            .dc_mapping
            .iter()
            .map(|dc| (dc.from.clone(), dc.to.clone()))
            .collect();
        let unmapped = Unmapped::Keep;
        wanted = match wanted.map_datacenters(&Datacenters { map, unmapped }) {
            Ok(mapped) => mapped,
            Err(error) => return Ok(Err(format!("--dc-mapping: {}", service::Chain(&error)))),
        };
    }
    if request.drill {
        let mut renames = Renames::default();
        for object in &wanted.objects {
            let name = &object.keyspace;
            renames.keyspaces.insert(name.clone(), scratch(name));
        }
        return Ok(wanted
            .renamed(&renames)
            .map_err(|error| format!("a drill: {}", service::Chain(&error))));
    }
    if request.rename.is_empty() {
        return Ok(Ok(wanted));
    }
    Ok(wanted
        .renamed(&renames(request))
        .map_err(|error| format!("--rename: {}", service::Chain(&error))))
}

fn renames(request: &RestoreRequest) -> Renames {
    let mut renames = Renames::default();
    for rename in &request.rename {
        match (rename.from.split_once('.'), rename.to.split_once('.')) {
            (Some((from, table)), Some((to, name))) => {
                let key = (from.to_owned(), table.to_owned());
                renames.tables.insert(key, (to.to_owned(), name.to_owned()));
            }
            // Both were checked to be of one form.
            (_, _) => {
                renames
                    .keyspaces
                    .insert(rename.from.clone(), rename.to.clone());
            }
        }
    }
    renames
}
