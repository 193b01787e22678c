//! Statements that read and write rows.

use super::Parser;
use crate::cql::ast::{Condition, Operator, Select, Selector, Write, WriteKind};
use crate::cql::fail::Fail;
use crate::cql::token::Token;
use crate::cql::value::Term;

impl Parser<'_> {
    pub(super) fn select(&mut self) -> Result<Select, Fail> {
        self.need_word("select")?;
        let distinct = self.word("distinct");
        let selectors = if self.sign("*") {
            Vec::new()
        } else {
            self.list(Self::selector)?
        };
        self.need_word("from")?;
        let mut select = Select {
            table: self.name()?,
            selectors,
            distinct,
            conditions: self.conditions()?,
            order: Vec::new(),
            limit: None,
            filtering: false,
        };
        if self.words(&["order", "by"]) {
            select.order = self.list(Self::ordering)?;
        }
        if self.word("limit") {
            select.limit = Some(self.term()?);
        }
        select.filtering = self.words(&["allow", "filtering"]);
        let _ = self.words(&["bypass", "cache"]);
        if self.words(&["using", "timeout"]) {
            self.term()?;
        }
        Ok(select)
    }

    /// A column and whether it descends.
    pub(super) fn ordering(&mut self) -> Result<(String, bool), Fail> {
        let column = self.identifier()?;
        let descends = self.word("desc");
        let _ = !descends && self.word("asc");
        Ok((column, descends))
    }

    fn selector(&mut self) -> Result<(Selector, Option<String>), Fail> {
        let selector = if self.words(&["count"]) {
            if self.sign("(") {
                let any = self.sign("*") || matches!(self.term()?, Term::Number(_));
                if !any {
                    return Err(self.unexpected());
                }
                self.need(")")?;
                Selector::Count
            } else {
                Selector::Column("count".to_owned())
            }
        } else if self.word("token") {
            self.need("(")?;
            Selector::Token(self.until(")", Self::identifier)?)
        } else {
            let name = self.identifier()?;
            if name == "writetime" && self.sign("(") {
                let column = self.identifier()?;
                self.need(")")?;
                Selector::WriteTime(column)
            } else {
                Selector::Column(name)
            }
        };
        let alias = if self.word("as") {
            Some(self.identifier()?)
        } else {
            None
        };
        Ok((selector, alias))
    }

    /// `WHERE … AND …`, if there is any.
    fn conditions(&mut self) -> Result<Vec<Condition>, Fail> {
        let mut all = Vec::new();
        if self.word("where") {
            loop {
                all.push(self.condition()?);
                if !self.word("and") {
                    break;
                }
            }
        }
        Ok(all)
    }

    fn condition(&mut self) -> Result<Condition, Fail> {
        let token = self.word("token");
        let columns = if token {
            self.need("(")?;
            self.until(")", Self::identifier)?
        } else {
            vec![self.identifier()?]
        };
        if self.word("in") {
            let whole = !self.sign("(");
            let terms = if whole {
                vec![self.term()?]
            } else {
                self.until(")", Self::term)?
            };
            let operator = Operator::In;
            return Ok(Condition {
                columns,
                token,
                operator,
                terms,
                whole,
            });
        }
        let operator = match self.peek() {
            Some(Token::Sign("=")) => Operator::Equal,
            Some(Token::Sign("<")) => Operator::Less,
            Some(Token::Sign("<=")) => Operator::LessOrEqual,
            Some(Token::Sign(">")) => Operator::Greater,
            Some(Token::Sign(">=")) => Operator::GreaterOrEqual,
            _ => return Err(self.unexpected()),
        };
        self.at += 1;
        let terms = vec![self.term()?];
        Ok(Condition {
            columns,
            token,
            operator,
            terms,
            whole: false,
        })
    }

    pub(super) fn write(&mut self) -> Result<Write, Fail> {
        let write = if self.words(&["insert", "into"]) {
            self.insert()?
        } else if self.word("update") {
            self.update()?
        } else {
            self.need_word("delete")?;
            self.delete()?
        };
        if self.word("if") {
            return Err(Fail::invalid("lightweight transactions are not simulated"));
        }
        Ok(write)
    }

    fn insert(&mut self) -> Result<Write, Fail> {
        let table = self.name()?;
        self.need("(")?;
        let columns = self.until(")", Self::identifier)?;
        self.need_word("values")?;
        self.need("(")?;
        let terms = self.until(")", Self::term)?;
        if columns.len() != terms.len() {
            return Err(Fail::invalid("Unmatched column names/values"));
        }
        if self.word("if") {
            return Err(Fail::invalid("lightweight transactions are not simulated"));
        }
        let timestamp = self.using()?;
        let kind = WriteKind::Insert(columns.into_iter().zip(terms).collect());
        Ok(Write {
            table,
            kind,
            timestamp,
        })
    }

    fn update(&mut self) -> Result<Write, Fail> {
        let table = self.name()?;
        let timestamp = self.using()?;
        self.need_word("set")?;
        let set = self.list(|parser| {
            let column = parser.identifier()?;
            parser.need("=")?;
            Ok((column, parser.term()?))
        })?;
        let conditions = self.conditions()?;
        let kind = WriteKind::Update { set, conditions };
        Ok(Write {
            table,
            kind,
            timestamp,
        })
    }

    fn delete(&mut self) -> Result<Write, Fail> {
        let mut columns = Vec::new();
        if !self.word("from") {
            columns = self.list(Self::identifier)?;
            self.need_word("from")?;
        }
        let table = self.name()?;
        let timestamp = self.using()?;
        let conditions = self.conditions()?;
        let kind = WriteKind::Delete {
            columns,
            conditions,
        };
        Ok(Write {
            table,
            kind,
            timestamp,
        })
    }

    /// `USING TIMESTAMP … AND TIMEOUT …`; a time to live is refused.
    fn using(&mut self) -> Result<Option<Term>, Fail> {
        let mut timestamp = None;
        if self.word("using") {
            loop {
                if self.word("timestamp") {
                    timestamp = Some(self.term()?);
                } else if self.word("timeout") {
                    self.term()?;
                } else if self.word("ttl") {
                    return Err(Fail::invalid("times to live are not simulated"));
                } else {
                    return Err(self.unexpected());
                }
                if !self.word("and") {
                    break;
                }
            }
        }
        Ok(timestamp)
    }

    pub(super) fn batch(&mut self) -> Result<Vec<Write>, Fail> {
        self.need_word("begin")?;
        let _ = self.word("unlogged") || self.word("counter");
        self.need_word("batch")?;
        let common = self.using()?;
        let mut all = Vec::new();
        while !self.words(&["apply", "batch"]) {
            let mut write = self.write()?;
            self.sign(";");
            write.timestamp = write.timestamp.or_else(|| common.clone());
            all.push(write);
        }
        Ok(all)
    }
}
