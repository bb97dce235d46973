//! Any pattern, by fancy-regex: the general way, and the scanners' oracle in tests.

use crate::error::{Error, Result};
use fancy_regex::Regex;

/// A compiled pattern.
#[derive(Clone, Debug)]
pub struct RegexSplitter {
    regex: Regex,
}

impl RegexSplitter {
    /// Compiles `pattern`.
    ///
    /// # Errors
    /// [`Error::Pattern`] with the engine's reason.
    pub fn new(pattern: &str) -> Result<Self> {
        match Regex::new(pattern) {
            Ok(regex) => Ok(Self { regex }),
            Err(e) => Err(Error::Pattern {
                pattern: pattern.to_owned(),
                reason: e.to_string(),
            }),
        }
    }

    /// Calls `emit(start, end)` for each non-empty match, in order.
    ///
    /// # Errors
    /// [`Error::Match`] when the engine exceeds its backtracking limit.
    pub fn split(&self, text: &str, emit: &mut impl FnMut(usize, usize)) -> Result<()> {
        let mut from = 0;
        for found in self.regex.find_iter(text) {
            match found {
                Ok(m) => {
                    from = m.end();
                    if m.start() < m.end() {
                        emit(m.start(), m.end());
                    }
                }
                Err(e) => {
                    return Err(Error::Match {
                        pattern: self.regex.as_str().to_owned(),
                        offset: from,
                        reason: e.to_string(),
                    });
                }
            }
        }
        Ok(())
    }
}
