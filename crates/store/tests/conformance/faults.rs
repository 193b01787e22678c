//! What holds for S3, where large files go.

use std::time::Duration;

use anyhow::{Result, ensure};
use store::Store;
use testkit::{eventually, s3::SeaweedFs};

use super::suite::{keys, noise};

const MIB: u64 = 1 << 20;

/// Dropping the future of an upload takes back what was sent.
pub(crate) async fn a_cancelled_upload_is_aborted(server: &SeaweedFs, store: &Store) -> Result<()> {
    let dir = tempfile::tempdir()?;
    let path = dir.path().join("file");
    std::fs::write(&path, noise(80 * MIB))?;
    let sent = tokio::sync::Notify::new();
    let tell = |_| sent.notify_one();
    tokio::select! {
        done = store.put_file("cancelled", &path, 80 * MIB, None, &tell) => {
            anyhow::bail!("it was not cancelled: {done:?}");
        }
        () = sent.notified() => {}
    }
    let gone = async || {
        let open = server.uploads(super::BUCKET).await?;
        ensure!(open == 0, "{open} uploads are open");
        Ok(())
    };
    eventually("the upload to be aborted", Duration::from_secs(20), gone).await?;
    ensure!(store.bytes("cancelled").await?.is_none());
    Ok(())
}

/// A small file is one request; there is no HEAD and no LIST.
pub(crate) async fn requests_are_few(server: &SeaweedFs, store: &Store) -> Result<()> {
    let dir = tempfile::tempdir()?;
    let path = dir.path().join("file");
    std::fs::write(&path, noise(1000))?;
    let before = server.requests().await?;
    for n in 0..10 {
        let key = format!("few/{n}");
        store.put_file(&key, &path, 1000, None, &|_| ()).await?;
    }
    let after = server.requests().await?;
    let mut more: Vec<(String, u64)> = Vec::new();
    for (kind, count) in after {
        let count = count - before.get(&kind).copied().unwrap_or_default();
        if count > 0 {
            more.push((kind, count));
        }
    }
    ensure!(more == [("PUT".to_owned(), 10)], "{more:?}");
    let all: Vec<String> = keys(store, "few/").await?.into_iter().collect();
    store.delete(&all).await?;
    Ok(())
}
