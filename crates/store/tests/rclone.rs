//! A real rclone, to real stores.

use std::{
    fs,
    path::Path,
    time::{Duration, Instant},
};

use anyhow::{Result, bail, ensure};
use protocol::Location;
use store::{
    AzureSettings, Copy, Error, Files, GcsSettings, RcloneSettings, S3Settings, Settings, Step,
    Stores,
};
use tempfile::TempDir;
use testkit::{azure::Azurite, eventually, gcs::FakeGcs, running, s3::SeaweedFs};

const MIB: usize = 1 << 20;
const LIMIT: Duration = Duration::from_secs(20);

/// Bytes that no two files share.
fn content(seed: u8, bytes: usize) -> Vec<u8> {
    let mut state = u64::from(seed) + 1;
    let mut next = || {
        state = state
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1);
        state.to_be_bytes()[0]
    };
    (0..bytes).map(|_| next()).collect()
}

/// A directory with an empty file, a small one, and one that goes in parts.
fn files() -> Result<TempDir> {
    let dir = tempfile::tempdir()?;
    for (seed, name, bytes) in [
        (1, "mt-1-big-Filter.db", 0),
        (2, "mt-1-big-TOC.txt", 100),
        (3, "mt-1-big-Data.db", 20 * MIB + 7),
        (4, "mt-2-big-Data.db", 100),
    ] {
        fs::write(dir.path().join(name), content(seed, bytes))?;
    }
    Ok(dir)
}

fn program() -> Result<RcloneSettings> {
    Ok(RcloneSettings {
        program: testkit::binary("rclone")?,
        ..RcloneSettings::default()
    })
}

fn to_s3(server: &SeaweedFs) -> Result<Settings> {
    Ok(Settings {
        s3: S3Settings {
            endpoint: Some(server.endpoint()),
            access_key_id: Some(SeaweedFs::ACCESS_KEY.to_owned()),
            secret_access_key: Some(SeaweedFs::SECRET_KEY.into()),
            ..S3Settings::default()
        },
        rclone: program()?,
        ..Settings::default()
    })
}

/// Waits for a copy's end; gives the bytes that were sent.
async fn finish(mut copy: Copy) -> Result<u64> {
    let mut sent = 0;
    loop {
        match copy.step().await? {
            Step::Sent(bytes) => sent += bytes,
            Step::Done => return Ok(sent),
            Step::Failed(words) => bail!("rclone failed: {words}"),
        }
    }
}

/// Copies some files of a directory, and compares what arrived with them, and that nothing else did.
async fn brings(settings: Settings, location: &str) -> Result<()> {
    let stores = Stores::new(settings)?;
    let location: Location = location.parse()?;
    let dir = files()?;
    let names = ["mt-1-big-Filter.db", "mt-1-big-Data.db", "mt-1-big-TOC.txt"];
    let wanted = Files {
        from: dir.path(),
        names: &names,
        to: "backup/sst/one",
        transfers: Some(2),
        class: location
            .to_string()
            .contains("classed")
            .then_some("STANDARD"),
    };
    let copy = stores.rclone().await.copy(&location, &wanted).await?;
    let sent = finish(copy).await?;
    ensure!(
        sent == 20 * MIB as u64 + 107,
        "{location}: {sent} bytes were sent"
    );
    let store = stores.open(&location).await?;
    for name in names {
        let key = format!("backup/sst/one/{name}");
        let found = store.get(&key).await?;
        ensure!(
            found == fs::read(dir.path().join(name))?,
            "{location}: {name} differs"
        );
    }
    let other = store.bytes("backup/sst/one/mt-2-big-Data.db").await?;
    ensure!(
        other.is_none(),
        "{location}: more was copied than was asked for"
    );
    Ok(())
}

#[tokio::test]
async fn files_arrive_in_s3_as_they_are() -> Result<()> {
    let server = SeaweedFs::start().await?;
    server.bucket("backups").await?;
    brings(to_s3(&server)?, "s3:backups").await?;
    brings(to_s3(&server)?, "dc1:s3:backups/company/prod").await?;
    brings(to_s3(&server)?, "s3:backups/classed").await
}

#[tokio::test]
async fn files_arrive_in_gcs_as_they_are() -> Result<()> {
    let server = FakeGcs::start().await?;
    server.bucket("backups").await?;
    let settings = Settings {
        gcs: GcsSettings {
            endpoint: Some(server.endpoint()),
            anonymous: true,
            ..GcsSettings::default()
        },
        rclone: program()?,
        ..Settings::default()
    };
    brings(settings, "gcs:backups").await
}

#[tokio::test]
async fn files_arrive_in_azure_as_they_are() -> Result<()> {
    let server = Azurite::start().await?;
    server.container("backups").await?;
    let by_key = Settings {
        azure: AzureSettings {
            endpoint: Some(server.endpoint()),
            account: Some(Azurite::ACCOUNT.to_owned()),
            account_key: Some(Azurite::KEY.into()),
            ..AzureSettings::default()
        },
        rclone: program()?,
        ..Settings::default()
    };
    let mut by_signature = by_key.clone();
    by_signature.azure.account_key = None;
    by_signature.azure.sas_token = Some(Azurite::SAS.into());
    brings(by_key, "azure:backups").await?;
    brings(by_signature, "azure:backups/signed").await
}

#[tokio::test]
async fn a_file_of_the_users_describes_any_other_store() -> Result<()> {
    let (dir, target) = (files()?, tempfile::tempdir()?);
    let config = target.path().join("rclone.conf");
    fs::create_dir(target.path().join("there"))?;
    let there = target.path().join("there");
    fs::write(
        &config,
        format!("[s3]\ntype = alias\nremote = {}\n", there.display()),
    )?;
    let settings = Settings {
        rclone: RcloneSettings {
            config: Some(config),
            ..program()?
        },
        ..Settings::default()
    };
    let wanted = some(dir.path(), &["mt-2-big-Data.db"]);
    let rclone = Stores::new(settings)?.rclone().await;
    finish(rclone.copy(&"s3:backups".parse()?, &wanted).await?).await?;
    ensure!(fs::read(there.join("backups/x/mt-2-big-Data.db"))? == content(4, 100));
    Ok(())
}

/// A directory with a file of 64 MiB.
fn large() -> Result<TempDir> {
    let dir = tempfile::tempdir()?;
    fs::write(dir.path().join("mt-3-big-Data.db"), content(5, 64 * MIB))?;
    Ok(dir)
}

fn some<'a>(from: &'a Path, names: &'a [&'a str]) -> Files<'a> {
    Files {
        from,
        names,
        to: "x",
        transfers: None,
        class: None,
    }
}

fn of(dir: &Path) -> Files<'_> {
    some(dir, &["mt-3-big-Data.db"])
}

#[tokio::test]
async fn a_limit_holds_and_changes_in_the_middle_of_a_file() -> Result<()> {
    let server = SeaweedFs::start().await?;
    server.bucket("backups").await?;
    let stores = Stores::new(to_s3(&server)?)?;
    let dir = large()?;
    let rate = 4 * MIB as u64;
    stores.limit_rate(rate);
    let rclone = stores.rclone().await;
    let mut copy = rclone.copy(&"s3:backups".parse()?, &of(dir.path())).await?;
    let (began, mut sent) = (Instant::now(), 0);
    while began.elapsed() < Duration::from_secs(3) {
        match copy.step().await? {
            Step::Sent(bytes) => sent += bytes,
            ended @ (Step::Done | Step::Failed(_)) => {
                bail!("{ended:?} after {:?}", began.elapsed())
            }
        }
    }
    // It counts what it has read, of which a part is still to be sent.
    let most = rate * 3 + 16 * MIB as u64;
    ensure!(sent > 0 && sent < most, "{sent} bytes were sent");
    ensure!(stores.requests().disk_bytes() >= sent);
    stores.limit_rate(0);
    let rest = tokio::time::timeout(LIMIT, finish(copy)).await??;
    ensure!(
        sent + rest == 64 * MIB as u64,
        "{sent} and {rest} bytes were sent"
    );
    Ok(())
}

#[tokio::test]
async fn a_copy_that_is_stopped_leaves_nothing_behind() -> Result<()> {
    let server = SeaweedFs::start().await?;
    server.bucket("backups").await?;
    let (dir, own) = (large()?, tempfile::tempdir()?);
    // A name that only this test's has.
    let program = own.path().join("rclone");
    std::os::unix::fs::symlink(testkit::binary("rclone")?, &program)?;
    let mut settings = to_s3(&server)?;
    settings.rclone.program.clone_from(&program);
    let stores = Stores::new(settings)?;
    stores.limit_rate(MIB as u64);
    let rclone = stores.rclone().await;
    let location = "s3:backups".parse()?;
    let mut copy = rclone.copy(&location, &of(dir.path())).await?;
    let (mut sent, began) = (0, Instant::now());
    while sent == 0 {
        ensure!(began.elapsed() < LIMIT, "nothing is sent");
        if let Step::Sent(bytes) = copy.step().await? {
            sent += bytes;
        }
    }
    ensure!(running(&program)?.len() == 2, "it and who holds it");
    let began = Instant::now();
    copy.stop().await;
    ensure!(
        began.elapsed() < Duration::from_secs(2),
        "{:?}",
        began.elapsed()
    );
    let gone = async || {
        let left = running(&program)?;
        ensure!(left.is_empty(), "{left:?}");
        Ok(())
    };
    eventually("rclone to be gone", LIMIT, gone).await?;
    let open = server.uploads("backups").await?;
    ensure!(open == 0, "{open} uploads are left open");
    ensure!(
        stores
            .open(&location)
            .await?
            .bytes("x/mt-3-big-Data.db")
            .await?
            .is_none()
    );

    // It is started anew for the next.
    stores.limit_rate(0);
    finish(rclone.copy(&location, &of(dir.path())).await?).await?;
    eventually("rclone to be gone", LIMIT, gone).await
}

#[tokio::test]
async fn what_goes_wrong_is_told_in_its_words() -> Result<()> {
    let server = SeaweedFs::start().await?;
    server.bucket("backups").await?;
    let dir = files()?;
    let rclone = Stores::new(to_s3(&server)?)?.rclone().await;
    let version = rclone.version().await?;
    ensure!(version.starts_with('v'), "{version}");
    let mut wrong = to_s3(&server)?;
    wrong.s3.secret_access_key = Some("wrong".into());
    let stranger = Stores::new(wrong)?.rclone().await;
    let names = ["mt-2-big-Data.db"];
    for (rclone, location, words) in [
        (&rclone, "s3:no-such-bucket", "NoSuchBucket"),
        (&stranger, "s3:backups", "SignatureDoesNotMatch"),
    ] {
        let mut copy = rclone
            .copy(&location.parse()?, &some(dir.path(), &names))
            .await?;
        let said = loop {
            match copy.step().await? {
                Step::Sent(_) => {}
                ended @ (Step::Done | Step::Failed(_)) => break ended,
            }
        };
        let Step::Failed(said) = said else {
            bail!("{location}: {said:?}");
        };
        ensure!(said.contains(words), "{location}: {said}");
        ensure!(!said.contains(SeaweedFs::SECRET_KEY), "{said}");
    }

    for program in ["/no/such/rclone", "/bin/false"] {
        let mut settings = to_s3(&server)?;
        settings.rclone.program = program.into();
        let rclone = Stores::new(settings)?.rclone().await;
        let location = "s3:backups".parse()?;
        let copied = rclone.copy(&location, &some(dir.path(), &names)).await;
        for error in [copied.err(), rclone.version().await.err()] {
            let Some(error @ Error::Settings(_)) = error else {
                bail!("{program}: {error:?}");
            };
            let text = error.to_string();
            ensure!(
                text.contains("rclone.program") && text.contains(program),
                "{text}"
            );
        }
    }
    Ok(())
}
