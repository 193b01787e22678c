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

/// What encrypts, and what did so before.
pub(crate) struct Keys {
    current: RandomizedNonceKey,
    old: Vec<RandomizedNonceKey>,
}

/// How a credential stands to the key of now.
pub(crate) enum Standing {
    /// It is encrypted with it.
    Current,
    /// It was encrypted with an old one; this is the same, encrypted anew.
    Anew(Vec<u8>),
    /// None of the keys opens it.
    Unreadable,
}

impl Keys {
    /// Those that are configured, if any are.
    ///
    /// # Errors
    /// When one is no key, or there is an old one alone; they are not shown.
    pub(crate) fn read(config: &Config) -> Result<Option<Self>, Error> {
        let read = |key: &'static str, secret: &queue::Secret| {
            let wrong = || Error::new(format!("reading `{key}`"), NoKey);
            let bytes = unhex(secret.expose().trim()).ok_or_else(wrong)?;
            RandomizedNonceKey::new(&AES_256_GCM, &bytes).map_err(|_| wrong())
        };
        let old = config.scheduler.old_secret_keys.iter();
        let old = old.map(|secret| read("scheduler.old_secret_keys", secret));
        let old: Vec<RandomizedNonceKey> = old.collect::<Result<_, Error>>()?;
        match &config.scheduler.secret_key {
            None if old.is_empty() => Ok(None),
            None => Err(Error::new("reading `scheduler.old_secret_keys`", NoCurrent)),
            Some(secret) => Ok(Some(Self {
                current: read("scheduler.secret_key", secret)?,
                old,
            })),
        }
    }

    /// Encrypts a credential of a cluster; `None` only if the machine has no randomness.
    pub(crate) fn seal(&self, cluster: ClusterId, name: &str, text: &[u8]) -> Option<Vec<u8>> {
        let mut body = text.to_vec();
        let nonce = self
            .current
            .seal_in_place_append_tag(of(cluster, name), &mut body);
        let mut sealed = nonce.ok()?.as_ref().to_vec();
        sealed.append(&mut body);
        Some(sealed)
    }

    /// Encrypts it anew if an old key was used.
    pub(crate) fn reseal(&self, cluster: ClusterId, name: &str, sealed: &[u8]) -> Standing {
        if open(&self.current, cluster, name, sealed).is_some() {
            return Standing::Current;
        }
        let mut old = self.old.iter();
        let text = old.find_map(|key| open(key, cluster, name, sealed));
        let anew = text.and_then(|text| self.seal(cluster, name, &text));
        anew.map_or(Standing::Unreadable, Standing::Anew)
    }
}

/// Decrypts it; `None` if it was encrypted for something else, with another key, or was changed.
fn open(
    key: &RandomizedNonceKey,
    cluster: ClusterId,
    name: &str,
    sealed: &[u8],
) -> Option<Vec<u8>> {
    let (nonce, body) = sealed.split_at_checked(NONCE_LEN)?;
    let nonce = Nonce::try_assume_unique_for_key(nonce).ok()?;
    let mut body = body.to_vec();
    let text = key.open_in_place(nonce, of(cluster, name), &mut body);
    Some(text.ok()?.to_vec())
}

#[derive(Debug, thiserror::Error)]
#[error("`scheduler.secret_key` is not set: it takes the place of the old ones")]
struct NoCurrent;

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

    fn keys(current: &str, old: &[&str]) -> Result<Option<Keys>, String> {
        let mut config = Config::default();
        config.scheduler.secret_key = (!current.is_empty()).then(|| current.into());
        config.scheduler.old_secret_keys = old.iter().map(|key| (*key).into()).collect();
        Keys::read(&config).map_err(|e| service::Chain(&e).to_string())
    }

    #[test]
    fn what_is_sealed_opens_in_its_place_alone() {
        let (one, other) = (ClusterId::generate(), ClusterId::generate());
        let keys_one = keys(&"0a".repeat(32), &[]).unwrap().unwrap();
        let sealed = keys_one.seal(one, "password", b"hunter2").unwrap();
        assert!(!String::from_utf8_lossy(&sealed).contains("hunter2"));
        assert_ne!(sealed, keys_one.seal(one, "password", b"hunter2").unwrap());
        let open = |cluster, name, sealed| super::open(&keys_one.current, cluster, name, sealed);
        assert_eq!(open(one, "password", &sealed).unwrap(), b"hunter2");
        assert_eq!(open(other, "password", &sealed), None);
        assert_eq!(open(one, "username", &sealed), None);
        assert_eq!(open(one, "password", &sealed[1..]), None);
        let another = keys(&"0b".repeat(32), &[]).unwrap().unwrap();
        assert_eq!(
            super::open(&another.current, one, "password", &sealed),
            None
        );
    }

    #[test]
    fn an_old_key_opens_what_a_new_one_seals_anew() {
        let cluster = ClusterId::generate();
        let [first, second, third] = ["0a", "0b", "0c"].map(|digits| digits.repeat(32));
        let before = keys(&first, &[]).unwrap().unwrap();
        let sealed = before.seal(cluster, "password", b"hunter2").unwrap();
        assert!(matches!(
            before.reseal(cluster, "password", &sealed),
            Standing::Current
        ));
        let between = keys(&second, &[&third, &first]).unwrap().unwrap();
        let Standing::Anew(anew) = between.reseal(cluster, "password", &sealed) else {
            panic!("the old key is known")
        };
        let after = keys(&second, &[]).unwrap().unwrap();
        assert!(matches!(
            after.reseal(cluster, "password", &anew),
            Standing::Current
        ));
        assert!(matches!(
            after.reseal(cluster, "password", &sealed),
            Standing::Unreadable
        ));
    }

    #[test]
    fn what_is_no_key_is_refused_and_not_shown() {
        assert!(Keys::read(&Config::default()).unwrap().is_none());
        for wrong in ["hunter2", &"0g".repeat(32), &"0a".repeat(31)] {
            for (current, old) in [(wrong, "".to_owned()), ("", wrong.to_owned())] {
                let old = (!old.is_empty()).then_some(old.as_str());
                let Err(said) = keys(current, old.as_slice()) else {
                    panic!("{wrong} was taken")
                };
                assert!(said.contains("64 hexadecimal digits"), "{said}");
                assert!(!said.contains("hunter2"), "{said}");
            }
        }
        let Err(said) = keys("", &[&"0a".repeat(32)]) else {
            panic!("there is no key to encrypt with")
        };
        assert!(said.contains("`scheduler.secret_key` is not set"), "{said}");
    }
}
