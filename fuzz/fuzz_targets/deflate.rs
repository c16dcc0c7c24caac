//! A compressed IMAP connection's input.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| access::imap::compression::fuzz(data));
