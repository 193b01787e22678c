//! What a user asks for, read strictly: a property that would change nothing is refused, so that
//! nobody believes in it.
//!
//! Names are ScyllaDB Manager's. Properties this version does not act on are taken at the value
//! that asks for nothing, and refused at any other.

use catalog::{Filter, filter::DcFilter};
use protocol::{
    BackupRequest, ClusterId, Location, Method, RestoreRequest, SnapshotTag, Task, TaskKind,
};
use serde_json::{Map, Value, json};

use crate::api::{ApiError, Schedule};

/// What a task of either kind does.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Wish {
    Backup(BackupRequest),
    Restore(RestoreRequest),
}

impl Wish {
    /// Reads `properties` of a task of `kind`.
    pub(crate) fn read(kind: TaskKind, properties: &Map<String, Value>) -> Result<Self, ApiError> {
        let mut reader = Reader::new(kind, properties);
        let wish = match kind {
            TaskKind::Backup => Self::Backup(reader.backup()?),
            TaskKind::Restore => Self::Restore(reader.restore()?),
        };
        reader.finish()?;
        wish.check().map_err(ApiError::bad)?;
        Ok(wish)
    }

    /// What `task` does.
    ///
    /// # Errors
    /// What is wrong with a task that does both or neither.
    pub(crate) fn of_parts(
        backup: Option<BackupRequest>,
        restore: Option<RestoreRequest>,
    ) -> Result<Self, String> {
        match (backup, restore) {
            (Some(backup), None) => Ok(Self::Backup(backup)),
            (None, Some(restore)) => Ok(Self::Restore(restore)),
            (None, None) => {
                Err("neither a backup nor a restore is asked for; give one of the two".to_owned())
            }
            (Some(_), Some(_)) => {
                Err("both a backup and a restore are asked for; give one of the two".to_owned())
            }
        }
    }

    /// Both halves, as records and messages have them.
    pub(crate) fn into_parts(self) -> (Option<BackupRequest>, Option<RestoreRequest>) {
        match self {
            Self::Backup(backup) => (Some(backup), None),
            Self::Restore(restore) => (None, Some(restore)),
        }
    }

    /// Where it goes to or comes from.
    pub(crate) fn locations(&self) -> &[Location] {
        match self {
            Self::Backup(backup) => &backup.location,
            Self::Restore(restore) => &restore.location,
        }
    }

    /// Says what is wrong with it, as far as can be said without looking anywhere.
    pub(crate) fn check(&self) -> Result<(), String> {
        let (keyspace, dc) = match self {
            Self::Backup(backup) => (&backup.keyspace, backup.dc.as_slice()),
            Self::Restore(restore) => (&restore.keyspace, [].as_slice()),
        };
        let locations = self.locations();
        if locations.is_empty() {
            return Err("no location is given; give one, as in s3:backups".to_owned());
        }
        for (at, location) in locations.iter().enumerate() {
            if locations[..at].iter().any(|other| other.dc == location.dc) {
                let dc = location.dc.as_deref().unwrap_or("every datacenter");
                return Err(format!(
                    "two locations are given for {dc}; give one for each datacenter"
                ));
            }
        }
        Filter::new(keyspace).map_err(|e| format!("keyspace: {e}"))?;
        DcFilter::new(dc).map_err(|e| format!("dc: {e}"))?;
        Ok(())
    }

    /// The properties as clients see them.
    pub(crate) fn properties(&self) -> Map<String, Value> {
        let mut all = Map::new();
        let mut put = |key: &str, value: Value| {
            let empty = value.as_array().is_some_and(Vec::is_empty) || value.is_null();
            if !empty {
                all.insert(key.to_owned(), value);
            }
        };
        match self {
            Self::Backup(backup) => {
                put("location", json!(backup.location));
                put("keyspace", json!(backup.keyspace));
                put("dc", json!(backup.dc));
                put("method", json!(backup.method));
            }
            Self::Restore(restore) => {
                put("location", json!(restore.location));
                put("keyspace", json!(restore.keyspace));
                put("snapshot_tag", json!(restore.snapshot_tag));
                put("source_cluster_id", json!(restore.source_cluster));
                put("restore_tables", json!(true));
                put("method", json!(restore.method));
            }
        }
        all
    }
}

/// What a registered task does.
pub(crate) fn of_task(task: &Task) -> Result<Wish, String> {
    Wish::of_parts(task.backup.clone(), task.restore.clone())
}

/// The kind of task a path or body names.
pub(crate) fn kind(text: &str) -> Result<TaskKind, ApiError> {
    match text {
        "backup" => Ok(TaskKind::Backup),
        "restore" => Ok(TaskKind::Restore),
        "repair" | "healthcheck" | "validate_backup" | "1_1_restore" | "tablet_repair"
        | "suspend" => Err(ApiError::not_yet(format!(
            "tasks of type `{text}` are not there yet; known are backup and restore"
        ))),
        other => Err(ApiError::bad(format!(
            "there is no task type `{other}`; known are backup and restore"
        ))),
    }
}

/// Refuses a schedule that asks for anything.
///
/// Time zone and retries alone ask for nothing, nor does a first run that is already due.
pub(crate) fn no_schedule(schedule: Option<&Schedule>, now_ms: u64) -> Result<(), ApiError> {
    let Some(schedule) = schedule else {
        return Ok(());
    };
    let nothing = |text: &str| matches!(text.trim(), "" | "0" | "0s");
    let asked = if !nothing(&schedule.cron) {
        "cron"
    } else if !nothing(&schedule.interval) {
        "interval"
    } else if !schedule.window.is_empty() {
        "window"
    } else if schedule
        .start_date
        .as_deref()
        .is_some_and(|text| later(text, now_ms))
    {
        "start_date"
    } else {
        return Ok(());
    };
    Err(ApiError::not_yet(format!(
        "schedules are not there yet (`schedule.{asked}` is set): leave it out, and start the task when it shall run"
    )))
}

/// Whether a first run at `text` lies in the future; a minute is for clocks that differ.
fn later(text: &str, now_ms: u64) -> bool {
    let text = text.trim();
    let at = text
        .parse::<jiff::Timestamp>()
        .map(jiff::Timestamp::as_millisecond);
    !text.is_empty() && at.is_ok_and(|at| u64::try_from(at).is_ok_and(|at| at > now_ms + 60_000))
}

/// Takes properties one by one, and then says which are left.
struct Reader<'a> {
    kind: TaskKind,
    left: Map<String, Value>,
    not_yet: Vec<&'a str>,
}

impl<'a> Reader<'a> {
    fn new(kind: TaskKind, properties: &Map<String, Value>) -> Self {
        let mut left = properties.clone();
        left.retain(|_, value| !value.is_null());
        Self {
            kind,
            left,
            not_yet: Vec::new(),
        }
    }

    fn backup(&mut self) -> Result<BackupRequest, ApiError> {
        let request = BackupRequest {
            location: self.locations()?,
            keyspace: self.texts("keyspace")?,
            dc: self.texts("dc")?,
            method: self.method()?,
        };
        self.only("retention", &[json!(0)]);
        self.only("retention_days", &[json!(0)]);
        self.only("retention_lock_mode", &[json!("disabled"), json!("")]);
        self.only("override_retention_lock", &[json!(false)]);
        self.only("rate_limit", &[json!([])]);
        self.only("snapshot_parallel", &[json!([])]);
        self.only("upload_parallel", &[json!([])]);
        self.only("transfers", &[json!(0), json!(-1)]);
        self.only("purge_only", &[json!(false)]);
        self.only("skip_schema", &[json!(false), json!(true)]);
        self.only("continue", &[json!(true)]);
        Ok(request)
    }

    fn restore(&mut self) -> Result<RestoreRequest, ApiError> {
        let tag = self.text("snapshot_tag")?.ok_or_else(|| {
            ApiError::bad("property `snapshot_tag` is missing: name the backup to restore, as in sm_20260131235959UTC")
        })?;
        let snapshot_tag: SnapshotTag = tag
            .parse()
            .map_err(|e| ApiError::bad(format!("property `snapshot_tag`: {e}")))?;
        let source_cluster = match self.text("source_cluster_id")? {
            None => None,
            Some(text) => Some(text.parse::<ClusterId>().map_err(|_| {
                ApiError::bad(format!(
                    "property `source_cluster_id`: `{text}` is no identity (a UUID)"
                ))
            })?),
        };
        let request = RestoreRequest {
            location: self.locations()?,
            snapshot_tag,
            source_cluster,
            keyspace: self.texts("keyspace")?,
            method: self.method()?,
        };
        self.only("restore_tables", &[json!(true)]);
        self.only("restore_schema", &[json!(false)]);
        self.only("batch_size", &[json!(0), json!(2)]);
        self.only("parallel", &[json!(0)]);
        self.only("transfers", &[json!(0)]);
        self.only("rate_limit", &[json!([])]);
        self.only("allow_compaction", &[json!(false)]);
        self.only("unpin_agent_cpu", &[json!(false)]);
        self.only("dc_mapping", &[json!({}), json!([]), json!("")]);
        self.only("continue", &[json!(true)]);
        Ok(request)
    }

    /// Takes a property whose every other value would ask for what is not there.
    fn only(&mut self, key: &'a str, taken: &[Value]) {
        if self
            .left
            .remove(key)
            .is_some_and(|value| !taken.contains(&value))
        {
            self.not_yet.push(key);
        }
    }

    fn finish(self) -> Result<(), ApiError> {
        let list = |keys: Vec<&str>| {
            keys.iter()
                .map(|k| format!("`{k}`"))
                .collect::<Vec<_>>()
                .join(", ")
        };
        if !self.left.is_empty() {
            let unknown = list(self.left.keys().map(String::as_str).collect());
            return Err(ApiError::bad(format!(
                "a {} task has no property {unknown}",
                self.kind
            )));
        }
        if !self.not_yet.is_empty() {
            let keys = list(self.not_yet);
            return Err(ApiError::not_yet(format!(
                "not there yet: {keys}; leave it out or at its default"
            )));
        }
        Ok(())
    }

    fn text(&mut self, key: &str) -> Result<Option<String>, ApiError> {
        match self.left.remove(key) {
            None => Ok(None),
            Some(Value::String(text)) if text.is_empty() => Ok(None),
            Some(Value::String(text)) => Ok(Some(text)),
            Some(other) => Err(ApiError::bad(format!(
                "property `{key}` is {other}; it must be a text"
            ))),
        }
    }

    fn texts(&mut self, key: &str) -> Result<Vec<String>, ApiError> {
        let wrong = |value: &Value| {
            ApiError::bad(format!(
                "property `{key}` is {value}; it must be a list of texts"
            ))
        };
        match self.left.remove(key) {
            None => Ok(Vec::new()),
            Some(Value::Array(items)) => items
                .iter()
                .map(|item| item.as_str().map(str::to_owned).ok_or_else(|| wrong(item)))
                .collect(),
            Some(other) => Err(wrong(&other)),
        }
    }

    fn locations(&mut self) -> Result<Vec<Location>, ApiError> {
        let texts = self.texts("location")?;
        texts
            .iter()
            .map(|text| {
                text.parse()
                    .map_err(|e| ApiError::bad(format!("property `location`: {e}")))
            })
            .collect()
    }

    fn method(&mut self) -> Result<Method, ApiError> {
        match self.text("method")?.as_deref() {
            None | Some("agent" | "auto") => Ok(Method::Agent),
            Some(other @ ("rclone" | "native")) => Err(ApiError::not_yet(format!(
                "method `{other}` is not there yet; use `agent`"
            ))),
            Some(other) => Err(ApiError::bad(format!(
                "there is no method `{other}`; use `agent`"
            ))),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(kind: TaskKind, properties: Value) -> Result<Wish, String> {
        let Value::Object(map) = properties else {
            panic!("an object")
        };
        Wish::read(kind, &map).map_err(|e| e.message().to_owned())
    }

    #[test]
    fn properties_come_back_as_they_were_given() {
        let given = json!({"location": ["s3:a", "dc1:gcs:b"], "keyspace": ["shop.*", "!shop.tmp"], "dc": ["dc*"], "method": "agent"});
        let wish = read(TaskKind::Backup, given.clone()).unwrap();
        assert_eq!(Value::Object(wish.properties()), given);
        let given = json!({
            "location": ["s3:a"], "snapshot_tag": "sm_20260131235959UTC", "restore_tables": true, "method": "agent",
            "source_cluster_id": "6f1e0000-0000-4000-8000-000000000001",
        });
        assert_eq!(
            Value::Object(read(TaskKind::Restore, given.clone()).unwrap().properties()),
            given
        );
    }

    #[test]
    fn what_asks_for_nothing_is_taken() {
        let defaults = json!({
            "location": ["s3:a"], "retention": 0, "transfers": -1, "rate_limit": [], "skip_schema": false,
            "retention_lock_mode": "disabled", "continue": true, "dc": null,
        });
        assert!(read(TaskKind::Backup, defaults).is_ok());
    }

    #[test]
    fn what_is_wrong_is_named() {
        let backup = |more: Value| {
            let mut all = json!({"location": ["s3:a"]});
            all.as_object_mut()
                .unwrap()
                .extend(more.as_object().unwrap().clone());
            read(TaskKind::Backup, all).unwrap_err()
        };
        for (more, named) in [
            (json!({"locations": [], "speed": 1}), "`locations`, `speed`"),
            (
                json!({"retention": 7, "rate_limit": ["100"]}),
                "`retention`, `rate_limit`",
            ),
            (json!({"location": ["ftp:x"]}), "`ftp`"),
            (json!({"location": []}), "no location"),
            (json!({"location": ["s3:a", "s3:b"]}), "two locations"),
            (json!({"location": "s3:a"}), "must be a list"),
            (json!({"keyspace": ["shop["]}), "shop["),
            (json!({"keyspace": [1]}), "must be a list of texts"),
            (json!({"method": "rclone"}), "not there yet"),
            (json!({"method": "magic"}), "no method"),
            (
                json!({"snapshot_tag": "sm_20260131235959UTC"}),
                "no property `snapshot_tag`",
            ),
        ] {
            let said = backup(more);
            assert!(said.contains(named), "{said}");
        }
        let said = read(TaskKind::Restore, json!({"location": ["s3:a"]})).unwrap_err();
        assert!(said.contains("`snapshot_tag` is missing"), "{said}");
        let said = read(
            TaskKind::Restore,
            json!({"location": ["s3:a"], "snapshot_tag": "x"}),
        )
        .unwrap_err();
        assert!(said.contains("`x` is not a snapshot tag"), "{said}");
    }

    #[test]
    fn a_schedule_that_asks_for_nothing_is_taken() {
        let now = 1_800_000_000_000;
        let schedule = |change: fn(&mut Schedule)| {
            let mut schedule = Schedule {
                num_retries: 3,
                retry_wait: "10m".into(),
                timezone: "UTC".into(),
                ..Schedule::default()
            };
            change(&mut schedule);
            no_schedule(Some(&schedule), now).map_err(|e| e.message().to_owned())
        };
        assert!(no_schedule(None, now).is_ok());
        assert!(schedule(|_| ()).is_ok());
        assert!(schedule(|s| s.start_date = Some("2026-01-01T00:00:00Z".into())).is_ok());
        assert!(
            schedule(|s| s.start_date = Some("2036-01-01T00:00:00Z".into()))
                .unwrap_err()
                .contains("start_date")
        );
        assert!(
            schedule(|s| s.cron = "@daily".into())
                .unwrap_err()
                .contains("schedule.cron")
        );
        assert!(
            schedule(|s| s.interval = "7d".into())
                .unwrap_err()
                .contains("schedule.interval")
        );
        assert!(
            schedule(|s| s.window = vec!["MON-00:00".into()])
                .unwrap_err()
                .contains("schedule.window")
        );
    }
}
