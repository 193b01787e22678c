//! CQL's tokens. White space and comments are between them.

use std::ops::Range;

use crate::Error;

/// The most text that is read in one piece, in bytes. A statement is a few thousand; a function's
/// body may be large.
pub const LARGEST: usize = 4 << 20;

/// What a token is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Sort {
    /// A keyword, or a name whose case does not count.
    Word,
    /// A name in double quotes.
    Quoted,
    /// `'…'` or `$$…$$`.
    Text,
    /// An integer, a float or a duration, without sign.
    Number,
    /// 32 digits with hyphens.
    Uuid,
    /// `0x…`.
    Blob,
    /// Any other character.
    Symbol,
}

/// A token and where it stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Token {
    pub(crate) sort: Sort,
    start: u32,
    end: u32,
}

impl Token {
    /// Its bytes.
    pub(crate) fn range(self) -> Range<usize> {
        self.start as usize..self.end as usize
    }

    /// The same token of a text that begins `by` bytes later.
    pub(crate) fn earlier(self, by: usize) -> Self {
        let by = u32::try_from(by).expect("texts are shorter than LARGEST");
        Self {
            sort: self.sort,
            start: self.start - by,
            end: self.end - by,
        }
    }

    /// What it names, if it can be a name: words are folded to lower case.
    pub(crate) fn name(self, text: &str) -> Option<String> {
        let text = &text[self.range()];
        match self.sort {
            Sort::Word => Some(text.to_ascii_lowercase()),
            Sort::Quoted => Some(text[1..text.len() - 1].replace("\"\"", "\"")),
            Sort::Text | Sort::Number | Sort::Uuid | Sort::Blob | Sort::Symbol => None,
        }
    }

    /// The content of a string.
    pub(crate) fn content(self, text: &str) -> Option<String> {
        let text = &text[self.range()];
        (self.sort == Sort::Text).then(|| match text.strip_prefix("$$") {
            Some(body) => body[..body.len() - 2].to_owned(),
            None => text[1..text.len() - 1].replace("''", "'"),
        })
    }

    /// Whether it is this keyword, given in upper case.
    pub(crate) fn is(self, text: &str, keyword: &str) -> bool {
        self.sort == Sort::Word && text[self.range()].eq_ignore_ascii_case(keyword)
    }

    /// Whether it is this character.
    pub(crate) fn is_symbol(self, text: &str, symbol: char) -> bool {
        self.sort == Sort::Symbol && text[self.range()].starts_with(symbol)
    }
}

/// The tokens of a text.
///
/// # Errors
/// [`Error::Unterminated`], [`Error::TooLarge`].
pub(crate) fn lex(text: &str) -> Result<Vec<Token>, Error> {
    if text.len() > LARGEST {
        return Err(Error::TooLarge {
            size: text.len(),
            limit: LARGEST,
        });
    }
    let mut tokens = Vec::new();
    let mut at = 0;
    while at < text.len() {
        let (sort, end) = next(text, at)?;
        if let Some(sort) = sort {
            let place = |at| u32::try_from(at).expect("the text is not longer than LARGEST");
            tokens.push(Token {
                sort,
                start: place(at),
                end: place(end),
            });
        }
        at = end;
    }
    Ok(tokens)
}

/// What begins at `at`, or nothing that counts, and where it ends.
fn next(text: &str, at: usize) -> Result<(Option<Sort>, usize), Error> {
    let rest = &text.as_bytes()[at..];
    let second = rest.get(1).copied();
    Ok(match rest[0] {
        b if b.is_ascii_whitespace() => (None, at + 1),
        b'-' if second == Some(b'-') => (None, at + line(rest)),
        b'/' if second == Some(b'/') => (None, at + line(rest)),
        b'/' if second == Some(b'*') => (None, closed(text, at, "*/", "comment")?),
        b'$' if second == Some(b'$') => (Some(Sort::Text), closed(text, at, "$$", "string")?),
        quote @ b'\'' => (Some(Sort::Text), doubled(rest, at, quote, "string")?),
        quote @ b'"' => (Some(Sort::Quoted), doubled(rest, at, quote, "quoted name")?),
        _ if uuid(rest) => (Some(Sort::Uuid), at + UUID),
        b'0' if matches!(second, Some(b'x' | b'X')) => {
            (Some(Sort::Blob), at + 2 + run(&rest[2..], hex))
        }
        b if b.is_ascii_digit() => (Some(Sort::Number), at + number(rest)),
        b if b.is_ascii_alphabetic() || b == b'_' => (Some(Sort::Word), at + run(rest, word)),
        _ => {
            let symbol = text[at..].chars().next().map_or(1, char::len_utf8);
            (Some(Sort::Symbol), at + symbol)
        }
    })
}

fn word(b: u8) -> bool {
    b.is_ascii_alphanumeric() || b == b'_'
}

fn hex(b: u8) -> bool {
    b.is_ascii_hexdigit()
}

fn run(bytes: &[u8], fits: fn(u8) -> bool) -> usize {
    bytes.iter().take_while(|b| fits(**b)).count()
}

fn line(rest: &[u8]) -> usize {
    rest.iter()
        .take_while(|b| !matches!(b, b'\n' | b'\r'))
        .count()
}

/// Where what is opened by two bytes is closed.
fn closed(text: &str, at: usize, by: &str, what: &'static str) -> Result<usize, Error> {
    let found = text[at + 2..].find(by);
    let found = found.ok_or(Error::Unterminated { what, at })?;
    Ok(at + 2 + found + by.len())
}

/// Where what is quoted ends; a doubled quote stands for one within.
fn doubled(rest: &[u8], at: usize, quote: u8, what: &'static str) -> Result<usize, Error> {
    let mut i = 1;
    while i < rest.len() {
        if rest[i] != quote {
            i += 1;
        } else if rest.get(i + 1) == Some(&quote) {
            i += 2;
        } else {
            return Ok(at + i + 1);
        }
    }
    Err(Error::Unterminated { what, at })
}

const UUID: usize = 36;

fn uuid(rest: &[u8]) -> bool {
    rest.len() >= UUID
        && !rest.get(UUID).is_some_and(|b| word(*b))
        && rest[..UUID].iter().enumerate().all(|(i, b)| match i {
            8 | 13 | 18 | 23 => *b == b'-',
            _ => hex(*b),
        })
}

/// Digits, a fraction, an exponent, and letters of a duration.
fn number(rest: &[u8]) -> usize {
    let mut end = run(rest, |b| b.is_ascii_digit());
    if rest.get(end) == Some(&b'.') {
        end += 1 + run(&rest[end + 1..], |b| b.is_ascii_digit());
    }
    if let Some(b'e' | b'E') = rest.get(end)
        && let Some(b'-' | b'+') = rest.get(end + 1)
    {
        end += 2;
    }
    end + run(&rest[end..], word)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tokens(text: &str) -> Vec<(Sort, &str)> {
        let lexed = lex(text).unwrap();
        lexed.iter().map(|t| (t.sort, &text[t.range()])).collect()
    }

    #[test]
    fn each_sort_is_told() {
        use Sort::{Blob, Number, Quoted, Symbol, Text, Uuid, Word};
        let id = "abcdef01-0000-1000-8000-00000000000f";
        let text =
            format!("a1_ \"b\"\"\" 'c'';' $$d;'$$ 1.5E-9 1h30m 0xCafe {id} -{id} é /**/;--x");
        let expected = [
            (Word, "a1_"),
            (Quoted, "\"b\"\"\""),
            (Text, "'c'';'"),
            (Text, "$$d;'$$"),
            (Number, "1.5E-9"),
            (Number, "1h30m"),
            (Blob, "0xCafe"),
            (Uuid, id),
            (Symbol, "-"),
            (Uuid, id),
            (Symbol, "é"),
            (Symbol, ";"),
        ];
        assert_eq!(tokens(&text), expected);
    }

    #[test]
    fn names_and_strings_lose_their_quotes() {
        let text = "Ab \"A\"\"b\" 'it''s' $$it's$$";
        let lexed = lex(text).unwrap();
        assert_eq!(lexed[0].name(text).unwrap(), "ab");
        assert_eq!(lexed[1].name(text).unwrap(), "A\"b");
        assert_eq!(lexed[2].content(text).unwrap(), "it's");
        assert_eq!(lexed[3].content(text).unwrap(), "it's");
    }

    #[test]
    fn what_never_ends_is_told_with_its_place() {
        for (text, what, at) in [
            ("a 'b", "string", 2),
            ("a 'b''", "string", 2),
            ("a \"b", "quoted name", 2),
            ("a $$ $", "string", 2),
            ("/*/", "comment", 0),
            ("$$$", "string", 0),
        ] {
            let error = Error::Unterminated { what, at };
            assert_eq!(lex(text), Err(error), "{text}");
        }
        let long = " ".repeat(LARGEST + 1);
        assert!(matches!(lex(&long), Err(Error::TooLarge { .. })));
    }
}
