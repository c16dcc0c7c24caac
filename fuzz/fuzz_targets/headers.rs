//! Header blocks: fields, address lists, dates, message ids.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| mail::fuzz::headers(data));
