//! Who is let in, over HTTP and over NATS, and what is noted of it.

use std::{
    path::{Path, PathBuf},
    time::Duration,
};

use anyhow::{Context as _, Result, ensure};
use protocol::{Answer, Audit, Command, Encoding, Message as _, NewTask, TaskKind, TaskProgress};
use reqwest::{Method, StatusCode};
use serde_json::{Value, json};
use testkit::eventually;

use crate::world::{CLUSTER, LONG, World};

const VIEWER: &str = "viewer-token-0123456789";
const OPERATOR: &str = "operator-token-0123456789";
const ADMIN: &str = "admin-token-0123456789";

#[tokio::test]
async fn tokens_say_who_may_do_what_and_changes_are_noted() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let tokens = folder.path().join("tokens");
    std::fs::write(
        &tokens,
        format!("viewer eve {VIEWER}\noperator otto {OPERATOR}\nadmin ada {ADMIN}\n"),
    )?;
    let world =
        World::with(move |config| config.scheduler.tokens_file = Some(tokens.clone())).await?;
    let audit = world.nats.subscribe("thetis.audit.>").await?;
    let ask = async |token: Option<&str>, method: Method, path: &str, body: Option<Value>| {
        let url = format!("http://127.0.0.1:{}/api/v1/{path}", world.port());
        let mut request = world.http.request(method, url);
        if let Some(token) = token {
            request = request.bearer_auth(token);
        }
        if let Some(body) = body {
            request = request.json(&body);
        }
        let answer = request.send().await?;
        let asks = answer.headers().contains_key("www-authenticate");
        let status = answer.status();
        anyhow::Ok((status, asks, answer.text().await?))
    };
    let (status, _, _) = ask(None, Method::GET, "version", None).await?;
    assert_eq!(status, StatusCode::OK);
    for token in [None, Some("wrong-token-0123456789")] {
        let (status, asks, text) = ask(token, Method::GET, "clusters", None).await?;
        assert_eq!((status, asks), (StatusCode::UNAUTHORIZED, true));
        assert!(!text.contains("wrong-token"), "{text}");
    }
    let cluster = json!({"name": CLUSTER, "host": "10.0.0.1"});
    for (token, expected) in [
        (VIEWER, StatusCode::FORBIDDEN),
        (OPERATOR, StatusCode::FORBIDDEN),
        (ADMIN, StatusCode::CREATED),
    ] {
        eventually("an answer", LONG, async || {
            let (status, _, text) =
                ask(Some(token), Method::POST, "clusters", Some(cluster.clone())).await?;
            ensure!(status == expected, "{status} {text}");
            Ok(())
        })
        .await?;
    }
    let (status, _, _) = ask(Some(VIEWER), Method::GET, "clusters", None).await?;
    assert_eq!(status, StatusCode::OK);
    let tasks = format!("cluster/{CLUSTER}/tasks");
    let task = json!({"type": "backup", "enabled": false, "properties": {"location": ["localstorage:backups"]}});
    let (status, _, text) = ask(Some(VIEWER), Method::POST, &tasks, Some(task.clone())).await?;
    assert!(
        status == StatusCode::FORBIDDEN && text.contains("operator"),
        "{text}"
    );
    let (status, _, text) = ask(Some(OPERATOR), Method::POST, &tasks, Some(task)).await?;
    assert_eq!(status, StatusCode::CREATED, "{text}");
    let (status, _, _) = ask(
        Some(OPERATOR),
        Method::DELETE,
        &format!("cluster/{CLUSTER}"),
        None,
    )
    .await?;
    assert_eq!(status, StatusCode::FORBIDDEN);

    let mut noted = Vec::new();
    while let Some((subject, payload)) = audit.next(Duration::from_secs(2)).await? {
        let Audit::Asked {
            who,
            role,
            over,
            request,
            status,
            ..
        } = Audit::decode(&payload, Encoding::MessagePack)?
        else {
            continue;
        };
        noted.push((subject, who, role, over, request, status));
    }
    let has = |who: &str, request: &str, status: u16| {
        noted.iter().any(|(_, by, _, over, asked, answered)| {
            by == who && over == "http" && asked == request && *answered == status
        })
    };
    assert!(has("ada", "POST /api/v1/clusters", 201), "{noted:?}");
    assert!(has("eve", "POST /api/v1/clusters", 403), "{noted:?}");
    assert!(
        has("otto", &format!("POST /api/v1/{tasks}"), 201),
        "{noted:?}"
    );
    assert!(
        has("otto", &format!("DELETE /api/v1/cluster/{CLUSTER}"), 403),
        "{noted:?}"
    );
    let subjects: Vec<&str> = noted.iter().map(|(subject, ..)| subject.as_str()).collect();
    assert!(subjects.contains(&"thetis.audit.none") && subjects.contains(&"thetis.audit.prod"));
    assert!(!format!("{noted:?}").contains("-token-"));
    Ok(())
}

/// Asks a scheduler, as whoever shows the token.
async fn ask(
    world: &World,
    port: u16,
    token: &str,
    (method, path): (Method, &str),
    body: Option<Value>,
) -> Result<(u16, Value)> {
    let url = format!("http://127.0.0.1:{port}/api/v1/{path}");
    let mut request = world.http.request(method, url).bearer_auth(token);
    if let Some(body) = body {
        request = request.json(&body);
    }
    let answer = request.send().await?;
    let (status, text) = (answer.status().as_u16(), answer.text().await?);
    Ok((status, serde_json::from_str(&text).unwrap_or(Value::Null)))
}

#[tokio::test]
async fn tokens_are_made_end_and_are_revoked_at_every_scheduler() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let tokens = folder.path().join("tokens");
    std::fs::write(
        &tokens,
        format!("operator otto {OPERATOR}\nadmin ada {ADMIN}\n"),
    )?;
    let mut world =
        World::with(move |config| config.scheduler.tokens_file = Some(tokens.clone())).await?;
    let first = world.port();
    let make = async |token: &str, body: Value| {
        ask(&world, first, token, (Method::POST, "tokens"), Some(body)).await
    };
    let wanted = json!({"name": "ci", "role": "operator", "expires_in": "1h"});
    let (status, _) = make(OPERATOR, wanted.clone()).await?;
    assert_eq!(status, 403, "only an admin makes tokens");
    let (status, made) = make(ADMIN, wanted.clone()).await?;
    assert_eq!(status, 201, "{made}");
    let made = made["token"].as_str().context("a token")?.to_owned();
    assert!(made.starts_with("thetis_") && made.len() == 50, "{made}");
    for (body, expected) in [
        (wanted, 409),
        (json!({"name": "ada", "role": "viewer"}), 409),
        (json!({"name": "a.b", "role": "viewer"}), 400),
        (json!({"name": "x", "role": "root"}), 400),
        (
            json!({"name": "x", "role": "viewer", "expires_in": "soon"}),
            400,
        ),
    ] {
        let (status, said) = make(ADMIN, body.clone()).await?;
        assert_eq!(status, expected, "{body}: {said}");
    }
    let short = json!({"name": "brief", "role": "viewer", "expires_in": "1500ms"});
    let (status, brief) = make(ADMIN, short).await?;
    assert_eq!(status, 201, "{brief}");
    let brief = brief["token"].as_str().context("a token")?.to_owned();

    // Another scheduler knows both, and what they may do.
    let second = world.start_scheduler();
    let looks = async |port: u16, token: &str, path: &str| {
        let (status, body) = ask(&world, port, token, (Method::GET, path), None).await?;
        anyhow::Ok((status, body))
    };
    eventually("the second scheduler to answer", LONG, async || {
        let (status, body) = looks(second, &made, "clusters").await?;
        ensure!(status == 200, "{status} {body}");
        Ok(())
    })
    .await?;
    let (status, _) = looks(second, &made, "tokens").await?;
    assert_eq!(status, 403);
    eventually("the short one to end", LONG, async || {
        for port in [first, second] {
            let (status, body) = looks(port, &brief, "clusters").await?;
            let message = body["message"].as_str().unwrap_or_default().to_owned();
            ensure!(
                status == 401 && message.contains("`brief` is over"),
                "{status} {message}"
            );
        }
        Ok(())
    })
    .await?;
    let (status, listed) = looks(second, ADMIN, "tokens").await?;
    assert_eq!(status, 200);
    let shown: Vec<(&str, bool)> = listed
        .as_array()
        .context("a list")?
        .iter()
        .map(|token| {
            (
                token["name"].as_str().unwrap(),
                token["expired"].as_bool().unwrap(),
            )
        })
        .collect();
    assert_eq!(shown, [("brief", true), ("ci", false)], "{listed}");
    assert!(!listed.to_string().contains("thetis_"), "{listed}");

    let revoke = (Method::DELETE, "tokens/ci");
    assert_eq!(
        ask(&world, first, OPERATOR, revoke.clone(), None).await?.0,
        403
    );
    assert_eq!(
        ask(&world, first, ADMIN, revoke.clone(), None).await?.0,
        200
    );
    assert_eq!(ask(&world, first, ADMIN, revoke, None).await?.0, 404);
    let in_file = (Method::DELETE, "tokens/otto");
    assert_eq!(ask(&world, first, ADMIN, in_file, None).await?.0, 409);
    eventually("both to refuse it", LONG, async || {
        for port in [first, second] {
            let (status, _) = looks(port, &made, "clusters").await?;
            ensure!(status == 401, "{port}: {status}");
        }
        Ok(())
    })
    .await?;

    // All of it can be read again, and no token in it. Of strangers one a second is noted.
    eventually("all notes", LONG, async || {
        for token in [&brief, "somebody"] {
            looks(first, token, "clusters").await?;
            tokio::time::sleep(Duration::from_millis(1_001)).await;
        }
        let (status, notes) = looks(second, OPERATOR, "audit?since=1h&limit=1000").await?;
        ensure!(status == 200, "{notes}");
        let notes = notes.as_array().context("a list")?;
        let has = |who: &str, action: &str, status: u16| {
            let same = |note: &&Value| {
                note["who"] == who && note["action"] == action && note["status"] == status
            };
            let found = notes.iter().find(same).cloned();
            found.with_context(|| format!("{who} {action} in {notes:?}"))
        };
        let created = has("ada", "POST /api/v1/tokens", 201)?;
        ensure!(created["target"] == "/api/v1/tokens/ci", "{created}");
        ensure!(
            created["hash"].as_str().map(str::len) == Some(64),
            "{created}"
        );
        has("otto", "POST /api/v1/tokens", 403)?;
        has("otto", "DELETE /api/v1/tokens/ci", 403)?;
        has("ada", "DELETE /api/v1/tokens/ci", 200)?;
        has("brief", "GET /api/v1/clusters", 401)?;
        has("unknown", "GET /api/v1/clusters", 401)?;
        ensure!(!format!("{notes:?}").contains("thetis_"));
        Ok(())
    })
    .await?;
    let (_, last) = looks(second, OPERATOR, "audit?limit=1").await?;
    assert_eq!(last.as_array().map(Vec::len), Some(1), "{last}");
    let (status, _) = looks(second, OPERATOR, "audit?limit=0").await?;
    assert_eq!(status, 400);
    Ok(())
}

#[tokio::test]
async fn a_body_that_is_too_large_is_refused_and_noted() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let tokens = folder.path().join("tokens");
    std::fs::write(&tokens, format!("admin ada {ADMIN}\n"))?;
    let world =
        World::with(move |config| config.scheduler.tokens_file = Some(tokens.clone())).await?;
    let huge = json!({"name": "x".repeat(3 << 20), "host": "10.0.0.1"});
    let asked = (Method::POST, "clusters");
    let (status, said) = ask(&world, world.port(), ADMIN, asked, Some(huge)).await?;
    assert_eq!(status, 413, "{said}");
    let asked = (Method::GET, "audit");
    let (_, notes) = ask(&world, world.port(), ADMIN, asked, None).await?;
    let refused = |note: &Value| note["action"] == "POST /api/v1/clusters" && note["status"] == 413;
    assert!(
        notes.as_array().context("a list")?.iter().any(refused),
        "{notes}"
    );
    let asked = (Method::GET, "clusters");
    let (_, clusters) = ask(&world, world.port(), ADMIN, asked, None).await?;
    assert_eq!(clusters, json!([]));
    Ok(())
}

#[tokio::test]
async fn credentials_go_under_another_key() -> Result<()> {
    let [before, after] = ["5e", "6f"].map(|digits| digits.repeat(32));
    let mut world = World::new().await?;
    world.add_cluster().await?;
    let body = json!({"username": "thetis", "password": "hunter2"});
    let path = format!("cluster/{CLUSTER}");
    let (status, said) = world.send(Method::PUT, &path, Some(body)).await?;
    ensure!(status == 200, "{status} {said}");
    let rotate = async |world: &World, port: u16| {
        let (status, body) = ask(world, port, "", (Method::POST, "secrets/rotation"), None).await?;
        ensure!(status == 200, "{status} {body}");
        anyhow::Ok(body)
    };
    let all = |rotated: u64, current: u64| json!({"rotated": rotated, "current": current, "unreadable": []});
    assert_eq!(rotate(&world, world.port()).await?, all(0, 2));
    // Another key without the one before opens nothing, and changes nothing.
    let fresh = after.clone();
    let port = world.start_scheduler_with(move |config| {
        config.scheduler.secret_key = Some(fresh.as_str().into());
    });
    world.until_answering(port).await?;
    let said = rotate(&world, port).await?;
    assert_eq!(
        said["unreadable"].as_array().map(Vec::len),
        Some(2),
        "{said}"
    );
    let (fresh, old) = (after.clone(), before.clone());
    let port = world.start_scheduler_with(move |config| {
        config.scheduler.secret_key = Some(fresh.as_str().into());
        config.scheduler.old_secret_keys = vec![old.as_str().into()];
    });
    world.until_answering(port).await?;
    assert_eq!(rotate(&world, port).await?, all(2, 0));
    assert_eq!(rotate(&world, port).await?, all(0, 2));
    // The one before opens nothing any more.
    let port = world.start_scheduler_with(move |config| {
        config.scheduler.secret_key = Some(before.as_str().into());
    });
    world.until_answering(port).await?;
    let said = rotate(&world, port).await?;
    assert_eq!(
        said["unreadable"].as_array().map(Vec::len),
        Some(2),
        "{said}"
    );
    Ok(())
}

#[tokio::test]
async fn commands_over_nats_do_what_the_api_does() -> Result<()> {
    let world = World::new().await?;
    world.add_cluster().await?;
    let backup = Command::Backup(NewTask {
        name: "nightly".to_owned(),
        properties: properties(json!({"location": ["localstorage:backups"]})),
        ..NewTask::default()
    });
    let (status, body) = command(&world, CLUSTER, &backup, Encoding::MessagePack).await?;
    assert_eq!(status, 201, "{body}");
    assert!(body["run_id"].is_string(), "{body}");
    let progress = Command::Progress(TaskProgress {
        kind: TaskKind::Backup,
        task: "nightly".to_owned(),
        run: None,
    });
    eventually("the backup to end", LONG, async || {
        let (status, body) = command(&world, CLUSTER, &progress, Encoding::Json).await?;
        ensure!(
            status == 200 && body["run"]["status"] == "DONE",
            "{status} {body}"
        );
        Ok(())
    })
    .await?;
    let (status, body) = command(&world, CLUSTER, &Command::Tasks, Encoding::Json).await?;
    assert_eq!(
        (status, &body[0]["name"]),
        (200, &json!("nightly")),
        "{body}"
    );
    // What is wrong is told as the API tells it.
    let (status, body) = command(&world, "none", &Command::Tasks, Encoding::Json).await?;
    assert_eq!(status, 404, "{body}");
    let empty = Command::Backup(NewTask::default());
    let (status, body) = command(&world, CLUSTER, &empty, Encoding::Json).await?;
    let message = body["message"].as_str().unwrap_or_default();
    assert!(status == 400 && message.contains("no location"), "{body}");
    for (subject, payload, named) in [
        ("thetis.command.prod.dance", "{}", "no command `dance`"),
        ("thetis.command.prod.tasks", "{}", "not a message"),
        (
            "thetis.command.prod.tasks",
            r#"{"version": "1", "kind": "backup", "properties": {}}"#,
            "the subject says `tasks`",
        ),
        (
            "thetis.command.prod.stop",
            r#"{"version": "9", "kind": "stop"}"#,
            "version `9`",
        ),
    ] {
        let answer = world
            .nats
            .request(subject, "application/json", payload.into())
            .await?;
        let Answer::Answer { status, body } = Answer::decode(&answer, Encoding::Json)?;
        let message = body["message"].as_str().unwrap_or_default();
        assert!(
            status == 400 && message.contains(named),
            "{subject}: {body}"
        );
    }
    Ok(())
}

/// A certificate and its key, in files.
struct Pair {
    cert: PathBuf,
    key: PathBuf,
}

/// An authority, and what it has signed: for the server, and for a client named `otto`.
fn certificates(folder: &Path) -> Result<(PathBuf, Pair, Pair)> {
    let mut authority = rcgen::CertificateParams::new(vec![])?;
    authority.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
    let authority = rcgen::CertifiedIssuer::self_signed(authority, rcgen::KeyPair::generate()?)?;
    let ca = folder.join("ca.pem");
    std::fs::write(&ca, authority.pem())?;
    let sign = |name: &str| -> Result<Pair> {
        let mut params = rcgen::CertificateParams::new(vec!["127.0.0.1".to_owned()])?;
        params
            .distinguished_name
            .push(rcgen::DnType::CommonName, name);
        let key = rcgen::KeyPair::generate()?;
        let signed = params.signed_by(&key, &authority)?;
        let pair = Pair {
            cert: folder.join(format!("{name}.crt")),
            key: folder.join(format!("{name}.key")),
        };
        std::fs::write(&pair.cert, signed.pem())?;
        std::fs::write(&pair.key, key.serialize_pem())?;
        Ok(pair)
    };
    let (server, client) = (sign("server")?, sign("otto")?);
    Ok((ca, server, client))
}

#[tokio::test]
async fn over_https_a_clients_certificate_says_who_asks() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let (ca, server, client) = certificates(folder.path())?;
    let trusted = ca.clone();
    let world = World::secure(move |config| {
        let tls = &mut config.scheduler.tls;
        tls.cert = Some(server.cert.clone());
        tls.key = Some(server.key.clone());
        tls.client_ca = Some(trusted.clone());
        tls.client_role = Some("operator".to_owned());
    })
    .await?;
    let audit = world.nats.subscribe("thetis.audit.>").await?;
    let builder = || -> Result<reqwest::ClientBuilder> {
        let ca = reqwest::Certificate::from_pem(&std::fs::read(&ca)?)?;
        Ok(reqwest::Client::builder().no_proxy().tls_certs_merge([ca]))
    };
    let both = [std::fs::read(&client.cert)?, std::fs::read(&client.key)?].concat();
    let known = builder()?
        .identity(reqwest::Identity::from_pem(&both)?)
        .build()?;
    let base = format!("https://127.0.0.1:{}/api/v1", world.port());
    eventually("the API", LONG, async || {
        let answer = known.get(format!("{base}/clusters")).send().await?;
        ensure!(answer.status() == StatusCode::OK, "{}", answer.status());
        Ok(())
    })
    .await?;
    // It may what its role may, and is noted by its name.
    let refused = known.delete(format!("{base}/cluster/prod")).send().await?;
    assert_eq!(refused.status(), StatusCode::FORBIDDEN);
    let (_, payload) = audit.next(LONG).await?.context("a note")?;
    let Audit::Asked { who, role, .. } = Audit::decode(&payload, Encoding::MessagePack)? else {
        anyhow::bail!("nothing was removed");
    };
    assert_eq!((who.as_str(), role.as_str()), ("otto", "operator"));
    // Without a certificate, and without TLS, nobody is let in.
    let unknown = builder()?.build()?;
    assert!(unknown.get(format!("{base}/version")).send().await.is_err());
    let plain = format!("http://127.0.0.1:{}/api/v1/version", world.port());
    assert!(world.http.get(plain).send().await.is_err());
    Ok(())
}

fn properties(value: Value) -> serde_json::Map<String, Value> {
    value.as_object().cloned().unwrap_or_default()
}

async fn command(
    world: &World,
    cluster: &str,
    command: &Command,
    encoding: Encoding,
) -> Result<(u16, Value)> {
    let subject = format!("thetis.command.{cluster}.{}", command.kind());
    let payload = command.encode(encoding);
    let answer = world
        .nats
        .request(&subject, encoding.content_type(), payload)
        .await;
    let answer = answer.context("an answer")?;
    let Answer::Answer { status, body } = Answer::decode(&answer, encoding)?;
    Ok((status, body))
}
