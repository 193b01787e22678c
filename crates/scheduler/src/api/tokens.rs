//! `/tokens`: who may ask for what, besides those that the configuration lets in.

use aws_lc_rs::rand;
use axum::{
    Extension, Json,
    extract::{Path, State, rejection::JsonRejection},
    http::{HeaderValue, StatusCode, header::CACHE_CONTROL},
    response::Response,
};
use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};

use super::{ApiError, ErrorBody, MadeToken, NewToken, TokenBody, error::created, shape::time};
use crate::{
    App,
    access::{Caller, Made, Role},
};

/// How long a token holds when nobody says.
const HOLDS: &str = "90d";
/// What tokens begin with, so that they are known where they should not be.
const BEGINS: &str = "thetis_";
/// Characters a name may have.
const LONGEST: usize = 64;

/// The tokens that were made, in order of name.
#[utoipa::path(
    get, path = "/api/v1/tokens", tag = "tokens",
    responses((status = 200, body = Vec<TokenBody>), (status = 403, body = ErrorBody))
)]
pub(super) async fn list(State(app): State<App>) -> Result<Json<Vec<TokenBody>>, ApiError> {
    let made = app.ledger.tokens().await?;
    let now_ms = crate::now_ms();
    let body = |(name, made): (String, Made)| TokenBody {
        name,
        role: made.role.to_string(),
        created_at: time(made.made_ms),
        created_by: made.by.clone(),
        expires_at: made.ends_ms.and_then(time),
        expired: made.over(now_ms),
    };
    Ok(Json(made.into_iter().map(body).collect()))
}

/// Makes a token. It is in this answer, and cannot be seen again.
#[utoipa::path(
    post, path = "/api/v1/tokens", tag = "tokens", request_body = NewToken,
    responses(
        (status = 201, body = MadeToken), (status = 400, body = ErrorBody), (status = 403, body = ErrorBody),
        (status = 409, body = ErrorBody, description = "there is one of that name, or nobody has to show one"),
    )
)]
pub(super) async fn make(
    State(app): State<App>,
    Extension(caller): Extension<Caller>,
    wanted: Result<Json<NewToken>, JsonRejection>,
) -> Result<Response, ApiError> {
    let Json(NewToken {
        name,
        role,
        expires_in,
    }) = wanted?;
    check(&name)?;
    let role: Role = role.parse().map_err(ApiError::bad)?;
    if app.access.open() {
        return Err(ApiError::conflict(
            "nobody has to show a token: set `scheduler.tokens_file` first, with one for an admin, or \
             `scheduler.tls.client_ca`",
        ));
    }
    let now_ms = crate::now_ms();
    let ends_ms = ends(expires_in.as_deref().unwrap_or(HOLDS), now_ms)?;
    let mut secret = [0; 32];
    rand::fill(&mut secret)
        .map_err(|_| ApiError::upstream("this machine has no randomness to make a token of"))?;
    let token = format!("{BEGINS}{}", URL_SAFE_NO_PAD.encode(secret));
    let made = Made::new(&token, role, &caller.name, now_ms, ends_ms);
    if app.access.configured(&name) || !app.ledger.make_token(&name, &made).await? {
        return Err(ApiError::conflict(format!(
            "there is a token `{name}`: revoke it first, or take another name"
        )));
    }
    let body = MadeToken {
        name: name.clone(),
        role: role.to_string(),
        expires_at: ends_ms.and_then(time),
        token,
    };
    let mut response = created(format!("/api/v1/tokens/{name}"), body);
    let headers = response.headers_mut();
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    Ok(response)
}

/// Revokes a token: who shows it is not let in any more.
#[utoipa::path(
    delete, path = "/api/v1/tokens/{name}", tag = "tokens",
    params(("name" = String, Path, description = "its name")),
    responses(
        (status = 200), (status = 403, body = ErrorBody), (status = 404, body = ErrorBody),
        (status = 409, body = ErrorBody, description = "the configuration has it"),
    )
)]
pub(super) async fn revoke(
    State(app): State<App>,
    Path(name): Path<String>,
) -> Result<StatusCode, ApiError> {
    if app.access.configured(&name) {
        return Err(ApiError::conflict(format!(
            "the token `{name}` stands in `scheduler.tokens_file`: remove its line, and restart the schedulers"
        )));
    }
    let unknown = || ApiError::not_found(format!("there is no token `{name}`"));
    check(&name).map_err(|_| unknown())?;
    match app.ledger.revoke_token(&name).await? {
        true => Ok(StatusCode::OK),
        false => Err(unknown()),
    }
}

/// A name becomes part of a key.
fn check(name: &str) -> Result<(), ApiError> {
    let fits = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '_';
    if (1..=LONGEST).contains(&name.len()) && name.chars().all(fits) {
        return Ok(());
    }
    Err(ApiError::bad(format!(
        "a token's name has 1 to {LONGEST} letters, digits, `-` and `_`"
    )))
}

/// When a token ends that holds for so long from now on.
fn ends(holds: &str, now_ms: u64) -> Result<Option<u64>, ApiError> {
    if holds == "never" {
        return Ok(None);
    }
    let read = humantime::parse_duration(holds).ok();
    let ends = read
        .filter(|read| !read.is_zero())
        .and_then(|read| now_ms.checked_add(u64::try_from(read.as_millis()).ok()?))
        .filter(|ends| time(*ends).is_some());
    ends.map(Some).ok_or_else(|| {
        ApiError::bad(format!(
            "`expires_in` is `{holds}`; it must be a span of time, as 90d or 12h, or `never`"
        ))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_ends_are_checked() {
        for fine in ["ci", "grafana-2_x", &"a".repeat(64)] {
            assert!(check(fine).is_ok(), "{fine}");
        }
        for wrong in ["", "a.b", "a/b", "*", "ä", &"a".repeat(65)] {
            assert!(check(wrong).is_err(), "{wrong}");
        }
        assert_eq!(ends("1h", 5).unwrap(), Some(3_600_005));
        assert_eq!(ends("never", 5).unwrap(), None);
        for wrong in ["", "0s", "soon", "-1h", "400000000y"] {
            assert!(ends(wrong, 5).is_err(), "{wrong}");
        }
    }
}
