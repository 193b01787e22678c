//! Values of options: strings, numbers, words, and maps and lists of them.

use std::{collections::BTreeMap, fmt, ops::Range};

use crate::{
    Error, canon,
    lex::{Sort, Token},
    make,
};

/// How deep maps and lists may be nested.
const DEEPEST: usize = 16;

/// The value of an option.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Value {
    /// A string's content.
    Text(String),
    /// A number, a word, or anything else, as it is written.
    Plain(String),
    /// `{key: value, …}`, in their order.
    Map(Vec<(Value, Value)>),
    /// `[…]`.
    List(Vec<Value>),
    /// `{…}`, not empty.
    Set(Vec<Value>),
}

impl Value {
    /// A map of strings.
    #[must_use]
    pub fn from_map(map: &BTreeMap<String, String>) -> Self {
        let text = |s: &String| Self::Text(s.clone());
        Self::Map(map.iter().map(|(k, v)| (text(k), text(v))).collect())
    }

    /// The content of a string, or a number or word as it is written.
    #[must_use]
    pub fn as_text(&self) -> Option<&str> {
        match self {
            Self::Text(text) | Self::Plain(text) => Some(text),
            Self::Map(_) | Self::List(_) | Self::Set(_) => None,
        }
    }

    /// A map of strings, numbers and words as texts; none for what is no such map.
    #[must_use]
    pub fn as_map(&self) -> Option<BTreeMap<String, String>> {
        let Self::Map(entries) = self else {
            return None;
        };
        let text = |value: &Self| value.as_text().map(str::to_owned);
        let entries = entries.iter().map(|(k, v)| Some((text(k)?, text(v)?)));
        entries.collect()
    }

    /// A list's elements, as texts.
    pub(crate) fn as_list(&self) -> Option<Vec<String>> {
        let Self::List(all) = self else {
            return None;
        };
        all.iter().map(|v| v.as_text().map(str::to_owned)).collect()
    }

    /// The value in one way of writing: maps and sets in order, strings and plain words alike,
    /// classes of Cassandra without their packages.
    pub(crate) fn canonical(&self) -> String {
        let list = |all: &[Self]| all.iter().map(Self::canonical).collect::<Vec<_>>();
        match self {
            Self::Text(text) => short(text).to_owned(),
            Self::Plain(text) => text.clone(),
            Self::Map(entries) => {
                let entries = entries.iter();
                let entry = |(k, v): &(Self, Self)| format!("{}: {}", k.canonical(), v.canonical());
                let mut entries: Vec<_> = entries.map(entry).collect();
                entries.sort();
                format!("{{{}}}", entries.join(", "))
            }
            Self::List(all) => format!("[{}]", list(all).join(", ")),
            Self::Set(all) => {
                let mut all = list(all);
                all.sort();
                format!("{{{}}}", all.join(", "))
            }
        }
    }
}

/// A class without its package.
fn short(text: &str) -> &str {
    match text.strip_prefix("org.apache.cassandra.") {
        Some(rest) => rest.rsplit('.').next().unwrap_or(rest),
        None => text,
    }
}

/// As CQL writes it.
impl fmt::Display for Value {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let list = |all: &[Self]| all.iter().map(Self::to_string).collect::<Vec<_>>();
        match self {
            Self::Text(text) => f.write_str(&make::text(text)),
            Self::Plain(text) => f.write_str(text),
            Self::Map(entries) => {
                let entries = entries.iter().map(|(k, v)| format!("{k}: {v}"));
                write!(f, "{{{}}}", entries.collect::<Vec<_>>().join(", "))
            }
            Self::List(all) => write!(f, "[{}]", list(all).join(", ")),
            Self::Set(all) => write!(f, "{{{}}}", list(all).join(", ")),
        }
    }
}

/// An entry of a map: its tokens, all, of the key and of the value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Entry {
    pub(crate) whole: Range<usize>,
    pub(crate) key: Range<usize>,
    pub(crate) value: Range<usize>,
}

/// The entries of the map that these tokens are; none if they are no map.
pub(crate) fn entries(text: &str, tokens: &[Token], map: &Range<usize>) -> Option<Vec<Entry>> {
    let inner = brackets(text, tokens, map, '{')?;
    let parts = canon::parts(text, tokens, inner).into_iter();
    let entry = |whole: Range<usize>| {
        let mut depth = 0;
        let colon = whole.clone().find(|at| {
            depth = canon::step(text, tokens[*at], depth).unwrap_or_default();
            depth == 0 && tokens[*at].is_symbol(text, ':')
        })?;
        let (key, value) = (whole.start..colon, colon + 1..whole.end);
        (!key.is_empty() && !value.is_empty()).then_some(Entry { whole, key, value })
    };
    parts.map(entry).collect()
}

/// The tokens within, if all of these are within one pair of such brackets.
fn brackets(text: &str, tokens: &[Token], all: &Range<usize>, open: char) -> Option<Range<usize>> {
    let first = tokens[all.clone()].first()?;
    first.is_symbol(text, open).then_some(())?;
    let inner = canon::inner(text, &tokens[..all.end], all.start)?;
    (inner.end + 1 == all.end).then_some(inner)
}

/// Reads the value these tokens are.
///
/// # Errors
/// [`Error::TooDeep`].
pub(crate) fn read(text: &str, tokens: &[Token], all: &Range<usize>) -> Result<Value, Error> {
    read_at(text, tokens, all, 0)
}

fn read_at(text: &str, tokens: &[Token], all: &Range<usize>, depth: usize) -> Result<Value, Error> {
    if depth > DEEPEST {
        let at = tokens[all.start].range().start;
        return Err(Error::TooDeep { at });
    }
    let value = |part: &Range<usize>| read_at(text, tokens, part, depth + 1);
    if let [token] = tokens[all.clone()]
        && token.sort == Sort::Text
    {
        return Ok(Value::Text(token.content(text).unwrap_or_default()));
    }
    if let Some(entries) = entries(text, tokens, all) {
        let entries = entries.iter();
        let map = entries.map(|e| Ok((value(&e.key)?, value(&e.value)?)));
        return Ok(Value::Map(map.collect::<Result<_, _>>()?));
    }
    let list = |inner| {
        let parts = canon::parts(text, tokens, inner);
        parts.iter().map(value).collect::<Result<Vec<_>, _>>()
    };
    if let Some(inner) = brackets(text, tokens, all, '[') {
        return Ok(Value::List(list(inner)?));
    }
    if let Some(inner) = brackets(text, tokens, all, '{') {
        return Ok(Value::Set(list(inner)?));
    }
    Ok(Value::Plain(canon::words(text, &tokens[all.clone()])))
}
