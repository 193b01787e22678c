//! CQL to a simulated cluster, as a person with `cqlsh` would use it.

use std::time::Duration;

use anyhow::{Context as _, Result};
use driver::{
    client::{
        execution_profile::ExecutionProfile, session::Session, session_builder::SessionBuilder,
    },
    statement::{Consistency, Statement},
    value::{CqlValue, Row},
};

use crate::Sim;

/// A session with one cluster.
pub struct Cql(Session);

impl Cql {
    /// Connects to the cluster's first node.
    ///
    /// # Errors
    /// When it does not speak CQL.
    pub async fn connect(sim: &Sim) -> Result<Self> {
        Self::begin(sim, SessionBuilder::new()).await
    }

    /// The same, as a user.
    ///
    /// # Errors
    /// When the cluster does not let the user in.
    pub async fn login(sim: &Sim, user: &str, secret: &str) -> Result<Self> {
        Self::begin(sim, SessionBuilder::new().user(user, secret)).await
    }

    async fn begin(sim: &Sim, builder: SessionBuilder) -> Result<Self> {
        let node = &sim.nodes[0];
        let path = format!("{}/v2/config/native_transport_port", node.api);
        let port: u16 = reqwest::get(path).await?.json().await?;
        let profile = ExecutionProfile::builder()
            .consistency(Consistency::All)
            .request_timeout(Some(Duration::from_secs(30)));
        let session = builder
            .known_node(format!("{}:{port}", node.address))
            .default_execution_profile_handle(profile.build().into_handle())
            .fetch_schema_metadata(false)
            .build()
            .await;
        Ok(Self(session.context("connecting over CQL")?))
    }

    /// Executes statements, one after another.
    ///
    /// # Errors
    /// When one is refused; the text names it.
    pub async fn run(&self, statements: &[&str]) -> Result<()> {
        for text in statements {
            let done = self.0.query_unpaged(*text, ()).await;
            done.with_context(|| format!("executing {text}"))?;
        }
        Ok(())
    }

    /// The rows that a question is answered with, from all replicas, as text and in order.
    ///
    /// # Errors
    /// When it is refused.
    pub async fn rows(&self, question: &str) -> Result<Vec<String>> {
        let mut statement = Statement::new(question);
        statement.set_consistency(Consistency::All);
        let done = self.0.query_unpaged(statement, ()).await;
        let result = done.with_context(|| format!("asking {question}"))?;
        let result = result.into_rows_result()?;
        let cell = |cell: &Option<CqlValue>| {
            cell.as_ref()
                .map_or_else(|| "null".to_owned(), ToString::to_string)
        };
        let mut rows = Vec::new();
        for row in result.rows::<Row>()? {
            let cells: Vec<String> = row?.columns.iter().map(cell).collect();
            rows.push(cells.join(", "));
        }
        rows.sort();
        Ok(rows)
    }

    /// What makes the cluster's keyspaces and all in them, with their options but without ids: a statement
    /// each.
    ///
    /// # Errors
    /// When it is refused.
    pub async fn schema(&self) -> Result<Vec<String>> {
        let rows = self.rows("DESCRIBE SCHEMA WITH INTERNALS").await?;
        Ok(rows.into_iter().map(|row| without_id(&row)).collect())
    }
}

/// Without `ID = <uuid>` and what joins it to other options: ids differ when all else is the same.
fn without_id(statement: &str) -> String {
    let Some((before, rest)) = statement.split_once(" WITH ID = ") else {
        return statement.to_owned();
    };
    let after = rest.get(36..).unwrap_or_default();
    let after = after.trim_start().strip_prefix("AND ").unwrap_or(after);
    format!("{before} WITH {after}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_but_the_id_stays() {
        let text = "t, CREATE TABLE a.b (c int) WITH ID = 3fa1c2de-0000-4000-8000-000000000001\n    AND comment = 'x'";
        assert_eq!(
            without_id(text),
            "t, CREATE TABLE a.b (c int) WITH comment = 'x'"
        );
    }
}
