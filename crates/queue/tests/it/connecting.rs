//! First connections that fail say why.

use anyhow::Result;
use queue::{Error, Queue, Settings};
use testkit::nats::Nats;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpListener,
    task::JoinSet,
};

use crate::support::settings;

async fn refusal(settings: &Settings) -> Error {
    match Queue::connect(settings, "test").await {
        Ok(_) => panic!("connected"),
        Err(error) => error,
    }
}

#[tokio::test]
async fn a_wrong_password_is_called_that() -> Result<()> {
    let nats = Nats::with_password("joe", "right")?;
    let mut settings = settings(&nats);
    settings.user = Some("joe".into());
    settings.password = Some("wrong".into());
    let error = refusal(&settings).await;
    assert!(matches!(error, Error::Denied { .. }), "{error}");
    assert!(!error.retry());
    settings.password = Some("right".into());
    Queue::connect(&settings, "test").await?.ensure().await?;
    Ok(())
}

#[tokio::test]
async fn a_password_in_the_address_is_used_and_never_shown() -> Result<()> {
    let nats = Nats::with_password("joe", "hunter@2")?;
    let mut settings = settings(&nats);
    settings.url = nats.url().replace("nats://", "nats://joe:hunter%402@");
    Queue::connect(&settings, "test").await?;
    settings.url = nats.url().replace("nats://", "nats://joe:hunter3@");
    let error = refusal(&settings).await;
    assert!(matches!(error, Error::Denied { .. }), "{error}");
    assert!(
        !format!("{error} {error:?}").contains("hunter"),
        "{error:?}"
    );
    Ok(())
}

#[tokio::test]
async fn nobody_there_is_called_unreachable() -> Result<()> {
    let settings = Settings {
        url: format!("nats://127.0.0.1:{}", testkit::free_port()),
        ..Settings::default()
    };
    let error = refusal(&settings).await;
    assert!(matches!(error, Error::Unreachable { .. }), "{error}");
    assert!(error.to_string().contains(&settings.url), "{error}");
    assert!(error.retry());
    Ok(())
}

#[tokio::test]
async fn a_server_without_jetstream_is_called_that() -> Result<()> {
    let nats = Nats::without_jetstream()?;
    let error = refusal(&settings(&nats)).await;
    assert!(matches!(error, Error::NoJetStream { .. }), "{error}");
    Ok(())
}

#[tokio::test]
async fn an_account_without_jetstream_is_called_that() -> Result<()> {
    let nats = Nats::with_config(
        "accounts { A: { users: [{user: joe, password: pass}] }, B: { jetstream: enabled } }",
    )?;
    let mut settings = settings(&nats);
    settings.user = Some("joe".into());
    settings.password = Some("pass".into());
    let error = refusal(&settings).await;
    assert!(matches!(error, Error::NoJetStream { .. }), "{error}");
    Ok(())
}

#[tokio::test]
async fn a_server_that_is_too_old_is_named_with_its_version() -> Result<()> {
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let settings = Settings {
        url: format!("nats://{}", listener.local_addr()?),
        ..Settings::default()
    };
    let mut server = JoinSet::new();
    server.spawn(async move {
        let (mut client, _) = listener.accept().await.unwrap();
        let info = r#"INFO {"server_id":"x","version":"2.9.10","headers":true,"max_payload":1048576,"jetstream":true}"#;
        client.write_all(format!("{info}\r\n").as_bytes()).await.unwrap();
        let mut said = Vec::new();
        let mut pings = 0;
        while client.read_buf(&mut said).await.unwrap_or(0) > 0 {
            let all = String::from_utf8_lossy(&said).matches("PING\r\n").count();
            for _ in pings..all {
                client.write_all(b"PONG\r\n").await.unwrap();
            }
            pings = all;
        }
    });
    let error = refusal(&settings).await;
    assert!(matches!(error, Error::TooOld { .. }), "{error}");
    assert!(error.to_string().contains("is version 2.9.10"), "{error}");
    Ok(())
}

#[tokio::test]
async fn a_server_without_room_says_so() -> Result<()> {
    let nats = Nats::with_config("jetstream { max_file_store: 1MB }")?;
    let queue = Queue::connect(&settings(&nats), "test").await?;
    let error = queue.ensure().await.unwrap_err();
    assert!(matches!(error, Error::Full { .. }), "{error}");
    Ok(())
}

#[tokio::test]
async fn an_nkey_opens_the_door() -> Result<()> {
    let dir = tempfile::tempdir()?;
    let pair = nkeys::KeyPair::new_user();
    let nats = Nats::with_config(&format!(
        "authorization {{ users: [{{ nkey: {} }}] }}",
        pair.public_key()
    ))?;
    let mut settings = settings(&nats);
    assert!(matches!(refusal(&settings).await, Error::Denied { .. }));
    let seed = dir.path().join("seed");
    settings.nkey = Some(seed.clone());
    let error = refusal(&settings).await;
    assert!(matches!(error, Error::Settings(_)), "{error}");
    std::fs::write(&seed, pair.seed()? + "\n")?;
    Queue::connect(&settings, "test")
        .await?
        .ensure()
        .await
        .map_err(Into::into)
}

#[tokio::test]
async fn tls_is_spoken_and_both_ends_are_checked() -> Result<()> {
    let dir = tempfile::tempdir()?;
    let path = |name: &str| dir.path().join(name);
    let authority_key = rcgen::KeyPair::generate()?;
    let mut authority = rcgen::CertificateParams::new(vec![])?;
    authority.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
    let authority = rcgen::CertifiedIssuer::self_signed(authority, authority_key)?;
    std::fs::write(path("ca.pem"), authority.pem())?;
    for name in ["server", "client"] {
        let key = rcgen::KeyPair::generate()?;
        let names = vec!["127.0.0.1".to_owned(), "localhost".to_owned()];
        let certificate = rcgen::CertificateParams::new(names)?.signed_by(&key, &authority)?;
        std::fs::write(path(&format!("{name}.pem")), certificate.pem())?;
        std::fs::write(path(&format!("{name}.key")), key.serialize_pem())?;
    }
    let at = |name: &str| format!("{:?}", path(name));
    let nats = Nats::with_config(&format!(
        "tls {{ cert_file: {}, key_file: {}, ca_file: {}, verify: true }}",
        at("server.pem"),
        at("server.key"),
        at("ca.pem"),
    ))?;
    let mut settings = settings(&nats);
    settings.url = nats.url().replace("nats://", "tls://");
    let error = refusal(&settings).await;
    assert!(matches!(error, Error::Unreachable { .. }), "{error}");
    settings.tls.ca = Some(path("ca.pem"));
    refusal(&settings).await;
    settings.tls.cert = Some(path("client.pem"));
    settings.tls.key = Some(path("client.key"));
    Queue::connect(&settings, "test").await?.ensure().await?;
    settings.url = nats.url();
    Queue::connect(&settings, "test").await?;
    Ok(())
}
