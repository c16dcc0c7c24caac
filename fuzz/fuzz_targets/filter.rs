//! The judgement of any message: features, links, learning, verdict.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| filter::fuzz::fuzz(data));
