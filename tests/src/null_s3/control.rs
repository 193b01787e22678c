//! The second port: what a server is asked about itself.

use std::{collections::BTreeMap, sync::Arc};

use axum::{
    Json, Router,
    body::Bytes,
    extract::{DefaultBodyLimit, Query, State},
    http::StatusCode,
    routing::{get, post},
};
use serde::Deserialize;
use tokio::net::TcpListener;

use super::{
    server::Shared,
    state::{Object, Stored, Taken, Tally, lock},
};

type Server = State<Arc<Shared>>;

#[derive(Deserialize)]
struct Key {
    key: String,
}

#[derive(Deserialize)]
struct Below {
    prefix: String,
    #[serde(default)]
    count: usize,
}

pub(super) async fn serve(listener: TcpListener, shared: Arc<Shared>) {
    let routes = Router::new()
        .route("/object", get(read).put(write))
        .route("/below", get(below))
        .route("/arrival", get(arrival))
        .route("/tally", get(tally))
        .route("/reset", post(reset))
        .layer(DefaultBodyLimit::disable())
        .with_state(shared);
    axum::serve(listener, routes)
        .await
        .expect("serving never ends by itself");
}

async fn read(State(shared): Server, Query(Key { key }): Query<Key>) -> Result<Bytes, StatusCode> {
    let objects = lock(&shared.state.objects);
    let body = objects.get(&key).and_then(|object| object.body.clone());
    body.ok_or(StatusCode::NOT_FOUND)
}

async fn write(State(shared): Server, Query(Key { key }): Query<Key>, body: Bytes) {
    let taken = Taken {
        bytes: body.len() as u64,
        crc: None,
        body: Some(body),
    };
    shared.state.insert(key, Object::from(taken));
}

async fn below(
    State(shared): Server,
    Query(Below { prefix, .. }): Query<Below>,
) -> Json<BTreeMap<String, Stored>> {
    let objects = lock(&shared.state.objects);
    let found = objects.range(prefix.clone()..);
    let found = found.take_while(|(key, _)| key.starts_with(&prefix));
    Json(
        found
            .map(|(key, object)| (key.clone(), object.stored))
            .collect(),
    )
}

async fn arrival(State(shared): Server, Query(Below { prefix, count }): Query<Below>) {
    shared.state.arrival(&prefix, count).await;
}

async fn tally(State(shared): Server) -> Json<Tally> {
    Json(shared.state.tally())
}

async fn reset(State(shared): Server) {
    shared.state.reset();
}
