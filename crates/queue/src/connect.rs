//! The connection, and everything reached through it.

use std::{
    future,
    sync::{Arc, Mutex, Weak},
    time::Duration,
};

use async_nats::{
    Client, ConnectErrorKind, Event, ServerError,
    jetstream::{self, ErrorCode, context::AccountErrorKind},
};
use futures::future::try_join_all;
use tokio::sync::{self, watch};
use tracing::{debug, info, warn};

use crate::{
    Error, Settings, Stats,
    control::Controls,
    error::{Chain, api_error},
    streams,
};

/// The oldest server that speaks what we need: major and minor version.
const OLDEST: (u32, u32) = (2, 10);

/// How long the server may take to answer one request.
const REQUEST: Duration = Duration::from_secs(5);

/// How long after a reconnection answers to what was asked before may still come: what could not
/// be sent before is sent then.
const LATE: Duration = Duration::from_secs(1);

/// The longest pause between two attempts to reconnect.
const RECONNECT: Duration = Duration::from_secs(2);

/// A connection to NATS, which mends itself. Cheap to clone; all clones share it.
#[derive(Clone)]
pub struct Queue {
    pub(crate) shared: Arc<Shared>,
}

pub(crate) struct Shared {
    pub(crate) client: Client,
    pub(crate) js: jetstream::Context,
    pub(crate) settings: Settings,
    pub(crate) stats: Arc<Stats>,
    /// Counts connections made, so that what a broken one forgot can be asked again.
    pub(crate) connections: watch::Receiver<u64>,
    /// Who watches which runs were stopped, while anyone works.
    pub(crate) controls: Mutex<Weak<Controls>>,
    ensuring: sync::Mutex<()>,
}

impl Queue {
    /// Connects, under `name` for the server's own listings. From then on the connection mends
    /// itself for ever.
    ///
    /// # Errors
    /// Without retrying: [`Error::Unreachable`], [`Error::Denied`], [`Error::TooOld`],
    /// [`Error::NoJetStream`], [`Error::Settings`].
    pub async fn connect(settings: &Settings, name: &str) -> Result<Self, Error> {
        settings.validate()?;
        // Only the first to choose is heard; other crates may have chosen already.
        drop(async_nats::rustls::crypto::ring::default_provider().install_default());
        let stats = Arc::new(Stats::default());
        let (connected, connections) = watch::channel(0);
        let watcher = Watcher {
            address: settings.address(),
            stats: Arc::clone(&stats),
            connected,
        };
        let client = settings
            .options()
            .await?
            .name(name)
            .request_timeout(Some(REQUEST))
            .ping_interval(Duration::from_secs(10))
            .reconnect_delay_callback(reconnect_pause)
            .event_callback(move |event| {
                watcher.told(&event);
                future::ready(())
            })
            .connect(settings.servers()?)
            .await
            .map_err(|cause| not_connected(settings, cause))?;
        check_version(settings, &client.server_info().version)?;
        let mut js = jetstream::new(client.clone());
        js.set_timeout(REQUEST);
        check_jetstream(settings, &js).await?;
        Ok(Self {
            shared: Arc::new(Shared {
                client,
                js,
                settings: settings.clone(),
                stats,
                connections,
                controls: Mutex::new(Weak::new()),
                ensuring: sync::Mutex::new(()),
            }),
        })
    }

    /// Makes the streams and buckets that are missing, if that is ours to do. Safe to repeat, and
    /// repeated by whatever here finds one gone.
    ///
    /// # Errors
    /// [`Error::Foreign`], [`Error::Full`], [`Error::Unavailable`].
    pub async fn ensure(&self) -> Result<(), Error> {
        let Shared {
            js,
            settings,
            stats,
            ensuring,
            ..
        } = &*self.shared;
        if !settings.provision {
            return Ok(());
        }
        let _turn = ensuring.lock().await;
        let each = streams::all(settings).into_iter().map(|config| async {
            let name = config.name.clone();
            if streams::ensure(js, config).await? {
                stats.streams_made.up();
                info!(stream = name, "stream made");
            }
            Ok::<_, Error>(())
        });
        try_join_all(each).await.map(drop)
    }

    /// What has been done through this connection.
    #[must_use]
    pub fn stats(&self) -> Arc<Stats> {
        Arc::clone(&self.shared.stats)
    }

    /// Resolves a moment after the connection had to be made anew. An answer that has not come by
    /// then was lost with the old one.
    pub(crate) async fn answers_lost(&self) {
        let mut connections = self.shared.connections.clone();
        connections.borrow_and_update();
        if connections.changed().await.is_err() {
            // The client is gone, and with it whoever could tell.
            future::pending::<()>().await;
        }
        tokio::time::sleep(LATE).await;
    }

    /// Whether the connection stands now.
    #[must_use]
    pub fn connected(&self) -> bool {
        self.shared.client.connection_state() == async_nats::connection::State::Connected
    }

    /// Sends what is still on its way out, waiting at most `limit`. For the end of a process.
    pub async fn flush(&self, limit: Duration) {
        if !matches!(
            tokio::time::timeout(limit, self.shared.client.flush()).await,
            Ok(Ok(()))
        ) {
            debug!("not all was sent before the end");
        }
    }
}

fn reconnect_pause(attempts: usize) -> Duration {
    let doublings = u32::try_from(attempts.saturating_sub(1).min(10)).unwrap_or(10);
    match attempts {
        0 | 1 => Duration::ZERO,
        _ => (Duration::from_millis(25) * 2_u32.pow(doublings)).min(RECONNECT),
    }
}

/// Logs each change of the connection, once.
struct Watcher {
    address: String,
    stats: Arc<Stats>,
    connected: watch::Sender<u64>,
}

impl Watcher {
    fn told(&self, event: &Event) {
        let address = self.address.as_str();
        match event {
            Event::Connected => {
                self.connected.send_modify(|n| *n += 1);
                info!(address, "connected to NATS");
            }
            Event::Disconnected => {
                self.stats.disconnects.up();
                warn!(address, "connection to NATS lost, reconnecting");
            }
            Event::ServerError(ServerError::AuthorizationViolation) => {
                warn!(address, "NATS refuses the login");
            }
            Event::ServerError(error) => warn!(address, %error, "NATS complains"),
            Event::SlowConsumer(_) => warn!(address, "messages come faster than they are read"),
            Event::LameDuckMode => info!(address, "NATS server is about to stop"),
            Event::ClientError(error) => debug!(address, %error, "not reconnected yet"),
            Event::Draining | Event::Closed => debug!(address, %event, "connection ends"),
        }
    }
}

fn not_connected(settings: &Settings, cause: async_nats::ConnectError) -> Error {
    let address = settings.address();
    match cause.kind() {
        ConnectErrorKind::AuthorizationViolation => Error::Denied { address },
        ConnectErrorKind::Authentication => Error::Settings(format!(
            "cannot log in with the nkey or creds: {}",
            Chain(&cause)
        )),
        ConnectErrorKind::ServerParse
        | ConnectErrorKind::Dns
        | ConnectErrorKind::TimedOut
        | ConnectErrorKind::Tls
        | ConnectErrorKind::Io
        | ConnectErrorKind::MaxReconnects => Error::Unreachable {
            address,
            cause: cause.into(),
        },
    }
}

fn check_version(settings: &Settings, found: &str) -> Result<(), Error> {
    let mut parts = found.split(['.', '-']).map(str::parse::<u32>);
    match (parts.next(), parts.next()) {
        (Some(Ok(major)), Some(Ok(minor))) if (major, minor) < OLDEST => Err(Error::TooOld {
            address: settings.address(),
            found: found.to_owned(),
        }),
        // A version that cannot be read is some builder's own: let it try.
        _ => Ok(()),
    }
}

async fn check_jetstream(settings: &Settings, js: &jetstream::Context) -> Result<(), Error> {
    let Err(error) = js.query_account().await else {
        return Ok(());
    };
    let none = |detail: String| Error::NoJetStream {
        address: settings.address(),
        detail,
    };
    let code = match error.kind() {
        AccountErrorKind::JetStream(api) => Some(api.error_code()),
        AccountErrorKind::TimedOut
        | AccountErrorKind::JetStreamUnavailable
        | AccountErrorKind::Other => api_error(&error).map(|api| api.error_code()),
    };
    match code {
        Some(ErrorCode::JETSTREAM_NOT_ENABLED | ErrorCode::JETSTREAM_NOT_ENABLED_FOR_ACCOUNT) => {
            Err(none(error.to_string()))
        }
        Some(_) | None if error.kind() == AccountErrorKind::JetStreamUnavailable => {
            Err(none("nothing answers JetStream requests".to_owned()))
        }
        Some(_) | None => Err(Error::unavailable(
            "answer for JetStream; its cluster may have no leader, or the user may not publish to $JS.API.>",
            error,
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn servers_before_2_10_are_too_old() {
        let check = |version| check_version(&Settings::default(), version);
        assert!(check("2.9.25").is_err());
        assert!(check("1.4.0").is_err());
        for fine in ["2.10.0", "2.10.0-beta.1", "2.15.1", "3.0.0", "dev", ""] {
            assert!(check(fine).is_ok(), "{fine}");
        }
    }

    #[test]
    fn pauses_between_reconnects_are_capped() {
        assert_eq!(reconnect_pause(1), Duration::ZERO);
        assert_eq!(reconnect_pause(2), Duration::from_millis(50));
        assert_eq!(reconnect_pause(1000), RECONNECT);
    }
}
