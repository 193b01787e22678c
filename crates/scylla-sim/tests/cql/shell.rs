//! The real cqlsh, which `tools/deps.sh cqlsh` installs.

use std::path::PathBuf;
use std::process::Stdio;
use std::time::Duration;

use tokio::io::AsyncWriteExt as _;
use tokio::process::Command;

use crate::harness::Sim;

/// `$CQLSH`, or the one among the tools of tests.
fn cqlsh() -> PathBuf {
    let named = std::env::var_os("CQLSH").map(PathBuf::from);
    named.unwrap_or_else(|| {
        let checkout = PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/../../.deps"));
        let deps = std::env::var_os("THETIS_DEPS").map_or(checkout, PathBuf::from);
        deps.join("bin/cqlsh")
    })
}

/// What cqlsh prints for `statements`.
async fn shell(sim: &Sim, login: &[&str], statements: &str) -> (String, String) {
    let address = sim.address(1).await;
    let (host, port) = address.split_once(':').unwrap();
    let home = tempfile::TempDir::new().unwrap();
    let command = cqlsh();
    let mut child = Command::new(&command)
        .args(["--no-color", "--cqlversion", "3.3.1"])
        .args(login)
        .args([host, port])
        .env("HOME", home.path())
        .env_remove("TZ")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .unwrap_or_else(|e| panic!("{}: {e}; run tools/deps.sh cqlsh", command.display()));
    let mut stdin = child.stdin.take().unwrap();
    stdin.write_all(statements.as_bytes()).await.unwrap();
    drop(stdin);
    let output = tokio::time::timeout(Duration::from_secs(60), child.wait_with_output()).await;
    let output = output.expect("cqlsh ends").unwrap();
    let text = |bytes| String::from_utf8(bytes).unwrap();
    (text(output.stdout), text(output.stderr))
}

const STATEMENTS: &str = "
CREATE KEYSPACE shop WITH replication = {'class': 'NetworkTopologyStrategy', 'dc1': 3} AND tablets = {'enabled': false};
USE shop;
CREATE TYPE address (street text, number int);
CREATE TABLE users (id int, since date, name text, home frozen<address>, tags set<text>, PRIMARY KEY (id, since))
    WITH CLUSTERING ORDER BY (since DESC) AND comment = 'a;b' AND ID = 5a1c395e-b41f-11e5-9f22-ba0be0483c18;
INSERT INTO users (id, since, name, home, tags) VALUES (1, '2026-01-02', 'it''s', {street: 'x', number: 7}, {'b', 'a'});
INSERT INTO users (id, since, name) VALUES (1, '2026-03-04', $$second$$);
SELECT * FROM users;
DESC SCHEMA;
";

const EXPECTED: &str = "
 id | since      | home                     | name   | tags
----+------------+--------------------------+--------+------------
  1 | 2026-03-04 |                     null | second |       null
  1 | 2026-01-02 | {street: 'x', number: 7} |   it's | {'a', 'b'}

(2 rows)

CREATE KEYSPACE shop WITH replication = {'class': 'org.apache.cassandra.locator.NetworkTopologyStrategy', 'dc1': '3'} AND durable_writes = true AND tablets = {'enabled': false};

CREATE TYPE shop.address (
    street text,
    number int
);

CREATE TABLE shop.users (
    id int,
    since date,
    home frozen<address>,
    name text,
    tags set<text>,
    PRIMARY KEY (id, since)
) WITH CLUSTERING ORDER BY (since DESC)
    AND bloom_filter_fp_chance = 0.01
    AND caching = {'keys': 'ALL', 'rows_per_partition': 'ALL'}
    AND comment = 'a;b'
    AND compaction = {'class': 'IncrementalCompactionStrategy'}
    AND compression = {'sstable_compression': 'LZ4WithDictsCompressor'}
    AND crc_check_chance = 1
    AND default_time_to_live = 0
    AND gc_grace_seconds = 864000
    AND max_index_interval = 2048
    AND memtable_flush_period_in_ms = 0
    AND min_index_interval = 128
    AND speculative_retry = '99.0PERCENTILE'
    AND tombstone_gc = {'mode': 'timeout', 'propagation_delay_in_seconds': '3600'};
";

#[tokio::test(flavor = "multi_thread")]
async fn cqlsh_makes_and_shows_a_schema_and_rows() {
    let sim = Sim::start().await;
    let (told, complaints) = shell(&sim, &[], STATEMENTS).await;
    assert_eq!(complaints, "");
    assert_eq!(told, EXPECTED);
}

#[tokio::test(flavor = "multi_thread")]
async fn cqlsh_logs_in() {
    let sim = Sim::with(|config| config.cql_auth = true).await;
    let statements = "CREATE ROLE \"Bob\" WITH PASSWORD = 'x' AND LOGIN = true;
        SELECT role, can_login, is_superuser FROM system.roles;";
    let login = [
        "-u",
        "cassandra",
        "-p",
        "cassandra",
        "--insecure-password-without-warning",
    ];
    let (told, complaints) = shell(&sim, &login, statements).await;
    assert_eq!(complaints, "");
    let expected = "
 role      | can_login | is_superuser
-----------+-----------+--------------
       Bob |      True |        False
 cassandra |      True |         True

(2 rows)
";
    assert_eq!(told, expected);
    let (_, complaints) = shell(&sim, &["-u", "cassandra", "-p", "wrong"], "").await;
    assert!(
        complaints.contains("Username and/or password are incorrect"),
        "{complaints}"
    );
}
