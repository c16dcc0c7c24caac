//! The certificates of TLS clients.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| net::fuzz::client_certificate(data));
