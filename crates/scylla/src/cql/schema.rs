//! The schema: described, and changed.

use std::{fmt, time::Duration};

use catalog::schema::Row;
use driver::statement::unprepared::Statement;
use tokio::time::{Instant, sleep};
use tracing::{instrument::WithSubscriber as _, subscriber::NoSubscriber};
use uuid::Uuid;

use super::{CqlError, Session};

/// A change of the schema, which all nodes have to take.
const CHANGE: Duration = Duration::from_secs(2 * 60);
/// The first and the longest pause before a change is tried again, and how long it is: as ScyllaDB
/// Manager.
const FIRST_PAUSE: Duration = Duration::from_secs(5);
const LONGEST_PAUSE: Duration = Duration::from_secs(60);
const PATIENCE: Duration = Duration::from_secs(15 * 60);

/// A schema as a node describes it.
#[derive(Clone, PartialEq, Eq)]
pub struct Described {
    /// What makes it.
    pub rows: Vec<Row>,
    /// Why the hashes of roles' passwords are not in it, though they were asked for.
    pub without_passwords: Option<CqlError>,
}

/// Shows no rows, for they may hold secrets of roles.
impl fmt::Debug for Described {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Described")
            .field("rows", &self.rows.len())
            .field("without_passwords", &self.without_passwords)
            .finish()
    }
}

impl Session {
    /// The rows of `DESCRIBE SCHEMA WITH INTERNALS`, with ids, roles and service levels; with the
    /// hashes of passwords if `passwords` are asked for and the server gives them.
    ///
    /// # Errors
    /// [`CqlError`]; [`CqlError::NotUnderstood`] by a server that is too old to describe.
    pub async fn schema(&self, passwords: bool) -> Result<Described, CqlError> {
        const INTERNALS: &str = "DESCRIBE SCHEMA WITH INTERNALS";
        let mut without_passwords = None;
        if passwords {
            let question = format!("{INTERNALS} AND PASSWORDS");
            match self
                .describe("describe the schema with passwords", &question)
                .await
            {
                Ok(rows) => {
                    return Ok(Described {
                        rows,
                        without_passwords: None,
                    });
                }
                Err(error @ (CqlError::Rights { .. } | CqlError::NotUnderstood { .. })) => {
                    without_passwords = Some(error);
                }
                Err(error) => return Err(error),
            }
        }
        let rows = self.describe("describe the schema", INTERNALS).await?;
        Ok(Described {
            rows,
            without_passwords,
        })
    }

    /// The id of a table, as it stands in names of directories; `None` if there is no such table.
    ///
    /// # Errors
    /// [`CqlError`].
    pub async fn table_id(&self, keyspace: &str, table: &str) -> Result<Option<u128>, CqlError> {
        let text = |name: &str| format!("'{}'", name.replace('\'', "''"));
        let (keyspace, table) = (text(keyspace), text(table));
        let question = format!(
            "SELECT id FROM system_schema.tables WHERE keyspace_name = {keyspace} AND table_name = {table}"
        );
        let rows: Vec<(Uuid,)> = self.ask("look up a table's id", &question).await?;
        Ok(rows.first().map(|(id,)| id.as_u128()))
    }

    async fn describe(&self, attempt: &str, question: &str) -> Result<Vec<Row>, CqlError> {
        // What is in no keyspace has none.
        type Columns = (Option<String>, String, String, Option<String>);
        let rows: Vec<Columns> = self.ask(attempt, question).await?;
        let row = |(keyspace, kind, name, text): Columns| Row {
            keyspace: keyspace.unwrap_or_default(),
            kind,
            name,
            cql_stmt: text.unwrap_or_default(),
        };
        Ok(rows.into_iter().map(row).collect())
    }

    /// Executes one statement that changes the schema, and waits until all nodes that answer have
    /// it. Tries again for up to 15 minutes while the cluster cannot, or does not answer; so a
    /// statement has to do no harm if it was done already (`IF NOT EXISTS`, `IF EXISTS`, `ALTER`).
    ///
    /// # Errors
    /// [`CqlError`], without the statement's secrets. [`CqlError::Exists`] only if what it makes was
    /// there before.
    pub async fn execute_schema(&self, statement: &str) -> Result<(), CqlError> {
        let (attempt, secret) = told(statement)?;
        let change = || async {
            let change = self.change(&attempt, statement);
            if secret {
                // The driver traces the text of what it asks.
                return change.with_subscriber(NoSubscriber::new()).await;
            }
            change.await
        };
        let done = patiently(&attempt, change).await;
        done.map_err(|e| if secret { e.without_words() } else { e })?;
        // What is done is not done again because nodes are slow to agree.
        patiently(&attempt, async || self.await_agreement().await).await
    }

    async fn change(&self, attempt: &str, statement: &str) -> Result<(), CqlError> {
        let mut statement = Statement::new(statement);
        statement.set_request_timeout(Some(CHANGE));
        let done = self.driver.query_unpaged(statement, ()).await;
        done.map(drop)
            .map_err(|e| CqlError::from_execution(attempt, &e))
    }

    /// Waits until all nodes that answer have the same schema, for up to a minute.
    ///
    /// # Errors
    /// [`CqlError::Disagreement`], or what the server says.
    pub async fn await_agreement(&self) -> Result<(), CqlError> {
        let agreed = self.driver.await_schema_agreement().await;
        agreed.map(drop).map_err(|e| CqlError::from_agreement(&e))
    }
}

/// What a statement does, for people, and whether it holds a secret.
fn told(statement: &str) -> Result<(String, bool), CqlError> {
    let wrong = |message: String| CqlError::Refused {
        attempt: "execute a statement".to_owned(),
        message,
    };
    let statements = cql::split(statement).map_err(|e| wrong(e.to_string()))?;
    let [statement] = &statements[..] else {
        let message = format!("it is {} statements in one", statements.len());
        return Err(wrong(message));
    };
    let shown = statement.shown();
    let words: Vec<_> = shown.split_whitespace().collect();
    let mut attempt = words.join(" ");
    if let Some((at, _)) = attempt.char_indices().nth(100) {
        attempt.truncate(at);
        attempt.push('…');
    }
    let secret = shown != statement.text();
    Ok((format!("`{attempt}`"), secret))
}

/// Does it again, with growing pauses, while that may help. What exists after an attempt whose end
/// is not known was made by that.
async fn patiently<F: Future<Output = Result<(), CqlError>>>(
    attempt: &str,
    act: impl Fn() -> F,
) -> Result<(), CqlError> {
    let began = Instant::now();
    let mut pause = FIRST_PAUSE;
    let mut unknown = false;
    loop {
        let error = match act().await {
            Err(CqlError::Exists { .. }) if unknown => return Ok(()),
            Ok(()) => return Ok(()),
            Err(error) => error,
        };
        if !error.retry() || began.elapsed() + pause > PATIENCE {
            return Err(error);
        }
        tracing::warn!(
            attempt,
            pause_s = pause.as_secs(),
            "a change of the schema is tried again"
        );
        unknown = true;
        sleep(pause).await;
        pause = LONGEST_PAUSE.min(pause * 2);
    }
}

#[cfg(test)]
mod tests {
    use std::{cell::Cell, future::ready};

    use super::*;

    fn timeout() -> CqlError {
        CqlError::Timeout {
            attempt: "change".into(),
            cause: "slow".into(),
        }
    }

    fn exists() -> CqlError {
        CqlError::Exists {
            attempt: "change".into(),
            message: "it exists".into(),
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_change_is_tried_again_for_a_quarter_of_an_hour() {
        let (began, times) = (Instant::now(), Cell::new(0));
        let done = patiently("change", || {
            times.set(times.get() + 1);
            ready(Err(timeout()))
        });
        assert_eq!(done.await, Err(timeout()));
        // 5, 10, 20, 40 s, then each minute.
        assert_eq!(times.get(), 1 + 4 + 13);
        assert_eq!(began.elapsed(), Duration::from_secs(75 + 13 * 60));
    }

    #[tokio::test(start_paused = true)]
    async fn what_exists_after_a_timeout_was_made() {
        let first = Cell::new(true);
        let done = patiently("change", || {
            ready(Err(match first.replace(false) {
                true => timeout(),
                false => exists(),
            }))
        });
        assert_eq!(done.await, Ok(()));
        let done = patiently("change", || ready(Err(exists())));
        assert_eq!(done.await, Err(exists()));
    }

    #[test]
    fn statements_are_told_without_secrets() {
        let (attempt, secret) = told("CREATE  ROLE a\nWITH PASSWORD = 'hidden';").unwrap();
        assert_eq!(
            (attempt.as_str(), secret),
            ("`CREATE ROLE a WITH PASSWORD = '***'`", true)
        );
        let long = format!("DROP TABLE {}", "é".repeat(200));
        let (attempt, secret) = told(&long).unwrap();
        assert!(attempt.chars().count() < 110 && attempt.ends_with("…`") && !secret);
        let error = told("DROP TABLE a; DROP TABLE b").unwrap_err();
        assert!(error.to_string().contains("2 statements"), "{error}");
        assert!(told("'").is_err() && told("").is_err());
    }
}
