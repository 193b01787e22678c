//! Packs things of known size evenly into boxes of limited size.

use std::{cmp::Reverse, collections::BinaryHeap};

/// How much goes into one box.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// SSTables.
    pub sstables: usize,
    /// Bytes. An SSTable larger than that has a box of its own.
    pub bytes: u64,
}

impl Limits {
    /// Of an upload's chunk: about a minute of work.
    pub const CHUNK: Self = Self {
        sstables: 128,
        bytes: 8 << 30,
    };
}

/// Packs `items`, given with their sizes, into as few boxes as the limits allow, all about equally
/// full. The same items in the same order always make the same boxes.
pub(crate) fn pack<T>(mut items: Vec<(u64, T)>, limits: Limits) -> Vec<Vec<(u64, T)>> {
    let most = limits.sstables.max(1);
    let total: u64 = items.iter().map(|(bytes, _)| bytes).sum();
    let by_bytes = usize::try_from(total.div_ceil(limits.bytes.max(1))).unwrap_or(usize::MAX);
    let count = items.len().div_ceil(most).max(by_bytes).min(items.len());
    let mut boxes: Vec<Vec<(u64, T)>> = (0..count).map(|_| Vec::new()).collect();
    let mut open: BinaryHeap<_> = (0..count).map(|at| Reverse((0_u64, at))).collect();
    items.sort_by_key(|(bytes, _)| Reverse(*bytes));
    for (bytes, item) in items {
        // The emptiest box: if it does not fit there, it fits nowhere.
        let fits = |load: u64| load == 0 || load.saturating_add(bytes) <= limits.bytes;
        let (load, at) = match open.peek() {
            Some(&Reverse((load, at))) if fits(load) => {
                open.pop();
                (load, at)
            }
            Some(_) | None => {
                boxes.push(Vec::new());
                (0, boxes.len() - 1)
            }
        };
        boxes[at].push((bytes, item));
        if boxes[at].len() < most {
            open.push(Reverse((load.saturating_add(bytes), at)));
        }
    }
    boxes.retain(|one| !one.is_empty());
    boxes
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn all_is_packed_once_and_within_limits(
            sizes in proptest::collection::vec(0_u64..100, 0..200),
            sstables in 1_usize..20, bytes in 1_u64..200,
        ) {
            let items: Vec<_> = sizes.iter().copied().zip(0_usize..).collect();
            let boxes = pack(items, Limits { sstables, bytes });
            let mut seen: Vec<usize> = boxes.iter().flatten().map(|(_, item)| *item).collect();
            seen.sort_unstable();
            prop_assert_eq!(seen, (0..sizes.len()).collect::<Vec<_>>());
            for one in &boxes {
                let load: u64 = one.iter().map(|(bytes, _)| bytes).sum();
                let alone = one.iter().filter(|(bytes, _)| *bytes > 0).count() == 1;
                prop_assert!(one.len() <= sstables && !one.is_empty());
                prop_assert!(load <= bytes || alone, "{} in one box", load);
            }
        }
    }

    #[test]
    fn large_ones_are_spread() {
        let sizes = [90, 80, 70, 3, 2, 1];
        let items = sizes.map(|size| (size, size)).to_vec();
        let limits = Limits {
            sstables: 2,
            bytes: 1000,
        };
        let boxes = pack(items, limits);
        assert_eq!(boxes.len(), 3);
        assert!(boxes.iter().all(|one| one[0].0 >= 70), "{boxes:?}");
    }
}
