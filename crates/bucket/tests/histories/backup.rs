//! A backup, change by change, so that it can die between any two.

use std::{collections::BTreeMap, rc::Rc};

use catalog::{
    File, Manifest, TableEntry,
    key::{ManifestKey, SchemaKey, SchemaKind, ScyllaManifestKey},
    restore::resolve,
};
use protocol::{SnapshotTag, TaskId};
use rand::{RngExt as _, seq::IteratorRandom as _};

use crate::world::{Node, Table, World};

/// Components of an SSTable.
const COMPONENTS: [&str; 2] = ["Data.db", "TOC.txt"];

/// A run that makes a backup.
#[derive(Clone)]
pub(crate) struct Run {
    pub(crate) task: TaskId,
    pub(crate) tag: SnapshotTag,
    pub(crate) parts: Vec<Part>,
}

/// One node's part of it.
#[derive(Clone)]
pub(crate) struct Part {
    /// The node, with its snapshot.
    pub(crate) node: Node,
    pub(crate) key: ManifestKey,
    /// What is planned, once it is.
    pub(crate) plan: Option<Rc<Plan>>,
    /// Files that are stored, or were found stored.
    pub(crate) stored: usize,
    pub(crate) sealed: bool,
}

pub(crate) struct Plan {
    pub(crate) manifest: Rc<Manifest>,
    pub(crate) files: Vec<Planned>,
}

/// A file of a plan.
pub(crate) struct Planned {
    /// Its plain key.
    pub(crate) key: String,
    /// What it is to hold.
    pub(crate) content: u64,
    /// Whether it was there when the plan was made. It is not looked for again.
    pub(crate) skip: bool,
}

/// Why a run does not go on.
enum Halt {
    /// Its process died.
    Crash,
    /// It would have to harm other backups.
    Refused,
}

impl Table {
    /// Keys of its files, and what they hold.
    fn files(&self) -> Vec<(String, String, u64)> {
        let sstables = self.sstables.iter();
        let files = sstables.flat_map(|(sstable, content)| {
            let names = COMPONENTS.iter().zip(0..);
            names.map(move |(component, at)| {
                let name = format!("{sstable}-{component}");
                (self.dir.component(&name).unwrap(), name, content * 10 + at)
            })
        });
        files.collect()
    }
}

impl World {
    /// Begins a backup of the nodes that are up.
    pub(crate) fn back_up(&mut self) {
        if self.chance(0.7) {
            self.compact();
        }
        let tasks: Vec<TaskId> = self.tasks.keys().copied().collect();
        let Some(task) = tasks.into_iter().choose(&mut self.rng) else {
            return;
        };
        let up: Vec<Node> = self.nodes.iter().filter(|node| node.up).cloned().collect();
        if up.is_empty() {
            return;
        }
        let tag = self.tag();
        self.note(format!("backup {tag} of task {task} begins"));
        let parts = up.into_iter().map(|node| Part {
            key: ManifestKey {
                owner: node.owner.clone(),
                task,
                tag: tag.clone(),
                temporary: false,
            },
            node,
            plan: None,
            stored: 0,
            sealed: false,
        });
        let run = Run {
            parts: parts.collect(),
            task,
            tag,
        };
        self.advance(run);
    }

    /// Goes on with a run, or gives it up.
    pub(crate) fn go_on(&mut self) {
        if self.runs.is_empty() {
            return;
        }
        let at = self.rng.random_range(0..self.runs.len());
        let run = self.runs.remove(at);
        if self.chance(0.4) {
            self.note(format!("{} is given up", run.tag));
            return;
        }
        self.note(format!("{} goes on", run.tag));
        self.advance(run);
    }

    /// Lets a run go as far as it gets.
    fn advance(&mut self, mut run: Run) {
        let mut budget = match self.chance(0.35) {
            true => self.rng.random_range(0..40),
            false => u32::MAX,
        };
        let ended = self.run(&mut run, &mut budget);
        if run.parts.iter().all(|part| part.sealed) {
            let nodes = run.parts.iter().map(|part| part.key.clone()).collect();
            self.truth.done.insert((run.task, run.tag.clone()), nodes);
        }
        match ended {
            Ok(()) => self.note(format!("{} is done", run.tag)),
            Err(Halt::Crash) if self.chance(0.7) => {
                self.note(format!("{} is cut short, and stays open", run.tag));
                self.runs.push(run);
            }
            Err(Halt::Crash) => self.note(format!("{} is cut short for good", run.tag)),
            Err(Halt::Refused) => self.note(format!("{} is refused", run.tag)),
        }
    }

    fn run(&mut self, run: &mut Run, budget: &mut u32) -> Result<(), Halt> {
        let mut live = || {
            *budget = budget.checked_sub(1).ok_or(Halt::Crash)?;
            Ok(())
        };
        for part in &mut run.parts {
            live()?;
            let schema = SchemaKey {
                cluster: self.cluster,
                task: run.task,
                tag: run.tag.clone(),
                kind: SchemaKind::Cql,
            };
            let bucket = &mut self.buckets[part.node.bucket];
            bucket.schemas.insert(schema.to_string());
            if part.plan.is_none() {
                let plan = self.plan(part);
                // Scylla's own lists go before the manifest that names them.
                for table in &part.node.tables {
                    live()?;
                    let key = list_of(table, &run.tag).to_string();
                    self.buckets[part.node.bucket].files.insert(key, 1);
                }
                live()?;
                let temporary = part.key.with_temporary(true);
                let manifest = Rc::clone(&plan.manifest);
                let bucket = &mut self.buckets[part.node.bucket];
                bucket.manifests.insert(temporary, manifest);
                let begun = (part.node.bucket, Rc::clone(&plan.manifest));
                self.truth.begun.insert(part.key.clone(), begun);
                part.plan = Some(Rc::new(plan));
            }
        }
        for part in &mut run.parts {
            let plan = Rc::clone(part.plan.as_ref().unwrap());
            while let Some(file) = plan.files.get(part.stored) {
                if !file.skip {
                    self.store(part, &file.key, file.content, &mut live)?;
                }
                part.stored += 1;
            }
        }
        for part in &mut run.parts {
            let plan = Rc::clone(part.plan.as_ref().unwrap());
            live()?;
            let bucket = &mut self.buckets[part.node.bucket];
            if !part.sealed {
                let manifest = Rc::clone(&plan.manifest);
                bucket.manifests.insert(part.key.clone(), manifest);
                part.sealed = true;
                let files = plan
                    .files
                    .iter()
                    .map(|file| (file.key.clone(), file.content));
                self.truth.files.insert(part.key.clone(), files.collect());
            }
            live()?;
            let bucket = &mut self.buckets[part.node.bucket];
            bucket.manifests.remove(&part.key.with_temporary(true));
        }
        Ok(())
    }

    /// Plans a node's part. A table with integers is left out when its tag does not come after all
    /// others: versions would be mixed up.
    fn plan(&self, part: &Part) -> Plan {
        let newest = self.is_newest(part);
        let mut files = Vec::new();
        let mut index = Vec::new();
        for table in &part.node.tables {
            if table.integers && !newest {
                continue;
            }
            let of_table = table.files();
            let entries = of_table.iter().map(|(_, name, _)| File {
                name,
                bytes: Some(1),
                crc32: None,
            });
            index.push(TableEntry {
                files: entries.collect(),
                bytes: of_table.len() as u64,
                scylla_manifests: vec![list_of(table, &part.key.tag).name()],
                ..TableEntry::new(&table.dir.keyspace, &table.dir.table, table.dir.version)
            });
            let stored = &self.buckets[part.node.bucket].files;
            files.extend(of_table.into_iter().map(|(key, _, content)| Planned {
                skip: stored.get(&key) == Some(&content),
                content,
                key,
            }));
        }
        Plan {
            manifest: Rc::new(Manifest {
                index,
                ..Manifest::new(&part.key)
            }),
            files,
        }
    }

    fn is_newest(&self, part: &Part) -> bool {
        let bucket = &self.buckets[part.node.bucket];
        let mut others = bucket.of(&part.key.owner).map(|(key, _)| &key.tag);
        let versions = bucket.below(&part.key.owner.components()).all(|(key, _)| {
            let version = catalog::key::split_version(key).1;
            version.is_none_or(|tag| tag <= part.key.tag)
        });
        versions && others.all(|tag| *tag <= part.key.tag)
    }

    /// Stores a file, unless it is there; what else has its name is moved out of the way.
    fn store(
        &mut self,
        part: &Part,
        key: &str,
        content: u64,
        live: &mut impl FnMut() -> Result<(), Halt>,
    ) -> Result<(), Halt> {
        let newest = self.is_newest(part);
        let bucket = &mut self.buckets[part.node.bucket];
        // What is found by the rule for versions is what a restore would find.
        let found = resolve(key, &part.key.tag, &bucket.files);
        match found {
            Some((_, found)) if found == content => return Ok(()),
            // A newer backup has moved what this one meant.
            Some((at, _)) if at != key => return Err(Halt::Refused),
            Some(_) => {
                if !newest {
                    return Err(Halt::Refused);
                }
                live()?;
                let old = bucket.files[key];
                let version = format!("{key}.{}", part.key.tag);
                bucket.files.insert(version.clone(), old);
                if !Self::needed(bucket, &part.key.owner).contains(&version) {
                    // What was moved out of the way was garbage. It goes with this backup.
                    self.truth.litter.insert(version, part.key.clone());
                }
                live()?;
                bucket.files.remove(key);
            }
            None => {}
        }
        live()?;
        bucket.files.insert(key.to_owned(), content);
        Ok(())
    }
}

/// The key of Scylla's own list of a table.
pub(crate) fn list_of(table: &Table, tag: &SnapshotTag) -> ScyllaManifestKey {
    ScyllaManifestKey {
        dir: table.dir.clone(),
        tag: tag.clone(),
    }
}

/// What a run's files hold that are stored already, or were from the beginning.
pub(crate) fn stored(part: &Part) -> BTreeMap<&str, u64> {
    let files = part
        .plan
        .iter()
        .flat_map(|plan| plan.files.iter().enumerate());
    let stored = files.filter(|(at, file)| *at < part.stored || file.skip);
    stored.map(|(_, file)| (&*file.key, file.content)).collect()
}
