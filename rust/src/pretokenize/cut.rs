//! Where a long document can be cut so that its parts give the document's pretokens.
//!
//! Valid for the named patterns only. At such a place every one of them ends a pretoken, and the
//! look-ahead of white space (`\s+(?!\S)`, `\s++$`) before it gives the same with and without the rest:
//!
//! - before a space or tab that follows anything but white space: a pretoken takes white space only at
//!   its start, but for the line ends that may follow punctuation;
//! - before a line end that follows an ASCII letter or digit: nothing takes line ends after those;
//! - after a line feed that has no white space before it, but not before white space or `/`
//!   (o200k's punctuation may end in line ends and slashes).

/// The last cut `c` with `from < c <= to` in `text`, looking at bytes before `to` and the one at `to`.
pub fn last_cut(text: &[u8], from: usize, to: usize) -> Option<usize> {
    let to = to.min(text.len().saturating_sub(1));
    (from + 1..=to).rev().find(|&c| is_cut(text, c))
}

/// Whether `text` may be cut before its byte `c`, `0 < c < text.len()`.
fn is_cut(text: &[u8], c: usize) -> bool {
    match text[c] {
        b' ' | b'\t' => !ends_in_space(&text[..c]),
        b'\n' | b'\r' => text[c - 1].is_ascii_alphanumeric(),
        next => {
            text[c - 1] == b'\n'
                && c >= 2
                && next != b'/'
                && !starts_with_space(&text[c..])
                && !ends_in_space(&text[..c - 1])
        }
    }
}

/// Whether the last character is white space; true as well for what is not valid UTF-8.
fn ends_in_space(text: &[u8]) -> bool {
    let tail = &text[text.len().saturating_sub(4)..];
    let start = tail.iter().rposition(|b| b & 0xc0 != 0x80).unwrap_or(0);
    starts_with_space(&tail[start..])
}

/// Whether the first character is white space; true as well for what is not valid UTF-8 or cut short.
fn starts_with_space(text: &[u8]) -> bool {
    let head = &text[..text.len().min(4)];
    match head.utf8_chunks().next() {
        Some(chunk) => chunk.valid().chars().next().is_none_or(char::is_whitespace),
        None => true,
    }
}
