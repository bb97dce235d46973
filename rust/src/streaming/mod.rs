//! Text in pieces, and where in a text its tokens are.

pub(crate) mod long_text;
pub mod offsets;
mod open_pretoken;
pub mod stream;
