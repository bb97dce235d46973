//! An encoder at work in one thread, with working memory that is used again.

use crate::encode::Encoder;
use crate::encode::groups::{self, Count, Ids, State};
use crate::error::Result;
use crate::text::special::SpecialTokens;
use std::sync::Mutex;

/// States of threads that are not encoding just now.
///
/// Nobody ever waits here, so that a process forked while another thread is inside can go on: who does
/// not get in makes a new state, or drops theirs.
#[allow(clippy::vec_box)] // A state takes kilobytes, which would be copied each time.
#[derive(Debug, Default)]
pub(crate) struct States([Mutex<Vec<Box<State>>>; 8]);

thread_local! {
    static HERE: u8 = const { 0 };
}

impl States {
    /// The drawers, this thread's own first.
    fn drawers(&self) -> impl Iterator<Item = &Mutex<Vec<Box<State>>>> {
        let here = HERE.with(|here| std::ptr::from_ref(here) as usize);
        // Thread-local storage lies megabytes or pages apart.
        let own = (here >> 12).wrapping_mul(0x9e37_79b9) >> 16;
        (0..self.0.len()).map(move |i| &self.0[(own + i) % self.0.len()])
    }

    fn take(&self) -> Box<State> {
        let mut parked = self.drawers().filter_map(|d| d.try_lock().ok()?.pop());
        parked.next().unwrap_or_default()
    }

    fn park(&self, state: Box<State>) {
        for drawer in self.drawers() {
            if let Ok(mut states) = drawer.try_lock() {
                states.push(state);
                return;
            }
        }
    }
}

/// An encoder at work in one thread. Many short texts go faster through one session than through the
/// encoder's own methods, each of which begins a session.
#[derive(Debug)]
pub struct Session<'a> {
    encoder: &'a Encoder,
    state: Option<Box<State>>,
}

impl Drop for Session<'_> {
    fn drop(&mut self) {
        if let Some(state) = self.state.take() {
            self.encoder.states.park(state);
        }
    }
}

impl<'a> Session<'a> {
    pub(crate) fn new(encoder: &'a Encoder) -> Self {
        Self {
            encoder,
            state: Some(encoder.states.take()),
        }
    }

    /// As [`Encoder::encode_ordinary`].
    ///
    /// # Errors
    /// As there.
    pub fn encode_ordinary(&mut self, text: &str, out: &mut Vec<u32>) -> Result<()> {
        self.ordinary(text, out)
    }

    /// As [`Encoder::count_ordinary`].
    ///
    /// # Errors
    /// As there.
    pub fn count_ordinary(&mut self, text: &str) -> Result<usize> {
        let mut count = Count(0);
        self.ordinary(text, &mut count)?;
        Ok(count.0)
    }

    /// As [`Encoder::encode`].
    ///
    /// # Errors
    /// As there.
    pub fn encode(
        &mut self,
        text: &str,
        allowed: &SpecialTokens,
        out: &mut Vec<u32>,
    ) -> Result<()> {
        let encoder = self.encoder;
        let ordinary = |out: &mut Vec<u32>, text: &str| self.encode_ordinary(text, out);
        encoder.cut(text, allowed, out, ordinary, Vec::push)
    }

    /// As [`Encoder::count`].
    ///
    /// # Errors
    /// As there.
    pub fn count(&mut self, text: &str, allowed: &SpecialTokens) -> Result<usize> {
        let encoder = self.encoder;
        let mut n = 0;
        let ordinary = |n: &mut usize, text: &str| {
            *n += self.count_ordinary(text)?;
            Ok(())
        };
        encoder.cut(text, allowed, &mut n, ordinary, |n, _| *n += 1)?;
        Ok(n)
    }

    fn ordinary(&mut self, text: &str, out: &mut impl Ids) -> Result<()> {
        let state = self.state.get_or_insert_default();
        groups::encode(self.encoder, state, text, out)
    }
}
