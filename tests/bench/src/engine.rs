//! Uploads without a queue: the same files through the same engine, in the same numbers at once, but
//! without NATS, plans and receipts. What the queue costs is what an uploader takes longer.

use std::{path::PathBuf, time::Instant};

use anyhow::{Context as _, Result, ensure};
use clap::Args;
use futures::{StreamExt as _, TryStreamExt as _, stream};
use service::Config;
use store::{Store, Stores};

use crate::list::{List, Piece};

/// Send files with the uploader's engine, without an uploader.
#[derive(Args, Clone, Debug)]
pub(crate) struct Engine {
    /// Which files: as `List` writes them
    #[arg(long)]
    pub(crate) list: PathBuf,
}

/// Sends all files; gives how many seconds that took.
pub(crate) async fn send(engine: &Engine) -> Result<f64> {
    let list = List::read(&engine.list)?;
    // The same configuration as an uploader's, from the same environment.
    let config = Config::load(None)?;
    let (slots, transfers) = (config.uploader.slots, config.uploader.transfers);
    let stores = Stores::new(config.store)?;
    let began = Instant::now();
    let store = stores.open(&"s3:thetis".parse()?).await?;
    let mut rest = list.files.as_slice();
    let mut chunks = Vec::new();
    for chunk in &list.chunks {
        let (files, more) = rest
            .split_at_checked(chunk.files.len())
            .context("a list holds the files of its chunks")?;
        chunks.push(files);
        rest = more;
    }
    let store = &store;
    stream::iter(chunks)
        .map(|files| async move {
            let stored = stream::iter(files).map(|file| put(store, file));
            stored.buffered(transfers).try_collect::<()>().await
        })
        .buffer_unordered(slots)
        .try_collect::<()>()
        .await?;
    Ok(began.elapsed().as_secs_f64())
}

async fn put(store: &Store, file: &Piece) -> Result<()> {
    let crc32 = Some(file.crc32);
    let put = store.put_file(&file.key, &file.path, file.bytes, crc32, &|_| {});
    let moved = put.await?;
    ensure!(moved.bytes == file.bytes, "{} is torn", file.path.display());
    Ok(())
}
