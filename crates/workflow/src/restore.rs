//! A restore run.
//!
//! Inspect the cluster, all nodes of which must be up; plan; make the schema ready, for which views and
//! indexes go and tombstones stay; if tablets are to be restored, switch balancing off; make each node
//! ready; load every batch, each on any node of its datacenter; have views built anew and tombstones go
//! as before. At the end, whatever end it is, put every node back as it was and balancing on again.
//!
//! A run that fails or is stopped leaves the schema as it made it: tombstones of what is restored must
//! not go before all of it is there, so that it can be continued. Who does not want to continue it
//! undoes it: that is a run, too, which only puts back.
//!
//! A run that has only the putting back left to do is not stopped but goes on to its end. A node
//! that has no worker is not waited for then, with a remark: what was changed there is lost when it
//! restarts anyway. A node that has one, but cannot be put back, fails the run.

mod course;
mod fold;
mod jobs;
mod plan;
mod report;

use std::collections::BTreeMap;

use protocol::{Job, Location, Method, NodeId, PutBack, RestoreProven, RunId};
use serde::{Deserialize, Serialize};

use crate::{
    RestoreSpec, Shield,
    bitmap::Bitmap,
    life::Life,
    limit,
    methods::Methods,
    report::Report,
    tables::Tables,
    undo::Undo,
    wait::{Step, Wait, Who, Why},
};

/// A restore run: see [`Run`](crate::Run).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Restore {
    spec: RestoreSpec,
    life: Life,
    phase: Phase,
    /// When the phase began, on the run's clock.
    since_ms: u64,
    hosts: BTreeMap<NodeId, Host>,
    shares: Vec<Share>,
    batches: u32,
    loaded: Bitmap,
    files: u64,
    bytes: u64,
    restored: u64,
    tables: Tables,
    /// How often it was told that views are being built, and when last, on the run's clock.
    #[serde(default)]
    settling: (u32, u64),
    /// What a drill has made, once it is to go.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    scrap: Option<Undo>,
    /// What a drill has read.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    proven: Option<RestoreProven>,
    /// Whether the schema is known to be as it was, for it does not fit.
    #[serde(default)]
    untouched: bool,
    /// Who brings which table, as the plan says.
    #[serde(default, skip_serializing_if = "Methods::is_empty")]
    methods: Methods,
}

/// How far the run is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Phase {
    Inspect,
    Plan,
    Schema,
    Balance,
    Prepare,
    Load,
    Settle,
    Prove,
    PutBack,
}

/// Rounds of asking for a drill's keyspaces to go begin here.
const SCRAPS: u32 = 1 << 16;

/// A node.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
struct Host {
    prepared: bool,
    /// Set when the node is to be put back.
    back: Option<Undo>,
    batches: u32,
    files: u64,
    bytes: u64,
    download_ms: u64,
    load_ms: u64,
}

/// The batches of a datacenter, or of one node of it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Share {
    dc: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    node: Option<NodeId>,
    first: u32,
    end: u32,
    /// When the last of them was loaded, on the run's clock.
    since_ms: u64,
}

impl Share {
    fn who(&self) -> Who {
        match self.node {
            Some(node) => Who::Node(node),
            None => Who::Dc(self.dc.clone()),
        }
    }
}

impl Restore {
    pub(crate) fn new(spec: RestoreSpec) -> Self {
        Self {
            life: Life::new(spec.unsettled),
            spec,
            phase: Phase::Inspect,
            since_ms: 0,
            hosts: BTreeMap::new(),
            shares: Vec::new(),
            batches: 0,
            loaded: Bitmap::default(),
            files: 0,
            bytes: 0,
            restored: 0,
            tables: Tables::default(),
            settling: (0, 0),
            scrap: None,
            proven: None,
            untouched: false,
            methods: Methods::default(),
        }
    }

    pub(crate) fn spec(&self) -> &RestoreSpec {
        &self.spec
    }

    /// What a run that continues this one is told.
    pub(crate) fn continued(&self, run: RunId, now_ms: u64) -> RestoreSpec {
        let left = |host: &Host| host.back.as_ref().is_some_and(Undo::given_up);
        let unseen = self.spec.unsettled && self.hosts.is_empty();
        let unsettled = self.life.balancing.left_off() || self.hosts.values().any(left) || unseen;
        RestoreSpec {
            run,
            started_ms: now_ms,
            unsettled,
            shielded: self.leaves(),
            ..self.spec.clone()
        }
    }

    pub(crate) fn set_scout(&mut self, node: NodeId) -> bool {
        let changes =
            self.life.working() && self.phase == Phase::Inspect && self.spec.scout != node;
        if changes {
            self.spec.scout = node;
        }
        changes
    }

    pub(crate) fn report(&self) -> Report {
        report::of(self)
    }

    /// Whether it puts back what it has changed though not all is loaded.
    pub(crate) fn gives_up(&self) -> bool {
        self.life.ended.is_none() && self.life.verdict.is_some()
    }

    /// The job that puts `node` back; none if there is no place where its undo record could be.
    pub(crate) fn put_back(&self, node: NodeId) -> Option<Job> {
        let RestoreSpec {
            cluster,
            run,
            origin,
            ..
        } = self.spec;
        let location = self.home()?.clone();
        Some(Job::PutBack(PutBack {
            cluster,
            run,
            origin,
            node,
            location,
        }))
    }

    /// Where the plan and the undo records lie.
    fn home(&self) -> Option<&Location> {
        self.spec.request.location.first()
    }

    fn go(&mut self, phase: Phase) {
        self.phase = phase;
        self.since_ms = self.life.now_ms();
    }

    fn planner(&self) -> NodeId {
        self.life.ring.up_or(self.spec.scout)
    }

    /// Whether this run only puts back what another has changed.
    fn undoes(&self) -> bool {
        self.spec.request.undo.is_some()
    }

    /// Whether views are dropped and tombstones kept when the run ends now.
    fn leaves(&self) -> Shield {
        if self.undoes() || self.spec.request.drill {
            return Shield::No;
        }
        match self.phase {
            Phase::PutBack => Shield::No,
            Phase::Balance | Phase::Prepare | Phase::Load | Phase::Settle | Phase::Prove => {
                Shield::Surely
            }
            Phase::Schema if !self.untouched => self.spec.shielded.max(Shield::Perhaps),
            Phase::Inspect | Phase::Plan | Phase::Schema => self.spec.shielded,
        }
    }

    /// Says what a run that is over before its end leaves in the schema.
    fn tell_left(&mut self) {
        let may = match self.leaves() {
            Shield::No => return,
            Shield::Perhaps => "may be",
            Shield::Surely => "are",
        };
        let origin = self.spec.origin;
        self.life.remark(&format!(
            "views and indexes of the restored tables {may} dropped and their tombstones kept until the restore is \
             continued, or given up with `thetis restore undo {origin}`"
        ));
    }

    /// The batches of a share that are not loaded.
    fn missing(&self, share: &Share) -> impl Iterator<Item = u32> {
        self.loaded.missing(share.first..share.end)
    }

    /// The batches that somebody has to load.
    fn share(&self, who: &Who) -> Option<&Share> {
        self.shares.iter().find(|share| share.who() == *who)
    }

    /// Whether the cluster brings back tables as a whole, for which tablets must be free to move.
    fn by_tablets(&self) -> bool {
        !self.methods.tables(Method::Tablets).is_empty()
    }

    fn fail_at(&mut self, wait: &Wait, cause: String) {
        if let (true, Who::Node(node)) = (self.life.working(), &wait.who) {
            self.life.culprit = Some(*node);
        }
        self.life.fail(cause);
    }

    /// Begins to put back whatever this run, or one before it, may have changed.
    fn begin_putting_back(&mut self) {
        let now_ms = self.life.now_ms();
        if self.phase >= Phase::Prepare || self.spec.unsettled {
            for host in self.hosts.values_mut() {
                host.back.get_or_insert_with(|| Undo::ask(now_ms));
            }
        }
        if self.spec.unsettled && self.hosts.is_empty() {
            self.life.remark(
                "an earlier attempt may have left automatic compaction off on some nodes: start the \
                 restore again, or restart these nodes",
            );
        }
        let made = self.phase >= Phase::Schema || self.spec.unsettled;
        if self.spec.request.drill && made && !self.untouched {
            self.scrap.get_or_insert_with(|| Undo::ask(now_ms));
        }
        let planner = self.planner();
        self.life.balancing.turn_on(planner, now_ms);
    }

    /// Does without a node's being put back.
    fn leave(&mut self, wait: &Wait, why: Why) {
        let Who::Node(node) = wait.who else {
            return;
        };
        let mut excuse = self.life.excuse(wait, why);
        let host = self.hosts.get_mut(&node);
        if let Some(undo) = host.and_then(|host| host.back.as_mut()) {
            undo.give_up();
            if !undo.reason.is_empty() {
                excuse = format!("{excuse}: {}", undo.reason);
            }
        }
        let name = self.life.ring.name(node);
        let text = format!("automatic compaction may still be off on {name}: {excuse}");
        match why {
            Why::Absent => self.life.remark(&text),
            Why::Late => self.fail_putting_back(&text),
        }
    }

    fn fail_putting_back(&mut self, text: &str) {
        if self.life.working() {
            self.life.fail(text.to_owned());
        } else {
            self.life.remark(text);
        }
    }

    /// Goes from phase to phase as far as what is known allows.
    fn go_on(&mut self) {
        if self.phase == Phase::Balance && self.life.balancing.off() {
            self.go(Phase::Prepare);
        }
        if self.phase == Phase::Prepare && self.hosts.values().all(|host| host.prepared) {
            self.go(Phase::Load);
            let now_ms = self.life.now_ms();
            self.shares
                .iter_mut()
                .for_each(|share| share.since_ms = now_ms);
        }
        if self.phase == Phase::Load && self.loaded.count() == self.batches {
            self.go(Phase::Settle);
        }
    }

    /// Waits for a drill's keyspaces to be gone.
    fn scrap_wait(&self) -> Option<Wait> {
        let undo = self.scrap.as_ref().filter(|undo| undo.asked())?;
        Some(Wait {
            // Told from the rounds before it was given up.
            round: SCRAPS + undo.round,
            ..Wait::node(self.planner(), Step::SettleSchema, undo.since_ms)
        })
    }

    /// Leaves a drill's keyspaces to a person.
    fn leave_scrap(&mut self, why: &str) {
        if let Some(undo) = &mut self.scrap {
            undo.give_up();
        }
        let text = format!(
            "keyspaces of the drill may be left, whose names begin with {}: {why}; drop them",
            protocol::SCRATCH
        );
        self.fail_putting_back(&text);
    }

    fn settle_wait(&self) -> Wait {
        let (round, told_ms) = self.settling;
        let since_ms = self.since_ms.max(told_ms);
        Wait {
            round,
            ..Wait::node(self.planner(), Step::SettleSchema, since_ms)
        }
    }

    fn load_wait(&self, share: &Share) -> Option<Wait> {
        self.missing(share).next()?;
        let wait = Wait::new(share.who(), Step::Load, share.since_ms);
        Some(match self.by_tablets() {
            true => Wait {
                limit_ms: limit::LOAD_TABLE_MS,
                ..wait
            },
            false => wait,
        })
    }
}
