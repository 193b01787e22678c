//! A scheduler of which only the answers are there, and the tool run against it.

#![expect(clippy::unwrap_used, reason = "a test's helper may panic")]

use std::{
    collections::{HashMap, VecDeque},
    io::{BufRead as _, BufReader, Read as _},
    process::{Command, Output, Stdio},
    sync::{Arc, Mutex},
};

use axum::{
    Router,
    body::Bytes,
    extract::State,
    http::{Method, StatusCode, Uri, header},
    response::IntoResponse,
};
use serde_json::Value;
use tokio::{net::TcpListener, runtime::Runtime};

/// Answers prepared for a request; the last one is given again and again.
type Answers = HashMap<String, VecDeque<(u16, String)>>;

#[derive(Default)]
struct Known {
    answers: Answers,
    asked: Vec<(String, String)>,
}

/// An HTTP server with canned answers, gone when dropped.
pub(crate) struct Api {
    known: Arc<Mutex<Known>>,
    url: String,
    _runtime: Runtime,
}

impl Api {
    pub(crate) fn new() -> Self {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .enable_all()
            .build()
            .unwrap();
        let known = Arc::new(Mutex::new(Known::default()));
        let listener = runtime.block_on(TcpListener::bind("127.0.0.1:0")).unwrap();
        let url = format!("http://{}/api/v1", listener.local_addr().unwrap());
        let routes = Router::new().fallback(answer).with_state(known.clone());
        let _serving = runtime.spawn(async move { axum::serve(listener, routes).await });
        Self {
            known,
            url,
            _runtime: runtime,
        }
    }

    /// Prepares the next answer to `request`, as in `GET /clusters`; the query does not count.
    pub(crate) fn on(&self, request: &str, status: u16, body: impl ToString) -> &Self {
        let mut known = self.known.lock().unwrap();
        known
            .answers
            .entry(request.to_owned())
            .or_default()
            .push_back((status, body.to_string()));
        self
    }

    /// Every request so far with its query and body, as in `PUT /x?a=b`.
    pub(crate) fn asked(&self) -> Vec<(String, String)> {
        self.known.lock().unwrap().asked.clone()
    }

    /// The body of the only request that begins so.
    pub(crate) fn body(&self, request: &str) -> Value {
        let asked = self.asked();
        let mut bodies = asked.iter().filter(|(asked, _)| asked.starts_with(request));
        let body = bodies
            .next()
            .unwrap_or_else(|| panic!("no {request} in {asked:?}"));
        serde_json::from_str(&body.1).unwrap()
    }

    pub(crate) fn run(&self, line: &str) -> Ended {
        run(&self.url, line)
    }

    /// Runs `line`, and interrupts it once a line of its standard error begins with `sign`.
    pub(crate) fn interrupt(&self, line: &str, sign: &str) -> Ended {
        let mut child = command(&self.url, line)
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let mut err = BufReader::new(child.stderr.take().unwrap());
        let mut seen = String::new();
        while !seen.lines().last().unwrap_or_default().starts_with(sign) {
            assert!(
                err.read_line(&mut seen).unwrap() > 0,
                "ended before `{sign}`: {seen}"
            );
        }
        let interrupted = Command::new("kill")
            .args(["-INT", &child.id().to_string()])
            .status()
            .unwrap();
        assert!(interrupted.success());
        err.read_to_string(&mut seen).unwrap();
        let mut ended = ended(child.wait_with_output().unwrap());
        ended.err = seen;
        ended
    }
}

async fn answer(
    State(known): State<Arc<Mutex<Known>>>,
    method: Method,
    uri: Uri,
    body: Bytes,
) -> impl IntoResponse {
    let path = uri
        .path_and_query()
        .map_or("", |path| path.as_str())
        .trim_start_matches("/api/v1");
    let mut known = known.lock().unwrap();
    known.asked.push((
        format!("{method} {path}"),
        String::from_utf8_lossy(&body).into_owned(),
    ));
    let request = format!("{method} {}", path.split('?').next().unwrap_or_default());
    let answer = known.answers.get_mut(&request).and_then(|queue| {
        if queue.len() > 1 {
            queue.pop_front()
        } else {
            queue.front().cloned()
        }
    });
    let (status, body) = answer.unwrap_or_else(|| {
        (
            404,
            format!(r#"{{"message":"no {request}","details":"","trace_id":"t"}}"#),
        )
    });
    (
        StatusCode::from_u16(status).unwrap(),
        [(header::CONTENT_TYPE, "application/json")],
        body,
    )
}

/// What a command left.
#[derive(Debug)]
pub(crate) struct Ended {
    pub(crate) status: i32,
    pub(crate) out: String,
    pub(crate) err: String,
}

impl Ended {
    /// The same, if the status is as expected.
    #[track_caller]
    pub(crate) fn with(self, status: i32) -> Self {
        assert_eq!(self.status, status, "{}\n{}", self.out, self.err);
        self
    }
}

/// `thetis` with the words of `line` against the API at `url`.
fn command(url: &str, line: &str) -> Command {
    let words = line.split_whitespace().map(|word| word.trim_matches('\''));
    let mut command = Command::new(env!("CARGO_BIN_EXE_thetis"));
    command
        .args(words)
        .stdin(Stdio::null())
        .env("THETIS_API_URL", url);
    for name in ["THETIS_CLUSTER", "THETIS_CONFIG", "NO_COLOR"] {
        command.env_remove(name);
    }
    command
}

/// Runs it to its end.
pub(crate) fn run(url: &str, line: &str) -> Ended {
    ended(command(url, line).output().unwrap())
}

fn ended(
    Output {
        status,
        stdout,
        stderr,
    }: Output,
) -> Ended {
    let text = |bytes| String::from_utf8(bytes).unwrap();
    Ended {
        status: status.code().unwrap_or(-1),
        out: text(stdout),
        err: text(stderr),
    }
}
