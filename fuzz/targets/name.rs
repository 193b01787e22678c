//! A file's name says which SSTable it belongs to, and nothing gets lost on the way.

#![no_main]

use catalog::{Id, Name, sstable::parse_sstable};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|text: &str| {
    if let Ok(sstable) = parse_sstable(text) {
        assert_eq!(sstable.sstable, text);
    }
    let Ok(name) = text.parse::<Name>() else {
        return;
    };
    assert_eq!(name.to_string(), text);
    assert_eq!(name.sibling(&name.component), text);
    let sstable = parse_sstable(&name.sstable).expect("an SSTable's name");
    assert_eq!((&sstable.sstable, &sstable.id), (&name.sstable, &name.id));
    let other = match &name.id {
        Id::Integer(id) => Id::Integer(id ^ 1),
        Id::Uuid(_) => Id::Uuid("3gqe_1lnj_4sbpc2ezoscu9hhtor".to_owned()),
    };
    let renamed = parse_sstable(&name.renamed(&other)).expect("an SSTable's name");
    assert_eq!((renamed.id, renamed.version), (other, name.version));
});
