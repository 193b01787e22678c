//! The tool as a person or a script uses it, against canned answers of the API.

#[path = "verbs/support.rs"]
mod support;

use serde_json::{Value, json};
use support::{Api, run};

const TAG: &str = "sm_20260131235959UTC";

fn error(message: &str) -> Value {
    json!({"message": message, "details": "looked everywhere", "trace_id": "4bf92f"})
}

fn task(kind: &str, id: &str, name: &str) -> Value {
    json!({
        "type": kind, "id": id, "name": name, "status": "DONE", "run_id": "r0", "success_count": 2, "error_count": 1,
        "last_success": "2026-01-31T23:59:59Z", "last_error": null, "cause": "",
    })
}

fn progress(status: &str, uploaded: u64) -> Value {
    json!({
        "run": {"type": "backup", "task_id": "b1", "id": "r1", "status": status, "start_time": "2026-01-31T23:59:59Z",
                "end_time": null, "cause": if status == "ERROR" { "no bucket `backups`" } else { "" }},
        "progress": {"stage": "UPLOAD", "snapshot_tag": TAG, "dcs": ["dc1"], "size": 4_194_304, "uploaded": uploaded,
                     "skipped": 1_048_576, "failed": 0, "hosts": []},
    })
}

fn clusters(names: &[&str]) -> Value {
    names
        .iter()
        .map(|name| {
            json!({"id": format!("id-{name}"), "name": name, "host": "10.0.0.1",
        "nodes": [{"dc": "dc2"}, {"dc": "dc1"}, {"dc": "dc1"}]})
        })
        .collect()
}

/// A cluster `prod` with three tasks.
fn prod() -> Api {
    let api = Api::new();
    api.on("GET /clusters", 200, clusters(&["prod"]));
    api.on("GET /cluster/prod", 200, clusters(&["prod"])[0].clone());
    let tasks = json!([
        task("backup", "b1", "nightly"),
        task("backup", "b2", ""),
        task("restore", "r1", "")
    ]);
    api.on("GET /cluster/prod/tasks", 200, tasks);
    api
}

#[test]
fn a_cluster_is_registered_listed_and_forgotten() {
    let api = Api::new();
    api.on("POST /clusters", 201, clusters(&["prod"])[0].clone());
    api.on("GET /clusters", 200, clusters(&["prod", "test"]));
    api.on("DELETE /cluster/prod", 200, "");
    assert_eq!(
        api.run("cluster add --name prod --host 10.0.0.1")
            .with(0)
            .out,
        "id-prod\n"
    );
    assert_eq!(
        api.body("POST /clusters"),
        json!({"name": "prod", "host": "10.0.0.1"})
    );
    let listed = api.run("cluster list").with(0).out;
    assert_eq!(
        listed,
        "NAME  ID       HOST      NODES  DATACENTERS\nprod  id-prod  10.0.0.1  3      dc1, dc2\n\
         test  id-test  10.0.0.1  3      dc1, dc2\n"
    );
    assert!(!listed.contains('\u{1b}'));
    assert!(
        api.run("cluster delete prod")
            .with(0)
            .out
            .contains("no longer registered")
    );
}

#[test]
fn json_is_the_apis_own_text() {
    let api = Api::new();
    let odd = "[ {\"name\":\"z\",  \"id\":\"a\", \"since_version_9\":1.50} ]";
    api.on("GET /clusters", 200, odd);
    assert_eq!(
        api.run("cluster list --output json").with(0).out,
        format!("{odd}\n")
    );
    assert_eq!(
        api.run("cluster list -o yaml").with(0).out,
        "- id: a\n  name: z\n  since_version_9: 1.5\n"
    );
    api.on("GET /cluster/z/status", 200, "[]");
    assert_eq!(api.run("status -c z --output json").with(0).out, "[]\n");
}

#[test]
fn a_status_shows_nodes_and_their_workers() {
    let api = Api::new();
    let workers = json!([{"kind": "upload"}, {"kind": "snapshot"}, {"kind": "upload"}]);
    let node = |dc: &str, host: &str| {
        json!({"dc": dc, "rack": "r1", "host": host, "host_id": "h", "status": "UN",
        "rest_status": "UP", "agent_version": "0.1.0", "workers": workers})
    };
    api.on(
        "GET /cluster/prod/status",
        200,
        json!([node("dc2", "10.0.0.2"), node("dc1", "10.0.0.1")]),
    );
    for verb in ["status", "cluster status"] {
        let out = api.run(&format!("{verb} -c prod")).with(0).out;
        let rows: Vec<&str> = out.lines().collect();
        assert!(
            rows[0].ends_with("dc1") && rows[4].ends_with("dc2"),
            "{out}"
        );
        assert!(rows[2].contains("snapshot, 2 upload"), "{out}");
    }
}

#[test]
fn speed_is_changed_and_shown() {
    let api = prod();
    let all = json!({"rate": 200, "tasks": [{"task_id": "b1", "rate": 0}, {"task_id": "gone", "rate": 3}],
        "nodes": [{"host_id": "h", "address": "10.0.0.3", "rate": 20}]});
    let none = json!({"rate": null, "tasks": [], "nodes": []});
    api.on("PUT /cluster/prod/throttle", 200, all);
    api.on("GET /cluster/prod/throttle", 200, none);
    let out = api.run("throttle -c prod --rate 200MiB/s").with(0).out;
    assert_eq!(
        out,
        "every node: 200 MiB/s\nbackup/nightly: no limit\ngone: 3 MiB/s\n10.0.0.3: 20 MiB/s\n"
    );
    let asked = || -> Value {
        let (request, body) = api.asked().pop().expect("something was asked");
        assert_eq!(request, "PUT /cluster/prod/throttle");
        serde_json::from_str(&body).expect("JSON")
    };
    assert_eq!(asked(), json!({"rate": 200, "task": null, "node": null}));
    api.run("throttle -c prod backup/nightly --rate 1GiB/s")
        .with(0);
    assert_eq!(
        asked(),
        json!({"rate": 1024, "task": "backup/b1", "node": null})
    );
    api.run("throttle -c prod --node 10.0.0.3 --reset").with(0);
    assert_eq!(
        asked(),
        json!({"rate": null, "task": null, "node": "10.0.0.3"})
    );
    let out = api.run("throttle -c prod").with(0).out;
    assert_eq!(out, "every node: as its tasks say\n");
    for (line, said) in [
        ("throttle -c prod --rate fast", "whole MiB per second"),
        ("throttle -c prod --rate 1 --reset", "cannot be used with"),
        ("throttle -c prod backup/nightly", "give --rate, or --reset"),
        ("throttle -c prod backup --rate 1", "may be any of 2 tasks"),
    ] {
        let err = api.run(line).with(2).err;
        assert!(err.contains(said), "{line}: {err}");
    }
}

#[test]
fn a_backup_is_asked_for_as_the_api_wants_it() {
    let api = prod();
    api.on(
        "POST /cluster/prod/tasks",
        201,
        json!({"type": "backup", "id": "b9", "run_id": "r9"}),
    );
    let ended = api
        .run("backup -c prod -L s3:a,dc1:s3:b -K shop -K '!shop.tmp*' --dc dc1 --name nightly --retention 7 --keep-weekly 4")
        .with(0);
    assert_eq!(
        (ended.out.as_str(), ended.err.as_str()),
        ("backup/b9\n", "")
    );
    let expected = json!({"type": "backup", "name": "nightly", "enabled": true, "properties": {
        "location": ["s3:a", "dc1:s3:b"], "keyspace": ["shop", "!shop.tmp*"], "dc": ["dc1"], "method": "agent",
        "retention": 7, "keep_weekly": 4}});
    assert_eq!(api.body("POST /cluster/prod/tasks"), expected);
}

#[test]
fn backups_are_deleted_when_somebody_agrees() {
    let api = prod();
    let deletion = |status: &str| json!({"run_id": "r7", "status": status, "snapshot_tags": [TAG], "objects": 12, "bytes": 2048});
    let line = format!("backup delete -c prod -T {TAG} -L s3:a");
    let refused = api.run(&line).with(2);
    assert!(refused.err.contains("--yes"), "{}", refused.err);
    assert!(api.asked().is_empty(), "{:?}", api.asked());

    api.on("DELETE /cluster/prod/backups", 200, deletion(""));
    let dry = api.run(&format!("{line} --dry-run")).with(0);
    assert_eq!(
        dry.out,
        format!("would delete {TAG}: 12 objects, 2.00 KiB\n")
    );
    let asked = format!(
        "DELETE /cluster/prod/backups?snapshot_tags={TAG}&locations=s3%3Aa&force=false&dry_run=true&wait_seconds=0"
    );
    assert_eq!(api.asked()[0].0, asked);

    let api = prod();
    api.on("DELETE /cluster/prod/backups", 202, deletion("NEW"));
    api.on(
        "GET /cluster/prod/backups/deletions/r7",
        202,
        deletion("RUNNING"),
    );
    api.on(
        "GET /cluster/prod/backups/deletions/r7",
        200,
        deletion("DONE"),
    );
    let done = api.run(&format!("{line} --yes --force")).with(0);
    assert_eq!(done.out, format!("deleted {TAG}: 12 objects, 2.00 KiB\n"));
    assert!(api.asked()[0].0.contains("force=true&dry_run=false"));

    let api = prod();
    api.on(
        "DELETE /cluster/prod/backups",
        409,
        error("backup is pinned"),
    );
    let pinned = api.run(&format!("{line} --yes"));
    assert!(pinned.err.contains("backup is pinned"), "{}", pinned.err);
}

#[test]
fn what_a_backup_holds_is_printed_as_a_bucket_would() {
    let api = prod();
    let nodes = json!([
        {"location": "s3:a", "schema": "backup/schema/x.json.gz", "files": [
            {"keyspace": "shop", "table": "users", "version": "0f", "path": "backup/sst/1/", "files": ["a.db", "b.db"]}]},
        {"location": "s3:a", "schema": "backup/schema/x.json.gz", "files": []},
    ]);
    for _ in 0..2 {
        api.on("GET /cluster/prod/backups/files", 200, nodes.clone());
    }
    let line = format!("backup files -c prod -T {TAG} -K shop");
    let out = api.run(&line).with(0).out;
    let expected = "s3:a/backup/schema/x.json.gz\t./\ns3:a/backup/sst/1/a.db\tshop/users/\n\
                    s3:a/backup/sst/1/b.db\tshop/users/\n";
    assert_eq!(out, expected);
    let out = api
        .run(&format!("{line} --with-version --delimiter ,"))
        .with(0)
        .out;
    assert!(out.ends_with("b.db,shop/users-0f/\n"), "{out}");
    let asked = format!("GET /cluster/prod/backups/files?snapshot_tag={TAG}&keyspace=shop");
    assert_eq!(api.asked()[0].0, asked);

    let schema = json!({"schema": [{"keyspace": "shop", "type": "keyspace", "name": "shop", "cql_stmt": "CREATE KEYSPACE shop"}]});
    api.on("GET /cluster/prod/backups/schema", 200, schema);
    let out = api
        .run(&format!("backup schema -c prod -T {TAG} -L s3:a"))
        .with(0)
        .out;
    assert_eq!(out, "CREATE KEYSPACE shop;\n");
}

#[test]
fn backups_are_pinned_and_unpinned() {
    let api = prod();
    let pin = format!("/cluster/prod/backups/pins/{TAG}");
    api.on(&format!("PUT {pin}"), 200, "");
    api.run(&format!("backup pin -c prod -T {TAG} --reason release-7"))
        .with(0);
    assert_eq!(
        api.body(&format!("PUT {pin}")),
        json!({"reason": "release-7"})
    );
    let pins =
        json!([{"snapshot_tag": TAG, "reason": "release-7", "since": "2026-02-01T00:00:00Z"}]);
    api.on("GET /cluster/prod/backups/pins", 200, pins);
    let out = api.run("backup pins -c prod").with(0).out;
    assert!(out.contains(TAG) && out.contains("release-7"), "{out}");
    api.on(&format!("DELETE {pin}"), 200, "");
    api.run(&format!("backup unpin -c prod -T {TAG} -L s3:a"))
        .with(0);
    assert_eq!(
        api.asked().last().unwrap().0,
        format!("DELETE {pin}?locations=s3%3Aa")
    );
    let api = prod();
    api.on(&format!("DELETE {pin}"), 404, error("not pinned"));
    api.run(&format!("backup unpin -c prod -T {TAG}")).with(3);
}

#[test]
fn a_restore_is_asked_for_as_the_api_wants_it() {
    let api = prod();
    api.on(
        "POST /cluster/prod/tasks",
        201,
        json!({"type": "restore", "id": "r9", "run_id": "r9"}),
    );
    let line = format!("restore -c prod -L s3:a -T {TAG} --restore-tables --source-cluster c1");
    assert_eq!(api.run(&line).with(0).out, "restore/r9\n");
    let expected = json!({"location": ["s3:a"], "snapshot_tag": TAG, "source_cluster_id": "c1", "restore_tables": true,
        "restore_schema": false, "method": "agent"});
    assert_eq!(api.body("POST /cluster/prod/tasks")["properties"], expected);

    let api = prod();
    api.on(
        "POST /cluster/prod/tasks",
        201,
        json!({"type": "restore", "id": "r9", "run_id": "r9"}),
    );
    let line = format!(
        "restore -c prod -L s3:a -T {TAG} --dc-mapping eu=dc1,us=dc1 --rename shop.a=shop.b --merge --with-roles"
    );
    api.run(&line).with(0);
    let expected = json!({"location": ["s3:a"], "snapshot_tag": TAG, "dc_mapping": ["eu=dc1", "us=dc1"],
        "rename": ["shop.a=shop.b"], "merge": true, "with_roles": true, "method": "agent"});
    assert_eq!(api.body("POST /cluster/prod/tasks")["properties"], expected);
}

#[test]
fn a_restore_takes_the_newest_backup_that_was_begun_by_then() {
    let api = prod();
    let backup =
        |tag: &str, complete: bool| json!({"snapshot_tag": tag, "nodes": 1, "complete": complete});
    let snapshots = json!([
        backup("sm_20260131120000UTC", true),
        backup("sm_20260131180000UTC", true),
        backup("sm_20260131190000UTC", false),
        backup("sm_20260201000000UTC", true),
    ]);
    api.on(
        "GET /cluster/prod/backups",
        200,
        json!([{"cluster_id": "c1", "task_id": "t1", "snapshot_info": snapshots}]),
    );
    api.on(
        "POST /cluster/prod/tasks",
        201,
        json!({"type": "restore", "id": "r9", "run_id": "r9"}),
    );
    api.run("restore -c prod -L s3:a --at 2026-01-31").with(0);
    let properties = &api.body("POST /cluster/prod/tasks")["properties"];
    assert_eq!(properties["snapshot_tag"], "sm_20260131180000UTC");
    let none = api.run("restore -c prod -L s3:a --at 2025-01-31").with(1);
    assert!(none.err.contains("no complete backup"), "{}", none.err);
    api.run("restore -c prod -L s3:a --at soon").with(2);
}

#[test]
fn an_undo_and_a_proof_are_tasks() {
    let submitted = |line: &str, kind: &str| {
        let api = prod();
        let made = json!({"type": kind, "id": "r9", "run_id": "r9"});
        api.on("POST /cluster/prod/tasks", 201, made);
        assert_eq!(api.run(line).with(0).out, format!("{kind}/r9\n"));
        let body = api.body("POST /cluster/prod/tasks");
        assert_eq!(body["type"], kind);
        body["properties"].clone()
    };
    assert_eq!(
        submitted("restore undo -c prod r1", "restore"),
        json!({"undo": "r1"})
    );
    let content = submitted(&format!("verify -c prod -T {TAG}"), "validate_backup");
    assert_eq!(content, json!({"snapshot_tag": TAG, "checksum": true}));
    let present = submitted("verify -c prod --depth present", "validate_backup");
    assert_eq!(present, json!({}));
    let drill = format!("verify -c prod -L s3:a -T {TAG} --depth drill --source-cluster c1");
    let expected = json!({"location": ["s3:a"], "snapshot_tag": TAG, "drill": true, "source_cluster_id": "c1"});
    assert_eq!(submitted(&drill, "restore"), expected);
    prod().run("verify -c prod --depth drill").with(2);
}

#[test]
fn waiting_for_a_backup_survives_a_scheduler_that_is_away() {
    let api = prod();
    api.on(
        "POST /cluster/prod/tasks",
        201,
        json!({"type": "backup", "id": "b1", "run_id": "r1"}),
    );
    let run = "GET /cluster/prod/task/backup/b1/r1";
    api.on(run, 404, error("no run r1"))
        .on(run, 200, progress("RUNNING", 0))
        .on(run, 503, error("asking NATS failed"));
    api.on(run, 502, "<html>bad gateway</html>")
        .on(run, 200, progress("DONE", 3 << 20));
    let ended = api.run("backup -c prod -L s3:a --wait").with(0);
    assert!(
        ended.out.contains("Status:       DONE") && ended.out.contains("100% of 4.00 MiB"),
        "{}",
        ended.out
    );
    assert!(
        ended
            .err
            .starts_with("backup/b1\nRUNNING (UPLOAD) 25% (1.00 MiB of 4.00 MiB)\n"),
        "{}",
        ended.err
    );
    assert!(ended.err.contains("asking NATS failed"), "{}", ended.err);
}

#[test]
fn a_run_that_ends_badly_fails_who_waited_for_it() {
    let api = prod();
    api.on(
        "POST /cluster/prod/tasks",
        201,
        json!({"type": "backup", "id": "b1", "run_id": "r1"}),
    );
    api.on(
        "GET /cluster/prod/task/backup/b1/r1",
        200,
        progress("ERROR", 0),
    );
    let ended = api
        .run("backup -c prod -L s3:a --wait --output json")
        .with(1);
    assert_eq!(
        serde_json::from_str::<Value>(&ended.out).unwrap(),
        progress("ERROR", 0)
    );
    assert!(
        ended
            .err
            .contains("thetis: backup/b1 ended ERROR\n  no bucket `backups`\n"),
        "{}",
        ended.err
    );
    assert!(
        ended.err.contains("thetis start -c prod backup/b1"),
        "{}",
        ended.err
    );
}

#[test]
fn an_interrupt_ends_the_waiting_only() {
    let api = prod();
    api.on(
        "GET /cluster/prod/task/backup/b1/latest",
        200,
        progress("RUNNING", 0),
    );
    api.on(
        "GET /cluster/prod/task/backup/b1/r1",
        200,
        progress("RUNNING", 0),
    );
    let ended = api
        .interrupt("progress -c prod backup/b1 --wait", "RUNNING")
        .with(130);
    assert!(
        ended.err.contains("the run goes on")
            && ended.err.contains("thetis stop -c prod backup/b1"),
        "{}",
        ended.err
    );
    assert!(
        api.asked()
            .iter()
            .all(|(asked, _)| asked.starts_with("GET"))
    );
}

#[test]
fn backups_are_listed_newest_first() {
    let api = prod();
    let snapshot =
        |tag: &str| json!({"snapshot_tag": tag, "nodes": 3, "size": 1536, "locations": ["s3:a"]});
    api.on(
        "GET /cluster/id-prod/backups",
        200,
        json!([{"cluster_id": "c1", "task_id": "b1",
        "units": [{"keyspace": "shop", "tables": ["a", "b"]}],
        "snapshot_info": [snapshot("sm_20250101000000UTC"), snapshot(TAG)]}]),
    );
    let out = api
        .run("backup list -c prod -L s3:a -L s3:b -K shop")
        .with(0)
        .out;
    let rows: Vec<&str> = out.lines().collect();
    assert!(
        rows[1].starts_with(TAG)
            && rows[1].contains("1.50 KiB")
            && rows[1].contains("shop (2 tables)"),
        "{out}"
    );
    assert!(rows[2].starts_with("sm_2025"), "{out}");
    let asked = api.asked();
    let query = "GET /cluster/id-prod/backups?locations=s3%3Aa&locations=s3%3Ab&keyspace=shop&query_cluster_id=id-prod";
    assert!(asked.iter().any(|(asked, _)| asked == query), "{asked:?}");
}

#[test]
fn tasks_are_listed_as_they_are_named() {
    let api = prod();
    let out = api
        .run("tasks -c prod --all --type backup --status done")
        .with(0)
        .out;
    assert!(
        out.lines()
            .nth(1)
            .unwrap()
            .starts_with("backup/b1   nightly  -         DONE          2      1  "),
        "{out}"
    );
    assert_eq!(
        api.asked()[0].0,
        "GET /cluster/prod/tasks?all=true&type=backup&status=DONE"
    );
}

#[test]
fn progress_is_printed_once_without_a_terminal() {
    let api = prod();
    api.on(
        "GET /cluster/prod/task/restore/r1/latest",
        200,
        progress("RUNNING", 0),
    );
    let out = api.run("progress -c prod restore").with(0).out;
    assert!(
        out.contains("RUNNING (UPLOAD)") && out.contains("25% of 4.00 MiB"),
        "{out}"
    );
    let json = api.run("progress -c prod r1 --output json").with(0).out;
    assert_eq!(
        serde_json::from_str::<Value>(&json).unwrap(),
        progress("RUNNING", 0)
    );
    api.on(
        "GET /cluster/prod/task/backup/b1/~1",
        200,
        progress("ERROR", 0),
    );
    assert!(
        api.run("progress -c prod backup/nightly --run ~1")
            .with(0)
            .out
            .contains("no bucket")
    );
    api.run("progress -c prod backup/nightly --run ~1 --wait")
        .with(1);
}

#[test]
fn a_task_is_stopped_and_started_by_any_of_its_names() {
    let api = prod();
    api.on(
        "PUT /cluster/prod/task/backup/b1/stop",
        200,
        json!({"run_id": "r1"}),
    );
    api.on(
        "PUT /cluster/prod/task/restore/r1/stop",
        200,
        json!({"run_id": null}),
    );
    api.on(
        "PUT /cluster/prod/task/backup/b1/start",
        200,
        json!({"type": "backup", "id": "b1", "run_id": "r1"}),
    );
    api.on(
        "GET /cluster/prod/task/backup/b1/r1",
        200,
        progress("DONE", 3 << 20),
    );
    assert!(
        api.run("stop -c prod backup/nightly --disable")
            .with(0)
            .out
            .contains("start -c prod backup/b1")
    );
    api.run("start -c prod b1").with(0);
    assert_eq!(
        api.run("stop -c prod restore").with(0).out,
        "restore/r1 has no run under way\n"
    );
    api.run("start -c prod backup/b1 --no-continue --wait")
        .with(0);
    let puts: Vec<String> = api
        .asked()
        .into_iter()
        .map(|(asked, _)| asked)
        .filter(|a| a.starts_with("PUT /cluster/prod/task/backup"))
        .collect();
    let path = "PUT /cluster/prod/task/backup/b1";
    assert_eq!(
        puts,
        [
            "stop?disable=true",
            "start?continue=true",
            "start?continue=false"
        ]
        .map(|p| format!("{path}/{p}"))
    );
}

#[test]
fn a_wrong_task_is_told_the_right_ones() {
    let api = prod();
    let ended = api.run("stop -c prod backup").with(2);
    assert!(
        ended.err.contains("thetis: `backup` may be any of 2 tasks"),
        "{}",
        ended.err
    );
    assert!(
        ended.err.contains("backup/b1 (nightly) DONE") && !ended.err.contains("restore/r1"),
        "{}",
        ended.err
    );
    let ended = api.run("progress -c prod backup/weekly").with(3);
    assert!(
        ended.err.contains("no task `backup/weekly`") && ended.err.contains("restore/r1"),
        "{}",
        ended.err
    );
}

#[test]
fn a_wrong_cluster_is_told_the_right_ones() {
    let api = Api::new();
    api.on("GET /clusters", 200, clusters(&["prod", "test"]));
    api.on("GET /cluster/prd/tasks", 404, error("no cluster `prd`"));
    let ended = api.run("tasks -c prd").with(3);
    assert!(
        ended
            .err
            .starts_with("thetis: no cluster `prd`\n  looked everywhere\n"),
        "{}",
        ended.err
    );
    assert!(ended.err.contains("test id-test"), "{}", ended.err);
    assert!(api.run("tasks").with(2).err.contains("THETIS_CLUSTER"));
}

#[test]
fn the_only_cluster_need_not_be_named() {
    let api = Api::new();
    api.on("GET /clusters", 200, clusters(&["prod"]))
        .on("GET /cluster/prod/tasks", 200, "[]");
    assert_eq!(api.run("tasks").with(0).out, "");
    let none = Api::new();
    none.on("GET /clusters", 200, "[]");
    assert!(none.run("tasks").with(3).err.contains("thetis cluster add"));
}

#[test]
fn what_the_api_refuses_ends_with_a_status_that_fits() {
    for (status, expected) in [(400, 1), (404, 3), (409, 4), (500, 1), (501, 1), (503, 1)] {
        let api = prod();
        api.on(
            "POST /cluster/prod/tasks",
            status,
            error("not like this; do that"),
        );
        let ended = api.run("backup -c prod -L ftp:x").with(expected);
        assert!(
            ended
                .err
                .starts_with("thetis: not like this; do that\n  looked everywhere"),
            "{}",
            ended.err
        );
        assert_eq!(ended.err.contains("4bf92f"), status >= 500, "{}", ended.err);
        assert_eq!(ended.out, "");
    }
}

#[test]
fn an_api_that_is_not_there_is_named() {
    let free = std::net::TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap();
    let url = format!("http://{free}/api/v1");
    let ended = run(&url, "cluster list").with(5);
    assert!(
        ended
            .err
            .starts_with(&format!("thetis: the API at {url} cannot be reached\n")),
        "{}",
        ended.err
    );
    assert!(
        ended.err.contains("refused") && ended.err.contains("THETIS_API_URL"),
        "{}",
        ended.err
    );
    assert!(run(&url, "version").with(5).out.starts_with("thetis:"));
}

#[test]
fn what_answers_but_is_not_thetis_is_named() {
    let api = Api::new();
    api.on("GET /clusters", 200, "<html>hello</html>").on(
        "GET /version",
        404,
        "404 page not found",
    );
    for line in ["cluster list", "cluster list --output json", "version"] {
        let ended = api.run(line).with(5);
        assert!(
            ended.err.contains("is not the API of Thetis") && ended.err.contains("/api/v1"),
            "{}",
            ended.err
        );
    }
}

#[test]
fn a_command_line_that_makes_no_sense_is_refused() {
    let api = Api::new();
    let lines = [
        "",
        "cook",
        "backup -c prod",
        "restore -c prod -L s3:a",
        "stop -c prod",
        "tasks --output xml",
        "cluster list --api-url localhost:5080",
        "progress --wait=maybe",
        "completion powershell",
    ];
    for line in lines {
        assert!(!api.run(line).with(2).err.is_empty(), "{line}");
    }
    assert!(api.asked().is_empty());
}

#[test]
fn help_and_completion_need_no_api() {
    let nowhere = "http://127.0.0.1:1/api/v1";
    let help = run(nowhere, "--help").with(0).out;
    for part in [
        "Exit status:",
        "THETIS_API_URL",
        "Examples:",
        "progress",
        "snapshot-worker",
    ] {
        assert!(help.contains(part), "{help}");
    }
    assert!(
        run(nowhere, "backup --help")
            .with(0)
            .out
            .contains("thetis backup -c prod -L s3:backups")
    );
    for shell in ["bash", "zsh", "fish"] {
        let script = run(nowhere, &format!("completion {shell}")).with(0).out;
        assert!(
            script.contains("thetis") && script.contains("snapshot-worker"),
            "{shell}"
        );
    }
}

#[test]
fn versions_are_printed_of_both_sides() {
    let api = Api::new();
    api.on("GET /version", 200, json!({"version": "9.9.9"}));
    let out = api.run("version").with(0).out;
    assert!(
        out.contains(env!("CARGO_PKG_VERSION"))
            && out.contains("scheduler: 9.9.9 at http://127.0.0.1"),
        "{out}"
    );
    assert_eq!(
        api.run("version --output json").with(0).out,
        "{\"version\":\"9.9.9\"}\n"
    );
}

#[test]
fn a_wrong_configuration_is_named_and_a_right_one_is_not() {
    let folder = std::env::temp_dir().join(format!("thetis-cli-{}", std::process::id()));
    std::fs::create_dir_all(&folder).unwrap();
    let file = |name: &str, text: &str| {
        let path = folder.join(name);
        std::fs::write(&path, text).unwrap();
        path.display().to_string()
    };
    let (right, wrong) = (
        file("right.toml", "[uploader]\nslots = 3\n"),
        file("wrong.toml", "[uploader]\nslotz = 3\n"),
    );
    for verb in [
        "node",
        "standalone",
        "scheduler",
        "snapshot-worker",
        "uploader",
        "restore-worker",
    ] {
        run(
            "http://127.0.0.1:1",
            &format!("{verb} --check-config --config {right}"),
        )
        .with(0);
        let ended = run(
            "http://127.0.0.1:1",
            &format!("{verb} --check-config --config {wrong}"),
        )
        .with(64);
        assert!(
            ended.err.starts_with("thetis: configuration") && ended.err.contains("slotz"),
            "{}",
            ended.err
        );
    }
    std::fs::remove_dir_all(&folder).unwrap();
}
