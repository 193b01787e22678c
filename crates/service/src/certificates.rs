//! When the certificates end that this process shows: `thetis_certificate_expiry_timestamp_seconds`.

use std::{fmt, fs, path::PathBuf};

use prometheus_client::{
    collector::Collector,
    encoding::{DescriptorEncoder, EncodeLabelSet, EncodeMetric as _},
    metrics::{MetricType, gauge::ConstGauge},
};
use x509_parser::pem::Pem;

use crate::Config;

/// The files, by the settings that name them. Read at each scrape, so that a new one is seen.
#[derive(Debug)]
pub(crate) struct Certificates(Vec<(&'static str, PathBuf)>);

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Setting {
    setting: &'static str,
}

impl Certificates {
    pub(crate) fn of(config: &Config) -> Self {
        let all = [
            ("nats.tls.cert", &config.nats.tls.cert),
            ("scheduler.tls.cert", &config.scheduler.tls.cert),
            ("cql.tls_cert", &config.cql.tls_cert),
        ];
        let set = all
            .into_iter()
            .filter_map(|(setting, path)| Some((setting, path.clone()?)));
        Self(set.collect())
    }

    /// When each ends, in seconds since 1970, as far as they can be read.
    fn ends(&self) -> impl Iterator<Item = (&'static str, i64)> {
        self.0.iter().filter_map(|(setting, path)| {
            let text = fs::read(path).ok()?;
            // The first is the one that is shown; it follows from the others.
            let (pem, _) = Pem::read(std::io::Cursor::new(text)).ok()?;
            let ends = pem.parse_x509().ok()?.validity().not_after.timestamp();
            Some((*setting, ends))
        })
    }
}

impl Collector for Certificates {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let mut all = encoder.encode_descriptor(
            "thetis_certificate_expiry_timestamp_seconds",
            "When the certificate ends that a setting names, in seconds since 1970",
            None,
            MetricType::Gauge,
        )?;
        for (setting, ends) in self.ends() {
            let label = Setting { setting };
            let labelled = all.encode_family(&label)?;
            ConstGauge::new(ends).encode(labelled)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_end_of_a_certificate_is_told() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("node.crt");
        let mut params = rcgen::CertificateParams::new(vec!["node".to_owned()]).unwrap();
        params.not_after = rcgen::date_time_ymd(2031, 2, 3);
        let key = rcgen::KeyPair::generate().unwrap();
        fs::write(&path, params.self_signed(&key).unwrap().pem()).unwrap();
        let mut config = Config::default();
        config.nats.tls.cert = Some(path);
        config.cql.tls_cert = Some(folder.path().join("missing"));
        let registry = crate::Registry::default();
        registry.collect(Certificates::of(&config));
        let text = registry.text().unwrap();
        // date -u -d 2031-02-03 +%s
        let line =
            "thetis_certificate_expiry_timestamp_seconds{setting=\"nats.tls.cert\"} 1927843200\n";
        assert!(text.contains(line), "{text}");
        assert!(!text.contains("cql.tls_cert"), "{text}");
    }
}
