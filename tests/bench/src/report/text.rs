//! Markdown, with columns that stand below each other.

use std::fmt::Write as _;

use comfy_table::{CellAlignment, Table, presets::ASCII_MARKDOWN};

use crate::{
    growth::Series,
    machine::Machine,
    results::{Measured, Party, Results},
    targets::{Met, Row},
};

/// All of the results.
pub(crate) fn whole(results: &Results) -> String {
    let mut text = machine(&results.machine);
    for measured in &results.cases {
        text += &case(measured);
    }
    for series in &results.growth {
        text += &growth(series);
    }
    if let Some(both) = &results.foreground {
        let _ = writeln!(
            text,
            "### foreground: 4 KiB reads beside an upload at {:.0} MiB/s\n",
            both.mib_per_second
        );
        let mut table = table(&["reader", "IOPS", "p50, us", "p99, us"]);
        for (name, fio) in [("alone", &both.alone), ("beside the upload", &both.beside)] {
            table.add_row([
                name.to_owned(),
                format!("{:.0}", fio.iops),
                format!("{:.0}", fio.p50_us),
                format!("{:.0}", fio.p99_us),
            ]);
        }
        let _ = writeln!(text, "{table}\n");
    }
    if let Some(restored) = &results.restored {
        let _ = writeln!(
            text,
            "### restore: few large, {} MiB, each half alone and both together\n",
            restored.bytes >> 20
        );
        let mut table = table(&["what", "seconds, by round"]);
        for (name, seconds) in [
            ("download alone", &restored.linked.download),
            ("load alone", &restored.linked.load),
            ("restore", &restored.linked.whole),
            ("download without the link", &restored.unlinked.download),
            ("load", &restored.unlinked.load),
            ("restore without the link", &restored.unlinked.whole),
        ] {
            let seconds: Vec<String> = seconds.iter().map(|one| format!("{one:.2}")).collect();
            table.add_row([name.to_owned(), seconds.join(", ")]);
        }
        let _ = writeln!(text, "{table}\n");
    }
    text += &targets(&results.targets);
    for note in &results.notes {
        let _ = writeln!(text, "* {note}");
    }
    for failure in &results.failures {
        let _ = writeln!(text, "* FAILED: {failure}");
    }
    text
}

fn machine(machine: &Machine) -> String {
    let Machine {
        date,
        command,
        cpu,
        cores,
        kernel,
        memory_mib,
        load_before,
        load_after,
        settings,
        peers,
        ..
    } = machine;
    let profile = if machine.release {
        "release"
    } else {
        "dev profile: quote nothing"
    };
    let commit = machine.commit.as_deref().unwrap_or("unknown commit");
    let sha = if machine.sha_ni { "with" } else { "without" };
    format!(
        "`{command}`, {date}, {commit}, {profile}; {cpu}, {cores} cores ({sha} SHA-NI), {memory_mib} MiB, Linux {kernel}; \
         {}; load {load_before} before, {load_after} after{}\n\n",
        peers.join(", "),
        settings
            .iter()
            .map(|one| format!("; `{one}`"))
            .collect::<String>()
    )
}

/// One case: a table, and what was asked of the server.
pub(crate) fn case(case: &Measured) -> String {
    let mut text = format!("### {}: {}\n\n", case.id, case.what);
    let rate = if case.of_files { "files/s" } else { "MiB/s" };
    let mut columns = vec![
        "who",
        "seconds",
        rate,
        "of raw",
        "CPU-s/GiB",
        "us CPU/file",
        "peak MiB",
        "req/SSTable",
        "connections",
        "at once",
        "server CPU-s",
    ];
    let cold = case
        .parties
        .iter()
        .any(|party| party.cached_bytes.is_some());
    if cold {
        columns.extend(["disk/logical", "left in cache, MiB"]);
    }
    let mut table = table(&columns);
    for party in &case.parties {
        let mut cells = line(case, party);
        if cold {
            cells.push(format!("{:.3}", party.median(|turn| turn.read_ratio())));
            cells.push(mib(party.cached_bytes.unwrap_or_default()));
        }
        table.add_row(cells);
    }
    let _ = writeln!(text, "{table}\n");
    for party in &case.parties {
        let _ = writeln!(text, "* {}: {}", party.name, requests(party));
    }
    if !case.disturbed.is_empty() {
        let rounds = case.disturbed.iter().map(ToString::to_string);
        let rounds = rounds.collect::<Vec<_>>().join(", ");
        let _ = writeln!(
            text,
            "* disturbed rounds (raw more than 20 % off its median), left out: {rounds}"
        );
    }
    text.push('\n');
    text
}

fn line(case: &Measured, party: &Party) -> Vec<String> {
    let rate = if case.of_files {
        party.median(|turn| turn.files_per_second())
    } else {
        party.median(|turn| turn.mib_per_second())
    };
    let of_raw = match case.ratio(party.name, "raw") {
        Some([middle, least, most]) => format!("{middle:.3} ({least:.3} to {most:.3})"),
        None => String::new(),
    };
    let at_once = party.turns.iter().map(|turn| turn.tally.in_flight).max();
    vec![
        party.name.to_owned(),
        format!("{:.2}", party.median(|turn| turn.seconds)),
        format!("{rate:.0}"),
        of_raw,
        format!("{:.2}", party.median(|turn| turn.cpu_per_gib())),
        format!("{:.0}", party.median(|turn| turn.cpu_per_file())),
        mib(party.peak()),
        format!("{:.2}", party.median(|turn| turn.requests_per_sstable())),
        party.connections().to_string(),
        at_once.unwrap_or_default().to_string(),
        format!("{:.2}", party.median(|turn| turn.server_cpu_seconds)),
    ]
}

/// What was asked of the server in the last turn, and what it did not do.
fn requests(party: &Party) -> String {
    let Some(tally) = party.tally() else {
        return String::new();
    };
    let counts = |all: &std::collections::BTreeMap<String, u64>| {
        let all = all.iter().map(|(kind, count)| format!("{count} {kind}"));
        all.collect::<Vec<_>>().join(", ")
    };
    let mut text = counts(&tally.requests);
    if !tally.faults.is_empty() {
        let _ = write!(text, "; made to go wrong: {}", counts(&tally.faults));
    }
    text
}

fn growth(series: &Series) -> String {
    let mut table = table(&[&[series.what], series.columns.as_slice()].concat());
    for (size, values) in &series.points {
        let mut cells = vec![size.clone()];
        cells.extend(values.iter().map(|value| number(*value)));
        table.add_row(cells);
    }
    format!(
        "### growth: {}\n\nTarget: {}.\n\n{table}\n\n",
        series.what, series.target
    )
}

fn targets(rows: &[Row]) -> String {
    let mut table = table(&["#", "measure", "must", "stretch", "measured", "met"]);
    for row in rows {
        let met = match row.met {
            Some(Met::Stretch) => "stretch",
            Some(Met::Must) => "must",
            Some(Met::Missed) => "**no**",
            None => "-",
        };
        table.add_row([
            &row.number.to_string(),
            row.what,
            row.must,
            row.stretch,
            &row.got,
            met,
        ]);
    }
    for column in table.column_iter_mut() {
        column.set_cell_alignment(CellAlignment::Left);
    }
    format!("### targets\n\n{table}\n\n")
}

/// A table whose first column holds words, and all others numbers.
fn table(columns: &[&str]) -> Table {
    let mut table = Table::new();
    table
        .load_style(ASCII_MARKDOWN)
        .set_header(columns.to_vec());
    for column in table.column_iter_mut().skip(1) {
        column.set_cell_alignment(CellAlignment::Right);
    }
    table
}

#[expect(clippy::cast_precision_loss, reason = "mebibytes")]
fn mib(bytes: u64) -> String {
    format!("{:.0}", bytes as f64 / f64::from(1 << 20))
}

fn number(value: f64) -> String {
    match value {
        _ if !value.is_finite() => "-".to_owned(),
        _ if value >= 100.0 => format!("{value:.0}"),
        _ => format!("{value:.2}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{results::tests::measured, targets};

    #[test]
    fn results_are_told_in_words() {
        let mut results = Results::default();
        let mut large = measured(
            "few-large",
            &[("raw", &[1.0, 1.0, 2.0]), ("thetis", &[2.0; 3])],
        );
        large.mark();
        results.cases.push(large);
        results.targets = targets::all(&results);
        results.notes.push("no `s5cmd`".to_owned());
        let text = whole(&results);
        for part in [
            "### few-large: a case",
            "| 0.500 (0.500 to 0.500) |",
            "left out: 3",
            "* thetis: 101 PutObject",
            "512 MiB/s, 0.50 x raw",
            "| not measured",
            "* no `s5cmd`",
        ] {
            assert!(text.contains(part), "`{part}` in:\n{text}");
        }
    }
}
