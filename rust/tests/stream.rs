//! Streams of text without spaces, of which ids come from inside pretokens, against the whole text.

#[path = "common/clock.rs"]
mod clock;
mod common;

use bytemill::encode::Encoder;
use bytemill::pretokenize::pattern::Named;
use bytemill::streaming::stream::Stream;
use bytemill::text::special::SpecialTokens;
use bytemill::train::count::CountOptions;
use bytemill::train::{TrainOptions, train};
use bytemill::vocabulary::ranks::Ranks;
use clock::processor_time;
use proptest::prelude::*;
use proptest::sample::{Index, select};
use std::sync::{Arc, LazyLock};
use std::time::Duration;

/// Beside the named ones: these are compiled, and nothing is known of their pretokens' insides.
const OTHERS: [&str; 2] = [r"\p{Han}{1,3}|\p{L}+|\P{L}", r"(?s).+"];

/// Some are the beginning of others, or might be part of a word.
const SPECIAL: [&str; 5] = ["<|end|>", "<|", "好A", "ab", "文中文"];

/// Letters of one to four bytes of each case and of none, marks, numbers, what stands between words.
#[rustfmt::skip]
const PIECES: &[&str] = &[
    "中", "文", "字", "好", "国", "中文", "文字", "你好", "中国", "世界", "，", "。", "々", "𠀀", "𠀁",
    "あ", "い", "アイ", "ー", "ｱ", "한", "국어", "ก", "ก\u{e31}", "क\u{94d}ष", "\u{1100}\u{1161}",
    "a", "b", "A", "B", "ab", "Ab", "aB", "é", "É", "ß", "ſ", "ʰ", "ª", "ǅ",
    "ế", "Ế", "ẞ", "ᾈ", "Ა", "ა", "Ａ", "ａ", "\u{212a}", "𐐀", "𐐨", "ᵃ",
    "'", "'s", "'S", "'ſ", "'ll", "'LL", "'l", "’s", "1", "23", "１", "Ⅷ", "三", "½",
    " ", "  ", "\n", "\r\n", "\t", "\u{a0}", "\u{3000}", "\u{85}", "\u{301}", "\u{20dd}", "\u{e31}",
    "👍", "👩\u{200d}👧", "\u{200b}", "!", "/", "//\n", "-", "<|end|>", "<|", "<", "文中文",
];

static ENCODERS: LazyLock<Vec<Arc<Encoder>>> = LazyLock::new(|| {
    // Words of two to six pieces, of which each half stands for itself now and then, too.
    let text = (0..40_000_u32)
        .map(|i| {
            PIECES[(i.wrapping_mul(2_654_435_761) >> 7) as usize
                % PIECES.len()
                % (7 + i as usize % 60)]
        })
        .collect::<String>()
        + &"丁Q,丁Q 丁ab".repeat(200);
    let encoder = |pattern: &str| {
        let counts = CountOptions::new("gpt2").and_then(|options| options.count_texts([&*text]));
        let merges = train(&counts.unwrap(), &TrainOptions::new(700)).unwrap();
        let tokens = merges.tokens().iter().map(|token| token.to_vec());
        let ranks = Ranks::new(tokens.zip(0..)).unwrap();
        let special = SPECIAL.iter().map(|t| (*t).to_owned()).zip(1000..);
        Arc::new(Encoder::new(ranks, special.collect(), pattern).unwrap())
    };
    let patterns = Named::ALL.map(Named::name).into_iter().chain(OTHERS);
    patterns.map(encoder).collect()
});

fn whole(encoder: &Encoder, allowed: &SpecialTokens, text: &str) -> Vec<u32> {
    let mut ids = Vec::new();
    encoder.encode(text, allowed, &mut ids).unwrap();
    ids
}

/// For words that change their case, between letters that no token joins, but some join them with others.
#[rustfmt::skip]
const CASES: &[&str] = &["a", "a", "b", "A", "A", "丙", "丁", "丙丁", "丙丁", "Q", "'s", " ", "<|", "ab"];

/// Some pieces make up a text: all of them or a few that come again and again.
fn text(max: usize) -> impl Strategy<Value = String> {
    let few = prop::collection::vec(select(PIECES), 1..6);
    let of = move |pieces: Vec<&'static str>| prop::collection::vec(select(pieces), 0..max);
    prop_oneof![
        of(PIECES.to_vec()).boxed(),
        of(CASES.to_vec()).boxed(),
        few.prop_flat_map(of).boxed()
    ]
    .prop_map(|pieces| pieces.concat())
}

fn allowed() -> impl Strategy<Value = SpecialTokens> {
    prop::sample::subsequence(SPECIAL.to_vec(), 0..=SPECIAL.len())
        .prop_map(|some| SpecialTokens::new(some).unwrap())
}

/// Streams `text` cut at `cuts`, and looks at each moment whether what has come out stands for the text
/// up to the position, in the whole text as well as if it ended there.
fn check(
    encoder: &Arc<Encoder>,
    allowed: &SpecialTokens,
    text: &str,
    cuts: &[usize],
) -> Result<(), TestCaseError> {
    let expected = whole(encoder, allowed, text);
    let mut stream = Stream::new(encoder.clone(), allowed.clone());
    let (mut ids, mut from) = (Vec::new(), 0);
    for &cut in cuts.iter().chain([&text.len()]) {
        stream.push(&text[from..cut], &mut ids).unwrap();
        from = cut;
        prop_assert_eq!(&ids[..], &expected[..ids.len()]);
        let done = &text[..stream.position() as usize];
        prop_assert_eq!(&ids, &whole(encoder, allowed, done), "{:?}", done);
    }
    stream.finish(&mut ids).unwrap();
    prop_assert_eq!(ids, expected);
    Ok(())
}

fn boundaries(text: &str) -> Vec<usize> {
    text.char_indices().map(|(i, _)| i).collect()
}

/// By itself what follows a word's beginning might go on where the word does not.
#[test]
fn words_of_o200k_that_change_their_case() {
    let specials = [&[][..], &["<|end|>"], &["<|end|>", "ab"]];
    for text in [
        "a丙丁Qb c",
        "a丙丁Ab",
        "a丙丁abA",
        "a丙丁abA<|end|>",
        "A丙丁Ab c",
        "x's丙丁Ab",
        "a丙丁'sAb",
    ] {
        for allowed in specials {
            let allowed = SpecialTokens::new(allowed).unwrap();
            let all = boundaries(text);
            check(&ENCODERS[2], &allowed, text, &[]).unwrap();
            check(&ENCODERS[2], &allowed, text, &all).unwrap();
            for &cut in &all {
                check(&ENCODERS[2], &allowed, text, &[cut]).unwrap();
            }
        }
    }
}

#[test]
fn all_cuts_of_short_texts() {
    common::run((text(7), allowed()), |(text, allowed)| {
        let all = boundaries(&text);
        for encoder in &*ENCODERS {
            check(encoder, &allowed, &text, &all)?;
            for (i, &first) in all.iter().enumerate() {
                for &second in &all[i..] {
                    check(encoder, &allowed, &text, &[first, second])?;
                }
            }
        }
        Ok(())
    });
}

/// Those of `places` that the indices choose, in order.
fn some_of(places: &[usize], chosen: &[Index]) -> Vec<usize> {
    let chosen = chosen
        .iter()
        .filter_map(|i| places.get(i.index(places.len() + 1)));
    let mut chosen: Vec<usize> = chosen.copied().collect();
    chosen.sort_unstable();
    chosen
}

#[test]
fn random_cuts_of_longer_texts() {
    let cuts = prop::collection::vec(any::<Index>(), 0..12);
    common::run((text(60), allowed(), cuts), |(text, allowed, cuts)| {
        let all = boundaries(&text);
        let cuts = some_of(&all, &cuts);
        for encoder in &*ENCODERS {
            check(encoder, &allowed, &text, &cuts)?;
            check(encoder, &allowed, &text, &all)?;
        }
        Ok(())
    });
}

/// Longer than what is worked on at a time.
#[test]
fn random_cuts_of_long_texts() {
    let cuts = prop::collection::vec(any::<Index>(), 0..6);
    let long = (text(40), text(300)).prop_map(|(a, b)| a + &b.repeat(40));
    common::run_few((long, allowed(), cuts), |(text, allowed, cuts)| {
        let cuts = some_of(&boundaries(&text), &cuts);
        for encoder in &*ENCODERS {
            check(encoder, &allowed, &text, &cuts)?;
        }
        Ok(())
    });
}

/// Text of which no pretoken ends.
fn endless(start: &str, n_chars: u32) -> String {
    let letters = (0..n_chars).map(|i| 0x4e00 + (i.wrapping_mul(2_654_435_761) >> 9) % 5000);
    let letters = letters.filter_map(char::from_u32);
    start.chars().chain(letters).collect()
}

#[test]
fn little_is_held_of_a_word_without_an_end() {
    for encoder in &ENCODERS[..4] {
        for start in ["", "a", "A", "Ab'S", "'s", "ა", "\u{301}", "1"] {
            let text = endless(start, 30_000);
            let mut stream = Stream::new(encoder.clone(), encoder.special().clone());
            let (mut ids, mut pushed) = (Vec::new(), 0);
            for c in text.chars() {
                stream.push(c.encode_utf8(&mut [0; 4]), &mut ids).unwrap();
                pushed += c.len_utf8() as u64;
                assert!(pushed - stream.position() < 100, "{start:?} {pushed}");
            }
            stream.finish(&mut ids).unwrap();
            assert_eq!(ids, whole(encoder, encoder.special(), &text));
        }
    }
}

/// Also where nothing can be given out: between these there may always be a token.
#[test]
fn time_is_linear() {
    let time = |encoder: &Arc<Encoder>, text: &str| {
        let run = || {
            let from = processor_time();
            let mut stream = Stream::new(encoder.clone(), encoder.special().clone());
            let mut ids = Vec::new();
            for c in text.chars() {
                stream.push(c.encode_utf8(&mut [0; 4]), &mut ids).unwrap();
            }
            stream.finish(&mut ids).unwrap();
            processor_time() - from
        };
        (0..5).map(|_| run()).min().unwrap_or(Duration::ZERO)
    };
    for encoder in &ENCODERS[..4] {
        for text in [
            endless("e", 40_000),
            "中文".repeat(20_000),
            "a".repeat(40_000),
            "aé".repeat(20_000),
        ] {
            let twice = format!("{text}{text}");
            let ratio = (0..5)
                .map(|_| time(encoder, &twice).as_secs_f64() / time(encoder, &text).as_secs_f64());
            let ratio = ratio.fold(f64::MAX, f64::min);
            assert!(ratio <= 2.3, "{ratio:.2} {}", &text[..9]);
        }
    }
}
