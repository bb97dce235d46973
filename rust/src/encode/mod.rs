//! Text -> ids: a vocabulary's merges applied as tiktoken applies them.
//!
//! A pretoken that is a token is its id. Otherwise it starts as single bytes; of all adjacent pairs
//! whose joined bytes are a token the one of lowest rank is joined, the leftmost of equals, until
//! none is left.
//!
//! [`Encoder`] is a pattern, a vocabulary and its special tokens; [`Session`] is an encoder at work in one
//! thread. The pretokens of a text are taken in groups (`groups`). In Chinese and the like, what lies
//! between places that no token can lie across counts as a pretoken of its own here
//! (`crate::vocabulary::Borders`). A pretoken of up to 15 bytes is looked for in a cache that all threads
//! share (`short_cache`), any other in a cache of the thread's own (`long_cache`). What is in neither is
//! merged (`misses`): up to 15 bytes several pretokens at a time, longer ones from the left by longest
//! matches or, for a vocabulary that training does not give, with a heap. The ids go to a list or only
//! into a count (`sink`); a thread's working memory is used again by later sessions (`states`).
//!
//! Tokens that span words take two levels (`superwords`), the first of them as above. What a tokenizer.json asks
//! for beyond that is in [`front`].
//!
//! What has been tried to make this fast, and with what success, is in `docs/encoder-notes.md`.

mod encoder;
mod first_level;
pub mod front;
mod groups;
mod long_cache;
mod misses;
mod rows;
pub mod shape;
mod short_cache;
mod sink;
mod spans;
mod states;
mod superwords;
mod tables;

pub use encoder::{Encoder, Session};
pub(crate) use rows::{RowEncoder, RowWorker};
