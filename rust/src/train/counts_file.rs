//! Counts on disk: text, versioned, checked when read.
//!
//! One line of JSON says what the counts are; then, as in tiktoken's files, each line is a pretoken in
//! base64 and a number, its count, the most frequent first; the last line is `end` and the CRC-32 of
//! all before it in hexadecimal.

use crate::error::{Error, OutOfMemory, Result};
use crate::system::memory;
use crate::system::replace::replace;
use crate::train::counts::Counts;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use serde_json::{Value, json};
use std::fs::File;
use std::io::{BufRead, BufReader, BufWriter, Write};
use std::path::Path;

const FORMAT: &str = "bytemill counts";
const VERSION: u64 = 1;
/// Of the first line, which holds a pattern and special tokens.
const MOST_HEADER_BYTES: usize = 1 << 26;
/// How much of a pretoken is turned to base64 at a time, in bytes; whole groups of three.
const BASE64_CHUNK: usize = 3 << 10;

/// Writes `counts` to `path`, as a whole or not at all.
///
/// # Errors
/// [`Error::Io`], [`Error::Memory`].
pub fn save(counts: &Counts, path: &Path) -> Result<()> {
    // What takes memory comes first.
    let items = counts.items()?;
    replace(path, |file| write(counts, &items, file)).map_err(Error::io(path))
}

fn write(counts: &Counts, items: &[(Box<[u8]>, u64)], file: &File) -> std::io::Result<()> {
    let mut out = BufWriter::new(file);
    let mut crc = crc32fast::Hasher::new();
    let mut put = |bytes: &[u8]| {
        crc.update(bytes);
        out.write_all(bytes)
    };
    let header = json!({
        "format": FORMAT,
        "version": VERSION,
        "pattern": counts.pat_str(),
        "special_tokens": counts.special_tokens(),
        "held_out": counts.held_out(),
        "pretokens": counts.table().len(),
    });
    put(format!("{header}\n").as_bytes())?;
    let mut base64 = [0; BASE64_CHUNK / 3 * 4];
    for (word, n) in items {
        for chunk in word.chunks(BASE64_CHUNK) {
            let len = BASE64.encode_slice(chunk, &mut base64);
            put(&base64[..len.map_err(std::io::Error::other)?])?;
        }
        put(format!(" {n}\n").as_bytes())?;
    }
    let crc = crc.finalize();
    writeln!(out, "end {crc:08x}")?;
    out.flush()
}

/// Reads what [`save`] wrote.
///
/// # Errors
/// [`Error::Io`], [`Error::Memory`]; [`Error::BadFile`] with the line for a file that is damaged, cut short or
/// something else.
pub fn load(path: &Path) -> Result<Counts> {
    let io = Error::io(path);
    let bad = |reason: String| {
        let remedy = "count the text again to make a new file";
        Error::bad_file(path, format!("{reason}; {remedy}"))
    };
    let mut input = BufReader::new(File::open(path).map_err(&io)?);
    let mut line = Vec::new();
    // Something else may have no end of a line, and no end at all.
    if input.fill_buf().map_err(&io)?.first() != Some(&b'{') {
        return Err(bad(
            "this is not a file of pretoken counts (its first line is not JSON)".into(),
        ));
    }
    read_line(&mut input, &mut line, MOST_HEADER_BYTES).map_err(&io)?;
    let mut crc = crc32fast::Hasher::new();
    crc.update(&line);
    let header: Value = serde_json::from_slice(&line).map_err(|_| {
        bad("this is not a file of pretoken counts (its first line is not JSON)".into())
    })?;
    if header["format"] != FORMAT {
        return Err(bad("this is not a file of pretoken counts".into()));
    }
    if header["version"] != VERSION {
        let version = &header["version"];
        return Err(bad(format!(
            "its version is {version}, this program reads {VERSION}"
        )));
    }
    let strings = |v: &Value| -> Option<Vec<String>> {
        v.as_array()?
            .iter()
            .map(|s| s.as_str().map(str::to_owned))
            .collect()
    };
    let (Some(pattern), Some(special), Some(held_out)) = (
        header["pattern"].as_str(),
        strings(&header["special_tokens"]),
        header["held_out"].as_f64(),
    ) else {
        return Err(bad(
            "line 1 lacks the pattern, the special tokens or the share held out".into(),
        ));
    };
    let mut items = Vec::new();
    loop {
        line.clear();
        read_line(&mut input, &mut line, usize::MAX).map_err(&io)?;
        if line.is_empty() {
            return Err(bad(format!(
                "it is cut short after line {}",
                items.len() + 1
            )));
        }
        let number = items.len() + 2;
        // Nothing else than ASCII is in such a line.
        let text = std::str::from_utf8(&line).unwrap_or("");
        let mut fields = text.split_ascii_whitespace();
        let (first, second) = (fields.next().unwrap_or(""), fields.next().unwrap_or(""));
        if first == "end" {
            if u32::from_str_radix(second, 16) != Ok(crc.finalize())
                || header["pretokens"] != items.len()
            {
                return Err(bad("its checksum does not match its content".into()));
            }
            // What was appended is under no checksum: it may be other counts.
            let is_last = fields.next().is_none() && input.fill_buf().map_err(&io)?.is_empty();
            if !is_last {
                return Err(bad("something follows its last line".into()));
            }
            break;
        }
        crc.update(&line);
        match (decoded(first)?, second.parse::<u64>(), fields.next()) {
            (Some(word), Ok(n), None) => memory::push(&mut items, (word, n))?,
            _ => return Err(bad(format!("line {number} is not a pretoken and a count"))),
        }
    }
    Counts::from_items(pattern, &special, items)
        .and_then(|counts| counts.with_held_out(held_out))
        .map_err(|error| match error {
            Error::Memory(_) => error,
            _ => bad(error.to_string()),
        })
}

/// Reads up to the end of a line, or of the input, or `most` bytes and what was read with them.
fn read_line(input: &mut impl BufRead, line: &mut Vec<u8>, most: usize) -> std::io::Result<()> {
    while line.len() < most {
        let read = input.fill_buf()?;
        if read.is_empty() {
            break;
        }
        let end = read.iter().position(|&b| b == b'\n');
        let n = end.map_or(read.len(), |end| end + 1);
        line.try_reserve(n)?;
        line.extend_from_slice(&read[..n]);
        input.consume(n);
        if end.is_some() {
            break;
        }
    }
    Ok(())
}

/// A pretoken; `None` if it is not base64.
fn decoded(base64: &str) -> Result<Option<Vec<u8>>, OutOfMemory> {
    let mut word = memory::zeroed(base64::decoded_len_estimate(base64.len()))?;
    let Ok(n) = BASE64.decode_slice(base64, &mut word) else {
        return Ok(None);
    };
    word.truncate(n);
    Ok(Some(word))
}
