//! Buckets as rclone is told of them.
//!
//! A remote has the provider's name, whoever describes it: so a location's place is the same with
//! our settings and with a user's own file.

use protocol::{Location, Provider};

use crate::{
    AzureSettings, GcsSettings, S3Settings, Secret, Settings, remote::azure_endpoint, s3::ALGORITHM,
};

/// Bytes of a part, and parts of one file at once: what each transfer may take of memory.
const CHUNK: &str = "8Mi";
const AT_ONCE: &str = "2";

/// Where GCS' interface is that rclone speaks, at a server that is not Google's.
const GCS_PATH: &str = "/storage/v1/";

/// What rclone calls a place in a bucket, where files are to be stored in a class.
pub(super) fn target(location: &Location, prefix: &str, class: Option<&str>) -> String {
    let Location {
        provider, bucket, ..
    } = location;
    let prefix = location.key(prefix);
    let class = class.map_or_else(String::new, |class| format!(",storage_class={class}"));
    // Without the slash at its end it would first be looked for as a file.
    format!("{provider}{class}:{bucket}/{prefix}/")
}

/// The variables that describe all providers that the settings describe.
pub(super) fn environment(settings: &Settings, region: Option<String>) -> Vec<(String, String)> {
    let all = [
        (Provider::S3, s3(&settings.s3, region)),
        (Provider::Gcs, gcs(&settings.gcs)),
        (Provider::Azure, azure(&settings.azure)),
    ];
    let variables = all.into_iter().flat_map(|(provider, options)| {
        let remote = provider.as_str().to_uppercase();
        options
            .into_iter()
            .map(move |(option, value)| (format!("RCLONE_CONFIG_{remote}_{option}"), value))
    });
    variables.collect()
}

type Options = Vec<(&'static str, String)>;

fn s3(settings: &S3Settings, region: Option<String>) -> Options {
    let S3Settings {
        endpoint,
        region: _,
        access_key_id,
        secret_access_key,
        session_token,
        encryption,
        kms_key_id,
        customer_key,
        storage_class,
        path_style,
        sign_payload,
    } = settings;
    let provider = match endpoint {
        Some(_) => "Other",
        None => "AWS",
    };
    let path_style = path_style.unwrap_or(endpoint.is_some());
    let mut options = vec![
        ("TYPE", "s3".to_owned()),
        ("PROVIDER", provider.to_owned()),
        ("NO_CHECK_BUCKET", true.to_string()),
        ("CHUNK_SIZE", CHUNK.to_owned()),
        ("UPLOAD_CONCURRENCY", AT_ONCE.to_owned()),
        ("FORCE_PATH_STYLE", path_style.to_string()),
        ("ENV_AUTH", access_key_id.is_none().to_string()),
        ("USE_UNSIGNED_PAYLOAD", (!sign_payload).to_string()),
    ];
    let secret = |secret: &Option<Secret>| secret.as_ref().map(|secret| secret.reveal().to_owned());
    let algorithm = customer_key.as_ref().map(|_| ALGORITHM.to_owned());
    let given = [
        ("ENDPOINT", endpoint.clone()),
        ("REGION", region),
        ("ACCESS_KEY_ID", access_key_id.clone()),
        ("SECRET_ACCESS_KEY", secret(secret_access_key)),
        ("SESSION_TOKEN", secret(session_token)),
        ("SERVER_SIDE_ENCRYPTION", encryption.clone()),
        ("SSE_KMS_KEY_ID", kms_key_id.clone()),
        ("SSE_CUSTOMER_ALGORITHM", algorithm),
        ("SSE_CUSTOMER_KEY_BASE64", secret(customer_key)),
        ("STORAGE_CLASS", storage_class.clone()),
    ];
    options.extend(set(given));
    options
}

fn gcs(settings: &GcsSettings) -> Options {
    let GcsSettings {
        endpoint,
        credential_file,
        anonymous,
        single_write_mb: _,
    } = settings;
    let mut options = vec![
        ("TYPE", "google cloud storage".to_owned()),
        ("NO_CHECK_BUCKET", true.to_string()),
        // Who may read is the bucket's own affair.
        ("BUCKET_POLICY_ONLY", true.to_string()),
        ("ANONYMOUS", anonymous.to_string()),
    ];
    let file = credential_file.as_ref();
    let usual = file.is_none() && !anonymous;
    let url = |endpoint: &String| format!("{}{GCS_PATH}", endpoint.trim_end_matches('/'));
    let given = [
        ("ENDPOINT", endpoint.as_ref().map(url)),
        (
            "SERVICE_ACCOUNT_FILE",
            file.map(|file| file.display().to_string()),
        ),
        ("ENV_AUTH", usual.then(|| true.to_string())),
    ];
    options.extend(set(given));
    options
}

fn azure(settings: &AzureSettings) -> Options {
    let AzureSettings {
        account,
        endpoint,
        account_key,
        sas_token,
    } = settings;
    let mut options = vec![
        ("TYPE", "azureblob".to_owned()),
        ("NO_CHECK_CONTAINER", true.to_string()),
        ("CHUNK_SIZE", CHUNK.to_owned()),
        ("UPLOAD_CONCURRENCY", AT_ONCE.to_owned()),
    ];
    let signed = sas_token.as_ref().zip(azure_endpoint(settings));
    let url = |(token, endpoint): (&Secret, String)| {
        let token = token.reveal().trim_start_matches('?');
        format!("{}/?{token}", endpoint.trim_end_matches('/'))
    };
    let usual = account_key.is_none() && sas_token.is_none();
    let given = [
        ("ACCOUNT", account.clone()),
        ("ENDPOINT", endpoint.clone()),
        (
            "KEY",
            account_key.as_ref().map(|key| key.reveal().to_owned()),
        ),
        ("SAS_URL", signed.map(url)),
        ("ENV_AUTH", usual.then(|| true.to_string())),
    ];
    options.extend(set(given));
    options
}

/// Those that have a value.
fn set<const N: usize>(
    options: [(&'static str, Option<String>); N],
) -> impl Iterator<Item = (&'static str, String)> {
    options
        .into_iter()
        .filter_map(|(option, value)| Some((option, value?)))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    #[test]
    fn remotes_are_as_the_settings_have_them() {
        let settings = Settings {
            s3: S3Settings {
                endpoint: Some("http://store:9000".into()),
                access_key_id: Some("id".into()),
                secret_access_key: Some("key".into()),
                storage_class: Some("STANDARD_IA".into()),
                ..S3Settings::default()
            },
            gcs: GcsSettings {
                endpoint: Some("http://gcs/".into()),
                anonymous: true,
                ..GcsSettings::default()
            },
            azure: AzureSettings {
                account: Some("company".into()),
                sas_token: Some("?sv=1".into()),
                ..AzureSettings::default()
            },
            ..Settings::default()
        };
        let all: BTreeMap<_, _> = environment(&settings, Some("eu".into()))
            .into_iter()
            .collect();
        for (option, value) in [
            ("S3_TYPE", "s3"),
            ("S3_PROVIDER", "Other"),
            ("S3_ENDPOINT", "http://store:9000"),
            ("S3_REGION", "eu"),
            ("S3_SECRET_ACCESS_KEY", "key"),
            ("S3_STORAGE_CLASS", "STANDARD_IA"),
            ("S3_FORCE_PATH_STYLE", "true"),
            ("S3_ENV_AUTH", "false"),
            ("GCS_TYPE", "google cloud storage"),
            ("GCS_ENDPOINT", "http://gcs/storage/v1/"),
            ("GCS_ANONYMOUS", "true"),
            (
                "AZURE_SAS_URL",
                "https://company.blob.core.windows.net/?sv=1",
            ),
        ] {
            let found = all.get(&format!("RCLONE_CONFIG_{option}"));
            assert_eq!(found.map(String::as_str), Some(value), "{option}");
        }
        for lacking in [
            "S3_SESSION_TOKEN",
            "GCS_ENV_AUTH",
            "AZURE_KEY",
            "AZURE_ENV_AUTH",
        ] {
            assert!(
                !all.contains_key(&format!("RCLONE_CONFIG_{lacking}")),
                "{lacking}"
            );
        }
        let usual: BTreeMap<_, _> = environment(&Settings::default(), None)
            .into_iter()
            .collect();
        for (option, value) in [
            ("S3_PROVIDER", "AWS"),
            ("S3_ENV_AUTH", "true"),
            ("GCS_ENV_AUTH", "true"),
            ("AZURE_ENV_AUTH", "true"),
        ] {
            assert_eq!(usual[&format!("RCLONE_CONFIG_{option}")], value);
        }
    }

    #[test]
    fn a_location_is_the_remote_of_its_provider() {
        let target =
            |location: &str, class| target(&location.parse().unwrap(), "backup/sst", class);
        assert_eq!(
            target("gcs:backups", Some("NEARLINE")),
            "gcs,storage_class=NEARLINE:backups/backup/sst/"
        );
        assert_eq!(target("dc1:s3:backups", None), "s3:backups/backup/sst/");
        assert_eq!(
            target("azure:b/prod/one", None),
            "azure:b/prod/one/backup/sst/"
        );
    }
}
