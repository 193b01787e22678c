//! Small JSON documents with a version, and how they are read and written.

use protocol::{ClusterId, RunId, TaskId};
use serde::{Deserialize, Serialize, de::DeserializeOwned};

/// The version this build writes. Additions that older builds may skip do not change it.
const VERSION: &str = "1";

/// Why bytes are no document this build can read.
#[derive(Debug, thiserror::Error)]
pub enum DocumentError {
    /// Not JSON, or not of the document's shape.
    #[error("not a {what}: {cause}")]
    Shape {
        /// Which document was expected.
        what: &'static str,
        /// What the decoder says.
        cause: String,
    },
    /// Written by a newer build, or by no build of ours.
    #[error("version `{found}` of this {what} is not known; this build reads version {VERSION}")]
    Version {
        /// Which document was expected.
        what: &'static str,
        /// The version found.
        found: String,
    },
}

/// A plan, receipt or other note that lies in the bucket as JSON, with a `version` of its own.
pub trait Document: Serialize + DeserializeOwned {
    /// What it is, for error messages.
    const WHAT: &'static str;

    /// The document as JSON.
    ///
    /// # Panics
    /// Never: documents hold only maps, lists, text and integers.
    #[must_use]
    fn to_json(&self) -> Vec<u8> {
        let wire = Envelope {
            version: VERSION,
            body: self,
        };
        serde_json::to_vec(&wire).expect("a document is plain data")
    }

    /// Reads a document of any version this build knows. Fields it does not know are skipped.
    ///
    /// # Errors
    /// [`DocumentError`], which says what was expected.
    fn from_json(bytes: &[u8]) -> Result<Self, DocumentError> {
        let shape = |cause: serde_json::Error| DocumentError::Shape {
            what: Self::WHAT,
            cause: cause.to_string(),
        };
        let head: Head = serde_json::from_slice(bytes).map_err(shape)?;
        if head.version != VERSION {
            return Err(DocumentError::Version {
                what: Self::WHAT,
                found: head.version,
            });
        }
        serde_json::from_slice(bytes).map_err(shape)
    }
}

#[derive(Serialize)]
struct Envelope<'a, T> {
    version: &'static str,
    #[serde(flatten)]
    body: &'a T,
}

#[derive(Deserialize)]
struct Head {
    version: String,
}

/// An open run, so that a scheduler which finds its own store empty can go on with it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct RunDescriptor {
    /// The cluster.
    pub cluster: ClusterId,
    /// The run that began the work.
    pub run: RunId,
    /// Its task.
    pub task: TaskId,
    /// What the run is to do, as `workflow` wrote it. Holds no secrets.
    pub spec: serde_json::Value,
}

impl Document for RunDescriptor {
    const WHAT: &'static str = "run descriptor";
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    /// Compares what this build writes with the frozen sample, byte for byte, and reads it back.
    ///
    /// If it fails, the document's form has changed: builds that are out there read the old one.
    pub(crate) fn golden<T: Document + PartialEq + std::fmt::Debug>(file: &str, sample: &T) {
        let path = format!("{}/testdata/{file}", env!("CARGO_MANIFEST_DIR"));
        let written = sample.to_json();
        if std::env::var_os("GOLDEN").is_some() {
            std::fs::write(&path, [&written[..], b"\n"].concat()).unwrap();
        }
        let frozen = std::fs::read(&path).unwrap();
        assert_eq!(
            String::from_utf8_lossy(&written),
            String::from_utf8_lossy(&frozen).trim_end()
        );
        assert_eq!(&T::from_json(&frozen).unwrap(), sample);
    }

    pub(crate) fn id<T: std::str::FromStr<Err: std::fmt::Debug>>(last: &str) -> T {
        format!("01920000-0000-7000-8000-0000000000{last}")
            .parse()
            .unwrap()
    }

    #[test]
    fn a_run_descriptor_keeps_its_form() {
        let sample = RunDescriptor {
            cluster: id("c1"),
            run: id("a1"),
            task: id("b1"),
            spec: serde_json::json!({"backup": {"tag": "sm_20260131235959UTC"}}),
        };
        golden("run.v1.json", &sample);
    }

    #[test]
    fn other_documents_are_refused_by_name() {
        let error = |text: &str| {
            RunDescriptor::from_json(text.as_bytes())
                .unwrap_err()
                .to_string()
        };
        assert!(error("[]").starts_with("not a run descriptor: "));
        assert!(error("{}").contains("version"));
        assert!(error(r#"{"version":"9"}"#).contains("version `9` of this run descriptor"));
        assert!(error(r#"{"version":"1","cluster":7}"#).starts_with("not a run descriptor: "));
    }
}
