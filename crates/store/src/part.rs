//! How a file is cut into the parts of an upload.

use std::ops::Range;

const MIB: u64 = 1 << 20;

/// Where parts start from: large enough for few requests, small enough to repeat.
const USUAL: u64 = 16 * MIB;

/// The number of parts to stay near.
const FEW: u64 = 1_000;

/// The number of parts no upload to S3 may exceed.
const MOST: u64 = 10_000;

/// Parts of one file in flight at once.
pub(crate) const AT_ONCE: u32 = 4;

/// The part size, in bytes, for a file of `bytes` within `memory` bytes of buffers; a file of at
/// most one part goes in one request. Parts of a file that is very large may be larger than all that
/// memory, one at a time: better that than no backup of it.
pub(crate) fn size(bytes: u64, memory: u64) -> u64 {
    let whole = |bytes: u64| bytes.div_ceil(MIB) * MIB;
    let most = (memory / u64::from(AT_ONCE) / MIB * MIB).max(MIB);
    let part = whole(bytes / FEW).max(USUAL).min(most);
    part.max(whole(bytes.div_ceil(MOST)))
}

/// `0..bytes` in steps of `step`.
pub(crate) fn cut(bytes: u64, step: u64) -> impl Iterator<Item = Range<u64>> + Send {
    (0..bytes.div_ceil(step)).map(move |n| n * step..((n + 1) * step).min(bytes))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_grow_with_the_file_and_stay_within_memory_if_they_can() {
        let gib = 1 << 30;
        let memory = 128 * MIB;
        assert_eq!(size(0, memory), 16 * MIB);
        assert_eq!(size(gib, memory), 16 * MIB);
        assert_eq!(size(20 * gib, memory), 21 * MIB);
        assert_eq!(size(200 * gib, memory), 32 * MIB);
        assert_eq!(size(1000 * gib, memory), 103 * MIB);
        assert_eq!(size(gib, 32 * MIB), 8 * MIB);
        assert_eq!(size(gib, 20 * MIB), 5 * MIB);
        for bytes in [312 * gib, 2000 * gib, 5000 * gib] {
            assert!(bytes.div_ceil(size(bytes, 32 * MIB)) <= MOST);
        }
        assert_eq!(size(2000 * gib, 32 * MIB), 205 * MIB);
    }

    #[test]
    fn the_pieces_make_the_whole() {
        assert_eq!(cut(0, 5).count(), 0);
        assert_eq!(cut(10, 5).collect::<Vec<_>>(), [0..5, 5..10]);
        assert_eq!(cut(11, 5).collect::<Vec<_>>(), [0..5, 5..10, 10..11]);
    }
}
