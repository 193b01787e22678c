//! What lies in buckets beside backups.

use super::{
    cluster::Cluster,
    manifest::gzip,
    random::Random,
    sstable::{SsTable, Table},
    truth::{Bucket, Kind, Object},
};

/// The tag of the backup in a tree of the first layout.
const V1_TAG: &str = "sm_20200227111752UTC";

impl Cluster {
    /// Puts things into the cluster's part of the bucket that no backup needs: markers of the
    /// layout, probes of rights, SSTables without a manifest, and what people leave.
    pub fn clutter(&mut self) {
        let id = self.id.clone();
        let probe = self.random.uuid();
        self.add(
            &format!(".permission-check/cluster/{id}/{probe}/test"),
            "",
            Kind::Foreign,
        );
        for at in 0..self.nodes.len() {
            let node = &self.nodes[at];
            let place = format!("cluster/{id}/dc/{}/node/{}", node.dc, node.id);
            let meta = format!("backup/meta/{place}");
            for name in [
                ".version",
                "notes.txt",
                "task_x_tag_sm_20260101000000UTC_manifest.json.gz",
                "old/manifest.json.gz",
            ] {
                self.add(&format!("{meta}/{name}"), "v2", Kind::Foreign);
            }
            let sst = format!("backup/sst/{place}/keyspace");
            self.add(&format!("{sst}/README"), "see wiki", Kind::Stray);
            let Some((table, version)) = self.tables.first().cloned() else {
                continue;
            };
            let dir = format!("{sst}/{}/table/{}/{version}", table.keyspace, table.name);
            self.add(&format!("{dir}/me-1-big-Data.db.bak/x"), "", Kind::Stray);
            self.add(&format!("{dir}/schema.cql"), "CREATE TABLE", Kind::Stray);
            // Far from the ids that are given out, and from any time of a backup.
            let number = 1_000_000 + self.random.between(0, 1_000);
            let orphan = SsTable::write(&mut self.random, &table, number, 1_000_000_000);
            for (name, content) in orphan.files {
                let kind = Kind::Orphan;
                self.clutter
                    .insert(format!("{dir}/{name}"), Object { content, kind });
            }
        }
    }

    fn add(&mut self, key: &str, content: &str, kind: Kind) {
        let content = content.as_bytes().into();
        self.clutter
            .insert(key.to_owned(), Object { content, kind });
    }
}

impl Bucket {
    /// Adds what belongs to no cluster: objects of other programs, and names that look like
    /// Manager's until they are read to their end.
    pub fn clutter(&mut self, seed: u64) {
        let mut random = Random::new(seed);
        let (cluster, node, task) = (random.uuid(), random.uuid(), random.uuid());
        let meta = format!("backup/meta/cluster/{cluster}/dc/dc1/node/{node}");
        let manifest = format!("task_{task}_tag_sm_20260101000000UTC_manifest.json.gz");
        let upper = cluster.to_uppercase();
        for key in [
            "terraform.tfstate".to_owned(),
            "backup/README.txt".to_owned(),
            "backup/meta/lost+found".to_owned(),
            "backups/meta/cluster/x".to_owned(),
            "backup/meta/cluster/not-an-id/dc/dc1/node/x/y".to_owned(),
            format!("backup/meta/cluster/{upper}/dc/dc1/node/{node}/{manifest}"),
            format!("backup/meta/cluster/{cluster}/dc/dc1/{manifest}"),
            format!("{meta}/{manifest}.bak"),
            format!("{meta}/{manifest}.tmp.tmp"),
            format!("{meta}/sub/{manifest}"),
            format!("{meta}/task_{task}_tag_sm_2026_manifest.json.gz"),
            format!("backup/schema/cluster/{cluster}/task_{task}_tag_sm_20260101000000UTC_schema"),
            format!("backup/schema/{manifest}"),
            format!("old/{meta}/{manifest}"),
        ] {
            let content = gzip(b"{\"version\":\"v2\",\"index\":[]}").into();
            let kind = Kind::Foreign;
            self.objects.insert(key, Object { content, kind });
        }
    }

    /// Adds a cluster's backup in the first layout, with a manifest a table, which nothing reads
    /// any more. Its files lie where today's do.
    pub fn clutter_v1(&mut self, seed: u64) {
        let mut random = Random::new(seed);
        let (cluster, node, task) = (random.uuid(), random.uuid(), random.uuid());
        let place = format!("cluster/{cluster}/dc/dc1/node/{node}");
        let mut add = |key: String, content: std::sync::Arc<[u8]>, kind| {
            self.objects.insert(key, Object { content, kind });
        };
        for name in ["users", "orders"] {
            let table = Table::with_integers("shop", name);
            let version = random.version();
            let sstable = SsTable::write(&mut random, &table, 1, 1_582_802_272);
            let of = format!("{place}/keyspace/shop/table/{name}");
            let names: Vec<&str> = sstable.files.iter().map(|(name, _)| &**name).collect();
            let manifest = serde_json::json!({ "files": names }).to_string();
            add(
                format!("backup/meta/{of}/task/{task}/tag/{V1_TAG}/{version}/manifest.json"),
                manifest.into_bytes().into(),
                Kind::Foreign,
            );
            for (name, content) in sstable.files {
                let key = format!("backup/sst/{of}/{version}/{name}");
                add(key, content, Kind::Orphan);
            }
        }
    }
}
