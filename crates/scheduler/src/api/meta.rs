//! `/version` and `/openapi.json`.

use axum::Json;

use super::{ApiError, ErrorBody, Version};

/// The scheduler's version.
#[utoipa::path(get, path = "/api/v1/version", tag = "meta", responses((status = 200, body = Version)))]
pub(super) async fn version() -> Json<Version> {
    Json(Version {
        version: env!("CARGO_PKG_VERSION").to_owned(),
    })
}

/// This document.
#[utoipa::path(get, path = "/api/v1/openapi.json", tag = "meta", responses((status = 200, body = serde_json::Value)))]
pub(super) async fn openapi() -> Json<utoipa::openapi::OpenApi> {
    Json(super::document())
}

/// Repairs are not Thetis': says so.
#[utoipa::path(
    put, path = "/api/v1/cluster/{cluster}/repairs/intensity", tag = "meta",
    params(("cluster" = String, Path, description = "id or name")),
    responses((status = 400, body = ErrorBody))
)]
pub(super) async fn repairs() -> ApiError {
    ApiError::bad("Thetis does not repair clusters, so there is no repair to tune")
}

/// As for the intensity.
#[utoipa::path(
    put, path = "/api/v1/cluster/{cluster}/repairs/parallel", tag = "meta",
    params(("cluster" = String, Path, description = "id or name")),
    responses((status = 400, body = ErrorBody))
)]
pub(super) async fn repairs_parallel() -> ApiError {
    repairs().await
}
