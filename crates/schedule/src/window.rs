//! Times of the week at which something may run.

use jiff::{
    SignedDuration, Timestamp,
    civil::{DateTime, Weekday},
    tz::TimeZone,
};

use crate::Invalid;

/// Minutes of a day, and of a week.
const DAY: u32 = 24 * 60;
const WEEK: u32 = 7 * DAY;

const DAYS: [(&str, Weekday); 7] = [
    ("MON", Weekday::Monday),
    ("TUE", Weekday::Tuesday),
    ("WED", Weekday::Wednesday),
    ("THU", Weekday::Thursday),
    ("FRI", Weekday::Friday),
    ("SAT", Weekday::Saturday),
    ("SUN", Weekday::Sunday),
];

/// When something may run; without any window, always.
#[derive(Clone, Debug)]
pub struct Windows {
    /// Minutes since Monday 0:00, `from` to before `to`; in order, apart from each other. The last
    /// may reach into the next week.
    slots: Vec<(u32, u32)>,
    zone: TimeZone,
}

/// An end of a window: the weekday, or none for every day, and minutes of the day.
type Point = (Option<u32>, u32);

impl Windows {
    /// Reads pairs of begin and end: `23:00`, `06:00` for each night, `SAT-00:00`, `MON-06:00` for a
    /// weekend.
    ///
    /// # Errors
    /// [`Invalid`].
    pub fn read(points: &[String], zone: TimeZone) -> Result<Self, Invalid> {
        if points.len() % 2 == 1 {
            return Err(invalid(
                "a window has a begin and an end: give them in pairs, as in 23:00,06:00".to_owned(),
            ));
        }
        let mut slots = Vec::new();
        for pair in points.chunks(2) {
            let (from, to) = (point(&pair[0], false)?, point(&pair[1], true)?);
            let shown = format!("{},{}", pair[0], pair[1]);
            slots
                .extend(slots_of(from, to).map_err(|cause| invalid(format!("`{shown}` {cause}")))?);
        }
        Ok(Self {
            slots: joined(slots),
            zone,
        })
    }

    /// Until when it may run at `at`, if it may; `Some(None)` for ever.
    #[must_use]
    pub fn open(&self, at: Timestamp) -> Option<Option<Timestamp>> {
        if self.slots.is_empty() || self.always() {
            return Some(None);
        }
        let (wall, minute) = self.look(at);
        let mut slots = self.slots.iter();
        let left = slots.find_map(|(from, to)| {
            let slot = *from..*to;
            // The last one may have begun last week.
            let minute = [minute, minute + WEEK]
                .into_iter()
                .find(|m| slot.contains(m));
            minute.map(|minute| to - minute)
        })?;
        Some(self.later(wall, left))
    }

    /// When it may run next, from `at` on: `at` itself if it may.
    #[must_use]
    pub fn next(&self, at: Timestamp) -> Option<Timestamp> {
        if self.open(at).is_some() {
            return Some(at);
        }
        let (wall, minute) = self.look(at);
        let away = self.slots.iter().map(|(from, _)| match *from > minute {
            true => from - minute,
            false => from + WEEK - minute,
        });
        self.later(wall, away.min()?)
    }

    fn always(&self) -> bool {
        matches!(self.slots[..], [(from, to)] if to - from >= WEEK)
    }

    /// The wall clock at `at`, without seconds, and its minute of the week.
    fn look(&self, at: Timestamp) -> (DateTime, u32) {
        let here = at.to_zoned(self.zone.clone());
        let wall = here.datetime();
        let day = u32::from(here.weekday().to_monday_zero_offset().unsigned_abs());
        let of_day =
            u32::from(wall.hour().unsigned_abs()) * 60 + u32::from(wall.minute().unsigned_abs());
        let seconds =
            i64::from(wall.second()) * 1_000_000_000 + i64::from(wall.subsec_nanosecond());
        let whole = wall.saturating_sub(SignedDuration::from_nanos(seconds));
        (whole, day * DAY + of_day)
    }

    fn later(&self, wall: DateTime, minutes: u32) -> Option<Timestamp> {
        let then = wall
            .checked_add(SignedDuration::from_mins(i64::from(minutes)))
            .ok()?;
        self.zone.to_ambiguous_timestamp(then).compatible().ok()
    }
}

fn invalid(cause: String) -> Invalid {
    Invalid::new("window", cause)
}

fn point(text: &str, end: bool) -> Result<Point, Invalid> {
    let wrong = || {
        invalid(format!(
            "`{text}` is no time of a window; give one as 23:00 or SAT-23:00"
        ))
    };
    let (day, time) = match text.trim().split_once('-') {
        Some((day, time)) => {
            let day = day.to_ascii_uppercase();
            let found = DAYS.iter().position(|(name, _)| *name == day);
            (Some(found.ok_or_else(wrong)?), time)
        }
        None => (None, text.trim()),
    };
    let (hour, minute) = time.split_once(':').ok_or_else(wrong)?;
    let number = |text: &str| match text.len() {
        1..=2 => text.parse::<u32>().ok(),
        _ => None,
    };
    let (hour, minute) = (
        number(hour).ok_or_else(wrong)?,
        number(minute).ok_or_else(wrong)?,
    );
    let whole_day = end && (hour, minute) == (24, 0);
    if (hour > 23 || minute > 59) && !whole_day {
        return Err(wrong());
    }
    let day = day.map(|day| u32::try_from(day).unwrap_or_default());
    Ok((day, hour * 60 + minute))
}

fn slots_of(from: Point, to: Point) -> Result<Vec<(u32, u32)>, &'static str> {
    match (from, to) {
        ((Some(first), begin), (Some(last), end)) => {
            let (from, to) = (first * DAY + begin, last * DAY + end);
            if from == to {
                return Err("is no time at all");
            }
            Ok(vec![(from, if to > from { to } else { to + WEEK })])
        }
        ((None, begin), (None, end)) => {
            if begin == end {
                return Err("is no time at all; leave it out to run at any time");
            }
            let end = if end > begin { end } else { end + DAY };
            let days = (0..7).map(|day| (day * DAY + begin, day * DAY + end));
            Ok(days.collect())
        }
        ((Some(_), _), (None, _)) | ((None, _), (Some(_), _)) => {
            Err("has a weekday at one end; give one at both, or at none")
        }
    }
}

/// The same time in slots that are apart.
fn joined(slots: Vec<(u32, u32)>) -> Vec<(u32, u32)> {
    // What reaches into the next week is at its beginning, too, for those there to join.
    let mut open = vec![false; WEEK as usize];
    for (from, to) in slots {
        for minute in from..to.min(from + WEEK) {
            open[(minute % WEEK) as usize] = true;
        }
    }
    let is = |minute: u32| open[(minute % WEEK) as usize];
    if open.iter().all(|open| *open) {
        return vec![(0, WEEK)];
    }
    let begins = (0..WEEK).filter(|minute| is(*minute) && !is(minute + WEEK - 1));
    begins
        .map(|from| {
            let end = (from..from + WEEK).find(|minute| !is(*minute));
            (from, end.unwrap_or(from + WEEK))
        })
        .collect()
}
