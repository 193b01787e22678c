//! How payload is sent to S3 and read from it by connections of our own, against servers that do what
//! they should not.

#[path = "payload/environment.rs"]
mod environment;
#[path = "payload/server.rs"]
mod server;

use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail, ensure};
use futures::{StreamExt as _, TryStreamExt as _, stream};
use server::{Act, Seen, Server, answer, refusal};
use store::{Error, S3Settings, Settings, Store, Stores};

const MIB: u64 = 1 << 20;

/// What a server says to a body that it has stored.
const STORED: &str = "200 OK\r\nETag: \"tag\"";

fn settings(server: &Server) -> Settings {
    Settings {
        s3: S3Settings {
            endpoint: Some(server.endpoint()),
            access_key_id: Some("key".to_owned()),
            secret_access_key: Some("hunter2".into()),
            ..S3Settings::default()
        },
        ..Settings::default()
    }
}

async fn open(server: &Server) -> Result<(Stores, Store)> {
    let stores = Stores::new(settings(server))?;
    let store = stores.open(&"s3:b".parse()?).await?;
    Ok((stores, store))
}

/// Bytes of which no two blocks are alike.
fn content(bytes: u64) -> Vec<u8> {
    let words = (0_u64..).flat_map(|n| n.wrapping_mul(0x9e37_79b9_7f4a_7c15).to_le_bytes());
    words
        .take(usize::try_from(bytes).expect("it fits"))
        .collect()
}

/// Whether an error is one that may pass, and says so.
fn unavailable<T: std::fmt::Debug>(said: Result<T, Error>, words: &str) -> Result<()> {
    match said {
        Err(e @ Error::Unavailable { .. }) => {
            ensure!(e.retry() && e.to_string().contains(words), "{e}");
            Ok(())
        }
        said => bail!("{said:?}"),
    }
}

fn tried(stores: &Stores, method: &'static str, status: u16) -> u64 {
    let counts = stores.requests().counts();
    counts.get(&(method, status)).copied().unwrap_or_default()
}

#[tokio::test]
async fn a_server_that_wants_a_pause_gets_it() -> Result<()> {
    for (status, number) in [("503 Slow Down", 503), ("429 Too Many Requests", 429)] {
        let server = Server::start(move |nth, _| match nth {
            1 => refusal(status, "SlowDown", "Retry-After: 1\r\nX-A: b"),
            _ => answer(STORED),
        })
        .await?;
        let (stores, store) = open(&server).await?;
        let body = content(MIB);
        let began = Instant::now();
        store.put("k", body.clone().into()).await?;
        ensure!(
            began.elapsed() >= Duration::from_secs(1),
            "it came too soon"
        );
        let seen = server.seen();
        ensure!(seen.len() == 2 && seen.iter().all(|seen| seen.body == body));
        ensure!(tried(&stores, "PUT", number) == 1 && tried(&stores, "PUT", 200) == 1);
        ensure!(
            server.connections() == 1,
            "a good connection was thrown away"
        );
    }
    Ok(())
}

#[tokio::test]
async fn a_server_that_never_has_time_is_unavailable_in_its_own_words() -> Result<()> {
    let server = Server::start(|_, _| refusal("503 Slow Down", "SlowDown", "X-A: b")).await?;
    let (stores, store) = open(&server).await?;
    unavailable(
        store.put("k", "x".into()).await,
        "SlowDown: because (HTTP 503)",
    )?;
    ensure!(tried(&stores, "PUT", 503) == 5);
    Ok(())
}

#[tokio::test]
async fn what_a_server_refuses_is_not_asked_again() -> Result<()> {
    type Sorted = fn(&Error) -> bool;
    let cases: [(&str, &str, Sorted); 4] = [
        ("403 Forbidden", "AccessDenied", |e| {
            matches!(e, Error::Denied { .. })
        }),
        ("404 Not Found", "NoSuchBucket", |e| {
            matches!(e, Error::NoBucket { .. })
        }),
        ("404 Not Found", "NoSuchKey", |e| {
            matches!(e, Error::NotFound { .. })
        }),
        ("400 Bad Request", "EntityTooSmall", |e| {
            matches!(e, Error::Refused { .. })
        }),
    ];
    for (status, code, sorted) in cases {
        let server = Server::start(move |_, _| refusal(status, code, "X-A: b")).await?;
        let (_, store) = open(&server).await?;
        for said in [
            store.put("k", "x".into()).await,
            store.get("k").await.map(drop),
        ] {
            let Err(error) = said else {
                bail!("{code} was taken for success")
            };
            ensure!(sorted(&error), "{code}: {error:?}");
        }
        ensure!(server.seen().len() == 2, "{code} was asked again");
    }
    Ok(())
}

#[tokio::test]
async fn a_connection_reset_in_the_middle_of_a_body_costs_a_try() -> Result<()> {
    let server = Server::start(|nth, _| match nth {
        1 => Act::Reset(300_000),
        _ => answer(STORED),
    })
    .await?;
    let (stores, store) = open(&server).await?;
    let body = content(8 * MIB);
    store.put("k", body.clone().into()).await?;
    ensure!(server.seen()[1].body == body, "something else arrived");
    ensure!(tried(&stores, "PUT", 0) == 1 && tried(&stores, "PUT", 200) == 1);
    Ok(())
}

#[tokio::test]
async fn a_connection_with_an_early_answer_is_not_used_again() -> Result<()> {
    let server = Server::start(|nth, _| match nth {
        1 => Act::Early("503 Slow Down".to_owned()),
        _ => answer(STORED),
    })
    .await?;
    let (stores, store) = open(&server).await?;
    // More than the system takes of what nobody reads.
    let body = content(32 * MIB);
    store.put("k", body.clone().into()).await?;
    store.put("l", "x".into()).await?;
    let seen = server.seen();
    ensure!(
        seen[1].body == body && seen[2].body == b"x",
        "something else arrived"
    );
    let by: Vec<_> = seen.iter().map(|seen| seen.connection).collect();
    ensure!(by == [1, 2, 2], "{by:?}");
    ensure!(tried(&stores, "PUT", 503) == 1);
    Ok(())
}

#[tokio::test]
async fn a_kept_connection_that_the_server_closed_costs_nothing() -> Result<()> {
    let server = Server::start(|nth, _| match nth {
        // It reads the request and closes the connection, as one whose time is up.
        2 => Act::Reset(0),
        3 => answer(&format!("{STORED}\r\nConnection: close")),
        _ => answer(STORED),
    })
    .await?;
    let (_, store) = open(&server).await?;
    let began = Instant::now();
    for _ in 0..3 {
        store.put("k", "x".into()).await?;
    }
    let by: Vec<_> = server.seen().iter().map(|seen| seen.connection).collect();
    ensure!(by == [1, 1, 2, 3], "{by:?}");
    ensure!(
        began.elapsed() < Duration::from_millis(250),
        "somebody paused"
    );
    Ok(())
}

#[tokio::test]
async fn connections_are_as_many_as_requests_at_once() -> Result<()> {
    const AT_ONCE: usize = 8;
    let server = Server::start(|_, _| answer(STORED)).await?;
    let (_, store) = open(&server).await?;
    let puts = (0..400_usize).map(|n| {
        let store = &store;
        async move { store.put(&format!("k/{n}"), content(n as u64).into()).await }
    });
    let puts = stream::iter(puts).buffer_unordered(AT_ONCE);
    puts.try_collect::<Vec<_>>().await?;
    let seen = server.seen();
    ensure!(seen.len() == 400);
    for seen in &seen {
        let n = seen.line.rsplit('/').next().context("a key")?.parse()?;
        ensure!(seen.body == content(n), "{}", seen.line);
    }
    let connections = server.connections();
    ensure!(connections <= AT_ONCE, "{connections} connections");
    Ok(())
}

/// Nothing is waited for but that connections are too old, so time passes as fast as it can.
#[tokio::test(start_paused = true)]
async fn connections_that_nobody_uses_are_closed() -> Result<()> {
    let server = Server::start(|_, _| answer(STORED)).await?;
    let (_stores, store) = open(&server).await?;
    let put = || store.put("k", "x".into());
    tokio::try_join!(put(), put(), put())?;
    ensure!(server.connections() == 3 && server.closed() == 0);
    let closed = async || {
        let closed = server.closed();
        ensure!(closed == 3, "{closed} are closed");
        Ok(())
    };
    testkit::eventually("three to be closed", Duration::from_secs(90), closed).await?;
    put().await?;
    Ok(())
}

#[tokio::test]
async fn an_object_that_breaks_off_is_read_again_and_a_file_resumed() -> Result<()> {
    let whole = content(3 * MIB);
    let served = whole.clone();
    let breaks = |nth| matches!(nth, 1 | 2 | 4).then_some(700_000);
    let server = Server::start(move |nth, seen| ranged(&served, seen, breaks(nth))).await?;
    let (_, store) = open(&server).await?;
    ensure!(store.get("k").await? == whole);

    let dir = tempfile::tempdir()?;
    let path = dir.path().join("file");
    store.get_file("k", &path, 3 * MIB, &|_| ()).await?;
    ensure!(std::fs::read(&path)? == whole, "the file differs");
    // What had been written was not asked for again.
    let ranges: Vec<_> = server
        .seen()
        .into_iter()
        .map(|mut seen| seen.headers.remove("range"))
        .collect();
    let range = |from: u64| Some(format!("bytes={from}-{}", 3 * MIB - 1));
    let expected = [None, None, None, range(0), range(2 * 262_144)];
    ensure!(ranges == expected, "{ranges:?}");
    Ok(())
}

/// Answers with an object, or the range of it that is asked for, or only the beginning of that.
fn ranged(object: &[u8], seen: &Seen, breaks: Option<usize>) -> Act {
    let range = seen.headers.get("range").and_then(|text| {
        let (from, to) = text.strip_prefix("bytes=")?.split_once('-')?;
        Some((from.parse::<usize>().ok()?, to.parse::<usize>().ok()?))
    });
    let (head, body) = match range {
        None => ("200 OK".to_owned(), object.to_vec()),
        Some((from, to)) => {
            let to = to.min(object.len() - 1);
            let all = object.len();
            let head = format!("206 Partial Content\r\nContent-Range: bytes {from}-{to}/{all}");
            (head, object[from..=to].to_vec())
        }
    };
    match breaks {
        None => Act::Answer(head, body),
        Some(after) => Act::Broken(head, body, after),
    }
}

#[tokio::test]
async fn another_checksum_in_the_answer_is_no_success() -> Result<()> {
    let wrong = format!("{STORED}\r\nx-amz-checksum-crc32: AAAAAA==");
    let server = Server::start(move |nth, _| match nth {
        1 => answer(&wrong),
        2 => answer(&format!("{STORED}\r\nx-amz-checksum-crc32: y/Q5Jg==")),
        _ => Act::Answer(
            "200 OK\r\nx-amz-checksum-crc32: y/Q5Jg==".into(),
            b"123456780".into(),
        ),
    })
    .await?;
    let (stores, store) = open(&server).await?;
    store.put("k", "123456789".into()).await?;
    let seen = server.seen();
    ensure!(seen.len() == 2 && seen[0].headers["x-amz-checksum-crc32"] == "y/Q5Jg==");
    unavailable(store.get("k").await, "another checksum")?;
    ensure!(tried(&stores, "PUT", 200) == 2);
    Ok(())
}

#[tokio::test]
async fn a_part_without_an_etag_is_refused() -> Result<()> {
    let server = Server::start(|_, seen| match &seen.line {
        line if line.starts_with("POST") => Act::Answer(
            "200 OK".into(),
            b"<InitiateMultipartUploadResult><UploadId>a+b/c</UploadId></InitiateMultipartUploadResult>"
                .into(),
        ),
        line if line.starts_with("DELETE") => answer("204 No Content"),
        _ => answer("200 OK"),
    })
    .await?;
    let (_, store) = open(&server).await?;
    let dir = tempfile::tempdir()?;
    let path = dir.path().join("file");
    std::fs::write(&path, content(17 * MIB))?;
    let put = store.put_file("k", &path, 17 * MIB, None, &|_| ()).await;
    let Err(Error::Refused { cause, .. }) = put else {
        bail!("{put:?}");
    };
    ensure!(cause.contains("ETag"), "{cause}");
    let seen = server.seen();
    let part = seen.iter().find(|seen| seen.line.starts_with("PUT"));
    let line = &part.context("a part")?.line;
    ensure!(
        line.contains("partNumber=") && line.contains("&uploadId=a%2Bb%2Fc"),
        "{line}"
    );
    ensure!(
        seen.iter().any(|seen| seen.line.starts_with("DELETE")),
        "parts stay behind"
    );
    Ok(())
}

/// Nothing is waited for but the server, so time passes as fast as it can.
#[tokio::test(start_paused = true)]
async fn a_server_that_says_nothing_is_given_up() -> Result<()> {
    let server = Server::start(|_, _| Act::Silence).await?;
    let (stores, store) = open(&server).await?;
    let began = tokio::time::Instant::now();
    unavailable(store.put("k", content(MIB).into()).await, "nothing moved")?;
    let took = began.elapsed().as_secs();
    ensure!((60..=120).contains(&took), "it took {took} s");
    unavailable(store.get("k").await, "nothing moved")?;
    ensure!(tried(&stores, "PUT", 0) == 1 && tried(&stores, "GET", 0) == 3);
    let took = began.elapsed().as_secs() - took;
    ensure!((60..=120).contains(&took), "it took {took} s");
    Ok(())
}

#[tokio::test]
async fn a_clock_that_is_off_is_set_by_the_servers() -> Result<()> {
    let server = Server::start(|_, seen| match &*seen.headers["x-amz-date"] {
        date if date.starts_with("20300101T") => answer(STORED),
        _ => refusal(
            "403 Forbidden",
            "RequestTimeTooSkewed",
            "Date: Tue, 01 Jan 2030 12:00:00 GMT",
        ),
    })
    .await?;
    let (_, store) = open(&server).await?;
    store.put("k", "x".into()).await?;
    store.put("k", "x".into()).await?;
    ensure!(server.seen().len() == 3, "it was not kept");
    Ok(())
}

#[tokio::test]
async fn a_request_is_signed_and_holds_no_secret() -> Result<()> {
    let server = Server::start(|_, _| answer(STORED)).await?;
    let mut settings = settings(&server);
    for (signs, hash) in [
        (false, "UNSIGNED-PAYLOAD"),
        (
            true,
            "2d711642b726b04401627ca9fbac32f5c8530fb1903cc4db02258717921a4881",
        ),
    ] {
        settings.s3.sign_payload = signs;
        let store = Stores::new(settings.clone())?
            .open(&"s3:b".parse()?)
            .await?;
        store.put("a b/ü+~", "x".into()).await?;
        let seen = server.seen().pop().context("a request")?;
        ensure!(seen.line == "PUT /b/a%20b/%C3%BC%2B~", "{}", seen.line);
        ensure!(seen.headers["x-amz-content-sha256"] == hash, "{seen:?}");
        ensure!(seen.headers["content-length"] == "1" && seen.body == b"x");
        let authorization = &seen.headers["authorization"];
        let names = "host;x-amz-checksum-crc32;x-amz-content-sha256;x-amz-date,";
        ensure!(authorization.contains(names), "{authorization}");
        ensure!(!format!("{seen:?}").contains("hunter2"));
    }
    Ok(())
}

#[tokio::test]
async fn encryption_and_class_are_asked_for_where_they_belong() -> Result<()> {
    let server = Server::start(|_, seen| {
        let (method, target) = seen.line.split_once(' ').unwrap_or_default();
        match method {
            "POST" if target.contains("uploads") => Act::Answer(
                "200 OK".to_owned(),
                b"<InitiateMultipartUploadResult><UploadId>u</UploadId></InitiateMultipartUploadResult>".to_vec(),
            ),
            "POST" => Act::Answer(
                "200 OK".to_owned(),
                b"<CompleteMultipartUploadResult/>".to_vec(),
            ),
            "GET" => Act::Answer("200 OK".to_owned(), b"small".to_vec()),
            "HEAD" => answer("404 Not Found"),
            _ => answer(STORED),
        }
    })
    .await?;
    let dir = tempfile::tempdir()?;
    let (small, large) = (dir.path().join("small"), dir.path().join("large"));
    std::fs::write(&small, "small")?;
    std::fs::write(&large, content(17 * MIB))?;
    let customer = "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=";
    for own_key in [false, true] {
        let mut settings = settings(&server);
        // What a task says counts instead.
        let usual = if own_key { "ONEZONE_IA" } else { "STANDARD_IA" };
        settings.s3.storage_class = Some(usual.to_owned());
        let asked = own_key.then_some("STANDARD_IA");
        match own_key {
            true => settings.s3.customer_key = Some(customer.into()),
            false => {
                settings.s3.encryption = Some("aws:kms".to_owned());
                settings.s3.kms_key_id = Some("alias/backups".to_owned());
            }
        }
        let before = server.seen().len();
        let location = "s3:b".parse()?;
        let store = Stores::new(settings)?.open_in(&location, asked).await?;
        store.put("note", "x".into()).await?;
        store.put_new("new", "x".into()).await?;
        store.put_file("small", &small, 5, None, &|_| {}).await?;
        store
            .put_file("large", &large, 17 * MIB, None, &|_| {})
            .await?;
        store.get("small").await?;
        store.bytes("small").await?;
        for seen in &server.seen()[before..] {
            let header = |name: &str| seen.headers.get(name).map(String::as_str);
            let (method, target) = seen.line.split_once(' ').context("a request")?;
            let begins = matches!(method, "PUT" | "POST") && !target.contains("uploadId");
            let component = target.contains("small") || target.contains("large");
            let class = (begins && component).then_some("STANDARD_IA");
            ensure!(header("x-amz-storage-class") == class, "{}", seen.line);
            let kind = (begins && !own_key).then_some("aws:kms");
            ensure!(
                header("x-amz-server-side-encryption") == kind,
                "{}",
                seen.line
            );
            let key = kind.map(|_| "alias/backups");
            let found = header("x-amz-server-side-encryption-aws-kms-key-id");
            ensure!(found == key, "{}", seen.line);
            let found = header("x-amz-server-side-encryption-customer-key");
            ensure!(found == own_key.then_some(customer), "{}", seen.line);
            let signed = header("authorization").context("a signature")?;
            for (name, _) in seen
                .headers
                .iter()
                .filter(|(name, _)| name.starts_with("x-amz-se"))
            {
                ensure!(
                    signed.contains(name.as_str()),
                    "{name} is not signed: {signed}"
                );
            }
        }
    }
    Ok(())
}
