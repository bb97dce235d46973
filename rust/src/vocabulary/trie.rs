//! The tokens as a double-array trie: the longest token that a text begins with, in one array of
//! words.
//!
//! A node is a place in the array; its child by a byte is at the node's base plus that byte, if
//! the word there has that byte for its label. No two nodes have the same base, so a label cannot be
//! another node's. Nodes are placed from the top down, branch by branch, each as near to its parent
//! as there is room: the last bytes of a rare word, which come from main memory, often come together.

use crate::error::OutOfMemory;
use crate::system::memory;
use crate::system::pages::Pages;
use crate::vocabulary::pair_map::NONE;

const TAKEN: u64 = 1 << 8;
/// Nothing is placed below: a node without children has base 0 and finds nothing there.
const FIRST: usize = 512;
/// How many places near the parent are tried before one in the open.
const TRIES: usize = 64;

/// See the module.
#[derive(Debug)]
pub struct Trie {
    /// Label in the low byte, [`TAKEN`], the token plus 1 in 22 bits, the base in the high half.
    nodes: Pages<u64>,
    root: u32,
}

struct Builder {
    nodes: Vec<u64>,
    bases: Vec<bool>,
    /// The place after the last one taken.
    end: usize,
}

/// A node to be given its children: it stands for `sorted[from..to]`, which agree in `depth` bytes.
struct Open {
    from: usize,
    to: usize,
    depth: usize,
    place: usize,
    /// The longest token on the way here.
    shorter: u32,
}

impl Trie {
    /// The trie of tokens, given with their numbers, which are below 2**22 - 1, and no two alike. Calls
    /// `visit` with each token's number and that of the longest other token that it begins with.
    ///
    /// # Errors
    /// [`OutOfMemory`].
    pub fn new(
        tokens: &[(&[u8], u32)],
        mut visit: impl FnMut(u32, u32),
    ) -> Result<Self, OutOfMemory> {
        // Comparing eight bytes at once decides nearly always.
        let head = |token: &[u8]| {
            let mut word = [0; 8];
            let n = token.len().min(8);
            word[..n].copy_from_slice(&token[..n]);
            u64::from_be_bytes(word)
        };
        let heads = tokens.iter().map(|&(t, number)| (head(t), t, number));
        let mut sorted: Vec<(u64, &[u8], u32)> = memory::collect(heads)?;
        sorted.sort_unstable();
        let mut builder = Builder {
            nodes: memory::zeroed(FIRST + 2 * sorted.len())?,
            bases: Vec::new(),
            end: FIRST,
        };
        // The root's own word is never looked up; only its base matters.
        let root_place = FIRST - 1;
        let mut open = vec![Open {
            from: 0,
            to: sorted.len(),
            depth: 0,
            place: root_place,
            shorter: NONE,
        }];
        let mut children: Vec<(u8, usize, usize)> = Vec::new();
        while let Some(mut node) = open.pop() {
            if node.from < node.to && sorted[node.from].1.len() == node.depth {
                let number = sorted[node.from].2;
                visit(number, node.shorter);
                builder.nodes[node.place] |= u64::from(number + 1) << 9;
                node.shorter = number;
                node.from += 1;
            }
            children.clear();
            for (i, (_, token, _)) in sorted[node.from..node.to].iter().enumerate() {
                let at = node.from + i;
                match children.last_mut() {
                    Some(last) if last.0 == token[node.depth] => last.2 = at + 1,
                    _ => memory::push(&mut children, (token[node.depth], at, at + 1))?,
                }
            }
            if children.is_empty() {
                continue;
            }
            let base = builder.place(&children, node.place)?;
            builder.nodes[node.place] |= (base as u64) << 32;
            for &(byte, from, to) in children.iter().rev() {
                let next = Open {
                    from,
                    to,
                    depth: node.depth + 1,
                    place: base + usize::from(byte),
                    shorter: node.shorter,
                };
                memory::push(&mut open, next)?;
            }
        }
        let root = (builder.nodes[root_place] >> 32) as u32;
        builder.nodes.truncate(builder.end);
        memory::resize(&mut builder.nodes, builder.end + 256, 0)?;
        Ok(Self {
            nodes: Pages::copied(&builder.nodes)?,
            root,
        })
    }

    /// The longest token that `text` begins with, or [`NONE`], its length, and how many bytes were
    /// asked for: whatever else begins with as many of the same gives the same.
    #[inline(always)]
    pub fn longest(&self, text: &[u8]) -> (u32, usize, usize) {
        // 0 for none, else the token plus 1.
        let mut longest = 0;
        let mut len = 0;
        let mut base = self.root;
        let mut seen = text.len() + 1;
        for (i, &byte) in text.iter().enumerate() {
            let node = self.nodes[base as usize + usize::from(byte)];
            if node as u32 & 0x1ff != TAKEN as u32 | u32::from(byte) {
                seen = i + 1;
                break;
            }
            let token = node as u32 >> 9;
            if token != 0 {
                (longest, len) = (token, i + 1);
            }
            base = (node >> 32) as u32;
        }
        (longest.wrapping_sub(1), len, seen)
    }
}

impl Builder {
    /// Takes places for children, near `near` if there is room; returns the base.
    fn place(
        &mut self,
        children: &[(u8, usize, usize)],
        near: usize,
    ) -> Result<usize, OutOfMemory> {
        let first = usize::from(children[0].0);
        let mut at = near.max(FIRST);
        let mut tries = 0;
        let base = loop {
            at += 1;
            if at + 512 > self.nodes.len() {
                memory::resize(&mut self.nodes, 2 * at + 1024, 0)?;
            }
            if self.nodes[at] & TAKEN == 0 {
                let base = at - first;
                let free = |byte: u8| self.nodes[base + usize::from(byte)] & TAKEN == 0;
                let unused = !self.bases.get(base).is_some_and(|&used| used);
                if unused && base >= FIRST - 255 && children.iter().all(|c| free(c.0)) {
                    break base;
                }
            }
            tries += 1;
            if tries == TRIES {
                at = at.max(self.end.saturating_sub(256));
            }
        };
        if base >= self.bases.len() {
            memory::resize(&mut self.bases, 2 * base + 1024, false)?;
        }
        self.bases[base] = true;
        for &(byte, ..) in children {
            let place = base + usize::from(byte);
            self.nodes[place] = TAKEN | u64::from(byte);
            self.end = self.end.max(place + 1);
        }
        Ok(base)
    }
}
