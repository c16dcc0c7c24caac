//! The records of the mail log.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| store::fuzz::fuzz(data));
