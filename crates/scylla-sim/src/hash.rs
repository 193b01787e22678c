//! The fixed hash functions: tokens of keys, fingerprints of rows, seeds of generated data.

/// Finaliser that spreads every input bit over all output bits.
pub(crate) const fn mix(mut x: u64) -> u64 {
    x ^= x >> 33;
    x = x.wrapping_mul(0xff51_afd7_ed55_8ccd);
    x ^= x >> 33;
    x = x.wrapping_mul(0xc4ce_b9fe_1a85_ec53);
    x ^ (x >> 33)
}

/// A 64-bit hash of `bytes`; each `seed` is another function.
pub(crate) fn hash(seed: u64, bytes: &[u8]) -> u64 {
    let mut state = mix(seed ^ 0x9e37_79b9_7f4a_7c15);
    for part in bytes.chunks(8) {
        let mut word = [0; 8];
        word[..part.len()].copy_from_slice(part);
        state = mix(state ^ u64::from_le_bytes(word)).wrapping_add(0x9e37_79b9_7f4a_7c15);
    }
    mix(state ^ bytes.len() as u64)
}

/// The token of a partition key; never the ring's minimum, which is no token.
pub(crate) fn token(key: &[u8]) -> i64 {
    match hash(0, key).cast_signed() {
        i64::MIN => i64::MAX,
        token => token,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tokens_are_fixed_for_ever() {
        assert_eq!(token(b"a"), token(b"a"));
        assert_ne!(token(b"a"), token(b"a\0"));
        assert_ne!(hash(0, b"key"), hash(1, b"key"));
    }
}
