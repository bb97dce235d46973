//! A text, a vocabulary of it, and what the naive versions make of them.

use bytemill::encode::Encoder;
use bytemill::naive;
use bytemill::pretokenize::RegexSplitter;
use bytemill::pretokenize::pattern::pat_str;
use bytemill::train::count::CountOptions;
use bytemill::train::{TrainOptions, train};
use bytemill::vocabulary::ranks::Ranks;
use std::cell::RefCell;
use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

/// Bytes of a piece of the text.
pub const PIECE: usize = 10_000;

/// Has neither a scanner nor tables.
pub const REGEX: &str = r"(?=.)\S+|\s+";

/// See the module.
pub struct Sample {
    /// ASCII, words of which many come once.
    pub text: String,
    pub tokens: Vec<(Vec<u8>, u32)>,
    /// Of the text, with the pattern gpt2.
    pub ids: Vec<u32>,
    ranks: Ranks,
    known: RefCell<HashMap<Vec<u8>, Vec<u32>>>,
    /// By pattern; to compile one takes longer than most texts do.
    regexes: RefCell<HashMap<String, RegexSplitter>>,
}

impl Sample {
    pub fn new() -> Self {
        let syllables = [
            "the", "ing", "er", "lo", "new", "est", "wi", "ka", "to", "ri", "sha", "mu", "e", "42",
        ];
        let mut state = 1u64;
        let mut below = |n: usize| {
            state = state
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1);
            (state >> 33) as usize % n
        };
        let mut text = String::new();
        for _ in 0..15_000 {
            for _ in 0..=below(4) {
                text += syllables[below(syllables.len())];
            }
            text.push(' ');
        }
        let options = CountOptions::new("gpt2").expect("a pattern");
        let counts = options.count_texts([&*text]).expect("counts");
        let merges = train(&counts, &TrainOptions::new(4500)).expect("merges");
        let tokens: Vec<_> = merges
            .tokens()
            .iter()
            .map(|t| t.to_vec())
            .zip(0..)
            .collect();
        let mut sample = Self {
            text,
            ids: Vec::new(),
            ranks: Ranks::new(tokens.iter().cloned()).expect("ranks"),
            tokens,
            known: RefCell::default(),
            regexes: RefCell::default(),
        };
        sample.ids = sample.naive_ids("gpt2", &sample.text);
        sample
    }

    /// A new encoder, with nothing in its caches.
    pub fn encoder(&self, pattern: &str) -> Arc<Encoder> {
        let ranks = Ranks::new(self.tokens.iter().cloned()).expect("ranks");
        Arc::new(Encoder::new(ranks, Vec::new(), pattern).expect("an encoder"))
    }

    /// One with a token that is merged from tokens of higher rank.
    pub fn unordered() -> Arc<Encoder> {
        let bytes = (0..=255u8).map(|b| vec![b]);
        let tokens = bytes.chain([b"abab".to_vec(), b"ab".to_vec()]);
        let ranks = Ranks::new(tokens.zip(0..)).expect("ranks");
        Arc::new(Encoder::new(ranks, Vec::new(), "gpt2").expect("an encoder"))
    }

    /// The text in pieces.
    pub fn pieces(&self) -> impl Iterator<Item = &str> {
        assert!(self.text.is_ascii());
        let n = self.text.len().div_ceil(PIECE);
        (0..n).map(|i| &self.text[i * PIECE..self.text.len().min((i + 1) * PIECE)])
    }

    /// The ids of a text by the regex engine and the definition.
    pub fn naive_ids(&self, pattern: &str, text: &str) -> Vec<u32> {
        let mut ids = Vec::new();
        let mut known = self.known.borrow_mut();
        let mut regexes = self.regexes.borrow_mut();
        let compile = || RegexSplitter::new(pat_str(pattern)).expect("a pattern");
        let regex = regexes.entry(pattern.to_owned()).or_insert_with(compile);
        let split = regex.split(text, &mut |start, end| {
            let pretoken = &text.as_bytes()[start..end];
            let new = || naive::encode_pretoken(&self.ranks, pretoken);
            ids.extend(known.entry(pretoken.to_vec()).or_insert_with(new).iter());
        });
        split.expect("the regex does not give up");
        ids
    }

    /// How often each pretoken comes in the text, with the pattern gpt2.
    pub fn word_counts(&self) -> BTreeMap<Vec<u8>, u64> {
        let mut counts = BTreeMap::new();
        let regex = RegexSplitter::new(pat_str("gpt2")).expect("a pattern");
        let split = regex.split(&self.text, &mut |start, end| {
            let pretoken = self.text.as_bytes()[start..end].to_vec();
            *counts.entry(pretoken).or_default() += 1;
        });
        split.expect("the regex does not give up");
        counts
    }
}
