//! What was proven to be stored before a crash is not stored again.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Arc, Mutex, MutexGuard},
    time::Duration,
};

use anyhow::{Context as _, Result, ensure};
use axum::{
    Router,
    body::{Body, Bytes, to_bytes},
    extract::{Request, State},
    http::{Method, StatusCode},
    response::{IntoResponse as _, Response},
};
use catalog::{Chunk, Document as _, Receipt};
use serde_json::json;
use testkit::eventually;
use tests::{Kind, Options, Service, Shape, Store, TableSpec, World};
use tokio::{net::TcpListener, task::JoinSet};

/// SSTables of one chunk.
const CHUNK: usize = 128;
/// Chunks of the node, about.
const CHUNKS: usize = 6;
/// Chunks in an uploader's hands at once.
const SLOTS: usize = 2;
const LIMIT: Duration = Duration::from_secs(180);

/// What an uploader asked of the S3 server.
#[derive(Clone, Default)]
struct Seen {
    /// Keys of components, once for each PUT that the server did not answer with "try again".
    components: Vec<String>,
    /// Chunks that were taken up.
    chunks: BTreeMap<u32, Chunk>,
    /// Receipts that the server took.
    receipts: BTreeMap<u32, Receipt>,
}

/// Stands before an S3 server and writes down what is asked of it.
struct Recorder {
    endpoint: String,
    desk: Arc<Desk>,
    _task: JoinSet<()>,
}

struct Desk {
    server: String,
    http: reqwest::Client,
    seen: Mutex<Seen>,
}

impl Recorder {
    async fn start(server: String) -> Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let endpoint = format!("http://{}", listener.local_addr()?);
        let http = reqwest::Client::builder().no_proxy().build()?;
        let desk = Arc::new(Desk {
            server,
            http,
            seen: Mutex::default(),
        });
        let routes = Router::new().fallback(pass).with_state(Arc::clone(&desk));
        let mut task = JoinSet::new();
        task.spawn(async move {
            axum::serve(listener, routes)
                .await
                .expect("serving never ends by itself");
        });
        Ok(Self {
            endpoint,
            desk,
            _task: task,
        })
    }

    fn seen(&self) -> MutexGuard<'_, Seen> {
        self.desk.seen.lock().expect("nobody panics with it")
    }
}

async fn pass(State(desk): State<Arc<Desk>>, request: Request) -> Response {
    match desk.forward(request).await {
        Ok(answer) => answer,
        Err(e) => (StatusCode::BAD_GATEWAY, e.to_string()).into_response(),
    }
}

impl Desk {
    async fn forward(&self, request: Request) -> Result<Response> {
        let (head, body) = request.into_parts();
        let path = head.uri.path().to_owned();
        let put = head.method == Method::PUT;
        // All of this test's objects are small.
        let body = to_bytes(body, 64 << 20).await?;
        let component = (put && path.contains("/backup/sst/")).then(|| path.clone());
        if let Some(key) = &component {
            self.seen().components.push(key.clone());
        }
        let url = format!("{}{}", self.server, head.uri);
        let answer = self
            .http
            .request(head.method.clone(), url)
            // The signature covers the name by which the client knows the server.
            .headers(head.headers)
            .body(body.clone())
            .send()
            .await?;
        let (status, headers) = (answer.status(), answer.headers().clone());
        let content = answer.bytes().await?;
        if put && path.contains("/receipt/") && status.is_success() {
            let receipt = Receipt::from_json(&body)?;
            self.seen().receipts.insert(receipt.chunk, receipt);
        }
        if head.method == Method::GET && path.contains("/chunk/") && status.is_success() {
            let chunk = Chunk::from_json(&content)?;
            self.seen().chunks.insert(chunk.chunk, chunk);
        }
        if let (Some(key), true) = (component, status.is_server_error()) {
            let components = &mut self.seen().components;
            let at = components.iter().rposition(|seen| *seen == key);
            components.remove(at.context("it was written down")?);
        }
        Ok(answer_of(status, headers, content))
    }

    fn seen(&self) -> MutexGuard<'_, Seen> {
        self.seen.lock().expect("nobody panics with it")
    }
}

fn answer_of(status: StatusCode, headers: axum::http::HeaderMap, content: Bytes) -> Response {
    let mut response = Response::new(Body::from(content));
    *response.status_mut() = status;
    *response.headers_mut() = headers;
    response.headers_mut().remove("transfer-encoding");
    response
}

/// One node with several chunks of small SSTables, whose only uploader reaches the S3 server through
/// a recorder. Gives the cluster's id.
async fn recorded(world: &mut World) -> Result<(Recorder, String)> {
    let Store::S3(s3) = &world.store else {
        unreachable!("the default store is S3")
    };
    let recorder = Recorder::start(s3.endpoint()).await?;
    let sim = world.add_cluster(Shape::new("one", 1), 0).await?;
    let mut environment = world.environment();
    environment.extend([
        (
            "THETIS_NODE__API".into(),
            world.sims[sim].nodes[0].api.clone(),
        ),
        (
            "THETIS_STORE__S3__ENDPOINT".into(),
            recorder.endpoint.clone(),
        ),
        ("THETIS_UPLOADER__SLOTS".into(), SLOTS.to_string()),
    ]);
    let logs = world.dir().join("logs");
    let mut uploader = Service::new(Kind::Uploader, "uploader".into(), environment, &logs);
    uploader.start()?;
    world.services.push(uploader);

    let table = TableSpec {
        keyspace: "shop".to_owned(),
        name: "users".to_owned(),
        tablets: false,
        copies: 1,
    };
    world.sims[sim].create(std::slice::from_ref(&table)).await?;
    let sstables = CHUNK * CHUNKS;
    let bytes = sstables as u64 * (4 << 10);
    world.sims[sim].load(&table, 1, bytes, sstables).await?;
    let host = world.sims[sim].nodes[0].address.clone();
    let cluster = world.api.add_cluster("one", &host).await?;
    world.api.workers(&cluster, 1, 3).await?;
    Ok((recorder, cluster))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_killed_uploader_sends_again_only_what_had_no_receipt() -> Result<()> {
    let mut world = World::start(Options::default()).await?;
    let (recorder, cluster) = recorded(&mut world).await?;
    let location = world.store.location();
    let task = world
        .api
        .submit(&cluster, "backup", json!({"location": [location]}))
        .await?;
    eventually("two receipts and a chunk half done", LIMIT, async || {
        let seen = recorder.seen();
        let proven: usize = seen.receipts.values().map(|r| r.files.len()).sum();
        let more = seen.components.len().saturating_sub(proven);
        ensure!(
            seen.receipts.len() >= 2 && more >= CHUNK,
            "{} receipts, {more} components beyond",
            seen.receipts.len()
        );
        Ok(())
    })
    .await?;
    let uploader = world.services.last_mut().context("the uploader")?;
    uploader.kill();
    let before = recorder.seen().clone();
    uploader.start()?;
    let ended = world.api.ended(&task, LIMIT).await?.done()?;
    let after = recorder.seen().clone();

    let proven = before.receipts.values().flat_map(|receipt| &receipt.files);
    let proven: BTreeSet<String> = proven.map(|file| format!("/thetis/{}", file.key)).collect();
    let later = &after.components[before.components.len()..];
    let again: Vec<&String> = later.iter().filter(|key| proven.contains(*key)).collect();
    ensure!(again.is_empty(), "stored again: {again:?}");

    let in_flight = before.chunks.iter();
    let in_flight = in_flight.filter(|(number, _)| !before.receipts.contains_key(number));
    let in_flight: Vec<usize> = in_flight.map(|(_, chunk)| chunk.files.len()).collect();
    ensure!(
        in_flight.len() <= SLOTS && !in_flight.is_empty(),
        "in flight: {in_flight:?}"
    );
    let files = ended.progress["files"].as_u64().context("files")?;
    let (files, twice) = (usize::try_from(files)?, in_flight.iter().sum::<usize>());
    let puts = after.components.len();
    eprintln!(
        "{files} files in {} chunks; killed after {} chunks and {} PUTs, with {twice} files in flight; {puts} PUTs in all",
        after.chunks.len(),
        before.receipts.len(),
        before.components.len(),
    );
    ensure!(
        (files..=files + twice).contains(&puts),
        "{puts} PUTs of components for {files} files, {twice} of which were in flight"
    );
    ensure!(
        after.chunks.len() > before.receipts.len() + in_flight.len(),
        "it was killed in the middle"
    );
    world.sims[0].is_clean().await
}
