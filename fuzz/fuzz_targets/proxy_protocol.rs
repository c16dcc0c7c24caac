//! The header of the PROXY protocol, versions 1 and 2.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| net::fuzz::proxy_protocol(data));
