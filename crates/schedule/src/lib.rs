//! When a task runs: schedules as pure values.
//!
//! # Promises
//! * Nothing here has a clock: what comes next follows from the time that is given.
//! * A wall-clock time comes **once a day** also when clocks are changed: one that is left out runs
//!   as much later as clocks were put forward, one that comes twice runs the first time. A schedule
//!   for every hour runs every hour, however long the day.
//! * What cannot be read is refused with the field, what is wrong with it, and an example.
//!
//! Forms are ScyllaDB Manager's: five fields of cron, `@daily` and the like, `@every 6h`; windows of
//! pairs `[<weekday>-]HH:MM`; retries whose wait doubles up to three hours.
//!
//! # Not here
//! Who runs what, and what has run: that is the scheduler's.

mod cron;
mod window;

use jiff::{SignedDuration, Timestamp, tz::TimeZone};

pub use self::{cron::Cron, window::Windows};

/// The longest wait before a retry.
const LONGEST: SignedDuration = SignedDuration::from_hours(3);

/// What is wrong with a schedule.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{field}`: {cause}")]
pub struct Invalid {
    /// The field, as clients name it.
    pub field: &'static str,
    /// What is wrong, and what would be right.
    pub cause: String,
}

impl Invalid {
    fn new(field: &'static str, cause: impl Into<String>) -> Self {
        let cause = cause.into();
        Self { field, cause }
    }
}

/// A schedule as a user gives it; what is empty is not asked for.
#[derive(Clone, Copy, Debug, Default)]
pub struct Given<'a> {
    /// A cron expression.
    pub cron: &'a str,
    /// How often, as `7d`: the older form of `@every`.
    pub interval: &'a str,
    /// Name of the time zone of `cron` and `window`; UTC when empty.
    pub timezone: &'a str,
    /// When it may run: begins and ends of windows in turn.
    pub window: &'a [String],
    /// Not before this, as RFC 3339 has it.
    pub start_date: &'a str,
    /// How often a run that failed is tried again.
    pub num_retries: u32,
    /// How long to wait before the first time, as `10m`.
    pub retry_wait: &'a str,
}

/// When a task runs.
#[derive(Clone, Debug)]
pub struct Schedule {
    repeats: Repeats,
    start: Option<Timestamp>,
    windows: Windows,
    retries: u32,
    retry_wait: SignedDuration,
}

#[derive(Clone, Debug)]
enum Repeats {
    Never,
    Cron(Cron),
    Every(SignedDuration),
}

impl Schedule {
    /// Reads what a user gives.
    ///
    /// # Errors
    /// [`Invalid`] names the field.
    pub fn read(given: &Given<'_>) -> Result<Self, Invalid> {
        let zone = zone(given.timezone)?;
        let cron = given.cron.trim();
        let interval = some(given.interval, "interval")?;
        let repeats = match (cron.strip_prefix("@every"), interval) {
            (Some(_), Some(_)) => return Err(both()),
            (None, Some(_)) if !cron.is_empty() => return Err(both()),
            (Some(every), None) => Repeats::Every(positive(every.trim(), "cron")?),
            (None, Some(every)) => Repeats::Every(every),
            (None, None) if cron.is_empty() => Repeats::Never,
            (None, None) => Repeats::Cron(Cron::read(cron, zone.clone())?),
        };
        let start = match given.start_date.trim() {
            "" => None,
            text => Some(text.parse().map_err(|_| {
                let cause = format!("`{text}` is no time; give one as 2026-01-31T02:00:00Z");
                Invalid::new("start_date", cause)
            })?),
        };
        let retry_wait = some(given.retry_wait, "retry_wait")?;
        Ok(Self {
            repeats,
            start,
            windows: Windows::read(given.window, zone)?,
            retries: given.num_retries,
            retry_wait: retry_wait.unwrap_or(SignedDuration::from_mins(10)),
        })
    }

    /// The first activation after `after`, of a task that was made at `made`; `None` if there is
    /// none. Windows are not looked at.
    ///
    /// One that is repeated at an interval keeps to its start: a run that was late delays no other.
    #[must_use]
    pub fn next(&self, after: Timestamp, made: Timestamp) -> Option<Timestamp> {
        // The start itself is one.
        let floor = |start: Timestamp| start.checked_sub(SignedDuration::from_nanos(1)).ok();
        let from = match self.start.and_then(floor) {
            Some(start) => after.max(start),
            None => after,
        };
        match &self.repeats {
            Repeats::Never => self.start.filter(|start| *start > after),
            Repeats::Cron(cron) => cron.next(from),
            Repeats::Every(every) => {
                let (first, step) = (self.start.unwrap_or(made), every.as_millis());
                let passed = after.duration_since(first).as_millis();
                let steps = match passed < 0 {
                    true => 0,
                    false => passed / step + 1,
                };
                // Of a task without a start the first run comes with its making.
                let steps = match self.start {
                    None => steps.max(1),
                    Some(_) => steps,
                };
                let away = i64::try_from(steps * step).ok()?;
                first.checked_add(SignedDuration::from_millis(away)).ok()
            }
        }
    }

    /// Whether a task that is made at `now` runs at once: one without a time to wait for.
    #[must_use]
    pub fn at_once(&self, now: Timestamp) -> bool {
        match self.repeats {
            Repeats::Never => self.start.is_none_or(|start| start <= now),
            Repeats::Every(_) => self.start.is_none(),
            Repeats::Cron(_) => false,
        }
    }

    /// The latest activation in `(after, until]`: however many were missed, one run makes up for them.
    #[must_use]
    pub fn latest(&self, after: Timestamp, until: Timestamp, made: Timestamp) -> Option<Timestamp> {
        // Halving the time finds it in few steps, and never looks at all that were missed.
        let within = |from: Timestamp| self.next(from, made).filter(|at| *at <= until);
        let mut found = within(after)?;
        let mut reach = until.duration_since(found) / 2;
        while reach > SignedDuration::from_secs(1) {
            let ahead = found.checked_add(reach).ok().and_then(within);
            match ahead {
                Some(later) => {
                    found = later;
                    reach = until.duration_since(found) / 2;
                }
                None => reach /= 2,
            }
        }
        while let Some(later) = within(found) {
            found = later;
        }
        Some(found)
    }

    /// When it may run.
    #[must_use]
    pub fn windows(&self) -> &Windows {
        &self.windows
    }

    /// How long to wait after a run that failed, of which `failed` have failed in a row; `None` when
    /// it is not tried again.
    #[must_use]
    pub fn retry(&self, failed: u32) -> Option<SignedDuration> {
        let doubled = 1_i32.checked_shl(failed.saturating_sub(1).min(20));
        let wait = self.retry_wait.checked_mul(doubled.unwrap_or(1));
        (1..=self.retries)
            .contains(&failed)
            .then(|| wait.unwrap_or(LONGEST).min(LONGEST.max(self.retry_wait)))
    }
}

fn both() -> Invalid {
    Invalid::new("interval", "leave it out where `cron` is given")
}

/// The time zone of that name.
fn zone(name: &str) -> Result<TimeZone, Invalid> {
    match name.trim() {
        "" | "UTC" => Ok(TimeZone::UTC),
        name => TimeZone::get(name).map_err(|_| {
            let cause = format!("there is no time zone `{name}`; give one as Europe/Berlin or UTC");
            Invalid::new("timezone", cause)
        }),
    }
}

/// A span of time, if one is given; 0 is none.
fn some(text: &str, field: &'static str) -> Result<Option<SignedDuration>, Invalid> {
    let text = text.trim();
    if text.is_empty() {
        return Ok(None);
    }
    if text == "0" {
        return Ok(None);
    }
    let read = humantime::parse_duration(text).ok();
    let read = read.and_then(|read| SignedDuration::try_from(read).ok());
    let read = read.ok_or_else(|| {
        let cause = format!("`{text}` is no span of time; give one as 10m, 6h, 1h30m or 7d");
        Invalid::new(field, cause)
    })?;
    Ok(Some(read).filter(|read| !read.is_zero()))
}

fn positive(text: &str, field: &'static str) -> Result<SignedDuration, Invalid> {
    let read = some(text, field)?;
    read.ok_or_else(|| Invalid::new(field, "say how often, as in `@every 6h`"))
}
