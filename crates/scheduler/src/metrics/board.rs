//! What the leader shows of clusters, tasks and nodes: under the names and with the labels that
//! dashboards for ScyllaDB Manager use where the meaning is the same, else under
//! `thetis_scheduler_`.
//!
//! `cluster` is a cluster's id, as there; `scylla_manager_cluster_name` says its name. Of each task
//! the last run is shown, until the next begins. Only the leader shows anything.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use prometheus_client::{
    collector::Collector,
    encoding::{DescriptorEncoder, EncodeGaugeValue, NoLabelSet},
    metrics::MetricType,
};
use protocol::{
    Cluster, ClusterId, ClusterNode, Pinged, Probe, RunId, RunStatus, Task, TaskId, TaskKind,
};
use workflow::{Host, Report};

use crate::{record::Record, suspend::Suspensions};

/// Everything that is shown. Cheap to clone.
#[derive(Clone, Debug, Default)]
pub(crate) struct Board(Arc<Mutex<Shown>>);

#[derive(Debug, Default)]
struct Shown {
    /// Name, and whether it is suspended.
    clusters: BTreeMap<ClusterId, (String, bool)>,
    tasks: BTreeMap<TaskId, TaskShown>,
    nodes: BTreeMap<ClusterId, Vec<(ClusterNode, Found)>>,
    depth: Option<queue::Depth>,
}

/// What a look at a node has found; the cause, if nobody could look.
pub(crate) type Found = Result<Pinged, String>;

#[derive(Debug)]
struct TaskShown {
    cluster: ClusterId,
    kind: TaskKind,
    running: bool,
    /// When it was last done, in milliseconds since 1970.
    success_ms: u64,
    ended: BTreeMap<&'static str, u64>,
    run: Option<(Asked, Report)>,
}

/// When a run was asked for, in milliseconds since 1970, and which it is: later ones are greater.
type Asked = (u64, RunId);

impl Board {
    fn shown(&self) -> MutexGuard<'_, Shown> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Another replica knows better now.
    pub(crate) fn clear(&self) {
        *self.shown() = Shown::default();
    }

    /// These clusters and tasks there are.
    pub(crate) fn keep(&self, clusters: &[Cluster], tasks: &[Task], suspended: &Suspensions) {
        let mut shown = self.shown();
        let known = |cluster: &Cluster| {
            let state = (cluster.name.clone(), suspended.contains_key(&cluster.id));
            (cluster.id, state)
        };
        shown.clusters = clusters.iter().map(known).collect();
        let live = tasks.iter().filter(|task| !task.deleted);
        let live: BTreeMap<TaskId, &Task> = live.map(|task| (task.id, task)).collect();
        shown.tasks.retain(|id, _| live.contains_key(id));
        for task in live.values() {
            shown.task(task.id, task.cluster, task.kind());
        }
        let Shown {
            clusters, nodes, ..
        } = &mut *shown;
        nodes.retain(|cluster, _| clusters.contains_key(cluster));
    }

    /// A task's runs, as they are kept: any number, in any order.
    pub(crate) fn history<'a>(&self, runs: impl Iterator<Item = &'a Record>) {
        let mut shown = self.shown();
        for record in runs {
            let Some(task) = shown.tasks.get_mut(&record.task) else {
                continue;
            };
            if record.status == RunStatus::Done {
                task.success_ms = task.success_ms.max(record.ended_ms);
            }
            let asked = (record.asked_ms, record.run);
            let later = task.run.as_ref().is_none_or(|(known, _)| *known < asked);
            if let (true, Some(work)) = (later, &record.work) {
                task.run = Some((asked, work.report()));
            }
        }
    }

    /// A run is so far.
    pub(crate) fn run(&self, record: &Record) {
        let Some(work) = &record.work else { return };
        let report = work.report();
        if let Some(task) = self.shown().of(record) {
            task.running = !record.status.ended();
            task.run = Some(((record.asked_ms, record.run), report));
        }
    }

    /// A run has ended, whether or not it had begun.
    pub(crate) fn ended(&self, record: &Record) {
        self.run(record);
        if let Some(task) = self.shown().of(record) {
            task.running = false;
            *task.ended.entry(record.status.as_str()).or_default() += 1;
            if record.status == RunStatus::Done {
                task.success_ms = task.success_ms.max(record.ended_ms);
            }
        }
    }

    /// The nodes of a cluster are so. A look may come to its end after all was cleared, and is then
    /// not shown any more.
    pub(crate) fn nodes(&self, cluster: ClusterId, found: Vec<(ClusterNode, Found)>) {
        let mut shown = self.shown();
        if shown.clusters.contains_key(&cluster) {
            shown.nodes.insert(cluster, found);
        }
    }

    /// So much waits in the queue; as for nodes.
    pub(crate) fn depth(&self, depth: queue::Depth) {
        let mut shown = self.shown();
        if !shown.clusters.is_empty() {
            shown.depth = Some(depth);
        }
    }
}

impl Shown {
    fn task(&mut self, id: TaskId, cluster: ClusterId, kind: TaskKind) -> &mut TaskShown {
        self.tasks.entry(id).or_insert_with(|| TaskShown {
            cluster,
            kind,
            running: false,
            success_ms: 0,
            // From 0 on, for an increase from nothing is none to Prometheus.
            ended: [RunStatus::Done, RunStatus::Error]
                .map(|status| (status.as_str(), 0))
                .into(),
            run: None,
        })
    }

    /// The task of a run, which may be newer than the last look at all tasks; none of an errand.
    fn of(&mut self, record: &Record) -> Option<&mut TaskShown> {
        let kind = record.kind();
        let of_task = !matches!(kind, TaskKind::Delete | TaskKind::Clear);
        of_task.then(|| self.task(record.task, record.cluster, kind))
    }

    /// The last run of each cluster of this kind: more would be told apart by no label.
    fn last(&self, kind: TaskKind) -> Vec<(String, &Report)> {
        let mut last: BTreeMap<ClusterId, &(Asked, Report)> = BTreeMap::new();
        for task in self.tasks.values().filter(|task| task.kind == kind) {
            let Some(run) = &task.run else { continue };
            let known = last.entry(task.cluster).or_insert(run);
            if known.0 < run.0 {
                *known = run;
            }
        }
        last.into_iter()
            .map(|(cluster, (_, report))| (cluster.to_string(), report))
            .collect()
    }
}

impl Collector for Board {
    fn encode(&self, encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let shown = self.shown();
        let mut page = Page(encoder);
        shown.clusters(&mut page)?;
        shown.tasks(&mut page)?;
        shown.backups(&mut page)?;
        shown.restores(&mut page)?;
        shown.health(&mut page)?;
        shown.queue(&mut page)
    }
}

/// What is written at a scrape.
struct Page<'a>(DescriptorEncoder<'a>);

impl Page<'_> {
    /// Writes a gauge with its series. No two may have the same labels.
    fn gauge<'l, const N: usize, V: EncodeGaugeValue>(
        &mut self,
        name: &str,
        help: &str,
        series: impl IntoIterator<Item = ([(&'l str, &'l str); N], V)>,
    ) -> fmt::Result {
        let mut all = self
            .0
            .encode_descriptor(name, help, None, MetricType::Gauge)?;
        for (labels, value) in series {
            all.encode_family(&labels)?.encode_gauge(&value)?;
        }
        Ok(())
    }
}

impl Shown {
    fn clusters(&self, page: &mut Page<'_>) -> fmt::Result {
        let ids: Vec<(String, &(String, bool))> = self
            .clusters
            .iter()
            .map(|(id, known)| (id.to_string(), known))
            .collect();
        page.gauge(
            "scylla_manager_server_current_version",
            "Always 0; the label says which version of Thetis runs",
            [([("version", env!("CARGO_PKG_VERSION"))], 0_u64)],
        )?;
        page.gauge(
            "scylla_manager_cluster_name",
            "Always 0; the labels say which name an id has",
            ids.iter()
                .map(|(id, (name, _))| ([("cluster", &**id), ("name", &**name)], 0_u64)),
        )?;
        page.gauge(
            "scylla_manager_scheduler_suspended",
            "Whether the cluster is suspended",
            ids.iter()
                .map(|(id, (_, suspended))| ([("cluster", &**id)], u64::from(*suspended))),
        )
    }

    fn tasks(&self, page: &mut Page<'_>) -> fmt::Result {
        let ids: Vec<[String; 2]> = self
            .tasks
            .iter()
            .map(|(id, task)| [task.cluster.to_string(), id.to_string()])
            .collect();
        let all: Vec<([(&str, &str); 3], &TaskShown)> = ids
            .iter()
            .zip(self.tasks.values())
            .map(|([cluster, id], task)| {
                (
                    [
                        ("cluster", &**cluster),
                        ("type", task.kind.as_str()),
                        ("task", &**id),
                    ],
                    task,
                )
            })
            .collect();
        page.gauge(
            "scylla_manager_scheduler_run_indicator",
            "Whether the task runs",
            all.iter()
                .map(|(labels, task)| (*labels, u64::from(task.running))),
        )?;
        page.gauge(
            "scylla_manager_scheduler_last_success",
            "When the task was last done, in seconds since 1970; 0 if never",
            all.iter()
                .map(|(labels, task)| (*labels, task.success_ms / 1_000)),
        )?;
        let mut ended = page.0.encode_descriptor(
            "scylla_manager_scheduler_run",
            "Runs of the task that ended while this replica led, by status",
            None,
            MetricType::Counter,
        )?;
        for (labels, task) in &all {
            for (status, count) in &task.ended {
                let labels = (*labels, [("status", *status)]);
                ended
                    .encode_family(&labels)?
                    .encode_counter::<NoLabelSet, _, u64>(count, None)?;
            }
        }
        let runs = || {
            all.iter()
                .filter_map(|(labels, task)| Some((*labels, &task.run.as_ref()?.1)))
        };
        page.gauge(
            "thetis_scheduler_run_stage",
            "Always 1; the label says to which stage the task's last run has come",
            runs().map(|([cluster, kind, task], report)| {
                ([cluster, kind, task, ("stage", &*report.stage)], 1_u64)
            }),
        )?;
        page.gauge(
            "thetis_scheduler_run_parts",
            "Chunks or batches of the task's last run, as far as they are known",
            runs().map(|(labels, report)| (labels, report.parts)),
        )?;
        page.gauge(
            "thetis_scheduler_run_parts_done",
            "Of these, chunks stored or batches loaded",
            runs().map(|(labels, report)| (labels, report.parts_done)),
        )?;
        let removed = || runs().filter_map(|(labels, report)| Some((labels, report.removed?)));
        page.gauge(
            "thetis_scheduler_run_removed_backups",
            "Old backups that the task's last run has removed",
            removed().map(|(labels, removed)| (labels, removed.backups)),
        )?;
        page.gauge(
            "thetis_scheduler_run_removed_objects",
            "Objects that the task's last run has removed",
            removed().map(|(labels, removed)| (labels, removed.objects)),
        )?;
        page.gauge(
            "thetis_scheduler_run_removed_bytes",
            "Bytes of these",
            removed().map(|(labels, removed)| (labels, removed.bytes)),
        )
    }

    /// Counted by whole chunks.
    fn backups(&self, page: &mut Page<'_>) -> fmt::Result {
        let last = self.last(TaskKind::Backup);
        let hosts: Vec<(&str, &Host)> = last
            .iter()
            .flat_map(|(cluster, report)| report.hosts.iter().map(|host| (&**cluster, host)))
            .collect();
        let keyspaces: Vec<([(&str, &str); 3], u64)> = hosts
            .iter()
            .flat_map(|(cluster, host)| {
                let names: BTreeSet<&str> =
                    host.tables.iter().map(|table| &*table.keyspace).collect();
                names.into_iter().map(|keyspace| {
                    (
                        [
                            ("cluster", *cluster),
                            ("keyspace", keyspace),
                            ("host", &*host.address),
                        ],
                        1,
                    )
                })
            })
            .collect();
        page.gauge(
            "scylla_manager_backup_snapshot",
            "Always 1, once a snapshot of the keyspace was taken on the node for the last backup, and looked through",
            keyspaces,
        )?;
        let tables = || {
            hosts.iter().flat_map(|(cluster, host)| {
                host.tables.iter().map(|table| {
                    let labels = [
                        ("cluster", *cluster),
                        ("keyspace", &*table.keyspace),
                        ("table", &*table.table),
                        ("host", &*host.address),
                    ];
                    (labels, *host, table)
                })
            })
        };
        page.gauge(
            "scylla_manager_backup_files_size_bytes",
            "Bytes of the last backup",
            tables().map(|(labels, _, table)| (labels, table.size)),
        )?;
        page.gauge(
            "scylla_manager_backup_files_uploaded_bytes",
            "Of these, bytes brought to the bucket",
            tables().map(|(labels, _, table)| (labels, table.done)),
        )?;
        page.gauge(
            "scylla_manager_backup_files_skipped_bytes",
            "Of these, bytes that the bucket had already",
            tables().map(|(labels, _, table)| (labels, table.skipped)),
        )?;
        page.gauge(
            "scylla_manager_backup_files_failed_bytes",
            "Of these, bytes that did not get to the bucket because their node failed",
            tables().map(|(labels, host, table)| {
                let left = table.size.saturating_sub(table.done + table.skipped);
                (labels, if host.failed > 0 { left } else { 0 })
            }),
        )?;
        let by_host = |of: fn(&Host) -> u64| {
            hosts.iter().map(move |(cluster, host)| {
                ([("cluster", *cluster), ("host", &*host.address)], of(host))
            })
        };
        page.gauge(
            "thetis_scheduler_backup_files",
            "Files of the last backup",
            by_host(|host| host.files),
        )?;
        page.gauge(
            "thetis_scheduler_backup_files_skipped",
            "Of these, files that the bucket had already",
            by_host(|host| host.files_skipped),
        )?;
        page.gauge(
            "thetis_scheduler_backup_dedup_ratio",
            "Share of the last backup's bytes that the bucket had already, from 0 to 1",
            last.iter().map(|(cluster, report)| {
                (
                    [("cluster", &**cluster)],
                    share(report.skipped, report.size),
                )
            }),
        )
    }

    /// Counted by whole batches.
    fn restores(&self, page: &mut Page<'_>) -> fmt::Result {
        let last = self.last(TaskKind::Restore);
        let named: Vec<(&str, String, &Report)> = last
            .iter()
            .map(|(cluster, report)| {
                let tag = report.snapshot_tag.as_ref().map(ToString::to_string);
                (&**cluster, tag.unwrap_or_default(), *report)
            })
            .collect();
        page.gauge(
            "scylla_manager_restore_progress",
            "How much of the last restore is done, in percent",
            named.iter().map(|(cluster, tag, report)| {
                let done = share(report.restored, report.size);
                (
                    [("cluster", *cluster), ("snapshot_tag", &**tag)],
                    done * 100.0,
                )
            }),
        )?;
        page.gauge(
            "scylla_manager_restore_remaining_bytes",
            "Bytes that are still to be restored",
            named.iter().flat_map(|(cluster, tag, report)| {
                report.tables.iter().map(|table| {
                    let labels = [
                        ("cluster", *cluster),
                        ("snapshot_tag", &**tag),
                        ("keyspace", &*table.keyspace),
                        ("table", &*table.table),
                    ];
                    (labels, table.size.saturating_sub(table.done))
                })
            }),
        )?;
        let by_host = |of: fn(&Host) -> u64| {
            named.iter().flat_map(move |(cluster, _, report)| {
                report
                    .hosts
                    .iter()
                    .map(move |host| ([("cluster", *cluster), ("host", &*host.address)], of(host)))
            })
        };
        for (name, help, of) in [
            (
                "scylla_manager_restore_restored_bytes",
                "Bytes that the node has downloaded and loaded",
                (|host| host.restored) as fn(&Host) -> u64,
            ),
            (
                "scylla_manager_restore_restore_duration",
                "Milliseconds that the node has downloaded and loaded, summed up over batches",
                |host| host.download_ms + host.load_ms,
            ),
            (
                "scylla_manager_restore_downloaded_bytes",
                "Bytes that the node has downloaded",
                |host| host.restored,
            ),
            (
                "scylla_manager_restore_download_duration",
                "Milliseconds that the node has downloaded, summed up over batches",
                |host| host.download_ms,
            ),
            (
                "scylla_manager_restore_streamed_bytes",
                "Bytes that the node has loaded and streamed to where they belong",
                |host| host.restored,
            ),
            (
                "scylla_manager_restore_stream_duration",
                "Milliseconds that the node has loaded and streamed, summed up over batches",
                |host| host.load_ms,
            ),
        ] {
            page.gauge(name, help, by_host(of))?;
        }
        Ok(())
    }

    fn health(&self, page: &mut Page<'_>) -> fmt::Result {
        let ids: Vec<(String, &Vec<(ClusterNode, Found)>)> = self
            .nodes
            .iter()
            .map(|(id, nodes)| (id.to_string(), nodes))
            .collect();
        let nodes = || {
            ids.iter().flat_map(|(id, nodes)| {
                nodes.iter().map(|(node, found)| {
                    let labels = [
                        ("cluster", &**id),
                        ("dc", &*node.dc),
                        ("rack", &*node.rack),
                        ("host", &*node.address),
                    ];
                    (labels, found)
                })
            })
        };
        for (status, took, what, of) in [
            (
                "scylla_manager_healthcheck_cql_status",
                "scylla_manager_healthcheck_cql_rtt_ms",
                "the port for CQL",
                (|found| &found.cql) as fn(&Pinged) -> &Probe,
            ),
            (
                "scylla_manager_healthcheck_rest_status",
                "scylla_manager_healthcheck_rest_rtt_ms",
                "the REST API",
                |found| &found.rest,
            ),
        ] {
            let word = |found: &Found| match found {
                Ok(found) if of(found).cause.is_empty() && !of(found).timeout => 1_i64,
                Ok(_) => -1,
                Err(_) => -2,
            };
            page.gauge(
                status,
                &format!("How {what} answered last: 1 well, -1 not, -2 if the worker beside the node could not be asked"),
                nodes().map(|(labels, found)| (labels, word(found))),
            )?;
            page.gauge(
                took,
                &format!("Milliseconds in which {what} answered"),
                nodes().filter_map(|(labels, found)| {
                    let us = found.as_ref().ok().map(of)?.round_trip_us;
                    Some((
                        labels,
                        std::time::Duration::from_micros(us).as_secs_f64() * 1_000.0,
                    ))
                }),
            )?;
        }
        Ok(())
    }

    fn queue(&self, page: &mut Page<'_>) -> fmt::Result {
        let takers = self.depth.iter().flat_map(|depth| &depth.takers);
        page.gauge(
            "thetis_scheduler_queue_waiting",
            "Messages that wait, by who takes them: a kind of worker, `scheduler` for requests, `events` for what the leader hears, `notices` for who tells how runs end",
            takers.clone().map(|(taker, waits)| ([("taker", &**taker)], waits.waiting)),
        )?;
        page.gauge(
            "thetis_scheduler_queue_in_hand",
            "Messages that they have in hand",
            takers.map(|(taker, waits)| ([("taker", &**taker)], waits.in_hand)),
        )?;
        page.gauge(
            "thetis_scheduler_queue_bytes",
            "Size of the queue, of which `nats.jobs_mb` is the limit",
            self.depth.iter().map(|depth| ([], depth.bytes)),
        )
    }
}

#[expect(
    clippy::cast_precision_loss,
    reason = "shown as a share, rounded anyway"
)]
fn share(part: u64, whole: u64) -> f64 {
    if whole == 0 {
        0.0
    } else {
        part as f64 / whole as f64
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::record::tests::backup;

    /// Runs by schedule have ids that say nothing of their time.
    #[test]
    fn the_last_backup_of_a_cluster_is_the_one_asked_for_last() {
        let (one, two) = (TaskId::generate(), TaskId::generate());
        let mut first = backup(one, 10, RunStatus::Running);
        let mut last = backup(two, 20, RunStatus::Running);
        if first.run < last.run {
            std::mem::swap(&mut first.run, &mut last.run);
        }
        let board = Board::default();
        board.run(&last);
        board.run(&first);
        let shown = board.shown();
        let all = shown.last(TaskKind::Backup);
        assert_eq!(all.len(), 1, "they are of one cluster");
        assert_eq!(all[0].1.task, two);
    }

    #[test]
    fn a_look_that_ends_after_the_term_is_not_shown() {
        let board = Board::default();
        board.clear();
        board.nodes(ClusterId::generate(), Vec::new());
        board.depth(queue::Depth::default());
        let shown = board.shown();
        assert!(shown.nodes.is_empty() && shown.depth.is_none());
    }

    #[test]
    fn what_ends_before_its_task_was_looked_at_is_counted() {
        let board = Board::default();
        let record = backup(TaskId::generate(), 10, RunStatus::Done);
        board.ended(&record);
        board.ended(&record);
        let shown = board.shown();
        assert_eq!(shown.tasks[&record.task].ended["DONE"], 2);
        assert!(!shown.tasks[&record.task].running);
    }
}
