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
//! has to find the end with the automaton ([`RESOLVE`]). Where a chain would have to be long, it must
//! start anew from the current pretoken's start ([`STOP`]).

use super::automaton::{Automaton, DEAD, State};
use crate::error::OutOfMemory;
use crate::system::memory;
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

/// Where one part of a chain ends if it matches no more. Without a match, its first character belongs
/// to no pretoken, and the part ends after that.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Last {
    /// It has no match and has only just begun, with the last character read.
    Begun,
    /// It has no match.
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
    /// Entries per state: 1 << `shift`.
    pub shift: u32,
    /// After which symbol and before which (its bit) a text may be cut.
    pub cuts: Vec<u64>,
}

impl Chains {
    /// Chains the states of `automaton`; `None` if there are too many chains.
    ///
    /// # Errors
    /// [`OutOfMemory`].
    pub fn new(automaton: &Automaton) -> Result<Option<Chains>, OutOfMemory> {
        // The last symbol is the end of the text, which the reader does not ask about.
        let n_symbols = automaton.n_symbols() - 1;
        let stride = n_symbols.next_power_of_two();
        let shift = stride.trailing_zeros();
        let mut known: FxHashMap<Chain, u32> = FxHashMap::default();
        let mut chains = vec![Chain::new()];
        known.insert(Chain::new(), 0);
        let mut entries = Vec::new();
        while let Some(chain) = chains.get(entries.len() / stride).cloned() {
            for symbol in 0..n_symbols {
                let (next, flags) = read(automaton, &chain, symbol);
                let to = match known.get(&next) {
                    Some(&to) => to,
                    None if chains.len() >= MAX_CHAINS => return Ok(None),
                    None => {
                        let to = (chains.len() * stride) as u32;
                        known.try_reserve(1)?;
                        known.insert(next.clone(), to);
                        memory::push(&mut chains, next)?;
                        to
                    }
                };
                memory::push(&mut entries, to | flags)?;
            }
            let len = entries.len().next_multiple_of(stride);
            memory::resize(&mut entries, len, STOP)?;
        }
        let mut table = Chains {
            entries,
            shift,
            cuts: vec![0; n_symbols],
        };
        table.find_cuts(automaton, &chains);
        Ok(Some(table))
    }

    /// Fills `cuts`. A text may be cut between two symbols if, whatever the state after the first,
    /// pretokens end there both when the second follows and when nothing does, and the same ends
    /// are found on the way. That is the whole truth as long as no state ever stops; else there are no
    /// cuts.
    fn find_cuts(&mut self, automaton: &Automaton, chains: &[Chain]) {
        let n_symbols = self.cuts.len();
        let mut came_by = vec![0_u64; chains.len()];
        for row in self.entries.chunks_exact(1 << self.shift) {
            for (symbol, entry) in row[..n_symbols].iter().enumerate() {
                if entry & STOP != 0 {
                    return;
                }
                if entry & RESOLVE == 0 {
                    came_by[((entry & NEXT) >> self.shift) as usize] |= 1 << symbol;
                }
            }
        }
        self.cuts.fill(!0);
        for (chain, came_by) in chains.iter().zip(came_by) {
            let at_end = ends(automaton, chain, n_symbols);
            let is_cut = |&symbol: &usize| {
                let ends = ends(automaton, chain, symbol);
                ends == at_end && ends.is_some_and(|(_, flags)| flags & END_HERE != 0)
            };
            let good = (0..n_symbols)
                .filter(is_cut)
                .map(|s| 1_u64 << s)
                .sum::<u64>();
            for (symbol, cuts) in self.cuts.iter_mut().enumerate() {
                if came_by >> symbol & 1 != 0 {
                    *cuts &= good;
                }
            }
        }
    }
}

/// What ends when `chain` reads `symbol`: how often an earlier end is to be resolved, and the flags of
/// the ends here and one before. `None` if it stops.
fn ends(automaton: &Automaton, chain: &[(State, Last)], symbol: usize) -> Option<(usize, u32)> {
    let mut chain = chain.to_vec();
    for n in 0..=MAX_LENGTH + 1 {
        let (next, flags) = read(automaton, &chain, symbol);
        if flags & STOP != 0 {
            return None;
        }
        if flags & RESOLVE == 0 {
            return Some((n, flags & (END_HERE | END_BEFORE)));
        }
        chain = next;
    }
    None
}

/// What becomes of `chain` on reading `symbol`, and the flags.
fn read(automaton: &Automaton, chain: &[(State, Last)], symbol: usize) -> (Chain, u32) {
    let step = |state: State| automaton.step(state, symbol);
    let Some((&(state, last), lower)) = chain.split_first() else {
        return begin(automaton, symbol, END_HERE);
    };
    let next = step(state);
    if next.to == DEAD {
        if next.matched {
            return begin(automaton, symbol, END_HERE);
        }
        return match (last, lower) {
            (Last::Begun, _) => (Chain::new(), RESOLVE),
            (_, []) => (Chain::new(), STOP),
            (Last::Nowhere | Last::Earlier, _) => (lower.to_vec(), RESOLVE),
            // The one below has just begun. Mostly it goes on.
            (Last::Before, _) => match read(automaton, lower, symbol) {
                (next, flags) if flags & (RESOLVE | STOP) == 0 => (next, flags | END_BEFORE),
                _ => (lower.to_vec(), RESOLVE),
            },
        };
    }
    // The current pretoken goes on, and those below it go on as they would without it.
    let mut after = Chain::new();
    for &(state, last) in chain {
        let next = step(state);
        if next.to == DEAD {
            break;
        }
        let now = match last {
            _ if next.matched => Last::Before,
            Last::Begun | Last::Nowhere => Last::Nowhere,
            Last::Before | Last::Earlier => Last::Earlier,
        };
        after.push((next.to, now));
        if next.matched || last == Last::Begun {
            after.push((step(automaton.start).to, Last::Begun));
            break;
        }
    }
    after.truncate(MAX_LENGTH);
    (after, 0)
}

/// The chain after `symbol` where a pretoken may begin before it.
fn begin(automaton: &Automaton, symbol: usize, flags: u32) -> (Chain, u32) {
    let fresh = automaton.step(automaton.start, symbol);
    if fresh.to == DEAD {
        return (Chain::new(), flags | GAP);
    }
    (vec![(fresh.to, Last::Begun)], flags)
}

/// Entries of a table of pairs; a pattern that needs more goes without.
const MAX_PAIRS: usize = 1 << 17;

/// Place of the three bits in an entry of [`Pairs`] for ends before the character before the first, before
/// the first and before the second.
pub const PAIR_ENDS: u32 = 29;
/// Place of the two bits for whether the first and the second character belong to no pretoken.
pub const PAIR_GAPS: u32 = 27;
/// Something else happens; the characters must be read one by one.
pub const PAIR_RARE: u32 = 1 << 26;
/// The place of the next state's row in a table of pairs.
pub const PAIR_NEXT: u32 = PAIR_RARE - 1;

/// What [`Chains`] do on two ASCII characters at once, which takes half the time: each step has to
/// wait for the table's answer to the one before.
#[derive(Debug)]
pub struct Pairs {
    /// By state and pair of characters.
    pub entries: Vec<u32>,
    /// Entries per state: 1 << `shift`.
    pub shift: u32,
    /// Where a row has its entries for pairs that begin with an ASCII character.
    pub first: [u16; 128],
    /// What to add for the character that a pair ends with.
    pub second: [u16; 128],
}

impl Pairs {
    /// The table of pairs, unless it is too large. `ascii` has the symbol of each ASCII character.
    ///
    /// # Errors
    /// [`OutOfMemory`].
    pub fn new(chains: &Chains, ascii: &[u8; 256]) -> Result<Option<Pairs>, OutOfMemory> {
        let mut symbols = ascii[..128].to_vec();
        symbols.sort_unstable();
        symbols.dedup();
        let n = symbols.len();
        let stride = (n * n).next_power_of_two();
        let n_chains = chains.entries.len() >> chains.shift;
        if n_chains * stride > MAX_PAIRS {
            return Ok(None);
        }
        let shift = stride.trailing_zeros();
        let mut entries = memory::filled(PAIR_RARE, n_chains * stride)?;
        let rare = |entry: u32| entry & (RESOLVE | STOP) != 0;
        let read = |row: usize, symbol: u8| chains.entries[row + usize::from(symbol)];
        for chain in 0..n_chains {
            for (i, &a) in symbols.iter().enumerate() {
                let one = read(chain << chains.shift, a);
                if rare(one) {
                    continue;
                }
                for (k, &b) in symbols.iter().enumerate() {
                    let two = read((one & NEXT) as usize, b);
                    if rare(two) {
                        continue;
                    }
                    let ends = one >> 30 | two >> 30 << 1;
                    let is_gap = |entry: u32| u32::from(entry & GAP != 0);
                    let gaps = is_gap(one) | is_gap(two) << 1;
                    let next = (two & NEXT) >> chains.shift << shift;
                    entries[(chain << shift) + i * n + k] =
                        next | ends << PAIR_ENDS | gaps << PAIR_GAPS;
                }
            }
        }
        let mut pairs = Pairs {
            entries,
            shift,
            first: [0; 128],
            second: [0; 128],
        };
        for (b, symbol) in ascii[..128].iter().enumerate() {
            let index = symbols.partition_point(|s| s < symbol);
            pairs.first[b] = (index * n) as u16;
            pairs.second[b] = index as u16;
        }
        Ok(Some(pairs))
    }

    /// Reads eight ASCII characters in `state`: the state after them, the ends (bit `i` is for before
    /// character `i - 1`) and the characters without a pretoken; `None` if they must be read one by one.
    #[inline(always)]
    pub fn read(&self, bytes: &[u8; 8], state: u32) -> Option<(u32, u64, u64)> {
        if u64::from_le_bytes(*bytes) & 0x8080_8080_8080_8080 != 0 {
            return None;
        }
        let mut state = state;
        let (mut ends, mut gaps, mut rare) = (0, 0, 0);
        for (k, pair) in bytes.chunks_exact(2).enumerate() {
            let first = self.first[usize::from(pair[0] & 0x7f)];
            let second = self.second[usize::from(pair[1] & 0x7f)];
            let place = (state & PAIR_NEXT) as usize + usize::from(first + second);
            state = self.entries[place];
            ends |= u64::from(state >> PAIR_ENDS) << (2 * k);
            gaps |= u64::from(state >> PAIR_GAPS & 3) << (2 * k);
            rare |= state;
        }
        (rare & PAIR_RARE == 0).then_some((state & PAIR_NEXT, ends, gaps))
    }
}
