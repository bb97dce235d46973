//! Patterns of the user's own, compiled to tables.
//!
//! A pattern's text becomes a [`Grammar`] over symbols, that an [`Automaton`] for one pretoken, that
//! [`Chains`] for a text, which are read forward with two table look-ups for two characters. Ends are
//! gathered as bits, so that reading does not wait for what is done with a pretoken.

use super::automaton::{Automaton, DEAD};
use super::chain::{Chains, NEXT, Pairs, RESOLVE, STOP};
use super::cut::Cuts;
use super::grammar::Grammar;
use super::unicode::ClassTable;
use crate::error::OutOfMemory;
use rustc_hash::FxHashSet;
use std::sync::Arc;

/// Stands for all bytes that are not ASCII.
const NOT_ASCII: u8 = u8::MAX;
/// Bytes that are read before ends are emitted, with up to 7 more: there is a bit for each of them and for
/// the 4 before.
const READ_AHEAD: usize = 64 - 4 - 7;
/// Failed look-ahead is remembered at every so many bytes.
const CHECKPOINT: usize = 32;

/// A pattern of the family that [`Grammar`] describes, split without a regex engine, in time linear
/// in the text.
#[derive(Clone, Debug)]
pub struct Compiled {
    tables: Arc<Tables>,
}

#[derive(Debug)]
struct Tables {
    /// The symbol of each ASCII character, [`NOT_ASCII`] for other bytes.
    ascii: [u8; 256],
    /// The symbol of each character.
    table: ClassTable,
    automaton: Automaton,
    chains: Option<(Chains, Option<Pairs>)>,
}

/// States and places from which no match was found.
#[derive(Default)]
struct Failures {
    known: FxHashSet<(u16, usize)>,
    /// Those of the current look-ahead, which may still be fruitful.
    trail: Vec<(u16, usize)>,
    /// The last place in `known`.
    last: usize,
}

impl Compiled {
    /// Compiles `pattern`; `None` if it is outside the family or needs large tables.
    ///
    /// # Errors
    /// [`OutOfMemory`].
    pub fn new(pattern: &str) -> Result<Option<Compiled>, OutOfMemory> {
        let Some(grammar) = Grammar::new(pattern) else {
            return Ok(None);
        };
        let Some(automaton) = Automaton::new(&grammar)? else {
            return Ok(None);
        };
        let table = ClassTable::from_ranges(&grammar.spans, 0)?;
        let mut ascii = [NOT_ASCII; 256];
        for (b, symbol) in ascii[..128].iter_mut().enumerate() {
            *symbol = table.of(b);
        }
        let chains = match Chains::new(&automaton)? {
            Some(chains) => {
                let pairs = Pairs::new(&chains, &ascii)?;
                Some((chains, pairs))
            }
            None => None,
        };
        Ok(Some(Compiled {
            tables: Arc::new(Tables {
                ascii,
                table,
                automaton,
                chains,
            }),
        }))
    }

    /// Where a long text may be cut so that its parts give the same pretokens.
    pub fn cuts(&self) -> Cuts {
        let Some((chains, _)) = &self.tables.chains else {
            return Cuts::Nowhere;
        };
        let ascii = &self.tables.ascii[..128];
        let mut pairs = [0; 128];
        for (pair, &a) in pairs.iter_mut().zip(ascii) {
            let good = chains.cuts[usize::from(a)];
            let before = |&(_, &b): &(usize, &u8)| good >> b & 1 != 0;
            *pair = ascii
                .iter()
                .enumerate()
                .filter(before)
                .map(|(b, _)| 1 << b)
                .sum();
        }
        Cuts::Between(Arc::new(pairs))
    }

    /// Calls `emit(start, end)` for each non-empty match in `text`, in order.
    #[inline]
    pub fn split(&self, text: &str, mut emit: impl FnMut(usize, usize)) {
        let tables = &*self.tables;
        let text = text.as_bytes();
        let mut failures = Failures::default();
        let (chains, pairs) = match &tables.chains {
            Some((chains, pairs)) => (Some(chains), pairs.as_ref()),
            None => (None, None),
        };
        let (entries, shift) = match chains {
            Some(chains) => (&chains.entries[..], chains.shift),
            None => (&[][..], 0),
        };
        let mut again = chains.is_none();
        // Up to where pretokens are found one by one, with the automaton.
        let mut again_until = text.len();
        if text.is_empty() {
            return;
        }
        // What begins at `start`: a pretoken, or a character without one, or nothing yet.
        let mut start = 0;
        let mut idle = true;
        let mut at: usize = 0;
        let mut before = 1;
        let mut state = 0;
        let mut resolve = false;
        loop {
            // Each bit is an end, counted from `base`.
            let base;
            let mut ends: u64 = 1;
            let mut gaps: u64 = 0;
            let mut event = 0;
            if again || resolve {
                base = match tables.next(text, start, &mut failures) {
                    Some(end) => {
                        idle = false;
                        end
                    }
                    None => {
                        // No pretoken begins here.
                        idle = true;
                        start + tables.symbol(text, start).1
                    }
                };
            } else {
                base = at.wrapping_sub(4);
                ends = 0;
                let limit = text.len().min(at + READ_AHEAD);
                'block: while at < limit {
                    if let Some(pairs) = pairs
                        && before == 1
                        && let Some(bytes) = text[at..].first_chunk()
                    {
                        let row = (state & NEXT) >> shift << pairs.shift;
                        if let Some((next, eight_ends, eight_gaps)) = pairs.read(bytes, row) {
                            let place = at.wrapping_sub(base);
                            ends |= eight_ends << (place - 1);
                            gaps |= eight_gaps << place;
                            state = next >> pairs.shift << shift;
                            at += 8;
                            continue;
                        }
                    }
                    let eight = limit.min(at + 8);
                    while at < eight {
                        let (symbol, len) = tables.symbol(text, at);
                        let place = (state & NEXT) as usize + usize::from(symbol);
                        let entry = entries.get(place).copied().unwrap_or(STOP);
                        if entry & (RESOLVE | STOP) != 0 {
                            event = entry;
                            break 'block;
                        }
                        let place = at.wrapping_sub(base);
                        ends |= u64::from(entry >> 31) << place;
                        ends |= u64::from(entry >> 30 & 1) << (place - before);
                        gaps |= u64::from(entry >> 29 & 1) << place;
                        state = entry;
                        before = len;
                        at += len;
                    }
                }
            }
            while ends != 0 {
                let bit = ends.trailing_zeros();
                let end = base.wrapping_add(bit as usize);
                if !idle {
                    emit(start, end);
                }
                idle = gaps >> bit & 1 != 0;
                start = end;
                ends &= ends - 1;
            }
            if resolve {
                resolve = false;
                idle = state & NEXT == 0;
            } else if again {
                if start >= again_until {
                    if start >= text.len() {
                        return;
                    }
                    (again, idle, at, state) = (false, true, start, 0);
                }
            } else if event & RESOLVE != 0 {
                (resolve, state) = (true, event);
            } else if event & STOP != 0 {
                (again, again_until) = (true, at);
            } else if at >= text.len() {
                if idle {
                    return;
                }
                (again, again_until) = (true, at);
            }
        }
    }
}

impl Tables {
    /// Symbol and length of the character at `at`.
    #[inline(always)]
    fn symbol(&self, text: &[u8], at: usize) -> (u8, usize) {
        match self.ascii[usize::from(text[at])] {
            NOT_ASCII => self.table.at_non_ascii(text, at),
            symbol => (symbol, 1),
        }
    }

    /// The end of the match at `start`, if there is one that is not empty.
    ///
    /// Linear in the text over all calls with rising `start` and the same `failures`: what follows a
    /// match is only read again up to the first checkpoint that was once passed to no avail in the same
    /// state. (Reps, "Maximal-munch" tokenization in linear time, 1998.)
    fn next(&self, text: &[u8], start: usize, failures: &mut Failures) -> Option<usize> {
        let automaton = &self.automaton;
        let end_of_text = automaton.n_symbols() - 1;
        let mut state = automaton.start;
        let mut end = start;
        let mut at = start;
        loop {
            let (symbol, len) = match at < text.len() {
                true => self.symbol(text, at),
                false => (end_of_text as u8, 1),
            };
            let next = automaton.step(state, usize::from(symbol));
            if next.matched {
                end = at;
                failures.trail.clear();
            }
            if next.to == DEAD || at >= text.len() {
                break;
            }
            state = next.to;
            let here = at / CHECKPOINT;
            at += len;
            if at / CHECKPOINT != here && at - end > CHECKPOINT {
                if failures.known.contains(&(state, at)) {
                    break;
                }
                // Without memory it is found again, which takes time.
                if failures.trail.try_reserve(1).is_ok() {
                    failures.trail.push((state, at));
                }
            }
        }
        if start > failures.last {
            failures.known.clear();
        }
        if let Some(&(_, last)) = failures.trail.last() {
            failures.last = failures.last.max(last);
            if failures.known.try_reserve(failures.trail.len()).is_ok() {
                failures.known.extend(failures.trail.drain(..));
            }
            failures.trail.clear();
        }
        (end > start).then_some(end)
    }
}
