//! The words of CQL: identifiers, literals, signs; comments are left out.

use super::fail::Fail;

/// One word of a statement.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Token {
    /// An identifier or keyword, in lower case, as unquoted ones are.
    Word(String),
    /// An identifier in double quotes.
    Quoted(String),
    /// A string in single quotes or between `$$`.
    Text(String),
    /// A number as written, with its sign if it has one.
    Number(String),
    Uuid(String),
    /// `0x…`.
    Blob(Vec<u8>),
    /// A sign; those of two characters are `<=`, `>=`, `!=`.
    Sign(&'static str),
}

/// A word and where it begins, in bytes.
pub(crate) type Placed = (Token, usize);

const SIGNS: &[&str] = &[
    "<=", ">=", "!=", "(", ")", "{", "}", "[", "]", "<", ">", ",", ";", ":", ".", "=", "*", "?",
    "+", "-", "/", "%",
];

/// Splits `text` into words.
///
/// # Errors
/// When a string, identifier or comment does not end, or a character begins no word.
pub(crate) fn split(text: &str) -> Result<Vec<Placed>, Fail> {
    let mut words = Vec::new();
    let mut at = 0;
    while let Some(first) = text[at..].chars().next() {
        if first.is_whitespace() {
            at += first.len_utf8();
            continue;
        }
        if let Some(length) = comment(&text[at..])? {
            at += length;
            continue;
        }
        let (token, length) = word(&text[at..], first)?;
        words.push((token, at));
        at += length;
    }
    Ok(words)
}

/// Bytes of the comment that `rest` begins with.
fn comment(rest: &str) -> Result<Option<usize>, Fail> {
    if rest.starts_with("--") || rest.starts_with("//") {
        return Ok(Some(rest.find('\n').unwrap_or(rest.len())));
    }
    if let Some(inner) = rest.strip_prefix("/*") {
        let end = inner
            .find("*/")
            .ok_or_else(|| Fail::syntax("the comment does not end"))?;
        return Ok(Some(end + 4));
    }
    Ok(None)
}

fn word(rest: &str, first: char) -> Result<(Token, usize), Fail> {
    if let Some(inner) = rest.strip_prefix("$$") {
        let end = inner
            .find("$$")
            .ok_or_else(|| Fail::syntax("the string after $$ does not end"))?;
        return Ok((Token::Text(inner[..end].to_owned()), end + 4));
    }
    match first {
        '\'' => quoted(rest, '\'').map(|(text, length)| (Token::Text(text), length)),
        '"' => quoted(rest, '"').map(|(text, length)| (Token::Quoted(text), length)),
        _ if uuid(rest) => Ok((Token::Uuid(rest[..36].to_ascii_lowercase()), 36)),
        '0' if matches!(rest.as_bytes().get(1), Some(b'x' | b'X')) => blob(rest),
        _ if first.is_ascii_digit() => Ok(number(rest)),
        _ if first.is_ascii_alphabetic() => {
            let part = |c: char| c.is_ascii_alphanumeric() || c == '_';
            let length = rest.find(|c| !part(c)).unwrap_or(rest.len());
            Ok((Token::Word(rest[..length].to_ascii_lowercase()), length))
        }
        _ => {
            let sign = SIGNS.iter().find(|sign| rest.starts_with(**sign));
            let sign = sign.ok_or_else(|| {
                Fail::syntax(format!("no viable alternative at character '{first}'"))
            })?;
            Ok((Token::Sign(sign), sign.len()))
        }
    }
}

/// The text between two `quote`s, doubled ones inside standing for one.
fn quoted(rest: &str, quote: char) -> Result<(String, usize), Fail> {
    let mut text = String::new();
    let mut chars = rest.char_indices().skip(1).peekable();
    while let Some((at, c)) = chars.next() {
        if c != quote {
            text.push(c);
        } else if chars.next_if(|(_, next)| *next == quote).is_some() {
            text.push(quote);
        } else {
            return Ok((text, at + 1));
        }
    }
    Err(Fail::syntax(format!(
        "mismatched character '<EOF>' expecting '{quote}'"
    )))
}

fn uuid(rest: &str) -> bool {
    let Some(head) = rest.get(..36) else {
        return false;
    };
    let dash = |at: usize| matches!(at, 8 | 13 | 18 | 23);
    let fits = |(at, c): (usize, char)| {
        if dash(at) {
            c == '-'
        } else {
            c.is_ascii_hexdigit()
        }
    };
    head.char_indices().all(fits) && !rest[36..].starts_with(|c: char| c.is_ascii_alphanumeric())
}

fn blob(rest: &str) -> Result<(Token, usize), Fail> {
    let digits = &rest[2..];
    let length = digits
        .find(|c: char| !c.is_ascii_hexdigit())
        .unwrap_or(digits.len());
    if length % 2 == 1 {
        return Err(Fail::syntax("a blob has an even number of digits"));
    }
    let pair = |at: usize| u8::from_str_radix(&digits[at..at + 2], 16).expect("hexadecimal digits");
    let bytes = (0..length).step_by(2).map(pair).collect();
    Ok((Token::Blob(bytes), length + 2))
}

/// Digits, a fraction, an exponent; or the letters and digits of a duration such as `1h30m`.
fn number(rest: &str) -> (Token, usize) {
    let bytes = rest.as_bytes();
    let mut end = 0;
    while let Some(byte) = bytes.get(end) {
        let exponent = end > 0 && matches!(bytes[end - 1], b'e' | b'E');
        let fraction = *byte == b'.' && bytes.get(end + 1).is_some_and(u8::is_ascii_digit);
        if !(byte.is_ascii_alphanumeric() || fraction || exponent && matches!(byte, b'+' | b'-')) {
            break;
        }
        end += 1;
    }
    (Token::Number(rest[..end].to_owned()), end)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(text: &str) -> Vec<Token> {
        split(text)
            .unwrap()
            .into_iter()
            .map(|(token, _)| token)
            .collect()
    }

    #[test]
    fn strings_and_comments_hide_everything_else() {
        let found = words("SELECT \"A\"\"b\", 'it''s; --no' -- yes\n/* ; */ FROM $$ a;'b $$;");
        let expected = [
            Token::Word("select".into()),
            Token::Quoted("A\"b".into()),
            Token::Sign(","),
            Token::Text("it's; --no".into()),
            Token::Word("from".into()),
            Token::Text(" a;'b ".into()),
            Token::Sign(";"),
        ];
        assert_eq!(found, expected);
    }

    #[test]
    fn numbers_uuids_and_blobs_are_told_apart() {
        let found = words("1.5e-3 0xAb 123e4567-e89b-12d3-a456-426614174000 12 >= 3d");
        let expected = [
            Token::Number("1.5e-3".into()),
            Token::Blob(vec![0xab]),
            Token::Uuid("123e4567-e89b-12d3-a456-426614174000".into()),
            Token::Number("12".into()),
            Token::Sign(">="),
            Token::Number("3d".into()),
        ];
        assert_eq!(found, expected);
    }

    #[test]
    fn what_does_not_end_is_refused() {
        for text in ["'a", "\"a", "/* a", "$$ a", "0xabc", "a # b"] {
            assert!(split(text).is_err(), "{text}");
        }
    }
}
