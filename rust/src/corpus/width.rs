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

    /// The type's name in `.npy` files.
    pub(crate) fn npy_descr(self) -> &'static str {
        match self {
            Self::U16 => "<u2",
            Self::U32 => "<u4",
        }
    }

    /// Makes ids, which must be small enough, what they are written as: the first
    /// `ids.len() * self.bytes()` bytes. It is done in place, as memory is what takes time.
    pub(crate) fn pack(self, ids: &mut [u32]) {
        match self {
            Self::U16 => {
                for i in 0..ids.len() {
                    let [low, high] = (ids[i] as u16).to_le_bytes();
                    let bytes: &mut [u8] = bytemuck::cast_slice_mut(ids);
                    bytes[2 * i] = low;
                    bytes[2 * i + 1] = high;
                }
            }
            Self::U32 => ids.iter_mut().for_each(|id| *id = id.to_le()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn little_endian_in_place() {
        for n in 0..20u32 {
            let ids: Vec<u32> = (0..n).map(|i| i * 3001 % 65536).collect();
            let mut packed = ids.clone();
            Width::U16.pack(&mut packed);
            let bytes: Vec<u8> = ids
                .iter()
                .flat_map(|&id| (id as u16).to_le_bytes())
                .collect();
            assert_eq!(bytemuck::cast_slice::<_, u8>(&packed)[..bytes.len()], bytes);
            packed.clone_from(&ids);
            Width::U32.pack(&mut packed);
            let bytes: Vec<u8> = ids.iter().flat_map(|id| id.to_le_bytes()).collect();
            assert_eq!(bytemuck::cast_slice::<_, u8>(&packed), bytes);
        }
    }
}
