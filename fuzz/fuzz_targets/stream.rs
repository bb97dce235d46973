//! Text in pieces gives the ids of the whole, and bytes in pieces the text of the whole, cut anywhere.
#![no_main]

use bytemill::decode::text::{Invalid, TextDecoder};
use bytemill::streaming::stream::Stream;
use bytemill::text::special::SpecialTokens;
use bytemill_fuzz::{text, with_small};
use libfuzzer_sys::fuzz_target;
use std::sync::Arc;

/// Cuts `whole` into pieces whose lengths `lengths` gives, again and again.
fn cut<'a>(whole: &'a [u8], lengths: &[u8], may: impl Fn(usize) -> bool) -> Vec<&'a [u8]> {
    let mut pieces = Vec::new();
    let (mut from, mut i) = (0, 0);
    while from < whole.len() {
        // Mostly short pieces; an empty one now and then; never only empty ones.
        let length = usize::from(lengths.get(i % lengths.len().max(1)).copied().unwrap_or(1) % 24);
        i += 1;
        let length = if i % 64 == 0 { length + 1 } else { length };
        let mut to = (from + length).min(whole.len());
        while !may(to) {
            to += 1;
        }
        pieces.push(&whole[from..to]);
        from = to;
    }
    pieces
}

fn decode(bytes: &[u8], lengths: &[u8]) {
    let mut decoder = TextDecoder::new(Invalid::Replace);
    let mut found = String::new();
    for piece in cut(bytes, lengths, |_| true) {
        found += &decoder.push(piece).expect("nothing is refused");
    }
    found += &decoder.finish().expect("nothing is refused");
    assert_eq!(found, String::from_utf8_lossy(bytes));

    let mut decoder = TextDecoder::new(Invalid::Refuse);
    let pushed: Result<Vec<String>, _> = cut(bytes, lengths, |_| true)
        .into_iter()
        .map(|piece| decoder.push(piece))
        .collect();
    let found = pushed.and_then(|texts| Ok(texts.concat() + &decoder.finish()?));
    assert_eq!(found.ok().as_deref(), std::str::from_utf8(bytes).ok());
}

fuzz_target!(|data: &[u8]| {
    let [which, allowed, n_lengths, rest @ ..] = data else {
        return;
    };
    let (lengths, rest) = rest.split_at(usize::from(n_lengths % 16).min(rest.len()));
    decode(rest, lengths);
    let text = text(rest);
    with_small(*which, |small| {
        let tokens = SpecialTokens::new(small.chosen(*allowed).map(|(token, _)| token));
        let tokens = tokens.expect("special tokens");
        let mut expected = Vec::new();
        if small.encoder.encode(&text, &tokens, &mut expected).is_err() {
            return; // the regex backtracks too far
        }
        let mut stream = Stream::new(Arc::clone(&small.encoder), tokens);
        let mut ids = Vec::new();
        for piece in cut(text.as_bytes(), lengths, |at| text.is_char_boundary(at)) {
            let piece = std::str::from_utf8(piece).expect("cut between characters");
            stream.push(piece, &mut ids).expect("the whole encodes");
            // What has been given out is never taken back.
            assert!(expected.starts_with(&ids), "{text:?} {lengths:?}");
        }
        stream.finish(&mut ids).expect("the whole encodes");
        assert_eq!(ids, expected, "{text:?} {lengths:?}");
    });
});
