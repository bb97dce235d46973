//! Any bytes as a file of counts: an error or counts, which saved and read again are the same. With
//! an odd first byte the checksum is set right, so that the reader goes on to what is behind it.
#![no_main]

use bytemill::train::counts_file::{load, save};
use libfuzzer_sys::fuzz_target;
use std::path::PathBuf;

fuzz_target!(|data: &[u8]| {
    let Some((&how, rest)) = data.split_first() else {
        return;
    };
    let mut file = rest.to_vec();
    if how & 1 == 1 {
        if file.last() != Some(&b'\n') {
            file.push(b'\n');
        }
        let crc = crc32fast::hash(&file);
        file.extend_from_slice(format!("end {crc:08x}\n").as_bytes());
    }
    let folder = std::env::temp_dir();
    let name = |kind: &str| -> PathBuf {
        folder.join(format!("bytemill-fuzz-{kind}-{}", std::process::id()))
    };
    let path = name("counts");
    std::fs::write(&path, &file).expect("the temporary folder takes files");
    let loaded = load(&path);
    let _ = std::fs::remove_file(&path);
    if let Ok(counts) = loaded {
        let again = name("again");
        save(&counts, &again).expect("the temporary folder takes files");
        let read = load(&again).expect("what was saved loads");
        let _ = std::fs::remove_file(&again);
        assert_eq!(
            counts.items().expect("memory"),
            read.items().expect("memory")
        );
        assert_eq!(counts.pat_str(), read.pat_str());
        assert_eq!(counts.special_tokens(), read.special_tokens());
    }
});
