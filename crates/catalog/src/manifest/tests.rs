//! Manifests of either maker are read; ours keep their form.

use std::io::Read as _;

use flate2::read::MultiGzDecoder;

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
            files: [
                File {
                    name: "mt-3gqe_1lnj_4sbpc2ezoscu9hhtor-big-Data.db",
                    bytes: Some(173),
                    crc32: Some(2_941_617_598),
                },
                File {
                    name: "mt-3gqe_1lnj_4sbpc2ezoscu9hhtor-big-TOC.txt",
                    bytes: Some(104),
                    crc32: None,
                },
            ]
            .into_iter()
            .collect(),
            bytes: 277,
            scylla_manifests: vec![],
            ranges: vec![(i64::MIN, -1), (5, i64::MAX)],
        }],
        ranges: [("bank".to_owned(), vec![(7, 9)])].into(),
        nodes: vec![id("01"), id("02")],
        snapshot_ms: 1_769_903_999_123,
        sealed_ms: 1_769_904_123_456,
        not_understood: vec![],
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
    assert_eq!(manifest.index[0].files.get(1).unwrap().bytes, None);
    assert_eq!(manifest.index[0].replication, None);
    assert_eq!(manifest.dc, "dc1");
    let sstables = manifest.index[0].sstables();
    assert_eq!(sstables["me-3-big"].len(), 2);

    let empty = r#"{"version":"v2","index":null}"#;
    assert_eq!(read(empty).unwrap().index, []);
    let silent = read(r#"{"index":[],"version":"v2"}"#).unwrap();
    assert_eq!(silent, Manifest::new(&key()));
}

#[test]
fn a_null_is_nothing_wherever_it_is() {
    let nulls = r#"{"version":null,"index":[null,{"keyspace":"shop","table":"users","size":null,
        "version":"0f00abcd11112222333344445555ffff","files":["me-3-big-TOC.txt",null],
        "scylla_manifests":[null,"tag_x.json"],"replication_type":"later","path":null,
        "thetis":null},{"keyspace":"shop","table":"users","files":null,"scylla_manifests":null,
        "replication_type":null,"version":"0f00abcd11112222333344445555ffff",
        "thetis":{"sizes":null}}],
        "instance_details":{"cloud_provider":null,"instance_type":"i4i.large"},
        "tokens":[1,null,2],"rack":null,"storage_size":null,"node_id":null,"version":"v2"}"#;
    let manifest = read(nulls).unwrap();
    assert_eq!(manifest.info.tokens, [1, 2]);
    assert_eq!(manifest.info.instance_type, "i4i.large");
    assert_eq!(manifest.index.len(), 2);
    let names: Vec<&str> = manifest.index[0].files.iter().map(|f| f.name).collect();
    assert_eq!(names, ["me-3-big-TOC.txt"]);
    assert_eq!(manifest.index[0].scylla_manifests, ["tag_x.json"]);
    let rest = TableEntry::new("shop", "users", manifest.index[0].version);
    assert_eq!(manifest.index[1], rest);
    let all = r#"{"version":"v2","tokens":null,"instance_details":null,"index":null,"dc":null,
        "cluster_id":null,"task_id":null,"snapshot_tag":null,"size":null,"x":null}"#;
    assert_eq!(read(all).unwrap(), Manifest::new(&key()));
}

#[test]
fn additions_of_another_form_count_as_not_said_and_are_told_of() {
    let read = |ours: &str, of_entry: &str| {
        let text = format!(
            r#"{{"version":"v2","thetis":{ours},"rack":"r1","index":[{{"keyspace":"k","table":"t",
            "version":"{:032x}","thetis":{of_entry},"files":["me-3-big-TOC.txt"]}}]}}"#,
            7
        );
        read(&text).unwrap()
    };
    let ranges = r#"{"ranges":{"k":[[1,2]]},"nodes":7,"more":{"a":[]},"snapshot_ms":5}"#;
    let facts = r#"{"sizes":{"all":1},"crc32":[9],"ranges":[[1,2],[3]]}"#;
    let manifest = read(ranges, facts);
    assert_eq!(manifest.ranges["k"], [(1, 2)]);
    assert_eq!((manifest.nodes.len(), manifest.snapshot_ms), (0, 5));
    let entry = &manifest.index[0];
    let file = entry.files.get(0).unwrap();
    assert_eq!((file.bytes, file.crc32), (None, Some(9)));
    assert_eq!(entry.ranges, []);
    assert_eq!(
        manifest.not_understood,
        [
            "thetis.sizes of k.t",
            "thetis.ranges of k.t",
            "thetis.nodes"
        ]
    );
    let manifest = read(r#""later""#, "[[7]]");
    assert_eq!(manifest.info.rack, "r1");
    assert_eq!(manifest.index[0].files.get(0).unwrap().bytes, None);
    assert_eq!(manifest.not_understood, ["thetis of k.t", "thetis"]);
    for (ours, of_entry) in [
        ("null", "null"),
        ("{}", "{}"),
        (
            r#"{"ranges":null,"nodes":null,"sealed_ms":null}"#,
            r#"{"sizes":null,"crc32":null,"ranges":null}"#,
        ),
        (r#"{"ranges":{},"nodes":[]}"#, r#"{"sizes":[null]}"#),
    ] {
        let manifest = read(ours, of_entry);
        assert_eq!(manifest.not_understood, [""; 0], "{ours} {of_entry}");
        let said = (&manifest.ranges, &manifest.index[0].ranges);
        assert!(said.0.is_empty() && said.1.is_empty());
    }
}

#[test]
fn entries_are_handed_over_in_their_order_until_one_is_refused() {
    let entry = |table: &str| {
        format!(
            r#"{{"files":["me-3-big-TOC.txt"],"keyspace":"k","version":"{:032x}","table":"{table}"}}"#,
            7
        )
    };
    let index = ["a", "b", "c"].map(entry).join(",");
    let text = format!(r#"{{"index":[{index}],"version":"v2","rack":"r9"}}"#);
    let mut seen = Vec::new();
    let head = Manifest::visit(&gzip(&text)[..], &key(), |entry| {
        seen.push((entry.table, entry.files.len()));
        Ok::<_, ManifestError>(())
    })
    .unwrap();
    assert_eq!(seen, ["a", "b", "c"].map(|table| (table.to_owned(), 1)));
    assert_eq!((head.info.rack.as_str(), head.index.len()), ("r9", 0));

    #[derive(Debug)]
    enum Mine {
        Enough(String),
        Manifest(ManifestError),
    }
    impl From<ManifestError> for Mine {
        fn from(cause: ManifestError) -> Self {
            Self::Manifest(cause)
        }
    }
    let refuse = |entry: TableEntry| match entry.table.as_str() {
        "b" => Err(Mine::Enough(entry.table)),
        _ => Ok(()),
    };
    let ended = Manifest::visit(&gzip(&text)[..], &key(), refuse).unwrap_err();
    assert!(
        matches!(&ended, Mine::Enough(table) if table == "b"),
        "{ended:?}"
    );
    let torn = Manifest::visit(&gzip("{")[..], &key(), refuse).unwrap_err();
    assert!(
        matches!(&torn, Mine::Manifest(cause) if cause.to_string().contains("manifest.json.gz")),
        "{torn:?}"
    );
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
        ("{", "EOF"),
        ("[]", "expected a manifest"),
        ("7", "expected a manifest"),
        ("null", "expected a manifest"),
        ("{}", "names no version; this build reads `v2`"),
        (r#"{"version":""}"#, "names no version"),
        (r#"{"version":2}"#, "expected a string"),
        (
            r#"{"version":"v3","index":{"new":"shape"}}"#,
            "has version `v3`, but this build reads only `v2`",
        ),
        (r#"{"version":"v2","dc":"dc2"}"#, "says of itself dc `dc2`"),
        (r#"{"version":"v2","dc":"DC1"}"#, "says of itself dc `DC1`"),
        (
            r#"{"snapshot_tag":"sm_20250131235959UTC","version":"v2"}"#,
            "says of itself snapshot_tag",
        ),
        (r#"{"version":"v2"} x"#, "trailing characters"),
        (r#"{"version":"v2"}{"version":"v2"}"#, "trailing characters"),
        (
            r#"{"version":"v2","version":"v2"}"#,
            "duplicate field `version`",
        ),
        (
            r#"{"version":"v2","index":[],"index":[]}"#,
            "duplicate field `index`",
        ),
        (
            r#"{"version":"v2","ip":"","ip":""}"#,
            "duplicate field `ip`",
        ),
        (r#"{"version":"v2","index":7}"#, "expected a list of tables"),
        (r#"{"version":"v2","index":[7]}"#, "invalid type: integer"),
        (
            r#"{"version":"v2","index":[{"keyspace":"k"}]}"#,
            "missing field `table`",
        ),
        (&entry(r#""files":[7]"#), "expected the name of a file"),
        (&entry(r#""files":{}"#), "expected a list of files"),
        (
            &entry(r#""files":[],"files":[]"#),
            "duplicate field `files`",
        ),
        (&entry(r#""size":-1"#), "expected u64"),
        (
            &entry(r#""files":["../../etc/passwd"]"#),
            "not the name of an SSTable's file",
        ),
        (
            &entry(r#""files":[],"thetis":{"sizes":[1],"crc32":[]}"#),
            "`k.t`: 1 sizes are given for 0 files",
        ),
        (
            &entry(r#""scylla_manifests":["a/b"]"#),
            "cannot be part of a key",
        ),
    ] {
        let error = read(text).unwrap_err().to_string();
        assert!(error.contains(expected), "{text}: {error}");
        assert!(error.contains("task_01920000"), "{error}");
    }
}

#[test]
fn damage_is_an_error_and_never_another_manifest() {
    let whole = sample().to_bytes();
    let read = |bytes: &[u8]| Manifest::read(bytes, &key());
    for cut in 0..whole.len() {
        let error = read(&whole[..cut]).unwrap_err();
        assert!(
            matches!(error, ManifestError::Read { .. }),
            "{cut}: {error}"
        );
    }
    for bit in 0..whole.len() * 8 {
        let mut flipped = whole.clone();
        flipped[bit / 8] ^= 1 << (bit % 8);
        // Some bits of the frame mean nothing, as those of its time.
        match read(&flipped) {
            Ok(manifest) => assert_eq!(manifest, sample(), "bit {bit}"),
            Err(error) => assert!(error.to_string().contains("task_01920000"), "{error}"),
        }
    }
    for behind in [&b"x"[..], b"{}", &[0; 100]] {
        let error = read(&[&whole, behind].concat()).unwrap_err();
        assert!(matches!(error, ManifestError::Read { .. }), "{error}");
    }
    let plain = read(b"{}").unwrap_err();
    assert!(matches!(plain, ManifestError::Read { .. }), "{plain}");
}

#[test]
fn a_manifest_that_inflates_without_end_is_refused() {
    let mut bomb = GzEncoder::new(Vec::new(), Compression::best());
    let spaces = [b' '; 1 << 16];
    io::Write::write_all(&mut bomb, b"{\"version\":\"v2\",").unwrap();
    for _ in 0..64 {
        io::Write::write_all(&mut bomb, &spaces).unwrap();
    }
    let bomb = bomb.finish().unwrap();
    let limit = 1 << 20;
    let refused = |most| super::read::read(&bomb[..], &key(), most, |_| Ok::<_, ManifestError>(()));
    let error = refused(limit).unwrap_err();
    assert!(
        matches!(error, ManifestError::TooLarge { limit, .. } if limit == 1 << 20),
        "{error}"
    );
    assert!(error.to_string().contains("inflates to more than 1048576"));
    let error = refused(LARGEST).unwrap_err();
    assert!(matches!(error, ManifestError::Shape { .. }), "{error}");
}
