//! Transfer encodings and charsets.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| mail::fuzz::encodings(data));
