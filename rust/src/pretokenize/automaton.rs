//! A grammar -> the automaton that finds the end of one pretoken.
//!
//! A backtracking engine takes, of all ways to match, the first in the order in which it tries
//! them. The automaton follows all ways at once and keeps them in that order; when one of them has
//! matched, those after it are dropped. The last match seen before no way is left is the
//! engine's, found without going back. Look-ahead is by one character, so that everything about a
//! match that ends before a character is known on reading that character.

use super::grammar::{Grammar, Manner, Node, Symbols};
use crate::error::OutOfMemory;
use crate::system::memory;
use rustc_hash::FxHashMap;

/// Steps of the nondeterministic automaton; a pattern that needs more is not accepted.
const MAX_STEPS: usize = 4000;
/// States of the automaton; a pattern that needs more is not accepted.
const MAX_STATES: usize = 2000;

/// A state: its row in [`Automaton::rows`].
pub type State = u16;
/// No way is left to match more than has been.
pub const DEAD: State = 0;

/// What reading a symbol does.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Move {
    /// The state after the symbol.
    pub to: State,
    /// Whether a match ends before the symbol.
    pub matched: bool,
}

/// Finds the end of one match.
#[derive(Debug)]
pub struct Automaton {
    /// By state and symbol.
    moves: Vec<Move>,
    n_symbols: usize,
    /// Where to begin.
    pub start: State,
}

impl Automaton {
    /// The automaton for `grammar`, unless it is too large.
    ///
    /// # Errors
    /// [`OutOfMemory`].
    pub fn new(grammar: &Grammar) -> Result<Option<Automaton>, OutOfMemory> {
        let mut ways = Ways {
            steps: memory::with_capacity(MAX_STEPS + 1)?,
        };
        ways.steps.push(Step::Match);
        let Some(first) = ways.build(&grammar.root, 0) else {
            return Ok(None);
        };
        // A state is the list of steps that are to be done next, the first tried first.
        let mut states = FxHashMap::default();
        let mut lists = vec![Vec::new(), vec![first]];
        states.insert(Vec::new(), DEAD);
        states.insert(vec![first], 1);
        let mut rows = Vec::new();
        let mut visited = Visited::new(ways.steps.len());
        while let Some(list) = lists.get(rows.len()).cloned() {
            let mut row = Vec::with_capacity(grammar.n_symbols);
            for symbol in 0..grammar.n_symbols {
                let (next, matched) = ways.read(&list, 1 << symbol, &mut visited);
                let to = match states.get(&next) {
                    Some(&state) => state,
                    None if lists.len() >= MAX_STATES => return Ok(None),
                    None => {
                        let state = lists.len() as State;
                        states.try_reserve(1)?;
                        states.insert(next.clone(), state);
                        memory::push(&mut lists, next)?;
                        state
                    }
                };
                row.push(Move { to, matched });
            }
            memory::push(&mut rows, row)?;
        }
        Ok(Some(Automaton::minimal(&rows, 1)?))
    }

    /// Of `rows`, all states joined that do the same. No state but [`DEAD`] is left without a match ahead.
    fn minimal(rows: &[Vec<Move>], start: State) -> Result<Automaton, OutOfMemory> {
        // Refines a partition until states of one block agree in the blocks that they move to.
        let mut block: Vec<State> = vec![0; rows.len()];
        let mut n_blocks = 1;
        loop {
            let mut known: FxHashMap<(State, Vec<Move>), State> = FxHashMap::default();
            let mut next = Vec::with_capacity(block.len());
            // The dead state comes first and so stays block 0.
            for (state, row) in rows.iter().enumerate() {
                let moves = row.iter().map(|m| Move {
                    to: block[usize::from(m.to)],
                    matched: m.matched,
                });
                let fresh = known.len() as State;
                let key = (block[state], moves.collect());
                known.try_reserve(1)?;
                next.push(*known.entry(key).or_insert(fresh));
            }
            block = next;
            if known.len() == n_blocks {
                let joined = known.into_iter().map(|((_, row), to)| (to, row));
                let mut joined = memory::collect(joined)?;
                joined.sort_unstable_by_key(|&(state, _)| state);
                let n_symbols = joined.first().map_or(0, |(_, row)| row.len());
                let mut moves = memory::with_capacity(n_symbols * joined.len())?;
                moves.extend(joined.into_iter().flat_map(|(_, row)| row));
                return Ok(Automaton {
                    n_symbols,
                    moves,
                    start: block[usize::from(start)],
                });
            }
            n_blocks = known.len();
        }
    }

    /// How many symbols there are. The last one is the end of the text.
    pub fn n_symbols(&self) -> usize {
        self.n_symbols
    }

    /// What reading `symbol` in `state` does.
    #[inline(always)]
    pub fn step(&self, state: State, symbol: usize) -> Move {
        self.moves[usize::from(state) * self.n_symbols + symbol]
    }
}

/// A step of the nondeterministic automaton.
#[derive(Clone, Debug)]
enum Step {
    /// Takes one of the symbols and goes on.
    Take(Symbols, usize),
    /// Goes on if the next symbol is one of these.
    Ahead(Symbols, usize),
    /// Tries each in turn.
    Split([usize; 2]),
    Match,
}

struct Ways {
    steps: Vec<Step>,
}

impl Ways {
    fn push(&mut self, step: Step) -> Option<usize> {
        self.steps.push(step);
        (self.steps.len() <= MAX_STEPS).then(|| self.steps.len() - 1)
    }

    /// The step that begins `node` and goes on to `then` after it.
    fn build(&mut self, node: &Node<Symbols>, then: usize) -> Option<usize> {
        match node {
            Node::Take(set) => self.push(Step::Take(*set, then)),
            Node::Ahead(set) => self.push(Step::Ahead(*set, then)),
            Node::Sequence(nodes) => {
                let mut then = then;
                for node in nodes.iter().rev() {
                    then = self.build(node, then)?;
                }
                Some(then)
            }
            Node::Either(nodes) => {
                let (last, rest) = nodes.split_last()?;
                let mut step = self.build(last, then)?;
                for node in rest.iter().rev() {
                    let first = self.build(node, then)?;
                    step = self.push(Step::Split([first, step]))?;
                }
                Some(step)
            }
            Node::Repeat {
                node,
                min,
                max,
                manner,
            } => {
                // Possessive repetition stops early only where it cannot go on.
                let stop = match (manner, node.single()) {
                    (Manner::Possessive, Some(set)) => self.push(Step::Ahead(!set, then))?,
                    (Manner::Possessive, None) => return None,
                    _ => then,
                };
                let order = |more, stop| match manner {
                    Manner::Lazy => [stop, more],
                    _ => [more, stop],
                };
                let mut step = then;
                if *max == usize::MAX {
                    step = self.push(Step::Match)?;
                    let more = self.build(node, step)?;
                    self.steps[step] = Step::Split(order(more, stop));
                } else {
                    for _ in *min..*max {
                        let more = self.build(node, step)?;
                        step = self.push(Step::Split(order(more, stop)))?;
                    }
                }
                for _ in 0..*min {
                    step = self.build(node, step)?;
                }
                Some(step)
            }
        }
    }

    /// From `list` on reading `symbol`: the list after it, and whether a match ends before it.
    fn read(&self, list: &[usize], symbol: Symbols, visited: &mut Visited) -> (Vec<usize>, bool) {
        visited.clear();
        let mut next = Vec::new();
        let mut stack: Vec<usize> = list.iter().rev().copied().collect();
        while let Some(step) = stack.pop() {
            // A step that has been tried before in a better place need not be tried again.
            if !visited.insert(step) {
                continue;
            }
            match self.steps[step] {
                Step::Take(set, then) if set & symbol != 0 && !next.contains(&then) => {
                    next.push(then);
                }
                Step::Ahead(set, then) if set & symbol != 0 => stack.push(then),
                Step::Split([first, second]) => stack.extend([second, first]),
                Step::Match => return (next, true),
                Step::Take(..) | Step::Ahead(..) => {}
            }
        }
        (next, false)
    }
}

/// Steps seen in the current round.
struct Visited {
    round: u32,
    last: Vec<u32>,
}

impl Visited {
    fn new(n: usize) -> Visited {
        Visited {
            round: 0,
            last: vec![0; n],
        }
    }

    fn clear(&mut self) {
        self.round += 1;
    }

    fn insert(&mut self, step: usize) -> bool {
        std::mem::replace(&mut self.last[step], self.round) != self.round
    }
}
