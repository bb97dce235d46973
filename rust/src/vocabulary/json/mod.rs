//! As much of JSON as a tokenizer.json's tokens take: a place in a text (`place`), and the strings there (`strings`).
//!
//! What is read is read strictly. What is passed over is not looked at closely, but in valid JSON it ends where it
//! is taken to end.

mod place;
mod strings;

pub(super) use place::{Place, Stop, or_aside};
