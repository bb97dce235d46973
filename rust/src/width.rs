//! Ids as integers of 16 or 32 bits.

/// The integers that ids are written as; little endian.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Width {
    /// 16 bits.
    U16,
    /// 32 bits.
    U32,
}

impl Width {
    /// Bytes for an id.
    pub fn bytes(self) -> usize {
        match self {
            Self::U16 => 2,
            Self::U32 => 4,
        }
    }

    /// Appends ids; they must be small enough.
    pub(crate) fn write(self, ids: &[u32], out: &mut Vec<u8>) {
        let from = out.len();
        out.resize(from + ids.len() * self.bytes(), 0);
        let room = &mut out[from..];
        match self {
            Self::U16 => {
                for (to, &id) in room.chunks_exact_mut(2).zip(ids) {
                    to.copy_from_slice(&(id as u16).to_le_bytes());
                }
            }
            Self::U32 => {
                for (to, &id) in room.chunks_exact_mut(4).zip(ids) {
                    to.copy_from_slice(&id.to_le_bytes());
                }
            }
        }
    }
}
