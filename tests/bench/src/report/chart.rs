//! A chart of rates: for each case a bar for each of those measured, the limit being the longest.
//!
//! The few shapes of SVG that it takes are written down as they are: crates that draw charts bring a
//! hundred times as much.

use std::fmt::Write as _;

use crate::results::{Measured, Party, Results};

const WIDTH: f64 = 900.0;
/// Where bars begin, and how long the longest is.
const LEFT: f64 = 190.0;
const LONGEST: f64 = 520.0;
const BAR: f64 = 18.0;
const STEP: f64 = 24.0;
const TITLE: f64 = 44.0;

/// The chart.
pub(crate) fn svg(results: &Results) -> String {
    let mut shapes = String::new();
    let mut y = 8.0;
    for case in &results.cases {
        y += TITLE;
        let title = format!("{}: {}", case.id, case.what);
        text(&mut shapes, 12.0, y - 12.0, "title", &title);
        let rates: Vec<_> = case.parties.iter().map(|party| rate(case, party)).collect();
        let most = rates.iter().copied().fold(f64::MIN_POSITIVE, f64::max);
        for (party, rate) in case.parties.iter().zip(rates) {
            bar(&mut shapes, y, party.name, rate / most * LONGEST);
            let unit = if case.of_files { "files/s" } else { "MiB/s" };
            let cpu = party.median(|turn| turn.cpu_per_gib());
            let value = format!("{rate:.0} {unit}, {cpu:.2} CPU-s/GiB");
            text(
                &mut shapes,
                LEFT + rate / most * LONGEST + 8.0,
                y + BAR - 4.0,
                "value",
                &value,
            );
            y += STEP;
        }
    }
    let machine = &results.machine;
    let about = format!(
        "{}, {}, {} cores, {}",
        machine.date, machine.cpu, machine.cores, machine.command
    );
    y += TITLE;
    text(&mut shapes, 12.0, y - 12.0, "value", &about);
    format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {y}\" width=\"{WIDTH}\" height=\"{y}\">\n\
         <style>text {{ font: 13px sans-serif; fill: #222 }} .title {{ font-weight: bold }} \
         .value {{ fill: #555 }} rect {{ fill: #b8c0cc }} .raw {{ fill: #888 }} .thetis {{ fill: #1f77b4 }}</style>\n\
         <rect width=\"{WIDTH}\" height=\"{y}\" style=\"fill: #fff\"/>\n{shapes}</svg>\n"
    )
}

fn rate(case: &Measured, party: &Party) -> f64 {
    let rate = if case.of_files {
        party.median(|turn| turn.files_per_second())
    } else {
        party.median(|turn| turn.mib_per_second())
    };
    if rate.is_finite() { rate } else { 0.0 }
}

fn bar(shapes: &mut String, y: f64, name: &str, length: f64) {
    let class = match name {
        "raw" => "raw",
        "thetis" | "thetis, no queue" => "thetis",
        _ => "peer",
    };
    let _ = writeln!(
        shapes,
        "<rect class=\"{class}\" x=\"{LEFT}\" y=\"{y}\" width=\"{length:.1}\" height=\"{BAR}\"/>"
    );
    text(shapes, 12.0, y + BAR - 4.0, "name", name);
}

fn text(shapes: &mut String, x: f64, y: f64, class: &str, content: &str) {
    let content = content.replace('&', "&amp;").replace('<', "&lt;");
    let _ = writeln!(
        shapes,
        "<text class=\"{class}\" x=\"{x:.1}\" y=\"{y:.1}\">{content}</text>"
    );
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::results::tests::measured;

    #[test]
    fn a_bar_is_as_long_as_its_rate_is_high() {
        let case = measured("x", &[("raw", &[1.0]), ("thetis", &[2.0])]);
        let results = Results {
            cases: vec![case],
            ..Results::default()
        };
        let svg = svg(&results);
        assert!(
            svg.contains("class=\"raw\" x=\"190\" y=\"52\" width=\"520.0\""),
            "{svg}"
        );
        assert!(
            svg.contains("class=\"thetis\" x=\"190\" y=\"76\" width=\"260.0\""),
            "{svg}"
        );
        assert!(svg.contains("512 MiB/s, 1.00 CPU-s/GiB"), "{svg}");
    }
}
