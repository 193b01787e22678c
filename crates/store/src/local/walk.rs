//! Listing a folder: depth first, in pages, holding one open directory a level.

use std::{
    fs::{self, ReadDir},
    io,
    path::{Path, PathBuf},
};

use super::{TEMPORARY, is_missing};
use crate::{Object, time::since_1970};

/// Objects of a page.
const PAGE: usize = 1_000;

/// Where a listing stands.
pub(super) struct Walk {
    folder: PathBuf,
    prefix: String,
    /// From the outermost to the innermost: a directory's key with a `/` behind it, and what is
    /// left of it.
    open: Vec<(String, ReadDir)>,
    /// The directory to begin with.
    start: Option<String>,
}

impl Walk {
    pub(super) fn new(folder: &Path, prefix: &str) -> Self {
        let start = prefix
            .rsplit_once('/')
            .map_or("", |(directory, _)| directory);
        Self {
            folder: folder.to_owned(),
            prefix: prefix.to_owned(),
            open: Vec::new(),
            start: Some(start.to_owned()),
        }
    }

    /// Whether nothing was read yet.
    pub(super) fn fresh(&self) -> bool {
        self.start.is_some()
    }

    /// The next objects; none at the end.
    pub(super) fn page(&mut self) -> io::Result<Vec<Object>> {
        if let Some(start) = self.start.take() {
            self.enter(&start)?;
        }
        let mut page = Vec::new();
        while page.len() < PAGE {
            let Some((above, entries)) = self.open.last_mut() else {
                break;
            };
            let Some(entry) = entries.next() else {
                self.open.pop();
                continue;
            };
            let entry = entry?;
            // No key has a name that is not UTF-8.
            let Ok(name) = entry.file_name().into_string() else {
                continue;
            };
            if name == TEMPORARY {
                continue;
            }
            let key = format!("{above}{name}");
            // Follows links, as reading does. What vanished meanwhile is no object.
            let Ok(meta) = fs::metadata(entry.path()) else {
                continue;
            };
            if meta.is_dir() && self.leads_to(&key) {
                self.enter(&key)?;
            } else if meta.is_file() && key.starts_with(&self.prefix) {
                page.push(Object {
                    key,
                    bytes: meta.len(),
                    written_ms: meta.modified().ok().and_then(since_1970),
                });
            }
        }
        Ok(page)
    }

    /// Whether keys below `directory` can begin with the prefix.
    fn leads_to(&self, directory: &str) -> bool {
        let below = format!("{directory}/");
        below.starts_with(&self.prefix) || self.prefix.starts_with(&below)
    }

    fn enter(&mut self, directory: &str) -> io::Result<()> {
        let above = match directory {
            "" => String::new(),
            _ => format!("{directory}/"),
        };
        match fs::read_dir(self.folder.join(directory)) {
            Ok(entries) => {
                self.open.push((above, entries));
                Ok(())
            }
            Err(e) if is_missing(&e) => Ok(()),
            Err(e) => Err(e),
        }
    }
}

/// Names of the directories in a directory; none if there is no such directory.
pub(super) fn folders(path: &Path) -> io::Result<Vec<String>> {
    let entries = match fs::read_dir(path) {
        Ok(entries) => entries,
        Err(e) if is_missing(&e) => return Ok(Vec::new()),
        Err(e) => return Err(e),
    };
    let mut names = Vec::new();
    for entry in entries {
        let entry = entry?;
        let Ok(name) = entry.file_name().into_string() else {
            continue;
        };
        // Follows links, as reading does.
        let directory = fs::metadata(entry.path()).is_ok_and(|meta| meta.is_dir());
        if directory && name != TEMPORARY {
            names.push(name);
        }
    }
    Ok(names)
}
