//! Any bytes as counts: an error or counts, which come back from their own bytes. With an odd first byte
//! the beginning, the length and the checksum are set right, so that the reader goes on to what lies between.
#![no_main]

use bytemill::train::counts_bytes::{from_bytes, to_bytes};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    let Some((&how, rest)) = data.split_first() else {
        return;
    };
    let bytes = if how & 1 == 1 {
        let mut bytes = b"bmcount\x01".to_vec();
        bytes.extend_from_slice(&(rest.len() as u64 + 20).to_le_bytes());
        bytes.extend_from_slice(rest);
        let crc = crc32fast::hash(&bytes);
        bytes.extend_from_slice(&crc.to_le_bytes());
        bytes
    } else {
        rest.to_vec()
    };
    if let Ok(counts) = from_bytes(&bytes) {
        let read = from_bytes(&to_bytes(&counts).expect("memory")).expect("what was made is read");
        assert_eq!(
            counts.items().expect("memory"),
            read.items().expect("memory")
        );
        assert_eq!(counts.pat_str(), read.pat_str());
        assert_eq!(counts.special_tokens(), read.special_tokens());
    }
});
