//! How much memory transfers take. Alone in its process, whose peak it looks at.

use std::fs::File;

use anyhow::{Context, Result, ensure};
use store::{S3Settings, Settings, Stores};
use testkit::s3::SeaweedFs;

const MIB: u64 = 1 << 20;

/// What `memory_mb` is set to, in MiB.
const BUDGET: u32 = 32;

/// What the process takes beside buffers, in bytes: connections, clients, the code itself.
///
/// About 14 MiB when this was written.
const REST: u64 = 32 * MIB;

#[tokio::test]
async fn a_large_file_among_small_ones_stays_within_the_budget() -> Result<()> {
    const LARGE: u64 = 1024 * MIB;
    const SMALL: u64 = 5 * MIB;
    let server = SeaweedFs::start().await?;
    server.bucket("backups").await?;
    let stores = Stores::new(Settings {
        s3: S3Settings {
            endpoint: Some(server.endpoint()),
            access_key_id: Some(SeaweedFs::ACCESS_KEY.to_owned()),
            secret_access_key: Some(SeaweedFs::SECRET_KEY.into()),
            ..S3Settings::default()
        },
        memory_mb: BUDGET,
        ..Settings::default()
    })?;
    let store = stores.open(&"s3:backups".parse()?).await?;

    // Sparse: the bytes need not be written to be read.
    let dir = tempfile::tempdir()?;
    let (large, small) = (dir.path().join("large"), dir.path().join("small"));
    File::create(&large)?.set_len(LARGE)?;
    File::create(&small)?.set_len(SMALL)?;
    let others = (0..15).map(|n| {
        let (store, small) = (&store, &small);
        async move {
            let key = format!("small/{n}");
            store.put_file(&key, small, SMALL, None, &|_| ()).await
        }
    });
    let put = store.put_file("large", &large, LARGE, None, &|_| ());
    let (put, _) = tokio::try_join!(put, futures::future::try_join_all(others))?;
    let back = dir.path().join("back");
    let got = store.get_file("large", &back, LARGE, &|_| ()).await?;
    ensure!(got == put, "{got:?} is not {put:?}");

    let buffers = stores.peak_memory();
    let budget = u64::from(BUDGET) * MIB;
    ensure!(buffers <= budget, "buffers took {buffers} bytes");
    ensure!(
        buffers >= budget / 4 * 3,
        "buffers took only {buffers} bytes"
    );
    let peak = peak()?;
    ensure!(peak <= budget + REST, "the process took {peak} bytes");
    Ok(())
}

/// The most memory this process ever had, in bytes.
fn peak() -> Result<u64> {
    let status = std::fs::read_to_string("/proc/self/status")?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    let kib = line.and_then(|line| line.trim().strip_suffix(" kB"));
    let kib: u64 = kib.context("a peak in kB")?.trim().parse()?;
    Ok(kib * 1024)
}
