//! Takes the turns of a case.

use std::{path::Path, process::Command};

use ::tests::{Direct, NullS3};
use anyhow::{Context as _, Result};

use crate::{
    cases::Case,
    data::Filled,
    list::List,
    results::{Measured, Party},
    who::Stage,
};

/// Below which size of its files a set is measured in files rather than in bytes.
const SMALL: u64 = 256 << 10;

/// An uploader for files below `root`, with further settings, and a server for it.
pub(crate) async fn direct(case: &Case, root: &Path, settings: &[(&str, &str)]) -> Result<Direct> {
    let null = NullS3::start(&case.server).await?;
    let data = (
        "THETIS_NODE__DATA_DIR".to_owned(),
        root.display().to_string(),
    );
    let more = settings
        .iter()
        .map(|(key, value)| ((*key).to_owned(), (*value).to_owned()));
    Direct::start_at(null, [data].into_iter().chain(more).collect()).await
}

/// Has everybody take turns, in as many rounds as the case has.
pub(crate) async fn measure(case: &Case, filled: &Filled, root: &Path) -> Result<Measured> {
    let list = filled.beyond(case.known)?;
    let path = root.join("list.json");
    list.write(&path)?;
    let direct = Box::pin(direct(case, root, &[])).await?;
    let stage = Stage {
        direct: &direct,
        filled,
        list: &list,
        path: &path,
    };
    let who = case.who.iter().copied().filter(|who| who.installed());
    let who: Vec<_> = who.collect();
    let party = |name| Party {
        name,
        turns: Vec::new(),
        left_out: Vec::new(),
        cached_bytes: None,
    };
    let mut parties: Vec<_> = who.iter().map(|who| party(who.name())).collect();
    for round in 1..=case.rounds {
        for (who, party) in who.iter().zip(&mut parties) {
            if case.cold {
                list.cool()?;
            } else {
                list.warm()?;
            }
            let turn = Box::pin(stage.turn(*who)).await;
            let turn =
                turn.with_context(|| format!("{}, round {round}: {}", case.id, who.name()))?;
            party.turns.push(turn);
            if case.cold {
                party.cached_bytes = party.cached_bytes.max(cached(&list)?);
            }
        }
    }
    let mut measured = Measured {
        id: case.id.to_owned(),
        what: case.what.to_owned(),
        of_files: list.bytes() / (list.files.len() as u64).max(1) < SMALL,
        parties,
        disturbed: Vec::new(),
    };
    measured.mark();
    Ok(measured)
}

/// Bytes of the files that the page cache holds; `None` if nobody here can tell.
fn cached(list: &List) -> Result<Option<u64>> {
    let output = Command::new("fincore")
        .args(["--bytes", "--noheadings", "--raw", "--output=RES"])
        .args(list.files.iter().map(|file| &file.path))
        .output();
    let Ok(output) = output else {
        return Ok(None);
    };
    let text = String::from_utf8(output.stdout)?;
    let sizes = text.split_whitespace().map(str::parse::<u64>);
    Ok(Some(sizes.sum::<Result<u64, _>>()?))
}
