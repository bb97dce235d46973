//! Pretoken counts at rest: what they were made with, and adding them up.

use crate::error::{Error, Result};
use crate::system::memory;
use crate::train::count_table::CountTable;

/// Pretoken counts, and what they were made with.
#[derive(Debug)]
pub struct Counts {
    pat_str: String,
    special_tokens: Vec<String>,
    table: CountTable,
    total: u64,
    n_bytes: u64,
    /// Documents whose text has a CRC-32 below this share of 2^32 were left out.
    held_out: f64,
}

impl Counts {
    /// Counts from a table.
    ///
    /// # Errors
    /// [`Error::Argument`] if the bytes counted do not fit into 64 bits; pair counts then might not either.
    pub fn new(pat_str: &str, special_tokens: &[String], table: CountTable) -> Result<Self> {
        let (mut total, mut n_bytes) = (0u128, 0u128);
        table.for_each(|word, n| {
            total += u128::from(n);
            n_bytes += u128::from(n) * word.len() as u128;
        });
        let too_large = |_| {
            Error::argument(
                "counts",
                format!("{n_bytes} bytes in all"),
                "counts are 64-bit; their bytes must not exceed 2**64 - 1",
            )
        };
        Ok(Self {
            pat_str: pat_str.to_owned(),
            special_tokens: special_tokens.to_vec(),
            table,
            total: u64::try_from(total).map_err(too_large)?,
            n_bytes: u64::try_from(n_bytes).map_err(too_large)?,
            held_out: 0.0,
        })
    }

    /// These counts as those of a text of which documents were held out: the ones whose CRC-32 is below
    /// this share of 2^32.
    ///
    /// # Errors
    /// [`Error::Argument`] for a share that is not from 0 to below 1.
    pub fn with_held_out(mut self, share: f64) -> Result<Self> {
        if !(0.0..1.0).contains(&share) {
            let reason = "it must be from 0 to below 1";
            return Err(Error::argument("held_out", share.to_string(), reason));
        }
        self.held_out = share;
        Ok(self)
    }

    /// The same counts once more.
    ///
    /// # Errors
    /// [`Error::Memory`].
    pub fn copy(&self) -> Result<Self> {
        Ok(Self {
            pat_str: self.pat_str.clone(),
            special_tokens: self.special_tokens.clone(),
            table: self.table.copy()?,
            ..*self
        })
    }

    /// The share of documents, those of the lowest CRC-32, that are not in these counts; 0 for none.
    pub fn held_out(&self) -> f64 {
        self.held_out
    }

    /// Counts from pretokens and their counts; a pretoken given twice is added up.
    ///
    /// # Errors
    /// [`Error::Argument`] for an empty pretoken, a count of 0, or counts beyond 64 bits; [`Error::Memory`].
    pub fn from_items<W: AsRef<[u8]>>(
        pat_str: &str,
        special_tokens: &[String],
        items: impl IntoIterator<Item = (W, u64)>,
    ) -> Result<Self> {
        let mut table = CountTable::default();
        let mut total = 0u64;
        for (word, n) in items {
            let word = word.as_ref();
            let next = total.checked_add(n);
            let (false, 1.., Some(next)) = (word.is_empty(), n, next) else {
                return Err(Error::argument(
                    "counts",
                    format!("{:?}: {n}", String::from_utf8_lossy(word)),
                    "a pretoken must not be empty, its count must be at least 1, and all \
                     counts together must be below 2**64",
                ));
            };
            total = next;
            table.add(word, 0, word.len(), n);
            table.complete()?;
        }
        Self::new(pat_str, special_tokens, table)
    }

    /// The regex of the pattern.
    pub fn pat_str(&self) -> &str {
        &self.pat_str
    }

    /// The special tokens.
    pub fn special_tokens(&self) -> &[String] {
        &self.special_tokens
    }

    /// The table itself.
    pub fn table(&self) -> &CountTable {
        &self.table
    }

    /// All pretokens counted, repetitions included.
    pub fn total(&self) -> u64 {
        self.total
    }

    /// Bytes of all pretokens counted, repetitions included.
    pub fn n_bytes(&self) -> u64 {
        self.n_bytes
    }

    /// Pretokens with their counts: the most frequent first, equals by their bytes.
    ///
    /// # Errors
    /// [`Error::Memory`].
    pub fn items(&self) -> Result<Vec<(Box<[u8]>, u64)>> {
        let mut items = memory::with_capacity(self.table.len())?;
        let mut done = Ok(());
        self.table.for_each(|word, n| {
            if done.is_ok() {
                done = memory::boxed_slice(word).map(|word| items.push((word, n)));
            }
        });
        done?;
        items.sort_unstable_by(|a: &(Box<[u8]>, u64), b| b.1.cmp(&a.1).then_with(|| a.0.cmp(&b.0)));
        Ok(items)
    }

    /// Adds other counts.
    ///
    /// # Errors
    /// [`Error::Argument`] if they were made with another pattern or other special tokens, or if the sum
    /// exceeds 64 bits; [`Error::Memory`]. These counts are then unchanged.
    pub fn merge(&mut self, other: &Counts) -> Result<()> {
        self.check_same("pattern", &other.pat_str, &self.pat_str)?;
        let (theirs, ours) = (&other.special_tokens, &self.special_tokens);
        self.check_same("special_tokens", theirs, ours)?;
        let sums = (
            self.total.checked_add(other.total),
            self.n_bytes.checked_add(other.n_bytes),
        );
        let (Some(total), Some(n_bytes)) = sums else {
            return Err(Error::argument(
                "counts",
                format!("{} and {} bytes", self.n_bytes, other.n_bytes),
                "their sum exceeds 64 bits",
            ));
        };
        if self.table.is_empty() {
            self.table = other.table.copy()?;
            self.held_out = other.held_out;
        } else {
            self.table.merge(&other.table)?;
            if !other.table.is_empty() {
                self.held_out = self.held_out.min(other.held_out);
            }
        }
        (self.total, self.n_bytes) = (total, n_bytes);
        Ok(())
    }

    fn check_same<T: PartialEq + std::fmt::Debug>(
        &self,
        name: &'static str,
        theirs: &T,
        ours: &T,
    ) -> Result<()> {
        if theirs == ours {
            return Ok(());
        }
        Err(Error::argument(
            name,
            format!("{theirs:?}"),
            format!("these counts cannot be used where {ours:?} is set; count the text again"),
        ))
    }
}
