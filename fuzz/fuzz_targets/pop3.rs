//! A POP3 session.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| access::pop3::fuzz::session(data));
