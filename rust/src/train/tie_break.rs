//! Which of several pairs with the highest count is merged first.

use crate::error::{Error, Result};

/// Of several pairs with the highest count, which is merged first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TieBreak {
    /// The greatest pair of byte strings (CS336).
    Lexicographic,
    /// The smallest pair of ids, bytes being their own ids (rustbpe).
    LowestId,
    /// The smallest pair of ids as Hugging Face's `BpeTrainer` numbers them: the 256 bytes by the code
    /// point of GPT-2's printable stand-in, then merges in order.
    HuggingFace,
}

impl TieBreak {
    /// The rule with this name: `lexicographic`, `lowest_id` or `huggingface`.
    ///
    /// # Errors
    /// [`Error::Argument`] that lists the names.
    pub fn from_name(name: &str) -> Result<Self> {
        match name {
            "lexicographic" => Ok(TieBreak::Lexicographic),
            "lowest_id" => Ok(TieBreak::LowestId),
            "huggingface" => Ok(TieBreak::HuggingFace),
            _ => Err(Error::argument(
                "tie_break",
                format!("{name:?}"),
                "it must be \"lexicographic\", \"lowest_id\" or \"huggingface\"",
            )),
        }
    }
}

/// Where Hugging Face's numbering puts an id: bytes whose stand-in is the byte itself come first.
pub fn huggingface_order(id: u32) -> u32 {
    // GPT-2 maps printable Latin-1 (33-126, 161-172, 174-255) to itself and the other 68 bytes, in
    // order, to code points from 256 on.
    const PRINTABLE: u32 = 188;
    match id {
        33..=126 => id - 33,
        161..=172 => id - 161 + 94,
        174..=255 => id - 174 + 106,
        0..=32 => PRINTABLE + id,
        127..=160 => PRINTABLE + 33 + id - 127,
        173 => PRINTABLE + 67,
        _ => id,
    }
}
