//! `DESCRIBE`.

use super::Parser;
use crate::cql::ast::{Describe, Described, Element, Name};
use crate::cql::fail::Fail;

impl Parser<'_> {
    pub(super) fn describe(&mut self) -> Result<Describe, Fail> {
        let _ = self.word("describe") || self.word("desc");
        let what = self.described()?;
        let internals = self.words(&["with", "internals"]);
        let passwords = internals && self.words(&["and", "passwords"]);
        Ok(Describe {
            what,
            internals,
            passwords,
        })
    }

    fn described(&mut self) -> Result<Described, Fail> {
        const LISTS: &[(&str, Element)] = &[
            ("keyspaces", Element::Keyspace),
            ("tables", Element::Table),
            ("types", Element::Type),
            ("functions", Element::Function),
            ("aggregates", Element::Aggregate),
        ];
        const ONES: &[(&str, Element)] = &[
            ("table", Element::Table),
            ("columnfamily", Element::Table),
            ("index", Element::Index),
            ("type", Element::Type),
            ("function", Element::Function),
            ("aggregate", Element::Aggregate),
        ];
        if self.word("cluster") {
            return Ok(Described::Cluster);
        }
        if self.words(&["full", "schema"]) {
            return Ok(Described::Schema { full: true });
        }
        if self.word("schema") {
            return Ok(Described::Schema { full: false });
        }
        if let Some((_, element)) = LISTS.iter().find(|(word, _)| self.word(word)) {
            return Ok(Described::List(*element));
        }
        let only = self.words(&["only", "keyspace"]);
        if only || self.word("keyspace") {
            let name = self.identifier().ok();
            return Ok(Described::Keyspace { name, only });
        }
        if self.words(&["materialized", "view"]) {
            return Ok(Described::One(Element::View, self.name()?));
        }
        if let Some((_, element)) = ONES.iter().find(|(word, _)| self.word(word)) {
            return Ok(Described::One(*element, self.name()?));
        }
        let name: Name = self.name()?;
        Ok(Described::Any(name))
    }
}
