//! The options of a table: what there are, their defaults, and how they are written.

use std::collections::BTreeMap;
use std::fmt;

use serde::{Deserialize, Serialize};

/// The value of an option.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Setting {
    /// A number or truth value, as written.
    Number(String),
    Text(String),
    Map(BTreeMap<String, String>),
}

impl Setting {
    pub(crate) fn map<'a>(pairs: impl IntoIterator<Item = (&'a str, &'a str)>) -> Self {
        let own = |(key, value): (&str, &str)| (key.to_owned(), value.to_owned());
        Self::Map(pairs.into_iter().map(own).collect())
    }
}

impl fmt::Display for Setting {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Number(text) => f.write_str(text),
            Self::Text(text) => f.write_str(&quote(text)),
            Self::Map(map) => {
                // The class of a strategy comes first.
                let class = map.iter().filter(|(key, _)| *key == "class");
                let rest = map.iter().filter(|(key, _)| *key != "class");
                let pair =
                    |(key, value): (&String, &String)| format!("{}: {}", quote(key), quote(value));
                let pairs: Vec<_> = class.chain(rest).map(pair).collect();
                write!(f, "{{{}}}", pairs.join(", "))
            }
        }
    }
}

/// A string literal.
pub(crate) fn quote(text: &str) -> String {
    format!("'{}'", text.replace('\'', "''"))
}

/// Options that every table has, with their defaults, in the order in which they are described.
fn defaults() -> Vec<(&'static str, Setting)> {
    let number = |text: &str| Setting::Number(text.to_owned());
    let text = |text: &str| Setting::Text(text.to_owned());
    vec![
        ("bloom_filter_fp_chance", number("0.01")),
        (
            "caching",
            Setting::map([("keys", "ALL"), ("rows_per_partition", "ALL")]),
        ),
        ("comment", text("")),
        (
            "compaction",
            Setting::map([("class", "IncrementalCompactionStrategy")]),
        ),
        (
            "compression",
            Setting::map([("sstable_compression", "LZ4WithDictsCompressor")]),
        ),
        ("crc_check_chance", number("1")),
        ("default_time_to_live", number("0")),
        ("gc_grace_seconds", number("864000")),
        ("max_index_interval", number("2048")),
        ("memtable_flush_period_in_ms", number("0")),
        ("min_index_interval", number("128")),
        ("speculative_retry", text("99.0PERCENTILE")),
    ]
}

/// Options that are described only when they were given, and what kind of value they take.
fn optional() -> Vec<(&'static str, Setting)> {
    let number = || Setting::Number(String::new());
    let map = || Setting::Map(BTreeMap::new());
    vec![
        ("cdc", map()),
        ("paxos_grace_seconds", number()),
        ("per_partition_rate_limit", map()),
        ("synchronous_updates", number()),
        ("tombstone_gc", map()),
    ]
}

const COMPACTIONS: &[&str] = &[
    "IncrementalCompactionStrategy",
    "LeveledCompactionStrategy",
    "NullCompactionStrategy",
    "SizeTieredCompactionStrategy",
    "TimeWindowCompactionStrategy",
];

/// Why an option is refused: it is not known at all, or its value is wrong.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Wrong {
    Property(String),
    Value(String),
}

/// When compaction may forget a tombstone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Gc {
    /// `gc_grace_seconds` after it was written.
    Timeout,
    /// After a repair of the table that began later.
    Repair,
    Disabled,
    Immediate,
}

/// What was set for a table; the rest is as by default.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub(crate) struct Options(BTreeMap<String, Setting>);

impl Options {
    /// Sets one option.
    ///
    /// # Errors
    /// When there is no such option or the value is none for it.
    pub(crate) fn set(&mut self, name: &str, value: Setting) -> Result<(), Wrong> {
        let known = [defaults(), optional()].concat();
        let (_, kind) = known
            .into_iter()
            .find(|(known, _)| *known == name)
            .ok_or_else(|| Wrong::Property(format!("Unknown property '{name}'")))?;
        let value = match (kind, value) {
            (Setting::Map(_), Setting::Map(map)) => Setting::Map(checked(name, map)?),
            (Setting::Number(_), Setting::Number(text) | Setting::Text(text)) => {
                number(name, text)?
            }
            (Setting::Text(_), Setting::Text(text)) => Setting::Text(text),
            _ => {
                return Err(Wrong::Property(format!(
                    "Invalid value for property '{name}'"
                )));
            }
        };
        self.0.insert(name.to_owned(), value);
        Ok(())
    }

    /// All options with their values, in order of description.
    pub(crate) fn described(&self) -> Vec<(&'static str, Setting)> {
        let common = defaults().into_iter().map(|(name, default)| {
            let set = self.0.get(name).cloned();
            (name, set.unwrap_or(default))
        });
        let rest = optional().into_iter();
        let rest = rest.filter_map(|(name, _)| Some((name, self.0.get(name)?.clone())));
        common.chain(rest).collect()
    }

    /// A setting, or the default.
    pub(crate) fn get(&self, name: &str) -> Option<Setting> {
        let found = self
            .described()
            .into_iter()
            .find(|(known, _)| *known == name);
        found.map(|(_, setting)| setting)
    }

    /// The value of an option that is a whole number.
    pub(crate) fn number(&self, name: &str) -> i64 {
        match self.get(name) {
            Some(Setting::Number(text)) => text.parse().unwrap_or_default(),
            _ => 0,
        }
    }

    pub(crate) fn is_set(&self, name: &str) -> bool {
        self.0.contains_key(name)
    }

    /// When tombstones may go, `timeout` unless set otherwise.
    pub(crate) fn gc(&self) -> Gc {
        let Some(Setting::Map(map)) = self.0.get("tombstone_gc") else {
            return Gc::Timeout;
        };
        match map.get("mode").map(String::as_str) {
            Some("repair") => Gc::Repair,
            Some("disabled") => Gc::Disabled,
            Some("immediate") => Gc::Immediate,
            _ => Gc::Timeout,
        }
    }

    /// Sets when tombstones may go.
    pub(crate) fn set_gc(&mut self, mode: &str) {
        let map = Setting::map([("mode", mode), ("propagation_delay_in_seconds", "3600")]);
        self.0.insert("tombstone_gc".to_owned(), map);
    }
}

fn number(name: &str, text: String) -> Result<Setting, Wrong> {
    let boolean = matches!(text.as_str(), "true" | "false");
    if text.parse::<f64>().is_ok() || boolean {
        return Ok(Setting::Number(text));
    }
    Err(Wrong::Property(format!(
        "Invalid value {text} for property '{name}'"
    )))
}

/// The map of an option that takes one, made complete.
fn checked(
    name: &str,
    mut map: BTreeMap<String, String>,
) -> Result<BTreeMap<String, String>, Wrong> {
    let refuse = |text: String| Err(Wrong::Value(text));
    match name {
        "compaction" => {
            let Some(class) = map.get_mut("class") else {
                return refuse("Missing sub-option 'class' for the 'compaction' option.".into());
            };
            if let Some((_, short)) = class.rsplit_once('.') {
                *class = short.to_owned();
            }
            if !COMPACTIONS.contains(&class.as_str()) {
                return refuse(format!(
                    "Unable to find compaction strategy class '{class}'"
                ));
            }
        }
        "tombstone_gc" => {
            let mode = map.entry("mode".into()).or_insert_with(|| "timeout".into());
            if !matches!(
                mode.as_str(),
                "timeout" | "repair" | "disabled" | "immediate"
            ) {
                return refuse(format!(
                    "Invalid value for tombstone_gc option mode: {mode}"
                ));
            }
            map.entry("propagation_delay_in_seconds".into())
                .or_insert_with(|| "3600".into());
            let known = ["mode", "propagation_delay_in_seconds"];
            if let Some(key) = map.keys().find(|key| !known.contains(&key.as_str())) {
                return refuse(format!("Unknown tombstone_gc option {key}"));
            }
        }
        "compression" => {
            if let Some(class) = map.remove("class") {
                map.insert("sstable_compression".into(), class);
            }
        }
        _ => {}
    }
    Ok(map)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn options_are_checked_and_described() {
        let mut options = Options::default();
        options
            .set("comment", Setting::Text("it's".into()))
            .unwrap();
        let compaction = Setting::map([
            ("class", "org.apache.LeveledCompactionStrategy"),
            ("a", "1"),
        ]);
        options.set("compaction", compaction).unwrap();
        options
            .set("tombstone_gc", Setting::map([("mode", "disabled")]))
            .unwrap();
        assert_eq!(options.get("comment").unwrap().to_string(), "'it''s'");
        let compaction = options.get("compaction").unwrap().to_string();
        assert_eq!(
            compaction,
            "{'class': 'LeveledCompactionStrategy', 'a': '1'}"
        );
        assert_eq!(options.gc(), Gc::Disabled);
        assert_eq!(options.number("gc_grace_seconds"), 864_000);
        let unknown = options.set("nope", Setting::Number("1".into()));
        assert_eq!(
            unknown,
            Err(Wrong::Property("Unknown property 'nope'".into()))
        );
        let mode = options.set("tombstone_gc", Setting::map([("mode", "never")]));
        assert!(matches!(mode, Err(Wrong::Value(_))));
    }
}
