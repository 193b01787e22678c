//! Which part of the ring of tokens how many hold. Pure.
//!
//! A range is `(after, to]`: the tokens behind its first up to and with its second. Where the
//! second is not after the first, it goes on past the end of the ring to its beginning; so one from
//! a token to itself is the whole ring. The least token of all stands for no row: it is where the
//! ring begins.

use std::collections::BTreeMap;

/// Tokens behind the first, up to and with the second.
pub type Range = (i64, i64);

/// A part of the ring that the same number of nodes hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Segment {
    /// It.
    pub range: Range,
    /// How many nodes hold it.
    pub copies: u32,
}

/// Tokens of the ring: 2^64 - 1.
#[expect(clippy::cast_precision_loss, reason = "a share needs no more")]
const TOKENS: f64 = u64::MAX as f64;

impl Segment {
    /// Its share of the ring, in percent.
    #[must_use]
    pub fn percent(&self) -> f64 {
        let (after, to) = self.range;
        #[expect(clippy::cast_precision_loss, reason = "a share needs no more")]
        let tokens = (i128::from(to) - i128::from(after)) as f64;
        tokens * 100.0 / TOKENS
    }
}

/// The ring from its beginning to its end, in as few parts as there are changes in how many of
/// `nodes` hold it. A node counts once, however often its ranges say it.
///
/// # Panics
/// Never: each range ends behind its beginning.
#[must_use]
pub fn spread<'a>(nodes: impl IntoIterator<Item = &'a [Range]>) -> Vec<Segment> {
    let mut changes = BTreeMap::from([(i64::MIN, 0_i64)]);
    for ranges in nodes {
        for (after, to) in merged(ranges) {
            *changes.entry(after).or_default() += 1;
            *changes.entry(to).or_default() -= 1;
        }
    }
    let ends: Vec<i64> = changes.keys().copied().skip(1).chain([i64::MAX]).collect();
    let mut segments: Vec<Segment> = Vec::new();
    let mut held = 0;
    for ((after, change), to) in changes.into_iter().zip(ends) {
        held += change;
        if after == to {
            continue;
        }
        let copies = u32::try_from(held).expect("each range ends behind its beginning");
        match segments.last_mut() {
            Some(last) if last.copies == copies => last.range.1 = to,
            Some(_) | None => segments.push(Segment {
                range: (after, to),
                copies,
            }),
        }
    }
    segments
}

/// The same tokens, as ranges in order that neither meet nor go past the end of the ring.
fn merged(ranges: &[Range]) -> Vec<Range> {
    let mut straight: Vec<Range> = Vec::with_capacity(ranges.len() + 1);
    for (after, to) in ranges.iter().copied() {
        if after < to {
            straight.push((after, to));
        } else {
            straight.push((after, i64::MAX));
            straight.push((i64::MIN, to));
        }
    }
    // What goes past the end may have nothing on one of its sides.
    straight.retain(|(after, to)| after < to);
    straight.sort_unstable();
    let mut merged: Vec<Range> = Vec::with_capacity(straight.len());
    for (after, to) in straight {
        match merged.last_mut() {
            Some(last) if last.1 >= after => last.1 = last.1.max(to),
            Some(_) | None => merged.push((after, to)),
        }
    }
    merged
}

/// What each node has first claim to: for each of its tokens, all behind the token before it on
/// the ring. `tokens` are each node's.
#[must_use]
pub fn primary(tokens: &[&[i64]]) -> Vec<Vec<Range>> {
    let all = tokens.iter().enumerate();
    let mut ring: Vec<(i64, usize)> = all
        .flat_map(|(node, tokens)| tokens.iter().map(move |token| (*token, node)))
        .collect();
    ring.sort_unstable();
    // A token given twice is one place.
    ring.dedup_by_key(|(token, _)| *token);
    let mut ranges = vec![Vec::new(); tokens.len()];
    let Some((mut before, _)) = ring.last().copied() else {
        return ranges;
    };
    for (token, node) in ring {
        ranges[node].push((before, token));
        before = token;
    }
    ranges
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const FIRST: i64 = i64::MIN;
    const LAST: i64 = i64::MAX;

    fn parts(nodes: &[&[Range]]) -> Vec<(i64, i64, u32)> {
        let segments = spread(nodes.iter().copied());
        let part = |s: Segment| (s.range.0, s.range.1, s.copies);
        segments.into_iter().map(part).collect()
    }

    #[test]
    fn what_nobody_holds_is_a_gap() {
        assert_eq!(parts(&[]), [(FIRST, LAST, 0)]);
        assert_eq!(parts(&[&[]]), [(FIRST, LAST, 0)]);
        assert_eq!(
            parts(&[&[(0, 10)], &[(5, 20)]]),
            [
                (FIRST, 0, 0),
                (0, 5, 1),
                (5, 10, 2),
                (10, 20, 1),
                (20, LAST, 0)
            ]
        );
    }

    #[test]
    fn a_range_past_the_end_goes_on_at_the_beginning() {
        assert_eq!(
            parts(&[&[(10, -10)]]),
            [(FIRST, -10, 1), (-10, 10, 0), (10, LAST, 1)]
        );
        for whole in [(7, 7), (FIRST, LAST), (FIRST, FIRST), (LAST, LAST)] {
            assert_eq!(parts(&[&[whole]]), [(FIRST, LAST, 1)], "{whole:?}");
        }
        assert_eq!(parts(&[&[(LAST, FIRST)]]), [(FIRST, LAST, 0)]);
        assert_eq!(parts(&[&[(5, FIRST)]]), [(FIRST, 5, 0), (5, LAST, 1)]);
        assert_eq!(parts(&[&[(LAST, 5)]]), [(FIRST, 5, 1), (5, LAST, 0)]);
        assert_eq!(parts(&[&[(FIRST, FIRST + 1)]])[0], (FIRST, FIRST + 1, 1));
        assert_eq!(parts(&[&[(LAST - 1, LAST)]])[1], (LAST - 1, LAST, 1));
    }

    #[test]
    fn a_node_counts_once() {
        assert_eq!(
            parts(&[&[(0, 10), (0, 10), (5, 15), (15, 20)]]),
            [(FIRST, 0, 0), (0, 20, 1), (20, LAST, 0)]
        );
    }

    #[test]
    fn shares_add_up_to_all() {
        let segments = spread([&[(7, 7)][..]]);
        assert_eq!(segments.len(), 1);
        assert!((segments[0].percent() - 100.0).abs() < 1e-9);
        let half = spread([&[(0, LAST)][..]]);
        assert!((half[0].percent() - 50.0).abs() < 1e-9);
    }

    #[test]
    fn a_ring_is_shared_out_by_tokens() {
        let shares = primary(&[&[0, 100], &[50], &[]]);
        assert_eq!(shares, [vec![(100, 0), (50, 100)], vec![(0, 50)], vec![]]);
        assert_eq!(primary(&[&[5]]), [vec![(5, 5)]]);
        let nothing: [Vec<Range>; 2] = [vec![], vec![]];
        assert_eq!(primary(&[&[], &[]]), nothing);
        assert_eq!(primary(&[&[0, 9], &[0]]), [vec![(9, 0), (0, 9)], vec![]]);
    }

    fn token() -> impl Strategy<Value = i64> {
        prop_oneof![
            -4..4_i64,
            Just(FIRST),
            Just(FIRST + 1),
            Just(LAST),
            Just(LAST - 1),
            any::<i64>()
        ]
    }

    fn holds((after, to): Range, token: i64) -> bool {
        if after < to {
            after < token && token <= to
        } else {
            token > after || token <= to
        }
    }

    proptest! {
        #[test]
        fn each_token_is_counted_as_its_ranges_say(
            nodes in prop::collection::vec(prop::collection::vec((token(), token()), 0..4), 0..4),
            more in prop::collection::vec(token(), 0..8),
        ) {
            let segments = spread(nodes.iter().map(Vec::as_slice));
            // From the beginning to the end without a hole, and no two alike side by side.
            prop_assert_eq!(segments[0].range.0, FIRST);
            prop_assert_eq!(segments.last().unwrap().range.1, LAST);
            for two in segments.windows(2) {
                prop_assert_eq!(two[0].range.1, two[1].range.0);
                prop_assert!(two[0].copies != two[1].copies);
            }
            let ends = nodes.iter().flatten().flat_map(|(after, to)| [*after, *to]);
            let near = ends.chain(more).flat_map(|at| [at.saturating_sub(1), at, at.saturating_add(1)]);
            for token in near.filter(|token| *token > FIRST) {
                let held = |node: &&Vec<Range>| node.iter().any(|range| holds(*range, token));
                let copies = nodes.iter().filter(held).count();
                let found = segments.iter().find(|s| s.range.0 < token && token <= s.range.1);
                prop_assert_eq!(found.unwrap().copies as usize, copies, "{}", token);
            }
        }

        #[test]
        fn first_claims_share_the_ring_out(
            tokens in prop::collection::vec(prop::collection::vec(token(), 0..4), 0..4),
        ) {
            let slices: Vec<&[i64]> = tokens.iter().map(Vec::as_slice).collect();
            let shares = primary(&slices);
            let segments = spread(shares.iter().map(Vec::as_slice));
            let any = tokens.iter().any(|tokens| !tokens.is_empty());
            prop_assert_eq!(segments.len(), 1, "{:?}", segments);
            prop_assert_eq!(segments[0].copies, u32::from(any));
        }
    }
}
