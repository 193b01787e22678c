//! Schedulers are killed and held up while tasks are due: each activation runs exactly once.
//!
//! A program of its own, so that nothing else wants the machine meanwhile.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use anyhow::{Context as _, Result, ensure};
use futures::{StreamExt as _, TryStreamExt as _, stream};
use protocol::{Cluster, ClusterId, RunStatus, Schedule, Task, TaskId, Throttles, ValidateRequest};
use queue::{Bucket, Kv, Queue};
use rustix::process::{Pid, Signal, kill_process};
use serde::{Deserialize, Serialize};
use testkit::eventually;
use tests::{Kind, Options, World};
use tokio::time::{Instant, sleep_until};

/// Tasks that are due each second, each of another cluster, and for how many seconds.
const EACH_SECOND: u64 = 200;
const SECONDS: u64 = 60;
/// The leader is killed so often; a new one is there within 10 s.
const KILLS: Duration = Duration::from_secs(5);
/// How long a leader is held up once: longer than its lease.
const HELD_UP: Duration = Duration::from_secs(12);
/// How long after the last activation all must have run.
const LIMIT: Duration = Duration::from_secs(240);

/// As much of a run's record as is looked at here.
#[derive(Serialize, Deserialize)]
struct Seen {
    task: TaskId,
    status: RunStatus,
}

fn now_ms() -> u64 {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    since.map_or(0, |time| {
        u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
    })
}

fn cluster(number: u64) -> Cluster {
    Cluster {
        id: ClusterId::generate(),
        name: format!("cluster-{number}"),
        host: "10.0.0.1".to_owned(),
        labels: BTreeMap::new(),
        nodes: Vec::new(),
        throttles: Throttles::default(),
    }
}

/// A task that is due at `at_ms`, once. Its run ends at once, as nothing says where backups are.
fn task(cluster: ClusterId, at_ms: u64, made_ms: u64) -> Task {
    let at = i64::try_from(at_ms).ok();
    let at = at.and_then(|ms| jiff::Timestamp::from_millisecond(ms).ok());
    Task {
        id: TaskId::generate(),
        cluster,
        name: String::new(),
        labels: BTreeMap::new(),
        tags: Vec::new(),
        enabled: true,
        deleted: false,
        schedule: Some(Schedule {
            start_date: at.map(|at| at.to_string()).unwrap_or_default(),
            ..Schedule::default()
        }),
        scheduled_ms: made_ms,
        backup: None,
        restore: None,
        validate: Some(ValidateRequest::default()),
        suspend: None,
    }
}

/// The process that leads, if any does.
async fn leader(queue: &Queue) -> Result<Option<u32>> {
    let leader = queue.leader().await?;
    let pid = leader.and_then(|instance| instance.split('-').next()?.parse().ok());
    Ok(pid)
}

#[tokio::test]
async fn each_activation_runs_once_whoever_leads_and_dies() -> Result<()> {
    let mut world = World::start(Options {
        local: true,
        ..Options::default()
    })
    .await?;
    let settings = queue::Settings {
        url: world.nats.url(),
        ..queue::Settings::default()
    };
    let queue = Queue::connect(&settings, "test").await?;
    let (clusters, tasks): (Kv<Cluster>, Kv<Task>) =
        (queue.bucket(Bucket::Clusters), queue.bucket(Bucket::Tasks));
    let made_ms = now_ms();
    // Time to write all this down, and to read it.
    let first_ms = made_ms + 20_000;
    let mut expected = BTreeSet::new();
    let mut writes = Vec::new();
    for number in 0..EACH_SECOND {
        let cluster = cluster(number);
        for second in 0..SECONDS {
            let task = task(cluster.id, first_ms + second * 1_000, made_ms);
            expected.insert(task.id);
            writes.push((format!("{}.{}", cluster.id, task.id), task));
        }
        clusters.put(&cluster.id.to_string(), &cluster).await?;
    }
    stream::iter(writes)
        .map(async |(key, task): (String, Task)| tasks.put(&key, &task).await)
        .buffer_unordered(64)
        .try_collect::<Vec<_>>()
        .await?;
    ensure!(now_ms() < first_ms, "writing the tasks took too long");
    world.add_scheduler()?;
    world.add_scheduler()?;

    let began = Instant::now() + Duration::from_millis(first_ms.saturating_sub(now_ms()));
    let (mut killed, mut held_up) = (0, None);
    for round in 1.. {
        let at = began + KILLS * round;
        if at > began + Duration::from_secs(SECONDS) {
            break;
        }
        sleep_until(at).await;
        if let Some((pid, until)) = held_up
            && Instant::now() >= until
        {
            kill_process(pid, Signal::CONT)?;
            held_up = None;
        }
        // The lease of one that was killed lasts for some seconds more.
        let leads = leader(&queue).await?;
        let lives = |pid: u32| {
            world
                .services
                .iter()
                .any(|service| service.id() == Some(pid))
        };
        let Some(leads) = leads.filter(|pid| lives(*pid)) else {
            continue;
        };
        let pid = Pid::from_raw(i32::try_from(leads)?).context("a process")?;
        if held_up.is_some_and(|(held, _)| held == pid) {
            continue;
        }
        if killed == 2 && held_up.is_none() {
            // It comes back, and has not noticed that time has passed.
            kill_process(pid, Signal::STOP)?;
            held_up = Some((pid, Instant::now() + HELD_UP));
            killed += 1;
            continue;
        }
        for service in world.find("scheduler") {
            if service.id() == Some(leads) {
                service.kill();
                killed += 1;
            }
        }
        world.revive()?;
    }
    if let Some((pid, _)) = held_up {
        kill_process(pid, Signal::CONT)?;
    }
    ensure!(killed >= 4, "only {killed} leaders were killed");
    let schedulers = world.services.iter().filter(|s| s.kind == Kind::Scheduler);
    ensure!(schedulers.count() == 3);

    let runs: Kv<Seen> = queue.bucket(Bucket::Runs);
    let ended = eventually("all activations to have run", LIMIT, async || {
        let ended = runs_of(&runs, &clusters).await?;
        let done = ended.values().filter(|runs| **runs > 0).count();
        ensure!(done >= expected.len(), "{done} of {}", expected.len());
        Ok(ended)
    })
    .await
    .with_context(|| world.last_words())?;
    for task in &expected {
        ensure!(
            ended.get(task) == Some(&1),
            "task {task} ran {:?} times",
            ended.get(task)
        );
    }
    ensure!(ended.len() == expected.len());
    Ok(())
}

/// How many runs each task has that have ended.
async fn runs_of(runs: &Kv<Seen>, clusters: &Kv<Cluster>) -> Result<BTreeMap<TaskId, u32>> {
    let mut ended = BTreeMap::new();
    for (_, cluster, _) in clusters.list("").await? {
        for (_, run, _) in runs.list(&cluster.id.to_string()).await? {
            ensure!(
                run.status.ended() || run.status == RunStatus::New,
                "{:?}",
                run.status
            );
            *ended.entry(run.task).or_default() += u32::from(run.status.ended());
        }
    }
    Ok(ended)
}
