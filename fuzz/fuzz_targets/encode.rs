//! Encoding, with and without special tokens, against regex and naive merging; and back.
#![no_main]

use bytemill::text::special::SpecialTokens;
use bytemill_fuzz::{text, with_small};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    let [which, allowed, rest @ ..] = data else {
        return;
    };
    let text = text(rest);
    with_small(*which, |small| {
        let mut ids = Vec::new();
        if let Some(expected) = small.ordinary(&text) {
            small
                .encoder
                .encode_ordinary(&text, &mut ids)
                .expect("the regex alone has split it");
            assert_eq!(ids, expected, "{text:?}");
            let count = small.encoder.count_ordinary(&text);
            assert_eq!(count.ok(), Some(ids.len()), "{text:?}");
        }
        if let Some(expected) = small.with_special(&text, *allowed) {
            let tokens = SpecialTokens::new(small.chosen(*allowed).map(|(token, _)| token));
            let tokens = tokens.expect("special tokens");
            ids.clear();
            small
                .encoder
                .encode(&text, &tokens, &mut ids)
                .expect("the regex alone has split it");
            assert_eq!(ids, expected, "{text:?} {allowed:b}");
            let count = small.encoder.count(&text, &tokens);
            assert_eq!(count.ok(), Some(ids.len()), "{text:?} {allowed:b}");
            if which % 8 < 4 {
                let bytes = ids.iter().flat_map(|&id| {
                    let bytes = small.encoder.token_bytes(id);
                    bytes.expect("an id that encoding gave").to_vec()
                });
                assert_eq!(bytes.collect::<Vec<u8>>(), text.as_bytes());
            }
        }
    });
});
