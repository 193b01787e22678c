//! `thetis throttle`.

use std::fmt::Write as _;

use clap::Args;
use serde_json::json;

use crate::{
    args::ClusterArg,
    error::{Exit, Failure},
    shape::{Task, Throttle},
    task_arg,
    verbs::Client,
};

/// How fast work may go.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  thetis throttle -c prod --rate 200MiB/s
  thetis throttle -c prod backup/nightly --rate 50
  thetis throttle -c prod --node 10.0.0.3 --rate 20
  thetis throttle -c prod --reset

It holds within two seconds, also in the middle of a file, until it is reset, whatever --rate-limit
the task has. What is said of a node counts before what is said of a task, and that before what is
said of the cluster. The workers' own `rate_limit` is the most in any case. Without --rate and
--reset: what holds now.")]
pub(crate) struct ThrottleArgs {
    #[command(flatten)]
    cluster: ClusterArg,
    /// Only this task: <type>/<id or name>, its id, or its type while there is one of it
    #[arg(value_name = "TASK")]
    task: Option<String>,
    /// Only this node, by address or host id
    #[arg(long, value_name = "NODE", conflicts_with = "task")]
    node: Option<String>,
    /// What each node may move: a number of MiB per second, or as in 200MiB/s or 2GiB/s; 0 for no limit
    #[arg(long, value_name = "RATE", value_parser = rate)]
    rate: Option<u32>,
    /// Leave it to the tasks again
    #[arg(long, conflicts_with = "rate")]
    reset: bool,
}

pub(crate) async fn run(client: &Client, args: ThrottleArgs) -> Result<(), Failure> {
    let cluster = client.cluster(&args.cluster).await?;
    let path = ["cluster", cluster.as_str(), "throttle"];
    let tasks = client.tasks(&cluster).await?;
    let task = match &args.task {
        Some(task) => Some(task_arg::resolve(task, &tasks)?),
        None => None,
    };
    let answer = if args.rate.is_some() || args.reset {
        let task = task.map(|task| format!("{}/{}", task.kind, task.id));
        let body = json!({"rate": args.rate, "task": task, "node": args.node});
        client.api.set(&path, &[], &body).await?
    } else if task.is_some() || args.node.is_some() {
        return Err(Failure::new(
            Exit::Usage,
            "what about it? give --rate, or --reset to leave it to the tasks again",
        ));
    } else {
        client.api.get(&path, &[]).await?
    };
    client
        .output
        .answer(&answer, |throttle: Throttle| text(&throttle, &tasks))
}

/// What holds, a line each.
fn text(throttle: &Throttle, tasks: &[Task]) -> String {
    let speed = |rate: u32| match rate {
        0 => "no limit".to_owned(),
        rate => format!("{rate} MiB/s"),
    };
    let mut text = match throttle.rate {
        Some(rate) => format!("every node: {}", speed(rate)),
        None => "every node: as its tasks say".to_owned(),
    };
    for of_task in &throttle.tasks {
        let known = tasks.iter().find(|task| task.id == of_task.task_id);
        let name = known.map_or_else(|| of_task.task_id.clone(), Task::title);
        let _ = write!(text, "\n{name}: {}", speed(of_task.rate));
    }
    for of_node in &throttle.nodes {
        let name = match of_node.address.as_str() {
            "" => &of_node.host_id,
            address => address,
        };
        let _ = write!(text, "\n{name}: {}", speed(of_node.rate));
    }
    text
}

/// Reads `200`, `200MiB/s`, `2GiB/s`; in MiB per second.
fn rate(text: &str) -> Result<u32, String> {
    let digits = text.bytes().take_while(u8::is_ascii_digit).count();
    let (number, unit) = text.split_at(digits);
    let unit = unit.trim_start().trim_end_matches("/s");
    let factor: u32 = match unit.to_ascii_lowercase().as_str() {
        "" | "m" | "mib" => 1,
        "g" | "gib" => 1024,
        _ => {
            return Err(
                "it must be whole MiB per second, as 200, 200MiB/s or 2GiB/s; 0 is for no limit"
                    .to_owned(),
            );
        }
    };
    let number: Option<u32> = number.parse().ok();
    let mib = number.and_then(|number| number.checked_mul(factor));
    mib.ok_or_else(|| "it must begin with a number, as 200 or 200MiB/s".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rates_are_read_as_people_write_them() {
        for (text, mib) in [
            ("0", 0),
            ("200", 200),
            ("200MiB/s", 200),
            ("50 M/s", 50),
            ("50m", 50),
            ("2GiB/s", 2048),
            ("1G", 1024),
        ] {
            assert_eq!(rate(text), Ok(mib), "{text}");
        }
        for text in [
            "",
            "fast",
            "-1",
            "1.5G",
            "200MB/s",
            "200kbit",
            "4294967295G",
        ] {
            assert!(rate(text).is_err(), "{text}");
        }
    }
}
