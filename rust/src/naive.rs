//! Slow and obvious versions of the fast parts: what the tests compare with. Never used at run time.

use crate::train::tie_break::{TieBreak, huggingface_order};
use crate::vocabulary::ranks::Ranks;
use std::collections::HashMap;

/// BPE training by the book: count all pairs afresh, merge the best, again.
///
/// Returns the tokens in order of creation, the 256 bytes first, and the merges as id pairs.
pub fn train(
    words: &[(Vec<u8>, u64)],
    n_tokens: usize,
    tie: TieBreak,
    min_frequency: u64,
    max_token_length: usize,
) -> (Vec<Vec<u8>>, Vec<(u32, u32)>) {
    let mut tokens: Vec<Vec<u8>> = (0..=255u8).map(|b| vec![b]).collect();
    let mut merges = Vec::new();
    let mut words: Vec<(Vec<u32>, u64)> = words
        .iter()
        .map(|(w, n)| (w.iter().map(|&b| u32::from(b)).collect(), *n))
        .collect();
    while tokens.len() < n_tokens {
        let mut counts: HashMap<(u32, u32), u64> = HashMap::new();
        for (word, n) in &words {
            for pair in word.windows(2) {
                *counts.entry((pair[0], pair[1])).or_default() += n;
            }
        }
        let text = |id: u32| tokens[id as usize].clone();
        let best = counts
            .into_iter()
            .filter(|&((a, b), n)| {
                n >= min_frequency.max(1) && text(a).len() + text(b).len() <= max_token_length
            })
            .max_by(|&((a, b), n), &((c, d), m)| {
                n.cmp(&m).then_with(|| match tie {
                    TieBreak::Lexicographic => (text(a), text(b)).cmp(&(text(c), text(d))),
                    TieBreak::LowestId => (c, d).cmp(&(a, b)),
                    TieBreak::HuggingFace => {
                        let key = huggingface_order;
                        (key(c), key(d)).cmp(&(key(a), key(b)))
                    }
                })
            });
        let Some(((a, b), _)) = best else { break };
        let id = tokens.len() as u32;
        tokens.push([text(a), text(b)].concat());
        merges.push((a, b));
        for (word, _) in &mut words {
            *word = replace(word, (a, b), id);
        }
    }
    (tokens, merges)
}

fn replace(word: &[u32], pair: (u32, u32), id: u32) -> Vec<u32> {
    let mut out = Vec::with_capacity(word.len());
    let mut i = 0;
    while i < word.len() {
        if i + 1 < word.len() && (word[i], word[i + 1]) == pair {
            out.push(id);
            i += 2;
        } else {
            out.push(word[i]);
            i += 1;
        }
    }
    out
}

/// BPE encoding by the book: of all adjacent pairs whose joined bytes are a token, merge the one of
/// lowest rank, the leftmost of equals, again.
pub fn encode_pretoken(ranks: &Ranks, pretoken: &[u8]) -> Vec<u32> {
    if let Some(id) = ranks.get(pretoken) {
        return vec![id];
    }
    let mut parts: Vec<Vec<u8>> = pretoken.iter().map(|&b| vec![b]).collect();
    loop {
        let best = parts
            .windows(2)
            .enumerate()
            .filter_map(|(i, w)| ranks.get(&w.concat()).map(|rank| (rank, i)))
            .min();
        let Some((_, i)) = best else { break };
        let right = parts.remove(i + 1);
        parts[i].extend(right);
    }
    parts.iter().filter_map(|p| ranks.get(p)).collect()
}
