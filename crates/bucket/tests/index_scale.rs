//! How long a list of a large bucket takes. Alone in its process, so that nothing else is timed.

use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use bucket::{index, listing};
use store::{LocalSettings, Settings, Stores};
use testkit::manager::Scale;

/// What is promised of 20,000 manifests.
const WITH_INDEX: Duration = Duration::from_secs(1);
const WITHOUT: Duration = Duration::from_secs(30);

#[tokio::test(flavor = "multi_thread")]
async fn a_thousand_backups_of_twenty_nodes_are_listed_at_once() -> Result<()> {
    let root = tempfile::tempdir()?;
    let scale = Scale {
        tables: 20,
        ..Scale::default()
    };
    let made = scale.write(&root.path().join("backups"))?;
    let settings = Settings {
        localstorage: LocalSettings {
            root: Some(root.path().to_owned()),
        },
        ..Settings::default()
    };
    let stores = Stores::new(settings)?;
    let stores = listing::open(&stores, &["localstorage:backups".parse()?]).await?;

    let start = Instant::now();
    let contents = index::read(&stores, None).await?;
    let without = start.elapsed();
    let start = Instant::now();
    contents.save(&stores).await?;
    let saving = start.elapsed();
    let mut with = Vec::new();
    for _ in 0..3 {
        let start = Instant::now();
        let again = index::read(&stores, None).await?;
        with.push(start.elapsed());
        for contents in [&contents, &again] {
            ensure!(contents.unreadable.is_empty());
            ensure!(contents.backups.len() == made.tags.len());
            for (backup, tag) in contents.backups.iter().zip(&made.tags) {
                ensure!(backup.id.tag.as_str() == tag);
                ensure!(backup.nodes().count() == made.nodes.len());
                ensure!(backup.bytes() == (made.bytes * made.nodes.len()) as u64);
                ensure!(backup.files() == (made.files * made.nodes.len()) as u64);
            }
        }
        ensure!(!again.changed());
    }
    let index = std::fs::metadata(
        root.path()
            .join(format!("backups/thetis/catalog/{}.json.gz", made.cluster)),
    )?;
    eprintln!(
        "without an index {without:?}, with one of {} bytes {with:?}, saving it {saving:?}",
        index.len()
    );
    let best = with.into_iter().min().unwrap_or_default();
    ensure!(best < WITH_INDEX, "{best:?} with an index");
    ensure!(without < WITHOUT, "{without:?} without one");
    Ok(())
}
