//! One suite of promises, kept by every provider: memory, a directory, and real or emulated
//! servers of S3, Google Cloud Storage and Azure.

#[path = "conformance/copies.rs"]
mod copies;
#[path = "conformance/faults.rs"]
mod faults;
#[path = "conformance/suite.rs"]
mod suite;

use anyhow::Result;
use protocol::{Location, Provider};
use store::{
    AzureSettings, Error, GcsSettings, LocalSettings, Need, S3Settings, Secret, Settings, Store,
    Stores,
};
use suite::Subject;
use testkit::{azure::Azurite, gcs::FakeGcs, s3::SeaweedFs};

const BUCKET: &str = "backups";

async fn open(settings: Settings, location: &str) -> Result<Store> {
    let location: Location = location.parse()?;
    Ok(Stores::new(settings)?.open(&location).await?)
}

fn seaweed(server: &SeaweedFs) -> Settings {
    Settings {
        s3: S3Settings {
            endpoint: Some(server.endpoint()),
            access_key_id: Some(SeaweedFs::ACCESS_KEY.to_owned()),
            secret_access_key: Some(SeaweedFs::SECRET_KEY.into()),
            ..S3Settings::default()
        },
        ..Settings::default()
    }
}

#[tokio::test]
async fn memory_keeps_all_promises() -> Result<()> {
    let location: Location = "s3:backups".parse()?;
    let stores = Stores::memory();
    let subject = Subject {
        store: stores.open(&location).await?,
        objects: 2_500,
        atomic: true,
        lacks: &[],
    };
    suite::run(&subject).await?;
    // The same bucket, opened again.
    let again = stores.open(&location).await?;
    again.put("still/here", "x".into()).await?;
    assert_eq!(subject.store.bytes("still/here").await?, Some(1));
    Ok(())
}

#[tokio::test]
async fn a_directory_keeps_all_promises() -> Result<()> {
    let root = tempfile::tempdir()?;
    let settings = Settings {
        localstorage: LocalSettings {
            root: Some(root.path().to_owned()),
        },
        ..Settings::default()
    };
    let missing = open(settings.clone(), "localstorage:backups").await;
    let text = missing.unwrap_err().to_string();
    assert!(text.contains("there is no bucket"), "{text}");

    std::fs::create_dir(root.path().join(BUCKET))?;
    let subject = Subject {
        store: open(settings, "localstorage:backups").await?,
        objects: 2_500,
        atomic: true,
        lacks: &[],
    };
    suite::run(&subject).await?;
    let left: Vec<_> = std::fs::read_dir(root.path().join(BUCKET).join(".thetis-tmp"))?.collect();
    assert!(left.is_empty(), "temporary files stay: {left:?}");

    std::fs::remove_dir_all(root.path().join(BUCKET))?;
    suite::every_call_finds_no_bucket(&subject.store).await
}

/// A part of a bucket is a bucket of its own, and leaves alone what lies beside it.
async fn a_prefix_keeps_all_promises(settings: &Settings, bucket: &str) -> Result<()> {
    let whole = open(settings.clone(), bucket).await?;
    let others = ["deep/e", "deep/er", "deep/er2/x", "x"];
    let others = match whole.location().provider {
        // No directory can have a file's name.
        Provider::Local => &others[2..],
        Provider::S3 | Provider::Gcs | Provider::Azure => &others[..],
    };
    for key in others {
        whole.put(key, (*key).into()).await?;
    }
    let subject = Subject {
        store: open(settings.clone(), &format!("{bucket}/deep/er")).await?,
        objects: 30,
        atomic: true,
        lacks: &[],
    };
    suite::run(&subject).await?;
    subject.store.put("a/b", "mine".into()).await?;
    assert_eq!(whole.get("deep/er/a/b").await?, "mine");
    for key in others {
        assert_eq!(whole.get(key).await?, *key);
    }
    Ok(())
}

#[tokio::test]
async fn prefixes_of_a_directory_and_of_s3_keep_all_promises() -> Result<()> {
    let root = tempfile::tempdir()?;
    std::fs::create_dir(root.path().join(BUCKET))?;
    let mut settings = Settings::default();
    settings.localstorage.root = Some(root.path().to_owned());
    a_prefix_keeps_all_promises(&settings, "localstorage:backups").await?;
    let server = SeaweedFs::start().await?;
    server.bucket(BUCKET).await?;
    a_prefix_keeps_all_promises(&seaweed(&server), "s3:backups").await
}

#[tokio::test]
async fn a_directory_without_a_root_says_what_to_set() {
    let error = open(Settings::default(), "localstorage:backups").await;
    let text = error.unwrap_err().to_string();
    assert!(text.contains("localstorage.root"), "{text}");
}

#[tokio::test]
async fn s3_keeps_all_promises() -> Result<()> {
    let server = SeaweedFs::start().await?;
    server.bucket(BUCKET).await?;
    let settings = seaweed(&server);
    let subject = Subject {
        store: open(settings.clone(), "s3:backups").await?,
        objects: 2_500,
        atomic: true,
        lacks: &[],
    };
    suite::run(&subject).await?;

    let missing = open(settings.clone(), "s3:nowhere").await?;
    suite::every_call_finds_no_bucket(&missing).await?;

    let mut wrong = settings.clone();
    wrong.s3.secret_access_key = Some(Secret::from("not-this-one"));
    suite::every_call_is_denied(&open(wrong, "s3:backups").await?, "not-this-one").await?;

    let mut reader = settings.clone();
    reader.s3.access_key_id = Some(SeaweedFs::READER_ACCESS_KEY.to_owned());
    reader.s3.secret_access_key = Some(SeaweedFs::READER_SECRET_KEY.into());
    suite::a_reader_is_told_what_is_missing(&open(reader, "s3:backups").await?).await?;

    let mut signed = settings.clone();
    signed.s3.sign_payload = true;
    let signed = open(signed, "s3:backups").await?;
    suite::a_file_goes_there_and_back(&signed, 20 << 20).await?;

    faults::any_key_is_signed_right(&subject.store).await?;
    faults::a_cancelled_upload_is_aborted(&server, &subject.store).await?;
    faults::requests_are_few(&server, &settings).await
}

/// With a key of the customer's, objects and files of one part and of several go there and back, and
/// nothing can be read without it. (This server's answers to `HEAD` are broken then.)
#[tokio::test]
async fn s3_keeps_what_is_encrypted_with_a_key_of_the_customers() -> Result<()> {
    let server = SeaweedFs::start().await?;
    server.bucket(BUCKET).await?;
    let plain = seaweed(&server);
    let mut own = plain.clone();
    own.s3.customer_key = Some("AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=".into());
    let store = open(own, "s3:backups").await?;
    let dir = tempfile::tempdir()?;
    let path = dir.path().join("file");
    for bytes in [300_000, 20 << 20] {
        let content: Vec<u8> = (0..bytes).map(|n: usize| n.to_le_bytes()[n % 3]).collect();
        std::fs::write(&path, &content)?;
        let moved = |_| ();
        store
            .put_file("file", &path, bytes as u64, None, &moved)
            .await?;
        assert!(store.get("file").await? == content);
    }
    store.put("secret", "content".into()).await?;
    assert_eq!(store.get("secret").await?, "content");
    let without = open(plain, "s3:backups").await?;
    assert!(without.get("secret").await.is_err());
    Ok(())
}

#[tokio::test]
async fn s3_mends_what_breaks() -> Result<()> {
    let mut server = SeaweedFs::start().await?;
    server.bucket(BUCKET).await?;
    let settings = seaweed(&server);
    faults::cut_connections_are_mended(&server, &settings).await?;
    let store = open(settings, "s3:backups").await?;
    faults::a_server_may_go_and_come_back(&mut server, &store).await
}

#[tokio::test]
#[ignore = "takes minutes, of waiting"]
async fn s3_gives_up_a_network_that_swallows_everything() -> Result<()> {
    let server = SeaweedFs::start().await?;
    server.bucket(BUCKET).await?;
    faults::a_swallowing_network_is_given_up(&server, &seaweed(&server)).await
}

#[tokio::test]
async fn gcs_keeps_all_promises() -> Result<()> {
    let server = FakeGcs::start().await?;
    server.bucket(BUCKET).await?;
    let settings = Settings {
        gcs: GcsSettings {
            endpoint: Some(server.endpoint()),
            anonymous: true,
            ..GcsSettings::default()
        },
        // It lacks the API for parts: with less, large files would need it.
        memory_mb: 128,
        ..Settings::default()
    };
    let subject = Subject {
        store: open(settings.clone(), "gcs:backups").await?,
        objects: 250,
        // The emulator ignores the condition.
        atomic: false,
        lacks: &[Need::WriteParts],
    };
    suite::run(&subject).await?;
    let missing = open(settings, "gcs:nowhere").await?;
    suite::every_call_finds_no_bucket(&missing).await
}

#[tokio::test]
async fn azure_keeps_all_promises() -> Result<()> {
    let server = Azurite::start().await?;
    server.container(BUCKET).await?;
    let settings = Settings {
        azure: AzureSettings {
            account: Some(Azurite::ACCOUNT.to_owned()),
            endpoint: Some(server.endpoint()),
            account_key: Some(Azurite::KEY.into()),
            sas_token: None,
        },
        ..Settings::default()
    };
    let subject = Subject {
        store: open(settings.clone(), "azure:backups").await?,
        objects: 250,
        atomic: true,
        lacks: &[],
    };
    suite::run(&subject).await?;

    let missing = open(settings.clone(), "azure:nowhere").await?;
    suite::every_call_finds_no_bucket(&missing).await?;

    let mut signed = settings.clone();
    signed.azure.account_key = None;
    signed.azure.sas_token = Some(Azurite::SAS.into());
    let signed = open(signed, "azure:backups").await?;
    suite::a_file_goes_there_and_back(&signed, 1 << 20).await?;

    let mut wrong = settings;
    wrong.azure.account_key = Some("bm90LXRoaXMtb25l".into());
    suite::every_call_is_denied(&open(wrong, "azure:backups").await?, "bm90LXRoaXMtb25l").await
}

#[tokio::test]
async fn a_server_that_is_not_there_is_unavailable() -> Result<()> {
    let settings = Settings {
        s3: S3Settings {
            endpoint: Some(format!("http://127.0.0.1:{}", testkit::free_port())),
            access_key_id: Some("id".to_owned()),
            secret_access_key: Some("secret".into()),
            ..S3Settings::default()
        },
        ..Settings::default()
    };
    let store = open(settings, "s3:backups").await?;
    let error = store.put("a", "b".into()).await.unwrap_err();
    assert!(matches!(error, Error::Unavailable { .. }), "{error:?}");
    assert!(error.retry());
    let text = error.to_string();
    assert!(
        text.contains("refused") && text.contains("127.0.0.1"),
        "{text}"
    );
    Ok(())
}

#[tokio::test]
async fn without_credentials_the_error_says_what_to_set() -> Result<()> {
    let server = FakeGcs::start().await?;
    let endpoint = Some(server.endpoint());
    let settings = Settings {
        s3: S3Settings {
            endpoint: endpoint.clone(),
            ..S3Settings::default()
        },
        gcs: GcsSettings {
            endpoint: endpoint.clone(),
            ..GcsSettings::default()
        },
        azure: AzureSettings {
            endpoint,
            ..AzureSettings::default()
        },
        ..Settings::default()
    };
    for location in ["s3:backups", "gcs:backups", "azure:backups"] {
        let store = open(settings.clone(), location).await?;
        let text = store.put("a", "b".into()).await.unwrap_err().to_string();
        assert!(text.contains("no credentials"), "{text}");
        assert!(text.contains(location), "{text}");
    }
    Ok(())
}

#[tokio::test]
async fn gcs_is_told_the_class_of_files() -> Result<()> {
    let server = FakeGcs::start().await?;
    server.bucket(BUCKET).await?;
    let settings = Settings {
        gcs: GcsSettings {
            endpoint: Some(server.endpoint()),
            anonymous: true,
            ..GcsSettings::default()
        },
        ..Settings::default()
    };
    let (stores, location) = (Stores::new(settings)?, "gcs:backups".parse()?);
    let dir = tempfile::tempdir()?;
    let path = dir.path().join("file");
    std::fs::write(&path, "content")?;
    for (key, class, found) in [("a", Some("NEARLINE"), "NEARLINE"), ("b", None, "STANDARD")] {
        let store = stores.open_in(&location, class).await?;
        store.put_file(key, &path, 7, None, &|_| ()).await?;
        let url = format!("{}/storage/v1/b/{BUCKET}/o/{key}", server.endpoint());
        let told = reqwest::get(url).await?.text().await?;
        let said = format!(r#""storageClass":"{found}""#);
        assert!(told.replace(' ', "").contains(&said), "{told}");
    }
    Ok(())
}
