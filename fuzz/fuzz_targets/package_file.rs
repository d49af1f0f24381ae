#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| placet_fuzz::package_file(bytes));
