//! How a server behaves: a command line, and the values behind it.

use std::{path::PathBuf, time::Duration};

use clap::Args;

use super::Faults;

/// How a server behaves. The default is as fast as it can, without a fault.
#[derive(Args, Clone, Debug, Default, PartialEq)]
pub struct Options {
    /// Milliseconds that pass before each answer.
    #[arg(long, default_value_t)]
    pub latency_ms: u64,
    /// Speak TLS 1.3, with a certificate made for the occasion.
    #[arg(long)]
    pub tls: bool,
    /// Compute the CRC-32 of all content, and refuse what does not fit the checksum it came with.
    #[arg(long)]
    pub check: bool,
    /// Which requests fail, and how.
    #[command(flatten)]
    pub faults: Faults,
    /// Where to write the certificate to be trusted.
    #[arg(long, requires = "tls")]
    pub authority: Option<PathBuf>,
}

impl Options {
    /// With `latency` before each answer.
    #[must_use]
    pub fn latency(milliseconds: u64) -> Self {
        Self {
            latency_ms: milliseconds,
            ..Self::default()
        }
    }

    /// With TLS.
    #[must_use]
    pub fn tls() -> Self {
        Self {
            tls: true,
            ..Self::default()
        }
    }

    /// With each checksum checked.
    #[must_use]
    pub fn checking() -> Self {
        Self {
            check: true,
            ..Self::default()
        }
    }

    pub(super) fn delay(&self) -> Duration {
        Duration::from_millis(self.latency_ms)
    }

    /// The command line that says the same; without the file of the certificate.
    pub(super) fn arguments(&self) -> Vec<String> {
        let mut all = vec![format!("--latency-ms={}", self.latency_ms)];
        all.extend(self.tls.then(|| "--tls".to_owned()));
        all.extend(self.check.then(|| "--check".to_owned()));
        all.extend(self.faults.arguments());
        all
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Parser)]
    struct Line {
        #[command(flatten)]
        options: Options,
    }

    #[test]
    fn a_command_line_says_the_same() {
        let options = Options {
            latency_ms: 20,
            tls: true,
            check: true,
            faults: Faults {
                seed: 7,
                slow_down: 0.01,
                reset: 0.005,
                slow: 0.1,
                cut: 0.2,
                wrong_checksum: 0.3,
                expired_at: Some(4),
            },
            authority: None,
        };
        let line = ["null-s3".to_owned()]
            .into_iter()
            .chain(options.arguments());
        assert_eq!(Line::parse_from(line).options, options);
    }
}
