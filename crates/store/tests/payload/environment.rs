//! What the environment says: proxies, certificates, and where keys come from. Each case runs in a
//! process of its own, for an environment belongs to a whole process.

use std::{
    net::SocketAddr,
    process::{Command, Output},
    sync::Arc,
};

use anyhow::{Context as _, Result, bail, ensure};
use store::{Error, S3Settings, Settings, Store, Stores};
use tokio_rustls::{
    TlsAcceptor,
    rustls::{ServerConfig, crypto::aws_lc_rs, pki_types::PrivateKeyDer},
};

use super::{
    STORED, content,
    server::{Act, Seen, Server, answer, refusal},
};

/// Tells the process of its own which server to use.
const ENDPOINT: &str = "THETIS_TEST_ENDPOINT";

/// Runs one of the ignored tests below, with a clean environment but for `environment`.
async fn alone(test: &str, environment: &[(&str, String)]) -> Result<Output> {
    let mut command = Command::new(std::env::current_exe()?);
    command
        .args(["--exact", "--ignored", "--nocapture"])
        .arg(format!("environment::{test}"))
        .env_clear()
        .env("HOME", "/nowhere")
        .env("AWS_EC2_METADATA_DISABLED", "true");
    for (name, value) in environment {
        command.env(name, value);
    }
    Ok(tokio::task::spawn_blocking(move || command.output()).await??)
}

/// Whether it ran, and did well.
fn well(output: &Output) -> Result<()> {
    let text = String::from_utf8_lossy(&output.stdout);
    let one = text.contains("1 passed");
    let error = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success() && one, "{text}\n{error}");
    Ok(())
}

fn keys() -> [(&'static str, String); 2] {
    [
        ("AWS_ACCESS_KEY_ID", "key".to_owned()),
        ("AWS_SECRET_ACCESS_KEY", "hunter2".to_owned()),
    ]
}

/// A bucket by what stands in the environment alone.
async fn open() -> Result<Store> {
    let settings = Settings {
        s3: S3Settings {
            endpoint: Some(std::env::var(ENDPOINT)?),
            ..S3Settings::default()
        },
        ..Settings::default()
    };
    Ok(Stores::new(settings)?.open(&"s3:b".parse()?).await?)
}

#[tokio::test]
#[ignore = "run by others, in an environment"]
async fn puts() -> Result<()> {
    let store = open().await?;
    store.put("k", content(300_000).into()).await?;
    Ok(store.put("l", "x".into()).await?)
}

#[tokio::test]
#[ignore = "run by others, in an environment"]
async fn does_not_trust() -> Result<()> {
    match open().await?.put("k", "x".into()).await {
        Err(Error::Unavailable { cause, .. }) if cause.contains("certificate") => Ok(()),
        said => bail!("{said:?}"),
    }
}

fn arrived(seen: &[Seen]) -> Result<()> {
    ensure!(seen.len() == 2, "{} requests", seen.len());
    ensure!(seen[0].body == content(300_000) && seen[1].body == b"x");
    Ok(())
}

#[tokio::test]
async fn a_proxy_is_asked_for_what_is_sent_in_the_clear() -> Result<()> {
    let proxy = Server::start(|_, _| answer(STORED)).await?;
    let mut environment = vec![
        (ENDPOINT, "http://bucket.invalid:9000".to_owned()),
        ("HTTP_PROXY", format!("http://me:pass@{}", proxy.address)),
    ];
    environment.extend(keys());
    well(&alone("puts", &environment).await?)?;
    let seen = proxy.seen();
    arrived(&seen)?;
    for (seen, key) in seen.iter().zip(["k", "l"]) {
        ensure!(
            seen.line == format!("PUT http://bucket.invalid:9000/b/{key}"),
            "{}",
            seen.line
        );
        ensure!(seen.headers["host"] == "bucket.invalid:9000");
        // me:pass
        ensure!(seen.headers["proxy-authorization"] == "Basic bWU6cGFzcw==");
    }
    ensure!(proxy.connections() == 1);
    Ok(())
}

#[tokio::test]
async fn no_proxy_is_asked_for_servers_that_are_excepted() -> Result<()> {
    let proxy = Server::start(|_, _| refusal("403 Forbidden", "Proxy", "X-A: b")).await?;
    let server = Server::start(|_, _| answer(STORED)).await?;
    let mut environment = vec![
        (ENDPOINT, server.endpoint()),
        ("HTTP_PROXY", proxy.endpoint()),
        ("NO_PROXY", "127.0.0.1".to_owned()),
    ];
    environment.extend(keys());
    well(&alone("puts", &environment).await?)?;
    ensure!(proxy.connections() == 0);
    arrived(&server.seen())
}

/// A server with TLS, and its certificate as PEM.
async fn secure() -> Result<(Server, String)> {
    let key = rcgen::KeyPair::generate()?;
    let certificate = rcgen::CertificateParams::new(vec!["localhost".to_owned()])?;
    let certificate = certificate.self_signed(&key)?;
    let private = PrivateKeyDer::try_from(key.serialize_der()).map_err(anyhow::Error::msg)?;
    let config = ServerConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
        .with_safe_default_protocol_versions()?
        .with_no_client_auth()
        .with_single_cert(vec![certificate.der().clone()], private)?;
    let tls = TlsAcceptor::from(Arc::new(config));
    let server = Server::with(Some(tls), |_, _| answer(STORED)).await?;
    Ok((server, certificate.pem()))
}

#[tokio::test]
async fn certificates_are_those_of_the_environment() -> Result<()> {
    let (server, pem) = secure().await?;
    let dir = tempfile::tempdir()?;
    let path = dir.path().join("ca.pem");
    std::fs::write(&path, pem)?;
    let path = path.display().to_string();
    let endpoint = format!("https://localhost:{}", server.address.port());
    let mut environment = vec![(ENDPOINT, endpoint)];
    environment.extend(keys());
    for name in ["AWS_CA_BUNDLE", "SSL_CERT_FILE"] {
        let before = server.seen().len();
        let mut trusting = environment.clone();
        trusting.push((name, path.clone()));
        well(&alone("puts", &trusting).await.context(name)?)?;
        arrived(&server.seen()[before..])?;
    }
    well(&alone("does_not_trust", &environment).await?)
}

#[tokio::test]
async fn a_proxy_passes_on_what_is_sent_by_tls() -> Result<()> {
    let (server, pem) = secure().await?;
    let to: SocketAddr = server.address;
    let proxy = Server::start(move |_, seen| match seen.line.starts_with("CONNECT ") {
        true => Act::Tunnel(to),
        false => answer("400 Bad Request"),
    })
    .await?;
    let dir = tempfile::tempdir()?;
    let path = dir.path().join("ca.pem");
    std::fs::write(&path, pem)?;
    let mut environment = vec![
        (ENDPOINT, "https://localhost:9000".to_owned()),
        ("HTTPS_PROXY", format!("http://me:pass@{}", proxy.address)),
        ("AWS_CA_BUNDLE", path.display().to_string()),
    ];
    environment.extend(keys());
    well(&alone("puts", &environment).await?)?;
    let asked = proxy.seen();
    ensure!(
        asked.len() == 1 && asked[0].line == "CONNECT localhost:9000",
        "{asked:?}"
    );
    ensure!(asked[0].headers["proxy-authorization"] == "Basic bWU6cGFzcw==");
    arrived(&server.seen())
}

/// A provider as containers have it, whose first keys the server does not take any more.
#[tokio::test]
async fn keys_that_have_expired_are_replaced_and_sent_with_their_token() -> Result<()> {
    let provider = Server::start(|nth, _| {
        let keys = format!(
            "{{\"AccessKeyId\":\"id{nth}\",\"SecretAccessKey\":\"hunter2\",\"Token\":\"token{nth}\",\
             \"Expiration\":\"2099-01-01T00:00:00Z\"}}"
        );
        Act::Answer("200 OK\r\nContent-Type: application/json".into(), keys.into_bytes())
    })
    .await?;
    let server = Server::start(|_, seen| match &*seen.headers["x-amz-security-token"] {
        "token1" => refusal("400 Bad Request", "ExpiredToken", "X-A: b"),
        _ => answer(STORED),
    })
    .await?;
    let environment = [
        (ENDPOINT, server.endpoint()),
        (
            "AWS_CONTAINER_CREDENTIALS_FULL_URI",
            format!("{}/keys", provider.endpoint()),
        ),
    ];
    well(&alone("puts", &environment).await?)?;
    let seen = server.seen();
    // The address is found out with keys of their own, so others may have been asked for between.
    let last = &seen[seen.len() - 1].headers;
    ensure!(seen.len() == 3 && seen[0].headers["x-amz-security-token"] == "token1");
    ensure!(last["authorization"].contains("x-amz-security-token,"));
    ensure!(last["x-amz-security-token"] == seen[1].headers["x-amz-security-token"]);
    arrived(&seen[1..])
}
