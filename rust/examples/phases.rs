//! Trains and encodes in one thread and stops after a given phase, for counting instructions.
//!
//! ```sh
//! cargo run --release --example phases -- TEXT VOCAB_SIZE PHASE
//! ```
//!
//! TEXT is a file (documents separated by `<|endoftext|>`) or `generated:BYTES`, a text that is the
//! same everywhere. PHASE is `text` (read or generate it), `count` (then count its pretokens),
//! `train` (then learn merges), `load` (then make an encoder of them), `encode` (then encode the text's
//! documents with it, each by itself) or `again` (then encode them once more, with warm caches). One JSON
//! line says what was done. The cost of a phase is the difference between a run that ends with it and
//! a run that ends before it: `benchmarks/instructions.py` takes that difference.

use bytemill::encode::Encoder;
use bytemill::text::special::SpecialTokens;
use bytemill::train::count::CountOptions;
use bytemill::train::{Merges, TrainOptions, train};
use bytemill::vocabulary::ranks::Ranks;
use std::hint::black_box;
use std::process::ExitCode;

type Result<T, E = bytemill::error::Error> = std::result::Result<T, E>;

const SEPARATOR: &str = "<|endoftext|>";

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    match run(&arguments) {
        Ok(line) => {
            println!("{line}");
            // Without unwinding: freeing the text and the counts would be counted too.
            std::process::exit(0)
        }
        Err(message) => {
            eprintln!("{message}");
            ExitCode::FAILURE
        }
    }
}

fn run(arguments: &[String]) -> Result<String, String> {
    let [source, vocab_size, phase] = arguments else {
        return Err("usage: phases FILE|generated:BYTES VOCAB_SIZE PHASE".to_owned());
    };
    let vocab_size: usize = vocab_size.parse().map_err(|e| format!("VOCAB_SIZE: {e}"))?;
    let phases = ["text", "count", "train", "load", "encode", "again"];
    let last = phases.iter().position(|p| p == phase);
    let last = last.ok_or_else(|| format!("PHASE is {phase:?}, not one of {phases:?}"))?;
    let text = match source.strip_prefix("generated:") {
        Some(bytes) => generate(bytes.parse().map_err(|e| format!("BYTES: {e}"))?),
        None => std::fs::read_to_string(source).map_err(|e| format!("{source}: {e}"))?,
    };
    let mut line = format!("{{\"bytes\": {}", text.len());
    if last >= 1 {
        let mut options = CountOptions::new("gpt2").map_err(|e| e.to_string())?;
        options.special = SpecialTokens::new([SEPARATOR]).map_err(|e| e.to_string())?;
        options.num_threads = Some(1);
        let counts = options
            .count_texts([&text[..]])
            .map_err(|e| e.to_string())?;
        if last >= 2 {
            let mut options = TrainOptions::new(vocab_size);
            options.num_threads = Some(1);
            let merges = train(&counts, &options).map_err(|e| e.to_string())?;
            line += &format!(", \"merges\": {}", merges.pairs().len());
            if last >= 3 {
                let n_passes = last - 3;
                let n_ids = encode(&merges, &text, n_passes).map_err(|e| e.to_string())?;
                line += &format!(", \"ids\": {n_ids}");
            }
            std::mem::forget(black_box(merges));
        }
        std::mem::forget(black_box(counts));
    }
    std::mem::forget(black_box(text));
    Ok(line + "}")
}

/// Makes an encoder and encodes `text` a number of times; returns how many ids that gives in all.
fn encode(merges: &Merges, text: &str, n_passes: usize) -> Result<usize> {
    let tokens = merges.tokens().iter().map(|token| token.to_vec());
    let encoder = Encoder::new(Ranks::new(tokens.zip(0..))?, Vec::new(), "gpt2")?;
    let mut n_ids = 0;
    for _ in 0..n_passes {
        let mut session = encoder.session();
        let mut ids = Vec::new();
        for document in text.split(SEPARATOR) {
            session.encode_ordinary(document, &mut ids)?;
        }
        n_ids += black_box(&ids).len();
        std::mem::forget(ids);
    }
    std::mem::forget(black_box(encoder));
    Ok(n_ids)
}

/// SplitMix64: the same numbers on every machine.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    fn below(&mut self, n: usize) -> usize {
        (self.next() % n as u64) as usize
    }
}

/// Numbers below `n`, number k drawn 1 / (k + 1) as often as number 0 (Zipf's law).
struct Zipf(Vec<u64>);

impl Zipf {
    fn new(n: usize) -> Self {
        let mut sum = 0;
        Self(
            (1..=n as u64)
                .map(|rank| {
                    sum += (1 << 32) / rank;
                    sum
                })
                .collect(),
        )
    }

    fn draw(&self, random: &mut Random) -> usize {
        let total = *self.0.last().expect("n > 0");
        let at = random.next() % total;
        self.0.partition_point(|&sum| sum <= at)
    }
}

/// At least `n_bytes` of documents of made-up words, numbers, punctuation, indented lines and, in one
/// document of eight, unspaced runs of ideographs.
fn generate(n_bytes: usize) -> String {
    const SYLLABLES: [&str; 24] = [
        "ta", "re", "in", "ol", "st", "e", "a", "ver", "mi", "con", "de", "ly", "th", "ing", "er",
        "qu", "pro", "un", "ka", "é", "ss", "o", "ment", "ž",
    ];
    const MARKS: [&str; 8] = [", ", ". ", "; ", ".\n", "\n\n", " (", ") ", "->"];
    let mut random = Random(2024);
    let words: Vec<String> = (0..30_000)
        .map(|_| {
            let n = 1 + random.below(4);
            (0..n)
                .map(|_| SYLLABLES[random.below(SYLLABLES.len())])
                .collect()
        })
        .collect();
    let word_law = Zipf::new(words.len());
    let ideograph_law = Zipf::new(3_000);
    let mut text = String::with_capacity(n_bytes + (64 << 10));
    let mut document = 0;
    while text.len() < n_bytes {
        let end = text.len() + 2_000 + random.below(20_000);
        while text.len() < end {
            if document % 8 == 7 {
                for _ in 0..5 + random.below(40) {
                    let ideograph = 0x4e00 + ideograph_law.draw(&mut random) as u32;
                    text.push(char::from_u32(ideograph).expect("an ideograph"));
                }
                text.push('。');
                continue;
            }
            text.push_str(&words[word_law.draw(&mut random)]);
            match random.below(32) {
                0 => text.push_str(&format!(" {} ", random.below(5_000))),
                1 => text.push_str(&format!("\n{:1$}", "", 4 * random.below(5))),
                2..=5 => text.push_str(MARKS[random.below(MARKS.len())]),
                _ => text.push(' '),
            }
        }
        text.push_str(SEPARATOR);
        document += 1;
    }
    text
}
