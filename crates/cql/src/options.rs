//! The options after `WITH`.

use std::{collections::BTreeMap, ops::Range};

use crate::{
    Error, Statement, Value, canon,
    value::{self},
};

/// One option, as numbers of tokens.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Property {
    /// In lower case; several words with one space between.
    pub(crate) name: String,
    /// All of it, without the `WITH` or `AND` before it.
    pub(crate) whole: Range<usize>,
    /// What follows `=`, or follows the words where there is none; none for a flag.
    pub(crate) value: Option<Range<usize>>,
}

impl Property {
    /// Whether its value is a role's secret.
    pub(crate) fn is_secret(&self) -> bool {
        self.name.contains("password") || self.name.contains("hash")
    }
}

/// The options of a statement, in their order.
pub(crate) fn properties(statement: &Statement) -> Vec<Property> {
    let Some(with) = with(statement) else {
        return Vec::new();
    };
    let mut all = Vec::new();
    let (mut depth, mut start) = (0, with + 1);
    for at in with + 1..statement.tokens().len() {
        depth = step(statement, at, depth);
        if depth == 0 && statement.is(at, "AND") {
            all.push(start..at);
            start = at + 1;
        }
    }
    all.push(start..statement.tokens().len());
    let all = all.into_iter().filter(|whole| !whole.is_empty());
    all.map(|whole| property(statement, whole)).collect()
}

/// The token `WITH` that begins the options.
pub(crate) fn with(statement: &Statement) -> Option<usize> {
    let mut depth = 0;
    let mut body = statement.places().body..statement.tokens().len();
    body.find(|at| {
        depth = step(statement, *at, depth);
        depth == 0 && statement.is(*at, "WITH")
    })
}

fn step(statement: &Statement, at: usize, depth: usize) -> usize {
    let token = statement.tokens()[at];
    canon::step(statement.text(), token, depth).unwrap_or_default()
}

fn property(statement: &Statement, whole: Range<usize>) -> Property {
    let named = |at: &usize| statement.name_at(*at).is_some();
    let words = whole.clone().take_while(named).count();
    let end = whole.start + words;
    let names = (whole.start..end).filter_map(|at| statement.name_at(at));
    let start = if statement.is_symbol(end, '=') {
        end + 1
    } else {
        end
    };
    let value = start..whole.end;
    Property {
        name: names.collect::<Vec<_>>().join(" "),
        value: (start < whole.end).then_some(value),
        whole,
    }
}

impl Statement {
    /// The value of an option given after `WITH`, by its name in lower case: `tombstone_gc`. None if
    /// the option is not there, or is a word without value.
    ///
    /// # Errors
    /// [`Error::TooDeep`].
    pub fn option(&self, name: &str) -> Result<Option<Value>, Error> {
        let mut properties = self.properties().into_iter();
        let found = properties.find(|property| property.name == name);
        let value = found.and_then(|property| property.value);
        let read = |tokens| value::read(self.text(), self.tokens(), &tokens);
        value.map(read).transpose()
    }

    /// When tombstones go, as a table's `tombstone_gc` says; none if it says nothing.
    ///
    /// # Errors
    /// [`Error::TooDeep`].
    pub fn tombstone_gc(&self) -> Result<Option<BTreeMap<String, String>>, Error> {
        let value = self.option("tombstone_gc")?;
        Ok(value.and_then(|value| value.as_map()))
    }
}
