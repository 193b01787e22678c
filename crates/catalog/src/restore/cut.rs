//! How large batches are: small enough to flow, large enough to keep a node busy.
//!
//! A node downloads one batch while it loads another, so what it waits for at the beginning, and
//! what is left over at the end, is about one batch; and a node reads a batch with all its shards at
//! once, each of which takes whole SSTables.

use std::cmp::Reverse;

/// How many batches a node gets, if there is enough for so many: one sixteenth of its work is what
/// it waits for the first.
const EACH: u64 = 16;
/// Bytes below which a batch is not worth its round trips.
const LEAST: u64 = 64 << 20;
/// Bytes a batch has at most for each shard, if it has more than one SSTable.
const PER_SHARD: u64 = 256 << 20;
/// Bytes any batch may have.
const MOST: u64 = 1 << 30;
/// SSTables at which a batch is full whatever their size: each file is a request.
const FEW: usize = 64;
/// The most that becomes of that where there are very many.
const SSTABLES: usize = 512;
/// Names of files that ScyllaDB is given at once at most.
const FILES: usize = 10_000;

/// How much goes into one batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cut {
    /// SSTables come in groups of so many, of similar size: one for each shard.
    shards: usize,
    /// Bytes at which a batch is full.
    enough: u64,
    /// SSTables at which it is full.
    many: usize,
    /// Bytes it must not exceed, but by a single SSTable.
    most: u64,
}

/// A thing to be packed.
pub(super) trait Sized {
    /// Bytes and number of its files.
    fn size(&self) -> (u64, usize);
    /// What tells it from others of that size, whatever order they come in.
    fn name(&self) -> (&str, &[u8]);
}

impl Cut {
    /// For `nodes` of `shards` each that are to take in `bytes` in `sstables`.
    #[must_use]
    pub fn new(shards: u32, nodes: u32, bytes: u64, sstables: u64) -> Self {
        let shards = usize::try_from(shards.max(1)).map_or(SSTABLES, |n| n.min(SSTABLES));
        let batches = u64::from(nodes.max(1)) * EACH;
        let most = MOST.max(PER_SHARD.saturating_mul(shards as u64));
        let share = usize::try_from(sstables.div_ceil(batches)).unwrap_or(SSTABLES);
        Self {
            shards,
            enough: (bytes / batches).clamp(LEAST, most),
            many: share
                .max(FEW)
                .next_multiple_of(shards)
                .min(SSTABLES / shards * shards),
            most,
        }
    }

    /// Packs `items`, the largest first, each box with a multiple of [`Self::shards`] of similar size
    /// where there are as many and they fit. The same items always make the same boxes.
    pub(super) fn pack<T: Sized>(self, mut items: Vec<T>) -> Vec<Vec<T>> {
        items.sort_by(|a, b| {
            let key = |item: &T| Reverse(item.size().0);
            key(a).cmp(&key(b)).then_with(|| a.name().cmp(&b.name()))
        });
        let mut boxes = Vec::new();
        let (mut open, mut load) = (Vec::new(), Load::default());
        let mut items = items.into_iter().peekable();
        while items.peek().is_some() {
            let group: Vec<T> = items.by_ref().take(self.shards).collect();
            let more = Load::of(&group);
            if !open.is_empty() && !self.takes(load, more) {
                boxes.push(std::mem::take(&mut open));
                load = Load::default();
            }
            if more.bytes > self.most || more.files > FILES {
                boxes.extend(self.split(group));
                continue;
            }
            load = load.plus(more);
            open.extend(group);
        }
        if !open.is_empty() {
            boxes.push(open);
        }
        boxes
    }

    /// Whether a box with `load` is not full yet and has room for `more`.
    fn takes(self, load: Load, more: Load) -> bool {
        let both = load.plus(more);
        let wants = load.bytes < self.enough && load.sstables < self.many;
        wants && both.bytes <= self.most && both.files <= FILES
    }

    /// Cuts a group that is too large for one box.
    fn split<T: Sized>(self, group: Vec<T>) -> Vec<Vec<T>> {
        let mut boxes: Vec<Vec<T>> = Vec::new();
        let mut load = Load::default();
        for item in group {
            let more = Load::of(std::slice::from_ref(&item));
            let both = load.plus(more);
            match boxes.last_mut() {
                Some(open) if both.bytes <= self.most && both.files <= FILES => {
                    load = both;
                    open.push(item);
                }
                Some(_) | None => {
                    load = more;
                    boxes.push(vec![item]);
                }
            }
        }
        boxes
    }
}

/// What is in a box.
#[derive(Clone, Copy, Default)]
struct Load {
    bytes: u64,
    files: usize,
    sstables: usize,
}

impl Load {
    fn of<T: Sized>(items: &[T]) -> Self {
        items.iter().fold(Self::default(), |load, item| {
            let (bytes, files) = item.size();
            let sstables = 1;
            load.plus(Self {
                bytes,
                files,
                sstables,
            })
        })
    }

    fn plus(self, more: Self) -> Self {
        Self {
            bytes: self.bytes.saturating_add(more.bytes),
            files: self.files + more.files,
            sstables: self.sstables + more.sstables,
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[derive(Clone, Debug, PartialEq)]
    struct Item(u64, usize, String);

    impl Sized for Item {
        fn size(&self) -> (u64, usize) {
            (self.0, self.1)
        }
        fn name(&self) -> (&str, &[u8]) {
            (&self.2, &[])
        }
    }

    fn items(sizes: &[u64]) -> Vec<Item> {
        let item = |(at, size): (usize, &u64)| Item(*size, 9, at.to_string());
        sizes.iter().enumerate().map(item).collect()
    }

    fn packed(cut: Cut, sizes: &[u64]) -> Vec<Vec<u64>> {
        let boxes = cut.pack(items(sizes)).into_iter();
        boxes
            .map(|one| one.into_iter().map(|item| item.0).collect())
            .collect()
    }

    proptest! {
        #[test]
        fn all_is_packed_once_within_limits_and_in_one_way(
            sizes in proptest::collection::vec(0_u64..(2 << 30), 0..300),
            shards in 1_u32..9, nodes in 1_u32..5, turn in 0_usize..300,
        ) {
            let bytes = sizes.iter().sum();
            let cut = Cut::new(shards, nodes, bytes, sizes.len() as u64);
            let boxes = cut.pack(items(&sizes));
            let mut other = items(&sizes);
            let middle = turn % other.len().max(1);
            other.rotate_left(middle);
            prop_assert_eq!(&cut.pack(other), &boxes);
            let mut seen: Vec<Item> = boxes.concat();
            seen.sort_by_key(|item| item.2.parse::<usize>().unwrap());
            prop_assert_eq!(seen, items(&sizes));
            for one in &boxes {
                let load = Load::of(one);
                prop_assert!(load.bytes <= cut.most || load.sstables == 1);
                prop_assert!(load.files <= FILES && load.sstables <= SSTABLES);
            }
        }
    }

    #[test]
    fn batches_are_whole_groups_of_similar_size_the_largest_first() {
        let mut sizes: Vec<u64> = (0..64).map(|n| (n % 8 + 1) << 24).collect();
        sizes.reverse();
        let boxes = packed(Cut::new(4, 1, 36 * (8 << 24), 64), &sizes);
        assert!(boxes.iter().all(|one| one.len() % 4 == 0), "{boxes:?}");
        assert!(boxes.concat().is_sorted_by_key(|size| Reverse(*size)));
        assert_eq!(boxes[0], [8 << 24; 4]);
        // Small ones share a batch.
        assert!(boxes.len() > 8 && boxes[8].len() == 8, "{boxes:?}");
    }

    #[test]
    fn a_node_gets_several_batches_or_what_is_worth_a_round_trip() {
        let large = vec![512 << 20; 8];
        assert_eq!(packed(Cut::new(1, 1, 4 << 30, 8), &large).len(), 8);
        assert_eq!(packed(Cut::new(2, 1, 4 << 30, 8), &large).len(), 4);
        // More than its shards may have at once: cut, with idle shards.
        assert_eq!(packed(Cut::new(3, 1, 4 << 30, 8), &large).len(), 5);
        let boxes = packed(Cut::new(2, 3, 80 << 20, 2_000), &[40 << 10; 2_000]);
        assert_eq!((boxes.len(), boxes[0].len()), (32, 64));
        let boxes = packed(Cut::new(4, 1, 80 << 20, 20_000), &[4 << 10; 20_000]);
        assert!(boxes.iter().all(|one| one.len() <= SSTABLES));
        assert_eq!(boxes[0].len(), SSTABLES);
        assert_eq!(packed(Cut::new(7, 3, 12, 3), &[4; 3]), [[4; 3]]);
    }
}
