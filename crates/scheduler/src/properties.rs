//! What a user asks for, read strictly: a property that would change nothing is refused, so that
//! nobody believes in it.
//!
//! Names are ScyllaDB Manager's. Properties this version does not act on are taken at the value
//! that asks for nothing, and refused at any other.

use std::{collections::BTreeSet, time::Duration};

use catalog::{Filter, filter::DcFilter};
use protocol::{
    BackupRequest, ClearRequest, ClusterId, DcLimit, DcMapping, DeleteRequest, InvalidLimit,
    Location, Method, Rename, RestoreRequest, Restored, Retention, RunId, Schedule, SnapshotTag,
    SuspendRequest, Task, TaskKind, ValidateRequest,
};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

use crate::{
    api::{ApiError, Schedule as Given},
    timetable,
};

const DELETE_IS_NO_TASK: &str =
    "there are no tasks that delete backups; call DELETE /cluster/{cluster}/backups";
const CLEAR_IS_NO_TASK: &str = "there are no tasks that delete snapshots; call DELETE \
                                /cluster/{cluster}/backups/local_snapshots";

/// What is asked for, as records and messages have it: one of these.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct Parts {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) backup: Option<BackupRequest>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) restore: Option<RestoreRequest>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) delete: Option<DeleteRequest>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) validate: Option<ValidateRequest>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) clear: Option<ClearRequest>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) suspend: Option<SuspendRequest>,
}

impl Parts {
    /// Whether it is what tasks are made of.
    pub(crate) fn is_of_task(&self) -> bool {
        self.delete.is_none() && self.clear.is_none()
    }
}

impl From<Wish> for Parts {
    fn from(wish: Wish) -> Self {
        let mut parts = Self::default();
        match wish {
            Wish::Backup(backup) => parts.backup = Some(backup),
            Wish::Restore(restore) => parts.restore = Some(restore),
            Wish::Delete(delete) => parts.delete = Some(delete),
            Wish::Validate(validate) => parts.validate = Some(validate),
            Wish::Clear(clear) => parts.clear = Some(clear),
            Wish::Suspend(suspend) => parts.suspend = Some(suspend),
        }
        parts
    }
}

/// How many backups a task keeps that says nothing of it.
const KEPT: u32 = 3;

/// The most files that a task may want to be moved at once.
const MOST_TRANSFERS: i64 = 1_024;

/// The highest limit in MiB per second that may be asked for: a tebibyte, which no node moves.
pub(crate) const MOST_RATE: u32 = 1 << 20;

/// What a task, or a run without one, does.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Wish {
    Backup(BackupRequest),
    Restore(RestoreRequest),
    Delete(DeleteRequest),
    Validate(ValidateRequest),
    Clear(ClearRequest),
    Suspend(SuspendRequest),
}

impl Wish {
    /// Reads `properties` of a task of `kind`.
    pub(crate) fn read(kind: TaskKind, properties: &Map<String, Value>) -> Result<Self, ApiError> {
        let mut reader = Reader::new(kind, properties);
        let wish = match kind {
            TaskKind::Backup => Self::Backup(reader.backup()?),
            TaskKind::Restore => Self::Restore(reader.restore()?),
            TaskKind::Validate => Self::Validate(reader.validate()?),
            TaskKind::Suspend => Self::Suspend(reader.suspend()?),
            TaskKind::Delete => return Err(ApiError::bad(DELETE_IS_NO_TASK)),
            TaskKind::Clear => return Err(ApiError::bad(CLEAR_IS_NO_TASK)),
        };
        reader.finish()?;
        wish.check().map_err(ApiError::bad)?;
        Ok(wish)
    }

    /// What is asked for by one of these.
    ///
    /// # Errors
    /// What is wrong when it is none of them, or several.
    pub(crate) fn of_parts(parts: Parts) -> Result<Self, String> {
        let wishes = [
            parts.backup.map(Self::Backup),
            parts.restore.map(Self::Restore),
            parts.delete.map(Self::Delete),
            parts.validate.map(Self::Validate),
            parts.clear.map(Self::Clear),
            parts.suspend.map(Self::Suspend),
        ];
        let mut wishes = wishes.into_iter().flatten();
        match (wishes.next(), wishes.next()) {
            (Some(wish), None) => Ok(wish),
            (None, _) => Err(
                "nothing is asked for; give one of `backup`, `restore`, `delete`, `validate`, `clear`"
                    .to_owned(),
            ),
            (Some(_), Some(_)) => Err(
                "more than one thing is asked for; give one of `backup`, `restore`, `delete`, \
                 `validate`, `clear`"
                    .to_owned(),
            ),
        }
    }

    /// Whether nothing else may run on the cluster meanwhile that is not as harmless.
    pub(crate) fn exclusive(&self) -> bool {
        match self {
            Self::Backup(_) | Self::Restore(_) | Self::Delete(_) | Self::Clear(_) => true,
            Self::Validate(validate) => validate.delete_orphaned_files,
            Self::Suspend(_) => false,
        }
    }

    /// The kind of its task.
    pub(crate) fn kind(&self) -> TaskKind {
        match self {
            Self::Backup(_) => TaskKind::Backup,
            Self::Restore(_) => TaskKind::Restore,
            Self::Delete(_) => TaskKind::Delete,
            Self::Validate(_) => TaskKind::Validate,
            Self::Clear(_) => TaskKind::Clear,
            Self::Suspend(_) => TaskKind::Suspend,
        }
    }

    /// Where it goes to or comes from. A validation may leave that open.
    pub(crate) fn locations(&self) -> &[Location] {
        match self {
            Self::Backup(backup) => &backup.location,
            Self::Restore(restore) => &restore.location,
            Self::Delete(delete) => &delete.location,
            Self::Validate(validate) => &validate.location,
            Self::Clear(_) | Self::Suspend(_) => &[],
        }
    }

    /// Says what is wrong with it, as far as can be said without looking anywhere.
    pub(crate) fn check(&self) -> Result<(), String> {
        let (keyspace, dc) = match self {
            Self::Backup(backup) => (&backup.keyspace, backup.dc.as_slice()),
            Self::Restore(restore) => (&restore.keyspace, [].as_slice()),
            Self::Delete(delete) if delete.snapshot_tag.is_empty() => {
                return Err("no backup is named; give its snapshot_tag".to_owned());
            }
            Self::Delete(_) => (&Vec::new(), [].as_slice()),
            Self::Validate(validate) => return check_validation(validate),
            Self::Clear(_) => return Ok(()),
            Self::Suspend(suspend) => return check_suspension(suspend),
        };
        let locations = self.locations();
        if locations.is_empty() {
            return Err("no location is given; give one, as in s3:backups".to_owned());
        }
        one_each(locations)?;
        if let Self::Backup(backup) = self {
            if backup.method == Method::Tablets {
                return Err(
                    "method `tablets` is for restores: use `agent`, `native`, `auto` or `rclone`"
                        .to_owned(),
                );
            }
            unlimited(backup)?;
            classed(backup)?;
        }
        if let Self::Restore(restore) = self {
            fits_one_to_one(restore)?;
            if restore.merge && restore.method == Method::Tablets {
                return Err(
                    "method `tablets` is for empty tables: ScyllaDB passes over what it has restored before. Use merge \
                     with another method"
                        .to_owned(),
                );
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
                put("rate_limit", json!(backup.rate_limit));
                put("snapshot_parallel", json!(backup.snapshot_parallel));
                put("upload_parallel", json!(backup.upload_parallel));
                put("transfers", json!(backup.transfers));
                put("storage_class", json!(backup.storage_class));
                let kept = &backup.retention;
                put("retention", json!(kept.retention));
                put("retention_days", json!(kept.retention_days));
                for (key, count) in [
                    ("keep_daily", kept.keep_daily),
                    ("keep_weekly", kept.keep_weekly),
                    ("keep_monthly", kept.keep_monthly),
                ] {
                    if count > 0 {
                        put(key, json!(count));
                    }
                }
            }
            Self::Restore(restore) => {
                put("location", json!(restore.location));
                put("keyspace", json!(restore.keyspace));
                put("snapshot_tag", json!(restore.snapshot_tag));
                put("source_cluster_id", json!(restore.source_cluster));
                put_restore(&mut put, restore);
                put("method", json!(restore.method));
                put("rate_limit", json!(restore.rate_limit));
                put("transfers", json!(restore.transfers));
            }
            Self::Delete(delete) => {
                put("location", json!(delete.location));
                put("snapshot_tag", json!(delete.snapshot_tag));
            }
            Self::Validate(validate) => {
                put("location", json!(validate.location));
                put("snapshot_tag", json!(validate.snapshot_tag));
                put(
                    "delete_orphaned_files",
                    json!(validate.delete_orphaned_files),
                );
                put("checksum", json!(validate.checksum));
                if validate.max_bytes > 0 {
                    put("max_bytes", json!(validate.max_bytes));
                }
            }
            Self::Clear(_) => {}
            Self::Suspend(suspend) => {
                if suspend.duration_ms > 0 {
                    let lasts = Duration::from_millis(suspend.duration_ms);
                    let text = humantime::format_duration(lasts).to_string();
                    put("duration", json!(text.replace(' ', "")));
                }
                put("allow_task_type", json!(suspend.allow));
                let policy = match suspend.fail_if_running {
                    true => FAIL_IF_RUNNING,
                    false => STOP_RUNNING,
                };
                put("suspend_policy", json!(policy));
                put("no_continue", json!(suspend.no_continue));
                put("start_tasks", json!(suspend.start_tasks));
            }
        }
        all
    }
}

/// What a restore has beyond what backups have, where it differs from what goes without saying.
fn put_restore(put: &mut impl FnMut(&str, Value), restore: &RestoreRequest) {
    let (tables, schema) = match restore.what {
        Restored::All => (true, true),
        Restored::Schema => (false, true),
        Restored::Tables => (true, false),
    };
    put("restore_tables", json!(tables));
    put("restore_schema", json!(schema));
    let pairs = |all: Vec<String>| json!(all);
    let mapping = restore.dc_mapping.iter();
    put(
        "dc_mapping",
        pairs(mapping.map(|dc| format!("{}={}", dc.from, dc.to)).collect()),
    );
    let names = restore.rename.iter();
    put(
        "rename",
        pairs(
            names
                .map(|name| format!("{}={}", name.from, name.to))
                .collect(),
        ),
    );
    for (key, is) in [
        ("with_roles", restore.with_roles),
        ("merge", restore.merge),
        ("one_to_one", restore.one_to_one),
        ("drill", restore.drill),
    ] {
        put(key, if is { json!(true) } else { Value::Null });
    }
    put("undo", json!(restore.undo));
}

/// What a registered task does.
pub(crate) fn of_task(task: &Task) -> Result<Wish, String> {
    Wish::of_parts(Parts {
        backup: task.backup.clone(),
        restore: task.restore.clone(),
        validate: task.validate.clone(),
        suspend: task.suspend.clone(),
        ..Parts::default()
    })
}

/// What ScyllaDB uploads itself goes by its own limits. A limit in which somebody believes and that does
/// nothing is worse than none.
fn unlimited(backup: &BackupRequest) -> Result<(), String> {
    if backup.method != Method::Native {
        return Ok(());
    }
    let limited = backup.rate_limit.iter().any(|limit| limit.limit > 0);
    if limited {
        return Err(
            "rate_limit does not hold for what ScyllaDB uploads itself (method `native`): leave it out, and set \
             backup_io_throughput_mb_per_sec in each node's scylla.yaml"
                .to_owned(),
        );
    }
    if backup.transfers.is_some() {
        return Err(
            "transfers does not hold for what ScyllaDB uploads itself (method `native`): leave it out; \
             object_storage_connections_per_shard in scylla.yaml says how much a node sends at once"
                .to_owned(),
        );
    }
    Ok(())
}

/// Each node gets back what was its own, by the agent beside it and under the old names.
fn fits_one_to_one(restore: &RestoreRequest) -> Result<(), String> {
    if !restore.one_to_one {
        return Ok(());
    }
    if restore.method != Method::Agent {
        return Err(format!(
            "one_to_one goes by method `agent`, not by `{}`: leave one of them out",
            restore.method
        ));
    }
    if restore.drill || !restore.rename.is_empty() || restore.what == Restored::Schema {
        return Err(
            "one_to_one brings rows back to where they were: leave out rename and drill, and restore rows".to_owned(),
        );
    }
    Ok(())
}

/// What is stored in another class than the bucket's usual one has to be stored by whom can be told so.
fn classed(backup: &BackupRequest) -> Result<(), String> {
    let Some(class) = &backup.storage_class else {
        return Ok(());
    };
    store::check_class(class).map_err(|why| format!("property `storage_class`: {why}"))?;
    if backup.method == Method::Native {
        return Err(
            "storage_class does not hold for what ScyllaDB uploads itself (method `native`): leave it out, and \
             set a lifecycle rule of the bucket, or use method `agent`"
                .to_owned(),
        );
    }
    let has_classes = |location: &&Location| store::has_classes(location.provider);
    match backup
        .location
        .iter()
        .find(|location| !has_classes(location))
    {
        None => Ok(()),
        Some(location) => Err(format!(
            "storage_class is for s3 and gcs, and `{location}` is neither: leave it out"
        )),
    }
}

/// A datacenter has one place.
fn one_each(locations: &[Location]) -> Result<(), String> {
    for (at, location) in locations.iter().enumerate() {
        if locations[..at].iter().any(|other| other.dc == location.dc) {
            let dc = location.dc.as_deref().unwrap_or("every datacenter");
            return Err(format!(
                "two locations are given for {dc}; give one for each datacenter"
            ));
        }
    }
    Ok(())
}

/// Any number of places may be looked through.
fn check_validation(validate: &ValidateRequest) -> Result<(), String> {
    if validate.snapshot_tag.is_some() && validate.delete_orphaned_files {
        return Err(
            "delete_orphaned_files looks at all backups; leave snapshot_tag out".to_owned(),
        );
    }
    if validate.max_bytes > 0 && !validate.checksum {
        return Err("max_bytes says how much `checksum` reads; ask for that as well".to_owned());
    }
    Ok(())
}

/// Tasks are started at the end only if that comes by itself.
fn check_suspension(suspend: &SuspendRequest) -> Result<(), String> {
    match suspend.start_tasks && suspend.duration_ms == 0 {
        true => {
            Err("start_tasks is for suspensions that end by themselves; give a duration".to_owned())
        }
        false => Ok(()),
    }
}

/// What to do about what runs when a cluster is suspended.
pub(crate) const STOP_RUNNING: &str = "stop_running_tasks";
pub(crate) const FAIL_IF_RUNNING: &str = "fail_if_running_tasks";

/// Reads a suspension's policy: whether it fails while something runs.
pub(crate) fn policy(text: &str) -> Result<bool, ApiError> {
    match text {
        "" | STOP_RUNNING => Ok(false),
        FAIL_IF_RUNNING => Ok(true),
        other => Err(ApiError::bad(format!(
            "`suspend_policy` is `{other}`; it can be `{STOP_RUNNING}` or `{FAIL_IF_RUNNING}`"
        ))),
    }
}

/// Reads the type of task that may run while a cluster is suspended.
pub(crate) fn allowed(text: &str) -> Result<Option<TaskKind>, ApiError> {
    match text {
        "" => Ok(None),
        text => kind(text)
            .map(Some)
            .map_err(|e| ApiError::bad(format!("`allow_task_type`: {}", e.message()))),
    }
}

const KNOWN: &str = "backup, restore, validate_backup and suspend";

/// Types of tasks that ScyllaDB Manager has and Thetis has not.
const MANAGERS: [&str; 6] = [
    "repair",
    "tablet_repair",
    "1_1_restore",
    "healthcheck_cql",
    "healthcheck_rest",
    "healthcheck_alternator",
];

/// The kind of task a filter names; `None` for one there never are any of here.
pub(crate) fn kind_of_filter(text: &str) -> Result<Option<TaskKind>, ApiError> {
    match MANAGERS.contains(&text) || text == "healthcheck" {
        true => Ok(None),
        false => kind(text).map(Some),
    }
}

/// The kind of task a path or body names.
pub(crate) fn kind(text: &str) -> Result<TaskKind, ApiError> {
    match text {
        "backup" => Ok(TaskKind::Backup),
        "restore" => Ok(TaskKind::Restore),
        "validate_backup" => Ok(TaskKind::Validate),
        "suspend" => Ok(TaskKind::Suspend),
        "delete_backup" => Err(ApiError::bad(DELETE_IS_NO_TASK)),
        "clear_snapshots" => Err(ApiError::bad(CLEAR_IS_NO_TASK)),
        text if MANAGERS.contains(&text) || text == "healthcheck" => Err(ApiError::not_yet(
            format!("tasks of type `{text}` are not there yet; known are {KNOWN}"),
        )),
        other => Err(ApiError::bad(format!(
            "there is no task type `{other}`; known are {KNOWN}"
        ))),
    }
}

/// Reads when a task runs; `None` for one that runs when told to, and is not tried again.
pub(crate) fn schedule(given: Option<&Given>) -> Result<Option<Schedule>, ApiError> {
    let Some(given) = given else {
        return Ok(None);
    };
    let num_retries = u32::try_from(given.num_retries).map_err(|_| {
        ApiError::bad(format!(
            "`schedule.num_retries` is {}; it must be a number from 0",
            given.num_retries
        ))
    })?;
    let schedule = Schedule {
        cron: given.cron.clone(),
        interval: given.interval.clone(),
        timezone: given.timezone.clone(),
        window: given.window.clone(),
        start_date: given.start_date.clone().unwrap_or_default(),
        num_retries,
        retry_wait: given.retry_wait.clone(),
    };
    timetable::read(&schedule)
        .map_err(|cause| ApiError::bad(format!("`schedule.{}`: {}", cause.field, cause.cause)))?;
    Ok(Some(schedule))
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
            method: self.backup_method()?,
            rate_limit: self.limits("rate_limit")?,
            snapshot_parallel: self.limits("snapshot_parallel")?,
            upload_parallel: self.limits("upload_parallel")?,
            transfers: self.transfers()?,
            storage_class: self
                .text("storage_class")?
                .filter(|class| !class.is_empty()),
            retention: self.retention()?,
        };
        self.only("retention_lock_mode", &[json!("disabled"), json!("")]);
        self.only("override_retention_lock", &[json!(false)]);
        self.only("purge_only", &[json!(false)]);
        self.only("skip_schema", &[json!(false), json!(true)]);
        self.only("continue", &[json!(true)]);
        Ok(request)
    }

    fn restore(&mut self) -> Result<RestoreRequest, ApiError> {
        let snapshot_tag = self.tag()?.ok_or_else(|| {
            ApiError::bad("property `snapshot_tag` is missing: name the backup to restore, as in sm_20260131235959UTC")
        })?;
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
            method: self.restore_method()?,
            rate_limit: self.limits("rate_limit")?,
            transfers: self.transfers()?,
            what: self.what()?,
            dc_mapping: self.dc_mapping()?,
            rename: self.rename()?,
            with_roles: self.flag("with_roles")?,
            merge: self.flag("merge")?,
            one_to_one: self.flag("one_to_one")?,
            drill: self.flag("drill")?,
            undo: self.undo()?,
        };
        if request.drill && (!request.rename.is_empty() || request.what != Restored::All) {
            return Err(ApiError::bad(
                "a drill restores schema and rows, into keyspaces of its own: leave out rename, restore_schema and restore_tables",
            ));
        }
        let limited = request.rate_limit.iter().any(|limit| limit.limit > 0);
        if request.method == Method::Native && (limited || request.transfers.is_some()) {
            return Err(ApiError::bad(
                "rate_limit and transfers do not hold for what ScyllaDB restores itself (method `native`): leave \
                 them out, and set stream_io_throughput_mb_per_sec in each node's scylla.yaml",
            ));
        }
        self.only("batch_size", &[json!(0), json!(2)]);
        self.only("parallel", &[json!(0)]);
        self.only("allow_compaction", &[json!(false)]);
        self.only("unpin_agent_cpu", &[json!(false)]);
        self.only("continue", &[json!(true)]);
        Ok(request)
    }

    /// Both, where nothing is said: rows, and the schema if the backup has one.
    fn what(&mut self) -> Result<Restored, ApiError> {
        let mut given = |key: &str| match self.left.contains_key(key) {
            true => self.flag(key).map(Some),
            false => Ok(None),
        };
        let (tables, schema) = (given("restore_tables")?, given("restore_schema")?);
        match (tables, schema) {
            (None, None) | (Some(true), Some(true)) => Ok(Restored::All),
            (Some(true), None | Some(false)) | (None, Some(false)) => Ok(Restored::Tables),
            (None | Some(false), Some(true)) | (Some(false), None) => Ok(Restored::Schema),
            (Some(false), Some(false)) => Err(ApiError::bad(
                "properties `restore_tables` and `restore_schema` are both false: nothing is to be restored",
            )),
        }
    }

    /// `{"dc9": "dc1"}`, or as ScyllaDB Manager's `sctool` writes it: `dc9=dc1,dc8=dc1`.
    fn pairs(&mut self, key: &'static str) -> Result<Vec<(String, String)>, ApiError> {
        let wrong = || {
            ApiError::bad(format!(
                "property `{key}`: give pairs, as in {{\"from\": \"to\"}} or \"from=to\""
            ))
        };
        let pair = |text: &str| {
            let (from, to) = text.split_once('=').ok_or_else(wrong)?;
            Ok((from.trim().to_owned(), to.trim().to_owned()))
        };
        let pairs: Result<Vec<(String, String)>, ApiError> = match self.left.remove(key) {
            None | Some(Value::Null) => Ok(Vec::new()),
            Some(Value::String(text)) if text.is_empty() => Ok(Vec::new()),
            Some(Value::String(text)) => text.split(',').map(pair).collect(),
            Some(Value::Array(list)) => list
                .iter()
                .map(|one| pair(one.as_str().ok_or_else(wrong)?))
                .collect(),
            Some(Value::Object(map)) => map
                .into_iter()
                .map(|(from, to)| Ok((from, to.as_str().ok_or_else(wrong)?.to_owned())))
                .collect(),
            Some(Value::Bool(_) | Value::Number(_)) => Err(wrong()),
        };
        let pairs = pairs?;
        let mut seen = BTreeSet::new();
        for (from, to) in &pairs {
            if from.is_empty() || to.is_empty() {
                return Err(wrong());
            }
            if !seen.insert(from) {
                return Err(ApiError::bad(format!(
                    "property `{key}` names `{from}` twice"
                )));
            }
        }
        Ok(pairs)
    }

    fn dc_mapping(&mut self) -> Result<Vec<DcMapping>, ApiError> {
        let pairs = self.pairs("dc_mapping")?.into_iter();
        Ok(pairs.map(|(from, to)| DcMapping { from, to }).collect())
    }

    fn rename(&mut self) -> Result<Vec<Rename>, ApiError> {
        let pairs = self.pairs("rename")?;
        let mut targets = BTreeSet::new();
        for (from, to) in &pairs {
            let depth = |name: &str| name.split('.').filter(|part| !part.is_empty()).count();
            let sound = |name: &str| depth(name) == name.split('.').count() && depth(name) <= 2;
            if !sound(from) || !sound(to) || depth(from) != depth(to) {
                return Err(ApiError::bad(format!(
                    "property `rename`: `{from}={to}` is neither <keyspace>=<keyspace> nor \
                     <keyspace>.<table>=<keyspace>.<table>"
                )));
            }
            if !targets.insert(to) {
                return Err(ApiError::bad(format!(
                    "property `rename`: two are to be called `{to}`"
                )));
            }
        }
        let pairs = pairs.into_iter();
        Ok(pairs.map(|(from, to)| Rename { from, to }).collect())
    }

    fn undo(&mut self) -> Result<Option<RunId>, ApiError> {
        let run = self.text("undo")?.filter(|text| !text.is_empty());
        run.map(|text| {
            text.parse().map_err(|_| {
                ApiError::bad(format!(
                    "property `undo`: `{text}` is no run's identity (a UUID)"
                ))
            })
        })
        .transpose()
    }

    fn suspend(&mut self) -> Result<SuspendRequest, ApiError> {
        let request = SuspendRequest {
            duration_ms: self.duration("duration")?,
            allow: allowed(&self.text("allow_task_type")?.unwrap_or_default())?,
            fail_if_running: policy(&self.text("suspend_policy")?.unwrap_or_default())?,
            no_continue: self.flag("no_continue")?,
            start_tasks: self.flag("start_tasks")?,
        };
        self.only("resume", &[json!(false)]);
        Ok(request)
    }

    fn validate(&mut self) -> Result<ValidateRequest, ApiError> {
        let request = ValidateRequest {
            location: self.locations()?,
            snapshot_tag: self.tag()?,
            checksum: self.flag("checksum")?,
            max_bytes: self.count("max_bytes")?.unwrap_or_default(),
            delete_orphaned_files: self.flag("delete_orphaned_files")?,
        };
        // ScyllaDB Manager takes it, too, and looks at all nodes at once.
        self.count("parallel")?;
        Ok(request)
    }

    fn tag(&mut self) -> Result<Option<SnapshotTag>, ApiError> {
        let tag = self.text("snapshot_tag")?.map(|tag| tag.parse());
        tag.transpose()
            .map_err(|e| ApiError::bad(format!("property `snapshot_tag`: {e}")))
    }

    fn flag(&mut self, key: &str) -> Result<bool, ApiError> {
        match self.left.remove(key) {
            None => Ok(false),
            Some(Value::Bool(flag)) => Ok(flag),
            Some(other) => Err(ApiError::bad(format!(
                "property `{key}` is {other}; it must be true or false"
            ))),
        }
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

    /// A span of time, as `1h30m`; in milliseconds, 0 if there is none.
    fn duration(&mut self, key: &str) -> Result<u64, ApiError> {
        let Some(text) = self.text(key)? else {
            return Ok(0);
        };
        let read = match text.as_str() {
            "0" => Ok(Duration::ZERO),
            text => humantime::parse_duration(text),
        };
        let read = read
            .ok()
            .and_then(|read| u64::try_from(read.as_millis()).ok());
        read.ok_or_else(|| {
            ApiError::bad(format!(
                "property `{key}` is `{text}`; it must be a span of time, as 30m or 1h30m"
            ))
        })
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

    /// Limits by datacenter, each of which has one.
    fn limits(&mut self, key: &str) -> Result<Vec<DcLimit>, ApiError> {
        let wrong = |cause: String| ApiError::bad(format!("property `{key}`: {cause}"));
        let mut limits = Vec::<DcLimit>::new();
        for text in self.texts(key)? {
            let limit: DcLimit = text
                .parse()
                .map_err(|e: InvalidLimit| wrong(e.to_string()))?;
            if limits.iter().any(|other| other.dc == limit.dc) {
                let dc = limit.dc.as_deref().unwrap_or("every datacenter");
                return Err(wrong(format!("two limits are given for {dc}; give one")));
            }
            limits.push(limit);
        }
        Ok(limits)
    }

    /// Files at once. ScyllaDB Manager writes "as many as the agent is set to" as -1, or as 0.
    fn transfers(&mut self) -> Result<Option<u32>, ApiError> {
        match self.left.remove("transfers") {
            None => Ok(None),
            Some(value) => match value.as_i64() {
                Some(-1 | 0) => Ok(None),
                Some(count @ 1..=MOST_TRANSFERS) => Ok(u32::try_from(count).ok()),
                Some(_) | None => Err(ApiError::bad(format!(
                    "property `transfers` is {value}; it must be a number from 1 to \
                     {MOST_TRANSFERS}, or -1 for what the workers are set to"
                ))),
            },
        }
    }

    /// With nothing said, as many as ScyllaDB Manager keeps.
    fn retention(&mut self) -> Result<Retention, ApiError> {
        let read = [
            "retention",
            "retention_days",
            "keep_daily",
            "keep_weekly",
            "keep_monthly",
        ]
        .map(|key| self.number(key));
        let [count, days, daily, weekly, monthly] = read;
        let (count, days) = (count?, days?);
        let (daily, weekly, monthly) = (daily?, weekly?, monthly?);
        if [count, days, daily, weekly, monthly]
            .iter()
            .all(Option::is_none)
        {
            return Ok(Retention {
                retention: KEPT,
                ..Retention::default()
            });
        }
        Ok(Retention {
            retention: count.unwrap_or_default(),
            retention_days: days.unwrap_or_default(),
            keep_daily: daily.unwrap_or_default(),
            keep_weekly: weekly.unwrap_or_default(),
            keep_monthly: monthly.unwrap_or_default(),
        })
    }

    fn number(&mut self, key: &str) -> Result<Option<u32>, ApiError> {
        self.read(key, |value| u32::try_from(value.as_u64()?).ok())
    }

    fn count(&mut self, key: &str) -> Result<Option<u64>, ApiError> {
        self.read(key, Value::as_u64)
    }

    fn read<T>(
        &mut self,
        key: &str,
        read: impl Fn(&Value) -> Option<T>,
    ) -> Result<Option<T>, ApiError> {
        let Some(value) = self.left.remove(key) else {
            return Ok(None);
        };
        read(&value).map(Some).ok_or_else(|| {
            ApiError::bad(format!(
                "property `{key}` is {value}; it must be a number from 0, which is for no limit"
            ))
        })
    }

    fn backup_method(&mut self) -> Result<Method, ApiError> {
        match self.text("method")?.as_deref() {
            None | Some("agent") => Ok(Method::Agent),
            Some("native") => Ok(Method::Native),
            Some("auto") => Ok(Method::Auto),
            Some("rclone") => Ok(Method::Rclone),
            Some(other) => Err(ApiError::bad(format!(
                "there is no method `{other}`; use `agent`, `native`, `auto` or `rclone`"
            ))),
        }
    }

    fn restore_method(&mut self) -> Result<Method, ApiError> {
        match self.text("method")?.as_deref() {
            None | Some("agent") => Ok(Method::Agent),
            Some("native") => Ok(Method::Native),
            Some("auto") => Ok(Method::Auto),
            Some("tablets") => Ok(Method::Tablets),
            Some("rclone") => Err(ApiError::bad(
                "rclone brings backups to the bucket and none back: what it stores lies there as every \
                 backup does, so use `agent`, `native`, `tablets` or `auto`",
            )),
            Some(other) => Err(ApiError::bad(format!(
                "there is no method `{other}`; use `agent`, `native`, `tablets` or `auto`"
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
        let given = json!({"location": ["s3:a", "dc1:gcs:b"], "keyspace": ["shop.*", "!shop.tmp"], "dc": ["dc*"], "method": "agent",
            "rate_limit": ["100", "dc1:50"], "snapshot_parallel": ["1"], "upload_parallel": ["dc1:2"], "transfers": 8,
            "storage_class": "NEARLINE", "retention": 7, "retention_days": 30, "keep_weekly": 4});
        let wish = read(TaskKind::Backup, given.clone()).unwrap();
        assert_eq!(Value::Object(wish.properties()), given);
        let given = json!({
            "location": ["s3:a"], "snapshot_tag": "sm_20260131235959UTC", "restore_tables": true, "restore_schema": true, "method": "agent",
            "rate_limit": ["0"], "transfers": 4, "dc_mapping": ["dc8=dc1", "dc9=dc1"], "rename": ["shop=shop2", "a.b=c.d"],
            "with_roles": true, "merge": true,
            "source_cluster_id": "6f1e0000-0000-4000-8000-000000000001",
        });
        assert_eq!(
            Value::Object(read(TaskKind::Restore, given.clone()).unwrap().properties()),
            given
        );
    }

    #[test]
    fn what_lies_as_it_lay_is_not_changed_on_the_way() {
        let read = |kind, more: Value| {
            let mut all = json!({"location": ["s3:a"]});
            let more = more.as_object().unwrap().clone();
            all.as_object_mut().unwrap().extend(more);
            read(kind, all).map(|wish| Value::Object(wish.properties()))
        };
        let restore = |more: Value| {
            let mut all = json!({"snapshot_tag": "sm_20260131235959UTC"});
            all.as_object_mut()
                .unwrap()
                .extend(more.as_object().unwrap().clone());
            read(TaskKind::Restore, all)
        };
        let known = restore(json!({"one_to_one": true})).unwrap();
        assert_eq!(
            (&known["one_to_one"], &known["method"]),
            (&json!(true), &json!("agent"))
        );
        let known = restore(json!({"method": "tablets"})).unwrap();
        assert_eq!(known["method"], "tablets");
        for (more, part) in [
            (
                json!({"one_to_one": true, "method": "native"}),
                "not by `native`",
            ),
            (
                json!({"one_to_one": true, "rename": ["a=b"]}),
                "leave out rename",
            ),
            (
                json!({"one_to_one": true, "drill": true}),
                "leave out rename and drill",
            ),
            (
                json!({"one_to_one": true, "restore_schema": true}),
                "restore rows",
            ),
            (
                json!({"method": "tablets", "merge": true}),
                "for empty tables",
            ),
        ] {
            let said = restore(more).unwrap_err();
            assert!(said.contains(part), "{said}");
        }
        let said = read(TaskKind::Backup, json!({"method": "tablets"})).unwrap_err();
        assert!(said.contains("there is no method `tablets`"), "{said}");
    }

    #[test]
    fn a_backup_goes_by_the_method_it_names() {
        for (more, method) in [
            (json!({}), Method::Agent),
            (json!({"method": ""}), Method::Agent),
            (
                json!({"method": "agent", "rate_limit": ["50"]}),
                Method::Agent,
            ),
            (
                json!({"method": "auto", "rate_limit": ["50"], "transfers": 4}),
                Method::Auto,
            ),
            (
                json!({"method": "native", "rate_limit": ["0"], "transfers": -1}),
                Method::Native,
            ),
        ] {
            let mut all = json!({"location": ["s3:a"]});
            all.as_object_mut()
                .unwrap()
                .extend(more.as_object().unwrap().clone());
            let Wish::Backup(backup) = read(TaskKind::Backup, all).unwrap() else {
                panic!("a backup")
            };
            assert_eq!(backup.method, method, "{more}");
        }
    }

    #[test]
    fn what_a_restore_brings_is_both_unless_something_is_said() {
        let what = |more: Value| {
            let mut given = json!({"location": ["s3:a"], "snapshot_tag": "sm_20260131235959UTC"});
            let (Value::Object(all), Value::Object(more)) = (&mut given, more) else {
                panic!("objects")
            };
            all.extend(more);
            let Wish::Restore(request) = read(TaskKind::Restore, given)? else {
                panic!("a restore")
            };
            Ok::<_, String>(request)
        };
        for (more, expected) in [
            (json!({}), Restored::All),
            (json!({"restore_tables": true}), Restored::Tables),
            (json!({"restore_schema": true}), Restored::Schema),
            (json!({"restore_schema": false}), Restored::Tables),
            (
                json!({"restore_tables": true, "restore_schema": true}),
                Restored::All,
            ),
        ] {
            assert_eq!(what(more).unwrap().what, expected);
        }
        let mapped = what(json!({"dc_mapping": {"a": "b"}, "rename": "x=y,s.t=u.v"})).unwrap();
        assert_eq!((mapped.dc_mapping.len(), mapped.rename.len()), (1, 2));
        for (more, named) in [
            (
                json!({"restore_tables": false, "restore_schema": false}),
                "nothing is to be restored",
            ),
            (json!({"dc_mapping": "a"}), "dc_mapping"),
            (json!({"dc_mapping": ["a=b", "a=c"]}), "`a` twice"),
            (json!({"rename": ["a=b.c"]}), "a=b.c"),
            (json!({"rename": ["a=c", "b=c"]}), "called `c`"),
            (json!({"undo": "it"}), "undo"),
            (json!({"drill": true, "rename": ["a=b"]}), "drill"),
        ] {
            let said = what(more).unwrap_err();
            assert!(said.contains(named), "{said}");
        }
    }

    #[test]
    fn what_asks_for_nothing_is_taken() {
        let defaults = json!({
            "location": ["s3:a"], "transfers": -1, "rate_limit": [], "skip_schema": false,
            "retention_lock_mode": "disabled", "continue": true, "dc": null,
        });
        assert!(read(TaskKind::Backup, defaults).is_ok());
    }

    #[test]
    fn what_is_kept_is_three_unless_something_is_said() {
        let kept = |more: Value| {
            let mut all = json!({"location": ["s3:a"]});
            all.as_object_mut()
                .unwrap()
                .extend(more.as_object().unwrap().clone());
            let Wish::Backup(backup) = read(TaskKind::Backup, all).unwrap() else {
                panic!("a backup")
            };
            backup.retention
        };
        let of = |retention, retention_days, keep_daily| Retention {
            retention,
            retention_days,
            keep_daily,
            ..Retention::default()
        };
        assert_eq!(kept(json!({})), of(3, 0, 0));
        assert_eq!(
            kept(json!({"retention": null, "keep_daily": null})),
            of(3, 0, 0)
        );
        assert_eq!(kept(json!({"retention": 0})), of(0, 0, 0));
        assert_eq!(kept(json!({"retention_days": 5})), of(0, 5, 0));
        assert_eq!(
            kept(json!({"retention_days": 5, "retention": 2})),
            of(2, 5, 0)
        );
        assert_eq!(kept(json!({"keep_daily": 7})), of(0, 0, 7));
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
            (json!({"rate_limit": ["fast"]}), "`rate_limit`: `fast`"),
            (
                json!({"rate_limit": ["1", "2"]}),
                "two limits are given for every datacenter",
            ),
            (
                json!({"upload_parallel": ["a:1", "a:2"]}),
                "two limits are given for a",
            ),
            (json!({"snapshot_parallel": 1}), "`snapshot_parallel` is 1"),
            (json!({"transfers": -2}), "`transfers` is -2"),
            (json!({"transfers": 1025}), "`transfers` is 1025"),
            (
                json!({"skip_schema": 1, "purge_only": true}),
                "`purge_only`, `skip_schema`",
            ),
            (json!({"location": ["ftp:x"]}), "`ftp`"),
            (json!({"location": []}), "no location"),
            (json!({"location": ["s3:a", "s3:b"]}), "two locations"),
            (json!({"location": "s3:a"}), "must be a list"),
            (json!({"keyspace": ["shop["]}), "shop["),
            (json!({"keyspace": [1]}), "must be a list of texts"),
            (json!({"retention": -1}), "`retention` is -1"),
            (json!({"retention_days": "7"}), "`retention_days` is \"7\""),
            (json!({"keep_weekly": 1.5}), "`keep_weekly` is 1.5"),
            (json!({"keep_monthly": 4_294_967_296_u64}), "`keep_monthly`"),
            (
                json!({"method": "native", "rate_limit": ["dc1:50"]}),
                "backup_io_throughput_mb_per_sec",
            ),
            (
                json!({"method": "native", "storage_class": "STANDARD_IA"}),
                "storage_class does not hold",
            ),
            (
                json!({"location": ["azure:a"], "storage_class": "STANDARD_IA"}),
                "`azure:a` is neither",
            ),
            (
                json!({"storage_class": "DEEP_ARCHIVE"}),
                "property `storage_class`: `DEEP_ARCHIVE`",
            ),
            (
                json!({"method": "native", "transfers": 4}),
                "object_storage_connections_per_shard",
            ),
            (json!({"method": "magic"}), "no method"),
            (
                json!({"snapshot_tag": "sm_20260131235959UTC"}),
                "no property `snapshot_tag`",
            ),
        ] {
            let said = backup(more);
            assert!(said.contains(named), "{said}");
        }
        let limited = json!({"location": ["s3:a"], "snapshot_tag": "sm_20260131235959UTC", "method": "native", "transfers": 4});
        let said = read(TaskKind::Restore, limited).unwrap_err();
        assert!(said.contains("stream_io_throughput"), "{said}");
        let rclone = json!({"location": ["s3:a"], "snapshot_tag": "sm_20260131235959UTC", "method": "rclone"});
        let said = read(TaskKind::Restore, rclone).unwrap_err();
        assert!(
            said.contains("use `agent`, `native`, `tablets` or `auto`"),
            "{said}"
        );
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
    fn a_schedule_is_read_and_what_is_wrong_with_it_named() {
        let read = |change: fn(&mut Given)| {
            let mut given = Given {
                num_retries: 3,
                retry_wait: "10m".into(),
                timezone: "UTC".into(),
                ..Given::default()
            };
            change(&mut given);
            schedule(Some(&given)).map_err(|e| e.message().to_owned())
        };
        assert_eq!(schedule(None).unwrap(), None);
        let daily = read(|g| g.cron = "@daily".into()).unwrap().unwrap();
        assert_eq!((&*daily.cron, daily.num_retries), ("@daily", 3));
        for (change, named) in [
            (
                (|g| g.cron = "@dayly".into()) as fn(&mut Given),
                "`schedule.cron`",
            ),
            (|g| g.interval = "often".into(), "`schedule.interval`"),
            (|g| g.timezone = "Nowhere".into(), "`schedule.timezone`"),
            (
                |g| g.start_date = Some("soon".into()),
                "`schedule.start_date`",
            ),
            (|g| g.num_retries = -1, "`schedule.num_retries`"),
            (|g| g.retry_wait = "a while".into(), "`schedule.retry_wait`"),
            (|g| g.window = vec!["MON-00:00".into()], "`schedule.window`"),
        ] {
            let said = read(change).unwrap_err();
            assert!(said.contains(named), "{said}");
        }
    }
}
