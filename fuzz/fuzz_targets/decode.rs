//! Any ids: those of the vocabulary give its bytes, others none; and together, their bytes joined.
#![no_main]

use bytemill::decode::Decoder;
use bytemill_fuzz::with_small;
use libfuzzer_sys::fuzz_target;

/// Mostly ids at and about the vocabulary's, sometimes of the whole range.
fn id(bytes: &[u8]) -> u32 {
    let id = u32::from(bytes[0]) << 8 | u32::from(bytes[1]);
    if id >= 0xff00 {
        id << 16 | id
    } else {
        id % 1100
    }
}

fuzz_target!(|data: &[u8]| {
    let Some((&which, rest)) = data.split_first() else {
        return;
    };
    let ids: Vec<u32> = rest.chunks_exact(2).map(id).collect();
    with_small(which, |small| {
        let encoder = &small.encoder;
        let mut joined = Some(Vec::new());
        for &id in &ids {
            let bytes = encoder.token_bytes(id);
            assert_eq!(bytes.is_some(), small.ids.contains(&id), "{id}");
            if let Some(bytes) = bytes {
                let special = small
                    .special
                    .iter()
                    .any(|(token, special)| *special == id && token.as_bytes() == bytes);
                assert!(special || encoder.ranks().get(bytes) == Some(id), "{id}");
            }
            joined = joined.zip(bytes).map(|(mut joined, bytes)| {
                joined.extend_from_slice(bytes);
                joined
            });
        }
        let decoder = Decoder::new(encoder.ranks(), &small.special).expect("memory");
        assert_eq!(decoder.decode(&ids).ok(), joined, "{ids:?}");
    });
});
