//! The SDK's clients: one for requests, one for payload.

use std::{
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use aws_config::{BehaviorVersion, Region, timeout::TimeoutConfig};
use aws_sdk_s3::{
    Client,
    config::{
        Builder, Credentials, RequestChecksumCalculation, ResponseChecksumValidation,
        StalledStreamProtectionConfig, retry::RetryConfig,
    },
    primitives::ByteStream,
};
use bytes::Bytes;
use tokio::{runtime::Handle, task::JoinSet};

use crate::{
    S3Settings,
    http::{self, Connector, Pulse, STALL},
};

/// Tries of one request, the first included.
const TRIES: u32 = 5;

/// The longest pause between tries.
const PAUSE: Duration = Duration::from_secs(8);

/// One try of a request without a large body.
const TRY: Duration = Duration::from_secs(20);

/// The region that servers without regions go by.
const USUAL_REGION: &str = "us-east-1";

/// How all buckets of S3 are reached.
#[derive(Clone, Debug)]
pub(crate) struct Clients {
    /// Bounded in time as a whole.
    pub(super) control: Client,
    /// Unbounded: whoever uses it watches its progress.
    pub(super) data: Client,
    sign_payload: bool,
    tasks: Arc<Mutex<JoinSet<()>>>,
}

impl Clients {
    /// Credentials that the settings do not name are taken from the usual chain; where that finds
    /// none, the first request fails.
    pub(crate) async fn new(settings: &S3Settings, connector: Connector) -> Self {
        let base = base(settings, connector).await;
        let bounded = TimeoutConfig::builder()
            .operation_timeout(STALL)
            .operation_attempt_timeout(TRY)
            .build();
        let unbounded = TimeoutConfig::builder().disable_operation_timeout();
        let unbounded = unbounded.disable_operation_attempt_timeout().build();
        let client = |timeouts| Client::from_conf(base.clone().timeout_config(timeouts).build());
        Self {
            control: client(bounded),
            data: client(unbounded),
            sign_payload: settings.sign_payload,
            tasks: Arc::default(),
        }
    }

    /// `bytes` as the body of a request; its progress is the beat of `pulse`.
    pub(super) fn body(&self, bytes: Bytes, pulse: &Pulse) -> ByteStream {
        if self.sign_payload {
            // The signer has to see it in one piece, and then it moves unseen.
            return ByteStream::from(bytes);
        }
        ByteStream::new(http::body(bytes, pulse))
    }

    /// Whether bodies are part of the signature. If not, their CRC-32 in a signed header is.
    pub(super) fn sign_payload(&self) -> bool {
        self.sign_payload
    }

    /// Goes on with `work` when nobody waits for it.
    pub(super) fn in_background(&self, work: impl Future<Output = ()> + Send + 'static) {
        // Without a runtime there is no connection to do anything with.
        let Ok(runtime) = Handle::try_current() else {
            return;
        };
        let mut tasks = self.tasks.lock().unwrap_or_else(PoisonError::into_inner);
        while tasks.try_join_next().is_some() {}
        tasks.spawn_on(work, &runtime);
    }
}

async fn base(settings: &S3Settings, http: Connector) -> Builder {
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
        let credentials = Credentials::new(id, secret.reveal(), None, None, "settings");
        loader = loader.credentials_provider(credentials);
    }
    let retry = RetryConfig::standard()
        .with_max_attempts(TRIES)
        .with_max_backoff(PAUSE);
    Builder::from(&loader.load().await)
        .force_path_style(settings.path_style.unwrap_or(settings.endpoint.is_some()))
        .retry_config(retry)
        .request_checksum_calculation(RequestChecksumCalculation::WhenRequired)
        .response_checksum_validation(ResponseChecksumValidation::WhenRequired)
        .stalled_stream_protection(StalledStreamProtectionConfig::disabled())
}
