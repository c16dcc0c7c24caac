//! DNS records of SPF, DKIM and DMARC.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| mailauth::fuzz::records(data));
