//! Whatever lies under a manifest's key is read or refused, and what is read makes sense.
//!
//! Input that begins as gzip does is read as it is; any other is taken for JSON, and packed
//! first, so that most of the time goes into what is behind the compression.

#![no_main]

use catalog::{
    Manifest,
    key::{ComponentKey, ManifestKey, ScyllaManifestKey, TableDir},
};
use flate2::Crc;
use libfuzzer_sys::fuzz_target;

const KEY: &str = "backup/meta/cluster/01920000-0000-7000-8000-0000000000c1/dc/dc1/node/01920000-0000-7000-8000-000000000001/task_01920000-0000-7000-8000-0000000000b1_tag_sm_20260131235959UTC_manifest.json.gz";

fuzz_target!(|input: &[u8]| {
    let key: ManifestKey = KEY.parse().expect("a key");
    let read = if input.starts_with(&[0x1f, 0x8b]) {
        Manifest::read(input, &key)
    } else {
        Manifest::read(&gzip(input)[..], &key)
    };
    match read {
        Ok(manifest) => check(&manifest, &key),
        // Whoever sees it must be able to tell which manifest it was.
        Err(error) => assert!(error.to_string().contains(KEY), "{error}"),
    }
});

/// One block that is not compressed: an encoder would take more time than all that is tested.
fn gzip(json: &[u8]) -> Vec<u8> {
    let length = u16::try_from(json.len()).expect("-max_len is below 64 KiB");
    let mut crc = Crc::new();
    crc.update(json);
    let mut gzip = vec![0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 0xff, 1];
    gzip.extend(length.to_le_bytes());
    gzip.extend((!length).to_le_bytes());
    gzip.extend(json);
    gzip.extend(crc.sum().to_le_bytes());
    gzip.extend(u32::from(length).to_le_bytes());
    gzip
}

fn check(manifest: &Manifest, key: &ManifestKey) {
    assert_eq!(manifest.key(false).as_ref(), Ok(key));
    // What is only added up must not be able to end the process.
    let _ = (manifest.bytes(), manifest.files());
    for entry in &manifest.index {
        let dir = TableDir::new(&key.owner, &entry.keyspace, &entry.table, entry.version);
        let dir = dir.expect("names were checked");
        let mut in_sstables = 0;
        for files in entry.sstables().values() {
            in_sstables += files.len();
        }
        assert_eq!(in_sstables, entry.files.len());
        for file in entry.files.iter() {
            let text = dir.component(file.name).expect("names were checked");
            let component: ComponentKey = text.parse().expect("a file's key");
            assert_eq!(component.to_string(), text);
        }
        for name in &entry.scylla_manifests {
            let text = dir.component(name).expect("names were checked");
            let _ = text.parse::<ScyllaManifestKey>();
        }
    }
    let bytes = manifest.to_bytes();
    let again = Manifest::read(&bytes[..], key).expect("what is written can be read");
    // What was not understood is not written again, so that what is written is all understood.
    let written = Manifest {
        not_understood: Vec::new(),
        ..manifest.clone()
    };
    assert_eq!(again, written);
    assert_eq!(again.to_bytes(), bytes);
}
