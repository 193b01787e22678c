//! `/v2/config`: what a node is configured with.

use serde_json::{Map, Value, json};

use super::{Call, Context, Route, now, route, stage};
use crate::answer::{Answer, Fail, Reply};
use crate::config::Endpoint;

pub(super) const ROUTES: &[Route] = &[route("GET", "/v2/config/{id}", stage::FIRST, now!(entry))];

fn entry(context: &Context, call: &Call) -> Answer {
    let id = call.path("id");
    if id == "object_storage_endpoints" {
        return Ok(Reply::Json(Value::Object(endpoints(context))));
    }
    let config = context.node.config.lock().expect("no panic while held");
    match config.get(id) {
        Some(Value::Array(list)) => Ok(Reply::List(list.clone())),
        Some(value) => Ok(Reply::Json(value.clone())),
        None => Err(Fail::bad(format!("No such config entry: {id}"))),
    }
}

/// Name of each endpoint and its settings, as text that holds JSON.
fn endpoints(context: &Context) -> Map<String, Value> {
    let endpoints = context.node.endpoints.lock().expect("no panic while held");
    let pair = |(name, endpoint): (&String, &Endpoint)| {
        let settings = match endpoint {
            Endpoint::S3 => r#"{ "type": "s3", "aws_region": "us-east-1", "iam_role_arn": "" }"#,
            Endpoint::Gcs => r#"{ "type": "gs", "credentials_file": "" }"#,
            Endpoint::Dir(_) => r#"{ "type": "dir" }"#,
        };
        (name.clone(), json!(settings))
    };
    endpoints.iter().map(pair).collect()
}
