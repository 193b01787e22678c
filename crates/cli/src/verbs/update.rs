//! `thetis update`.

use clap::Args;
use serde_json::{Map, Value, json};

use crate::{
    args::{ClusterArg, ScheduleArgs, label},
    error::{Exit, Failure},
    task_arg,
    verbs::Client,
};

/// What to change of a task.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  thetis update -c prod backup/nightly --cron '@daily' --window 01:00,05:00
  thetis update -c prod backup/nightly --set retention=7 --set keyspace=shop,orders
  thetis update -c prod backup/nightly --enabled false
  thetis update -c prod restore --name drill --label team=db

What is not named stays as it is. A run that is under way goes on as it began. `thetis info` shows the
properties that --set can change; without a value, as in --set keyspace=, one is taken away.")]
pub(crate) struct UpdateArgs {
    #[command(flatten)]
    cluster: ClusterArg,
    /// The task: <type>/<id or name>, its id, or its type while there is one of it
    #[arg(value_name = "TASK")]
    task: String,
    /// A new name
    #[arg(long)]
    name: Option<String>,
    /// Whether it may run by itself
    #[arg(long, value_name = "true|false")]
    enabled: Option<bool>,
    /// A property and its new value: JSON, a text, or a list separated by commas
    #[arg(long, value_name = "PROPERTY=VALUE", value_parser = label)]
    set: Vec<(String, String)>,
    #[command(flatten)]
    schedule: ScheduleArgs,
}

pub(crate) async fn run(client: &Client, args: UpdateArgs) -> Result<(), Failure> {
    let cluster = client.cluster(&args.cluster).await?;
    let tasks = client.tasks(&cluster).await?;
    let task = task_arg::resolve(&args.task, &tasks)?;
    let path = ["cluster", &cluster, "task", &task.kind, &task.id];
    let mut body: Map<String, Value> = client.api.get(&path, &[]).await?.read()?;
    if let Some(name) = args.name {
        body.insert("name".to_owned(), json!(name));
    }
    if let Some(enabled) = args.enabled {
        body.insert("enabled".to_owned(), json!(enabled));
    }
    if !args.schedule.labels().is_empty() {
        body.insert("labels".to_owned(), json!(args.schedule.labels()));
    }
    let schedule = body.entry("schedule").or_insert_with(|| json!({}));
    args.schedule.change(schedule);
    let properties = body.entry("properties").or_insert_with(|| json!({}));
    let Value::Object(properties) = properties else {
        return Err(Failure::new(
            Exit::Unreachable,
            "what the API says of the task is no task",
        ));
    };
    for (key, text) in &args.set {
        let list = properties.get(key).is_some_and(Value::is_array) || is_list(key);
        let value = value(text, list);
        if value.is_null() {
            properties.remove(key);
        } else {
            properties.insert(key.clone(), value);
        }
    }
    let answer = client.api.set(&path, &[], &Value::Object(body)).await?;
    let label = task.label();
    client.output.answer(&answer, |_: serde::de::IgnoredAny| {
        format!("{label} is changed; see: thetis info -c {cluster} {label}")
    })
}

/// Properties that are lists, also while they have no value.
fn is_list(key: &str) -> bool {
    matches!(
        key,
        "location" | "keyspace" | "dc" | "rate_limit" | "snapshot_parallel" | "upload_parallel"
    )
}

/// What a text means for a property; `null` for an empty one.
fn value(text: &str, list: bool) -> Value {
    if text.is_empty() {
        return Value::Null;
    }
    match serde_json::from_str(text) {
        Ok(Value::Array(items)) => Value::Array(items),
        Ok(value) if !list => value,
        Ok(_) | Err(_) if list => {
            json!(text.split(',').map(str::trim).collect::<Vec<_>>())
        }
        Ok(_) | Err(_) => json!(text),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_is_json_a_text_or_a_list() {
        for (text, list, expected) in [
            ("7", false, json!(7)),
            ("true", false, json!(true)),
            ("agent", false, json!("agent")),
            ("shop,!shop.tmp", true, json!(["shop", "!shop.tmp"])),
            ("7", true, json!(["7"])),
            (r#"["a","b"]"#, true, json!(["a", "b"])),
            ("", true, Value::Null),
            ("sm_20260131235959UTC", false, json!("sm_20260131235959UTC")),
        ] {
            assert_eq!(value(text, list), expected, "{text}");
        }
    }
}
