//! Counts as bytes, for another process: compact, versioned, checked when read.
//!
//! First what they are and their version (8 bytes), and how many bytes there are in all (8); last the CRC-32 of all
//! before it (4). In between: the share held out (8, a float), the pattern, the number of special tokens and these,
//! the number of pretokens and these, in no particular order. Numbers are little endian, or, where no size is given,
//! of seven bits a byte from the lowest up, all bytes but the last with the eighth bit; a string has its length before it.
//!
//! A pretoken is a byte, what that leaves to say, and the pretoken. The byte's lower half is the length, or 0 for
//! 16 and more; its upper half is the count less 1, or 15 for 16 and more. Both follow, less 16, where they are more.
//! Most take one byte more than themselves. Written as they lie in the table, they are also read into one in
//! the order of its memory, which is several times faster than in any other.

use crate::error::{Error, OutOfMemory, Result};
use crate::system::memory;
use crate::train::count_table::CountTable;
use crate::train::counts::Counts;

const MAGIC: &[u8; 7] = b"bmcount";
const VERSION: u8 = 1;
/// Where the length stands, and what is behind it.
const LENGTH: usize = 8;
const BODY: usize = 16;
const CRC: usize = 4;
/// The first length, and count, that has no room in half a byte.
const LARGE: u64 = 16;
/// Bytes that a pretoken takes with all that is said of it, at least, where room is made for what is yet to be read.
const TYPICAL: usize = 8;

/// The counts as bytes. Equal counts may come to other bytes, as their order is that of a hash table.
///
/// # Errors
/// [`Error::Memory`].
pub fn to_bytes(counts: &Counts) -> Result<Vec<u8>> {
    let (table, special) = (counts.table(), counts.special_tokens());
    let n_chars = special.iter().map(String::len).sum::<usize>() + counts.pat_str().len();
    let expected = BODY + n_chars + table.n_bytes() + 2 * table.len() + CRC;
    let mut out = memory::with_capacity(expected)?;
    memory::append(&mut out, MAGIC)?;
    memory::push(&mut out, VERSION)?;
    memory::append(&mut out, &[0; BODY - LENGTH])?;
    memory::append(&mut out, &counts.held_out().to_le_bytes())?;
    put_string(&mut out, counts.pat_str())?;
    put_number(&mut out, special.len() as u64)?;
    for token in special {
        put_string(&mut out, token)?;
    }
    put_number(&mut out, table.len() as u64)?;
    let mut done = Ok(());
    table.for_each(|word, n| {
        if done.is_ok() {
            done = put_pretoken(&mut out, word, n);
        }
    });
    done?;
    let len = (out.len() + CRC) as u64;
    out[LENGTH..BODY].copy_from_slice(&len.to_le_bytes());
    let crc = crc32fast::hash(&out);
    memory::append(&mut out, &crc.to_le_bytes())?;
    Ok(out)
}

#[inline]
fn put_pretoken(out: &mut Vec<u8>, word: &[u8], n: u64) -> Result<(), OutOfMemory> {
    let (len, n_less) = (word.len() as u64, n - 1);
    let low = if len < LARGE { len as u8 } else { 0 };
    let high = n_less.min(LARGE - 1) as u8;
    memory::push(out, low | high << 4)?;
    if len >= LARGE {
        put_number(out, len - LARGE)?;
    }
    if n >= LARGE {
        put_number(out, n - LARGE)?;
    }
    memory::append(out, word)
}

fn put_string(out: &mut Vec<u8>, text: &str) -> Result<(), OutOfMemory> {
    put_number(out, text.len() as u64)?;
    memory::append(out, text.as_bytes())
}

fn put_number(out: &mut Vec<u8>, mut n: u64) -> Result<(), OutOfMemory> {
    while n >= 128 {
        memory::push(out, n as u8 | 128)?;
        n >>= 7;
    }
    memory::push(out, n as u8)
}

/// Reads what [`to_bytes`] made.
///
/// # Errors
/// [`Error::Argument`] for bytes that are damaged, cut short, of another version or something else; [`Error::Memory`].
pub fn from_bytes(bytes: &[u8]) -> Result<Counts> {
    if !bytes.starts_with(MAGIC) || bytes.len() < BODY + CRC {
        return Err(bad(bytes, "they are not pretoken counts"));
    }
    let version = bytes[MAGIC.len()];
    if version != VERSION {
        let reason =
            format!("they are counts of version {version}, and this program reads {VERSION}");
        return Err(bad(bytes, &reason));
    }
    if bytes[LENGTH..BODY] != (bytes.len() as u64).to_le_bytes() {
        return Err(bad(bytes, "they are cut short, or something follows them"));
    }
    let end = bytes.len() - CRC;
    if bytes[end..] != crc32fast::hash(&bytes[..end]).to_le_bytes() {
        return Err(bad(bytes, "their checksum does not match their content"));
    }
    let wrong = || bad(bytes, "their content is not that of counts");
    let at = BODY;
    let mut reader = Reader { bytes, at, end };
    let held_out = reader.take(8).and_then(|float| float.try_into().ok());
    let held_out = f64::from_le_bytes(held_out.ok_or_else(wrong)?);
    let pattern = reader.string().ok_or_else(wrong)?;
    let n_special = reader.number().ok_or_else(wrong)?;
    let mut special = Vec::new();
    for _ in 0..n_special {
        let token = reader.string().ok_or_else(wrong)?;
        memory::push(&mut special, memory::string(&[token])?)?;
    }
    let table = reader.table()?.ok_or_else(wrong)?;
    Counts::new(pattern, &special, table)?.with_held_out(held_out)
}

fn bad(bytes: &[u8], reason: &str) -> Error {
    let size = format!("{} bytes", bytes.len());
    Error::argument("data", size, format!("{reason}; count the text again"))
}

/// Reads from one place on. `None` stands for what is no counts at all, whatever its checksum says.
struct Reader<'a> {
    bytes: &'a [u8],
    at: usize,
    end: usize,
}

impl<'a> Reader<'a> {
    fn table(&mut self) -> Result<Option<CountTable>, OutOfMemory> {
        let Some(n) = self.number() else {
            return Ok(None);
        };
        let likely = (self.end - self.at) / TYPICAL;
        let likely = usize::try_from(n).map_or(likely, |n| n.min(likely));
        let mut table = CountTable::with_room(likely)?;
        let is_read = self.pretokens(n, &mut table).is_some();
        table.complete()?;
        // Of one that is there twice, there is less than was said.
        let is_all = self.at == self.end && table.len() as u64 == n;
        Ok((is_read && is_all).then_some(table))
    }

    fn pretokens(&mut self, n: u64, table: &mut CountTable) -> Option<()> {
        let mut total = 0u64;
        for _ in 0..n {
            let (start, count) = self.pretoken()?;
            total = total.checked_add(count)?;
            table.add(self.bytes, start, self.at, count);
        }
        Some(())
    }

    /// Where the next pretoken begins, and its count; the reader is then at its end.
    #[inline]
    fn pretoken(&mut self) -> Option<(usize, u64)> {
        let (&byte, _) = self.bytes[self.at..self.end].split_first()?;
        self.at += 1;
        let (mut len, mut n) = (u64::from(byte & 15), u64::from(byte >> 4) + 1);
        if len == 0 {
            len = self.number()?.checked_add(LARGE)?;
        }
        if n == LARGE {
            n = self.number()?.checked_add(LARGE)?;
        }
        let start = self.at;
        self.take(usize::try_from(len).ok()?)?;
        Some((start, n))
    }

    #[inline]
    fn take(&mut self, n: usize) -> Option<&'a [u8]> {
        let taken = self.bytes[self.at..self.end].get(..n)?;
        self.at += n;
        Some(taken)
    }

    fn number(&mut self) -> Option<u64> {
        let mut n = 0;
        for shift in (0..64).step_by(7) {
            let byte = u64::from(self.take(1)?[0]);
            let part = (byte & 127) << shift;
            if part >> shift != byte & 127 {
                return None;
            }
            n |= part;
            if byte < 128 {
                return Some(n);
            }
        }
        None
    }

    fn string(&mut self) -> Option<&'a str> {
        let len = usize::try_from(self.number()?).ok()?;
        std::str::from_utf8(self.take(len)?).ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn some(items: &[(&[u8], u64)]) -> Result<Counts> {
        let special = ["<s>".to_owned(), "é\n".to_owned()];
        let counts = Counts::from_items(r"\w+", &special, items.iter().copied())?;
        counts.with_held_out(0.1 + 0.2)
    }

    fn sample() -> Result<Counts> {
        let long = [7; 150];
        some(&[
            (b"a", 1),
            (b"\x00\xff", 15),
            (b"fifteen bytes..", 16),
            (b"sixteen bytes...", 17),
            (&long, 1 << 40),
            (b"b", u64::from(u32::MAX) << 20),
        ])
    }

    fn is_same(one: &Counts, other: &Counts) -> Result<bool> {
        Ok(one.items()? == other.items()?
            && one.pat_str() == other.pat_str()
            && one.special_tokens() == other.special_tokens()
            && one.held_out().to_bits() == other.held_out().to_bits()
            && (one.total(), one.n_bytes()) == (other.total(), other.n_bytes()))
    }

    /// With the length and the checksum set right.
    fn mended(mut bytes: Vec<u8>) -> Vec<u8> {
        let (len, end) = (bytes.len() as u64, bytes.len() - CRC);
        bytes[LENGTH..BODY].copy_from_slice(&len.to_le_bytes());
        let crc = crc32fast::hash(&bytes[..end]).to_le_bytes();
        bytes[end..].copy_from_slice(&crc);
        bytes
    }

    #[test]
    fn counts_come_back() -> Result<()> {
        for counts in [sample()?, some(&[])?] {
            let bytes = to_bytes(&counts)?;
            assert!(is_same(&from_bytes(&bytes)?, &counts)?);
            assert_eq!(mended(bytes.clone()), bytes);
        }
        Ok(())
    }

    #[test]
    fn many_counts_come_back() -> Result<()> {
        let words: Vec<(Vec<u8>, u64)> = (1..30_000u64)
            .map(|i| (i.pow(4).to_string().into_bytes(), i % 40 + 1))
            .collect();
        let counts = Counts::from_items("x", &[], words)?;
        assert!(is_same(&from_bytes(&to_bytes(&counts)?)?, &counts)?);
        Ok(())
    }

    #[test]
    fn damage_is_refused() -> Result<()> {
        let bytes = to_bytes(&sample()?)?;
        for end in 0..bytes.len() {
            assert!(from_bytes(&bytes[..end]).is_err(), "cut at {end}");
        }
        assert!(from_bytes(&[&bytes[..], b"\0"].concat()).is_err());
        for at in 0..bytes.len() {
            for flip in 1..=255 {
                let mut damaged = bytes.clone();
                damaged[at] ^= flip;
                let found = from_bytes(&damaged);
                assert!(
                    matches!(found, Err(Error::Argument { .. })),
                    "byte {at} ^ {flip}"
                );
            }
        }
        Ok(())
    }

    #[test]
    fn bytes_that_were_made_to_look_right_are_counts_or_refused() -> Result<()> {
        let counts = sample()?;
        let bytes = to_bytes(&counts)?;
        let mut n_read = 0;
        for at in BODY..bytes.len() - CRC {
            for byte in (0..=255).step_by(15) {
                let mut forged = bytes.clone();
                forged[at] = byte;
                match from_bytes(&mended(forged)) {
                    Ok(read) => {
                        n_read += 1;
                        let again = from_bytes(&to_bytes(&read)?)?;
                        assert!(is_same(&again, &read)?, "byte {at} is {byte}");
                    }
                    Err(error) => assert!(matches!(error, Error::Argument { .. }), "{error}"),
                }
            }
            let mut cut = bytes[..at].to_vec();
            cut.extend_from_slice(&[0; CRC]);
            assert!(from_bytes(&mended(cut)).is_err(), "cut at {at}");
        }
        assert!(n_read > bytes.len());
        Ok(())
    }

    #[test]
    fn claims_are_not_believed() -> Result<()> {
        let empty = to_bytes(&some(&[])?)?;
        // In place of the number of pretokens, which is the last before the checksum.
        for claim in [1, 1 << 20, u64::MAX] {
            let mut forged = empty[..empty.len() - CRC - 1].to_vec();
            put_number(&mut forged, claim)?;
            forged.extend_from_slice(&[0; CRC]);
            assert!(from_bytes(&mended(forged)).is_err(), "{claim} pretokens");
        }
        let pretokens = |items: &[(&[u8], u64)]| -> Result<Vec<u8>> {
            let mut forged = empty[..empty.len() - CRC - 1].to_vec();
            put_number(&mut forged, items.len() as u64)?;
            for (word, n) in items {
                put_pretoken(&mut forged, word, *n)?;
            }
            forged.extend_from_slice(&[0; CRC]);
            Ok(mended(forged))
        };
        assert!(from_bytes(&pretokens(&[(b"a", 1), (b"b", 1)])?).is_ok());
        assert!(from_bytes(&pretokens(&[(b"a", 1), (b"a", 1)])?).is_err());
        assert!(from_bytes(&pretokens(&[(b"a", u64::MAX), (b"b", 1)])?).is_err());
        assert!(from_bytes(&pretokens(&[(b"ab", u64::MAX)])?).is_err());
        Ok(())
    }
}
