//! Documents -> pretoken counts -> merges.
//!
//! [`count`] counts pretokens in tables (`count_table`); [`counts`] are the sums, which [`counts_file`] keeps
//! on disk and [`counts_bytes`] sends to other processes. [`train`] learns merges from them: `words` is all distinct
//! pretokens in one array, `pairs` the pairs that may be merged next (`pair_table` has them by their ids, `lists` where they
//! occur, and `queue` says which is next), found by `range_pairs`, `tokens` the bytes of the tokens so far, [`tie_break`]
//! their order where counts are equal, and `merge` the loop (with `neighbours`, its sums), with the reason why it is exact.

pub mod count;
pub mod count_table;
pub mod counts;
pub mod counts_bytes;
pub mod counts_file;
mod lists;
mod merge;
mod neighbours;
mod pair_table;
mod pairs;
mod queue;
mod range_pairs;
pub mod tie_break;
mod tokens;
pub mod words;

use crate::error::{Error, Result};
use crate::system::threads::Team;
use crate::train::counts::Counts;
use crate::train::merge::{Limits, Trainer};
use crate::train::tie_break::TieBreak;
use crate::train::tokens::Tokens;
use crate::train::words::{Put, Words};

/// What to train.
#[derive(Clone, Debug)]
pub struct TrainOptions {
    /// The maximum size of the vocabulary: bytes, merges and special tokens.
    pub vocab_size: usize,
    /// How ties are broken.
    pub tie_break: TieBreak,
    /// Pairs that occur less often are never merged.
    pub min_frequency: u64,
    /// Tokens longer than this many bytes are never made.
    pub max_token_length: Option<usize>,
    /// Threads, the caller's included; all cores if `None`.
    pub num_threads: Option<usize>,
}

impl TrainOptions {
    /// Options for a vocabulary of at most `vocab_size`, ties broken lexicographically.
    pub fn new(vocab_size: usize) -> Self {
        Self {
            vocab_size,
            tie_break: TieBreak::Lexicographic,
            min_frequency: 1,
            max_token_length: None,
            num_threads: None,
        }
    }
}

/// The result of training: tokens in order of their ids (the 256 bytes, then one for each merge).
#[derive(Debug)]
pub struct Merges {
    tokens: Vec<Box<[u8]>>,
    pairs: Vec<(u32, u32)>,
}

impl Merges {
    /// The bytes of each id.
    pub fn tokens(&self) -> &[Box<[u8]>] {
        &self.tokens
    }

    /// The pair of ids each merge joins; merge `i` makes id `256 + i`.
    pub fn pairs(&self) -> &[(u32, u32)] {
        &self.pairs
    }
}

/// Learns merges from counts.
///
/// # Errors
/// [`Error::VocabSize`] if the size cannot hold the bytes and the special tokens; [`Error::Memory`].
pub fn train(counts: &Counts, options: &TrainOptions) -> Result<Merges> {
    train_with(counts, options, &mut |_, _| Ok(()))
}

/// [`train`] that calls `tick` with merges done and merges asked for, often; its error ends the work.
///
/// # Errors
/// As [`train`], and what `tick` returns.
pub fn train_with(
    counts: &Counts,
    options: &TrainOptions,
    tick: &mut dyn FnMut(usize, usize) -> Result<()>,
) -> Result<Merges> {
    let n_special = counts.special_tokens().len();
    if options.vocab_size < 256 + n_special {
        return Err(Error::VocabSize {
            vocab_size: options.vocab_size,
            n_special,
        });
    }
    // Each merge uses up a byte at least, so that more tokens than this cannot be.
    let n_tokens = (options.vocab_size - n_special).min(256 + counts.table().n_bytes());
    let limits = Limits {
        n_tokens,
        min_frequency: options.min_frequency.max(1),
        max_token_length: options.max_token_length.unwrap_or(usize::MAX),
    };
    let tokens = Tokens::new(n_tokens, options.tie_break)?;
    let tick = &mut |done| tick(done, n_tokens - 256);
    let team = Team::new(options.num_threads)?;
    let table = counts.table();
    let pairs = if n_tokens < usize::from(u16::MAX) {
        Trainer::new(Words::<u16>::new(table)?, &tokens, 256, &team, limits)?.run(tick)?
    } else {
        Trainer::new(Words::<u32>::new(table)?, &tokens, 256, &team, limits)?.run(tick)?
    };
    Ok(Merges {
        tokens: tokens.into_vec(256 + pairs.len())?,
        pairs,
    })
}

/// Goes on from `first` with text as rows of its tokens, which `fill` puts; `n_bytes` is how many bytes they have in
/// all, at most, and `n_special` tokens beside them are in the size asked for. `tick` as in [`train_with`];
/// `fill` calls it too, with nothing done.
///
/// # Errors
/// [`Error::Argument`] for 2**32 tokens of text or more; [`Error::Memory`]; what `tick` and `fill` return.
pub fn go_on(
    first: Merges,
    fill: impl FnOnce(&mut Put<'_>, &mut dyn FnMut() -> Result<()>) -> Result<()>,
    (n_bytes, n_special): (usize, usize),
    options: &TrainOptions,
    tick: &mut dyn FnMut(usize, usize) -> Result<()>,
) -> Result<Merges> {
    let n_first = first.tokens.len();
    let n_tokens = options.vocab_size.saturating_sub(n_special);
    // Each merge uses up a byte at least.
    let n_tokens = n_tokens.clamp(n_first, n_first + n_bytes);
    let limits = Limits {
        n_tokens,
        min_frequency: options.min_frequency.max(1),
        max_token_length: options.max_token_length.unwrap_or(usize::MAX),
    };
    let tokens = Tokens::new(n_tokens, options.tie_break)?;
    for (id, token) in first.tokens.into_iter().enumerate().skip(256) {
        tokens.add(id, token);
    }
    let mut pairs = first.pairs;
    let n_pairs = pairs.len();
    let tick = &mut |done| tick(n_pairs + done, n_tokens - 256);
    let team = Team::new(options.num_threads)?;
    let more = if n_tokens < usize::from(u16::MAX) {
        let words = Words::<u16>::of_rows(|put| fill(put, &mut || tick(0)))?;
        Trainer::new(words, &tokens, n_first, &team, limits)?.run(tick)?
    } else {
        let words = Words::<u32>::of_rows(|put| fill(put, &mut || tick(0)))?;
        Trainer::new(words, &tokens, n_first, &team, limits)?.run(tick)?
    };
    crate::system::memory::append(&mut pairs, &more)?;
    Ok(Merges {
        tokens: tokens.into_vec(n_first + more.len())?,
        pairs,
    })
}
