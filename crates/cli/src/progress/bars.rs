//! Bars that move while somebody looks on.

use std::{collections::BTreeMap, time::Duration};

use indicatif::{MultiProgress, ProgressBar, ProgressDrawTarget, ProgressStyle};

use crate::{
    progress::{done, state},
    shape::RunProgress,
};

/// Nodes that get a bar of their own at most, so that all fit on a screen.
const HOSTS: usize = 16;

/// A bar for the run, and one for each node or step below it.
pub(crate) struct Bars {
    all: MultiProgress,
    state: ProgressBar,
    lines: BTreeMap<String, ProgressBar>,
    colour: bool,
}

impl Bars {
    /// Bars on standard error; they appear with the first [`show`](Self::show).
    pub(crate) fn new(colour: bool) -> Self {
        let all = MultiProgress::new();
        let state = all.add(ProgressBar::new_spinner());
        let template = if colour {
            "{spinner:.cyan} {msg}"
        } else {
            "{spinner} {msg}"
        };
        state.set_style(style(template));
        state.enable_steady_tick(Duration::from_millis(120));
        Self {
            all,
            state,
            lines: BTreeMap::new(),
            colour,
        }
    }

    /// Shows how far the run is now.
    pub(crate) fn show(&mut self, now: &RunProgress) {
        self.state.set_message(heading(now));
        for (name, done, size) in parts(now) {
            let bar = self.lines.entry(name).or_insert_with_key(|name| {
                let bar = self.all.add(line(name, self.colour));
                // What was done before we began to look is no measure of speed.
                bar.set_position(done);
                bar.reset_eta();
                bar
            });
            bar.set_length(size);
            bar.set_position(done.min(size));
        }
    }

    /// Says something beside the state, as that nobody answers just now.
    pub(crate) fn remark(&self, text: &str) {
        self.state.set_message(text.to_owned());
    }

    /// Takes the bars away.
    pub(crate) fn clear(self) {
        self.state.finish_and_clear();
        for bar in self.lines.values() {
            bar.finish_and_clear();
        }
    }
}

/// A bar that is not drawn until it is added to others, so that it never shows without its style.
fn line(name: &str, colour: bool) -> ProgressBar {
    let colour = if colour { ".green" } else { "" };
    let template = format!(
        "  {{prefix:<16}} {{bar:32{colour}}} {{percent:>3}}% {{binary_bytes:>11}} of {{binary_total_bytes:<11}} {{binary_bytes_per_sec}}"
    );
    ProgressBar::with_draw_target(Some(1), ProgressDrawTarget::hidden())
        .with_style(style(&template))
        .with_prefix(name.to_owned())
}

fn style(template: &str) -> ProgressStyle {
    ProgressStyle::with_template(template)
        .expect("the templates of this file are valid")
        .progress_chars("━━─")
}

fn heading(now: &RunProgress) -> String {
    let tag = now.progress.as_ref().map(|p| p.snapshot_tag.as_str());
    let tag = tag.unwrap_or_default();
    format!("{}/{} {} {tag}", now.run.kind, now.run.task_id, state(now))
}

/// Name, bytes done and bytes in all of each bar, the run's own first.
fn parts(now: &RunProgress) -> Vec<(String, u64, u64)> {
    let Some(progress) = now.progress.as_ref().filter(|progress| progress.size > 0) else {
        return Vec::new();
    };
    let (whole, size) = done(&now.run, progress);
    if now.run.kind == super::RESTORE {
        return vec![
            ("downloaded".to_owned(), progress.downloaded, size),
            ("loaded".to_owned(), whole, size),
        ];
    }
    let mut parts = vec![("all nodes".to_owned(), whole, size)];
    if (2..=HOSTS).contains(&progress.hosts.len()) {
        let sized = progress.hosts.iter().filter(|host| host.size > 0);
        parts
            .extend(sized.map(|host| (host.host.clone(), host.uploaded + host.skipped, host.size)));
    }
    parts
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_bar_for_the_whole_comes_before_those_of_nodes() {
        let now = |progress| {
            serde_json::from_value(json!({"run": {"type": "backup"}, "progress": progress}))
                .unwrap()
        };
        assert!(parts(&now(json!(null))).is_empty());
        let hosts = json!([{"host": "n1", "size": 8, "uploaded": 4, "skipped": 2}, {"host": "n2"}]);
        let all = parts(&now(
            json!({"size": 8, "uploaded": 4, "skipped": 2, "hosts": hosts}),
        ));
        assert_eq!(
            all,
            [("all nodes".to_owned(), 6, 8), ("n1".to_owned(), 6, 8)]
        );
    }

    #[test]
    fn bars_can_be_drawn_and_taken_away() {
        for kind in ["backup", "restore"] {
            let mut bars = Bars::new(true);
            let progress =
                json!({"size": 8, "uploaded": 4, "restored": 2, "downloaded": 9, "stage": "DATA"});
            bars.show(
                &serde_json::from_value(json!({"run": {"type": kind}, "progress": progress}))
                    .unwrap(),
            );
            bars.remark("waiting");
            bars.clear();
        }
    }
}
