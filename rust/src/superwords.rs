//! Two-stage training: merges within pretokens, and from a size on across them (SuperBPE, arXiv 2503.13423).
//!
//! What is counted are *spans*, the stretches that a second pattern cuts text into; no token crosses their
//! ends. Up to the transition, merges are learned from the pretokens that the first pattern cuts each
//! span into. From there on they are learned from whole spans, which those merges have been applied to in
//! their order, as encoding does: where that joins over an end of a pretoken (after "it'steam" has been
//! cut into "it", "'s" and "team", "s" and "t" may still be joined), it counts as joined. So what is learned
//! is an ordinary list of merges, and a text's ids are those of an ordinary vocabulary whose pattern is the second.
//!
//! Each merge still makes a new token. Look at a stretch of a span whose ends no token crosses, with the bytes of
//! a token T: the merges so far, applied in their order, have done inside it what they do to T alone,
//! and they take T alone to one token from the moment at which T is merged (see `train/merge.rs`; the
//! first stage looks at pretokens, where the same holds).

use crate::encode::{Encoder, Session};
use crate::error::{Error, Result};
use crate::pretokenize::Pretokenizer;
use crate::system::memory;
use crate::system::threads::Team;
use crate::train::count_table::{CountTable, Word};
use crate::train::counts::Counts;
use crate::train::words::Rows;
use crate::train::{Merges, TrainOptions, go_on, train_with};

/// Learns merges from counts of spans: those of a vocabulary of `superwords_from` within the pretokens of
/// `pattern`, the rest across them. `tick` is called with merges done and merges asked for, often.
///
/// # Errors
/// [`Error::Argument`] if `superwords_from` is not between what the bytes and special tokens take and
/// `options.vocab_size`; [`Error::Pattern`]; [`Error::Match`]; as [`train_with`].
pub fn train(
    spans: &Counts,
    pattern: &str,
    superwords_from: usize,
    options: &TrainOptions,
    tick: &mut dyn FnMut(usize, usize) -> Result<()>,
) -> Result<Merges> {
    let n_special = spans.special_tokens().len();
    let least = 256 + n_special;
    if superwords_from < least || superwords_from > options.vocab_size {
        return Err(Error::argument(
            "superwords_from",
            superwords_from.to_string(),
            format!(
                "it must be from {least} (bytes and special tokens) to vocab_size={}",
                options.vocab_size
            ),
        ));
    }
    let within = TrainOptions {
        vocab_size: superwords_from,
        ..options.clone()
    };
    let n_merges = options.vocab_size - least;
    let counts = pretokens(spans, pattern)?;
    let first = train_with(&counts, &within, &mut |done, _| tick(done, n_merges))?;
    drop(counts);
    if superwords_from == options.vocab_size {
        return Ok(first);
    }
    let rows = rows(spans.table(), first.tokens(), options.num_threads)?;
    go_on(first, rows, n_special, options, tick)
}

/// The pretokens of all spans. A span that is not UTF-8, which no text gives, is a pretoken.
fn pretokens(spans: &Counts, pattern: &str) -> Result<Counts> {
    let pretokenizer = Pretokenizer::new(pattern)?;
    let (mut table, mut done) = (CountTable::default(), Ok(()));
    spans.table().for_each(|span, n| {
        if done.is_err() {
            return;
        }
        done = match std::str::from_utf8(span) {
            Ok(text) => pretokenizer.split(text, |start, end| table.add(span, start, end, n)),
            Err(_) => {
                table.add(span, 0, span.len(), n);
                Ok(())
            }
        };
    });
    done?;
    table.complete()?;
    Counts::new(pattern, spans.special_tokens(), table)
}

/// What one thread encodes.
struct Share<'a> {
    spans: &'a [(u64, Word)],
    rows: Rows,
    done: Result<()>,
}

/// Spans as rows of the tokens that the merges so far give, the most frequent first; without those of one.
fn rows(table: &CountTable, tokens: &[Box<[u8]>], num_threads: Option<usize>) -> Result<Rows> {
    let mut copies = memory::with_capacity(tokens.len())?;
    for (id, token) in (0..).zip(tokens) {
        copies.push((memory::copied(token)?, id));
    }
    let encoder = Encoder::of_whole_texts(copies)?;
    let mut spans = table.words()?;
    spans.sort_unstable_by_key(|&(n, _)| std::cmp::Reverse(n));
    let team = Team::new(num_threads)?;
    let mut shares = memory::with_capacity(team.size())?;
    for part in spans.chunks(spans.len().div_ceil(team.size()).max(1)) {
        shares.push(Share {
            spans: part,
            rows: Rows::default(),
            done: Ok(()),
        });
    }
    team.run(&mut shares, |share| {
        share.done = encode(&encoder, table, share.spans, &mut share.rows);
    });
    let mut all = Rows::default();
    for share in shares {
        share.done?;
        let base = all.tokens.len();
        memory::append(&mut all.tokens, &share.rows.tokens)?;
        all.ends.try_reserve(share.rows.ends.len())?;
        let ends = share.rows.ends.iter();
        all.ends.extend(ends.map(|&(n, end)| (n, base + end)));
    }
    Ok(all)
}

fn encode(
    encoder: &Encoder,
    table: &CountTable,
    spans: &[(u64, Word)],
    rows: &mut Rows,
) -> Result<()> {
    let mut session = encoder.session();
    for &(n, span) in spans {
        let start = rows.tokens.len();
        table.with_word(span, |bytes| one(encoder, &mut session, bytes, rows))?;
        let end = rows.tokens.len();
        match end - start {
            0 | 1 => rows.tokens.truncate(start),
            _ => memory::push(&mut rows.ends, (n, end))?,
        }
    }
    Ok(())
}

fn one(encoder: &Encoder, session: &mut Session, span: &[u8], rows: &mut Rows) -> Result<()> {
    match std::str::from_utf8(span) {
        Ok(text) => session.encode_ordinary(text, &mut rows.tokens),
        Err(_) => Ok(encoder.ranks().encode_pretoken(span, &mut rows.tokens)?),
    }
}
