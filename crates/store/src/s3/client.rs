//! What all buckets share: the SDK's clients, keys, and connections for payload.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use aws_config::{BehaviorVersion, Region, timeout::TimeoutConfig};
use aws_sdk_s3::{
    Client,
    config::{
        Builder, Credentials, RequestChecksumCalculation, ResponseChecksumValidation,
        StalledStreamProtectionConfig, retry::RetryConfig,
    },
};
use http::Uri;
use tokio::{runtime::Handle, sync::OnceCell, task::JoinSet};

use super::{encryption::Encryption, keys::KeyRing, target::Target};
use crate::{
    Error, S3Settings,
    error::Attempt,
    http::{Connector, Dialer, Pool, STALL},
};

/// Tries of one request, the first included.
pub(super) const TRIES: u32 = 5;

/// The longest pause between tries.
const PAUSE: Duration = Duration::from_secs(8);

/// One try of a request without a large body.
pub(super) const TRY: Duration = Duration::from_secs(20);

/// The region that servers without regions go by.
const USUAL_REGION: &str = "us-east-1";

/// How all buckets of S3 are reached.
#[derive(Clone, Debug)]
pub(crate) struct Clients {
    /// Bounded in time as a whole.
    pub(super) control: Client,
    /// Unbounded: whoever uses it bounds it.
    pub(super) unbounded: Client,
    /// Whether bodies are part of the signature. If not, their CRC-32 in a signed header is.
    pub(super) sign_payload: bool,
    pub(super) keys: Arc<KeyRing>,
    pub(super) encryption: Arc<Encryption>,
    /// What components are stored as; the bucket's usual class when unset.
    pub(super) storage_class: Option<Arc<str>>,
    dialer: Dialer,
    shared: Arc<Shared>,
}

#[derive(Debug, Default)]
struct Shared {
    /// By bucket.
    targets: Mutex<HashMap<String, Arc<OnceCell<Target>>>>,
    /// By server.
    pools: Mutex<HashMap<Uri, Arc<Pool>>>,
    tasks: Mutex<JoinSet<()>>,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Clients {
    /// Credentials that the settings do not name are taken from the usual chain; where that finds
    /// none, the first request fails.
    ///
    /// # Errors
    /// [`Error::Settings`] when they contradict themselves.
    pub(crate) async fn new(settings: &S3Settings, http: Connector) -> Result<Self, Error> {
        let dialer = http.dialer.clone();
        let encryption = Encryption::new(settings)?;
        let (base, keys) = base(settings, http).await;
        let base = base.interceptor(encryption.clone());
        let bounded = TimeoutConfig::builder()
            .operation_timeout(STALL)
            .operation_attempt_timeout(TRY)
            .build();
        let unbounded = TimeoutConfig::builder().disable_operation_timeout();
        let unbounded = unbounded.disable_operation_attempt_timeout().build();
        let client = |timeouts| Client::from_conf(base.clone().timeout_config(timeouts).build());
        let class = settings.storage_class.as_deref();
        Ok(Self {
            encryption: Arc::new(encryption),
            storage_class: class.map(Arc::from),
            control: client(bounded),
            unbounded: client(unbounded),
            sign_payload: settings.sign_payload,
            keys: Arc::new(keys),
            dialer,
            shared: Arc::default(),
        })
    }

    /// The same for components of another class, if one is given.
    #[must_use]
    pub(crate) fn in_class(self, class: Option<&str>) -> Self {
        Self {
            storage_class: class.map(Arc::from).or(self.storage_class),
            ..self
        }
    }

    /// The region they go by, if one was found.
    pub(crate) fn region(&self) -> Option<String> {
        self.control.config().region().map(ToString::to_string)
    }

    /// Where a bucket is; not asked for yet. All who open it share the answer.
    pub(super) fn target(&self, bucket: &str) -> Arc<OnceCell<Target>> {
        let mut targets = lock(&self.shared.targets);
        Arc::clone(targets.entry(bucket.to_owned()).or_default())
    }

    /// Finds out where a bucket is.
    pub(super) async fn find(&self, bucket: &str, attempt: &Attempt<'_>) -> Result<Target, Error> {
        Target::find(&self.control, bucket, attempt, |server| {
            let mut pools = lock(&self.shared.pools);
            if let Some(pool) = pools.get(&server) {
                return Some(Arc::clone(pool));
            }
            let pool = Pool::new(self.dialer.clone(), server.clone())?;
            let pool = Arc::new(pool);
            pools.insert(server, Arc::clone(&pool));
            Some(pool)
        })
        .await
    }

    /// Goes on with `work` when nobody waits for it.
    pub(super) fn in_background(&self, work: impl Future<Output = ()> + Send + 'static) {
        // Without a runtime there is no connection to do anything with.
        let Ok(runtime) = Handle::try_current() else {
            return;
        };
        let mut tasks = lock(&self.shared.tasks);
        while tasks.try_join_next().is_some() {}
        tasks.spawn_on(work, &runtime);
    }
}

async fn base(settings: &S3Settings, http: Connector) -> (Builder, KeyRing) {
    let mut loader = aws_config::defaults(BehaviorVersion::latest()).http_client(http);
    let region = settings.region.clone();
    let region = region.or_else(|| settings.endpoint.as_ref().map(|_| USUAL_REGION.to_owned()));
    if let Some(region) = region {
        loader = loader.region(Region::new(region));
    }
    if let Some(endpoint) = &settings.endpoint {
        loader = loader.endpoint_url(endpoint);
    }
    if let (Some(id), Some(secret)) = (&settings.access_key_id, &settings.secret_access_key) {
        let token = settings.session_token.as_ref();
        let token = token.map(|token| token.reveal().to_owned());
        let credentials = Credentials::new(id, secret.reveal(), token, None, "settings");
        loader = loader.credentials_provider(credentials);
    }
    let retry = RetryConfig::standard()
        .with_max_attempts(TRIES)
        .with_max_backoff(PAUSE);
    let config = loader.load().await;
    let builder = Builder::from(&config)
        .force_path_style(settings.path_style.unwrap_or(settings.endpoint.is_some()))
        .retry_config(retry)
        .request_checksum_calculation(RequestChecksumCalculation::WhenRequired)
        .response_checksum_validation(ResponseChecksumValidation::WhenRequired)
        .stalled_stream_protection(StalledStreamProtectionConfig::disabled());
    (builder, KeyRing::new(config.credentials_provider()))
}
