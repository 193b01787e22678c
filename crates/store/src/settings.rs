//! How stores are reached, as read from each service's configuration.

use std::{fmt, path::PathBuf};

use protocol::Provider;
use serde::Deserialize;

use crate::Error;

/// What every provider needs and what all of them share.
#[derive(Clone, Debug, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Settings {
    /// For `s3:` locations.
    pub s3: S3Settings,
    /// For `gcs:` locations.
    pub gcs: GcsSettings,
    /// For `azure:` locations.
    pub azure: AzureSettings,
    /// For `localstorage:` locations.
    pub localstorage: LocalSettings,
    /// For backups by method `rclone`.
    pub rclone: RcloneSettings,
    /// Memory for the buffers of all transfers together, in MiB; at least 20.
    pub memory_mb: u32,
    /// Requests in flight at once, to all stores together; at least 1.
    pub requests: u32,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            s3: S3Settings::default(),
            gcs: GcsSettings::default(),
            azure: AzureSettings::default(),
            localstorage: LocalSettings::default(),
            rclone: RcloneSettings::default(),
            memory_mb: 24,
            requests: 256,
        }
    }
}

impl Settings {
    /// The least `memory_mb`: four parts of the least size S3 takes.
    const LEAST_MEMORY_MB: u32 = 20;

    pub(crate) fn validate(&self) -> Result<(), Error> {
        let wrong = |text: String| Err(Error::Settings(text));
        if self.memory_mb < Self::LEAST_MEMORY_MB {
            let least = Self::LEAST_MEMORY_MB;
            return wrong(format!(
                "memory_mb is {}; it must be at least {least}",
                self.memory_mb
            ));
        }
        if self.requests == 0 {
            return wrong("requests is 0; it must be at least 1".to_owned());
        }
        if self.rclone.transfers == 0 {
            return wrong("rclone.transfers is 0; it must be at least 1".to_owned());
        }
        if self.s3.access_key_id.is_some() != self.s3.secret_access_key.is_some() {
            return wrong(
                "s3.access_key_id and s3.secret_access_key belong together: set both or neither"
                    .to_owned(),
            );
        }
        if self.s3.session_token.is_some() && self.s3.access_key_id.is_none() {
            return wrong(
                "s3.session_token belongs to s3.access_key_id and s3.secret_access_key".to_owned(),
            );
        }
        crate::s3::check(&self.s3)?;
        if let Some(class) = &self.s3.storage_class {
            let wrong = |why| Error::Settings(format!("s3.storage_class: {why}"));
            check_class(class).map_err(wrong)?;
        }
        if self.azure.account_key.is_some() && self.azure.account.is_none() {
            return wrong("azure.account_key needs azure.account".to_owned());
        }
        Ok(())
    }
}

/// Whether a provider's objects may be stored in classes, at a store's or a task's wish.
#[must_use]
pub fn has_classes(provider: Provider) -> bool {
    match provider {
        Provider::S3 | Provider::Gcs => true,
        Provider::Azure | Provider::Local => false,
    }
}

/// Refuses storage classes that backups are no good in.
///
/// # Errors
/// Why, for a person.
pub fn check_class(class: &str) -> Result<(), String> {
    const FROZEN: [&str; 2] = ["GLACIER", "DEEP_ARCHIVE"];
    if FROZEN.contains(&class) {
        return Err(format!(
            "`{class}` is a class from which nothing can be read at once; GLACIER_IR is one that can be"
        ));
    }
    let known = |b: u8| b.is_ascii_uppercase() || b.is_ascii_digit() || b == b'_';
    match !class.is_empty() && class.bytes().all(known) {
        true => Ok(()),
        false => Err(format!(
            "`{class}` is no class; they are written as in STANDARD_IA"
        )),
    }
}

/// How S3 is reached.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct S3Settings {
    /// Base URL of a compatible server, as in `http://127.0.0.1:9000`; `None` is Amazon's.
    pub endpoint: Option<String>,
    /// The bucket's region. `None` asks the usual places; `us-east-1` with an `endpoint`.
    pub region: Option<String>,
    /// `None`: credentials from the usual chain (environment, profile, instance, …).
    pub access_key_id: Option<String>,
    /// Goes with `access_key_id`.
    pub secret_access_key: Option<Secret>,
    /// Goes with the two where they are temporary.
    pub session_token: Option<Secret>,
    /// How the server encrypts what is stored: `AES256`, `aws:kms` or `aws:kms:dsse`. `None`: as the
    /// bucket is set to.
    pub encryption: Option<String>,
    /// The key of `aws:kms`; the account's own for S3 when unset.
    pub kms_key_id: Option<String>,
    /// A key of the customer's instead, 32 bytes in base64, that goes with every request and that the
    /// server forgets. What is stored with it can be read with it only.
    pub customer_key: Option<Secret>,
    /// The storage class of components, as `STANDARD_IA`. `None`: the bucket's usual one. Manifests and
    /// other small objects always have that.
    pub storage_class: Option<String>,
    /// Whether the bucket stands in the path instead of the host name. `None`: when there is an
    /// `endpoint`.
    pub path_style: Option<bool>,
    /// Whether requests sign a SHA-256 of their body, which costs about five times what all the
    /// rest does. Only for servers that refuse `UNSIGNED-PAYLOAD`.
    pub sign_payload: bool,
}

/// How Google Cloud Storage is reached.
#[derive(Clone, Debug, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct GcsSettings {
    /// Base URL of an emulator; `None` is Google's.
    pub endpoint: Option<String>,
    /// A service account's JSON file. `None`: the usual chain (`GOOGLE_APPLICATION_CREDENTIALS`,
    /// the machine's account, …).
    pub credential_file: Option<PathBuf>,
    /// Whether requests go unsigned, for emulators.
    pub anonymous: bool,
    /// Largest file written by one request, in MiB, if half of `memory_mb` allows. Larger ones use
    /// the XML multipart API, which emulators lack.
    pub single_write_mb: u32,
}

impl Default for GcsSettings {
    fn default() -> Self {
        Self {
            endpoint: None,
            credential_file: None,
            anonymous: false,
            single_write_mb: 48,
        }
    }
}

/// How Azure Blob Storage is reached.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct AzureSettings {
    /// The storage account.
    pub account: Option<String>,
    /// Base URL; `None` is `https://<account>.blob.core.windows.net`.
    pub endpoint: Option<String>,
    /// The account's key, base64. Without it and without `sas_token`: the usual chain
    /// (environment, workload or managed identity).
    pub account_key: Option<Secret>,
    /// A shared access signature instead of the key.
    pub sas_token: Option<Secret>,
}

/// Where `localstorage:` locations lie.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct LocalSettings {
    /// The directory in which a "bucket" is a folder.
    pub root: Option<PathBuf>,
}

/// How rclone is run.
#[derive(Clone, Debug, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct RcloneSettings {
    /// The program: a path, or a name that is looked for in `PATH`.
    pub program: PathBuf,
    /// A file of rclone's with remotes `s3`, `gcs` and `azure`, of whatever kind, instead of the settings
    /// above.
    pub config: Option<PathBuf>,
    /// Files of one copy under way at once; each may take 16 MiB of memory.
    pub transfers: usize,
}

impl Default for RcloneSettings {
    fn default() -> Self {
        Self {
            program: "rclone".into(),
            config: None,
            transfers: 16,
        }
    }
}

/// A text that is never shown.
#[derive(Clone, PartialEq, Eq, Deserialize)]
#[serde(transparent)]
pub struct Secret(String);

impl Secret {
    /// The text itself; for the hands of a client library only.
    #[must_use]
    pub fn reveal(&self) -> &str {
        &self.0
    }
}

impl From<String> for Secret {
    fn from(text: String) -> Self {
        Self(text)
    }
}

impl From<&str> for Secret {
    fn from(text: &str) -> Self {
        Self(text.to_owned())
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("***")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_is_never_shown() {
        let settings = Settings {
            s3: S3Settings {
                access_key_id: Some("id".into()),
                secret_access_key: Some("hunter2".into()),
                session_token: Some("hunter2".into()),
                customer_key: Some("hunter2".into()),
                ..S3Settings::default()
            },
            azure: AzureSettings {
                account_key: Some("hunter2".into()),
                sas_token: Some("hunter2".into()),
                ..AzureSettings::default()
            },
            ..Settings::default()
        };
        assert!(!format!("{settings:?}").contains("hunter2"));
    }

    #[test]
    fn wrong_settings_name_the_key() {
        let mut settings = Settings::default();
        assert!(settings.validate().is_ok());
        settings.memory_mb = 4;
        let text = settings.validate().unwrap_err().to_string();
        assert!(text.contains("memory_mb"), "{text}");
        settings = Settings::default();
        settings.s3.access_key_id = Some("id".into());
        let text = settings.validate().unwrap_err().to_string();
        assert!(text.contains("s3.secret_access_key"), "{text}");
        for class in ["GLACIER", "standard", ""] {
            settings = Settings::default();
            settings.s3.storage_class = Some(class.into());
            let text = settings.validate().unwrap_err().to_string();
            assert!(text.contains("s3.storage_class"), "{text}");
        }
        settings = Settings::default();
        settings.s3.storage_class = Some("STANDARD_IA".into());
        assert!(settings.validate().is_ok());
        settings.s3.session_token = Some("t".into());
        let text = settings.validate().unwrap_err().to_string();
        assert!(text.contains("s3.session_token"), "{text}");
    }
}
