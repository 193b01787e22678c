use std::sync::Mutex as StdMutex;

use aws_credential_types::provider::{
    error::CredentialsError, future::ProvideCredentials as Giving,
};
use aws_sdk_s3::config::ProvideCredentials;

use super::*;

/// Gives keys with these ids and ends, one after the other; then fails.
#[derive(Debug)]
struct Scripted(StdMutex<Vec<Credentials>>);

fn ring(given: &[(&str, Option<SystemTime>)]) -> KeyRing {
    let given = given.iter().rev();
    let given = given.map(|(id, end)| Credentials::new(*id, "hunter2", None, *end, "test"));
    let provider = Scripted(StdMutex::new(given.collect()));
    KeyRing::new(Some(SharedCredentialsProvider::new(provider)))
}

impl ProvideCredentials for Scripted {
    fn provide_credentials<'a>(&'a self) -> Giving<'a>
    where
        Self: 'a,
    {
        let next = self.0.lock().unwrap().pop();
        Giving::ready(next.ok_or_else(|| CredentialsError::not_loaded("it is down")))
    }
}

fn id(keys: &Result<Arc<Keys>, String>) -> &str {
    match keys {
        Ok(keys) => keys.credentials.access_key_id(),
        Err(e) => e,
    }
}

#[tokio::test]
async fn keys_are_asked_for_once_and_again_before_they_expire() {
    let now = SystemTime::now();
    let hour = Duration::from_secs(3_600);
    let ring = ring(&[
        ("a", Some(now + hour)),
        ("b", Some(now + 2 * hour)),
        ("c", None),
    ]);
    for (at, expected) in [
        (now, "a"),
        (now + hour - 2 * EARLY, "a"),
        (now + hour - EARLY, "b"),
        (now + hour, "b"),
        (now + 3 * hour, "c"),
        (now + 300 * hour, "c"),
    ] {
        assert_eq!(id(&ring.keys_at(at).await), expected);
    }
}

#[tokio::test]
async fn keys_that_are_good_still_are_used_while_their_source_is_down() {
    let now = SystemTime::now();
    let end = now + Duration::from_secs(3_600);
    let ring = ring(&[("a", Some(end))]);
    for at in [
        now,
        end - EARLY,
        end - EARLY / 2,
        end - Duration::from_secs(1),
    ] {
        assert_eq!(id(&ring.keys_at(at).await), "a");
    }
    let said = ring.keys_at(end).await;
    assert!(id(&said).contains("it is down"), "{said:?}");
    assert!(!id(&said).contains("hunter2"));
}

#[tokio::test]
async fn keys_that_a_server_refuses_are_replaced_if_there_are_others() {
    let ring = ring(&[("a", None), ("a", None), ("b", None)]);
    let used = ring.keys().await.unwrap();
    assert!(ring.others(&used).await.unwrap().is_none());
    let other = ring.others(&used).await.unwrap().unwrap();
    assert_eq!(other.credentials.access_key_id(), "b");
    // Who comes later with the same ones gets those that were found meanwhile.
    let again = ring.others(&used).await.unwrap().unwrap();
    assert!(Arc::ptr_eq(&again, &other));
    assert!(
        ring.others(&other)
            .await
            .unwrap_err()
            .contains("it is down")
    );
}

#[tokio::test]
async fn without_a_provider_there_are_no_keys() {
    let said = KeyRing::new(None).keys().await;
    assert!(said.is_err(), "{said:?}");
}
