//! `thetis version`.

use crate::{error::Failure, output::print, shape::Version, verbs::Client};

pub(crate) const EXAMPLES: &str = "\
Examples:
  thetis version
  thetis version --api-url http://10.0.0.9:5080/api/v1";

pub(crate) async fn run(client: &Client) -> Result<(), Failure> {
    if client.output.for_people() {
        print(concat!("thetis:    ", env!("CARGO_PKG_VERSION")))?;
    }
    let answer = client.api.get(&["version"], &[]).await?;
    client.output.answer(&answer, |scheduler: Version| {
        format!("scheduler: {} at {}", scheduler.version, client.api.url())
    })
}
