//! How stores are opened, and what they share.

use std::{collections::BTreeMap, fmt, sync::Arc};

use protocol::{Location, Provider};
use tokio::sync::{Mutex, OnceCell};

use crate::{
    Error, Rclone, Requests, S3Settings, Settings, Store,
    budget::Budget,
    http::Connector,
    local::Local,
    remote::{self, Remote},
    s3::{Clients, S3},
    store::Backend,
};

/// Opens stores. Clones share connections and budgets; have one for a process.
#[derive(Clone)]
pub struct Stores {
    shared: Arc<Shared>,
}

struct Shared {
    settings: Settings,
    budget: Budget,
    http: Connector,
    s3: OnceCell<Clients>,
    /// Buckets of [`Stores::memory`], by name.
    memory: Option<Mutex<BTreeMap<String, Remote>>>,
}

impl Stores {
    /// Nothing is contacted yet.
    ///
    /// # Errors
    /// [`Error::Settings`] when they contradict themselves.
    pub fn new(settings: Settings) -> Result<Self, Error> {
        Self::build(settings, None)
    }

    /// Stores in memory, for tests: every bucket exists, whatever its provider, and lives as long
    /// as this value and its clones.
    ///
    /// # Panics
    /// If no HTTP client can be made.
    #[doc(hidden)]
    #[must_use]
    pub fn memory() -> Self {
        Self::build(Settings::default(), Some(Mutex::default())).expect("the defaults are right")
    }

    fn build(
        settings: Settings,
        memory: Option<Mutex<BTreeMap<String, Remote>>>,
    ) -> Result<Self, Error> {
        settings.validate()?;
        let budget = Budget::new(settings.memory_mb, settings.requests, Arc::default());
        let shared = Shared {
            http: Connector::new(budget.clone())?,
            budget,
            s3: OnceCell::new(),
            settings,
            memory,
        };
        Ok(Self {
            shared: Arc::new(shared),
        })
    }

    /// What is counted of requests.
    #[must_use]
    pub fn requests(&self) -> Arc<Requests> {
        self.shared.budget.counted()
    }

    /// Limits what is read from the node's disk to be stored, and written to it when fetched, in bytes
    /// per second; 0 is no limit. It holds at once, also for what is under way.
    pub fn limit_rate(&self, bytes_per_second: u64) {
        self.shared.budget.rate().set(bytes_per_second);
    }

    /// The limit in bytes per second; 0 is no limit.
    #[must_use]
    pub fn rate_limit(&self) -> u64 {
        self.shared.budget.rate().get()
    }

    /// The store at `location`. Whether the bucket exists shows at its first use, or by
    /// [`Store::check`]; only a directory is looked for at once.
    ///
    /// # Errors
    /// [`Error::Settings`] when the provider's settings are incomplete, [`Error::NoBucket`] when
    /// the directory is missing.
    pub async fn open(&self, location: &Location) -> Result<Store, Error> {
        self.open_in(location, None).await
    }

    /// As [`Self::open`], for files that are to be stored in a class of this name, if one is given. Where
    /// there are no classes ([`crate::has_classes`]) none is asked for.
    ///
    /// # Errors
    /// Those of [`Self::open`].
    pub async fn open_in(&self, location: &Location, class: Option<&str>) -> Result<Store, Error> {
        let shared = &self.shared;
        let place: Arc<str> = self.place(location).into();
        let backend = if let Some(buckets) = &shared.memory {
            let mut buckets = buckets.lock().await;
            let made = buckets
                .entry(location.remote())
                .or_insert_with(|| remote::memory(Arc::clone(&place), shared.budget.clone()));
            Backend::Remote(made.clone())
        } else {
            self.backend(location, Arc::clone(&place), class).await?
        };
        let budget = shared.budget.clone();
        Ok(Store::new(location.clone(), place, budget, backend))
    }

    async fn backend(
        &self,
        location: &Location,
        place: Arc<str>,
        class: Option<&str>,
    ) -> Result<Backend, Error> {
        let Shared { settings, http, .. } = &*self.shared;
        let budget = self.shared.budget.clone();
        let bucket = &location.bucket;
        Ok(match location.provider {
            Provider::S3 => {
                let clients = self.s3().await?.in_class(class);
                Backend::S3(S3::new(clients, bucket, place, budget))
            }
            Provider::Gcs => {
                let bucket = remote::GcsBucket {
                    name: bucket,
                    class,
                };
                Backend::Remote(remote::gcs(&settings.gcs, http, bucket, place, budget)?)
            }
            Provider::Azure => {
                Backend::Remote(remote::azure(&settings.azure, http, bucket, place, budget)?)
            }
            Provider::Local => {
                Backend::Local(Local::open(&settings.localstorage, bucket, place, budget).await?)
            }
        })
    }

    /// Where `s3:` locations lie: the base URL that is set, and the region; the latter from the usual
    /// places if neither is set.
    pub async fn s3_place(&self) -> (Option<String>, Option<String>) {
        let S3Settings {
            endpoint, region, ..
        } = &self.shared.settings.s3;
        if endpoint.is_some() || region.is_some() {
            return (endpoint.clone(), region.clone());
        }
        // Settings that contradict themselves were refused at the start.
        let clients = self.s3().await.ok();
        (None, clients.and_then(|clients| clients.region()))
    }

    /// rclone, which reaches the same buckets.
    pub async fn rclone(&self) -> Rclone {
        let (_, region) = self.s3_place().await;
        Rclone::new(&self.shared.settings, region, self.shared.budget.clone())
    }

    /// The base URL of `gcs:` locations, if it is not Google's.
    #[must_use]
    pub fn gcs_endpoint(&self) -> Option<&str> {
        self.shared.settings.gcs.endpoint.as_deref()
    }

    async fn s3(&self) -> Result<Clients, Error> {
        let Shared { settings, http, .. } = &*self.shared;
        let connect = || Clients::new(&settings.s3, http.clone());
        self.shared.s3.get_or_try_init(connect).await.cloned()
    }

    /// `s3:backups at http://127.0.0.1:9000`, for errors.
    fn place(&self, location: &Location) -> String {
        let settings = &self.shared.settings;
        let at = match location.provider {
            Provider::S3 => settings.s3.endpoint.clone(),
            Provider::Gcs => settings.gcs.endpoint.clone(),
            Provider::Azure => remote::azure_endpoint(&settings.azure),
            Provider::Local => {
                let root = settings.localstorage.root.as_ref();
                root.map(|root| root.display().to_string())
            }
        };
        let remote = location.remote();
        match at {
            Some(at) if self.shared.memory.is_none() => format!("`{remote}` at {at}"),
            _ => format!("`{remote}`"),
        }
    }

    /// The most memory that buffers ever took together, in bytes.
    #[must_use]
    pub fn peak_memory(&self) -> u64 {
        self.shared.budget.peak()
    }
}

impl fmt::Debug for Stores {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Stores")
            .field("settings", &self.shared.settings)
            .finish_non_exhaustive()
    }
}
