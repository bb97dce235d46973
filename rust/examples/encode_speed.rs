//! Encodes a text three times over and prints how fast, for encoding and for counting.
//!
//! ```sh
//! cargo run --release --example encode_speed -- VOCABULARY PATTERN TEXT THREADS
//! ```
//!
//! VOCABULARY is a file in tiktoken's format, PATTERN a name or a regex, TEXT a file with documents
//! separated by `<|endoftext|>`. Each thread takes documents in turn and keeps their ids in memory.
//! The first pass meets a fresh encoder, the third one with warm caches. One JSON line a mode.

use base64::prelude::{BASE64_STANDARD, Engine};
use bytemill::encode::Encoder;
use bytemill::vocabulary::ranks::Ranks;
use std::process::ExitCode;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Instant;

const SEPARATOR: &str = "<|endoftext|>";

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    match run(&arguments) {
        Ok(()) => ExitCode::SUCCESS,
        Err(message) => {
            eprintln!("{message}");
            ExitCode::FAILURE
        }
    }
}

fn run(arguments: &[String]) -> Result<(), String> {
    let [vocabulary, pattern, text, threads] = arguments else {
        return Err("usage: encode_speed VOCABULARY PATTERN TEXT THREADS".to_owned());
    };
    let threads: usize = threads.parse().map_err(|e| format!("THREADS: {e}"))?;
    let read = |path| std::fs::read_to_string(path).map_err(|e| format!("{path}: {e}"));
    let tokens: Vec<(Vec<u8>, u32)> = read(vocabulary)?
        .lines()
        .map(|line| {
            let (token, rank) = line.split_once(' ')?;
            Some((BASE64_STANDARD.decode(token).ok()?, rank.parse().ok()?))
        })
        .collect::<Option<_>>()
        .ok_or_else(|| format!("{vocabulary}: not in tiktoken's format"))?;
    let text = read(text)?;
    let documents: Vec<&str> = text.split(SEPARATOR).collect();
    let n_bytes: usize = documents.iter().map(|d| d.len()).sum();
    for counting in [false, true] {
        let start = Instant::now();
        let ranks = Ranks::new(tokens.iter().cloned()).map_err(|e| e.to_string())?;
        let ranks_ms = start.elapsed().as_secs_f64() * 1e3;
        let encoder = Encoder::new(ranks, Vec::new(), pattern).map_err(|e| e.to_string())?;
        let load_ms = start.elapsed().as_secs_f64() * 1e3;
        let mut rates = Vec::new();
        let mut n_ids = 0;
        for _ in 0..3 {
            let start = Instant::now();
            let ids = pass(&encoder, &documents, threads, counting).map_err(|e| e.to_string())?;
            rates.push(format!(
                "{:.1}",
                n_bytes as f64 / 1e6 / start.elapsed().as_secs_f64()
            ));
            n_ids = ids.iter().map(|(n, ids)| n + ids.len()).sum();
        }
        println!(
            "{{\"mode\": \"{}\", \"mb_per_s\": [{}], \"ids\": {n_ids}, \"load_ms\": {load_ms:.0}, \"ranks_ms\": {ranks_ms:.0}}}",
            if counting { "count" } else { "encode" },
            rates.join(", "),
        );
    }
    Ok(())
}

/// Each thread's number of ids counted and its ids.
fn pass(
    encoder: &Encoder,
    documents: &[&str],
    threads: usize,
    counting: bool,
) -> bytemill::error::Result<Vec<(usize, Vec<u32>)>> {
    // Documents in groups, so that short ones do not make the threads meet at the counter.
    const GROUP: usize = 64;
    let next = AtomicUsize::new(0);
    let work = || {
        let mut session = encoder.session();
        let (mut n, mut ids) = (0, Vec::new());
        loop {
            let from = next.fetch_add(GROUP, Ordering::Relaxed);
            let Some(group) = documents.get(from..) else {
                return Ok((n, ids));
            };
            for document in group.iter().take(GROUP) {
                match counting {
                    true => n += session.count_ordinary(document)?,
                    false => session.encode_ordinary(document, &mut ids)?,
                }
            }
        }
    };
    std::thread::scope(|scope| {
        let others: Vec<_> = (1..threads).map(|_| scope.spawn(work)).collect();
        let own = work();
        let joined = others
            .into_iter()
            .map(|t| t.join().unwrap_or_else(|e| std::panic::resume_unwind(e)));
        std::iter::once(own).chain(joined).collect()
    })
}
