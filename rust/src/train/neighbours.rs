//! What one merge adds up for the tokens beside the merged ones.

use crate::error::OutOfMemory;
use crate::system::memory;

/// What one merge adds up for one neighbouring token.
#[derive(Clone, Copy, Debug, Default)]
pub struct Neighbour {
    /// Of all its occurrences.
    pub weight: u64,
    /// Its occurrences.
    pub n: u32,
    /// Which list its new pair's occurrences go to; 0 is none.
    pub list: u32,
}

/// Neighbours of the merged occurrences on one side, by id.
#[derive(Debug)]
pub struct Side {
    /// All there can be.
    pub by_id: Vec<Neighbour>,
    /// Those that there are.
    pub touched: Vec<u32>,
}

impl Side {
    /// No neighbours yet, but room for all there can be, so that adding never fails.
    ///
    /// # Errors
    /// [`OutOfMemory`].
    pub fn new(n_tokens: usize) -> Result<Self, OutOfMemory> {
        Ok(Self {
            by_id: memory::filled(Neighbour::default(), n_tokens)?,
            touched: memory::with_capacity(n_tokens)?,
        })
    }

    /// Adds occurrences of one.
    #[inline]
    pub fn add(&mut self, id: usize, weight: u64, n: u32) {
        let neighbour = &mut self.by_id[id];
        if neighbour.n == 0 {
            self.touched.push(id as u32);
        }
        neighbour.weight += weight;
        neighbour.n += n;
    }

    /// Adds another side to this one and clears it.
    pub fn take(&mut self, other: &mut Side) {
        for &id in &other.touched {
            let more = std::mem::take(&mut other.by_id[id as usize]);
            self.add(id as usize, more.weight, more.n);
        }
        other.touched.clear();
    }

    /// Forgets all.
    pub fn clear(&mut self) {
        for &id in &self.touched {
            self.by_id[id as usize] = Neighbour::default();
        }
        self.touched.clear();
    }
}
