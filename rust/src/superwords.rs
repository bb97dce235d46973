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

use crate::encode::{RowEncoder, RowWorker};
use crate::error::{Error, Result};
use crate::pretokenize::Pretokenizer;
use crate::system::memory;
use crate::system::threads::Team;
use crate::text::key::PADDING;
use crate::train::count_table::{CountTable, Word};
use crate::train::counts::Counts;
use crate::train::words::Put;
use crate::train::{Merges, TrainOptions, go_on, train_with};

/// What is called now and then; its error ends the work.
type Tick<'a> = dyn FnMut() -> Result<()> + 'a;

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
    let team = Team::new(options.num_threads)?;
    let all = Spans::new(spans.table(), &team)?;
    let counts = all.pretokens(pattern, &mut || tick(0, n_merges))?;
    let counts = Counts::new(pattern, spans.special_tokens(), counts)?;
    let first = train_with(&counts, &within, &mut |done, _| tick(done, n_merges))?;
    drop(counts);
    if superwords_from == options.vocab_size {
        return Ok(first);
    }
    let encoder = RowEncoder::new(first.tokens())?;
    // Gone as soon as they have done their work.
    let fill = move |put: &mut Put<'_>, tick: &mut Tick<'_>| all.put_rows(&encoder, put, tick);
    let sizes = (spans.table().n_bytes(), n_special);
    go_on(first, fill, sizes, options, tick)
}

/// Bytes of spans that a thread takes before Ctrl-C is looked for.
const ROUND: usize = 1 << 21;

/// All spans, the most frequent first.
struct Spans<'a> {
    table: &'a CountTable,
    spans: Vec<(u64, Word)>,
    team: &'a Team,
}

/// One thread's part of a round.
struct Share<'a, W> {
    worker: W,
    spans: &'a [(u64, Word)],
    done: Result<()>,
}

impl<'a> Spans<'a> {
    fn new(table: &'a CountTable, team: &'a Team) -> Result<Self> {
        let (mut spans, _) = table.words()?;
        // Those of equal counts as they lie in memory.
        spans.sort_unstable_by_key(|&(n, word)| (std::cmp::Reverse(n), word));
        Ok(Self { table, spans, team })
    }

    /// Shares all spans out, some megabytes at a time: `work` in all threads, then `after` with what each did,
    /// in the spans' order.
    fn in_rounds<W: Send>(
        &self,
        make: impl Fn() -> Result<W>,
        work: impl Fn(&mut W, &[(u64, Word)]) -> Result<()> + Sync,
        mut after: impl FnMut(&mut W, &[(u64, Word)]) -> Result<()>,
        tick: &mut Tick<'_>,
    ) -> Result<Vec<W>> {
        let mut shares = memory::with_capacity(self.team.size())?;
        for _ in 0..self.team.size() {
            shares.push(Share {
                worker: make()?,
                spans: &[],
                done: Ok(()),
            });
        }
        let mut rest = &self.spans[..];
        while !rest.is_empty() {
            for share in &mut shares {
                (share.spans, rest) = rest.split_at(self.round(rest));
            }
            self.team.run(&mut shares, |share| {
                share.done = work(&mut share.worker, share.spans);
            });
            for share in &mut shares {
                std::mem::replace(&mut share.done, Ok(()))?;
                after(&mut share.worker, share.spans)?;
            }
            tick()?;
        }
        let workers = shares.into_iter().map(|share| share.worker);
        Ok(memory::collect(workers)?)
    }

    /// How many spans make a round for a thread.
    fn round(&self, spans: &[(u64, Word)]) -> usize {
        let mut n_bytes = 0;
        let fits = |&&(_, span): &&(u64, Word)| {
            let before = n_bytes;
            n_bytes += self.table.with_word(span, <[u8]>::len);
            before < ROUND
        };
        spans.iter().take_while(fits).count()
    }

    /// The pretokens of all spans. A span that is not UTF-8, which no text gives, is a pretoken.
    fn pretokens(&self, pattern: &str, tick: &mut Tick<'_>) -> Result<CountTable> {
        let pretokenizer = Pretokenizer::new(pattern)?;
        let count = |(table, buffer): &mut (CountTable, Vec<u8>), spans: &[(u64, Word)]| {
            for &(n, span) in spans {
                buffer.clear();
                self.table
                    .with_word(span, |bytes| memory::append(buffer, bytes))?;
                let len = buffer.len();
                memory::append(buffer, &[0; PADDING])?;
                match std::str::from_utf8(&buffer[..len]) {
                    Ok(text) => pretokenizer.split(text, |s, e| table.add(buffer, s, e, n))?,
                    Err(_) => table.add(buffer, 0, len, n),
                }
            }
            Ok(table.complete()?)
        };
        let make = || Ok((CountTable::default(), Vec::new()));
        let tables = self.in_rounds(make, count, |_, _| Ok(()), tick)?;
        let tables = tables.into_iter().map(|(table, _)| table);
        Ok(CountTable::sum(memory::collect(tables)?)?)
    }

    /// Hands on all spans as rows of tokens, but those that are one.
    fn put_rows(&self, encoder: &RowEncoder, put: &mut Put<'_>, tick: &mut Tick<'_>) -> Result<()> {
        let encode = |worker: &mut RowWorker, spans: &[(u64, Word)]| {
            for &(_, span) in spans {
                self.table
                    .with_word(span, |bytes| encoder.push(worker, bytes))?;
            }
            encoder.flush(worker)
        };
        let hand_on = |worker: &mut RowWorker, spans: &[(u64, Word)]| {
            let mut weights = spans.iter().map(|&(n, _)| n);
            worker.drain(|row| match weights.next() {
                Some(n) if row.len() > 1 => put(n, row),
                _ => Ok(()),
            })
        };
        self.in_rounds(RowWorker::new, encode, hand_on, tick)?;
        Ok(())
    }
}
