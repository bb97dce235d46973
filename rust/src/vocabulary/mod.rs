//! A vocabulary: tokens and their ranks, and the tables that encoding looks up in.

pub(crate) mod borders;
pub(crate) mod merge_longest;
pub(crate) mod merge_short;
pub(crate) mod merge_table;
pub(crate) mod pair_map;
pub(crate) mod ranks;
pub(crate) mod trie;
