//! Results as Markdown, which people read as well, and as a chart.

mod chart;
mod text;

use std::{fs, path::Path};

use anyhow::{Context as _, Result};

pub(crate) use self::text::{case, whole};
use crate::results::Results;

/// Writes all forms of the results into a folder.
pub(crate) fn write(results: &Results, dir: &Path) -> Result<()> {
    let json = serde_json::to_string_pretty(results)?;
    let files = [
        ("results.json", json),
        ("results.md", whole(results)),
        ("results.svg", chart::svg(results)),
    ];
    for (name, text) in files {
        let path = dir.join(name);
        fs::write(&path, text).with_context(|| format!("writing {}", path.display()))?;
    }
    Ok(())
}
