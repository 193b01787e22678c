//! What a request that fails is answered: `{message, details, trace_id}` and a status that fits.

use axum::{
    Json,
    extract::rejection::{JsonRejection, PathRejection, QueryRejection},
    http::{StatusCode, header},
    response::{IntoResponse, Response},
};
use serde::{Deserialize, Serialize};
use service::Chain;
use tracing::error;
use utoipa::ToSchema;
use uuid::Uuid;

/// The body of every answer that is no success.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct ErrorBody {
    /// What went wrong and what to do, for a person.
    pub message: String,
    /// More of it, for whoever looks closer; may be empty.
    pub details: String,
    /// Finds the request in the scheduler's log.
    pub trace_id: String,
}

/// A request that failed.
#[derive(Debug)]
pub(crate) struct ApiError {
    status: StatusCode,
    message: String,
    details: String,
}

impl ApiError {
    fn new(status: StatusCode, message: impl Into<String>) -> Self {
        let message = message.into();
        Self {
            status,
            message,
            details: String::new(),
        }
    }

    /// 400: what was asked makes no sense.
    pub(crate) fn bad(message: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, message)
    }

    /// 403: the bucket does not let us in, or whoever asks may not.
    pub(crate) fn forbidden(message: impl Into<String>) -> Self {
        Self::new(StatusCode::FORBIDDEN, message)
    }

    /// 404: there is no such thing.
    pub(crate) fn not_found(message: impl Into<String>) -> Self {
        Self::new(StatusCode::NOT_FOUND, message)
    }

    /// 405: not in this way.
    pub(crate) fn no_method(message: impl Into<String>) -> Self {
        Self::new(StatusCode::METHOD_NOT_ALLOWED, message)
    }

    /// 409: not now, or not twice.
    pub(crate) fn conflict(message: impl Into<String>) -> Self {
        Self::new(StatusCode::CONFLICT, message)
    }

    /// 401: whoever asks must say who they are.
    pub(crate) fn unknown_caller() -> Self {
        Self::new(
            StatusCode::UNAUTHORIZED,
            "say who you are: show a token as `Authorization: Bearer TOKEN` (`--token` or THETIS_API_TOKEN), or a \
             client's certificate",
        )
    }

    /// 401: the time of whoever asks is over.
    pub(crate) fn late(name: &str) -> Self {
        Self::new(
            StatusCode::UNAUTHORIZED,
            format!(
                "the time of the token `{name}` is over: have another made, by `thetis token create`"
            ),
        )
    }

    /// The body could not be read, or is too large.
    pub(crate) fn unread(status: StatusCode, why: &str) -> Self {
        Self::new(status, format!("the request's body cannot be read: {why}"))
    }

    /// 400: understood, but this version does not do it.
    pub(crate) fn not_yet(message: impl Into<String>) -> Self {
        Self::bad(message)
    }

    /// 502: a node or a bucket did not answer as it should.
    pub(crate) fn upstream(message: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_GATEWAY, message)
    }

    /// 503: what we stand on is away; asking again later may help.
    pub(crate) fn unavailable(attempt: &str, cause: &(dyn std::error::Error + 'static)) -> Self {
        let message = format!("{attempt} failed; try again, and look at NATS if it stays so");
        Self::new(StatusCode::SERVICE_UNAVAILABLE, message).because(Chain(cause).to_string())
    }

    /// The same with more for whoever looks closer.
    pub(crate) fn because(mut self, details: impl Into<String>) -> Self {
        self.details = details.into();
        self
    }

    /// The message alone.
    pub(crate) fn message(&self) -> &str {
        &self.message
    }
}

impl IntoResponse for ApiError {
    fn into_response(self) -> Response {
        let trace_id = Uuid::new_v4().simple().to_string();
        if self.status.is_server_error() {
            error!(
                status = self.status.as_u16(),
                message = self.message,
                error = self.details,
                trace_id,
                "request failed"
            );
        }
        let body = ErrorBody {
            message: self.message,
            details: self.details,
            trace_id,
        };
        let mut response = (self.status, Json(body)).into_response();
        if self.status == StatusCode::UNAUTHORIZED {
            let how = header::HeaderValue::from_static("Bearer");
            response.headers_mut().insert(header::WWW_AUTHENTICATE, how);
        }
        response
    }
}

impl From<queue::Error> for ApiError {
    fn from(cause: queue::Error) -> Self {
        Self::unavailable("asking NATS", &cause)
    }
}

impl From<JsonRejection> for ApiError {
    fn from(rejection: JsonRejection) -> Self {
        // Whether it is no JSON or one of another shape makes no difference to whoever sent it; what it
        // lacks and where is in the text.
        let status = match rejection.status() {
            StatusCode::UNPROCESSABLE_ENTITY | StatusCode::UNSUPPORTED_MEDIA_TYPE => {
                StatusCode::BAD_REQUEST
            }
            status => status,
        };
        let text = rejection.body_text();
        Self::new(
            status,
            format!("the request's body is not as expected: {text}"),
        )
    }
}

impl From<QueryRejection> for ApiError {
    fn from(rejection: QueryRejection) -> Self {
        let text = rejection.body_text();
        Self::new(
            rejection.status(),
            format!("the request's query is not understood: {text}"),
        )
    }
}

impl From<PathRejection> for ApiError {
    fn from(rejection: PathRejection) -> Self {
        Self::new(rejection.status(), "the request's path is not understood")
            .because(rejection.body_text())
    }
}

/// An answer that says where the new thing is.
pub(crate) fn created(location: String, body: impl Serialize) -> Response {
    (
        StatusCode::CREATED,
        [(header::LOCATION, location)],
        Json(body),
    )
        .into_response()
}
