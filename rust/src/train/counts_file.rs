//! Counts on disk: text, versioned, checked when read.
//!
//! One line of JSON says what the counts are; then, as in tiktoken's files, each line is a pretoken in
//! base64 and a number, its count, the most frequent first; the last line is `end` and the CRC-32 of
//! all before it in hexadecimal.

use crate::error::{Error, Result};
use crate::system::replace::replace;
use crate::train::counts::Counts;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use serde_json::{Value, json};
use std::fs::File;
use std::io::{BufRead, BufReader, BufWriter, Read, Write};
use std::path::Path;

const FORMAT: &str = "bytemill counts";
const VERSION: u64 = 1;
/// Of the first line, which holds a pattern and special tokens.
const MOST_HEADER_BYTES: u64 = 1 << 26;

/// Writes `counts` to `path`, as a whole or not at all.
///
/// # Errors
/// [`Error::Io`].
pub fn save(counts: &Counts, path: &Path) -> Result<()> {
    replace(path, |file| write(counts, file)).map_err(Error::io(path))
}

fn write(counts: &Counts, file: &File) -> std::io::Result<()> {
    let mut out = BufWriter::new(file);
    let mut crc = crc32fast::Hasher::new();
    let mut put = |line: String| {
        crc.update(line.as_bytes());
        out.write_all(line.as_bytes())
    };
    let header = json!({
        "format": FORMAT,
        "version": VERSION,
        "pattern": counts.pat_str(),
        "special_tokens": counts.special_tokens(),
        "held_out": counts.held_out(),
        "pretokens": counts.table().len(),
    });
    put(format!("{header}\n"))?;
    for (word, n) in counts.items() {
        put(format!("{} {n}\n", BASE64.encode(word)))?;
    }
    let crc = crc.finalize();
    writeln!(out, "end {crc:08x}")?;
    out.flush()
}

/// Reads what [`save`] wrote.
///
/// # Errors
/// [`Error::Io`]; [`Error::BadFile`] with the line for a file that is damaged, cut short or something else.
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
    (&mut input)
        .take(MOST_HEADER_BYTES)
        .read_until(b'\n', &mut line)
        .map_err(&io)?;
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
        if input.read_until(b'\n', &mut line).map_err(&io)? == 0 {
            return Err(bad(format!(
                "it is cut short after line {}",
                items.len() + 1
            )));
        }
        let number = items.len() + 2;
        let text = String::from_utf8_lossy(&line);
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
        match (BASE64.decode(first), second.parse::<u64>(), fields.next()) {
            (Ok(word), Ok(n), None) => items.push((word, n)),
            _ => return Err(bad(format!("line {number} is not a pretoken and a count"))),
        }
    }
    Counts::from_items(pattern, &special, items)
        .and_then(|counts| counts.with_held_out(held_out))
        .map_err(|e| bad(e.to_string()))
}
