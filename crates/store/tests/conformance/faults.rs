//! What holds for S3, where large files go.

use std::time::Duration;

use anyhow::{Result, ensure};
use store::{Error, Settings, Store};
use testkit::{
    eventually,
    faults::Faults,
    proxy::{Proxy, Way},
    s3::SeaweedFs,
};

use super::suite::{a_file_goes_there_and_back, expect, keys, noise};

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

/// Keys of all sorts of characters are signed as the server reads them, and are the same for those
/// requests that the SDK makes.
pub(crate) async fn any_key_is_signed_right(store: &Store) -> Result<()> {
    for key in [
        "odd/a b  c",
        "odd/a+b",
        "odd/a%20b%",
        "odd/~a~b",
        "odd/a'b(c)!*",
        "odd/a;b,c:d@e=f&g?h#i$j",
        "odd/\u{fc}\u{20ac}\u{1f980}",
        "odd/[a]{b}|c^d`e\"f<g>",
    ] {
        let body = key.as_bytes().to_owned();
        store.put(key, body.clone().into()).await?;
        ensure!(store.get(key).await? == body, "`{key}` differs");
        ensure!(
            store.get_range(key, 1..3).await? == body[1..3],
            "a part of `{key}` differs"
        );
        ensure!(
            store.bytes(key).await? == Some(body.len() as u64),
            "`{key}` is elsewhere"
        );
        ensure!(
            keys(store, "odd/").await? == [key.to_owned()].into(),
            "`{key}` is listed otherwise"
        );
        store.delete(&[key.to_owned()]).await?;
    }
    Ok(())
}

/// A small file is one request; there is no HEAD and no LIST.
pub(crate) async fn requests_are_few(server: &SeaweedFs, settings: &Settings) -> Result<()> {
    let counting = Faults::start(&server.endpoint(), 0).await?;
    let mut settings = settings.clone();
    settings.s3.endpoint = Some(counting.endpoint().to_owned());
    let store = super::open(settings, "s3:backups").await?;
    let dir = tempfile::tempdir()?;
    let path = dir.path().join("file");
    std::fs::write(&path, noise(1000))?;
    let names: Vec<String> = (0..10).map(|n| format!("few/{n}")).collect();
    for key in &names {
        store.put_file(key, &path, 1000, None, &|_| ()).await?;
    }
    let expected = names.iter().map(|key| (format!("PUT /backups/{key}"), 1));
    ensure!(
        counting.came() == expected.collect(),
        "{:?}",
        counting.came()
    );
    store.delete(&names).await?;
    Ok(())
}

/// A store behind a proxy that can fail.
async fn behind(server: &SeaweedFs, settings: &Settings) -> Result<(Proxy, Store)> {
    let endpoint = server.endpoint();
    let proxy = Proxy::start(endpoint.trim_start_matches("http://")).await?;
    let mut settings = settings.clone();
    settings.s3.endpoint = Some(format!("http://{}", proxy.address()));
    let store = super::open(settings, "s3:backups").await?;
    Ok((proxy, store))
}

/// A cut connection costs one part, not the file.
pub(crate) async fn cut_connections_are_mended(
    server: &SeaweedFs,
    settings: &Settings,
) -> Result<()> {
    let (proxy, store) = behind(server, settings).await?;
    for (way, after) in [(Way::Up, 10_000), (Way::Up, 30_000_000), (Way::Down, 0)] {
        proxy.cut_after(way, after);
        a_file_goes_there_and_back(&store, 40 * MIB).await?;
    }
    ensure!(proxy.cuts() == 3);

    let dir = tempfile::tempdir()?;
    let (from, to) = (dir.path().join("from"), dir.path().join("to"));
    std::fs::write(&from, noise(40 * MIB))?;
    let put = store
        .put_file("cut", &from, 40 * MIB, None, &|_| ())
        .await?;
    proxy.cut_after(Way::Down, 20_000_000);
    let got = store.get_file("cut", &to, 40 * MIB, &|_| ()).await?;
    ensure!(got == put && std::fs::read(&to)? == std::fs::read(&from)?);
    ensure!(proxy.cuts() == 4);
    store.delete(&["cut".to_owned()]).await?;
    Ok(())
}

/// A server that goes away is unavailable, and usable again when it is back.
pub(crate) async fn a_server_may_go_and_come_back(
    server: &mut SeaweedFs,
    store: &Store,
) -> Result<()> {
    let dir = tempfile::tempdir()?;
    let path = dir.path().join("file");
    std::fs::write(&path, noise(MIB))?;
    server.kill();
    let put = store.put_file("away", &path, MIB, None, &|_| ()).await;
    expect(put, "put_file", |e| {
        matches!(e, Error::Unavailable { .. }) && e.retry()
    })?;
    server.restart().await?;
    a_file_goes_there_and_back(store, MIB).await
}

/// A network that swallows everything does not hold anybody for ever.
pub(crate) async fn a_swallowing_network_is_given_up(
    server: &SeaweedFs,
    settings: &Settings,
) -> Result<()> {
    let (proxy, store) = behind(server, settings).await?;
    let dir = tempfile::tempdir()?;
    let (path, back) = (dir.path().join("file"), dir.path().join("back"));
    std::fs::write(&path, noise(20 * MIB))?;
    store
        .put_file("there", &path, 20 * MIB, None, &|_| ())
        .await?;
    proxy.swallow(true);
    let unavailable = |e: &Error| matches!(e, Error::Unavailable { .. });
    let calls = async {
        tokio::join!(
            store.put_file("gone", &path, 20 * MIB, None, &|_| ()),
            store.put_file("gone/small", &path, 20 * MIB, None, &|_| ()),
            store.get_file("there", &back, 20 * MIB, &|_| ()),
            store.get("there"),
            store.bytes("there"),
        )
    };
    let calls = tokio::time::timeout(Duration::from_secs(400), calls).await?;
    expect(calls.0, "put_file", unavailable)?;
    expect(calls.1, "put_file", unavailable)?;
    expect(calls.2, "get_file", unavailable)?;
    expect(calls.3, "get", unavailable)?;
    expect(calls.4, "bytes", unavailable)
}
