//! A pretoken of up to 15 bytes as one number: the key that counting and encoding look it up by.
//!
//! The bytes fill a 128-bit integer from below and the length is in its top byte, so two keys are equal
//! just when the pretokens are, and looking one up touches nothing but its place in the table.

/// Readable bytes that should follow a pretoken in its buffer: a short one is read as 16 bytes.
pub const PADDING: usize = 16;

/// A pretoken of up to 15 bytes as a number.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Key {
    pub(crate) low: u64,
    /// The length is in the top byte. It is 0 for what is empty, as keys by default are.
    pub(crate) high: u64,
}

/// The first n bytes of 16.
const MASKS: [u128; 16] = {
    let mut masks = [0; 16];
    let mut n = 1;
    while n < 16 {
        masks[n] = (1 << (8 * n)) - 1;
        n += 1;
    }
    masks
};

impl Key {
    /// The key of every pretoken that is too long; no other pretoken has it.
    pub const TOO_LONG: Key = Key { low: 1, high: 0 };

    /// The key of `data[start..end]`, [`Key::TOO_LONG`] if that is too long.
    ///
    /// It is fastest when [`PADDING`] bytes follow `start` in `data`.
    #[inline(always)]
    pub fn new(data: &[u8], start: usize, end: usize) -> Key {
        let len = end.wrapping_sub(start);
        let Some(mask) = MASKS.get(len) else {
            return Key::TOO_LONG;
        };
        let number = sixteen(data, start, end) & mask;
        Key {
            low: number as u64,
            high: (number >> 64) as u64 | (len as u64) << 56,
        }
    }

    /// Whether this is the key of what is empty.
    #[inline(always)]
    pub fn is_empty(self) -> bool {
        self.high == 0 && self.low == 0
    }

    /// How many bytes the pretoken has.
    #[inline(always)]
    pub fn len(self) -> usize {
        (self.high >> 56) as usize
    }

    /// Calls `visit` with the pretoken.
    #[inline(always)]
    pub fn with_bytes<R>(self, visit: impl FnOnce(&[u8]) -> R) -> R {
        let number = u128::from(self.low) | u128::from(self.high) << 64;
        visit(&number.to_le_bytes()[..self.len()])
    }

    /// A hash of which all bits depend on the whole key.
    #[inline(always)]
    pub fn hash(self) -> u64 {
        fold(
            self.low ^ 0x9e37_79b9_7f4a_7c15,
            self.high ^ 0xd1b5_4a32_d192_ed03,
        )
    }
}

/// The 16 bytes from `start` on, of which those from `end` on may be any.
#[allow(unsafe_code)]
#[inline(always)]
fn sixteen(data: &[u8], start: usize, end: usize) -> u128 {
    if start > data.len().saturating_sub(16) || data.len() < 16 {
        return near_end(&data[start..end]);
    }
    // SAFETY: start + 16 is at most data.len(). A slice would take two more comparisons and an addition,
    // of about 70 instructions for each pretoken.
    u128::from_le_bytes(unsafe { data.as_ptr().add(start).cast::<[u8; 16]>().read_unaligned() })
}

/// At most 15 bytes.
#[inline(never)]
fn near_end(bytes: &[u8]) -> u128 {
    let mut chunk = [0; 16];
    chunk[..bytes.len()].copy_from_slice(bytes);
    u128::from_le_bytes(chunk)
}

/// Folded multiplication: both halves of the product depend on all bits of both.
#[inline(always)]
pub(crate) fn fold(a: u64, b: u64) -> u64 {
    let product = u128::from(a) * u128::from(b);
    product as u64 ^ (product >> 64) as u64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_hold_their_bytes_wherever_they_lie() {
        let data: Vec<u8> = (0..40).map(|i| i % 3 * 7).collect();
        for start in 0..=data.len() {
            for end in start..=data.len() {
                let (key, bytes) = (Key::new(&data, start, end), &data[start..end]);
                if bytes.len() > 15 {
                    assert_eq!(key, Key::TOO_LONG);
                    continue;
                }
                key.with_bytes(|found| assert_eq!(found, bytes));
                assert_eq!(key.is_empty(), bytes.is_empty());
                assert_eq!(key, Key::new(bytes, 0, bytes.len()));
            }
        }
    }
}
