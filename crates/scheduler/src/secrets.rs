//! Credentials of clusters, encrypted before they are kept.
//!
//! AES-256-GCM under `scheduler.secret_key`, each with a random nonce, and bound to its cluster and
//! name: what is kept for one cannot be put in another's place.

use std::collections::BTreeMap;

use aws_lc_rs::aead::{AES_256_GCM, Aad, NONCE_LEN, Nonce, RandomizedNonceKey};
use protocol::ClusterId;
use serde::{Deserialize, Serialize};
use service::{Config, Error};

/// Bytes of a key.
const KEY: usize = 32;

/// What clients see in place of a credential; sent back, it changes nothing.
pub(crate) const SET: &str = "set";

/// Credentials of a cluster, encrypted, by the API's names. Key `secret.<cluster>`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Sealed(pub(crate) BTreeMap<String, Vec<u8>>);

/// What encrypts.
pub(crate) struct Key(RandomizedNonceKey);

impl Key {
    /// The configured one, if any is.
    ///
    /// # Errors
    /// When it is no key; it is not shown.
    pub(crate) fn read(config: &Config) -> Result<Option<Self>, Error> {
        let Some(secret) = &config.scheduler.secret_key else {
            return Ok(None);
        };
        let wrong = || Error::new("reading `scheduler.secret_key`", NoKey);
        let bytes = unhex(secret.expose().trim()).ok_or_else(wrong)?;
        let key = RandomizedNonceKey::new(&AES_256_GCM, &bytes).map_err(|_| wrong())?;
        Ok(Some(Self(key)))
    }

    /// Encrypts a credential of a cluster; `None` only if the machine has no randomness.
    pub(crate) fn seal(&self, cluster: ClusterId, name: &str, text: &str) -> Option<Vec<u8>> {
        let mut body = text.as_bytes().to_vec();
        let nonce = self
            .0
            .seal_in_place_append_tag(of(cluster, name), &mut body);
        let mut sealed = nonce.ok()?.as_ref().to_vec();
        sealed.append(&mut body);
        Some(sealed)
    }

    /// Decrypts it; `None` if it was encrypted for something else, with another key, or was changed.
    #[cfg_attr(
        not(test),
        expect(dead_code, reason = "nothing logs in to a cluster yet")
    )]
    pub(crate) fn open(&self, cluster: ClusterId, name: &str, sealed: &[u8]) -> Option<String> {
        let (nonce, body) = sealed.split_at_checked(NONCE_LEN)?;
        let nonce = Nonce::try_assume_unique_for_key(nonce).ok()?;
        let mut body = body.to_vec();
        let text = self.0.open_in_place(nonce, of(cluster, name), &mut body);
        String::from_utf8(text.ok()?.to_vec()).ok()
    }
}

#[derive(Debug, thiserror::Error)]
#[error("it must be 64 hexadecimal digits, as from `openssl rand -hex 32`")]
struct NoKey;

/// What a credential is bound to.
fn of(cluster: ClusterId, name: &str) -> Aad<String> {
    Aad::from(format!("{cluster}/{name}"))
}

fn unhex(text: &str) -> Option<Vec<u8>> {
    let digits: Option<Vec<u8>> = text
        .chars()
        .map(|digit| {
            digit
                .to_digit(16)
                .and_then(|digit| u8::try_from(digit).ok())
        })
        .collect();
    let digits = digits.filter(|digits| digits.len() == 2 * KEY)?;
    Some(
        digits
            .chunks(2)
            .map(|pair| pair[0] << 4 | pair[1])
            .collect(),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(text: &str) -> Result<Option<Key>, String> {
        let mut config = Config::default();
        config.scheduler.secret_key = Some(text.into());
        Key::read(&config).map_err(|e| service::Chain(&e).to_string())
    }

    #[test]
    fn what_is_sealed_opens_in_its_place_alone() {
        let (one, other) = (ClusterId::generate(), ClusterId::generate());
        let key_one = key(&"0a".repeat(32)).unwrap().unwrap();
        let sealed = key_one.seal(one, "password", "hunter2").unwrap();
        assert!(!String::from_utf8_lossy(&sealed).contains("hunter2"));
        assert_ne!(sealed, key_one.seal(one, "password", "hunter2").unwrap());
        assert_eq!(key_one.open(one, "password", &sealed).unwrap(), "hunter2");
        assert_eq!(key_one.open(other, "password", &sealed), None);
        assert_eq!(key_one.open(one, "username", &sealed), None);
        assert_eq!(key_one.open(one, "password", &sealed[1..]), None);
        let another = key(&"0b".repeat(32)).unwrap().unwrap();
        assert_eq!(another.open(one, "password", &sealed), None);
    }

    #[test]
    fn what_is_no_key_is_refused_and_not_shown() {
        assert!(Key::read(&Config::default()).unwrap().is_none());
        for wrong in ["", "hunter2", &"0g".repeat(32), &"0a".repeat(31)] {
            let Err(said) = key(wrong) else {
                panic!("{wrong} was taken")
            };
            assert!(said.contains("64 hexadecimal digits"), "{said}");
            assert!(!said.contains("hunter2"), "{said}");
        }
    }
}
