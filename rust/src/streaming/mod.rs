//! Text in pieces: ids as soon as they are certain ([`stream`], also from inside a pretoken that has not ended,
//! `open_pretoken`), long texts cut into parts (`long_text`), and where in a text its tokens are ([`offsets`]).

pub(crate) mod long_text;
pub mod offsets;
mod open_pretoken;
pub mod stream;
