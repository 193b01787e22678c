//! A server whose listing never ends: it is told, and left.

use anyhow::{Result, ensure};
use futures::TryStreamExt as _;
use store::{Error, S3Settings, Settings, Stores};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpListener,
    task::JoinSet,
};

const PAGE: &str = "<?xml version=\"1.0\"?><ListBucketResult><Name>b</Name>\
    <IsTruncated>true</IsTruncated><NextContinuationToken>on</NextContinuationToken>\
    <Contents><Key>backup/meta/a</Key><Size>1</Size></Contents>\
    <CommonPrefixes><Prefix>backup/meta/a/</Prefix></CommonPrefixes></ListBucketResult>";

/// Answers every request with the same page.
async fn serve(listener: TcpListener) -> std::io::Result<()> {
    loop {
        let (mut stream, _) = listener.accept().await?;
        let mut asked = Vec::new();
        while !asked.ends_with(b"\r\n\r\n") && stream.read_buf(&mut asked).await? > 0 {}
        let head = format!(
            "HTTP/1.1 200 OK\r\nContent-Type: application/xml\r\nContent-Length: {}\r\n\
             Connection: close\r\n\r\n",
            PAGE.len()
        );
        stream.write_all(format!("{head}{PAGE}").as_bytes()).await?;
        stream.shutdown().await?;
    }
}

#[tokio::test]
async fn a_listing_without_an_end_is_an_error() -> Result<()> {
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let endpoint = format!("http://{}", listener.local_addr()?);
    let mut server = JoinSet::new();
    server.spawn(serve(listener));
    let settings = Settings {
        s3: S3Settings {
            endpoint: Some(endpoint),
            access_key_id: Some("key".to_owned()),
            secret_access_key: Some("secret".into()),
            ..S3Settings::default()
        },
        ..Settings::default()
    };
    let store = Stores::new(settings)?.open(&"s3:b".parse()?).await?;
    let listed: Result<Vec<_>, Error> = store.list("backup/meta/").try_collect().await;
    let folders = store.folders("backup/meta/").await;
    for said in [listed.map(drop), folders.map(drop)] {
        let Err(Error::Refused { cause, .. }) = said else {
            anyhow::bail!("{said:?}");
        };
        ensure!(cause.contains("does not come to an end"), "{cause}");
    }
    Ok(())
}
