//! What the documents say of each other, of the program and of its texts is so.
//!
//! Needs no server and no tool. Whether the command line does what `docs/cli.md` says is `cli`'s to test; here
//! it is what other pages are held against.

#[path = "docs/commands.rs"]
mod commands;
#[path = "docs/markdown.rs"]
mod markdown;
#[path = "docs/texts.rs"]
mod texts;

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::{Path, PathBuf},
};

use anyhow::{Context as _, Result, ensure};
use percent_encoding::percent_decode_str;

use markdown::Page;

/// The checkout.
fn root() -> Result<PathBuf> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    root.canonicalize().context("looking for the checkout")
}

/// Files below a directory whose names end so.
fn below(dir: &Path, ending: &str) -> Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    let entries = fs::read_dir(dir).with_context(|| format!("listing {}", dir.display()))?;
    for entry in entries {
        let path = entry?.path();
        if path.is_dir() {
            found.extend(below(&path, ending)?);
        } else if path.to_string_lossy().ends_with(ending) {
            found.push(path);
        }
    }
    Ok(found)
}

/// What people read: the pages of the book, those beside what they deploy, and those at the top.
fn pages() -> Result<BTreeMap<PathBuf, Page>> {
    let root = root()?;
    let mut paths = below(&root.join("docs"), ".md")?;
    paths.extend(below(&root.join("deploy"), ".md")?);
    for entry in fs::read_dir(&root)? {
        let path = entry?.path();
        if path.extension().is_some_and(|ending| ending == "md") {
            paths.push(path);
        }
    }
    let read = |path: PathBuf| Page::read(&path).map(|page| (path, page));
    paths.into_iter().map(read).collect()
}

fn book(root: &Path, name: &str) -> Result<Page> {
    Page::read(&root.join("docs").join(name))
}

/// Fails with all that is wrong, a line each.
fn nothing_wrong(wrong: &[String]) -> Result<()> {
    ensure!(wrong.is_empty(), "\n{}", wrong.join("\n"));
    Ok(())
}

#[test]
fn the_summary_has_every_page_once() -> Result<()> {
    let root = root()?;
    let docs = root.join("docs");
    let links = book(&root, "SUMMARY.md")?.links;
    let listed: BTreeSet<PathBuf> = links.iter().map(|link| docs.join(link)).collect();
    ensure!(listed.len() == links.len(), "a page is listed twice");
    let there: BTreeSet<PathBuf> = below(&docs, ".md")?
        .into_iter()
        .filter(|path| !path.ends_with("SUMMARY.md"))
        .collect();
    let lacking = there.difference(&listed);
    let lacking = lacking.map(|path| format!("docs/SUMMARY.md lacks {}", path.display()));
    let strange = listed.difference(&there);
    let strange = strange.map(|path| format!("docs/SUMMARY.md lists {}", path.display()));
    nothing_wrong(&lacking.chain(strange).collect::<Vec<_>>())
}

#[test]
fn links_lead_somewhere() -> Result<()> {
    let pages = pages()?;
    let (mut wrong, mut looked) = (Vec::new(), 0);
    for (path, page) in &pages {
        for link in page.links.iter().filter(|link| markdown::is_local(link)) {
            looked += 1;
            if let Err(why) = follow(&pages, path, link) {
                wrong.push(format!("{}: {link}: {why}", path.display()));
            }
        }
    }
    ensure!(looked > 100, "only {looked} links were found");
    nothing_wrong(&wrong)
}

/// Looks whether a link of a page has an end.
fn follow(pages: &BTreeMap<PathBuf, Page>, from: &Path, link: &str) -> Result<()> {
    let (file, anchor) = link.split_once('#').unwrap_or((link, ""));
    let file = percent_decode_str(file).decode_utf8()?;
    let to = match file.is_empty() {
        true => from.to_owned(),
        false => from
            .parent()
            .context("a page lies in a directory")?
            .join(&*file),
    };
    let to = to.canonicalize().context("there is no such file")?;
    if anchor.is_empty() {
        return Ok(());
    }
    let page = pages.get(&to).context("no page that has anchors")?;
    ensure!(page.anchors.contains(anchor), "there is no such heading");
    Ok(())
}

#[test]
fn commands_are_those_of_the_reference() -> Result<()> {
    let reference = commands::Reference::read(&book(&root()?, "cli.md")?);
    let (mut wrong, mut looked) = (Vec::new(), 0);
    for (path, page) in &pages()? {
        for command in page.blocks.iter().flat_map(|block| commands::of(block)) {
            looked += 1;
            if let Err(why) = reference.check(&command) {
                wrong.push(format!("{}: {}: {why}", path.display(), command.join(" ")));
            }
        }
    }
    ensure!(looked > 60, "only {looked} commands were found");
    nothing_wrong(&wrong)
}

#[test]
fn quoted_texts_are_in_the_source() -> Result<()> {
    let root = root()?;
    let known = texts::printed(&root)?;
    let page = book(&root, "troubleshooting.md")?;
    let tables = page.tables.iter().filter(|table| table.head == "it says");
    let quoted: Vec<&String> = tables.flat_map(|table| &table.first).flatten().collect();
    ensure!(quoted.len() >= 40, "only {} texts are quoted", quoted.len());
    let says = |text: &str| {
        let letters = text.chars().filter(|c| c.is_alphabetic()).count();
        letters >= 8 && known.iter().any(|known| known.contains(text))
    };
    let wrong = quoted.iter().filter(|text| !says(text));
    nothing_wrong(
        &wrong
            .map(|text| format!("nothing prints: {text}"))
            .collect::<Vec<_>>(),
    )
}

#[test]
fn keys_are_those_of_the_configuration() -> Result<()> {
    let reference = book(&root()?, "configuration.md")?;
    let cells = reference.tables.iter().flat_map(|table| &table.first);
    let known: BTreeSet<&str> = cells.flatten().map(String::as_str).collect();
    let sections: BTreeSet<&str> = known
        .iter()
        .filter_map(|key| Some(key.split_once('.')?.0))
        .collect();
    ensure!(sections.len() >= 9, "only {sections:?} are known");
    let (mut wrong, mut looked) = (Vec::new(), 0);
    for (path, page) in &pages()? {
        let keys = page.codes.iter().filter_map(|code| markdown::key(code));
        for key in keys.filter(|key| sections.contains(key.split('.').next().unwrap_or_default())) {
            looked += 1;
            let group = format!("{key}.");
            if !known
                .iter()
                .any(|known| *known == key || known.starts_with(&group))
            {
                wrong.push(format!(
                    "{}: docs/configuration.md has no `{key}`",
                    path.display()
                ));
            }
        }
    }
    ensure!(looked > 100, "only {looked} keys were found");
    nothing_wrong(&wrong)
}
