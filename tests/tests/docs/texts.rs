//! What the program can print: the texts of its source, with `…` for what is put in.

use std::{fs, path::Path};

use anyhow::{Context as _, Result};

use crate::below;

/// All texts of all crates but those that only tests use.
pub(crate) fn printed(root: &Path) -> Result<Vec<String>> {
    let mut all = Vec::new();
    for path in below(&root.join("crates"), ".rs")? {
        let of = path.strip_prefix(root).context("it lies below")?;
        if of.starts_with("crates/scylla-sim") || of.starts_with("crates/testkit") {
            continue;
        }
        let source = fs::read_to_string(&path).with_context(|| path.display().to_string())?;
        all.extend(literals(&source).iter().map(|text| filled(text)));
    }
    Ok(all)
}

/// The string literals of a source, as the compiler reads them.
fn literals(source: &str) -> Vec<String> {
    let mut found = Vec::new();
    let mut rest = source;
    while let Some(c) = rest.chars().next() {
        rest = if rest.starts_with("//") {
            after(rest, "\n")
        } else if rest.starts_with("/*") {
            after(rest, "*/")
        } else if let Some(text) = rest.strip_prefix("r#\"") {
            let end = text.find("\"#").unwrap_or(text.len());
            found.push(text[..end].to_owned());
            after(text, "\"#")
        } else if let Some(text) = rest.strip_prefix('"') {
            let (literal, rest) = quoted(text);
            found.push(literal);
            rest
        } else if c == '\'' {
            behind_quote(rest)
        } else {
            &rest[c.len_utf8()..]
        };
    }
    found
}

fn after<'a>(text: &'a str, end: &str) -> &'a str {
    text.split_once(end).map_or("", |(_, rest)| rest)
}

/// A text up to its closing quote, and what comes behind it.
fn quoted(text: &str) -> (String, &str) {
    let mut literal = String::new();
    let mut chars = text.char_indices().peekable();
    while let Some((at, c)) = chars.next() {
        match c {
            '"' => return (literal, &text[at + 1..]),
            '\\' => match chars.next() {
                Some((_, 'n')) => literal.push('\n'),
                // Goes on with the first letter of the next line.
                Some((_, '\n')) => while chars.next_if(|(_, c)| c.is_whitespace()).is_some() {},
                Some((_, escaped)) => literal.push(escaped),
                None => {}
            },
            c => literal.push(c),
        }
    }
    (literal, "")
}

/// What comes behind a character, or behind the quote of a lifetime.
fn behind_quote(text: &str) -> &str {
    let mut chars = text.char_indices().skip(1);
    let is_escaped = match chars.next() {
        Some((_, '\\')) => chars.next().is_some(),
        _ => false,
    };
    match chars.next() {
        Some((at, '\'')) => &text[at + 1..],
        Some(_) if is_escaped => after(&text[2..], "'"),
        _ => &text[1..],
    }
}

/// A format with `…` in place of what is put in.
fn filled(format: &str) -> String {
    let mut text = String::new();
    let mut chars = format.chars().peekable();
    while let Some(c) = chars.next() {
        match c {
            '{' if chars.next_if_eq(&'{').is_none() => {
                let _ = chars.by_ref().find(|c| *c == '}');
                text.push('…');
            }
            '}' => {
                let _ = chars.next_if_eq(&'}');
                text.push('}');
            }
            c => text.push(c),
        }
    }
    text
}

#[test]
fn texts_are_read_as_the_compiler_reads_them() {
    let source = r##"
        // "not this"
        let a = 'x'; let b = '"'; fn c<'a>(d: &'a str) {} let e = '\''; let u = '\u{1f}';
        #[error("no object `{key}` in \
                 {location}: \"{{}}\"")]
        let raw = r#"{"a": 1}"#;
    "##;
    let texts: Vec<String> = literals(source).iter().map(|text| filled(text)).collect();
    assert_eq!(texts, ["no object `…` in …: \"{}\"", "…"]);
}
