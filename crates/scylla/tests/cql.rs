//! CQL to nodes of a simulated cluster.

#![allow(clippy::unwrap_used, reason = "a test fails where it panics")]

use std::collections::BTreeMap;

use cql::{Schema, Stage, differences};
use scylla::{Consistency, CqlError, Credentials, Fingerprint, Node, Right, Rights, Session, Tls};
use scylla_sim::{Cluster, Config};
use serde_json::{Value, json};

/// A simulated cluster and the folder it lives in.
struct World {
    cluster: Cluster,
    _folder: tempfile::TempDir,
    http: reqwest::Client,
}

impl World {
    async fn start(change: impl FnOnce(&mut Config)) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let mut config = Config::new(folder.path().join("sim"));
        config.datacenters = vec![("dc1".into(), 2)];
        change(&mut config);
        Self {
            cluster: Cluster::start(config).await.unwrap(),
            _folder: folder,
            http: reqwest::Client::builder().no_proxy().build().unwrap(),
        }
    }

    async fn try_connect(&self, user: Option<(&str, &str)>) -> Result<Session, CqlError> {
        let node = Node::new(&self.cluster.nodes()[0].api).unwrap();
        let credentials = user.map(|(user, secret)| Credentials {
            user: user.to_owned(),
            secret: secret.to_owned(),
        });
        Session::of(&node, None, &Tls::default(), credentials.as_ref()).await
    }

    async fn connect(&self, user: Option<(&str, &str)>) -> Session {
        self.try_connect(user).await.unwrap()
    }

    async fn post(&self, path: &str, body: Value) {
        let url = format!("{}/{path}", self.cluster.admin_url());
        let answer = self.http.post(url).json(&body).send().await.unwrap();
        assert!(answer.status().is_success(), "{path}: {answer:?}");
    }

    /// Ends well only if no request was one that a real node would have taken otherwise.
    async fn end(self) {
        let url = format!("{}/violations", self.cluster.admin_url());
        let answer = self.http.get(url).send().await.unwrap();
        let violations: Value = answer.json().await.unwrap();
        assert_eq!(violations, json!([]), "what a real node does not know");
        self.cluster.shutdown().await.unwrap();
    }
}

const SCHEMA: [&str; 6] = [
    "CREATE KEYSPACE shop WITH replication = {'class': 'NetworkTopologyStrategy', 'dc1': 2}",
    "CREATE TYPE shop.address (street text, zip int)",
    "CREATE TABLE shop.users (id int, \"When\" timestamp, home frozen<address>, price decimal, \
        PRIMARY KEY (id, \"When\")) WITH CLUSTERING ORDER BY (\"When\" DESC) AND comment = 'a; b'",
    "CREATE MATERIALIZED VIEW shop.by_price AS SELECT * FROM shop.users WHERE price IS NOT NULL \
        AND id IS NOT NULL AND \"When\" IS NOT NULL PRIMARY KEY (price, id, \"When\")",
    "CREATE INDEX users_home ON shop.users (home)",
    "CREATE TABLE shop.bare (id int PRIMARY KEY, name text)",
];

async fn execute(session: &Session, statements: &[&str]) {
    for statement in statements {
        session.execute_schema(statement).await.unwrap();
    }
}

async fn described(session: &Session) -> Schema {
    let found = session.schema(false).await.unwrap();
    // Without the roles that every cluster has.
    Schema::read(&found.rows)
        .unwrap()
        .choose(|_, _| true, false)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_schema_is_made_again_from_what_was_described() {
    let world = World::start(|_| {}).await;
    let session = world.connect(None).await;
    execute(&session, &SCHEMA).await;
    let before = described(&session).await;
    let names: Vec<_> = before.objects.iter().map(cql::Object::full_name).collect();
    let expected = [
        "shop",
        "shop.address",
        "shop.bare",
        "shop.users",
        "shop.users_home",
        "shop.by_price",
    ];
    assert_eq!(names, expected);
    execute(&session, &["DROP KEYSPACE shop"]).await;
    assert_eq!(described(&session).await.objects, []);
    for statement in before.objects.iter().flat_map(|o| &o.statements) {
        let anew = statement.with_if_not_exists().unwrap();
        // Twice is as once.
        execute(&session, &[anew.text(), anew.text()]).await;
    }
    let after = described(&session).await;
    assert_eq!(differences(&after, &before), []);
    world.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn views_and_indexes_are_dropped_and_made_again() {
    let world = World::start(|_| {}).await;
    let session = world.connect(None).await;
    execute(&session, &SCHEMA).await;
    let before = described(&session).await;
    let views: Vec<cql::Object> = before.stage(Stage::Views).cloned().collect();
    let names: Vec<_> = views.iter().map(cql::Object::full_name).collect();
    assert_eq!(names, ["shop.users_home", "shop.by_price"]);
    for view in &views {
        execute(&session, &[&view.drop().unwrap()]).await;
    }
    assert_eq!(described(&session).await.stage(Stage::Views).count(), 0);
    for view in &views {
        let anew = view.create().unwrap().without_id().unwrap();
        let anew = anew.with_if_not_exists().unwrap();
        execute(&session, &[anew.text()]).await;
    }
    assert_eq!(differences(&described(&session).await, &before), []);
    world.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_table_is_told_by_its_id() {
    let world = World::start(|_| {}).await;
    let session = world.connect(None).await;
    execute(&session, &SCHEMA).await;
    let id = async |table| session.table_id("shop", table).await.unwrap();
    let first = id("users").await.unwrap();
    let made = described(&session).await;
    let users = |object: &&cql::Object| object.full_name() == "shop.users";
    let create = made.objects.iter().find(users).unwrap().create().unwrap();
    let text = create.text().replace('-', "");
    assert!(
        text.contains(&format!("{first:032x}")),
        "{first:032x}: {text}"
    );
    assert_eq!(id("it's none").await, None);
    world.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn tombstones_are_kept_and_let_go_again() {
    let world = World::start(|_| {}).await;
    let session = world.connect(None).await;
    execute(&session, &SCHEMA).await;
    let disabled = BTreeMap::from([("mode".to_owned(), "disabled".to_owned())]);
    let gc = async || {
        let schema = described(&session).await;
        let users = |object: &&cql::Object| object.full_name() == "shop.users";
        let table = schema.objects.iter().find(users).unwrap();
        table.create().unwrap().tombstone_gc().unwrap()
    };
    let before = gc().await;
    execute(&session, &[&cql::tombstone_gc("shop", "users", &disabled)]).await;
    assert_eq!(gc().await.unwrap()["mode"], "disabled");
    let before = before.unwrap_or(BTreeMap::from([("mode".into(), "timeout".into())]));
    execute(&session, &[&cql::tombstone_gc("shop", "users", &before)]).await;
    assert_eq!(gc().await.unwrap()["mode"], before["mode"]);
    world.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_server_refuses_is_told() {
    let world = World::start(|_| {}).await;
    let session = world.connect(None).await;
    execute(&session, &SCHEMA).await;
    let refused = async |statement: &str| session.execute_schema(statement).await.unwrap_err();
    let exists = refused(SCHEMA[5]).await;
    assert!(matches!(exists, CqlError::Exists { .. }), "{exists}");
    let syntax = refused("CREATE TABLE shop.x (").await;
    assert!(matches!(syntax, CqlError::NotUnderstood { .. }), "{syntax}");
    let invalid = refused("CREATE TABLE nowhere.x (a int PRIMARY KEY)").await;
    assert!(matches!(invalid, CqlError::Refused { .. }), "{invalid}");
    assert_eq!(session.rights().await.unwrap(), Rights::Unchecked);
    world.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn who_may_not_come_in_is_told_so_without_the_secret() {
    let world = World::start(|config| config.cql_auth = true).await;
    let none = world.try_connect(None).await.unwrap_err();
    assert!(
        matches!(none, CqlError::Credentials { user: None, .. }),
        "{none}"
    );
    let wrong = world
        .try_connect(Some(("cassandra", "hidden")))
        .await
        .unwrap_err();
    assert!(
        matches!(wrong, CqlError::Credentials { user: Some(_), .. }),
        "{wrong}"
    );
    assert!(!format!("{wrong} {wrong:?}").contains("hidden"));
    let error = Session::connect("127.0.0.1", 1, None, None)
        .await
        .unwrap_err();
    assert!(
        matches!(error, CqlError::Unreachable { .. }) && error.retry(),
        "{error}"
    );
    assert!(error.to_string().contains("127.0.0.1:1"), "{error}");
    world.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn rights_are_those_that_were_granted() {
    let world = World::start(|config| config.cql_auth = true).await;
    let root = world.connect(Some(("cassandra", "cassandra"))).await;
    execute(&root, &SCHEMA).await;
    assert_eq!(root.rights().await.unwrap(), Rights::Superuser);
    let role = "CREATE ROLE restorer WITH PASSWORD = 'hidden' AND LOGIN = true";
    execute(&root, &[role]).await;
    let again = root.execute_schema(role).await.unwrap_err();
    assert!(!format!("{again} {again:?}").contains("hidden"), "{again}");
    execute(&root, &["GRANT ALTER ON KEYSPACE shop TO restorer"]).await;
    let session = world.connect(Some(("restorer", "hidden"))).await;
    assert!(!format!("{session:?}").contains("hidden"));
    let rights = session.rights().await.unwrap();
    assert!(rights.may(Right::Alter, Some("shop")) && !rights.all());
    assert!(!rights.may(Right::Alter, None) && !rights.may(Right::Drop, Some("shop")));
    let error = session
        .execute_schema("DROP TABLE shop.bare")
        .await
        .unwrap_err();
    assert!(
        matches!(error, CqlError::Rights { .. }) && !error.retry(),
        "{error}"
    );

    let full = root.schema(true).await.unwrap();
    assert_eq!(full.without_passwords, None);
    let has_hash = |rows: &[catalog::schema::Row]| {
        rows.iter()
            .any(|row| row.cql_stmt.contains("HASHED PASSWORD"))
    };
    assert!(has_hash(&full.rows) && !format!("{full:?}").contains("HASHED"));
    let part = session.schema(true).await.unwrap();
    assert!(matches!(
        part.without_passwords,
        Some(CqlError::Rights { .. })
    ));
    assert!(!has_hash(&part.rows) && part.rows.len() == full.rows.len());
    world.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn tables_with_the_same_rows_have_the_same_fingerprint() {
    let world = World::start(|_| {}).await;
    let session = world.connect(None).await;
    for keyspace in ["a", "b"] {
        let new = json!({"name": keyspace, "replication": 2, "tablets": keyspace == "b"});
        world.post("keyspaces", new).await;
        world
            .post("tables", json!({"keyspace": keyspace, "name": "t"}))
            .await;
    }
    let read = async |keyspace: &str| {
        let mut last = 0;
        let found = session.fingerprint((keyspace, "t"), Consistency::All, |seen| last = seen);
        let found = found.await.unwrap();
        assert_eq!(found.rows, last);
        found
    };
    assert_eq!(read("a").await, Fingerprint::default());
    for keyspace in ["a", "b"] {
        let rows = json!({"keyspace": keyspace, "table": "t", "rows": 2500, "sstables": 3});
        world.post("load", rows).await;
    }
    let (a, b) = (read("a").await, read("b").await);
    assert_eq!((a.rows, a), (2500, b));
    let more = json!({"keyspace": "b", "table": "t", "rows": 2501, "sstables": 1});
    world.post("load", more).await;
    assert_ne!(read("b").await, a);
    let error = session
        .fingerprint(("a", "none"), Consistency::One, |_| {})
        .await;
    assert!(error.unwrap_err().to_string().contains("a.none"));
    world.end().await;
}
