//! Bearer tokens and the keys of their issuer.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| store::fuzz::tokens(data));
