//! Lets only those through who may ask for it, and notes who asked for a change.

use aws_lc_rs::digest::{Context as Hash, SHA256};
use axum::{
    body::{Body, Bytes},
    extract::{ConnectInfo, FromRequest as _, Request, State},
    http::{
        Method, Uri,
        header::{AUTHORIZATION, LOCATION},
    },
    middleware::Next,
    response::{IntoResponse as _, Response},
};
use protocol::Audit;
use service::Chain;
use tracing::{info, warn};

use super::{ApiError, PREFIX, commands::OverNats, tls::Peer};
use crate::{
    App,
    access::{Caller, Role, Stranger},
};

pub(super) async fn guarded(State(app): State<App>, request: Request, next: Next) -> Response {
    let (method, path) = (request.method().clone(), request.uri().path().to_owned());
    let below = path.strip_prefix(PREFIX).unwrap_or(&path);
    if below == "/version" {
        return next.run(request).await;
    }
    let peer = request.extensions().get::<ConnectInfo<Peer>>();
    let certified = peer.and_then(|ConnectInfo(peer)| peer.certified.clone());
    let shown = request.headers().get(AUTHORIZATION);
    let shown = shown.and_then(|shown| shown.to_str().ok());
    let now_ms = crate::now_ms();
    let mut note = Note {
        over: match request.extensions().get::<OverNats>() {
            Some(_) => "nats",
            None => "http",
        },
        request: format!("{method} {path}"),
        ..Note::default()
    };
    let takes = Role::for_request(&method, below);
    match app.access.caller(shown, certified.as_ref(), now_ms) {
        Err(stranger) => {
            let unknown = "unknown".to_owned();
            let (name, refusal) = match stranger {
                Stranger::Unknown => (unknown, ApiError::unknown_caller()),
                Stranger::Late(name) => (name.clone(), ApiError::late(&name)),
            };
            let response = refusal.into_response();
            if let Some(unnoted) = app.access.strangers.noted(now_ms) {
                let role = Role::Viewer;
                note.unnoted = unnoted;
                note.answered(&response)
                    .keep(&app, &Caller { name, role })
                    .await;
            }
            response
        }
        Ok(caller) if caller.role < takes => {
            let Caller { name, role } = &caller;
            let message = format!("this takes the role {takes}, and `{name}` is {role}");
            let response = ApiError::forbidden(message).into_response();
            note.answered(&response).keep(&app, &caller).await;
            response
        }
        Ok(_) if takes == Role::Viewer => next.run(request).await,
        Ok(caller) => {
            let response = match whole(request, &app, &caller).await {
                Ok((request, body)) => {
                    note.hash = hash(&method, request.uri(), below, &body);
                    next.run(request).await
                }
                Err(refusal) => refusal,
            };
            if takes_note(&method) {
                note.answered(&response).keep(&app, &caller).await;
            }
            response
        }
    }
}

/// Whether a request that is let through changes something.
fn takes_note(method: &Method) -> bool {
    ![Method::GET, Method::HEAD, Method::OPTIONS].contains(method)
}

/// The request with who asks, and its body, read to its end.
async fn whole(request: Request, app: &App, caller: &Caller) -> Result<(Request, Bytes), Response> {
    let (mut parts, body) = request.into_parts();
    parts.extensions.insert(caller.clone());
    let read = Request::from_parts(parts.clone(), body);
    // As handlers read it: with the same bounds.
    let body = Bytes::from_request(read, app).await;
    let body = body.map_err(|rejection| {
        ApiError::unread(rejection.status(), &rejection.body_text()).into_response()
    })?;
    Ok((Request::from_parts(parts, Body::from(body.clone())), body))
}

/// What was asked, as a note has it; empty where it may hold credentials, which could be guessed by it.
fn hash(method: &Method, uri: &Uri, below: &str, body: &[u8]) -> String {
    let parts: Vec<&str> = below.split('/').filter(|part| !part.is_empty()).collect();
    if let ["clusters"] | ["cluster", _] = parts[..] {
        return String::new();
    }
    let asked = uri
        .path_and_query()
        .map_or(uri.path(), |asked| asked.as_str());
    let mut hash = Hash::new(&SHA256);
    hash.update(format!("{method}\n{asked}\n").as_bytes());
    hash.update(body);
    crate::hex(hash.finish().as_ref())
}

/// What is noted of a request.
#[derive(Default)]
struct Note {
    over: &'static str,
    request: String,
    hash: String,
    unnoted: u64,
    status: u16,
    made: String,
}

impl Note {
    fn answered(self, response: &Response) -> Self {
        let made = response.headers().get(LOCATION);
        let made = made.and_then(|made| made.to_str().ok());
        Self {
            status: response.status().as_u16(),
            made: made.unwrap_or_default().to_owned(),
            ..self
        }
    }

    async fn keep(self, app: &App, caller: &Caller) {
        let Self {
            over,
            request,
            hash,
            unnoted,
            status,
            made,
        } = self;
        let Caller { name, role } = caller;
        info!(target: "audit", who = name, %role, over, request, status, "asked for a change");
        let mut parts = request.split('/').skip_while(|part| *part != "cluster");
        let cluster = parts.nth(1).map(str::to_owned);
        let note = Audit::Asked {
            at_ms: crate::now_ms(),
            who: name.clone(),
            role: role.to_string(),
            over: over.to_owned(),
            request,
            status,
            made,
            hash,
            unnoted,
        };
        if let Err(cause) = app.queue.audit(cluster.as_deref(), &note).await {
            warn!(error = %Chain(&cause), "who asked for a change is noted in the log only");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_asked_has_a_hash_and_what_may_hold_credentials_has_none() {
        let of = |method: Method, asked: &str, body: &str| {
            let uri: Uri = format!("/api/v1{asked}").parse().unwrap();
            hash(
                &method,
                &uri,
                uri.path().strip_prefix(PREFIX).unwrap(),
                body.as_bytes(),
            )
        };
        // printf 'PUT\n/api/v1/cluster/prod/suspended?no_continue=true\ntrue' | sha256sum
        let asked = "/cluster/prod/suspended?no_continue=true";
        assert_eq!(
            of(Method::PUT, asked, "true"),
            "cf46696fc2485f662ace4bd479f5dffc961fb1f816d81cf2dbbe78e046a3c269"
        );
        assert_ne!(
            of(Method::PUT, asked, "true"),
            of(Method::PUT, asked, "false")
        );
        assert_eq!(of(Method::POST, "/clusters", r#"{"password": "x"}"#), "");
        assert_eq!(of(Method::PUT, "/cluster/prod", r#"{"password": "x"}"#), "");
    }
}
