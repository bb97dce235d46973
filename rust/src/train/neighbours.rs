//! What one merge adds up for the tokens beside the merged ones.

use crate::error::OutOfMemory;
use crate::system::memory;

/// What one merge adds up for one neighbouring token.
#[derive(Clone, Copy, Debug)]
pub struct Neighbour {
    /// Of all its occurrences.
    pub weight: u64,
    /// Which token it is.
    pub id: u32,
    /// Its occurrences.
    pub n: u32,
    /// Which list its new pair's occurrences go to; 0 is none.
    pub list: u32,
}

/// Neighbours of the merged occurrences on one side.
#[derive(Debug)]
pub struct Side {
    /// By id, the place among those there are, counted from 1; 0 for those that are none. Small numbers, as most
    /// merges have few neighbours, all over this table.
    places: Vec<u32>,
    /// Those that there are.
    pub touched: Vec<Neighbour>,
}

impl Side {
    /// No neighbours yet, but room for all there can be, so that adding never fails.
    ///
    /// # Errors
    /// [`OutOfMemory`].
    pub fn new(n_tokens: usize) -> Result<Self, OutOfMemory> {
        Ok(Self {
            places: memory::zeroed(n_tokens)?,
            touched: memory::with_capacity(n_tokens)?,
        })
    }

    /// Adds occurrences of one.
    #[inline]
    pub fn add(&mut self, id: usize, weight: u64, n: u32) {
        let place = &mut self.places[id];
        if *place > 0 {
            let neighbour = &mut self.touched[*place as usize - 1];
            neighbour.weight += weight;
            neighbour.n += n;
            return;
        }
        self.touched.push(Neighbour {
            weight,
            id: id as u32,
            n,
            list: 0,
        });
        *place = self.touched.len() as u32;
    }

    /// One that there is.
    #[inline]
    pub fn get(&mut self, id: usize) -> &mut Neighbour {
        &mut self.touched[self.places[id] as usize - 1]
    }

    /// Adds another side to this one and clears it.
    pub fn take(&mut self, other: &mut Side) {
        for neighbour in &other.touched {
            self.add(neighbour.id as usize, neighbour.weight, neighbour.n);
        }
        other.clear();
    }

    /// Forgets all.
    pub fn clear(&mut self) {
        for neighbour in &self.touched {
            self.places[neighbour.id as usize] = 0;
        }
        self.touched.clear();
    }
}
