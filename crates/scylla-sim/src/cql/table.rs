//! What a statement names: a table of the cluster, with all that is known of it.

use super::ast::Name;
use super::fail::Fail;
use super::types::Udts;
use crate::cluster::{Sim, Target};
use crate::schema::definition::Definition;

/// A table looked up, as it is at that moment.
#[derive(Clone, Debug)]
pub(crate) struct Known {
    pub(crate) target: Target,
    pub(crate) definition: Definition,
    pub(crate) udts: Udts,
    /// Indexed columns and the backing tables of their indexes.
    pub(crate) indexes: Vec<(String, String)>,
}

/// Finds a table or view.
///
/// # Errors
/// When there is none, in the server's words.
pub(crate) fn find(sim: &Sim, keyspace: &str, name: &str) -> Result<Known, Fail> {
    let (definition, udts, indexes) = {
        let model = sim.model();
        let found = model.keyspaces.get(keyspace);
        let found = found.ok_or_else(|| Fail::no_keyspace(keyspace))?;
        let table = found.tables.get(name).ok_or_else(|| Fail::no_table(name))?;
        let of_it = found.tables.iter();
        let of_it = of_it.filter(|(_, t)| t.base.as_deref() == Some(name) && !t.definition.loose);
        let indexes = of_it.filter_map(|(backing, t)| {
            let index = t.definition.index.as_ref()?;
            Some((index.column.clone(), backing.clone()))
        });
        (
            table.definition.clone(),
            found.types.clone(),
            indexes.collect(),
        )
    };
    let target = sim
        .target(keyspace, name)
        .map_err(|_| Fail::no_table(name))?;
    Ok(Known {
        target,
        definition,
        udts,
        indexes,
    })
}

/// The keyspace of a name: its own, or the one in use.
///
/// # Errors
/// When there is neither.
pub(crate) fn keyspace_of(name: &Name, used: Option<&str>) -> Result<String, Fail> {
    let keyspace = name.keyspace.as_deref().or(used);
    keyspace.map(str::to_owned).ok_or_else(|| {
        Fail::invalid("No keyspace has been specified. USE a keyspace, or explicitly specify keyspace.tablename")
    })
}
