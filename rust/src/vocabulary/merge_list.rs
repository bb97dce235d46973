//! A list of merges beside ranks: whether applying it in its order is what the ranks do.

use crate::error::OutOfMemory;
use crate::system::memory;
use crate::vocabulary::merge_longest::is_valid_pair;
use crate::vocabulary::merge_table::Origin;
use crate::vocabulary::pair_map::{LIMIT, PairMap};
use crate::vocabulary::ranks::Ranks;

/// Two tokens, one after the other.
pub(super) struct Merge<'a> {
    /// Both.
    pub joined: &'a [u8],
    /// Where the second begins.
    pub middle: usize,
}

/// Whether `merges` holds for each token the pair that merging its bytes by rank makes it from, once, and
/// those pairs by rank. Further pairs of tokens that join to a token are passed over, as they are never side
/// by side in an encoding. With `whole_tokens` there may be tokens that no merging makes.
///
/// False for a few lists of which this is true: where a token is made from one of higher rank, or a pair
/// comes twice.
///
/// **Why no merging is needed.** While the tokens of lower rank are all there is, a pair (l, r) of them is what
/// is left of its bytes in the end if and only if l and r may stand side by side
/// ([`is_valid_pair`]), which is known from the pairs of the tokens so far. What is made of two parts in
/// this way is made of them with all ranks, too (`merge_table.rs`).
///
/// # Errors
/// [`OutOfMemory`].
pub(super) fn says_what_ranks_say<'a>(
    ranks: &Ranks,
    merges: impl Iterator<Item = Merge<'a>>,
    whole_tokens: bool,
) -> Result<bool, OutOfMemory> {
    let n = ranks.len();
    let n_symbols = ranks.symbols().len();
    if n >= LIMIT {
        return Ok(false);
    }
    let mut pairs = PairMap::with_capacity(n)?;
    let mut origins = memory::collect((0..n as u32).map(Origin::of_byte))?;
    // The last token whose pair was found. No later merge gives one of lower rank its pair.
    let mut now = n_symbols - 1;
    for Merge { joined, middle } in merges {
        let (left, right) = joined.split_at(middle);
        let (Some(left), Some(right)) = (ranks.index(left), ranks.index(right)) else {
            return Ok(false);
        };
        let is = |token: usize| token < n && ranks.at(token) == joined;
        let token = if is(now + 1) {
            now + 1
        } else if is(now) {
            now
        } else {
            match ranks.index(joined) {
                Some(token) => token as usize,
                None => return Ok(false),
            }
        };
        if origins[token].parts() == Some((left, right)) {
            return Ok(false);
        }
        let is_made =
            |part: u32| (part as usize) < n_symbols || origins[part as usize].parts().is_some();
        let may_be = token > now && left.max(right) < token as u32;
        if may_be
            && is_made(left)
            && is_made(right)
            && is_valid_pair(&pairs, &origins, n_symbols as u32, left, right)
        {
            Origin::join(&mut origins, (left, right), token as u32);
            pairs.insert(left, right, token as u32)?;
            now = token;
        }
    }
    // A pair that was taken for that of its token because others were not known leaves these without theirs.
    for (token, origin) in origins.iter().enumerate().skip(n_symbols) {
        if origin.parts().is_some() {
            continue;
        }
        if !whole_tokens || ranks.last_merge(ranks.at(token))?.is_some() {
            return Ok(false);
        }
    }
    Ok(true)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::Result;

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
                joined,
                middle: *middle,
            });
            let found = says_what_ranks_say(&ranks, merges, whole_tokens)?;
            let (says, plainly) = naive(&ranks, &list, whole_tokens);
            assert!(says || !found, "{list:?}");
            assert!(found || !plainly || what < 5, "{list:?}");
            n_said[usize::from(found)] += 1;
        }
        assert!(n_said.iter().all(|&n| n > 500), "{n_said:?}");
        Ok(())
    }
}
