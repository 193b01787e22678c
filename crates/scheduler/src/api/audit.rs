//! `/audit`: who changed what.

use axum::{
    Json,
    extract::{Query, State, rejection::QueryRejection},
};
use protocol::Audit;

use super::{ApiError, AuditBody, AuditQuery, ErrorBody, shape::time};
use crate::App;

/// How far back notes are shown unless told otherwise.
const SINCE: &str = "7d";
/// How many, unless told otherwise, and at most.
const LIMIT: (usize, usize) = (100, 10_000);

/// The last notes, oldest first.
#[utoipa::path(
    get, path = "/api/v1/audit", tag = "audit", params(AuditQuery),
    responses((status = 200, body = Vec<AuditBody>), (status = 400, body = ErrorBody), (status = 404, body = ErrorBody))
)]
pub(super) async fn list(
    State(app): State<App>,
    query: Result<Query<AuditQuery>, QueryRejection>,
) -> Result<Json<Vec<AuditBody>>, ApiError> {
    let Query(AuditQuery {
        cluster,
        since,
        limit,
    }) = query?;
    let since_ms = since_ms(since.as_deref().unwrap_or(SINCE), crate::now_ms())?;
    let limit = limit.unwrap_or(LIMIT.0);
    if !(1..=LIMIT.1).contains(&limit) {
        let most = LIMIT.1;
        return Err(ApiError::bad(format!(
            "`limit` is {limit}; it must be 1 to {most}"
        )));
    }
    let clusters = match cluster.filter(|cluster| !cluster.is_empty()) {
        None => Vec::new(),
        // Notes are kept by what a request called it. One that is gone has left notes, too.
        Some(called) => match app.ledger.cluster(&called).await {
            Ok(cluster) => vec![cluster.id.to_string(), cluster.name, called],
            Err(_) => vec![called],
        },
    };
    let notes = app.queue.audits(&clusters, since_ms, limit).await?;
    Ok(Json(notes.into_iter().map(body).collect()))
}

pub(super) fn body(note: Audit) -> AuditBody {
    match note {
        Audit::Asked {
            at_ms,
            who,
            role,
            over,
            request,
            status,
            made,
            hash,
            unnoted,
        } => AuditBody {
            at: time(at_ms),
            who,
            role,
            over,
            action: request,
            status,
            target: made,
            hash,
            unnoted,
        },
        Audit::Refused {
            at_ms,
            node,
            run,
            reason,
            unnoted,
        } => AuditBody {
            at: time(at_ms),
            who: "unknown".to_owned(),
            over: "nats".to_owned(),
            action: format!("a message was refused: {reason}"),
            target: match node {
                Some(node) => format!("node {node}, run {run}"),
                None => format!("run {run}"),
            },
            unnoted,
            ..AuditBody::default()
        },
        Audit::Removed {
            at_ms,
            run,
            task,
            backups,
            objects,
            bytes,
            hash,
        } => AuditBody {
            at: time(at_ms),
            who: format!("task {task}, run {run}"),
            action: format!("removed {objects} objects, {bytes} bytes"),
            target: backups.join(" "),
            hash,
            ..AuditBody::default()
        },
    }
}

/// A time, or so long ago.
fn since_ms(text: &str, now_ms: u64) -> Result<u64, ApiError> {
    let ago = humantime::parse_duration(text).ok();
    let ago = ago.and_then(|ago| u64::try_from(ago.as_millis()).ok());
    let at = || {
        let at = text.parse::<jiff::Timestamp>().ok()?;
        u64::try_from(at.as_millisecond()).ok()
    };
    let found = ago.map(|ago| now_ms.saturating_sub(ago)).or_else(at);
    found.ok_or_else(|| {
        ApiError::bad(format!(
            "`since` is `{text}`; it must be a span of time, as 24h, or a time, as 2026-01-31T00:00:00Z"
        ))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn since_is_a_span_or_a_time() {
        assert_eq!(since_ms("1s", 5_000).unwrap(), 4_000);
        assert_eq!(since_ms("1000y", 5_000).unwrap(), 0);
        assert_eq!(since_ms("1970-01-01T00:00:07Z", 5_000).unwrap(), 7_000);
        assert!(since_ms("yesterday", 5_000).is_err());
    }
}
