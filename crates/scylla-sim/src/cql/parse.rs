//! Reads statements: words to [`Statement`]s.

mod data;
mod describe;
mod roles;
mod schema;

use super::ast::{Name, Properties, Statement};
use super::fail::Fail;
use super::token::{self, Placed, Token};
use super::types::Type;
use super::value::Term;
use crate::schema::options::Setting;

/// A statement and the names of its `?`s and `:name`s, in order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Parsed {
    pub(crate) statement: Statement,
    pub(crate) bound: Vec<Option<String>>,
}

/// Reads one statement; a `;` may end it.
///
/// # Errors
/// A syntax error that says where.
pub(crate) fn statement(text: &str) -> Result<Parsed, Fail> {
    let mut parser = Parser::new(text)?;
    let statement = parser.whole(Parser::statement)?;
    let bound = parser.bound;
    Ok(Parsed { statement, bound })
}

/// Words and how far they are read.
pub(crate) struct Parser<'a> {
    text: &'a str,
    words: Vec<Placed>,
    at: usize,
    bound: Vec<Option<String>>,
}

impl<'a> Parser<'a> {
    pub(crate) fn new(text: &'a str) -> Result<Self, Fail> {
        Ok(Self {
            text,
            words: token::split(text)?,
            at: 0,
            bound: Vec::new(),
        })
    }

    /// Reads with `read` until the end.
    pub(crate) fn whole<T>(&mut self, read: fn(&mut Self) -> Result<T, Fail>) -> Result<T, Fail> {
        let result = read(self)?;
        self.sign(";");
        if self.at < self.words.len() {
            return Err(self.unexpected());
        }
        Ok(result)
    }

    fn statement(&mut self) -> Result<Statement, Fail> {
        let Some((Token::Word(first), _)) = self.words.get(self.at).cloned() else {
            return Err(self.unexpected());
        };
        match first.as_str() {
            "use" => {
                self.at += 1;
                Ok(Statement::Use(self.identifier()?))
            }
            "select" => self.select().map(Statement::Select),
            "insert" | "update" | "delete" => self.write().map(Statement::Write),
            "begin" => self.batch().map(Statement::Batch),
            "truncate" => {
                self.at += 1;
                let _ = self.word("table") || self.word("columnfamily");
                Ok(Statement::Truncate(self.name()?))
            }
            "describe" | "desc" => self.describe().map(Statement::Describe),
            "grant" | "revoke" | "list" | "attach" | "detach" => self.role().map(Statement::Role),
            "create" | "alter" | "drop" if self.about_roles() => self.role().map(Statement::Role),
            "create" | "alter" | "drop" => self.schema().map(Statement::Schema),
            _ => Err(self.unexpected()),
        }
    }

    fn about_roles(&self) -> bool {
        let second = self.words.get(self.at + 1).map(|(token, _)| token);
        let is = |word: &str| second == Some(&Token::Word(word.to_owned()));
        is("role") || is("user") || is("service") || is("service_level")
    }

    fn peek(&self) -> Option<&Token> {
        self.words.get(self.at).map(|(token, _)| token)
    }

    /// The error for the word that is next.
    fn unexpected(&self) -> Fail {
        let place = self
            .words
            .get(self.at)
            .map_or(self.text.len(), |(_, at)| *at);
        let before = &self.text[..place];
        let line = before.matches('\n').count() + 1;
        let column = before.rsplit('\n').next().map_or(0, str::len);
        let end = self
            .words
            .get(self.at + 1)
            .map_or(self.text.len(), |(_, at)| *at);
        let near = match self.text[place..end].trim() {
            "" => "<EOF>",
            near => near,
        };
        Fail::syntax(format!(
            "line {line}:{column} no viable alternative at input '{near}'"
        ))
    }

    /// Takes the keyword, if it is next.
    fn word(&mut self, word: &str) -> bool {
        let next = matches!(self.peek(), Some(Token::Word(found)) if found == word);
        self.at += usize::from(next);
        next
    }

    /// Takes all the keywords, if they are next.
    fn words(&mut self, words: &[&str]) -> bool {
        let start = self.at;
        let all = words.iter().all(|word| self.word(word));
        if !all {
            self.at = start;
        }
        all
    }

    fn sign(&mut self, sign: &str) -> bool {
        let next = matches!(self.peek(), Some(Token::Sign(found)) if *found == sign);
        self.at += usize::from(next);
        next
    }

    fn need_word(&mut self, word: &str) -> Result<(), Fail> {
        if self.word(word) {
            Ok(())
        } else {
            Err(self.unexpected())
        }
    }

    fn need(&mut self, sign: &str) -> Result<(), Fail> {
        if self.sign(sign) {
            Ok(())
        } else {
            Err(self.unexpected())
        }
    }

    fn if_not_exists(&mut self) -> bool {
        self.words(&["if", "not", "exists"])
    }

    fn if_exists(&mut self) -> bool {
        self.words(&["if", "exists"])
    }

    /// A name of something, quoted or not.
    fn identifier(&mut self) -> Result<String, Fail> {
        let found = match self.peek() {
            Some(Token::Word(word)) if !crate::schema::reserved(word) => word.clone(),
            Some(Token::Quoted(text)) if !text.is_empty() => text.clone(),
            _ => return Err(self.unexpected()),
        };
        self.at += 1;
        Ok(found)
    }

    /// `[keyspace.]name`
    fn name(&mut self) -> Result<Name, Fail> {
        let first = self.identifier()?;
        if !self.sign(".") {
            let (keyspace, name) = (None, first);
            return Ok(Name { keyspace, name });
        }
        let (keyspace, name) = (Some(first), self.identifier()?);
        Ok(Name { keyspace, name })
    }

    fn text_literal(&mut self) -> Result<String, Fail> {
        let Some(Token::Text(text)) = self.peek() else {
            return Err(self.unexpected());
        };
        let text = text.clone();
        self.at += 1;
        Ok(text)
    }

    fn boolean(&mut self) -> Result<bool, Fail> {
        if self.word("true") {
            return Ok(true);
        }
        self.need_word("false").map(|()| false)
    }

    /// One or more, separated by commas.
    fn list<T>(&mut self, read: impl Fn(&mut Self) -> Result<T, Fail>) -> Result<Vec<T>, Fail> {
        let mut all = vec![read(self)?];
        while self.sign(",") {
            all.push(read(self)?);
        }
        Ok(all)
    }

    /// Any number, separated by commas, up to the sign `end`.
    fn until<T>(
        &mut self,
        end: &str,
        read: impl Fn(&mut Self) -> Result<T, Fail>,
    ) -> Result<Vec<T>, Fail> {
        if self.sign(end) {
            return Ok(Vec::new());
        }
        let all = self.list(read)?;
        self.need(end)?;
        Ok(all)
    }

    /// The name of a type.
    pub(crate) fn a_type(&mut self) -> Result<Type, Fail> {
        let quoted = matches!(self.peek(), Some(Token::Quoted(_)));
        // A type although it is a keyword too.
        let mut name = if self.word("set") {
            "set".to_owned()
        } else {
            self.identifier()?
        };
        if self.sign(".") {
            // Types are of the keyspace of the table in any case.
            name = self.identifier()?;
        } else if !quoted && self.sign("<") {
            let mut inner = self.list(Self::a_type)?;
            self.need(">")?;
            let ty = match (name.as_str(), inner.as_mut_slice()) {
                ("list", [ty]) => Type::List(ty.clone().into()),
                ("set", [ty]) => Type::Set(ty.clone().into()),
                ("frozen", [ty]) => Type::Frozen(ty.clone().into()),
                ("map", [key, value]) => Type::Map(key.clone().into(), value.clone().into()),
                ("tuple", _) => Type::Tuple(inner),
                _ => return Err(self.unexpected()),
            };
            return Ok(ty);
        }
        let native = Type::native(&name).filter(|_| !quoted);
        Ok(native.unwrap_or(Type::Udt(name)))
    }

    /// What stands for a value.
    fn term(&mut self) -> Result<Term, Fail> {
        let Some(token) = self.peek().cloned() else {
            return Err(self.unexpected());
        };
        self.at += 1;
        Ok(match token {
            Token::Text(text) => Term::Text(text),
            Token::Number(text) => Term::Number(text),
            Token::Uuid(text) => Term::Uuid(text),
            Token::Blob(bytes) => Term::Blob(bytes),
            Token::Sign("-") => {
                let Term::Number(text) = self.term()? else {
                    return Err(self.unexpected());
                };
                Term::Number(format!("-{text}"))
            }
            Token::Sign("[") => Term::List(self.until("]", Self::term)?),
            Token::Sign("(") => Term::Tuple(self.until(")", Self::term)?),
            Token::Sign("{") => self.braces()?,
            Token::Sign("?") => self.bind(None),
            Token::Sign(":") => {
                let name = self.identifier()?;
                self.bind(Some(name))
            }
            Token::Word(word) => match word.as_str() {
                "null" => Term::Null,
                "true" => Term::Bool(true),
                "false" => Term::Bool(false),
                "nan" | "infinity" => Term::Number(word),
                _ if self.sign("(") => Term::Call(word, self.until(")", Self::term)?),
                _ => {
                    self.at -= 1;
                    return Err(self.unexpected());
                }
            },
            Token::Sign(_) | Token::Quoted(_) => {
                self.at -= 1;
                return Err(self.unexpected());
            }
        })
    }

    fn bind(&mut self, name: Option<String>) -> Term {
        self.bound.push(name);
        Term::Bound(self.bound.len() - 1)
    }

    /// A set, a map, or fields of a user-defined type; the opening brace is read.
    fn braces(&mut self) -> Result<Term, Fail> {
        if self.sign("}") {
            return Ok(Term::Set(Vec::new()));
        }
        let first = self.field()?;
        if !self.sign(":") {
            let mut terms = vec![first];
            while self.sign(",") {
                terms.push(self.term()?);
            }
            self.need("}")?;
            return Ok(Term::Set(terms));
        }
        let mut pairs = vec![(first, self.term()?)];
        while self.sign(",") {
            let key = self.field()?;
            self.need(":")?;
            pairs.push((key, self.term()?));
        }
        self.need("}")?;
        Ok(Term::Map(pairs))
    }

    /// A term, or the bare name of a field before a `:`.
    fn field(&mut self) -> Result<Term, Fail> {
        let colon = matches!(self.words.get(self.at + 1), Some((Token::Sign(":"), _)));
        let name = matches!(self.peek(), Some(Token::Word(_) | Token::Quoted(_)));
        if colon && name {
            self.identifier().map(Term::Text)
        } else {
            self.term()
        }
    }

    /// `WITH name = value AND …`, if there is any.
    fn properties(&mut self) -> Result<Properties, Fail> {
        let mut all = Vec::new();
        if self.word("with") {
            loop {
                all.push(self.property()?);
                if !self.word("and") {
                    break;
                }
            }
        }
        Ok(all)
    }

    fn property(&mut self) -> Result<(String, Setting), Fail> {
        let name = self.identifier()?;
        self.need("=")?;
        Ok((name, self.setting()?))
    }

    fn setting(&mut self) -> Result<Setting, Fail> {
        let term = self.term()?;
        let pairs = match term {
            Term::Text(text) => return Ok(Setting::Text(text)),
            Term::Map(pairs) => pairs,
            Term::Set(none) if none.is_empty() => Vec::new(),
            other @ (Term::Null
            | Term::Bool(_)
            | Term::Number(_)
            | Term::Uuid(_)
            | Term::Blob(_)
            | Term::List(_)
            | Term::Set(_)
            | Term::Tuple(_)
            | Term::Call(..)
            | Term::Bound(_)) => {
                let plain = other.plain().ok_or_else(|| self.unexpected())?;
                return Ok(Setting::Number(plain));
            }
        };
        let pair = |(key, value): (Term, Term)| Some((key.plain()?, value.plain()?));
        let map = pairs.into_iter().map(pair).collect::<Option<_>>();
        map.map(Setting::Map).ok_or_else(|| self.unexpected())
    }
}
