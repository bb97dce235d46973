//! What a tokenizer.json asks for beyond ranks and a pattern.

use crate::check;
use crate::encoding::{Shared, encode};
use crate::sample::Sample;
use bytemill::encode::Encoder;
use bytemill::encode::front::{Added, FrontOptions};
use bytemill::error::Result;
use bytemill::normalize::forms::Form;
use bytemill::normalize::{Normalizer, Step};
use bytemill::pretokenize::pattern::Named;
use bytemill::streaming::offsets::encode_with_spans;
use bytemill::streaming::stream::Stream;
use bytemill::text::added::Manner;
use bytemill::vocabulary::Vocabulary;
use bytemill::vocabulary::ranks::Ranks;
use std::sync::Arc;

type Tokens = Vec<(Vec<u8>, u32)>;

const TOKEN: &str = "<|x|>";

/// A new encoder with the sample's tokens and those that are added.
fn encoder(sample: &Sample, front: &FrontOptions) -> Shared {
    let ranks = Ranks::new(sample.tokens.iter().cloned()).expect("ranks");
    let vocabulary = Vocabulary::new(ranks).expect("a vocabulary");
    let special = front.added.iter().map(|added| added.content.clone());
    let special = special.zip(sample.tokens.len() as u32..).collect();
    let encoder = Encoder::with(vocabulary, special, "gpt2", Some(front.clone()));
    Arc::new(encoder.expect("an encoder"))
}

/// Checks the encoding of `text`, with and without spans.
fn check_front(name: &str, sample: &Sample, front: &FrontOptions, text: &str, expected: &[u32]) {
    let fresh = || encoder(sample, front);
    let is_right = |ids: &Vec<u32>| ids == expected;
    check(&format!("encode: {name}"), fresh, encode(text), is_right);
    let spans = |encoder: &mut Shared| encode_with_spans(encoder, text, encoder.special());
    let all = spans(&mut fresh()).expect("memory");
    assert_eq!(all.0, expected, "{name}");
    check(&format!("spans: {name}"), fresh, spans, |found| {
        *found == all
    });
}

/// What is done to text before it is cut into pretokens; `normalizing` has each step by itself.
pub fn fronts(sample: &Sample) {
    let text = &*sample.text;
    let front = FrontOptions {
        normalizer: Normalizer::new(vec![
            Step::Form(Form::Nfc),
            Step::ReplaceText("é".to_owned(), "e".to_owned()),
        ]),
        ..FrontOptions::default()
    };
    let given = text.replace('e', "e\u{301}");
    check_front("a normalizer", sample, &front, &given, &sample.ids);
    let front = FrontOptions {
        prefix_space: true,
        ..FrontOptions::default()
    };
    let expected = sample.naive_ids("gpt2", &format!(" {text}"));
    check_front("a space put before", sample, &front, text, &expected);
}

pub fn added(sample: &Sample) {
    let (one, other) = sample.text.split_at(sample.text.len() / 2);
    let added = Added {
        content: TOKEN.to_owned(),
        special: true,
        normalized: false,
        manner: Manner {
            lstrip: true,
            ..Manner::default()
        },
    };
    let front = FrontOptions {
        normalizer: Normalizer::new(vec![Step::Form(Form::Nfc)]),
        added: vec![added],
        passes: true,
        ..FrontOptions::default()
    };
    let text = format!("{one}  {TOKEN}{other}");
    let mut expected = sample.naive_ids("gpt2", one.trim_end());
    expected.push(sample.tokens.len() as u32);
    expected.extend(sample.naive_ids("gpt2", other));
    check_front("added tokens", sample, &front, &text, &expected);
    // A stream has to hold all of the text back.
    type State<'a> = (Stream, Vec<u32>, Vec<&'a str>);
    let fresh = || -> State<'_> {
        let encoder = encoder(sample, &front);
        let special = encoder.special().clone();
        let pieces = text.as_bytes().chunks(10_000).rev();
        let pieces = pieces.map(|piece| std::str::from_utf8(piece).expect("ASCII"));
        (Stream::new(encoder, special), Vec::new(), pieces.collect())
    };
    let call = |(stream, ids, pieces): &mut State<'_>| {
        while let Some(piece) = pieces.last() {
            stream.push(piece, ids)?;
            pieces.pop();
        }
        stream.finish(ids)?;
        Ok(std::mem::take(ids))
    };
    check("Stream: added tokens", fresh, call, |ids| *ids == expected);
}

/// Several splits, each of what the one before leaves.
pub fn splits(sample: &Sample) {
    let bytes = r#"{"splits":[{"pattern":"\\s+(?=\\S)|[^ ]+","behavior":"Contiguous"},
        {"pattern":"Ġ?[^Ġ]+|Ġ+","behavior":"Isolated","covers":true,"bytes":true}]}"#;
    for (name, pattern, same) in [
        ("of bytes", bytes, r" ?[^ ]+| +"),
        (
            "of DeepSeek",
            Named::DeepSeek.regex(),
            r"\p{N}{1,3}| ?\p{L}+|\s+",
        ),
    ] {
        let expected = sample.naive_ids(same, &sample.text);
        let fresh = || sample.encoder(pattern);
        let name = format!("encode: splits {name}");
        check(&name, fresh, encode(&sample.text), |ids| *ids == expected);
    }
}

/// Merging that begins with characters: each of 16,000 ideographs is a token, and every other one is merged with the
/// one after it.
pub fn characters() {
    let ideograph = |i: u32| String::from(char::from_u32(0x4e00 + i).expect("an ideograph"));
    let n = 16_000;
    let bytes = (0..=255u8).map(|b| vec![b]);
    let chars = (0..n).map(|i| ideograph(i).into_bytes());
    let pairs = (0..n / 2).map(|i| (ideograph(2 * i) + &ideograph(2 * i + 1)).into_bytes());
    let tokens: Tokens = bytes.chain(chars).chain(pairs).zip(0..).collect();
    let n_tokens = tokens.len();
    let of = |i: u32| 256 + i;
    // Two that merge, one that does not, and one that is not a token: its bytes.
    let (mut text, mut expected) = (String::new(), Vec::new());
    for i in 0..10_000 {
        let first = i * 7_919 % (n / 2) * 2;
        text += &ideograph(first);
        text += &ideograph(first + 1);
        text += &ideograph(first + 1);
        text += "é ";
        expected.extend([of(n + first / 2), of(first + 1), 0xc3, 0xa9, 0x20]);
    }
    let make = |tokens| -> Result<Shared> {
        let ranks = Ranks::of_characters(tokens, n_tokens)?;
        let vocabulary = Vocabulary::with(ranks, false)?;
        let encoder = Encoder::with(vocabulary, Vec::new(), "gpt2", None)?;
        Ok(Arc::new(encoder))
    };
    // Twice, as they are given away.
    let copies = || vec![tokens.clone(), tokens.clone()];
    let load = |copies: &mut Vec<Tokens>| {
        let mut encoder = make(copies.pop().expect("tokens"))?;
        encode(&text[..11])(&mut encoder)
    };
    let is_right = |ids: &Vec<u32>| *ids == expected[..4];
    check("Ranks::of_characters", copies, load, is_right);
    let fresh = || make(tokens.clone()).expect("an encoder");
    let is_right = |ids: &Vec<u32>| *ids == expected;
    check("encode: of characters", fresh, encode(&text), is_right);
}
