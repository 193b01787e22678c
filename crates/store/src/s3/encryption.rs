//! Encryption by the server: the headers that ask for it, for our requests and for the SDK's.
//!
//! With the server's own keys, or those of its key service, it is asked for where something is
//! written. With a key of the customer's, each request that touches an object has to bring it.

use aws_smithy_runtime_api::{
    box_error::BoxError,
    client::{
        interceptors::{Intercept, context::BeforeTransmitInterceptorContextMut},
        orchestrator::Metadata,
        runtime_components::RuntimeComponents,
    },
};
use aws_smithy_types::config_bag::ConfigBag;
use base64::{Engine as _, engine::general_purpose::STANDARD};
use md5::{Digest as _, Md5};

use crate::{Error, S3Settings};

pub(crate) const ALGORITHM: &str = "AES256";
/// What servers may be asked for.
const KINDS: [&str; 3] = [ALGORITHM, "aws:kms", "aws:kms:dsse"];
/// Bytes of a customer's key.
const KEY: usize = 32;

type Headers = Vec<(&'static str, String)>;

/// What to say, in the order of the headers' names.
#[derive(Clone, Default)]
pub(super) struct Encryption {
    /// Where an object is begun.
    write: Headers,
    /// With each further request about it.
    touch: Headers,
    /// Where it is copied from.
    source: Headers,
}

impl Encryption {
    /// What the settings ask for.
    ///
    /// # Errors
    /// [`Error::Settings`] when they contradict themselves.
    pub(super) fn new(settings: &S3Settings) -> Result<Self, Error> {
        let wrong = |text: String| Err(Error::Settings(text));
        let S3Settings {
            encryption,
            kms_key_id,
            customer_key,
            ..
        } = settings;
        if let Some(key) = customer_key {
            if encryption.is_some() || kms_key_id.is_some() {
                return wrong(
                    "s3.customer_key excludes s3.encryption and s3.kms_key_id".to_owned(),
                );
            }
            let key = STANDARD.decode(key.reveal()).ok();
            let Some(key) = key.filter(|key| key.len() == KEY) else {
                return wrong(format!("s3.customer_key must be {KEY} bytes in base64"));
            };
            return Ok(Self::customer(&key));
        }
        let Some(kind) = encryption else {
            return match kms_key_id {
                Some(_) => wrong("s3.kms_key_id needs s3.encryption = \"aws:kms\"".to_owned()),
                None => Ok(Self::default()),
            };
        };
        if !KINDS.contains(&kind.as_str()) {
            let known = KINDS.join(", ");
            return wrong(format!("s3.encryption is `{kind}`; it can be {known}"));
        }
        if kind == ALGORITHM && kms_key_id.is_some() {
            return wrong("s3.kms_key_id needs s3.encryption = \"aws:kms\"".to_owned());
        }
        let mut write = vec![("x-amz-server-side-encryption", kind.clone())];
        let key = kms_key_id.iter().cloned();
        write.extend(key.map(|key| ("x-amz-server-side-encryption-aws-kms-key-id", key)));
        Ok(Self {
            write,
            ..Self::default()
        })
    }

    fn customer(key: &[u8]) -> Self {
        let values = || {
            [
                ALGORITHM.to_owned(),
                STANDARD.encode(key),
                STANDARD.encode(Md5::digest(key)),
            ]
        };
        let names = [
            "x-amz-server-side-encryption-customer-algorithm",
            "x-amz-server-side-encryption-customer-key",
            "x-amz-server-side-encryption-customer-key-md5",
        ];
        let source = [
            "x-amz-copy-source-server-side-encryption-customer-algorithm",
            "x-amz-copy-source-server-side-encryption-customer-key",
            "x-amz-copy-source-server-side-encryption-customer-key-md5",
        ];
        let headers = |names: [&'static str; 3]| names.into_iter().zip(values()).collect();
        Self {
            write: headers(names),
            touch: headers(names),
            source: headers(source),
        }
    }

    /// What goes with a request that writes a whole object, or begins one in parts.
    pub(super) fn write(&self) -> &[(&'static str, String)] {
        &self.write
    }

    /// What goes with a request that reads, or writes a part.
    pub(super) fn touch(&self) -> &[(&'static str, String)] {
        &self.touch
    }
}

/// Keys are secrets.
impl std::fmt::Debug for Encryption {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Encryption").finish_non_exhaustive()
    }
}

impl Intercept for Encryption {
    fn name(&self) -> &'static str {
        "Encryption"
    }

    fn modify_before_signing(
        &self,
        context: &mut BeforeTransmitInterceptorContextMut<'_>,
        _: &RuntimeComponents,
        config: &mut ConfigBag,
    ) -> Result<(), BoxError> {
        let operation = config.load::<Metadata>().map(Metadata::name);
        let (first, second): (&Headers, &[_]) = match operation {
            Some("PutObject" | "CreateMultipartUpload") => (&self.write, &[]),
            Some("CopyObject") => (&self.write, &self.source),
            Some("UploadPartCopy") => (&self.touch, &self.source),
            Some("HeadObject" | "GetObject" | "CompleteMultipartUpload") => (&self.touch, &[]),
            _ => return Ok(()),
        };
        let headers = context.request_mut().headers_mut();
        for (name, value) in first.iter().chain(second) {
            headers.insert(*name, value.clone());
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settings(change: impl FnOnce(&mut S3Settings)) -> S3Settings {
        let mut settings = S3Settings::default();
        change(&mut settings);
        settings
    }

    #[test]
    fn settings_that_contradict_themselves_are_named() {
        let key = STANDARD.encode([7; KEY]);
        for (settings, named) in [
            (settings(|s| s.encryption = Some("rot13".into())), "`rot13`"),
            (
                settings(|s| s.kms_key_id = Some("k".into())),
                "s3.kms_key_id",
            ),
            (
                settings(|s| {
                    s.encryption = Some("AES256".into());
                    s.kms_key_id = Some("k".into());
                }),
                "s3.kms_key_id",
            ),
            (
                settings(|s| s.customer_key = Some("c2hvcnQ=".into())),
                "32 bytes",
            ),
            (settings(|s| s.customer_key = Some("%".into())), "32 bytes"),
            (
                settings(|s| {
                    s.customer_key = Some(key.as_str().into());
                    s.encryption = Some("AES256".into());
                }),
                "s3.customer_key",
            ),
        ] {
            let text = Encryption::new(&settings).unwrap_err().to_string();
            assert!(text.contains(named), "{text}");
        }
    }

    #[test]
    fn a_customers_key_goes_with_everything_and_is_shown_nowhere() {
        let key = STANDARD.encode([7; KEY]);
        let settings = settings(|s| s.customer_key = Some(key.as_str().into()));
        let encryption = Encryption::new(&settings).unwrap();
        assert_eq!(encryption.write(), encryption.touch());
        assert_eq!(encryption.touch()[1].1, key);
        assert_eq!(encryption.source.len(), 3);
        assert!(!format!("{encryption:?}{settings:?}").contains(&key));
    }
}
