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
/// Where a word has the token plus 1, in 22 bits.
const TOKEN: u32 = 9;
const TOKEN_MASK: u64 = ((1 << 22) - 1) << TOKEN;
/// Nothing is placed below: a node without children has base 0 and finds nothing there.
const FIRST: usize = 512;

/// See the module.
#[derive(Debug)]
pub struct Trie {
    /// Label in the low byte, [`TAKEN`], the token plus 1 in 22 bits, the base in the high half.
    nodes: Pages<u64>,
    root: u32,
}

/// A token among others in the order of their bytes.
#[derive(Clone, Copy)]
struct Token {
    /// Its first eight bytes, the first the highest, zeros if there are not so many.
    head: u64,
    number: u32,
    len: u32,
}

impl Token {
    fn new(bytes: &[u8], number: u32) -> Self {
        let head = match bytes.first_chunk() {
            Some(eight) => u64::from_be_bytes(*eight),
            None => {
                let word = bytes.iter().fold(0, |word, &b| word << 8 | u64::from(b));
                // There are no tokens without bytes; one would have a head of zeros.
                word.checked_shl(64 - 8 * bytes.len() as u32).unwrap_or(0)
            }
        };
        Self {
            head,
            number,
            len: bytes.len() as u32,
        }
    }
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
    /// The trie of tokens 0 to `n`, which is below 2**22 - 1; no two are alike. Calls `visit` with each token
    /// and the longest other one that it begins with.
    ///
    /// # Errors
    /// [`OutOfMemory`].
    pub fn new<'t>(
        n: usize,
        token: impl Fn(usize) -> &'t [u8],
        mut visit: impl FnMut(u32, u32),
    ) -> Result<Self, OutOfMemory> {
        let bytes = |token_: &Token| token(token_.number as usize);
        let tokens = (0..n as u32).map(|i| Token::new(token(i as usize), i));
        let mut sorted: Vec<Token> = memory::collect(tokens)?;
        // Eight bytes decide nearly always, and numbers are sorted faster than what asks for more.
        sorted.sort_unstable_by_key(|token| token.head);
        for alike in sorted.chunk_by_mut(|a, b| a.head == b.head) {
            alike.sort_unstable_by(|a, b| bytes(a).cmp(bytes(b)));
        }
        let mut builder = Builder::new(FIRST + 2 * n)?;
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
            let depth = node.depth;
            if node.from < node.to && sorted[node.from].len as usize == depth {
                let number = sorted[node.from].number;
                visit(number, node.shorter);
                builder.nodes[node.place] |= u64::from(number + 1) << TOKEN;
                node.shorter = number;
                node.from += 1;
            }
            if node.to - node.from == 1 {
                // Nothing branches off any more.
                let number = sorted[node.from].number;
                let mut place = node.place;
                for &byte in &token(number as usize)[depth..] {
                    let base = builder.place(&[(byte, 0, 1)], place)?;
                    builder.nodes[place] |= (base as u64) << 32;
                    place = base + usize::from(byte);
                }
                visit(number, node.shorter);
                builder.nodes[place] |= u64::from(number + 1) << TOKEN;
                continue;
            }
            children.clear();
            for (at, token) in (node.from..).zip(&sorted[node.from..node.to]) {
                let byte = match depth {
                    0..8 => (token.head << (8 * depth) >> 56) as u8,
                    _ => bytes(token)[depth],
                };
                match children.last_mut() {
                    Some(last) if last.0 == byte => last.2 = at + 1,
                    _ => memory::push(&mut children, (byte, at, at + 1))?,
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
                    depth: depth + 1,
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
            let token = node as u32 >> TOKEN;
            if token != 0 {
                (longest, len) = (token, i + 1);
            }
            base = (node >> 32) as u32;
        }
        (longest.wrapping_sub(1), len, seen)
    }

    /// Takes out a token that is in it: no text begins with it any more.
    pub fn remove(&mut self, token: &[u8]) {
        let (mut base, mut place) = (self.root, 0);
        for &byte in token {
            place = base as usize + usize::from(byte);
            base = (self.nodes[place] >> 32) as u32;
        }
        self.nodes[place] &= !TOKEN_MASK;
    }
}

/// Nodes, and which places are free, a bit for each. Beyond the ends of all of them there is nothing.
struct Builder {
    nodes: Vec<u64>,
    taken: Vec<u64>,
    bases: Vec<u64>,
    /// The place after the last one taken.
    end: usize,
}

/// The bits of the 64 places from `at` on.
#[inline(always)]
fn window(bits: &[u64], at: usize) -> u64 {
    let word = |i: usize| bits.get(i).copied().unwrap_or(0);
    let (low, high) = (word(at / 64), word(at / 64 + 1));
    // Twice, as a shift by 64 would be none.
    low >> (at % 64) | high << 1 << (63 - at % 64)
}

impl Builder {
    fn new(n_places: usize) -> Result<Self, OutOfMemory> {
        Ok(Self {
            nodes: memory::zeroed(n_places)?,
            taken: Vec::new(),
            bases: Vec::new(),
            end: FIRST,
        })
    }

    /// Takes places for children, in the first 64 places behind `near` if there is room, or else in the open; returns
    /// the base.
    fn place(
        &mut self,
        children: &[(u8, usize, usize)],
        near: usize,
    ) -> Result<usize, OutOfMemory> {
        let first = usize::from(children[0].0);
        // Where the first child would be.
        let mut at = near.max(FIRST) + 1;
        let mut in_the_open = false;
        let base = loop {
            let base = at - first;
            let mut wrong = window(&self.bases, base);
            for &(byte, ..) in children {
                wrong |= window(&self.taken, base + usize::from(byte));
            }
            if wrong != u64::MAX {
                break base + wrong.trailing_ones() as usize;
            }
            at += 64;
            if !in_the_open {
                at = at.max(self.end.saturating_sub(255));
                in_the_open = true;
            }
        };
        // The highest child's place, and what `longest` may look at.
        let n = base + 512;
        if n > self.nodes.len() {
            memory::resize(&mut self.nodes, 2 * n, 0)?;
        }
        if n / 64 >= self.taken.len() {
            memory::resize(&mut self.taken, n / 32 + 1, 0)?;
            memory::resize(&mut self.bases, n / 32 + 1, 0)?;
        }
        self.bases[base / 64] |= 1 << (base % 64);
        for &(byte, ..) in children {
            let place = base + usize::from(byte);
            self.nodes[place] = TAKEN | u64::from(byte);
            self.taken[place / 64] |= 1 << (place % 64);
            self.end = self.end.max(place + 1);
        }
        Ok(base)
    }
}
