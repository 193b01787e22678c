//! A table's files, kept small: a large node has hundreds of thousands.

use std::fmt;

/// A file that a backup holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct File<'a> {
    /// Its name, without the suffix of an older version. In a manifest that was read, always the
    /// name of an SSTable's file.
    pub name: &'a str,
    /// Its bytes; `None` in a backup that Manager made.
    pub bytes: Option<u64>,
    /// Its CRC-32, where it was computed or is known from the SSTable's digest.
    pub crc32: Option<u32>,
}

/// Files in the order in which they were pushed.
///
/// All names lie in one text, and what is not known of any file takes no space.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Files {
    names: Names,
    bytes: Column<u64>,
    crc32: Column<u32>,
}

/// Names, one behind the other.
#[derive(Clone, Default, PartialEq, Eq)]
pub(super) struct Names {
    text: String,
    /// Where in `text` each name ends.
    ends: Vec<usize>,
}

/// A value of each file; empty when none is known.
#[derive(Clone, PartialEq, Eq)]
struct Column<T>(Vec<Option<T>>);

impl Files {
    /// No files.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Files of those names. Values are given for all of them or, as an empty list, for none.
    pub(super) fn from_columns(
        names: Names,
        bytes: Vec<Option<u64>>,
        crc32: Vec<Option<u32>>,
    ) -> Self {
        Self {
            names,
            bytes: Column::new(bytes),
            crc32: Column::new(crc32),
        }
    }

    /// How many there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.names.ends.len()
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.names.ends.is_empty()
    }

    /// The file at a place, from 0.
    #[must_use]
    pub fn get(&self, at: usize) -> Option<File<'_>> {
        Some(File {
            name: self.names.get(at)?,
            bytes: self.bytes.get(at),
            crc32: self.crc32.get(at),
        })
    }

    /// All of them.
    pub fn iter(&self) -> impl DoubleEndedIterator<Item = File<'_>> + ExactSizeIterator {
        (0..self.len()).map(|at| self.get(at).expect("it is below the length"))
    }

    /// Adds a file behind the others.
    pub fn push(&mut self, file: File<'_>) {
        let before = self.len();
        self.names.push(file.name);
        self.bytes.push(before, file.bytes);
        self.crc32.push(before, file.crc32);
    }

    /// Puts them in order of name.
    pub fn sort(&mut self) {
        if self.iter().is_sorted() {
            return;
        }
        let mut order: Vec<usize> = (0..self.len()).collect();
        order.sort_unstable_by(|a, b| self.get(*a).cmp(&self.get(*b)));
        let sorted = order.into_iter().filter_map(|at| self.get(at)).collect();
        *self = sorted;
    }

    /// Where the file of that name is. They must be in order of name.
    pub(crate) fn find(&self, name: &str) -> Option<usize> {
        let (mut from, mut to) = (0, self.len());
        while from < to {
            let middle = from.midpoint(to);
            match self.names.get(middle)?.cmp(name) {
                std::cmp::Ordering::Less => from = middle + 1,
                std::cmp::Ordering::Equal => return Some(middle),
                std::cmp::Ordering::Greater => to = middle,
            }
        }
        None
    }

    /// Says what is known now of the file at a place.
    pub(crate) fn set(&mut self, at: usize, bytes: u64, crc32: u32) {
        let all = self.len();
        self.bytes.set(all, at, bytes);
        self.crc32.set(all, at, crc32);
    }
}

impl Names {
    fn get(&self, at: usize) -> Option<&str> {
        let start = at.checked_sub(1).map_or(0, |before| self.ends[before]);
        Some(&self.text[start..*self.ends.get(at)?])
    }

    pub(super) fn len(&self) -> usize {
        self.ends.len()
    }

    pub(super) fn push(&mut self, name: &str) {
        self.text.push_str(name);
        self.ends.push(self.text.len());
    }
}

impl<T: Copy> Column<T> {
    fn new(values: Vec<Option<T>>) -> Self {
        let known = values.iter().any(Option::is_some);
        Self(if known { values } else { Vec::new() })
    }

    fn get(&self, at: usize) -> Option<T> {
        self.0.get(at).copied().flatten()
    }

    /// Adds the value of the file that comes after `before` others.
    fn push(&mut self, before: usize, value: Option<T>) {
        if value.is_some() || !self.0.is_empty() {
            self.0.resize(before, None);
            self.0.push(value);
        }
    }

    /// Sets the value of one of `all` files.
    fn set(&mut self, all: usize, at: usize, value: T) {
        self.0.resize(all, None);
        self.0[at] = Some(value);
    }
}

impl<T> Default for Column<T> {
    fn default() -> Self {
        Self(Vec::new())
    }
}

impl<'a> FromIterator<File<'a>> for Files {
    fn from_iter<I: IntoIterator<Item = File<'a>>>(files: I) -> Self {
        let mut all = Self::new();
        all.extend(files);
        all
    }
}

impl<'a> Extend<File<'a>> for Files {
    fn extend<I: IntoIterator<Item = File<'a>>>(&mut self, files: I) {
        files.into_iter().for_each(|file| self.push(file));
    }
}

impl fmt::Debug for Files {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.iter()).finish()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    type Owned = (String, Option<u64>, Option<u32>);

    fn file((name, bytes, crc32): &Owned) -> File<'_> {
        File {
            name,
            bytes: *bytes,
            crc32: *crc32,
        }
    }

    fn owned() -> impl Strategy<Value = Vec<Owned>> {
        let file = (
            "[a-c\u{fc}]{0,3}",
            any::<Option<u64>>(),
            any::<Option<u32>>(),
        );
        proptest::collection::vec(file, 0..20)
    }

    proptest! {
        #[test]
        fn they_are_what_was_pushed(mut list in owned(), known in any::<(bool, bool)>()) {
            for (_, bytes, crc32) in &mut list {
                *bytes = bytes.filter(|_| known.0);
                *crc32 = crc32.filter(|_| known.1);
            }
            let mut files: Files = list.iter().map(file).collect();
            prop_assert_eq!(files.len(), list.len());
            prop_assert_eq!(files.is_empty(), list.is_empty());
            prop_assert!(files.iter().eq(list.iter().map(file)));
            prop_assert!(files.iter().rev().eq(list.iter().rev().map(file)));
            prop_assert_eq!(files.get(list.len()), None);

            files.sort();
            list.sort();
            prop_assert!(files.iter().eq(list.iter().map(file)));
            for (name, _, _) in &list {
                let at = files.find(name).unwrap();
                prop_assert_eq!(&files.get(at).unwrap().name, name);
            }
            prop_assert_eq!(files.find("d"), None);
        }

        #[test]
        fn what_is_set_is_known(list in owned(), at in any::<prop::sample::Index>()) {
            prop_assume!(!list.is_empty());
            let mut files: Files = list.iter().map(file).collect();
            let mut expected = list.clone();
            let at = at.index(list.len());
            files.set(at, 7, 8);
            (expected[at].1, expected[at].2) = (Some(7), Some(8));
            prop_assert!(files.iter().eq(expected.iter().map(file)));
            let same: Files = expected.iter().map(file).collect();
            prop_assert_eq!(files, same);
        }
    }
}
