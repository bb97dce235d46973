//! Any ids: those of the vocabulary give its bytes, others none.
#![no_main]

use bytemill_fuzz::with_small;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    let Some((&which, rest)) = data.split_first() else {
        return;
    };
    with_small(which, |small| {
        let encoder = &small.encoder;
        for id in rest.chunks_exact(2) {
            // Mostly ids at and about the vocabulary's, sometimes of the whole range.
            let id = u32::from(id[0]) << 8 | u32::from(id[1]);
            let id = if id >= 0xff00 {
                id << 16 | id
            } else {
                id % 1100
            };
            let bytes = encoder.token_bytes(id);
            assert_eq!(bytes.is_some(), small.ids.contains(&id), "{id}");
            if let Some(bytes) = bytes {
                let special = small
                    .special
                    .iter()
                    .any(|(token, special)| *special == id && token.as_bytes() == bytes);
                assert!(special || encoder.ranks().get(bytes) == Some(id), "{id}");
            }
        }
    });
});
