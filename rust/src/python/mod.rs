//! The Python module `bytemill._core`: unpack, release the GIL, call, convert. What Python sees is documented
//! in python/bytemill/_core.pyi.

// A method that takes its arguments from Python has as many as Python has.
#![allow(clippy::too_many_arguments)]

mod batch;
mod convert;
mod corpus;
mod decode;
mod errors;
mod inputs;
mod ints;
mod memory;
mod objects;
mod panics;
mod signals;
mod stream;
mod tokenizer;
mod train;
mod vocabulary;

use pyo3::pymodule;

#[pymodule]
mod _core {
    use pyo3::prelude::*;

    #[pymodule_init]
    fn init(_module: &Bound<'_, PyModule>) -> PyResult<()> {
        super::panics::report_briefly();
        Ok(())
    }

    #[pymodule_export]
    use super::corpus::{encode_corpus, encode_shards};
    #[pymodule_export]
    use super::decode::Decoder;
    #[pymodule_export]
    use super::stream::{StreamDecoder, StreamEncoder};
    #[pymodule_export]
    use super::tokenizer::{Encoder, SpecialSet};
    #[pymodule_export]
    use super::train::{CountingPass, Counts, Merges, train};
    #[pymodule_export]
    use super::vocabulary::{
        Ranks, TokenizerJson, has_scanner, named_patterns, pat_str, span_pattern,
    };
}
