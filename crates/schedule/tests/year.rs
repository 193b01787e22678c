//! A virtual clock that goes through whole years: what runs, and when, to the minute.

#![allow(clippy::unwrap_used, reason = "in a test, a panic is the message")]

use std::collections::BTreeSet;

use jiff::{SignedDuration, Timestamp, ToSpan as _, Zoned, civil::date, tz::TimeZone};
use schedule::{Given, Schedule};

/// Two changes of clocks a year each: at 2:00 in the north and, by half an hour only, in the south.
const ZONES: [&str; 3] = ["Europe/Berlin", "America/New_York", "Australia/Lord_Howe"];

fn at(text: &str) -> Timestamp {
    text.parse().unwrap()
}

fn schedule(cron: &str, timezone: &str) -> Schedule {
    let given = Given {
        cron,
        timezone,
        ..Given::default()
    };
    Schedule::read(&given).unwrap()
}

/// All activations in 2026, by the zone's own clock.
fn year(cron: &str, zone: &str) -> Vec<Zoned> {
    let zoned = TimeZone::get(zone).unwrap();
    let (schedule, made) = (schedule(cron, zone), Timestamp::UNIX_EPOCH);
    let end = date(2027, 1, 1)
        .to_zoned(zoned.clone())
        .unwrap()
        .timestamp();
    let begin = date(2026, 1, 1)
        .to_zoned(zoned.clone())
        .unwrap()
        .timestamp();
    let mut now = begin.checked_sub(SignedDuration::from_nanos(1)).unwrap();
    let mut all = Vec::new();
    while let Some(next) = schedule.next(now, made).filter(|next| *next < end) {
        assert!(next > now, "{cron} {zone} {now}");
        all.push(next.to_zoned(zoned.clone()));
        now = next;
    }
    all
}

#[test]
fn a_daily_run_comes_once_a_day_all_year() {
    for zone in ZONES {
        // Where the clock jumps, and where it does not.
        for cron in [
            "30 2 * * *",
            "15 2 * * *",
            "45 1 * * *",
            "0 3 * * *",
            "@daily",
        ] {
            let all = year(cron, zone);
            let days: BTreeSet<_> = all.iter().map(Zoned::date).collect();
            assert_eq!((all.len(), days.len()), (365, 365), "{cron} in {zone}");
        }
    }
    // One that is left out comes as much later; one that comes twice comes the first time.
    let berlin = year("30 2 * * *", "Europe/Berlin");
    let on = |month, day| {
        let found = berlin.iter().find(|at| at.date() == date(2026, month, day));
        found.unwrap().to_string()
    };
    assert_eq!(on(3, 28), "2026-03-28T02:30:00+01:00[Europe/Berlin]");
    assert_eq!(on(3, 29), "2026-03-29T03:30:00+02:00[Europe/Berlin]");
    assert_eq!(on(3, 30), "2026-03-30T02:30:00+02:00[Europe/Berlin]");
    assert_eq!(on(10, 25), "2026-10-25T02:30:00+02:00[Europe/Berlin]");
}

#[test]
fn an_hourly_run_comes_every_hour_however_long_the_day() {
    for zone in ["Europe/Berlin", "America/New_York", "UTC"] {
        for cron in ["@hourly", "30 * * * *"] {
            let all = year(cron, zone);
            assert_eq!(all.len(), 365 * 24, "{cron} in {zone}");
            for pair in all.windows(2) {
                let apart = pair[0].duration_until(&pair[1]);
                assert_eq!(
                    apart,
                    SignedDuration::from_hours(1),
                    "{} in {zone}",
                    pair[0]
                );
            }
        }
        assert_eq!(year("*/15 * * * *", zone).len(), 365 * 24 * 4, "{zone}");
    }
    // Half an hour is left out, and half an hour comes twice: so do the times in it.
    let island = year("30 * * * *", "Australia/Lord_Howe");
    assert_eq!(island.len(), 365 * 24 + 1);
}

#[test]
fn weekdays_and_months_are_as_cron_has_them() {
    let mondays = year("0 6 * * MON", "Europe/Berlin");
    assert!(mondays.len() == 52 && mondays.iter().all(|at| at.hour() == 6));
    assert_eq!(mondays, year("0 6 * * 1", "Europe/Berlin"));
    assert_eq!(year("0 6 * * 0", "UTC"), year("0 6 * * SUN", "UTC"));
    assert_eq!(year("0 0 1 * *", "America/New_York").len(), 12);
    // Both days given: either will do.
    let either = year("0 0 13 * FRI", "UTC");
    assert!(
        either.len() > 52 && either.len() < 52 + 13,
        "{}",
        either.len()
    );
    assert_eq!(year("0 0 1-7 1,7 *", "UTC").len(), 14);
    assert_eq!(year("@weekly", "UTC").len(), 52);
    assert_eq!(year("@yearly", "UTC").len(), 1);
    assert_eq!(year("0 0 29 2 *", "UTC").len(), 0, "2026 has none");
}

#[test]
fn a_start_is_waited_for_and_an_interval_keeps_to_it() {
    let made = at("2026-05-01T10:17:00Z");
    let read = |cron: &str, interval: &str, start_date: &str| {
        let given = Given {
            cron,
            interval,
            start_date,
            ..Given::default()
        };
        Schedule::read(&given).unwrap()
    };
    let start = "2026-06-01T02:00:00Z";
    let next = |schedule: &Schedule, after: &str| {
        let next = schedule.next(at(after), made);
        next.map(|next| next.to_string()).unwrap_or_default()
    };
    let daily = read("0 2 * * *", "", start);
    assert_eq!(next(&daily, "2026-05-02T00:00:00Z"), start);
    assert_eq!(next(&daily, start), "2026-06-02T02:00:00Z");
    let once = read("", "", start);
    assert_eq!(next(&once, "2026-05-02T00:00:00Z"), start);
    assert_eq!(next(&once, start), "");
    for every in [read("@every 6h", "", start), read("", "6h", start)] {
        assert_eq!(next(&every, "2026-05-02T00:00:00Z"), start);
        assert_eq!(next(&every, start), "2026-06-01T08:00:00Z");
        assert_eq!(next(&every, "2026-06-01T13:59:59Z"), "2026-06-01T14:00:00Z");
        assert_eq!(next(&every, "2026-06-01T14:00:00Z"), "2026-06-01T20:00:00Z");
    }
    let every = read("@every 1h30m", "", "");
    for (schedule, now) in [(&every, true), (&daily, false), (&once, false)] {
        assert_eq!(schedule.at_once(made), now);
    }
    assert!(once.at_once(at(start)), "it is due");
    assert_eq!(next(&every, "2026-05-01T10:17:00Z"), "2026-05-01T11:47:00Z");
    assert_eq!(next(&every, "2026-05-01T10:00:00Z"), "2026-05-01T11:47:00Z");
    assert_eq!(next(&every, "2026-05-01T11:47:00Z"), "2026-05-01T13:17:00Z");
    assert_eq!(next(&read("", "", ""), start), "");
}

#[test]
fn a_scheduler_that_slept_makes_up_for_what_it_missed_once() {
    let made = at("2026-01-01T00:00:00Z");
    for cron in ["*/5 * * * *", "30 2 * * *", "@every 7m", "0 0 1 * *"] {
        let schedule = schedule(cron, "Europe/Berlin");
        for (after, until) in [
            ("2026-03-28T23:59:00Z", "2026-03-29T06:00:00Z"),
            ("2026-01-01T00:00:00Z", "2026-12-31T00:00:00Z"),
            ("2026-10-24T20:00:00Z", "2026-10-25T01:10:00Z"),
            ("2026-02-01T12:00:00Z", "2026-02-01T12:00:01Z"),
        ] {
            let (after, until) = (at(after), at(until));
            let mut last = None;
            let mut now = after;
            while let Some(next) = schedule.next(now, made).filter(|next| *next <= until) {
                (last, now) = (Some(next), next);
            }
            assert_eq!(schedule.latest(after, until, made), last, "{cron} {after}");
        }
    }
}

/// Whether it may run at each minute from `from` on, for `days`.
fn minutes(window: &[&str], zone: &str, from: &str, days: i64) -> Vec<(String, bool)> {
    let window: Vec<String> = window.iter().map(|&point| point.to_owned()).collect();
    let given = Given {
        timezone: zone,
        window: &window,
        ..Given::default()
    };
    let schedule = Schedule::read(&given).unwrap();
    let begin: Zoned = format!("{from}[{zone}]").parse().unwrap();
    let windows = schedule.windows();
    let mut all = Vec::new();
    let (mut now, end) = (begin.clone(), begin.checked_add(days.days()).unwrap());
    while now < end {
        let open = windows.open(now.timestamp());
        let next = windows.next(now.timestamp()).unwrap();
        assert_eq!(open.is_some(), next == now.timestamp(), "{now}");
        if let Some(Some(close)) = open {
            assert!(close > now.timestamp(), "{now} closes at {close}");
        }
        all.push((now.strftime("%a %H:%M").to_string(), open.is_some()));
        now = now.checked_add(1.minute()).unwrap();
    }
    all
}

/// The first minute of each stretch of time in which it may run, and how many minutes it has.
fn stretches(window: &[&str], zone: &str, from: &str, days: i64) -> Vec<(String, usize)> {
    let all = minutes(window, zone, from, days);
    let stretches = all.chunk_by(|a, b| a.1 == b.1).filter(|chunk| chunk[0].1);
    stretches
        .map(|chunk| (chunk[0].0.clone(), chunk.len()))
        .collect()
}

#[test]
fn windows_reach_over_midnight_and_over_the_weeks_end() {
    let told = |window: &[&str]| {
        let found = stretches(window, "UTC", "2026-06-01T12:00:00", 7);
        let text = found
            .iter()
            .map(|(from, minutes)| format!("{from} {minutes}"));
        text.collect::<Vec<_>>().join(", ")
    };
    assert_eq!(told(&["SUN-22:00", "MON-06:00"]), "Sun 22:00 480");
    assert_eq!(told(&["MON-23:00", "WED-01:00"]), "Mon 23:00 1560");
    assert_eq!(
        told(&["SAT-00:00", "SUN-00:00", "SUN-00:00", "SUN-12:00"]),
        "Sat 00:00 2160",
        "one after the other"
    );
    assert_eq!(told(&["sat-00:00", "sat-24:00"]), "Sat 00:00 1440");
    let nights = stretches(&["23:00", "06:00"], "UTC", "2026-06-01T12:00:00", 7);
    assert!(
        nights.len() == 7
            && nights
                .iter()
                .all(|(from, n)| from.ends_with("23:00") && *n == 420)
    );
    assert_eq!(told(&[]).matches("10080").count(), 1);
    assert_eq!(told(&["00:00", "24:00"]), "Mon 12:00 10080");
    assert_eq!(
        told(&["WED-10:00", "WED-09:00"]),
        "Mon 12:00 2700, Wed 10:00 7320"
    );
}

#[test]
fn windows_go_by_the_wall_clock_when_it_is_changed() {
    let night = ["01:00", "05:00"];
    let spring = stretches(&night, "Europe/Berlin", "2026-03-28T12:00:00", 1);
    assert_eq!(spring, [("Sun 01:00".to_owned(), 180)]);
    let autumn = stretches(&night, "Europe/Berlin", "2026-10-24T12:00:00", 1);
    assert_eq!(autumn, [("Sun 01:00".to_owned(), 300)]);
}

#[test]
fn a_failed_run_is_tried_again_ever_later() {
    let read = |num_retries, retry_wait| {
        let given = Given {
            num_retries,
            retry_wait,
            ..Given::default()
        };
        Schedule::read(&given).unwrap()
    };
    let minutes = |schedule: &Schedule| -> Vec<i64> {
        let waits = (1..30).map_while(|failed| schedule.retry(failed));
        waits.map(|wait| wait.as_mins()).collect()
    };
    assert_eq!(minutes(&read(3, "")), [10, 20, 40]);
    assert_eq!(minutes(&read(7, "10m")), [10, 20, 40, 80, 160, 180, 180]);
    assert_eq!(minutes(&read(2, "5h")), [300, 300], "as it was asked for");
    assert_eq!(minutes(&read(0, "10m")), [0_i64; 0]);
    assert_eq!(read(3, "10m").retry(0), None);
}

#[test]
fn what_cannot_be_read_is_named() {
    let refused = |change: fn(&mut Given<'_>)| {
        let mut given = Given::default();
        change(&mut given);
        let wrong = Schedule::read(&given).unwrap_err();
        (wrong.field, wrong.to_string())
    };
    let windows: [&[&str]; 6] = [
        &["23:00"],
        &["25:00", "06:00"],
        &["24:00", "06:00"],
        &["MON-01:00", "06:00"],
        &["XXX-01:00", "MON-06:00"],
        &["01:00", "01:00"],
    ];
    for window in windows {
        let window: Vec<String> = window.iter().map(|&point| point.to_owned()).collect();
        let given = Given {
            window: &window,
            ..Given::default()
        };
        let wrong = Schedule::read(&given).unwrap_err();
        assert_eq!(wrong.field, "window", "{wrong}");
    }
    for (change, field, says) in [
        (
            (|g| g.cron = "61 * * * *") as fn(&mut Given<'_>),
            "cron",
            "61",
        ),
        (|g| g.cron = "* * * *", "cron", "4 fields"),
        (|g| g.cron = "0 0 2 * * *", "cron", "6 fields"),
        (|g| g.cron = "0 0 30 2 *", "cron", "never"),
        (|g| g.cron = "@fortnightly", "cron", "@daily"),
        (|g| g.cron = "@every", "cron", "@every 6h"),
        (|g| g.cron = "@every soon", "cron", "1h30m"),
        (|g| g.cron = "@every 0s", "cron", "@every 6h"),
        (|g| g.timezone = "Mars/Phobos", "timezone", "Europe/Berlin"),
        (|g| g.start_date = "tomorrow", "start_date", "2026-01-31"),
        (|g| g.interval = "seven days", "interval", "7d"),
        (
            |g| (g.interval, g.cron) = ("7d", "@daily"),
            "interval",
            "cron",
        ),
        (|g| g.retry_wait = "-1m", "retry_wait", "10m"),
    ] {
        let (found, said) = refused(change);
        assert!(found == field && said.contains(says), "{said}");
    }
}
