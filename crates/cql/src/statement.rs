//! Statements: a text is split into them, and they are joined again.

use std::{fmt, ops::Range};

use crate::{
    Error, Subject,
    lex::{Token, lex},
    options::{self, Property},
    subject::{self, Places},
};

/// A statement, without the `;` that ends it and without comments around it.
#[derive(Clone, PartialEq, Eq)]
pub struct Statement {
    text: String,
    at: usize,
    tokens: Vec<Token>,
    subject: Subject,
    places: Places,
}

/// The statements of a text. Comments between them are left out, those within are kept.
///
/// # Errors
/// [`Error::Unterminated`], [`Error::TooLarge`].
pub fn split(text: &str) -> Result<Vec<Statement>, Error> {
    let tokens = lex(text)?;
    let pieces = tokens.split(|token| token.is_symbol(text, ';'));
    let pieces = pieces.filter_map(|tokens| {
        let (first, last) = (tokens.first()?, tokens.last()?);
        let at = first.range().start;
        let piece = &text[at..last.range().end];
        let tokens = tokens.iter().map(|token| token.earlier(at)).collect();
        Some(Statement::new(piece.to_owned(), at, tokens))
    });
    Ok(pieces.collect())
}

/// A text of these statements, each ended by `;`. Split, it is they again.
#[must_use]
pub fn join<'a>(statements: impl IntoIterator<Item = &'a Statement>) -> String {
    let texts = statements.into_iter().map(|s| format!("{};", s.text));
    texts.collect::<Vec<_>>().join("\n")
}

impl Statement {
    fn new(text: String, at: usize, tokens: Vec<Token>) -> Self {
        let (subject, places) = subject::read(&text, &tokens);
        Self {
            text,
            at,
            tokens,
            subject,
            places,
        }
    }

    /// Its text, to be executed. May hold a role's secrets.
    #[must_use]
    pub fn text(&self) -> &str {
        &self.text
    }

    /// Where it began in the text it was split from, in bytes.
    #[must_use]
    pub fn at(&self) -> usize {
        self.at
    }

    /// What it does to what.
    #[must_use]
    pub fn subject(&self) -> &Subject {
        &self.subject
    }

    /// Its text for people: the secrets of roles are covered.
    #[must_use]
    pub fn shown(&self) -> String {
        let secrets = self.properties().into_iter().filter(Property::is_secret);
        let secrets = secrets.filter_map(|property| property.value);
        let edits = secrets.map(|value| (self.bytes(&value), "'***'".to_owned()));
        apply(&self.text, edits.collect())
    }

    pub(crate) fn tokens(&self) -> &[Token] {
        &self.tokens
    }

    pub(crate) fn places(&self) -> &Places {
        &self.places
    }

    /// The options after `WITH`, as far as they can be read.
    pub(crate) fn properties(&self) -> Vec<Property> {
        options::properties(self)
    }

    pub(crate) fn is(&self, token: usize, keyword: &str) -> bool {
        self.tokens
            .get(token)
            .is_some_and(|t| t.is(&self.text, keyword))
    }

    pub(crate) fn is_symbol(&self, token: usize, symbol: char) -> bool {
        self.tokens
            .get(token)
            .is_some_and(|t| t.is_symbol(&self.text, symbol))
    }

    pub(crate) fn name_at(&self, token: usize) -> Option<String> {
        self.tokens.get(token)?.name(&self.text)
    }

    /// Where in the text a token begins; its end for one after the last.
    pub(crate) fn offset(&self, token: usize) -> usize {
        let token = self.tokens.get(token);
        token.map_or(self.text.len(), |token| token.range().start)
    }

    /// The bytes from the first to the last of these tokens, which are not none.
    pub(crate) fn bytes(&self, tokens: &Range<usize>) -> Range<usize> {
        let end = self.tokens[tokens.end - 1].range().end;
        self.offset(tokens.start)..end
    }

    /// This statement with some ranges of bytes, which do not overlap, replaced.
    ///
    /// # Errors
    /// [`Error::TooLarge`], if it grows too long.
    pub(crate) fn edited(&self, edits: Vec<(Range<usize>, String)>) -> Result<Self, Error> {
        if edits.is_empty() {
            return Ok(self.clone());
        }
        let text = apply(&self.text, edits);
        let tokens = lex(&text)?;
        Ok(Self::new(text, self.at, tokens))
    }
}

/// Never shows a secret.
impl fmt::Debug for Statement {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Statement")
            .field("text", &self.shown())
            .field("at", &self.at)
            .field("subject", &self.subject)
            .finish_non_exhaustive()
    }
}

fn apply(text: &str, mut edits: Vec<(Range<usize>, String)>) -> String {
    edits.sort_by_key(|(range, _)| range.start);
    let mut edited = String::with_capacity(text.len());
    let mut done = 0;
    for (range, with) in edits {
        edited.push_str(&text[done..range.start]);
        edited.push_str(&with);
        done = range.end;
    }
    edited.push_str(&text[done..]);
    edited
}
