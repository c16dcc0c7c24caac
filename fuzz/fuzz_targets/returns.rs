//! Replies that are classified, and addresses that claim to be return paths of ours.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| mta::fuzz::returns(data));
