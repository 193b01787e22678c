//! Statements that change the schema.

use super::Parser;
use crate::cql::ast::{
    Element, Keys, Name, NewIndex, NewTable, NewView, Properties, Schema, TableChange, TypeChange,
};
use crate::cql::fail::Fail;
use crate::cql::token::Token;
use crate::cql::types::Type;

impl Parser<'_> {
    pub(super) fn schema(&mut self) -> Result<Schema, Fail> {
        if self.word("create") {
            self.create()
        } else if self.word("alter") {
            self.alter()
        } else {
            self.need_word("drop")?;
            self.drop_element()
        }
    }

    fn create(&mut self) -> Result<Schema, Fail> {
        if self.word("keyspace") || self.word("schema") {
            let lenient = self.if_not_exists();
            let (name, properties) = (self.identifier()?, self.properties()?);
            return Ok(Schema::CreateKeyspace {
                name,
                lenient,
                properties,
            });
        }
        if self.word("type") {
            let lenient = self.if_not_exists();
            let name = self.name()?;
            self.need("(")?;
            let fields = self.until(")", Self::column)?;
            return Ok(Schema::CreateType {
                name,
                lenient,
                fields,
            });
        }
        if self.word("table") || self.word("columnfamily") {
            let lenient = self.if_not_exists();
            let (name, table) = (self.name()?, self.new_table()?);
            return Ok(Schema::CreateTable {
                name,
                lenient,
                table,
            });
        }
        if self.words(&["materialized", "view"]) {
            let lenient = self.if_not_exists();
            let (name, view) = (self.name()?, self.new_view()?);
            return Ok(Schema::CreateView {
                name,
                lenient,
                view,
            });
        }
        let custom = self.word("custom");
        self.need_word("index")?;
        self.create_index(custom)
    }

    fn column(&mut self) -> Result<(String, Type), Fail> {
        Ok((self.identifier()?, self.a_type()?))
    }

    fn new_table(&mut self) -> Result<NewTable, Fail> {
        let mut keys = Keys::default();
        let mut columns = Vec::new();
        self.need("(")?;
        loop {
            if self.words(&["primary", "key"]) {
                self.primary_key(&mut keys)?;
            } else {
                let column = self.column()?;
                if self.word("static") {
                    return Err(Fail::invalid("static columns are not simulated"));
                }
                if self.words(&["primary", "key"]) {
                    if !keys.partition.is_empty() {
                        return Err(Fail::invalid(
                            "Multiple PRIMARY KEYs specifed (exactly one required)",
                        ));
                    }
                    keys.partition.push(column.0.clone());
                }
                columns.push(column);
            }
            if !self.sign(",") {
                break;
            }
        }
        self.need(")")?;
        let properties = self.table_properties(&mut keys)?;
        Ok(NewTable {
            columns,
            keys,
            properties,
        })
    }

    /// `((a, b), c)` or `(a, c)`.
    fn primary_key(&mut self, keys: &mut Keys) -> Result<(), Fail> {
        self.need("(")?;
        keys.partition = if self.sign("(") {
            self.until(")", Self::identifier)?
        } else {
            vec![self.identifier()?]
        };
        while self.sign(",") {
            keys.clustering.push(self.identifier()?);
        }
        self.need(")")
    }

    /// Properties among which the order of clustering may be.
    fn table_properties(&mut self, keys: &mut Keys) -> Result<Properties, Fail> {
        let mut all = Vec::new();
        if self.word("with") {
            loop {
                if self.words(&["clustering", "order", "by"]) {
                    self.need("(")?;
                    keys.order = self.until(")", Self::ordering)?;
                } else if self.words(&["compact", "storage"]) {
                    return Err(Fail::invalid("compact storage is not simulated"));
                } else {
                    all.push(self.property()?);
                }
                if !self.word("and") {
                    break;
                }
            }
        }
        Ok(all)
    }

    fn new_view(&mut self) -> Result<NewView, Fail> {
        self.need_word("as")?;
        self.need_word("select")?;
        let columns = if self.sign("*") {
            Vec::new()
        } else {
            self.list(Self::identifier)?
        };
        self.need_word("from")?;
        let base = self.name()?;
        self.need_word("where")?;
        let start = self.place();
        let present = self.present()?;
        let condition = self.text[start..self.place()].trim().to_owned();
        self.need_word("primary")?;
        self.need_word("key")?;
        let mut keys = Keys::default();
        self.primary_key(&mut keys)?;
        let properties = self.table_properties(&mut keys)?;
        Ok(NewView {
            base,
            columns,
            present,
            condition,
            keys,
            properties,
        })
    }

    /// Where the next word begins.
    fn place(&self) -> usize {
        self.words
            .get(self.at)
            .map_or(self.text.len(), |(_, at)| *at)
    }

    /// `a IS NOT NULL AND …`; other conditions are refused.
    fn present(&mut self) -> Result<Vec<String>, Fail> {
        let mut all = Vec::new();
        loop {
            let column = self.identifier()?;
            if !self.words(&["is", "not", "null"]) {
                return Err(Fail::invalid("only IS NOT NULL is simulated in views"));
            }
            all.push(column);
            if !self.word("and") {
                return Ok(all);
            }
        }
    }

    fn create_index(&mut self, custom: bool) -> Result<Schema, Fail> {
        let lenient = self.if_not_exists();
        let named = !matches!(self.peek(), Some(Token::Word(word)) if word == "on");
        let name = if named {
            Some(self.identifier()?)
        } else {
            None
        };
        self.need_word("on")?;
        let table = self.name()?;
        self.need("(")?;
        let local = if self.sign("(") {
            let keys = self.until(")", Self::identifier)?;
            self.need(",")?;
            Some(keys)
        } else {
            None
        };
        if self.words(&["values"])
            || self.words(&["keys"])
            || self.words(&["entries"])
            || self.words(&["full"])
        {
            return Err(Fail::invalid("indexes of collections are not simulated"));
        }
        let column = self.identifier()?;
        self.need(")")?;
        let class = if self.word("using") {
            Some(self.text_literal()?)
        } else {
            None
        };
        if custom != class.is_some() && class.is_none() {
            return Err(Fail::invalid(
                "CUSTOM index requires specifying the index class",
            ));
        }
        self.properties()?;
        let index = NewIndex {
            column,
            local,
            class,
        };
        Ok(Schema::CreateIndex {
            name,
            lenient,
            table,
            index,
        })
    }

    fn alter(&mut self) -> Result<Schema, Fail> {
        if self.word("keyspace") || self.word("schema") {
            let (name, properties) = (self.identifier()?, self.properties()?);
            return Ok(Schema::AlterKeyspace { name, properties });
        }
        if self.words(&["materialized", "view"]) {
            let (name, properties) = (self.name()?, self.properties()?);
            return Ok(Schema::AlterView { name, properties });
        }
        if self.word("type") {
            let (name, change) = (self.name()?, self.type_change()?);
            return Ok(Schema::AlterType { name, change });
        }
        if !self.word("table") {
            self.need_word("columnfamily")?;
        }
        let (name, change) = (self.name()?, self.table_change()?);
        Ok(Schema::AlterTable { name, change })
    }

    fn type_change(&mut self) -> Result<TypeChange, Fail> {
        if self.word("add") {
            let (name, ty) = self.column()?;
            return Ok(TypeChange::Add(name, ty));
        }
        self.need_word("rename")?;
        self.renames().map(TypeChange::Rename)
    }

    fn renames(&mut self) -> Result<Vec<(String, String)>, Fail> {
        let mut all = Vec::new();
        loop {
            let from = self.identifier()?;
            self.need_word("to")?;
            all.push((from, self.identifier()?));
            if !self.word("and") {
                return Ok(all);
            }
        }
    }

    fn table_change(&mut self) -> Result<TableChange, Fail> {
        if self.word("add") {
            let columns = if self.sign("(") {
                self.until(")", Self::column)?
            } else {
                self.list(Self::column)?
            };
            return Ok(TableChange::Add(columns));
        }
        if self.word("rename") {
            return self.renames().map(TableChange::Rename);
        }
        if self.word("drop") {
            let columns = if self.sign("(") {
                self.until(")", Self::identifier)?
            } else {
                self.list(Self::identifier)?
            };
            let mut stamp = None;
            if self.words(&["using", "timestamp"]) {
                let Some(Token::Number(text)) = self.peek().cloned() else {
                    return Err(self.unexpected());
                };
                self.at += 1;
                stamp = Some(text.parse().map_err(|_| self.unexpected())?);
            }
            return Ok(TableChange::Drop(columns, stamp));
        }
        self.properties().map(TableChange::With)
    }

    fn drop_element(&mut self) -> Result<Schema, Fail> {
        let what = if self.word("keyspace") || self.word("schema") {
            Element::Keyspace
        } else if self.word("table") || self.word("columnfamily") {
            Element::Table
        } else if self.words(&["materialized", "view"]) {
            Element::View
        } else if self.word("type") {
            Element::Type
        } else {
            self.need_word("index")?;
            Element::Index
        };
        let lenient = self.if_exists();
        let name = if what == Element::Keyspace {
            let (keyspace, name) = (None, self.identifier()?);
            Name { keyspace, name }
        } else {
            self.name()?
        };
        Ok(Schema::Drop {
            what,
            name,
            lenient,
        })
    }
}
