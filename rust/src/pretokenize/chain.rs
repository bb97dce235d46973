//! An automaton for one pretoken -> one for a whole text, which goes forward only.
//!
//! While a pretoken may still grow, what follows its last match is read twice at once: as more of it
//! and as the next pretokens. So a state here is a chain of states of the [`Automaton`]: that of the
//! current pretoken, that of the pretoken that would begin where the current one's last match ends,
//! and so on. When the current pretoken cannot grow, its end is its last match and the next in
//! the chain takes its place.
//!
//! Ends are known at once when they are before the character read or before the one before it.
//! Otherwise, as with `"\n  x"` where `\s*[\r\n]+` takes the `"\n"` and hopes for another, the reader
//! has to find the end with the automaton ([`RESOLVE`]). Where chains would get long or a pretoken
//! dies without a match, it has to start anew from the current pretoken's start ([`STOP`]).

use super::automaton::{Automaton, DEAD, State};
use rustc_hash::FxHashMap;

/// States; if a pattern needs more, it does without.
const MAX_CHAINS: usize = 4000;
/// The longest chain.
const MAX_LENGTH: usize = 4;

/// The end of a pretoken is just before the character read.
pub const END_HERE: u32 = 1 << 31;
/// An end is before the character before the one read.
pub const END_BEFORE: u32 = 1 << 30;
/// The character read belongs to no pretoken.
pub const GAP: u32 = 1 << 29;
/// The current pretoken has ended, but earlier; the symbol is to be read again in the new state.
pub const RESOLVE: u32 = 1 << 28;
/// The current pretoken must be read again, with the automaton.
pub const STOP: u32 = 1 << 27;
/// The place of the next state's row.
pub const NEXT: u32 = STOP - 1;

/// Where the last match in one part of a chain ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Last {
    /// There was none.
    Nowhere,
    /// Before the last character read.
    Before,
    /// Earlier.
    Earlier,
}

type Chain = Vec<(State, Last)>;

/// The automaton for a text.
#[derive(Debug)]
pub struct Chains {
    /// By state and symbol: [`NEXT`] and what happens. A state is the index of its first entry; the first
    /// state is for where no pretoken has begun.
    pub entries: Vec<u32>,
    /// Entries per state, a power of 2.
    pub stride: usize,
}

impl Chains {
    /// Chains the states of `automaton`; `None` if there are too many chains.
    pub fn new(automaton: &Automaton) -> Option<Chains> {
        // The last symbol is the end of the text, which the reader does not ask about.
        let n_symbols = automaton.n_symbols() - 1;
        let stride = n_symbols.next_power_of_two();
        let mut known: FxHashMap<Chain, u32> = FxHashMap::default();
        let mut chains = vec![Chain::new()];
        known.insert(Chain::new(), 0);
        let mut entries = Vec::new();
        while let Some(chain) = chains.get(entries.len() / stride).cloned() {
            for symbol in 0..n_symbols {
                let (next, flags) = read(automaton, &chain, symbol);
                let to = match known.get(&next) {
                    Some(&to) => to,
                    None if chains.len() >= MAX_CHAINS => return None,
                    None => {
                        let to = (chains.len() * stride) as u32;
                        known.insert(next.clone(), to);
                        chains.push(next);
                        to
                    }
                };
                entries.push(to | flags);
            }
            entries.resize(entries.len().next_multiple_of(stride), STOP);
        }
        Some(Chains { entries, stride })
    }
}

/// What becomes of `chain` on reading `symbol`, and the flags.
fn read(automaton: &Automaton, chain: &[(State, Last)], symbol: usize) -> (Chain, u32) {
    let mut flags = 0;
    let step = |state: State| automaton.step(state, symbol);
    let mut rest = chain;
    loop {
        let Some((&(state, last), lower)) = rest.split_first() else {
            if !chain.is_empty() {
                return (Chain::new(), STOP);
            }
            return begin(automaton, symbol, flags | END_HERE);
        };
        let next = step(state);
        if next.matched && next.to == DEAD {
            return begin(automaton, symbol, flags | END_HERE);
        }
        if next.to == DEAD {
            match last {
                Last::Nowhere => return (Chain::new(), STOP),
                Last::Before => flags |= END_BEFORE,
                // Only ever the first in the chain, as later ones have begun where others ended.
                Last::Earlier if lower.is_empty() => return (Chain::new(), STOP),
                Last::Earlier => return (lower.to_vec(), RESOLVE),
            }
            rest = lower;
            continue;
        }
        let mut after = Chain::new();
        let mut rest = rest.iter();
        // From the first that lives on: those below it go on as they would without it.
        while let Some(&(state, last)) = rest.next() {
            let next = step(state);
            if next.to == DEAD || after.len() == MAX_LENGTH {
                break;
            }
            if next.matched {
                after.push((next.to, Last::Before));
                let fresh = step(automaton.start);
                if fresh.to != DEAD && after.len() < MAX_LENGTH {
                    after.push((fresh.to, Last::Nowhere));
                }
                break;
            }
            let last = match last {
                Last::Nowhere => Last::Nowhere,
                Last::Before | Last::Earlier => Last::Earlier,
            };
            after.push((next.to, last));
        }
        return (after, flags);
    }
}

/// The chain after `symbol` where a pretoken may begin before it.
fn begin(automaton: &Automaton, symbol: usize, flags: u32) -> (Chain, u32) {
    let fresh = automaton.step(automaton.start, symbol);
    if fresh.to == DEAD {
        return (Chain::new(), flags | GAP);
    }
    (vec![(fresh.to, Last::Nowhere)], flags)
}
