//! How long backups are kept.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// What a task's backups are kept by. 0 means: not set; with nothing set, all are kept for ever.
///
/// `retention` and `retention_days` are ScyllaDB Manager's. With both, a backup stays only while
/// it is young enough and one of the newest. What a `keep_` rule chooses stays in addition,
/// whatever those two say; with `keep_` rules alone, what none of them chooses goes.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema,
)]
#[serde(default)]
pub struct Retention {
    /// How many backups are kept, the newest.
    pub retention: u32,
    /// For how many days a backup is kept.
    pub retention_days: u32,
    /// For how many days that have a backup the day's newest is kept. Days are UTC's.
    pub keep_daily: u32,
    /// For how many weeks that have a backup the week's newest is kept. Weeks are ISO 8601's.
    pub keep_weekly: u32,
    /// For how many months that have a backup the month's newest is kept.
    pub keep_monthly: u32,
}

impl Retention {
    /// Whether nothing is set, so that nothing is ever removed.
    #[must_use]
    pub fn is_unset(&self) -> bool {
        *self == Self::default()
    }

    /// Whether a `keep_` rule is set.
    #[must_use]
    pub fn thins_out(&self) -> bool {
        self.keep_daily > 0 || self.keep_weekly > 0 || self.keep_monthly > 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_said_is_not_set() {
        let read = |text| serde_json::from_str::<Retention>(text).unwrap();
        assert!(read("{}").is_unset());
        let some = read(r#"{"retention":3,"keep_weekly":4,"later":1}"#);
        let expected = Retention {
            retention: 3,
            keep_weekly: 4,
            ..Retention::default()
        };
        assert_eq!(some, expected);
        assert!(!some.is_unset() && some.thins_out());
        assert!(!read(r#"{"retention_days":1}"#).thins_out());
        let text = serde_json::to_string(&some).unwrap();
        assert_eq!(read(&text), some);
    }
}
