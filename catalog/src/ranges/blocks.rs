//! Which blocks of an object cover which bytes, and which requests fetch them.
//!
//! Pure arithmetic. Every block but an object's last one is [`BLOCK_BYTES`] long.

use std::ops::Range;

use bytes::Bytes;

/// Bytes of a block: what is fetched and kept as one piece.
///
/// As long as the gap that `object_store` reads over rather than make another request.
pub(crate) const BLOCK_BYTES: u64 = 1 << 20;
/// Blocks of one request, at most; what is longer is fetched by requests side by side.
pub(crate) const REQUEST_BLOCKS_MAX: u32 = 8;
/// A gap of so many blocks is fetched too, rather than asked around.
const GAP_BLOCKS_MAX: u32 = 1;

/// The blocks that hold `ranges`, in order, each once.
pub(crate) fn covering(ranges: &[Range<u64>]) -> Vec<u32> {
    let mut blocks: Vec<u32> = ranges
        .iter()
        .filter(|range| range.start < range.end)
        .flat_map(|range| block_of(range.start)..=block_of(range.end - 1))
        .collect();
    blocks.sort_unstable();
    blocks.dedup();
    blocks
}

/// The block that holds the byte at `offset`. Objects end long before the last number.
fn block_of(offset: u64) -> u32 {
    u32::try_from(offset / BLOCK_BYTES).unwrap_or(u32::MAX)
}

/// The bytes of some blocks in a row, of an object of `size` bytes.
pub(crate) fn bytes_of(blocks: &Range<u32>, size: u64) -> Range<u64> {
    let end = u64::from(blocks.end) * BLOCK_BYTES;
    u64::from(blocks.start) * BLOCK_BYTES..end.min(size)
}

/// Requests for `missing`, which is in order: neighbours share one.
pub(crate) fn requests(missing: &[u32]) -> Vec<Range<u32>> {
    let mut requests: Vec<Range<u32>> = Vec::new();
    for &block in missing {
        match requests.last_mut() {
            Some(last)
                if block - last.end <= GAP_BLOCKS_MAX
                    && block - last.start < REQUEST_BLOCKS_MAX =>
            {
                last.end = block + 1;
            }
            _ => requests.push(block..block + 1),
        }
    }
    requests
}

/// The bytes of `range`, out of the blocks that `block` gives. `None` if one of them is missing or short.
pub(crate) fn assemble<'a>(
    range: &Range<u64>,
    block: impl Fn(u32) -> Option<&'a Bytes>,
) -> Option<Bytes> {
    if range.start >= range.end {
        return Some(Bytes::new());
    }
    let (first, last) = (block_of(range.start), block_of(range.end - 1));
    let piece = |at: u32| {
        let base = u64::from(at) * BLOCK_BYTES;
        let bytes = block(at)?;
        let from = usize::try_from(range.start.saturating_sub(base)).ok()?;
        let to = usize::try_from((range.end - base).min(BLOCK_BYTES)).ok()?;
        (from <= to && to <= bytes.len()).then(|| bytes.slice(from..to))
    };
    if first == last {
        return piece(first);
    }
    let mut whole = Vec::with_capacity(usize::try_from(range.end - range.start).ok()?);
    for at in first..=last {
        whole.extend_from_slice(&piece(at)?);
    }
    Some(whole.into())
}

#[cfg(test)]
#[allow(clippy::single_range_in_vec_init, reason = "one range is one range")]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn part<'a>(object: &'a [u8], range: &Range<u64>) -> &'a [u8] {
        let at = |offset: u64| usize::try_from(offset).unwrap();
        &object[at(range.start)..at(range.end)]
    }

    #[test]
    fn neighbours_share_a_request_and_long_runs_are_cut() {
        assert!(requests(&[]).is_empty());
        assert_eq!(requests(&[3, 4, 5]), [3..6]);
        assert_eq!(requests(&[0, 2, 5]), [0..3, 5..6]);
        let run: Vec<u32> = (0..20).collect();
        assert_eq!(requests(&run), [0..8, 8..16, 16..20]);
    }

    #[test]
    fn the_last_block_ends_with_the_object() {
        assert_eq!(
            bytes_of(&(1..3), 2 * BLOCK_BYTES + 7),
            BLOCK_BYTES..2 * BLOCK_BYTES + 7
        );
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(32))]

        #[test]
        fn what_is_assembled_is_what_is_stored(
            size in 1u64..5 * BLOCK_BYTES,
            cuts in proptest::collection::vec((0u64..5 * BLOCK_BYTES, 0u64..3 * BLOCK_BYTES), 1..6),
        ) {
            let object: Vec<u8> = (0..size).map(|at| u8::try_from(at % 251).unwrap()).collect();
            let ranges: Vec<Range<u64>> = cuts
                .iter()
                .map(|(start, length)| start % size..(start % size + length).min(size))
                .collect();
            let blocks: std::collections::HashMap<u32, Bytes> = requests(&covering(&ranges))
                .into_iter()
                .flatten()
                .map(|block| {
                    let bytes = bytes_of(&(block..block + 1), size);
                    (block, Bytes::copy_from_slice(part(&object, &bytes)))
                })
                .collect();
            for range in ranges {
                let found = assemble(&range, |block| blocks.get(&block)).unwrap();
                prop_assert_eq!(&found[..], part(&object, &range));
            }
        }
    }
}
