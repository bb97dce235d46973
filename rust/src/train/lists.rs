//! The lists of occurrences, each made at its exact size.
//!
//! Most are short, and one of a few hundred bytes from the allocator costs more than what is done with it. So they lie
//! in two arrays, of which one is made with all lists that training begins with and never grows. The room of those that
//! are gone is used again. Only long ones that there is no such room for are on their own.
//!
//! Numbers are atomic cells, read and written without ordering, so that several threads can fill lists that lie among
//! each other; on common machines that costs nothing.

use crate::error::OutOfMemory;
use crate::system::memory;
use std::sync::atomic::{AtomicU32, Ordering::Relaxed};

/// Room is given in so many numbers.
pub const UNIT: usize = 4;

/// The most units of a short list.
const MOST_UNITS: usize = 64;

/// Stands for no room.
const NONE: u32 = u32::MAX;

/// The bits of a place that say where it is: in the second array, on its own.
const SECOND: u32 = 1 << 30;
const OWN: u32 = 1 << 31;

/// A handle to a list of one number at least.
#[derive(Clone, Copy, Debug)]
pub struct List {
    /// The first unit, or the place of a list on its own.
    place: u32,
    /// How many numbers there are.
    n: u32,
}

impl List {
    fn units(self) -> usize {
        (self.n as usize).div_ceil(UNIT)
    }
}

/// Lists of numbers.
#[derive(Debug)]
pub struct Lists {
    arrays: [Vec<AtomicU32>; 2],
    /// By units, the first room for a short list that is free; in it stands the next.
    free: [u32; MOST_UNITS + 1],
    /// Free room of more units: the first, and how many.
    regions: Vec<(u32, u32)>,
    own: Vec<Vec<AtomicU32>>,
    /// Places in `own` that are free.
    free_own: Vec<u32>,
}

impl Lists {
    /// None yet.
    pub fn new() -> Self {
        Self {
            arrays: [Vec::new(), Vec::new()],
            free: [NONE; MOST_UNITS + 1],
            regions: Vec::new(),
            own: Vec::new(),
            free_own: Vec::new(),
        }
    }

    /// Forgets all lists, and makes room for first ones of so many units together.
    ///
    /// # Errors
    /// [`OutOfMemory`].
    pub fn restart(&mut self, n_units: usize) -> Result<(), OutOfMemory> {
        *self = Self::new();
        if n_units >= SECOND as usize {
            return Err(OutOfMemory);
        }
        self.arrays[0] = memory::zeroed(n_units * UNIT)?;
        Ok(())
    }

    /// The room for the first lists.
    pub fn first(&self) -> &[AtomicU32] {
        &self.arrays[0]
    }

    /// Makes a list of the first `n` numbers of so many units of the room for the first lists, and gives the rest back.
    pub fn take(&mut self, place: usize, n_units: usize, n: usize) -> Option<List> {
        let list = List {
            place: place as u32,
            n: n as u32,
        };
        let used = list.units();
        if used < n_units {
            self.release(List {
                place: (place + used) as u32,
                n: ((n_units - used) * UNIT) as u32,
            });
        }
        (n > 0).then_some(list)
    }

    /// A list of `n` numbers, any numbers at first.
    ///
    /// # Errors
    /// [`OutOfMemory`].
    pub fn reserve(&mut self, n: u32) -> Result<List, OutOfMemory> {
        let mut list = List { place: 0, n };
        let units = list.units();
        let is_short = units <= MOST_UNITS;
        if is_short && self.free[units] != NONE {
            list.place = self.free[units];
            self.free[units] = self.get(list)[0].load(Relaxed);
            return Ok(list);
        }
        while let Some((start, left)) = self.regions.last_mut() {
            if *left as usize >= units {
                list.place = *start;
                *start += units as u32;
                *left -= units as u32;
                return Ok(list);
            }
            if !is_short {
                break;
            }
            // It is as good as a short list's.
            let (place, n) = (*start, *left * UNIT as u32);
            self.regions.pop();
            if n > 0 {
                self.release(List { place, n });
            }
        }
        if is_short {
            let start = self.arrays[1].len();
            if start / UNIT >= SECOND as usize - MOST_UNITS {
                return Err(OutOfMemory);
            }
            list.place = SECOND | (start / UNIT) as u32;
            self.arrays[1].try_reserve(units * UNIT)?;
            self.arrays[1].resize_with(start + units * UNIT, AtomicU32::default);
            return Ok(list);
        }
        let numbers = memory::zeroed(n as usize)?;
        match self.free_own.pop() {
            Some(place) => {
                list.place = OWN | place;
                self.own[place as usize] = numbers;
            }
            None => {
                // That letting them go never fails.
                self.free_own.try_reserve(self.own.len() + 1)?;
                list.place = OWN | self.own.len() as u32;
                memory::push(&mut self.own, numbers)?;
            }
        }
        Ok(list)
    }

    /// Its numbers.
    #[inline]
    pub fn get(&self, list: List) -> &[AtomicU32] {
        if list.place & OWN != 0 {
            return &self.own[(list.place & !OWN) as usize];
        }
        let array = &self.arrays[usize::from(list.place & SECOND != 0)];
        &array[(list.place & !SECOND) as usize * UNIT..][..list.n as usize]
    }

    /// Gives its room back.
    pub fn release(&mut self, list: List) {
        if list.place & OWN != 0 {
            let place = list.place & !OWN;
            self.own[place as usize] = Vec::new();
            self.free_own.push(place);
        } else if list.units() <= MOST_UNITS {
            self.get(list)[0].store(self.free[list.units()], Relaxed);
            self.free[list.units()] = list.place;
        } else if self.regions.try_reserve(1).is_ok() {
            // Otherwise it is not used again.
            self.regions.push((list.place, list.units() as u32));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_keep_their_numbers_while_others_come_and_go() -> Result<(), OutOfMemory> {
        let mut lists = Lists::new();
        lists.restart(2000)?;
        let mut kept: Vec<(List, u32)> = Vec::new();
        let write = |lists: &Lists, list: List, from: u32| {
            for (number, place) in (from..).zip(lists.get(list)) {
                place.store(number, Relaxed);
            }
        };
        for (place, n_units, n) in [(0, 1000, 3000), (1000, 499, 17), (1500, 500, 2000)] {
            let list = lists.take(place, n_units, n);
            let list = list.ok_or(OutOfMemory)?;
            write(&lists, list, n as u32);
            kept.push((list, n as u32));
        }
        assert!(lists.take(1499, 1, 0).is_none());
        for round in 0..2000u32 {
            let n = 1 + round.wrapping_mul(2_654_435_761) % if round % 50 == 0 { 900 } else { 40 };
            let list = lists.reserve(n)?;
            write(&lists, list, round);
            kept.push((list, round));
            if kept.len() > 20 {
                let (list, _) = kept.swap_remove(round as usize % 20);
                lists.release(list);
            }
            for &(list, round) in &kept {
                let numbers = lists.get(list).iter().map(|n| n.load(Relaxed));
                assert!(numbers.eq(round..round + list.n));
            }
        }
        let grown = lists.arrays[1].len();
        assert!(grown < 2500, "{grown}: room is used again");
        assert!(lists.own.len() <= 21);
        Ok(())
    }
}
