//! Reads several SSTables as one, the newest version of each row, by token.

use std::fs::File;
use std::io;
use std::path::Path;

use super::SsTable;
use super::frame::Entry;

/// Calls `row` with each newest row of `tables`, each with its directory, by ascending token.
///
/// Memory: the entries and one row.
///
/// # Errors
/// When a file cannot be read or `row` fails.
pub(crate) fn newest<'a>(
    tables: impl IntoIterator<Item = (&'a Path, &'a SsTable)>,
    mut row: impl FnMut(Entry, &[u8], &[u8]) -> io::Result<()>,
) -> io::Result<()> {
    let mut files = Vec::new();
    let mut entries = Vec::new();
    for (dir, table) in tables {
        entries.extend(table.entries.iter().map(|entry| (*entry, files.len())));
        files.push(File::open(dir.join(table.name.file("Data.db")))?);
    }
    entries.sort_unstable_by_key(|(entry, _)| entry.order());
    entries.dedup_by(|(later, _), (kept, _)| later.same_key(kept));
    let mut buffer = Vec::new();
    for (entry, file) in entries {
        let value = entry.read(&files[file], &mut buffer)?;
        row(entry, &buffer[..value], &buffer[value..])?;
    }
    Ok(())
}
