//! A list of merges beside ranks: whether applying it in its order is what the ranks do.

use crate::error::OutOfMemory;
use crate::vocabulary::merge_longest::is_valid_pair;
use crate::vocabulary::pair_map::{LIMIT, Merges, NONE};
use crate::vocabulary::ranks::Ranks;
use crate::vocabulary::token_map::Key;

/// Merges whose tokens are looked up together.
const AHEAD: usize = 32;

/// Two tokens, one after the other.
#[derive(Clone, Copy)]
pub(super) struct Merge<'a> {
    /// What begins with both.
    pub bytes: &'a [u8],
    /// Where the second begins.
    pub middle: usize,
    /// Where it ends.
    pub end: usize,
}

impl Merge<'_> {
    const NONE: Self = Self {
        bytes: &[],
        middle: 0,
        end: 0,
    };
}

/// What the tokens are merged from, if `list` holds for each of them the pair that merging its bytes by rank makes it
/// from, once, and those pairs by rank. Further pairs of tokens that join to a token are passed over, as they are never side
/// by side in an encoding. With `whole_tokens` there may be tokens that no merging makes.
///
/// `None` for a few lists of which this is true: where a token is made from one of higher rank, or a pair
/// comes twice.
///
/// **Why no merging is needed.** While the tokens of lower rank are all there is, a pair (l, r) of them is what
/// is left of its bytes in the end if and only if l and r may stand side by side
/// ([`is_valid_pair`]), which is known from the pairs of the tokens so far. What is made of two parts in
/// this way is made of them with all ranks, too (`merge_table.rs`).
///
/// # Errors
/// [`OutOfMemory`].
pub(super) fn what_ranks_say<'a>(
    ranks: &Ranks,
    list: impl Iterator<Item = Merge<'a>>,
    whole_tokens: bool,
) -> Result<Option<Merges>, OutOfMemory> {
    let n = ranks.len();
    let n_symbols = ranks.symbols().len();
    if n >= LIMIT {
        return Ok(None);
    }
    let mut merges = Merges::new(n)?;
    // The last token whose pair was found. No later merge gives one of lower rank its pair.
    let mut now = n_symbols - 1;
    let mut list = list.fuse();
    let mut ahead = [Merge::NONE; AHEAD];
    let mut parts = [Key::EMPTY; 2 * AHEAD];
    let mut found = [NONE; 2 * AHEAD];
    loop {
        let mut n_ahead = 0;
        for (place, merge) in ahead.iter_mut().zip(&mut list) {
            let Merge { bytes, middle, end } = merge;
            parts[2 * n_ahead] = Key::new(bytes, 0, middle);
            parts[2 * n_ahead + 1] = Key::new(bytes, middle, end);
            *place = merge;
            n_ahead += 1;
        }
        if n_ahead == 0 {
            break;
        }
        ranks.indices(&parts[..2 * n_ahead], &mut found);
        if found[..2 * n_ahead].contains(&NONE) {
            return Ok(None);
        }
        for two in found[..2 * n_ahead].chunks(2) {
            merges.fetch(two[0], two[1]);
        }
        for (merge, two) in ahead[..n_ahead].iter().zip(found.chunks(2)) {
            let (left, right) = (two[0], two[1]);
            let joined = Key::new(merge.bytes, 0, merge.end);
            let is = |token: usize| token < n && ranks.key(token as u32).is(&joined);
            let token = if is(now + 1) {
                now + 1
            } else if is(now) {
                now
            } else {
                match ranks.index(joined.bytes()) {
                    Some(token) => token as usize,
                    None => return Ok(None),
                }
            };
            let origins = &merges.origins;
            if origins[token].parts() == Some((left, right)) {
                return Ok(None);
            }
            let is_made =
                |part: u32| (part as usize) < n_symbols || origins[part as usize].parts().is_some();
            // What is made is of lower rank: nothing behind `now` is.
            if token > now
                && is_made(left)
                && is_made(right)
                && is_valid_pair(&merges.pairs, origins, n_symbols as u32, left, right)
            {
                merges.join(left, right, token as u32)?;
                now = token;
            }
        }
    }
    // A pair that was taken for that of its token because others were not known leaves these without theirs.
    for (token, origin) in merges.origins.iter().enumerate().skip(n_symbols) {
        if origin.parts().is_some() {
            continue;
        }
        if !whole_tokens || ranks.last_merge(ranks.at(token))?.is_some() {
            return Ok(None);
        }
    }
    Ok(Some(merges))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::Result;
    use crate::vocabulary::merge_table::MergeTable;

    /// A generator of numbers below the one given.
    fn generator(seed: u64) -> impl FnMut(usize) -> usize {
        let mut state = seed;
        move |n| {
            state = state
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1);
            (state >> 33) as usize % n
        }
    }

    /// The same by merging each token's bytes: whether the list says it, and whether it does so with no pair
    /// twice and no token of higher rank.
    fn naive(ranks: &Ranks, list: &[(Vec<u8>, usize)], whole_tokens: bool) -> (bool, bool) {
        let pair = |(joined, middle): &(Vec<u8>, usize)| {
            let (left, right) = joined.split_at(*middle);
            ranks.index(joined)?;
            ranks.index(left).zip(ranks.index(right))
        };
        let Some(pairs) = list.iter().map(pair).collect::<Option<Vec<_>>>() else {
            return (false, false);
        };
        let (mut says, mut plain, mut last) = (true, true, 0);
        for token in 256..ranks.len() {
            let Some((left, right)) = ranks.last_merge(ranks.at(token)).unwrap() else {
                says &= whole_tokens;
                continue;
            };
            plain &= left.max(right) < token as u32;
            let at = |p: &(u32, u32)| *p == (left, right);
            plain &= pairs.iter().filter(|p| at(p)).count() < 2;
            match pairs.iter().rposition(at) {
                Some(place) if place >= last => last = place,
                _ => says = false,
            }
        }
        (says, says && plain)
    }

    #[test]
    fn lists_are_judged_as_by_merging() -> Result<()> {
        let mut below = generator(1);
        let mut n_said = [0; 2];
        for _ in 0..4000 {
            let mut tokens: Vec<Vec<u8>> = (0..=255).map(|byte| vec![byte]).collect();
            for _ in 0..below(12) {
                // Mostly of two tokens there are, sometimes of any letters.
                let part = |below: &mut dyn FnMut(usize) -> usize| match below(2) {
                    0 => vec![b'a' + below(3) as u8],
                    _ => tokens[tokens.len() - 1 - below(tokens.len() - 250)].clone(),
                };
                let mut token = [part(&mut below), part(&mut below)].concat();
                if below(8) == 0 {
                    token.push(b'a' + below(3) as u8);
                }
                if !tokens.contains(&token) {
                    tokens.push(token);
                }
            }
            if below(8) == 0 && tokens.len() > 258 {
                let (a, b) = (256 + below(tokens.len() - 256), 256);
                tokens.swap(a, b);
            }
            let ranks = Ranks::new((0..).zip(tokens).map(|(id, token)| (token, id)))?;
            let mut list = Vec::new();
            let every_pair = below(2) == 0;
            for token in (256..ranks.len()).map(|i| ranks.at(i)) {
                let made = ranks.last_merge(token)?;
                let middle = made.map(|(left, _)| ranks.at(left as usize).len());
                for at in 1..token.len() {
                    let parts = ranks.index(&token[..at]).zip(ranks.index(&token[at..]));
                    if Some(at) == middle || every_pair && parts.is_some() {
                        list.push((token.to_vec(), at));
                    }
                }
            }
            let what = below(8);
            match what {
                0 if list.len() > 1 => {
                    let (a, b) = (below(list.len()), below(list.len()));
                    list.swap(a, b);
                }
                1 if !list.is_empty() => _ = list.remove(below(list.len())),
                2 if !list.is_empty() => {
                    let again = list[below(list.len())].clone();
                    list.insert(below(list.len() + 1), again);
                }
                3 => list.insert(below(list.len() + 1), (b"xy".to_vec(), 1)),
                4 if !list.is_empty() => {
                    let at = below(list.len());
                    list[at].1 = 1 + below(list[at].0.len() - 1);
                }
                _ => {}
            }
            let whole_tokens = below(2) == 0;
            let merges = list.iter().map(|(joined, middle)| Merge {
                bytes: joined,
                middle: *middle,
                end: joined.len(),
            });
            let merges = what_ranks_say(&ranks, merges, whole_tokens)?;
            let found = merges.is_some();
            let (says, plainly) = naive(&ranks, &list, whole_tokens);
            assert!(says || !found, "{list:?}");
            assert!(found || !plainly || what < 5, "{list:?}");
            n_said[usize::from(found)] += 1;
            let Some(merges) = merges else { continue };
            // A table made of them is that of ranks whose merges are found by merging.
            let ranks = ranks.with_merges(merges);
            let given = MergeTable::new(&ranks)?.expect("few tokens");
            assert!(ranks.take_merges().is_none());
            let merged = MergeTable::new(&ranks)?.expect("few tokens");
            assert_eq!(given.origins, merged.origins);
            assert_eq!(given.shorter, merged.shorter);
            assert_eq!((given.ordered, merged.ordered), (true, true));
            for (token, origin) in (0..).zip(&given.origins) {
                let parts = origin.parts();
                let joined = |table: &MergeTable| parts.map(|(a, b)| table.pairs.get(a, b));
                assert_eq!(joined(&given), parts.map(|_| token));
                assert_eq!(joined(&given), joined(&merged));
                let bytes = ranks.at(token as usize);
                assert_eq!(given.unmerged(bytes), merged.unmerged(bytes));
                assert_eq!(given.trie.longest(bytes), merged.trie.longest(bytes));
            }
        }
        assert!(n_said.iter().all(|&n| n > 500), "{n_said:?}");
        Ok(())
    }
}
