//! Keys keep their form, and go round.

use proptest::prelude::*;
use protocol::RunId;
use uuid::Uuid;

use super::*;

const C: &str = "01920000-0000-7000-8000-0000000000c1";
const N: &str = "01920000-0000-7000-8000-000000000001";
const T: &str = "01920000-0000-7000-8000-0000000000b1";
const TAG: &str = "sm_20260131235959UTC";
const V: &str = "0f00abcd11112222333344445555ffff";

fn back<K: FromStr<Err = InvalidKey> + fmt::Display + fmt::Debug>(key: &str) {
    assert_eq!(key.parse::<K>().unwrap().to_string(), key);
}

#[test]
fn keys_are_where_scylla_manager_looks() {
    let meta =
        format!("backup/meta/cluster/{C}/dc/dc1/node/{N}/task_{T}_tag_{TAG}_manifest.json.gz");
    back::<ManifestKey>(&meta);
    back::<ManifestKey>(&format!("{meta}.tmp"));
    for kind in [
        "schema_with_internals.json.gz",
        "alternator_schema.json.gz",
        "schema.tar.gz",
    ] {
        back::<SchemaKey>(&format!(
            "backup/schema/cluster/{C}/task_{T}_tag_{TAG}_{kind}"
        ));
    }
    let dir = format!("backup/sst/cluster/{C}/dc/dc1/node/{N}/keyspace/shop/table/users/{V}");
    back::<ComponentKey>(&format!("{dir}/mt-1-big-Data.db"));
    back::<ComponentKey>(&format!("{dir}/mt-1-big-Data.db.{TAG}"));
    back::<ScyllaManifestKey>(&format!("{dir}/tag_{TAG}_node_{N}_manifest.json"));
}

#[test]
fn own_keys_keep_their_form() {
    let run = format!("thetis/runs/{T}");
    for key in [
        format!("{run}/run.json"),
        format!("{run}/node/{N}/plan.json"),
        format!("{run}/node/{N}/chunk/000007.json"),
        format!("{run}/node/{N}/chunk/1000000.json"),
        format!("{run}/node/{N}/receipt/000007.json"),
        format!("{run}/restore/plan.json"),
        format!("{run}/restore/batch/000007.json"),
        format!("{run}/restore/receipt/000007.json"),
        format!("{run}/restore/undo/{N}.json"),
        format!("thetis/clusters/{C}.json"),
        format!("thetis/tasks/{C}/{T}.json"),
        format!("thetis/catalog/{C}.json.gz"),
        format!("thetis/pins/{C}/{TAG}.json"),
    ] {
        back::<OwnKey>(&key);
    }
    let (cluster, tag) = (C.parse().unwrap(), TAG.parse().unwrap());
    let pins = OwnKey::pins(cluster);
    assert!(OwnKey::Pin(cluster, tag).to_string().starts_with(&pins));
    let origin: RunId = T.parse().unwrap();
    let node = N.parse().unwrap();
    let chunk = OwnKey::Chunk(origin, node, 3).to_string();
    assert!(chunk.starts_with(&OwnKey::of_node(origin, node)));
    assert!(chunk.starts_with(&OwnKey::of_run(origin)));
    assert!(
        OwnKey::Receipt(origin, node, 3)
            .to_string()
            .starts_with(&OwnKey::receipts(origin, node))
    );
    assert!(
        OwnKey::Batch(origin, 3)
            .to_string()
            .starts_with(&OwnKey::batches(origin))
    );
    assert!(
        OwnKey::BatchReceipt(origin, 3)
            .to_string()
            .starts_with(&OwnKey::batch_receipts(origin))
    );
}

#[test]
fn what_is_no_key_is_refused() {
    let meta = format!("backup/meta/cluster/{C}/dc/dc1/node/{N}");
    for key in [
        String::new(),
        format!("{meta}/.version"),
        format!("{meta}/task_{T}_tag_{TAG}_manifest.json"),
        format!("{meta}/task_{T}_tag_{TAG}_manifest.json.gz.tmp.tmp"),
        format!("{meta}/task_x_tag_{TAG}_manifest.json.gz"),
        format!("{meta}/sub/task_{T}_tag_{TAG}_manifest.json.gz"),
        format!("/{meta}/task_{T}_tag_{TAG}_manifest.json.gz"),
        format!("backup/meta/cluster/{C}/dc/../node/{N}/task_{T}_tag_{TAG}_manifest.json.gz"),
        format!(
            "backup/meta/cluster/{}/dc/d/node/{N}/task_{T}_tag_{TAG}_manifest.json.gz",
            C.to_uppercase()
        ),
        format!(
            "backup/meta/cluster/{}/dc/d/node/{N}/task_{T}_tag_{TAG}_manifest.json.gz",
            C.replace('-', "")
        ),
    ] {
        assert!(key.parse::<ManifestKey>().is_err(), "{key}");
    }
    let dir = format!("backup/sst/cluster/{C}/dc/dc1/node/{N}/keyspace/shop/table");
    for key in [
        format!("{dir}/users/{V}/manifest.json"),
        format!("{dir}/users/{V}/mt-1-big-Data.db/x"),
        format!("{dir}/users/{V}/"),
        format!("{dir}/../{V}/mt-1-big-Data.db"),
        format!("{dir}/users/{}/mt-1-big-Data.db", V.to_uppercase()),
        format!("{dir}/users/{V}/tag_{TAG}_node_{T}_manifest.json"),
    ] {
        assert!(key.parse::<ComponentKey>().is_err(), "{key}");
        assert!(key.parse::<ScyllaManifestKey>().is_err(), "{key}");
    }
    for key in [
        format!("thetis/runs/{T}/node/{N}/chunk/7.json"),
        format!("thetis/runs/{T}/node/{N}/chunk/+00007.json"),
        format!("thetis/runs/{T}/node/{N}/plan.json/x"),
        format!("thetis/runs/{T}/restore/else.json"),
        format!("thetis/runs/{T}"),
        format!("thetis/tasks/{T}.json"),
        format!("thetis/catalog/{C}.json"),
        format!("thetis/pins/{TAG}.json"),
        format!("thetis/pins/{C}/{TAG}"),
        format!("thetis/pins/{C}/{T}.json"),
    ] {
        assert!(key.parse::<OwnKey>().is_err(), "{key}");
    }
}

#[test]
fn a_name_that_leaves_its_place_gets_into_no_key() {
    let (cluster, node) = (C.parse().unwrap(), N.parse().unwrap());
    let owner = Owner::new(cluster, "dc1", node).unwrap();
    let version = V.parse().unwrap();
    for wrong in ["", "..", "a/b", "a\nb"] {
        assert!(Owner::new(cluster, wrong, node).is_err());
        assert!(TableDir::new(&owner, wrong, "t", version).is_err());
        assert!(TableDir::new(&owner, "k", wrong, version).is_err());
        let dir = TableDir::new(&owner, "k", "t", version).unwrap();
        assert!(dir.component(wrong).is_err());
    }
}

prop_compose! {
    fn owner()(cluster: u128, node: u128, dc in "[A-Za-z0-9_. -]{1,12}") -> Option<Owner> {
        Owner::new(ClusterId(Uuid::from_u128(cluster)), &dc, NodeId(Uuid::from_u128(node))).ok()
    }
}

proptest! {
    #[test]
    fn every_manifest_key_goes_round(owner in owner(), task: u128, at: u32, temporary: bool) {
        prop_assume!(owner.is_some());
        let key = ManifestKey {
            owner: owner.unwrap(),
            task: TaskId(Uuid::from_u128(task)),
            tag: crate::tag::at(at.into()),
            temporary,
        };
        prop_assert_eq!(key.to_string().parse::<ManifestKey>().unwrap(), key);
    }

    #[test]
    fn every_component_key_goes_round(
        owner in owner(), version: u128, keyspace in "\\PC{1,8}", table in "\\PC{1,8}",
        id: u64, component in "[A-Z][A-Za-z0-9.]{0,8}", at in proptest::option::of(any::<u32>()),
    ) {
        prop_assume!(owner.is_some());
        let dir = TableDir::new(&owner.unwrap(), &keyspace, &table, TableVersion(version));
        prop_assume!(dir.is_ok());
        let dir = dir.unwrap();
        let own = ScyllaManifestKey { dir: dir.clone(), tag: crate::tag::at(7) };
        prop_assert_eq!(own.to_string().parse::<ScyllaManifestKey>().unwrap(), own);
        let key = ComponentKey {
            dir,
            name: format!("me-{id}-big-{component}"),
            replaced_by: at.map(|at| crate::tag::at(at.into())),
        };
        prop_assert_eq!(key.to_string().parse::<ComponentKey>().unwrap(), key);
    }

    #[test]
    fn no_text_makes_a_parser_panic(text in "(backup|thetis)?[/a-z0-9_.-]{0,80}") {
        let _ = text.parse::<ManifestKey>();
        let _ = text.parse::<SchemaKey>();
        let _ = text.parse::<ComponentKey>();
        let _ = text.parse::<ScyllaManifestKey>();
        let _ = text.parse::<OwnKey>();
    }
}
