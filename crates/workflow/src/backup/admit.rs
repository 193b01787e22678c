//! How many nodes of a datacenter are at work at once.
//!
//! Snapshots are taken by as many as `snapshot_parallel` says; planning and uploading is one stretch,
//! in which `upload_parallel` holds. A node that waits for its turn is not waited for: its time
//! begins when it is let in. What is let in stays in until it has done its part.

use std::collections::BTreeMap;

use protocol::DcLimit;

use super::{At, Backup};

impl Backup {
    /// Lets in as many nodes as may be at work, in the order of their ids.
    pub(super) fn admit(&mut self) {
        let now_ms = self.life.now_ms();
        let request = &self.spec.request;
        let mut working = BTreeMap::<(bool, &str), u32>::new();
        let ring = &self.life.ring;
        let stretch = |at: At| match at {
            At::Snapshot => Some((true, &request.snapshot_parallel)),
            At::Index | At::Upload => Some((false, &request.upload_parallel)),
            At::Stored | At::Sealed | At::Dropped => None,
        };
        let dc = |node| ring.get(node).map_or("", |member| member.dc.as_str());
        for (node, part) in &self.parts {
            if let (true, Some((first, _))) = (part.admitted, stretch(part.at)) {
                *working.entry((first, dc(*node))).or_default() += 1;
            }
        }
        for (node, part) in &mut self.parts {
            let Some((first, limits)) = stretch(part.at).filter(|_| !part.admitted) else {
                continue;
            };
            let dc = dc(*node);
            let working = working.entry((first, dc)).or_default();
            if DcLimit::serving(limits, dc).is_none_or(|limit| *working < limit) {
                *working += 1;
                part.admitted = true;
                part.since_ms = now_ms;
            }
        }
    }
}
