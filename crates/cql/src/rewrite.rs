//! Small rewrites of one statement.

use std::ops::Range;

use crate::{Error, Statement, options};

impl Statement {
    /// With `IF NOT EXISTS`, so that it does nothing where its object is. Unchanged if it says so
    /// already, replaces what is there, or is no `CREATE` that is understood.
    ///
    /// # Errors
    /// [`Error::TooLarge`].
    pub fn with_if_not_exists(&self) -> Result<Self, Error> {
        let guard = self.places().guard.map(|token| self.offset(token));
        let edit = guard.map(|at| (at..at, "IF NOT EXISTS ".to_owned()));
        self.edited(edit.into_iter().collect())
    }

    /// Without the `ID` of a table or a view, so that a new one is chosen. Else unchanged.
    ///
    /// # Errors
    /// None; it only gets shorter.
    pub fn without_id(&self) -> Result<Self, Error> {
        let edit = self.id_edit().map(|range| (range, String::new()));
        self.edited(edit.into_iter().collect())
    }

    /// The bytes to take out for [`Self::without_id`].
    pub(crate) fn id_edit(&self) -> Option<Range<usize>> {
        let all = self.properties();
        let at = all.iter().position(|property| property.name == "id")?;
        let end = |tokens: &Range<usize>| self.bytes(tokens).end;
        Some(match (at.checked_sub(1), all.get(at + 1)) {
            // `WITH` stays for the next.
            (None, Some(next)) => self.offset(all[at].whole.start)..self.offset(next.whole.start),
            (None, None) => {
                let with = options::with(self)?;
                end(&(0..with))..end(&all[at].whole)
            }
            (Some(before), _) => end(&all[before].whole)..end(&all[at].whole),
        })
    }
}
