//! What a page has in it: links, headings, code and tables.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::Path,
};

use anyhow::{Context as _, Result};
use pulldown_cmark::{Event, Options, Parser, Tag, TagEnd};

/// A page.
#[derive(Debug, Default)]
pub(crate) struct Page {
    /// Where its links and pictures lead.
    pub(crate) links: Vec<String>,
    /// What its headings are called in links, as GitHub and mdBook have it.
    pub(crate) anchors: BTreeSet<String>,
    /// What stands in backticks within text.
    pub(crate) codes: Vec<String>,
    /// What stands in blocks of code.
    pub(crate) blocks: Vec<String>,
    pub(crate) tables: Vec<Table>,
}

/// A table's first column.
#[derive(Debug, Default)]
pub(crate) struct Table {
    /// What it is headed.
    pub(crate) head: String,
    /// What each of its cells has in backticks.
    pub(crate) first: Vec<Vec<String>>,
}

/// Where in a page a reader is.
#[derive(Debug, Default)]
struct Place {
    heading: Option<String>,
    block: Option<String>,
    in_table: bool,
    in_head: bool,
    cell: usize,
    /// How often a heading was there.
    slugs: BTreeMap<String, usize>,
}

impl Page {
    pub(crate) fn read(path: &Path) -> Result<Self> {
        let text =
            fs::read_to_string(path).with_context(|| format!("reading {}", path.display()))?;
        let options = Options::ENABLE_TABLES | Options::ENABLE_TASKLISTS;
        let (mut page, mut place) = (Self::default(), Place::default());
        for event in Parser::new_ext(&text, options) {
            match event {
                Event::Start(tag) => page.begin(&mut place, &tag),
                Event::End(tag) => page.end(&mut place, tag),
                Event::Text(text) => page.text(&mut place, &text),
                Event::Code(code) => page.code(&mut place, &code),
                Event::SoftBreak | Event::HardBreak => page.text(&mut place, " "),
                Event::InlineMath(_)
                | Event::DisplayMath(_)
                | Event::Html(_)
                | Event::InlineHtml(_)
                | Event::FootnoteReference(_)
                | Event::Rule
                | Event::TaskListMarker(_) => {}
            }
        }
        Ok(page)
    }

    fn begin(&mut self, place: &mut Place, tag: &Tag<'_>) {
        if let Tag::Link { dest_url, .. } | Tag::Image { dest_url, .. } = tag {
            self.links.push(dest_url.to_string());
        }
        if matches!(tag, Tag::Heading { .. }) {
            place.heading = Some(String::new());
        }
        if matches!(tag, Tag::CodeBlock(_)) {
            place.block = Some(String::new());
        }
        if matches!(tag, Tag::Table(_)) {
            place.in_table = true;
            self.tables.push(Table::default());
        }
        if matches!(tag, Tag::TableHead) {
            (place.in_head, place.cell) = (true, 0);
        }
        if let (Tag::TableRow, Some(table)) = (tag, self.tables.last_mut()) {
            place.cell = 0;
            table.first.push(Vec::new());
        }
    }

    fn end(&mut self, place: &mut Place, tag: TagEnd) {
        if matches!(tag, TagEnd::Heading(_))
            && let Some(heading) = place.heading.take()
        {
            self.anchors.insert(place.anchor(&heading));
        }
        if tag == TagEnd::CodeBlock {
            self.blocks.extend(place.block.take());
        }
        if tag == TagEnd::TableCell {
            place.cell += 1;
        }
        if tag == TagEnd::TableHead {
            place.in_head = false;
        }
        if tag == TagEnd::Table {
            place.in_table = false;
        }
    }

    fn text(&mut self, place: &mut Place, text: &str) {
        if let Some(into) = place.block.as_mut().or(place.heading.as_mut()) {
            into.push_str(text);
        } else if let (true, 0, Some(table)) = (place.in_head, place.cell, self.tables.last_mut()) {
            table.head.push_str(text);
        }
    }

    fn code(&mut self, place: &mut Place, code: &str) {
        self.codes.push(code.to_owned());
        if let Some(heading) = &mut place.heading {
            heading.push_str(code);
        }
        let in_row = place.in_table && !place.in_head && place.cell == 0;
        let row = self
            .tables
            .last_mut()
            .and_then(|table| table.first.last_mut());
        if let (true, Some(row)) = (in_row, row) {
            row.push(code.to_owned());
        }
    }
}

impl Place {
    /// What a heading is called in links; with a number if it was there before.
    fn anchor(&mut self, heading: &str) -> String {
        let slug = slug(heading);
        let before = self.slugs.entry(slug.clone()).or_default();
        *before += 1;
        match *before {
            1 => slug,
            count => format!("{slug}-{}", count - 1),
        }
    }
}

fn slug(heading: &str) -> String {
    let lower = heading.trim().to_lowercase();
    let kept = lower.chars().filter_map(|c| match c {
        c if c.is_alphanumeric() || c == '-' || c == '_' => Some(c),
        c if c.is_whitespace() => Some('-'),
        _ => None,
    });
    kept.collect()
}

/// Whether a link leads to a file of the checkout.
pub(crate) fn is_local(link: &str) -> bool {
    !link.contains("://") && !link.starts_with("mailto:")
}

/// The key of the configuration that a piece of code may be: `store.memory_mb`, also in `store.memory_mb = 64`
/// and `cql.*`. Names of files look like one.
pub(crate) fn key(code: &str) -> Option<&str> {
    const FILES: [&str; 9] = [
        "env", "conf", "md", "rs", "json", "toml", "yaml", "crt", "slice",
    ];
    let key = code.split(" = ").next()?.trim_end_matches(".*");
    let last = key.rsplit('.').next()?;
    let fits = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_' || c == '.';
    let is_key = key.contains('.') && key.chars().all(fits) && !FILES.contains(&last);
    is_key.then_some(key)
}
