//! A server does what it says: counts truly, fails as asked, and sees what is damaged.

use std::{sync::Arc, time::Instant};

use base64::{Engine as _, prelude::BASE64_STANDARD};
use reqwest::{Client, Method, RequestBuilder};

use super::{
    fault::Fault,
    server::{Server, Shared},
    *,
};

/// The header of a checksum.
const CHECKSUM: &str = "x-amz-checksum-crc32";

struct Bucket {
    shared: Arc<Shared>,
    server: Server,
    http: Client,
}

impl Bucket {
    async fn start(options: Options) -> Result<Self> {
        let shared = Shared::new(options);
        let server = Server::start(&shared).await?;
        let http = Client::builder().no_proxy().build()?;
        Ok(Self {
            shared,
            server,
            http,
        })
    }

    fn ask(&self, method: Method, target: &str, body: &[u8]) -> RequestBuilder {
        let url = format!("{}/bucket/{target}", self.server.place.endpoint);
        self.http.request(method, url).body(body.to_vec())
    }

    /// Puts an object with the checksum of `summed`; gives the status.
    async fn put(&self, target: &str, body: &[u8], summed: &[u8]) -> Result<u16> {
        let request = self.ask(Method::PUT, target, body);
        let answer = request.header(CHECKSUM, encoded(summed)).send().await?;
        Ok(answer.status().as_u16())
    }

    fn tally(&self) -> Tally {
        self.shared.state.tally()
    }

    fn stored(&self, key: &str) -> Option<Stored> {
        let objects = state::lock(&self.shared.state.objects);
        objects.get(key).map(|object| object.stored)
    }
}

fn encoded(body: &[u8]) -> String {
    BASE64_STANDARD.encode(crc32fast::hash(body).to_be_bytes())
}

fn failing(faults: Faults) -> Options {
    Options {
        faults,
        ..Options::default()
    }
}

#[tokio::test]
async fn the_same_requests_fail_again_and_are_counted() -> Result<()> {
    let faults = Faults {
        seed: 11,
        slow_down: 0.2,
        expired_at: Some(5),
        ..Faults::default()
    };
    let mut histories = Vec::new();
    for _ in 0..2 {
        let bucket = Bucket::start(failing(faults.clone())).await?;
        let mut history = Vec::new();
        for n in 0..100 {
            let answer = bucket
                .ask(Method::PUT, &format!("o{n}"), b"body")
                .send()
                .await?;
            let again = answer.headers().get("retry-after").is_some();
            assert_eq!(
                answer.status() == 503,
                again,
                "a full server says when to come back"
            );
            history.push(answer.status().as_u16());
        }
        let tally = bucket.tally();
        let count = |status| history.iter().filter(|one| **one == status).count() as u64;
        assert_eq!(tally.faults["SlowDown"], count(503));
        assert_eq!((tally.faults["ExpiredToken"], history[5]), (1, 400));
        assert_eq!(tally.requests["PutObject"], 100);
        assert_eq!(tally.bytes, 400);
        for (n, status) in history.iter().enumerate() {
            assert_eq!(bucket.stored(&format!("o{n}")).is_some(), *status == 200);
        }
        histories.push(history);
    }
    assert_eq!(histories[0], histories[1]);
    assert!(histories[0].contains(&503));
    Ok(())
}

#[tokio::test]
async fn broken_answers_are_broken() -> Result<()> {
    let all = |faults| Bucket::start(failing(faults));
    let reset = all(Faults {
        reset: 1.0,
        ..Faults::default()
    })
    .await?;
    assert!(reset.put("o", b"body", b"body").await.is_err());
    assert_eq!(reset.stored("o"), None);
    assert_eq!(reset.tally().faults[Fault::Reset.name()], 1);

    let cut = all(Faults {
        cut: 1.0,
        ..Faults::default()
    })
    .await?;
    assert!(cut.put("o", b"body", b"body").await.is_err());
    assert_eq!(cut.stored("o").map(|object| object.bytes), Some(4));

    let wrong = all(Faults {
        wrong_checksum: 1.0,
        ..Faults::default()
    })
    .await?;
    let request = wrong.ask(Method::PUT, "o", b"body");
    let answer = request.header(CHECKSUM, encoded(b"body")).send().await?;
    assert_ne!(answer.headers()[CHECKSUM], encoded(b"body"));

    let slow = all(Faults {
        slow: 1.0,
        ..Faults::default()
    })
    .await?;
    let began = Instant::now();
    assert_eq!(slow.put("o", b"body", b"body").await?, 200);
    assert!(began.elapsed() >= Duration::from_secs(2));
    Ok(())
}

#[tokio::test]
async fn damage_is_seen_by_a_server_that_checks() -> Result<()> {
    let bucket = Bucket::start(Options::checking()).await?;
    assert_eq!(bucket.put("right", b"body", b"body").await?, 200);
    assert_eq!(bucket.put("wrong", b"body", b"b0dy").await?, 400);
    let crc32 = Some(crc32fast::hash(b"body"));
    assert_eq!(bucket.stored("right"), Some(Stored { bytes: 4, crc32 }));
    assert_eq!(bucket.stored("wrong"), None);
    assert_eq!(bucket.tally().damaged, 1);
    Ok(())
}

/// Sends two parts, the first of them twice, and completes the upload with the given checksums.
async fn parts(bucket: &Bucket, summed: [&[u8]; 2]) -> Result<u16> {
    let begun = bucket.ask(Method::POST, "o?uploads", b"").send().await?;
    let begun = begun.text().await?;
    let (_, id) = begun
        .split_once("<UploadId>")
        .context("an upload has a name")?;
    let (id, _) = id.split_once('<').context("a name ends")?;
    for (number, body) in [(1, "large"), (1, "large"), (2, "file")] {
        let target = format!("o?partNumber={number}&uploadId={id}");
        let body = body.as_bytes();
        assert_eq!(bucket.put(&target, body, body).await?, 200);
    }
    let listed = summed.iter().zip(1..).map(|(body, number)| {
        let crc32 = encoded(body);
        format!(
            "<Part><PartNumber>{number}</PartNumber><ChecksumCRC32>{crc32}</ChecksumCRC32></Part>"
        )
    });
    let list = format!(
        "<CompleteMultipartUpload>{}</CompleteMultipartUpload>",
        listed.collect::<String>()
    );
    let target = format!("o?uploadId={id}");
    let answer = bucket
        .ask(Method::POST, &target, list.as_bytes())
        .send()
        .await?;
    Ok(answer.status().as_u16())
}

#[tokio::test]
async fn an_object_is_its_parts_however_often_they_were_sent() -> Result<()> {
    let bucket = Bucket::start(Options::checking()).await?;
    assert_eq!(parts(&bucket, [b"large", b"fi1e"]).await?, 400);
    assert_eq!(bucket.stored("o"), None);
    assert_eq!(parts(&bucket, [b"large", b"file"]).await?, 200);
    let crc32 = Some(crc32fast::hash(b"largefile"));
    assert_eq!(bucket.stored("o"), Some(Stored { bytes: 9, crc32 }));
    assert_eq!(bucket.tally().bytes, 2 * 14);
    Ok(())
}

#[tokio::test]
async fn connections_and_requests_under_way_are_counted() -> Result<()> {
    let bucket = Bucket::start(Options::latency(100)).await?;
    let began = Instant::now();
    let puts = (0..4).map(|n| bucket.ask(Method::PUT, &format!("o{n}"), b"body").send());
    for answer in futures::future::join_all(puts).await {
        assert_eq!(answer?.status(), 200);
    }
    assert!(began.elapsed() >= Duration::from_millis(100));
    let tally = bucket.tally();
    assert_eq!((tally.connections, tally.in_flight), (4, 4));
    Ok(())
}

#[tokio::test]
async fn tls_needs_its_certificate() -> Result<()> {
    let dir = tempfile::tempdir()?;
    let authority = dir.path().join("ca.pem");
    let options = Options {
        authority: Some(authority.clone()),
        ..Options::tls()
    };
    let mut bucket = Bucket::start(options).await?;
    assert!(bucket.put("o", b"body", b"body").await.is_err());
    let pem = std::fs::read(authority)?;
    let certificate = reqwest::Certificate::from_pem(&pem)?;
    let http = Client::builder().no_proxy().tls_certs_only([certificate]);
    bucket.http = http.build()?;
    assert_eq!(bucket.put("o", b"body", b"body").await?, 200);
    Ok(())
}
