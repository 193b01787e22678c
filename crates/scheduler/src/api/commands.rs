//! Commands over NATS: each becomes a request of the HTTP API and takes the same way, so that nothing
//! is decided twice.

use axum::{
    Router,
    body::{Body, to_bytes},
    http::{
        Method, Request, StatusCode, Uri,
        header::{AUTHORIZATION, CONTENT_TYPE},
    },
};
use protocol::{
    Answer, Command, DeleteBackups, NewTask, StartTask, StopTask, TaskKind, TaskProgress,
};
use queue::Commanded;
use serde_json::{Value, json};
use tower::ServiceExt as _;

/// Bytes an answer may have: NATS takes a mebibyte unless told otherwise.
const ANSWER: usize = 900 << 10;

/// That a request came over NATS.
#[derive(Clone, Copy, Debug)]
pub(super) struct OverNats;

/// Does what is asked.
pub(super) async fn obey(router: Router, commanded: Commanded) -> Answer {
    let asked = ask(router, commanded).await;
    let (status, body) = asked.unwrap_or_else(|(status, message)| {
        (
            status,
            json!({"message": message, "details": "", "trace_id": ""}),
        )
    });
    Answer::Answer {
        status: status.as_u16(),
        body,
    }
}

async fn ask(
    router: Router,
    commanded: Commanded,
) -> Result<(StatusCode, Value), (StatusCode, String)> {
    let (method, path, query, body) = request(&commanded.cluster, commanded.command);
    let path: Vec<String> = path.iter().map(|segment| encoded(segment)).collect();
    let query: Vec<String> = query
        .iter()
        .map(|(key, value)| format!("{key}={}", encoded(value)))
        .collect();
    let uri = format!("/api/v1/{}?{}", path.join("/"), query.join("&"));
    let wrong = |cause: String| (StatusCode::BAD_REQUEST, cause);
    let uri: Uri = uri
        .parse()
        .map_err(|_| wrong("the names make no path".to_owned()))?;
    let mut request = Request::builder()
        .method(method)
        .uri(uri)
        .extension(OverNats);
    if let Some(shown) = &commanded.authorization {
        request = request.header(AUTHORIZATION, shown);
    }
    let body = match body {
        Some(body) => {
            request = request.header(CONTENT_TYPE, "application/json");
            Body::from(body.to_string())
        }
        None => Body::empty(),
    };
    let request = request.body(body).map_err(|e| wrong(e.to_string()))?;
    let Ok(response) = router.oneshot(request).await;
    let status = response.status();
    let body = to_bytes(response.into_body(), ANSWER).await.map_err(|_| {
        (
            StatusCode::PAYLOAD_TOO_LARGE,
            "the answer is too large for a message; ask the HTTP API".to_owned(),
        )
    })?;
    let body = match body.is_empty() {
        true => Value::Null,
        false => serde_json::from_slice(&body)
            .unwrap_or_else(|_| Value::String(String::from_utf8_lossy(&body).into_owned())),
    };
    Ok((status, body))
}

type Asked = (
    Method,
    Vec<String>,
    Vec<(&'static str, String)>,
    Option<Value>,
);

/// The request that a command is.
fn request(cluster: &str, command: Command) -> Asked {
    let below = |more: &[&str]| {
        let mut path = vec!["cluster".to_owned(), cluster.to_owned()];
        path.extend(more.iter().map(|segment| (*segment).to_owned()));
        path
    };
    match command {
        Command::Backup(task) => new(below(&["tasks"]), TaskKind::Backup, task),
        Command::Restore(task) => new(below(&["tasks"]), TaskKind::Restore, task),
        Command::Validate(task) => new(below(&["tasks"]), TaskKind::Validate, task),
        Command::Delete(DeleteBackups {
            snapshot_tags,
            locations,
            force,
            dry_run,
        }) => {
            let query = vec![
                ("snapshot_tags", snapshot_tags.join(",")),
                ("locations", locations.join(",")),
                ("force", force.to_string()),
                ("dry_run", dry_run.to_string()),
                // A message does not wait for long.
                ("wait_seconds", "1".to_owned()),
            ];
            (Method::DELETE, below(&["backups"]), query, None)
        }
        Command::Start(StartTask { kind, task, resume }) => {
            let path = below(&["task", kind.as_str(), &task, "start"]);
            (
                Method::PUT,
                path,
                vec![("continue", resume.to_string())],
                None,
            )
        }
        Command::Stop(StopTask {
            kind,
            task,
            disable,
        }) => {
            let path = below(&["task", kind.as_str(), &task, "stop"]);
            (
                Method::PUT,
                path,
                vec![("disable", disable.to_string())],
                None,
            )
        }
        Command::Progress(TaskProgress { kind, task, run }) => {
            let run = run.unwrap_or_else(|| "latest".to_owned());
            let path = below(&["task", kind.as_str(), &task, &run]);
            (Method::GET, path, Vec::new(), None)
        }
        Command::Tasks => {
            let query = vec![("all", "true".to_owned())];
            (Method::GET, below(&["tasks"]), query, None)
        }
    }
}

fn new(path: Vec<String>, kind: TaskKind, task: NewTask) -> Asked {
    let body = json!({
        "type": kind, "enabled": true, "name": task.name, "labels": task.labels,
        "schedule": task.schedule, "properties": task.properties,
    });
    (Method::POST, path, Vec::new(), Some(body))
}

/// A segment of a path, or a value of a query, in which nothing has a meaning.
fn encoded(text: &str) -> String {
    let plain = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.' | b'~');
    text.bytes()
        .map(|b| match plain(b) {
            true => char::from(b).to_string(),
            false => format!("%{b:02X}"),
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_command_is_a_request() {
        for command in protocol::schema::commands() {
            let kind = command.kind();
            let (method, path, _, body) = request("prod", command);
            assert_eq!(path[..2], ["cluster", "prod"], "{kind}");
            assert_eq!(method == Method::POST, body.is_some(), "{kind}");
        }
        assert_eq!(encoded("a/b ?ü"), "a%2Fb%20%3F%C3%BC");
    }
}
