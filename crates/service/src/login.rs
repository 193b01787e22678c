//! How workers log in to the database's CQL.

use scylla::{CqlError, Credentials, Node, Session, Tls, Trust};

use crate::{Error, config::CqlConfig};

/// What `cql.*` says, read and ready.
#[derive(Clone, Debug)]
pub struct Login {
    port: Option<u16>,
    tls: Tls,
    credentials: Option<Credentials>,
}

impl Login {
    /// Reads the files that the configuration names.
    ///
    /// # Errors
    /// When one cannot be read; it names the key.
    pub fn new(config: &CqlConfig) -> Result<Self, Error> {
        let read = |key: &'static str, path: &Option<std::path::PathBuf>| {
            let content = path.as_ref().map(std::fs::read).transpose();
            content.map_err(|e| Error::new(key, e))
        };
        let cert = read(
            "reading the file that `cql.tls_cert` names",
            &config.tls_cert,
        )?;
        let key = read("reading the file that `cql.tls_key` names", &config.tls_key)?;
        let ca = read("reading the file that `cql.tls_ca` names", &config.tls_ca)?;
        let address = config.tls_check_address;
        let credentials = config.username.clone().map(|user| Credentials {
            user,
            secret: config
                .password
                .as_ref()
                .map(|secret| secret.expose().to_owned())
                .unwrap_or_default(),
        });
        Ok(Self {
            port: config.port,
            tls: Tls {
                trust: ca.map_or(Trust::Anybody, |pem| Trust::Authorities { pem, address }),
                identity: cert.zip(key),
            },
            credentials,
        })
    }

    /// Logs in, by way of `node`.
    ///
    /// # Errors
    /// [`CqlError`]; which says what to do.
    pub async fn session(&self, node: &Node) -> Result<Session, CqlError> {
        Session::of(node, self.port, &self.tls, self.credentials.as_ref()).await
    }
}
