//! Vocabularies as files hold them and as exports want them, and those with tokens across words.

use crate::check;
use crate::encoding::{Shared, encode};
use crate::sample::Sample;
use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use bytemill::encode::Encoder;
use bytemill::naive;
use bytemill::pretokenize::RegexSplitter;
use bytemill::pretokenize::pattern::Named;
use bytemill::pretokenize::spans::regex_of;
use bytemill::superwords;
use bytemill::train::TrainOptions;
use bytemill::train::count::CountOptions;
use bytemill::vocabulary::ranks::Ranks;
use bytemill::vocabulary::tokenizer_json::Model;
use bytemill::vocabulary::{Vocabulary, listing};
use serde_json::Value;
use std::sync::Arc;

type Tokens = Vec<(Vec<u8>, u32)>;

/// Bytes, and all rows of two and three lowercase letters.
fn many() -> Tokens {
    let letters = || b'a'..=b'z';
    let two = letters().flat_map(|a| letters().map(move |b| vec![a, b]));
    let with = |two: Vec<u8>| letters().map(move |c| [&two[..], &[c]].concat());
    let three = two.clone().flat_map(with);
    let bytes = (0..=255u8).map(|b| vec![b]);
    bytes.chain(two).chain(three).zip(0..).collect()
}

pub fn listings() {
    let many = many();
    let ranks = || Ranks::new(many.iter().cloned()).expect("ranks");
    let mut file = String::new();
    for (token, id) in &many {
        file += &format!("{} {id}\n", BASE64_STANDARD.encode(token));
    }
    let read = |_: &mut ()| Ok(listing::read(file.as_bytes())?);
    check(
        "listing::read",
        || (),
        read,
        |found| {
            let sorted = found.as_ref().map(|ranks| ranks.sorted().expect("memory"));
            let as_given = |(token, id): (&[u8], u32)| (token.to_vec(), id);
            sorted.is_some_and(|all| all.into_iter().map(as_given).eq(many.iter().cloned()))
        },
    );
    let listed = many.iter().flat_map(|(token, id)| {
        let head = format!("{id} {}\n", token.len());
        [head.as_bytes(), token].concat()
    });
    let listed: Vec<u8> = listed.collect();
    let write = |ranks: &mut Ranks| Ok(ranks.listing()?);
    check("Ranks::listing", ranks, write, |found| *found == listed);
    let sort = |ranks: &mut Ranks| Ok(ranks.sorted()?.len());
    check("Ranks::sorted", ranks, sort, |n| *n == many.len());
}

/// The two that a token of [`many`] is merged from: the pair of lower rank is merged first.
fn parts(token: &[u8]) -> (&[u8], &[u8]) {
    match token {
        [a, b, c] if [a, b] > [b, c] => token.split_at(1),
        _ => token.split_at(token.len() - 1),
    }
}

pub fn splits() {
    let many = many();
    let ranks = || Ranks::new(many.iter().cloned()).expect("ranks");
    let all = ranks();
    let id = |token: &[u8]| all.get(token).expect("a token");
    let split = |(token, _): &(Vec<u8>, u32)| {
        let (left, right) = parts(token);
        Some((id(left), id(right)))
    };
    let expected: Vec<_> = many[256..].iter().map(split).collect();
    let vocabulary = || Vocabulary::new(ranks()).expect("a vocabulary");
    let splits = |vocabulary: &mut Vocabulary| Ok(vocabulary.splits()?);
    check("Vocabulary::splits", vocabulary, splits, |found| {
        found.as_ref() == Some(&expected)
    });
}

pub fn tokenizer_json() {
    let many = many();
    // The printable characters of ASCII and Latin-1 stand for themselves, those from U+0100 on for the others.
    let mut others = '\u{100}'..;
    let alphabet = (0..=255u8).map(|byte| match byte {
        b'!'..=b'~' | 0xa1..=0xac | 0xae.. => char::from(byte),
        _ => others.next().expect("a character"),
    });
    let alphabet: Vec<char> = alphabet.collect();
    let written = |token: &[u8]| {
        let text: String = token.iter().map(|&b| alphabet[usize::from(b)]).collect();
        Value::from(text).to_string()
    };
    let entries = many
        .iter()
        .map(|(token, id)| format!("{}:{id}", written(token)));
    let pairs = many[256..].iter().map(|(token, _)| {
        let (left, right) = parts(token);
        format!("[{},{}]", written(left), written(right))
    });
    let entries = entries.collect::<Vec<_>>().join(",");
    let pairs = pairs.collect::<Vec<_>>().join(",");
    let file = format!(r#"{{"model":{{"vocab":{{{entries}}},"merges":[{pairs}]}}}}"#);
    let read = |_: &mut ()| {
        let model = Model::read(file.as_bytes())?.expect("a file as it usually is");
        let found = model.ranks(&[], false)?.expect("merges that the ids say");
        Ok((model, found))
    };
    check(
        "tokenizer_json",
        || (),
        read,
        |(model, (ranks, _))| {
            let sorted = ranks.sorted().expect("memory").into_iter();
            let as_given = |(token, id): (&[u8], u32)| (token.to_vec(), id);
            sorted.map(as_given).eq(many.iter().cloned())
                && model.rest() == br#"{"model":{"vocab":{},"merges":[]}}"#
        },
    );
}

/// Ids that do not follow the merges.
pub fn ordered(sample: &Sample) {
    let highest = sample.tokens.len() as u32 - 1;
    let text = &sample.text[..3000];
    let ids: Vec<u32> = sample
        .naive_ids("gpt2", text)
        .iter()
        .map(|id| highest - id)
        .collect();
    let tokens = || -> Tokens {
        let tokens = sample.tokens.iter();
        let tokens = tokens.map(|(token, id)| (token.clone(), highest - id));
        tokens.collect()
    };
    // Twice, as they are given away.
    let copies = || vec![tokens(), tokens()];
    let make = |copies: &mut Vec<Tokens>| {
        let ranks = Ranks::ordered(copies.pop().expect("tokens"), sample.tokens.len())?;
        let vocabulary = Vocabulary::with(ranks, false)?;
        let encoder = Encoder::with(vocabulary, Vec::new(), "gpt2", None)?;
        let mut ids = Vec::new();
        encoder.encode(text, encoder.special(), &mut ids)?;
        Ok(ids)
    };
    check("Ranks::ordered", copies, make, |found| *found == ids);
}

/// Tokens across words: making an encoder of them, and encoding lines of eight words and one long line.
pub fn across_words(sample: &Sample) {
    let pattern = regex_of(Named::Gpt2).expect("spans");
    let mut text = String::new();
    for (i, word) in sample.text.split_inclusive(' ').enumerate() {
        text += word;
        if i % 8 == 7 {
            text.push('\n');
        }
    }
    let options = CountOptions::new(pattern).expect("a pattern");
    let counts = options.count_texts([&*text]).expect("counts");
    let options = TrainOptions::new(1500);
    let merges = superwords::train(&counts, "gpt2", 900, &options, &mut |_, _| Ok(()));
    let merges = merges.expect("merges");
    let tokens = || merges.tokens().iter().map(|token| token.to_vec()).zip(0..);
    let ranks = Ranks::new(tokens()).expect("ranks");
    let fresh = || -> Shared {
        let ranks = Ranks::new(tokens()).expect("ranks");
        Arc::new(Encoder::new(ranks, Vec::new(), pattern).expect("an encoder"))
    };
    let mut ids = Vec::new();
    let spans = RegexSplitter::new(pattern).expect("a pattern");
    let split = spans.split(&text, &mut |start, end| {
        ids.extend(naive::encode_pretoken(&ranks, &text.as_bytes()[start..end]));
    });
    split.expect("the regex does not give up");
    let is_right = |found: &Vec<u32>| *found == ids;
    check("encode: across words", fresh, encode(&text), is_right);
    // One span.
    let letters = sample.text.replace(|c: char| c.is_ascii_digit(), "");
    let words: Vec<&str> = letters.split_whitespace().collect();
    let (long, mut ids) = (words.join(" "), Vec::new());
    let by_definition = ranks.encode_pretoken(long.as_bytes(), &mut ids);
    by_definition.expect("memory");
    let is_right = |found: &Vec<u32>| *found == ids;
    check("encode: a long span", fresh, encode(&long), is_right);
    let make = |_: &mut ()| {
        let encoder = Encoder::new(Ranks::new(tokens())?, Vec::new(), pattern)?;
        encoder.count_ordinary("new the")
    };
    let n = naive::encode_pretoken(&ranks, b"new the").len();
    let name = "Encoder: new, across words";
    check(name, || (), make, |found| *found == n);
}
