//! Asks Thetis for a backup over NATS and follows it to its end.
//!
//! ```text
//! cargo run -p tests --example follow_backup nats://127.0.0.1:4222 prod s3:backups
//! ```
//!
//! Ends well only if the backup ends `DONE`. Messages are those of the crate `protocol`.

#![expect(clippy::print_stdout, reason = "this is for people to read")]

use anyhow::{Context as _, Result, bail, ensure};
use async_nats::{Client, HeaderMap};
use futures::StreamExt as _;
use protocol::{
    Answer, Command, Encoding, Event, Fact, Message as _, NewTask, TaskKind, TaskProgress,
};
use serde_json::{Value, json};

#[tokio::main]
async fn main() -> Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [url, cluster, location] = &arguments[..] else {
        bail!("give the address of NATS, the cluster, and the location");
    };
    let client = async_nats::connect(url).await?;
    // Listen first, so that nothing is missed.
    let mut events = client.subscribe(protocol::subject::EVENTS).await?;
    let properties = json!({"location": [location]});
    let backup = Command::Backup(NewTask {
        properties: properties.as_object().cloned().unwrap_or_default(),
        ..NewTask::default()
    });
    let task = command(&client, cluster, &backup).await?;
    let (id, run) = (text(&task["id"])?, text(&task["run_id"])?);
    println!("backup/{id}, run {run}");
    while let Some(message) = events.next().await {
        let event = Event::decode(&message.payload, Encoding::MessagePack)?;
        if event.run.to_string() != run {
            continue;
        }
        println!("{}", event.fact.kind());
        if matches!(event.fact, Fact::RunEnded(_) | Fact::Refused { .. }) {
            break;
        }
    }
    let progress = Command::Progress(TaskProgress {
        kind: TaskKind::Backup,
        task: id.to_owned(),
        run: Some(run.to_owned()),
    });
    let found = command(&client, cluster, &progress).await?;
    let status = text(&found["run"]["status"])?;
    println!("{status}, {} bytes uploaded", found["progress"]["uploaded"]);
    ensure!(status == "DONE", "{}", found["run"]["cause"]);
    Ok(())
}

/// Asks for something, and gives what the API answers to it.
async fn command(client: &Client, cluster: &str, command: &Command) -> Result<Value> {
    let mut headers = HeaderMap::new();
    headers.insert("Content-Type", Encoding::MessagePack.content_type());
    let subject = format!("thetis.command.{cluster}.{}", command.kind());
    let payload = command.encode(Encoding::MessagePack).into();
    let answer = client
        .request_with_headers(subject, headers, payload)
        .await?;
    let Answer::Answer { status, body } = Answer::decode(&answer.payload, Encoding::MessagePack)?;
    ensure!(
        status < 300,
        "{}: {status}: {}",
        command.kind(),
        body["message"]
    );
    Ok(body)
}

fn text(value: &Value) -> Result<&str> {
    value.as_str().context("a text")
}
