//! A set of small numbers, one bit each, written as hexadecimal text.

use serde::{Deserialize, Serialize};

/// Which of the numbers from 0 on are in. Grows as needed; the caller bounds the numbers.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(into = "String", try_from = "String")]
pub(crate) struct Bitmap {
    /// No trailing zero bytes, so that equal sets are equal values.
    bytes: Vec<u8>,
}

fn place(number: u32) -> (usize, u8) {
    let index =
        usize::try_from(number / 8).expect("a u32 fits a usize on every target we build for");
    (index, 1 << (number % 8))
}

impl Bitmap {
    /// The set of all numbers below `end`.
    pub(crate) fn full(end: u32) -> Self {
        let (whole, bit) = place(end);
        let mut bytes = vec![0xff; whole];
        if bit > 1 {
            bytes.push(bit - 1);
        }
        Self { bytes }
    }

    /// Puts `number` in; false if it was in already.
    pub(crate) fn insert(&mut self, number: u32) -> bool {
        let (index, bit) = place(number);
        if self.bytes.len() <= index {
            self.bytes.resize(index + 1, 0);
        }
        let new = self.bytes[index] & bit == 0;
        self.bytes[index] |= bit;
        new
    }

    /// Whether `number` is in.
    pub(crate) fn contains(&self, number: u32) -> bool {
        let (index, bit) = place(number);
        self.bytes.get(index).is_some_and(|byte| byte & bit != 0)
    }

    /// How many numbers are in.
    pub(crate) fn count(&self) -> u32 {
        self.bytes.iter().map(|byte| byte.count_ones()).sum()
    }

    /// Takes out all numbers from `end` on.
    pub(crate) fn truncate(&mut self, end: u32) {
        let (whole, bit) = place(end);
        if let Some(last) = self.bytes.get_mut(whole) {
            *last &= bit - 1;
            self.bytes.truncate(whole + 1);
        }
        while self.bytes.last() == Some(&0) {
            self.bytes.pop();
        }
    }

    /// The numbers of `range` that are not in, in order.
    pub(crate) fn missing(&self, range: std::ops::Range<u32>) -> impl Iterator<Item = u32> {
        range.filter(|number| !self.contains(*number))
    }
}

impl From<Bitmap> for String {
    fn from(bitmap: Bitmap) -> Self {
        let digit = |nibble: u8| char::from(b"0123456789abcdef"[usize::from(nibble)]);
        let digits = |byte: &u8| [digit(byte >> 4), digit(byte & 15)];
        bitmap.bytes.iter().flat_map(digits).collect()
    }
}

/// A text that is no bitmap.
#[derive(Debug, thiserror::Error)]
#[error("a bitmap is an even number of hexadecimal digits")]
pub(crate) struct InvalidBitmap;

impl TryFrom<String> for Bitmap {
    type Error = InvalidBitmap;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        let nibble = |digit: u8| {
            let value = char::from(digit).to_digit(16).ok_or(InvalidBitmap)?;
            u8::try_from(value).map_err(|_| InvalidBitmap)
        };
        let mut bitmap = Self::default();
        for pair in text.as_bytes().chunks(2) {
            let [high, low] = pair else {
                return Err(InvalidBitmap);
            };
            bitmap.bytes.push(nibble(*high)? << 4 | nibble(*low)?);
        }
        while bitmap.bytes.last() == Some(&0) {
            bitmap.bytes.pop();
        }
        Ok(bitmap)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::{prelude::*, test_runner::RngSeed};

    use super::*;

    proptest! {
        #![proptest_config(ProptestConfig {
            rng_seed: RngSeed::Fixed(7),
            failure_persistence: None,
            ..ProptestConfig::default()
        })]

        #[test]
        fn a_bitmap_is_a_set(numbers: BTreeSet<u16>, end: u16) {
            let mut bitmap = Bitmap::default();
            for number in &numbers {
                prop_assert!(bitmap.insert(u32::from(*number)));
                prop_assert!(!bitmap.insert(u32::from(*number)));
            }
            prop_assert_eq!(bitmap.count() as usize, numbers.len());
            let text = String::from(bitmap.clone());
            prop_assert_eq!(&Bitmap::try_from(text).unwrap(), &bitmap);

            let end = u32::from(end);
            bitmap.truncate(end);
            let below = numbers.iter().filter(|n| u32::from(**n) < end).count();
            prop_assert_eq!(bitmap.count() as usize, below);
            prop_assert_eq!(bitmap.missing(0..end).count(), end as usize - below);
            for number in bitmap.clone().missing(0..end) {
                bitmap.insert(number);
            }
            prop_assert_eq!(bitmap, Bitmap::full(end));
        }
    }

    #[test]
    fn what_is_no_bitmap_is_refused() {
        assert!(Bitmap::try_from("0".to_owned()).is_err());
        assert!(Bitmap::try_from("0x".to_owned()).is_err());
        assert!(Bitmap::try_from("ää".to_owned()).is_err());
        assert_eq!(
            Bitmap::try_from("0000".to_owned()).unwrap(),
            Bitmap::default()
        );
    }
}
