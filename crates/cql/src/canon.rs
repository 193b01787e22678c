//! One way of writing for what is written in many: lists between brackets, and text in which only
//! what counts differs.

use std::ops::Range;

use crate::{
    lex::{Sort, Token},
    make,
};

/// The tokens between the bracket at `open` and the one that closes it.
pub(crate) fn inner(text: &str, tokens: &[Token], open: usize) -> Option<Range<usize>> {
    let mut depth = 0_usize;
    for (at, token) in tokens.iter().enumerate().skip(open) {
        depth = step(text, *token, depth)?;
        if depth == 0 {
            return Some(open + 1..at);
        }
    }
    None
}

/// How deep in brackets one is after a token; none if more are closed than were opened.
pub(crate) fn step(text: &str, token: Token, depth: usize) -> Option<usize> {
    if token.sort != Sort::Symbol {
        return Some(depth);
    }
    match &text[token.range()] {
        "(" | "[" | "{" => Some(depth + 1),
        ")" | "]" | "}" => depth.checked_sub(1),
        _ => Some(depth),
    }
}

/// What is between commas, brackets and types' `<…>` kept whole. Empty parts are left out.
pub(crate) fn parts(text: &str, tokens: &[Token], within: Range<usize>) -> Vec<Range<usize>> {
    let mut parts = Vec::new();
    let (mut depth, mut angles, mut start) = (0_usize, 0_usize, within.start);
    for at in within.clone() {
        let token = tokens[at];
        depth = step(text, token, depth).unwrap_or_default();
        if token.is_symbol(text, '<') {
            angles += 1;
        } else if token.is_symbol(text, '>') {
            angles = angles.saturating_sub(1);
        } else if depth == 0 && angles == 0 && token.is_symbol(text, ',') {
            parts.push(start..at);
            start = at + 1;
        }
    }
    parts.push(start..within.end);
    parts.retain(|part| !part.is_empty());
    parts
}

/// Tokens in one way of writing: words in lower case, quotes only where they count, one space
/// where two would run together.
pub(crate) fn words(text: &str, tokens: &[Token]) -> String {
    let mut all = String::new();
    let mut spaced = false;
    for token in tokens {
        let symbol = token.sort == Sort::Symbol;
        if spaced && !symbol {
            all.push(' ');
        }
        let comma = token.is_symbol(text, ',');
        all.push_str(&word(text, *token));
        if comma {
            all.push(' ');
        }
        spaced = !symbol;
    }
    all
}

/// [`words`] of some of the tokens, names without the keyspace they are in anyway.
pub(crate) fn local(text: &str, tokens: &[Token], range: Range<usize>, keyspace: &str) -> String {
    let name = |at: usize| tokens.get(at).and_then(|token| token.name(text));
    let own = |at: usize| {
        let dot = tokens.get(at + 1);
        dot.is_some_and(|dot| dot.is_symbol(text, '.'))
            && name(at).is_some_and(|name| name == keyspace)
            && name(at + 2).is_some()
    };
    let kept = range.filter(|at| !(own(*at) || at.checked_sub(1).is_some_and(own)));
    let kept: Vec<_> = kept.map(|at| tokens[at]).collect();
    words(text, &kept)
}

/// A token in one way of writing.
pub(crate) fn word(text: &str, token: Token) -> String {
    let raw = &text[token.range()];
    match token.sort {
        Sort::Word if raw.eq_ignore_ascii_case("varchar") => "text".to_owned(),
        Sort::Word | Sort::Uuid | Sort::Blob => raw.to_ascii_lowercase(),
        Sort::Quoted => make::shown(&token.name(text).unwrap_or_default()),
        Sort::Text => make::text(&token.content(text).unwrap_or_default()),
        Sort::Number => number(raw),
        Sort::Symbol => raw.to_owned(),
    }
}

/// A number in one way of writing: `1.0` as `1`. What is none, as a duration, stays.
fn number(raw: &str) -> String {
    match raw.parse::<f64>() {
        Ok(number) if raw.contains(['.', 'e', 'E']) && number.is_finite() => number.to_string(),
        Ok(_) | Err(_) => raw.to_ascii_lowercase(),
    }
}
