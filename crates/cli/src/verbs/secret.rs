//! `thetis secret rotate`.

use clap::Subcommand;
use serde_json::Value;

use crate::{
    error::{Exit, Failure},
    shape::Rotated,
    verbs::Client,
};

pub(crate) const EXAMPLES: &str = "\
Examples:
  thetis secret rotate";

/// What to do with credentials that are kept.
#[derive(Debug, Subcommand)]
pub(crate) enum SecretVerb {
    /// Encrypt the credentials of clusters with the key of now
    #[command(after_help = "\
Examples:
  thetis secret rotate
  thetis secret rotate --output json

First put a new key in `scheduler.secret_key` of all schedulers, the one before in
`scheduler.old_secret_keys`, and restart them. Afterwards the old key may go. Status 1 if credentials are
left that no key opens.")]
    Rotate,
}

pub(crate) async fn run(client: &Client, verb: SecretVerb) -> Result<(), Failure> {
    let SecretVerb::Rotate = verb;
    let asked = client.api.post(&["secrets", "rotation"], &Value::Null);
    let answer = asked.await?;
    let rotated: Rotated = answer.read()?;
    client.output.answer(&answer, |rotated: Rotated| {
        format!(
            "{} encrypted anew, {} had the key of now already",
            rotated.rotated, rotated.current
        )
    })?;
    if rotated.unreadable.is_empty() {
        return Ok(());
    }
    let text = format!("no key opens {}", rotated.unreadable.join(", "));
    Err(Failure::new(Exit::Failed, text).advise(
        "put their key in `scheduler.old_secret_keys`, or give them again: thetis cluster update",
    ))
}
