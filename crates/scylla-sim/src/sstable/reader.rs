//! Finds SSTables in a directory and checks them, more strictly than ScyllaDB would.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{self, Read};
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use uuid::Uuid;

use super::SsTable;
use super::component::{self, CHUNK, NUMBERS};
use super::frame::{self, MAGIC, broken};
use super::name::Name;

/// Regular files of a directory, by SSTable.
#[derive(Debug, Default)]
pub(crate) struct Listing {
    /// Component suffixes of each.
    pub(crate) tables: BTreeMap<Name, Vec<String>>,
    /// Files that are no component of anything.
    pub(crate) aliens: Vec<String>,
}

/// Sorts the files of `dir`. Sub-directories, `manifest.json` and `schema.cql` are left out.
pub(crate) fn list(dir: &Path) -> io::Result<Listing> {
    let mut listing = Listing::default();
    for item in fs::read_dir(dir)? {
        let item = item?;
        if !item.file_type()?.is_file() {
            continue;
        }
        let file = item.file_name().to_string_lossy().into_owned();
        match Name::parse(&file) {
            Some((name, component)) => {
                listing
                    .tables
                    .entry(name)
                    .or_default()
                    .push(component.to_owned());
            }
            None if file == "manifest.json" || file == "schema.cql" => {}
            None => listing.aliens.push(file),
        }
    }
    Ok(listing)
}

/// How much of an SSTable to read when opening it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Check {
    /// Sizes and row headers.
    Quick,
    /// Every byte against every checksum there is.
    Full,
}

/// Opens the SSTable `name` of `dir` by its TOC.
///
/// # Errors
/// `InvalidData` with a text of what is wrong; with [`Check::Full`] also when bytes and checksums differ.
pub(crate) fn open(dir: &Path, name: &Name, check: Check) -> io::Result<SsTable> {
    let path = |component: &str| dir.join(name.file(component));
    let toc = fs::read_to_string(path("TOC.txt"))?;
    let components: Vec<String> = toc.lines().map(str::to_owned).collect();
    let (mut disk_bytes, mut index_bytes, mut data_bytes) = (0, 0, 0);
    for component in &components {
        let meta = fs::metadata(path(component)).map_err(|e| {
            let missing = e.kind() == io::ErrorKind::NotFound;
            if missing {
                broken(format!("component {component} is missing"))
            } else {
                e
            }
        })?;
        disk_bytes += meta.blocks() * 512;
        match component.as_str() {
            "Data.db" => data_bytes = meta.len(),
            "Index.db" | "Partitions.db" | "Rows.db" => index_bytes += meta.len(),
            _ => {}
        }
    }
    for needed in ["Data.db", "TOC.txt", "Statistics.db", "Scylla.db"] {
        if !components.iter().any(|c| c == needed) {
            return Err(broken(format!("TOC does not list {needed}")));
        }
    }
    let scylla = fs::read(path("Scylla.db"))?;
    let (id, sums) =
        component::read_scylla_db(&scylla).ok_or_else(|| broken("Scylla.db is damaged"))?;
    let mut data = File::open(path("Data.db"))?;
    if check == Check::Full {
        check_data(dir, name, &components, &mut data)?;
        check_others(dir, name, &components, id, &sums)?;
    }
    check_start(&data, id)?;
    let entries = frame::scan(&data, data_bytes)?;
    Ok(SsTable {
        name: name.clone(),
        id,
        components,
        disk_bytes,
        data_bytes,
        index_bytes,
        entries,
    })
}

fn check_start(data: &File, id: Uuid) -> io::Result<()> {
    use std::os::unix::fs::FileExt;
    let mut start = [0; 24];
    data.read_exact_at(&mut start, 0)?;
    if start[..8] != *MAGIC || start[8..] != *id.as_bytes() {
        return Err(broken("Data.db is not that of this SSTable"));
    }
    Ok(())
}

/// Data.db against Digest.crc32 and CRC.db.
fn check_data(dir: &Path, name: &Name, components: &[String], data: &mut File) -> io::Result<()> {
    let (mut whole, mut sums) = (crc32fast::Hasher::new(), Vec::new());
    let mut chunk = vec![0; CHUNK];
    loop {
        let mut filled = 0;
        while filled < CHUNK {
            match data.read(&mut chunk[filled..])? {
                0 => break,
                more => filled += more,
            }
        }
        if filled == 0 {
            break;
        }
        let mut sum = crc32fast::Hasher::new();
        sum.update(&chunk[..filled]);
        whole.combine(&sum);
        sums.push(sum.finalize());
    }
    let actual = whole.finalize();
    if components.iter().any(|c| c == "Digest.crc32") {
        let text = fs::read_to_string(dir.join(name.file("Digest.crc32")))?;
        let expected: u32 = text
            .parse()
            .map_err(|_| broken("Digest.crc32 is not a number"))?;
        if expected != actual {
            return Err(broken(format!(
                "Digest mismatch: expected={expected}, actual={actual}"
            )));
        }
    }
    if components.iter().any(|c| c == "CRC.db")
        && fs::read(dir.join(name.file("CRC.db")))? != component::crc_db(&sums)
    {
        return Err(broken("CRC.db does not match Data.db"));
    }
    Ok(())
}

/// Every other component against Scylla.db and the SSTable's identifier.
fn check_others(
    dir: &Path,
    name: &Name,
    components: &[String],
    id: Uuid,
    sums: &[(u32, u32)],
) -> io::Result<()> {
    for component in components
        .iter()
        .filter(|c| *c != "Data.db" && *c != "Scylla.db")
    {
        let content = fs::read(dir.join(name.file(component)))?;
        let number = NUMBERS
            .iter()
            .find(|(known, _)| known == component)
            .map(|(_, number)| *number);
        let sum = number.and_then(|number| sums.iter().find(|(n, _)| *n == number));
        if sum.is_some_and(|(_, crc)| *crc != crc32fast::hash(&content)) {
            return Err(broken(format!(
                "checksum of {component} differs from that in Scylla.db"
            )));
        }
        let marked = matches!(
            component.as_str(),
            "Statistics.db" | "Filter.db" | "Index.db" | "Summary.db" | "Partitions.db" | "Rows.db"
        );
        if marked && !content.starts_with(id.as_bytes()) {
            return Err(broken(format!("{component} belongs to another SSTable")));
        }
    }
    Ok(())
}
