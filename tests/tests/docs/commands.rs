//! Command lines of `thetis`, and what `docs/cli.md` says of them.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::{Context as _, Result, ensure};

use crate::markdown::Page;

/// Short options, and the long ones that they stand for, wherever a verb has those.
const SHORT: [(&str, &str); 9] = [
    ("-c", "--cluster"),
    ("-L", "--location"),
    ("-K", "--keyspace"),
    ("-T", "--snapshot-tag"),
    ("-o", "--output"),
    ("-n", "--name"),
    ("-i", "--id"),
    ("-u", "--username"),
    ("-h", "--help"),
];

/// Options of every verb.
const GLOBAL: [&str; 8] = [
    "--output",
    "--help",
    "--version",
    "--api-url",
    "--token",
    "--api-ca-file",
    "--api-cert-file",
    "--api-key-file",
];

/// What `[--cron CRON ...]` stands for.
const SCHEDULE: [&str; 6] = [
    "--timezone",
    "--window",
    "--start-date",
    "--num-retries",
    "--retry-wait",
    "--label",
];

/// What the reference says above a table of all that is in it.
const OF_BUCKET: [&str; 3] = ["--location", "--cluster-id", "--config"];
const OF_SERVICES: [&str; 2] = ["--config", "--check-config"];
const SERVICES: [&str; 6] = [
    "node",
    "standalone",
    "scheduler",
    "snapshot-worker",
    "uploader",
    "restore-worker",
];

/// The verbs there are, with their options.
#[derive(Debug)]
pub(crate) struct Reference {
    verbs: BTreeMap<Vec<String>, BTreeSet<String>>,
}

impl Reference {
    pub(crate) fn read(page: &Page) -> Self {
        let mut verbs = BTreeMap::<_, BTreeSet<String>>::new();
        for cell in page.tables.iter().flat_map(|table| &table.first) {
            let (names, usage): (Vec<&String>, Vec<&String>) =
                cell.iter().partition(|code| code.starts_with("thetis "));
            let options: BTreeSet<String> =
                usage.into_iter().flat_map(|text| options(text)).collect();
            for name in names {
                let verb: Vec<String> = name.split(' ').skip(1).map(str::to_owned).collect();
                let more: &[&str] = match verb.first().map_or("", String::as_str) {
                    "bucket" => &OF_BUCKET,
                    first if SERVICES.contains(&first) => &OF_SERVICES,
                    _ => &[],
                };
                let known = verbs.entry(verb).or_default();
                known.extend(options.iter().cloned());
                known.extend(
                    more.iter()
                        .chain(&GLOBAL)
                        .map(|option| (*option).to_owned()),
                );
            }
        }
        Self { verbs }
    }

    /// Whether there is such a verb, and whether it has these options.
    pub(crate) fn check(&self, words: &[String]) -> Result<()> {
        let verb = (1..words.len().min(4))
            .rev()
            .find_map(|end| self.verbs.get_key_value(&words[1..=end]));
        let (verb, known) = match verb {
            None if words[1..]
                .iter()
                .all(|word| long(word).is_some_and(|long| GLOBAL.contains(&&*long))) =>
            {
                return Ok(());
            }
            found => found.context("there is no such verb")?,
        };
        for word in &words[verb.len() + 1..] {
            if let Some(option) = long(word) {
                ensure!(
                    known.contains(&option),
                    "`{}` has no {option}",
                    verb.join(" ")
                );
            }
        }
        Ok(())
    }
}

/// The long options that a text names.
fn options(text: &str) -> Vec<String> {
    let words = text.split(|c: char| c.is_whitespace() || "[](){}|,.".contains(c));
    let mut found: Vec<String> = words.filter_map(long).collect();
    if text.contains("--cron CRON ...") {
        found.extend(SCHEDULE.iter().map(|option| (*option).to_owned()));
    }
    if text.contains("[credentials as above]") {
        let words = ["username", "password-file", "alternator-access-key-id"];
        let more = [
            "alternator-secret-file",
            "ssl-user-cert-file",
            "ssl-user-key-file",
        ];
        found.extend(words.iter().chain(&more).map(|word| format!("--{word}")));
    }
    found
}

/// The long option that a word is; `None` if it is none.
fn long(word: &str) -> Option<String> {
    let word = word.split('=').next()?;
    let is_long = word.len() > 2 && word.starts_with("--");
    let short = || SHORT.iter().find(|(short, _)| *short == word);
    match is_long {
        true => Some(word.to_owned()),
        false => short().map(|(_, long)| (*long).to_owned()),
    }
}

/// The command lines of `thetis` in a block of code, as words. A drawing may name it, too.
pub(crate) fn of(block: &str) -> Vec<Vec<String>> {
    let lines = block.replace("\\\n", " ");
    let is_ours = |words: &Vec<String>| match &words[..] {
        [program, verb, ..] => program == "thetis" && !verb.starts_with('('),
        _ => false,
    };
    lines.lines().flat_map(commands).filter(is_ours).collect()
}

/// The commands of a line of the shell, without what is set for them, said of them or done with their output.
fn commands(line: &str) -> Vec<Vec<String>> {
    let mut all = vec![Vec::new()];
    for word in words(line) {
        match word.as_str() {
            "|" | "&&" | "||" | ";" | "&" => all.push(Vec::new()),
            _ => all
                .last_mut()
                .expect("there is one from the beginning")
                .push(word),
        }
    }
    for command in &mut all {
        let set = |word: &String| {
            word == "$"
                || word
                    .split_once('=')
                    .is_some_and(|(name, _)| is_variable(name))
        };
        let begin = command
            .iter()
            .position(|word| !set(word))
            .unwrap_or(command.len());
        command.drain(..begin);
        let end = command.iter().position(|word| word.starts_with(['>', '<']));
        command.truncate(end.unwrap_or(command.len()));
    }
    all
}

fn is_variable(name: &str) -> bool {
    !name.is_empty() && name.chars().all(|c| c.is_ascii_uppercase() || c == '_')
}

/// The words of a line, quotes taken off, up to a comment.
fn words(line: &str) -> Vec<String> {
    let (mut all, mut word, mut quote) = (Vec::new(), None::<String>, None);
    for c in line.chars() {
        match (quote, c) {
            (Some(open), c) if c == open => quote = None,
            (None, '\'' | '"') => {
                quote = Some(c);
                word.get_or_insert_default();
            }
            (None, '#') if word.is_none() => break,
            (None, c) if c.is_whitespace() => all.extend(word.take()),
            (_, c) => word.get_or_insert_default().push(c),
        }
    }
    all.extend(word);
    all
}
