//! Manifests of either maker are read; ours keep their form.

use std::io::Read as _;

use super::*;
use crate::document::tests::id;

fn key() -> ManifestKey {
    sample().key(false).unwrap()
}

fn sample() -> Manifest {
    Manifest {
        cluster: id("c1"),
        dc: "dc1".into(),
        node: id("01"),
        task: id("b1"),
        tag: "sm_20260131235959UTC".parse().unwrap(),
        info: NodeFacts {
            cluster_name: "prod".into(),
            scylla_version: "2026.4.0".into(),
            ip: "10.0.0.1".into(),
            rack: "r1".into(),
            tokens: vec![i64::MIN, -9_007_199_254_740_993, i64::MAX],
            shard_count: 8,
            cpu_count: 16,
            storage_size: 1 << 40,
            cloud_provider: String::new(),
            instance_type: "i4i.large".into(),
        },
        schema: String::new(),
        index: vec![TableEntry {
            keyspace: "shop".into(),
            table: "users".into(),
            replication: Some(Replication::Tablets),
            version: "0f00abcd11112222333344445555ffff".parse().unwrap(),
            files: vec![
                FileEntry {
                    name: "mt-3gqe_1lnj_4sbpc2ezoscu9hhtor-big-Data.db".into(),
                    bytes: Some(173),
                    crc32: Some(2_941_617_598),
                },
                FileEntry {
                    name: "mt-3gqe_1lnj_4sbpc2ezoscu9hhtor-big-TOC.txt".into(),
                    bytes: Some(104),
                    crc32: None,
                },
            ],
            bytes: 277,
            scylla_manifests: vec![],
        }],
    }
}

fn gzip(text: &str) -> Vec<u8> {
    let mut gzip = GzEncoder::new(Vec::new(), Compression::fast());
    io::Write::write_all(&mut gzip, text.as_bytes()).unwrap();
    gzip.finish().unwrap()
}

fn read(text: &str) -> Result<Manifest, ManifestError> {
    Manifest::read(&gzip(text)[..], &key())
}

#[test]
fn a_manifest_keeps_its_form_and_goes_round() {
    let bytes = sample().to_bytes();
    let mut json = String::new();
    MultiGzDecoder::new(&bytes[..])
        .read_to_string(&mut json)
        .unwrap();
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/testdata/manifest.v2.json");
    if std::env::var_os("GOLDEN").is_some() {
        std::fs::write(path, format!("{json}\n")).unwrap();
    }
    assert_eq!(json, std::fs::read_to_string(path).unwrap().trim_end());
    assert_eq!(Manifest::read(&bytes[..], &key()).unwrap(), sample());
    assert_eq!(bytes, sample().to_bytes());
}

#[test]
fn what_manager_wrote_is_read() {
    // An old one: index first, no rack, replication or list of snapshots' own manifests.
    let old = r#"{"version":"v2","index":[{"keyspace":"shop","table":"users",
        "version":"0f00abcd11112222333344445555ffff",
        "files":["me-3-big-Data.db","me-3-big-TOC.txt"],"size":7,"path":"backup/x"}],
        "size":7,"tokens":[-9223372036854775808,9007199254740993],"cluster_name":"prod",
        "ip":"10.0.0.1","schema":"backup/schema/x","since_version_7":{"a":[1]}}"#;
    let manifest = read(old).unwrap();
    assert_eq!(manifest.info.tokens, [i64::MIN, 9_007_199_254_740_993]);
    assert_eq!((manifest.bytes(), manifest.files()), (7, 2));
    assert_eq!(manifest.index[0].files[1].bytes, None);
    assert_eq!(manifest.index[0].replication, None);
    assert_eq!(manifest.dc, "dc1");
    let sstables = manifest.index[0].sstables();
    assert_eq!(sstables["me-3-big"].len(), 2);

    let nulls = r#"{"version":"v2","index":[{"keyspace":"shop","table":"users","size":0,
        "version":"0f00abcd11112222333344445555ffff","files":null,"scylla_manifests":null,
        "replication_type":"later"}],"tokens":null,"instance_details":null}"#;
    assert_eq!(read(nulls).unwrap().files(), 0);
    let empty = r#"{"version":"v2","index":null}"#;
    assert_eq!(read(empty).unwrap().index, []);
}

#[test]
fn sizes_that_cannot_be_true_add_up_to_the_largest() {
    let entry = r#"{"keyspace":"shop","table":"users","files":[],"size":18446744073709551615,
        "version":"0f00abcd11112222333344445555ffff"}"#;
    let manifest = read(&format!(r#"{{"version":"v2","index":[{entry},{entry}]}}"#)).unwrap();
    assert_eq!(manifest.bytes(), u64::MAX);
}

#[test]
fn what_is_no_manifest_is_refused_with_its_key() {
    let entry = |files: &str| {
        format!(
            r#"{{"version":"v2","index":[{{"keyspace":"k","table":"t","version":"{:032x}",{files}}}]}}"#,
            7
        )
    };
    for (text, expected) in [
        ("", "EOF"),
        ("[]", "says of itself version ``"),
        ("{", "EOF"),
        (r#"{"version":"v3"}"#, "says of itself version `v3`"),
        (r#"{"version":"v2","dc":"dc2"}"#, "says of itself dc `dc2`"),
        (
            r#"{"version":"v2","snapshot_tag":"sm_20250131235959UTC"}"#,
            "says of itself snapshot_tag",
        ),
        (
            &entry(r#""files":["../../etc/passwd"]"#),
            "not the name of an SSTable's file",
        ),
        (
            &entry(r#""files":[],"thetis":{"sizes":[1],"crc32":[]}"#),
            "has 0 files, but 1 sizes",
        ),
        (
            &entry(r#""scylla_manifests":["a/b"]"#),
            "cannot be part of a key",
        ),
    ] {
        let error = read(text).unwrap_err().to_string();
        assert!(error.contains(expected), "{error}");
        assert!(error.contains("task_01920000"), "{error}");
    }
    let torn = &sample().to_bytes()[..40];
    let error = Manifest::read(torn, &key()).unwrap_err();
    assert!(matches!(error, ManifestError::Read { .. }), "{error}");
    let plain = Manifest::read(&b"{}"[..], &key()).unwrap_err();
    assert!(matches!(plain, ManifestError::Read { .. }), "{plain}");
}
