//! What goes over the wire, against answers as nodes give them.

use std::{future::Future, sync::Arc};

use protocol::TableRef;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, TcpStream},
    sync::Mutex,
    task::JoinSet,
};

use reqwest::Method;

use super::*;

/// A node that answers every request with the same text, and remembers them.
struct Scripted {
    node: Node,
    asked: Arc<Mutex<Vec<String>>>,
    _server: JoinSet<()>,
}

impl Scripted {
    async fn new(status: u16, body: &str) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let api = format!("http://{}/", listener.local_addr().unwrap());
        let asked = Arc::new(Mutex::new(Vec::new()));
        let answer = format!(
            "HTTP/1.1 {status} x\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\
             Connection: close\r\n\r\n{body}",
            body.len()
        );
        let mut server = JoinSet::new();
        let log = Arc::clone(&asked);
        server.spawn(async move {
            loop {
                let (stream, _) = listener.accept().await.unwrap();
                log.lock().await.push(reply(stream, &answer).await);
            }
        });
        Self {
            node: Node::new(&api).unwrap(),
            asked,
            _server: server,
        }
    }

    /// The last request's line without the protocol, and its body.
    async fn last(&self) -> String {
        self.asked.lock().await.last().cloned().unwrap()
    }
}

async fn reply(mut stream: TcpStream, answer: &str) -> String {
    let mut read = Vec::new();
    let (head, length) = loop {
        let mut buffer = [0; 1024];
        let count = stream.read(&mut buffer).await.unwrap();
        read.extend_from_slice(&buffer[..count]);
        let text = String::from_utf8_lossy(&read).into_owned();
        if let Some((head, _)) = text.split_once("\r\n\r\n") {
            let length = head.lines().find_map(|line| {
                let (name, value) = line.split_once(": ")?;
                name.eq_ignore_ascii_case("content-length")
                    .then(|| value.parse().unwrap())
            });
            break (head.to_owned(), length.unwrap_or(0));
        }
        assert!(count > 0, "the request ends early: {text}");
    };
    while read.len() < head.len() + 4 + length {
        let mut buffer = [0; 1024];
        let count = stream.read(&mut buffer).await.unwrap();
        read.extend_from_slice(&buffer[..count]);
    }
    stream.write_all(answer.as_bytes()).await.unwrap();
    let body = String::from_utf8_lossy(&read[head.len() + 4..]).into_owned();
    let line = head.lines().next().unwrap();
    format!("{}{body}", line.trim_end_matches("HTTP/1.1"))
}

fn table() -> TableRef {
    TableRef {
        keyspace: "ks".into(),
        table: "my.t able".into(),
    }
}

fn tag() -> protocol::SnapshotTag {
    "sm_20260131235959UTC".parse().unwrap()
}

#[tokio::test]
async fn an_empty_answer_is_success() {
    let node = Scripted::new(200, "").await;
    let tables = ["a".to_owned(), "b c".to_owned()];
    node.node
        .take_snapshot(&tag(), "ks", Some(&tables))
        .await
        .unwrap();
    assert_eq!(
        node.last().await,
        "POST /storage_service/snapshots?tag=sm_20260131235959UTC&kn=ks&cf=a%2Cb%20c "
    );
    node.node.take_snapshot(&tag(), "ks", None).await.unwrap();
    assert!(node.last().await.ends_with("&kn=ks "));
    node.node.flush("ks", &[]).await.unwrap();
    assert_eq!(
        node.last().await,
        "POST /storage_service/keyspace_flush/ks "
    );
    node.node
        .set_auto_compaction(&table(), false)
        .await
        .unwrap();
    assert_eq!(
        node.last().await,
        "DELETE /column_family/autocompaction/ks%3Amy.t%20able "
    );
    node.node.set_balancing(true).await.unwrap();
    assert!(node.last().await.ends_with("balancing?enabled=true "));
    node.node
        .read_barrier(Duration::from_millis(1500))
        .await
        .unwrap();
    assert!(node.last().await.ends_with("read_barrier?timeout=2 "));
}

#[tokio::test]
async fn a_snapshot_is_never_deleted_without_its_tag() {
    let node = Scripted::new(200, "").await;
    for keyspace in [None, Some("ks")] {
        node.node.drop_snapshot(&tag(), keyspace).await.unwrap();
        let asked = node.last().await;
        assert!(asked.starts_with("DELETE /storage_service/snapshots?tag=sm_2026"));
        assert_eq!(asked.contains("kn=ks"), keyspace.is_some());
    }
}

#[tokio::test]
async fn loading_streams_and_skips_nothing() {
    let node = Scripted::new(200, "").await;
    let stream = LoadOptions::Stream;
    node.node.load(&table(), stream).await.unwrap();
    assert_eq!(
        node.last().await,
        "POST /storage_service/sstables/ks?cf=my.t%20able&load_and_stream=true "
    );
    node.node.load(&table(), LoadOptions::Own).await.unwrap();
    assert_eq!(
        node.last().await,
        "POST /storage_service/sstables/ks?cf=my.t%20able "
    );
    let loading = r#"{"message": "Failed to load new sstables: std::runtime_error (Already loading SSTables. Try again later)", "code": 500}"#;
    let node = Scripted::new(500, loading).await;
    let error = node.node.load(&table(), stream).await.unwrap_err();
    assert!(matches!(error, Error::AlreadyLoading) && error.retry());
}

#[tokio::test]
async fn a_task_that_goes_on_is_no_error() {
    let id = uuid::Uuid::nil();
    let node = Scripted::new(408, r#"{"message": "timedout", "code": 408}"#).await;
    let waited = node.node.wait_task(id, Duration::from_secs(10)).await;
    assert_eq!(waited.unwrap(), None);
    assert!(node.last().await.ends_with("?timeout=10 "));
    let failed = format!(r#"{{"id":"{id}","state":"failed","error":"x"}}"#);
    let node = Scripted::new(200, &failed).await;
    let waited = node.node.wait_task(id, Duration::ZERO).await.unwrap();
    assert_eq!(waited.unwrap().state, TaskState::Failed);
    let gone = format!(r#"{{"message": "task with id {id} not found", "code": 400}}"#);
    let node = Scripted::new(400, &gone).await;
    let error = node.node.task(id).await.unwrap_err();
    assert!(matches!(error, Error::NoSuchTask { .. }));
}

#[tokio::test]
async fn native_transfers_say_what_and_where() {
    let node = Scripted::new(200, r#""2c4a3e5f-8c7a-4a7b-9a0e-0d6c1b2e3f4a""#).await;
    let backup = NativeBackup {
        endpoint: "http://127.0.0.1:9000".into(),
        bucket: "b".into(),
        prefix: "/p/ks/t/".into(),
        table: table(),
        snapshot: tag().to_string(),
        move_files: true,
    };
    node.node.native_backup(&backup).await.unwrap();
    assert_eq!(
        node.last().await,
        "POST /storage_service/backup?endpoint=http%3A%2F%2F127.0.0.1%3A9000&bucket=b\
         &prefix=p%2Fks%2Ft&keyspace=ks&table=my.t%20able&snapshot=sm_20260131235959UTC\
         &move_files=true "
    );
    let restore = NativeRestore {
        endpoint: "e".into(),
        bucket: "b".into(),
        prefix: "p".into(),
        table: table(),
        scope: Scope::Rack,
        primary_replica_only: false,
        tocs: vec!["me-3-big-TOC.txt".into()],
    };
    node.node.native_restore(&restore).await.unwrap();
    assert_eq!(
        node.last().await,
        "POST /storage_service/restore?endpoint=e&bucket=b&prefix=p&keyspace=ks\
         &table=my.t%20able&scope=rack [\"me-3-big-TOC.txt\"]"
    );
    let whole = TabletsRestore {
        endpoint: "e".into(),
        bucket: "b".into(),
        prefix: "p".into(),
        dc: "dc1".into(),
        table: table(),
        snapshot: tag().to_string(),
        manifests: vec!["n1/t/manifest.json".into()],
    };
    node.node.tablets_restore(&whole).await.unwrap();
    assert_eq!(
        node.last().await,
        "POST /storage_service/tablets/restore?keyspace=ks&table=my.t%20able&snapshot=sm_20260131235959UTC \
         [{\"bucket\":\"b\",\"datacenter\":\"dc1\",\"endpoint\":\"e\",\"manifests\":[\"n1/t/manifest.json\"],\"prefix\":\"p\"}]"
    );
}

#[tokio::test]
async fn answers_are_read_as_nodes_write_them() {
    let node = Scripted::new(
        200,
        r#"[{"key":"c7b4","value":["10.0.0.1"]},{"key":"UNREACHABLE","value":["b"]}]"#,
    )
    .await;
    assert!(!node.node.schema_agrees().await.unwrap());
    let node = Scripted::new(
        200,
        r#"[{"key":"T","value":[{"ks":"ks","cf":"t","total":28672,"live":0}]},{"key":"U"}]"#,
    )
    .await;
    let snapshots = node.node.snapshots().await.unwrap();
    assert_eq!((snapshots.len(), snapshots[0].total), (1, 28672));
    let ring = r#"[{"start_token":"-9223372036854775808","end_token":"5","rpc_endpoints":["a"],"endpoint_details":[]}]"#;
    let node = Scripted::new(200, ring).await;
    let ranges = node.node.ranges("ks", Some("t")).await.unwrap();
    assert_eq!(
        node.last().await,
        "GET /storage_service/describe_ring/ks?table=t "
    );
    assert!(ranges[0].endpoints.is_empty());
    let node = Scripted::new(200, "[0,0,1,1]").await;
    assert_eq!(node.node.shards().await.unwrap(), 4);
    let node = Scripted::new(200, r#"["-9223372036854775808"]"#).await;
    assert_eq!(node.node.tokens("::1").await.unwrap(), [i64::MIN]);
    assert_eq!(node.last().await, "GET /storage_service/tokens/%3A%3A1 ");
    let node = Scripted::new(200, r#""UNKNOWN_DC""#).await;
    let error = node.node.datacenter("10.9.9.9").await.unwrap_err();
    assert!(matches!(error, Error::NotReady { .. }));
    let node = Scripted::new(200, "<html>").await;
    let error = node.node.cluster_name().await.unwrap_err();
    assert!(matches!(error, Error::Answer { .. }));
}

#[tokio::test]
async fn a_node_that_does_not_answer_is_named() {
    for wrong in ["", "127.0.0.1:10000", "ftp://x", "http://"] {
        assert!(
            matches!(Node::new(wrong), Err(Error::Address(_))),
            "{wrong}"
        );
    }
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let api = format!("http://{}", listener.local_addr().unwrap());
    let node = Node::new(&api).unwrap();
    let call = node.call(Method::GET, &["hung"], "answer");
    let error = call.within(Duration::from_millis(50)).done().await;
    assert!(matches!(error, Err(Error::Timeout { .. })), "{error:?}");
    drop(listener);
    let error = node.version().await.unwrap_err();
    assert!(matches!(&error, Error::Unreachable { .. }) && error.retry());
    assert!(error.to_string().contains(&api), "{error}");
}

/// Workers run these on many threads.
#[test]
fn long_futures_can_be_sent() {
    fn can_be_sent(_: impl Future + Send) {}
    let node = Node::new("http://127.0.0.1:1").unwrap();
    let ask = protocol::Inspect {
        cluster: protocol::ClusterId::generate(),
        run: protocol::RunId::generate(),
        node: protocol::NodeId::generate(),
        keyspace: vec![],
        dc: vec![],
        sizes: true,
    };
    can_be_sent(node.inspect(&ask));
    can_be_sent(node.load(&table(), LoadOptions::Stream));
}
