//! An S3 server that stores nothing: it takes bodies, remembers their sizes, and counts.
//!
//! What Thetis needs back (plans, receipts, manifests) it keeps, in memory. It checks no signature
//! and no checksum, so that it costs as little as a server can: whoever is measured against it is
//! measured alone.

mod reply;

use std::{
    collections::{BTreeMap, HashMap},
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
};

use anyhow::Result;
use axum::{
    Router,
    body::{Body, Bytes},
    extract::{Path, Query, State},
    http::{HeaderMap, Method, StatusCode, header},
    response::{IntoResponse as _, Response},
    routing::any,
};
use futures::TryStreamExt as _;
use tokio::{net::TcpListener, task::JoinSet};

use self::reply::{error, keys_to_delete, listing, range, xml};

/// Bodies below these prefixes are kept.
const KEPT: [&str; 2] = ["thetis/", "backup/meta/"];

/// A body that is kept may be this long, in bytes.
const LONGEST: usize = 64 << 20;

/// What a request's query says, decoded.
type Words = HashMap<String, String>;

/// A running server; ends when dropped.
pub struct NullS3 {
    endpoint: String,
    state: Arc<Inner>,
    _task: JoinSet<()>,
}

/// What was asked of a server.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Tally {
    /// Requests by kind, as in `PutObject`.
    pub requests: BTreeMap<&'static str, u64>,
    /// Bytes of payload taken in.
    pub bytes: u64,
}

impl Tally {
    /// All requests.
    #[must_use]
    pub fn total(&self) -> u64 {
        self.requests.values().sum()
    }

    /// What came after `earlier`.
    #[must_use]
    pub fn since(&self, earlier: &Self) -> Self {
        let requests = self.requests.iter().map(|(kind, count)| {
            let before = earlier.requests.get(kind).copied().unwrap_or_default();
            (*kind, count - before)
        });
        Self {
            requests: requests.filter(|(_, count)| *count > 0).collect(),
            bytes: self.bytes - earlier.bytes,
        }
    }
}

#[derive(Default)]
struct Inner {
    objects: Mutex<BTreeMap<String, Object>>,
    uploads: Mutex<HashMap<String, u64>>,
    requests: Mutex<BTreeMap<&'static str, u64>>,
    bytes: AtomicU64,
    next: AtomicU64,
}

#[derive(Clone, Default)]
struct Object {
    bytes: u64,
    body: Option<Bytes>,
}

impl NullS3 {
    /// Starts a server; every bucket exists, all of them are one.
    ///
    /// # Errors
    /// When no port can be had.
    pub async fn start() -> Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let endpoint = format!("http://{}", listener.local_addr()?);
        let state = Arc::new(Inner::default());
        let routes = Router::new()
            .route("/{bucket}", any(bucket))
            .route("/{bucket}/", any(bucket))
            .route("/{bucket}/{*key}", any(object))
            .with_state(Arc::clone(&state));
        let mut task = JoinSet::new();
        task.spawn(async move {
            axum::serve(listener, routes)
                .await
                .expect("serving never ends by itself");
        });
        Ok(Self {
            endpoint,
            state,
            _task: task,
        })
    }

    /// Its base URL.
    #[must_use]
    pub fn endpoint(&self) -> &str {
        &self.endpoint
    }

    /// The settings that lead a service to it, as the location `s3:<any bucket>`.
    #[must_use]
    pub fn environment(&self) -> Vec<(String, String)> {
        let setting = |key: &str, value: &str| (format!("THETIS_STORE__S3__{key}"), value.into());
        vec![
            setting("ENDPOINT", &self.endpoint),
            setting("ACCESS_KEY_ID", "anybody"),
            setting("SECRET_ACCESS_KEY", "anything"),
        ]
    }

    /// Puts an object there, uncounted.
    pub fn put(&self, key: &str, body: Vec<u8>) {
        let body = Bytes::from(body);
        let object = Object {
            bytes: body.len() as u64,
            body: Some(body),
        };
        lock(&self.state.objects).insert(key.to_owned(), object);
    }

    /// The content of an object that is there and kept.
    #[must_use]
    pub fn body(&self, key: &str) -> Option<Bytes> {
        lock(&self.state.objects).get(key)?.body.clone()
    }

    /// Bytes of each object below `prefix`, by key.
    #[must_use]
    pub fn below(&self, prefix: &str) -> BTreeMap<String, u64> {
        let objects = lock(&self.state.objects);
        let found = objects.range(prefix.to_owned()..);
        found
            .take_while(|(key, _)| key.starts_with(prefix))
            .map(|(key, object)| (key.clone(), object.bytes))
            .collect()
    }

    /// What was asked of it so far.
    #[must_use]
    pub fn tally(&self) -> Tally {
        Tally {
            requests: lock(&self.state.requests).clone(),
            bytes: self.state.bytes.load(Ordering::Relaxed),
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Inner {
    fn count(&self, kind: &'static str) {
        *lock(&self.requests).entry(kind).or_default() += 1;
    }

    /// Reads a body to its end; gives its length, and its content if that is to be kept.
    async fn take(
        &self,
        headers: &HeaderMap,
        body: Body,
        keep: bool,
    ) -> Result<Object, axum::Error> {
        let mut stream = body.into_data_stream();
        let (mut bytes, mut kept) = (0, Vec::new());
        while let Some(piece) = stream.try_next().await? {
            bytes += piece.len() as u64;
            if keep && kept.len() + piece.len() <= LONGEST {
                kept.extend_from_slice(&piece);
            }
        }
        // Where a body comes in signed pieces, this is its own length.
        let own = headers.get("x-amz-decoded-content-length");
        let own = own.and_then(|text| text.to_str().ok()?.parse().ok());
        let bytes = own.unwrap_or(bytes);
        self.bytes.fetch_add(bytes, Ordering::Relaxed);
        let body = (kept.len() as u64 == bytes).then(|| Bytes::from(kept));
        Ok(Object { bytes, body })
    }
}

async fn bucket(
    State(state): State<Arc<Inner>>,
    method: Method,
    Query(words): Query<Words>,
    body: Body,
) -> Response {
    match method {
        Method::GET if words.contains_key("location") => {
            state.count("GetBucketLocation");
            xml("<LocationConstraint/>".to_owned())
        }
        Method::GET => {
            state.count("ListObjects");
            listing(&lock(&state.objects), &words)
        }
        Method::HEAD => {
            state.count("HeadBucket");
            StatusCode::OK.into_response()
        }
        Method::PUT => {
            state.count("CreateBucket");
            StatusCode::OK.into_response()
        }
        Method::POST if words.contains_key("delete") => {
            state.count("DeleteObjects");
            let Ok(body) = axum::body::to_bytes(body, LONGEST).await else {
                return error(StatusCode::BAD_REQUEST, "IncompleteBody");
            };
            let mut objects = lock(&state.objects);
            for key in keys_to_delete(&String::from_utf8_lossy(&body)) {
                objects.remove(&key);
            }
            xml("<DeleteResult/>".to_owned())
        }
        _ => error(StatusCode::NOT_IMPLEMENTED, "NotImplemented"),
    }
}

async fn object(
    State(state): State<Arc<Inner>>,
    method: Method,
    Path((_, key)): Path<(String, String)>,
    Query(words): Query<Words>,
    headers: HeaderMap,
    body: Body,
) -> Response {
    let upload = words.get("uploadId");
    match (method, upload) {
        (Method::PUT, None) => put(&state, key, &headers, body).await,
        (Method::PUT, Some(id)) => part(&state, id, &headers, body).await,
        (Method::POST, None) if words.contains_key("uploads") => begin(&state, &key),
        (Method::POST, Some(id)) => complete(&state, key, id),
        (Method::DELETE, Some(id)) => {
            state.count("AbortMultipartUpload");
            lock(&state.uploads).remove(id);
            StatusCode::NO_CONTENT.into_response()
        }
        (Method::DELETE, None) => {
            state.count("DeleteObject");
            lock(&state.objects).remove(&key);
            StatusCode::NO_CONTENT.into_response()
        }
        (Method::GET, None) => get(&state, &key, &headers),
        (Method::HEAD, None) => head(&state, &key),
        _ => error(StatusCode::NOT_IMPLEMENTED, "NotImplemented"),
    }
}

async fn put(state: &Inner, key: String, headers: &HeaderMap, body: Body) -> Response {
    state.count("PutObject");
    let keep = KEPT.iter().any(|prefix| key.starts_with(prefix));
    let Ok(object) = state.take(headers, body, keep).await else {
        return error(StatusCode::BAD_REQUEST, "IncompleteBody");
    };
    let mut objects = lock(&state.objects);
    if headers.contains_key(header::IF_NONE_MATCH) && objects.contains_key(&key) {
        return error(StatusCode::PRECONDITION_FAILED, "PreconditionFailed");
    }
    objects.insert(key, object);
    [(header::ETAG, "\"none\"")].into_response()
}

async fn part(state: &Inner, id: &str, headers: &HeaderMap, body: Body) -> Response {
    state.count("UploadPart");
    let Ok(part) = state.take(headers, body, false).await else {
        return error(StatusCode::BAD_REQUEST, "IncompleteBody");
    };
    match lock(&state.uploads).get_mut(id) {
        Some(bytes) => *bytes += part.bytes,
        None => return error(StatusCode::NOT_FOUND, "NoSuchUpload"),
    }
    [(header::ETAG, "\"none\"")].into_response()
}

fn begin(state: &Inner, key: &str) -> Response {
    state.count("CreateMultipartUpload");
    let id = format!("upload-{}", state.next.fetch_add(1, Ordering::Relaxed));
    lock(&state.uploads).insert(id.clone(), 0);
    xml(format!(
        "<InitiateMultipartUploadResult><Bucket>b</Bucket><Key>{key}</Key><UploadId>{id}</UploadId>\
         </InitiateMultipartUploadResult>"
    ))
}

fn complete(state: &Inner, key: String, id: &str) -> Response {
    state.count("CompleteMultipartUpload");
    let Some(bytes) = lock(&state.uploads).remove(id) else {
        return error(StatusCode::NOT_FOUND, "NoSuchUpload");
    };
    let answer = format!(
        "<CompleteMultipartUploadResult><Bucket>b</Bucket><Key>{key}</Key><ETag>\"none\"</ETag>\
         </CompleteMultipartUploadResult>"
    );
    lock(&state.objects).insert(key, Object { bytes, body: None });
    xml(answer)
}

fn get(state: &Inner, key: &str, headers: &HeaderMap) -> Response {
    state.count("GetObject");
    let object = lock(&state.objects).get(key).cloned();
    match object {
        None => error(StatusCode::NOT_FOUND, "NoSuchKey"),
        Some(Object { body: None, .. }) => error(StatusCode::NOT_IMPLEMENTED, "NotImplemented"),
        Some(Object {
            body: Some(body), ..
        }) => range(&body, headers),
    }
}

fn head(state: &Inner, key: &str) -> Response {
    state.count("HeadObject");
    match lock(&state.objects).get(key) {
        None => StatusCode::NOT_FOUND.into_response(),
        Some(object) => [
            (header::CONTENT_LENGTH, object.bytes.to_string()),
            (header::ETAG, "\"none\"".to_owned()),
            (
                header::LAST_MODIFIED,
                "Thu, 01 Jan 2026 00:00:00 GMT".to_owned(),
            ),
        ]
        .into_response(),
    }
}
