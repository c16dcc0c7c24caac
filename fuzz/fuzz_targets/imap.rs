//! An IMAP session's grammar.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| access::imap::fuzz::fuzz(data));
