//! A text is the key of one kind of object or of none, and its key prints as the text.

#![no_main]

use std::{fmt::Display, str::FromStr};

use catalog::{
    TableVersion,
    key::{ComponentKey, ManifestKey, OwnKey, SchemaKey, ScyllaManifestKey, split_version},
    segment, tag,
};
use libfuzzer_sys::fuzz_target;
use protocol::SnapshotTag;

fuzz_target!(|text: &str| {
    let kinds = [
        back::<ManifestKey>(text).is_some(),
        back::<SchemaKey>(text).is_some(),
        back::<ComponentKey>(text).is_some(),
        back::<ScyllaManifestKey>(text).is_some(),
        back::<OwnKey>(text).is_some(),
    ];
    let kinds = kinds.iter().filter(|kind| **kind).count();
    assert!(kinds <= 1, "{text:?} is of several kinds");
    if kinds == 1 {
        assert!(
            text.split('/').all(|part| segment::check(part).is_ok()),
            "{text:?}"
        );
    }
    if let Ok(key) = text.parse::<ManifestKey>() {
        let other = key.with_temporary(!key.temporary);
        assert_eq!(back::<ManifestKey>(&other.to_string()), Some(other));
        assert!(text.starts_with(&key.owner.manifests()));
    }
    if let Ok(key) = text.parse::<ComponentKey>() {
        assert!(text.starts_with(&key.dir.prefix()));
        assert_eq!(key.dir.component(&key.name).as_deref(), Ok(&*plain(&key)));
    }
    back::<TableVersion>(text);
    if let Some(snapshot) = back::<SnapshotTag>(text)
        && let Some(unix) = tag::unix(&snapshot)
    {
        assert_eq!(tag::at(unix), snapshot);
    }
    let (name, version) = split_version(text);
    let whole = version.map_or(name.to_owned(), |version| format!("{name}.{version}"));
    assert_eq!(whole, text);
});

/// Reads a text, and makes sure that it is the only one which reads as that.
fn back<K: FromStr + Display>(text: &str) -> Option<K> {
    let key: K = text.parse().ok()?;
    assert_eq!(key.to_string(), text);
    Some(key)
}

fn plain(key: &ComponentKey) -> String {
    let current = ComponentKey {
        replaced_by: None,
        ..key.clone()
    };
    current.to_string()
}
