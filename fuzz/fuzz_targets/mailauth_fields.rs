//! Signature and result fields.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| mailauth::fuzz::results_field(data));
