//! The keys that requests are signed with, as long as they are good.
//!
//! They come from the settings or the SDK's chain of providers, are kept until shortly before they
//! expire, and asked for anew when a server says that they are no good any more.

use std::{
    sync::Arc,
    sync::atomic::{AtomicI64, Ordering},
    time::{Duration, SystemTime},
};

use aws_sdk_s3::config::{Credentials, ProvideCredentials as _, SharedCredentialsProvider};
use tokio::sync::Mutex;

use super::sign::Signer;
use crate::error::chain;

/// So long before their end keys are replaced: longer than most requests take.
const EARLY: Duration = Duration::from_secs(120);

/// How long a provider that gave no newer ones is left alone.
const REST: Duration = Duration::from_secs(10);

/// Keys, and what signs with them.
pub(super) struct Keys {
    pub(super) signer: Signer,
    pub(super) token: Option<String>,
    credentials: Credentials,
}

/// Gives keys to whoever sends a request.
#[derive(Debug)]
pub(super) struct KeyRing {
    provider: Option<SharedCredentialsProvider>,
    kept: Mutex<Option<Kept>>,
    /// What servers' clocks are ahead of ours, in seconds.
    ahead: AtomicI64,
}

#[derive(Debug)]
struct Kept {
    keys: Arc<Keys>,
    /// From then on others are asked for.
    until: Option<SystemTime>,
}

impl KeyRing {
    pub(super) fn new(provider: Option<SharedCredentialsProvider>) -> Self {
        Self {
            provider,
            kept: Mutex::default(),
            ahead: AtomicI64::new(0),
        }
    }

    /// The keys to sign with now. One request asks for new ones while the others wait for it.
    ///
    /// # Errors
    /// What the provider says, without secrets.
    pub(super) async fn keys(&self) -> Result<Arc<Keys>, String> {
        self.keys_at(SystemTime::now()).await
    }

    async fn keys_at(&self, now: SystemTime) -> Result<Arc<Keys>, String> {
        let mut kept = self.kept.lock().await;
        match &mut *kept {
            Some(kept) if kept.until.is_none_or(|until| now < until) && kept.keys.good(now) => {
                Ok(Arc::clone(&kept.keys))
            }
            Some(Kept { keys, until }) if keys.good(now) => {
                // Good still: that there are no newer ones yet is no reason to fail.
                match self.ask().await {
                    Ok(newer) => Ok(self.keep(&mut kept, newer, now)),
                    Err(error) => {
                        tracing::warn!(error, "no newer credentials; using those that expire soon");
                        *until = Some(now + REST);
                        Ok(Arc::clone(keys))
                    }
                }
            }
            _ => {
                let new = self.ask().await?;
                Ok(self.keep(&mut kept, new, now))
            }
        }
    }

    /// Other keys than `used`, which a server does not accept; `None` if there are none.
    ///
    /// # Errors
    /// What the provider says, without secrets.
    pub(super) async fn others(&self, used: &Arc<Keys>) -> Result<Option<Arc<Keys>>, String> {
        let mut kept = self.kept.lock().await;
        if let Some(Kept { keys, .. }) = &*kept
            && !Arc::ptr_eq(keys, used)
        {
            return Ok(Some(Arc::clone(keys)));
        }
        let new = self.ask().await?;
        if new == used.credentials {
            return Ok(None);
        }
        Ok(Some(self.keep(&mut kept, new, SystemTime::now())))
    }

    async fn ask(&self) -> Result<Credentials, String> {
        let provider = self.provider.as_ref();
        let provider = provider.ok_or("there is no provider of credentials")?;
        let given = provider.provide_credentials().await;
        given.map_err(|e| chain(&e))
    }

    fn keep(
        &self,
        kept: &mut Option<Kept>,
        credentials: Credentials,
        now: SystemTime,
    ) -> Arc<Keys> {
        let expiry = credentials.expiry();
        let keys = Arc::new(Keys {
            signer: Signer::new(credentials.access_key_id(), credentials.secret_access_key()),
            token: credentials.session_token().map(str::to_owned),
            credentials,
        });
        *kept = Some(Kept {
            keys: Arc::clone(&keys),
            until: expiry.map(|expiry| (expiry - EARLY).max(now + REST)),
        });
        keys
    }

    /// The time by the servers' clocks.
    pub(super) fn now(&self) -> SystemTime {
        let ahead = self.ahead.load(Ordering::Relaxed);
        let by = Duration::from_secs(ahead.unsigned_abs());
        match ahead {
            ..0 => SystemTime::now() - by,
            _ => SystemTime::now() + by,
        }
    }

    /// Takes over a server's clock, in seconds since 1970.
    pub(super) fn set_clock(&self, seconds: i64) {
        let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
        let now = now.map_or(0, |since| {
            i64::try_from(since.as_secs()).unwrap_or_default()
        });
        self.ahead.store(seconds - now, Ordering::Relaxed);
    }
}

impl Keys {
    fn good(&self, now: SystemTime) -> bool {
        self.credentials.expiry().is_none_or(|expiry| now < expiry)
    }
}

impl std::fmt::Debug for Keys {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Keys").finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests;
