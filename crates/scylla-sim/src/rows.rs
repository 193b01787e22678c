//! Generated rows: the same seed and number always make the same row.

use std::sync::LazyLock;

use crate::hash::mix;
use crate::sstable::frame::Entry;

/// Bytes values are cut from; a prime distance from any power of two, so that cuts differ.
const POOL: usize = 1_048_573;

static BYTES: LazyLock<Vec<u8>> = LazyLock::new(|| {
    let words = (0..POOL as u64 / 8 + 1).flat_map(|at| mix(at + 1).to_le_bytes());
    words.take(POOL).collect()
});

/// Which rows to make and how large.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Recipe {
    /// Rows of different seeds have different keys.
    pub(crate) seed: u64,
    /// Timestamp of all rows, microseconds.
    pub(crate) stamp: i64,
    /// Bytes of a value, at least and at most.
    pub(crate) min: usize,
    pub(crate) max: usize,
}

impl Recipe {
    /// The key of row `number`.
    pub(crate) fn key(&self, number: u64) -> [u8; 20] {
        let mut key = *b"k0000000000000000000";
        key[1..9].copy_from_slice(&self.seed.to_be_bytes());
        key[9..17].copy_from_slice(&number.to_be_bytes());
        key
    }

    /// Writes the value of row `number` into `value`.
    pub(crate) fn value(&self, number: u64, value: &mut Vec<u8>) {
        let word = mix(mix(self.seed ^ mix(number)) ^ self.stamp.cast_unsigned());
        let span = (self.max.max(self.min) - self.min) as u64 + 1;
        let size = self.min + usize::try_from(word % span).expect("within the span");
        value.clear();
        value.extend(word.to_be_bytes());
        let mut start = usize::try_from(mix(word) % POOL as u64).expect("within the pool");
        while value.len() < size {
            let end = POOL.min(start + size - value.len());
            value.extend_from_slice(&BYTES[start..end]);
            start = 0;
        }
        value.truncate(size);
    }

    /// Key and entry of row `number`; `value` gets the value.
    pub(crate) fn row(&self, number: u64, value: &mut Vec<u8>) -> ([u8; 20], Entry) {
        let key = self.key(number);
        self.value(number, value);
        (key, Entry::new(&key, self.stamp, value))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_repeat_and_differ() {
        let recipe = Recipe {
            seed: 3,
            stamp: 7,
            min: 1024,
            max: 65536,
        };
        let (mut a, mut b) = (Vec::new(), Vec::new());
        let mut sizes = std::collections::BTreeSet::new();
        for number in 0..100 {
            let first = recipe.row(number, &mut a);
            assert_eq!(first, recipe.row(number, &mut b));
            assert_eq!(a, b);
            assert!((1024..=65536).contains(&a.len()));
            assert!(sizes.insert((a.len(), first.1.value_crc)));
        }
        let newer = Recipe { stamp: 8, ..recipe };
        assert_eq!(newer.key(1), recipe.key(1));
        assert_ne!(
            newer.row(1, &mut a).1.value_crc,
            recipe.row(1, &mut b).1.value_crc
        );
    }
}
