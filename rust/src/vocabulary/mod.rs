//! A vocabulary: its tokens and ranks, and the tables that encoding looks up in.
//!
//! [`ranks`] is the vocabulary as it is written down (found by bytes in `token_map`), in a file as [`listing`] reads it, or with a list of merges
//! (`merge_list`) in JSON (`json`) as [`tokenizer_json`] does. From it are made: what merges to what
//! (`merge_table`, on `pair_map` and `trie`, from the `symbols` that merging begins with), with a way of merging for any
//! piece (`merge_by_rank`), one for short ones (`merge_short`) and one for long ones (`merge_longest`); the merges of the
//! last ranks alone (`across`); and where long pretokens may
//! be taken apart (`borders`).
//! [`Vocabulary`] is all of these as one thing.

mod across;
mod borders;
mod json;
pub mod listing;
mod merge_by_rank;
mod merge_list;
mod merge_longest;
mod merge_short;
mod merge_table;
mod pair_map;
pub mod ranks;
mod symbols;
mod token_map;
pub mod tokenizer_json;
mod trie;

use crate::error::OutOfMemory;
use crate::system::memory;
pub(crate) use across::{Across, Joints};
pub(crate) use borders::Borders;
pub(crate) use merge_longest::Scratch;
pub(crate) use merge_short::{CONCURRENT, MergeShort, MergedPiece};
use merge_table::MergeTable;
use ranks::Ranks;
use std::sync::Arc;

/// Bytes that a token stands for in ordinary text: what room for ids is estimated by.
pub const TYPICAL_TOKEN_BYTES: usize = 4;

/// Hardly any text has more tokens than bytes divided by this.
pub const FEWEST_TOKEN_BYTES: usize = 2;

/// The ids of the two tokens that each token is merged from, if merging makes it.
pub type Splits = Vec<Option<(u32, u32)>>;

/// Ranks, and what encoding looks up in.
#[derive(Debug)]
pub struct Vocabulary {
    ranks: Arc<Ranks>,
    /// `None` for a vocabulary too large for it.
    table: Option<MergeTable>,
    /// `None` where taking pretokens apart would change their ids.
    borders: Option<Borders>,
    /// How far the ids of all tokens but single bytes are above their indices, if it is the same for all.
    id_shift: Option<u32>,
}

impl Vocabulary {
    /// Prepares a vocabulary.
    ///
    /// # Errors
    /// [`OutOfMemory`].
    pub fn new(ranks: impl Into<Arc<Ranks>>) -> Result<Self, OutOfMemory> {
        Self::with(ranks, true)
    }

    /// As [`Self::new`], where `whole_tokens` says whether a pretoken that is a token is that token, even
    /// if merging does not give it.
    ///
    /// # Errors
    /// [`OutOfMemory`].
    pub fn with(ranks: impl Into<Arc<Ranks>>, whole_tokens: bool) -> Result<Self, OutOfMemory> {
        let ranks = ranks.into();
        let mut table = MergeTable::new(&ranks)?;
        if let Some(table) = &mut table
            && !whole_tokens
        {
            table.forget_unmerged();
        }
        // A token that merging does not give is the id of a pretoken, but not of a piece of one.
        let alike = table.as_ref().is_some_and(MergeTable::gives_all);
        let borders = match alike {
            true => Some(Borders::new((0..ranks.len()).map(|i| ranks.at(i)))?),
            false => None,
        };
        let ids = (0..).zip(ranks.ids()).skip(256);
        let mut shifts = ids.map(|(i, id): (u32, &u32)| id.wrapping_sub(i));
        let id_shift = shifts.next().filter(|first| shifts.all(|s| s == *first));
        Ok(Self {
            ranks,
            table,
            borders,
            id_shift,
        })
    }

    /// The table of ranks.
    pub fn ranks(&self) -> &Ranks {
        &self.ranks
    }

    /// Where pretokens may be taken apart, if they may.
    #[inline(always)]
    pub(crate) fn borders(&self) -> Option<&Borders> {
        self.borders.as_ref()
    }

    /// What the pairs of tokens merge to, if there is a table of it.
    #[inline(always)]
    pub(crate) fn table(&self) -> Option<&MergeTable> {
        self.table.as_ref()
    }

    /// The merges of the tokens from index `n_first` on, if the vocabulary is as training makes it.
    ///
    /// # Errors
    /// [`OutOfMemory`].
    pub(crate) fn across(&self, n_first: usize) -> Result<Option<Across>, OutOfMemory> {
        match &self.table {
            Some(table) => Across::new(table, n_first),
            None => Ok(None),
        }
    }

    /// For each token longer than a byte, by rank, the ids of the two that it is merged from, if merging
    /// makes it; `None` for a vocabulary without a table.
    ///
    /// # Errors
    /// [`OutOfMemory`].
    pub fn splits(&self) -> Result<Option<Splits>, OutOfMemory> {
        let Some(table) = self.table.as_ref() else {
            return Ok(None);
        };
        let ids = self.ranks.ids();
        let origins = table.origins.iter().skip(256);
        let pair = |(left, right): (u32, u32)| (ids[left as usize], ids[right as usize]);
        let splits = origins.map(|o| o.parts().map(pair));
        Ok(Some(memory::collect(splits)?))
    }

    /// Appends the ids of a pretoken, or of a piece of one.
    ///
    /// # Errors
    /// [`OutOfMemory`]; then there may be anything after the ids there were.
    pub(crate) fn encode_piece(
        &self,
        piece: &[u8],
        scratch: &mut Scratch,
        ids: &mut Vec<u32>,
    ) -> Result<(), OutOfMemory> {
        let Some(table) = &self.table else {
            return self.ranks.encode_pretoken(piece, ids);
        };
        if let Some(id) = table.unmerged(piece) {
            return memory::push(ids, id);
        }
        let from = ids.len();
        table.merge(piece, scratch, ids)?;
        self.make_ids(&mut ids[from..]);
        Ok(())
    }

    /// Turns the table's tokens, which are indices, into ids.
    #[inline(always)]
    pub(crate) fn make_ids(&self, tokens: &mut [u32]) {
        let ids = self.ranks.ids();
        for token in tokens {
            *token = match self.id_shift {
                // Saves looking up in a large table.
                Some(shift) if *token >= 256 => token.wrapping_add(shift),
                _ => ids[*token as usize],
            };
        }
    }
}
