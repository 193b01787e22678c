//! `/secrets/rotation`: credentials of clusters under another key.

use axum::{Json, extract::State};
use tracing::info;

use super::{ApiError, ErrorBody, Rotated};
use crate::{
    App,
    secrets::{Sealed, Standing},
};

/// Encrypts with `scheduler.secret_key` what an old key was used for. When nothing is left that cannot be
/// read, `scheduler.old_secret_keys` is not needed any more. May be repeated.
#[utoipa::path(
    post, path = "/api/v1/secrets/rotation", tag = "secrets",
    responses((status = 200, body = Rotated), (status = 400, body = ErrorBody), (status = 403, body = ErrorBody))
)]
pub(super) async fn rotate(State(app): State<App>) -> Result<Json<Rotated>, ApiError> {
    let Some(keys) = &*app.keys else {
        return Err(ApiError::bad(
            "there is no key: set `scheduler.secret_key` in the scheduler's configuration",
        ));
    };
    let mut rotated = Rotated::default();
    for (cluster, Sealed(mut kept), revision) in app.ledger.all_secrets().await? {
        let mut anew = 0;
        for (name, sealed) in &mut kept {
            match keys.reseal(cluster, name, sealed) {
                Standing::Current => rotated.current += 1,
                Standing::Anew(resealed) => {
                    *sealed = resealed;
                    anew += 1;
                }
                Standing::Unreadable => rotated.unreadable.push(format!("{cluster}/{name}")),
            }
        }
        let kept = Sealed(kept);
        if anew > 0 && !app.ledger.replace_secrets(cluster, &kept, revision).await? {
            return Err(ApiError::conflict(format!(
                "credentials of cluster {cluster} are being changed; ask again"
            )));
        }
        rotated.rotated += anew;
    }
    info!(
        rotated = rotated.rotated,
        current = rotated.current,
        unreadable = rotated.unreadable.len(),
        "credentials are under the key of now"
    );
    Ok(Json(rotated))
}
