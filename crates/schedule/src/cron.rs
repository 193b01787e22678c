//! Cron expressions.

use cronexpr::{Crontab, FallbackTimezoneOption, ParseOptions, parse_crontab_with};
use jiff::{Timestamp, Zoned, civil::DateTime, tz::TimeZone};

use crate::Invalid;

/// Names for common expressions.
const NAMES: [(&str, &str); 7] = [
    ("@yearly", "0 0 1 1 *"),
    ("@annually", "0 0 1 1 *"),
    ("@monthly", "0 0 1 * *"),
    ("@weekly", "0 0 * * 0"),
    ("@daily", "0 0 * * *"),
    ("@midnight", "0 0 * * *"),
    ("@hourly", "0 * * * *"),
];

/// A cron expression in a time zone.
#[derive(Clone, Debug)]
pub struct Cron {
    /// On wall clocks, as if there was but one time zone.
    expression: Crontab,
    zone: TimeZone,
    /// Whether it is for every hour.
    hourly: bool,
}

impl Cron {
    /// Reads five fields, or a name as `@daily`.
    ///
    /// # Errors
    /// [`Invalid`], also for an expression that never comes true, as the 30th of February.
    pub fn read(text: &str, zone: TimeZone) -> Result<Self, Invalid> {
        let invalid = |cause: String| Invalid::new("cron", cause);
        let named = NAMES.iter().find(|(name, _)| *name == text);
        if text.starts_with('@') && named.is_none() {
            return Err(invalid(format!(
                "there is no `{text}`; known are @hourly, @daily, @weekly, @monthly, @yearly and \
                 `@every 6h`"
            )));
        }
        let fields = named.map_or(text, |(_, fields)| fields);
        let parts: Vec<&str> = fields.split_whitespace().collect();
        if parts.len() != 5 {
            return Err(invalid(format!(
                "`{text}` has {} fields; give minute, hour, day of month, month and day of week, as \
                 in `0 2 * * MON-FRI`",
                parts.len()
            )));
        }
        let mut options = ParseOptions::default();
        options.fallback_timezone_option = FallbackTimezoneOption::UTC;
        let expression = parse_crontab_with(fields, options).map_err(|cause| {
            let cause = cause.to_string();
            let cause = cause.lines().last().unwrap_or_default().trim().to_owned();
            invalid(format!("`{text}` cannot be read: {cause}"))
        })?;
        let cron = Self {
            expression,
            zone,
            hourly: parts[1] == "*",
        };
        match cron.wall_after(DateTime::new(2024, 1, 1, 0, 0, 0, 0).unwrap_or_default()) {
            Some(_) => Ok(cron),
            None => Err(invalid(format!("`{text}` never comes true"))),
        }
    }

    /// The first time after `after`.
    #[must_use]
    pub fn next(&self, after: Timestamp) -> Option<Timestamp> {
        let here = after.to_zoned(self.zone.clone());
        if self.hourly {
            return self.hour_by_hour(&here);
        }
        // A wall clock that is put back shows times again that it has shown.
        let mut wall = here.datetime();
        loop {
            wall = self.wall_after(wall)?;
            let at = self.zone.to_ambiguous_timestamp(wall).compatible().ok()?;
            if at > after {
                return Some(at);
            }
        }
    }

    /// Each hour has such a time, so what the wall clock shows is looked at hour by hour.
    fn hour_by_hour(&self, here: &Zoned) -> Option<Timestamp> {
        // The offset of a time zone changes at most a few times a year; within one, both clocks agree.
        let offset = here.offset();
        let wall = self.wall_after(here.datetime())?;
        let at = offset.to_timestamp(wall).ok()?;
        let turn = self.zone.following(here.timestamp()).next();
        match turn.filter(|turn| turn.timestamp() <= at) {
            None => Some(at),
            // From the moment on, the other offset holds; that moment counts as well.
            Some(turn) => {
                let moment = turn.timestamp();
                let wall = turn.offset().to_datetime(moment);
                let before = wall.checked_sub(jiff::SignedDuration::from_nanos(1)).ok()?;
                let wall = self.wall_after(before)?;
                turn.offset().to_timestamp(wall).ok()
            }
        }
    }

    /// The first wall-clock time after `wall`.
    fn wall_after(&self, wall: DateTime) -> Option<DateTime> {
        let after = wall.to_zoned(TimeZone::UTC).ok()?.timestamp();
        let found = self.expression.find_next(after).ok()?;
        Some(found.datetime())
    }
}
