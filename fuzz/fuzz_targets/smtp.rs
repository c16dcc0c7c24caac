//! SMTP and LMTP sessions, both sides.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| smtp::fuzz::fuzz(data));
