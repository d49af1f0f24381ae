#![no_main]

use libfuzzer_sys::{fuzz_mutator, fuzz_target, fuzzer_mutate};

fuzz_target!(|bytes: &[u8]| placet_fuzz::archive(bytes));

// With a wrong checksum, no header of a tar archive would be looked at any further.
fuzz_mutator!(
    |data: &mut [u8], size: usize, max_size: usize, _seed: u32| {
        let size = fuzzer_mutate(data, size, max_size);
        mend(&mut data[..size]);
        size
    }
);

const HEADER: usize = 512;
const MAGIC: usize = 257;

/// Writes the checksum of everything that looks like a header.
fn mend(bytes: &mut [u8]) {
    for start in 0..bytes.len().saturating_sub(HEADER - 1) {
        let header = &mut bytes[start..start + HEADER];
        if header[MAGIC..].starts_with(b"ustar") {
            header[148..156].fill(b' ');
            let sum: u32 = header.iter().map(|byte| u32::from(*byte)).sum();
            header[148..155].copy_from_slice(format!("{sum:06o}\0").as_bytes());
        }
    }
}
