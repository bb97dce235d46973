//! Vocabularies as lists of tokens: as tiktoken writes them into files, a line "base64 id" for each token, and as they
//! are to be compared.

use crate::error::{Error, OutOfMemory};
use crate::system::memory;
use crate::vocabulary::ranks::Ranks;

/// What is not a digit of base64.
const NONE: u8 = u8::MAX;
const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
const VALUES: [u8; 256] = {
    let mut values = [NONE; 256];
    let mut i = 0;
    while i < DIGITS.len() {
        values[DIGITS[i] as usize] = i as u8;
        i += 1;
    }
    values
};

/// The table of a file that is written as it usually is: standard base64 with its padding, one space, the
/// id in decimal digits, a newline. `None` for any other file, and for one that is not a vocabulary:
/// whoever reads it slowly says what is wrong, if anything is.
///
/// # Errors
/// [`OutOfMemory`].
pub fn read(file: &[u8]) -> Result<Option<Ranks>, OutOfMemory> {
    // So that a place fits into 32 bits.
    if u32::try_from(file.len()).is_err() {
        return Ok(None);
    }
    let mut bytes = memory::with_capacity(file.len() / 4 * 3)?;
    // Where each token ends, and its id.
    let mut ends: Vec<(u32, u32)> = memory::with_capacity(file.len() / 16)?;
    let mut rest = file;
    while !rest.is_empty() {
        let Some(id) = read_line(&mut rest, &mut bytes) else {
            return Ok(None);
        };
        memory::push(&mut ends, (bytes.len() as u32, id))?;
    }
    let mut from = 0;
    let tokens = ends.into_iter().map(|(end, id)| {
        let token = &bytes[from..end as usize];
        from = end as usize;
        (token, id)
    });
    match Ranks::by_rank(memory::collect(tokens)?) {
        Ok(ranks) => Ok(Some(ranks)),
        Err(Error::Memory(error)) => Err(error),
        Err(_) => Ok(None),
    }
}

/// Takes a line off `rest`: appends the token, for which there must be room, and returns its id.
fn read_line(rest: &mut &[u8], bytes: &mut Vec<u8>) -> Option<u32> {
    let mut line = *rest;
    loop {
        let (four, after) = line.split_first_chunk::<4>()?;
        let values = four.map(|digit| VALUES[usize::from(digit)]);
        line = after;
        if values[0] | values[1] | values[2] | values[3] < 64 {
            let word = values.iter().fold(0, |word, &v| word << 6 | u32::from(v));
            bytes.extend_from_slice(&word.to_be_bytes()[1..]);
            if line.first() == Some(&b' ') {
                break;
            }
            continue;
        }
        // What is left over of the last digit has to be nothing.
        match (values, four) {
            ([a, b, NONE, NONE], [_, _, b'=', b'=']) if a | b < 64 && b % 16 == 0 => {
                bytes.push(a << 2 | b >> 4);
            }
            ([a, b, c, NONE], [_, _, _, b'=']) if a | b | c < 64 && c % 4 == 0 => {
                bytes.extend_from_slice(&[a << 2 | b >> 4, b << 4 | c >> 2]);
            }
            _ => return None,
        }
        break;
    }
    line = line.strip_prefix(b" ")?;
    let n_digits = line.iter().take_while(|b| b.is_ascii_digit()).count();
    let (digits, after) = line.split_at(n_digits);
    *rest = after.strip_prefix(b"\n")?;
    // The highest number stands for no id.
    let id = std::str::from_utf8(digits).ok()?.parse().ok()?;
    (id < u32::MAX).then_some(id)
}

impl Ranks {
    /// "id length", a newline and the bytes of each token, by id: what says all about them.
    ///
    /// # Errors
    /// [`OutOfMemory`].
    pub fn listing(&self) -> Result<Vec<u8>, OutOfMemory> {
        let sorted = self.sorted()?;
        let n_bytes: usize = sorted.iter().map(|(token, _)| token.len()).sum();
        let mut listing = memory::with_capacity(n_bytes + 12 * sorted.len())?;
        for (token, id) in sorted {
            memory::append(&mut listing, format!("{id} {}\n", token.len()).as_bytes())?;
            memory::append(&mut listing, token)?;
        }
        Ok(listing)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn written(tokens: &[(Vec<u8>, u32)]) -> Vec<u8> {
        let mut file = Vec::new();
        for (token, id) in tokens {
            for three in token.chunks(3) {
                let mut word = [0; 4];
                word[1..=three.len()].copy_from_slice(three);
                let word = u32::from_be_bytes(word);
                for i in 0..4 {
                    let digit = DIGITS[(word >> (18 - 6 * i) & 63) as usize];
                    file.push(if i > three.len() { b'=' } else { digit });
                }
            }
            file.extend_from_slice(format!(" {id}\n").as_bytes());
        }
        file
    }

    fn tokens() -> Vec<(Vec<u8>, u32)> {
        let mut tokens: Vec<_> = (0..=255_u8).map(|b| (vec![b], u32::from(b) + 7)).collect();
        for n in 2..300_u32 {
            let byte = |i: u32| (n.wrapping_mul(2_654_435_761) >> (i % 24)) as u8;
            tokens.push((
                (0..n % 11 + 2)
                    .map(byte)
                    .chain([n as u8, (n >> 8) as u8])
                    .collect(),
                1_000_000 - n,
            ));
        }
        tokens
    }

    #[test]
    fn what_is_written_is_read() {
        let mut tokens = tokens();
        let ranks = read(&written(&tokens)).unwrap().expect("a vocabulary");
        tokens.sort_by_key(|t| t.1);
        let found: Vec<_> = ranks.sorted().unwrap();
        let expected: Vec<_> = tokens.iter().map(|(t, id)| (&t[..], *id)).collect();
        assert_eq!(found, expected);
    }

    /// Anything else is left to others, as is a file with something changed that matters.
    #[test]
    fn other_files_are_not_read() {
        let file = written(&tokens());
        let with = |line: &str| [&file[..], line.as_bytes()].concat();
        assert!(read(&with("YWJjZGU= 999999999\n")).unwrap().is_some());
        for line in [
            "YWJjZGU= 999999999",
            "YWJjZGU= 999999999\r\n",
            "YWJjZGU=  999999999\n",
            "YWJjZGU=\t999999999\n",
            "YWJjZGU 999999999\n",
            "YWJjZGV= 999999999\n",
            "YWJjZB== 999999999\n",
            "YWJj= 999999999\n",
            "Y=== 999999999\n",
            "=WJj 999999999\n",
            "YW-_ 999999999\n",
            "YWJjZGU= \n",
            "YWJjZGU= +9\n",
            "YWJjZGU= -9\n",
            "YWJjZGU= 4294967295\n",
            "YWJjZGU= 99999999999\n",
            "YWJjZGU= 7\n",
            "YQ== 999999999\n",
            " 999999999\n",
            "\n",
            "YWJjZGU= 999999999 \n",
        ] {
            assert!(read(&with(line)).unwrap().is_none(), "{line:?}");
        }
        assert!(read(b"").unwrap().is_none());
        assert!(read(&file[10..]).unwrap().is_none());
    }
}
