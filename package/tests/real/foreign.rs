//! Files for other processors, put together by hand: both word sizes, both byte orders.

use placet_model::ElfClass;
use placet_package::{ElfKind, read_elf, signature};

/// Writes numbers in one byte order.
struct Writer {
    bytes: Vec<u8>,
    wide: bool,
    big: bool,
}

impl Writer {
    /// With the identification written.
    fn new(wide: bool, big: bool) -> Self {
        let (class, order) = (1 + u8::from(wide), 1 + u8::from(big));
        let mut bytes = vec![0x7f, b'E', b'L', b'F', class, order, 1];
        bytes.resize(16, 0);
        Self { bytes, wide, big }
    }

    fn number(&mut self, value: u64, width: usize) {
        let big = value.to_be_bytes();
        let little = value.to_le_bytes();
        self.bytes.extend(if self.big {
            &big[8 - width..]
        } else {
            &little[..width]
        });
    }

    fn half(&mut self, value: u64) {
        self.number(value, 2);
    }

    fn int(&mut self, value: u64) {
        self.number(value, 4);
    }

    fn word(&mut self, value: u64) {
        self.number(value, if self.wide { 8 } else { 4 });
    }

    fn segment(&mut self, kind: u64, start: u64, size: u64) {
        let (flags, align) = (4, if kind == 1 { 4_096 } else { 4 });
        self.int(kind);
        if self.wide {
            self.int(flags);
        }
        for value in [start, start, start, size, size] {
            self.word(value);
        }
        if !self.wide {
            self.int(flags);
        }
        self.word(align);
    }

    fn symbol(&mut self, name: u64, info: u64, section: u64) {
        self.int(name);
        if !self.wide {
            self.int(0);
            self.int(0);
        }
        self.number(info, 1);
        self.number(0, 1);
        self.half(section);
        if self.wide {
            self.word(0);
            self.word(0);
        }
    }
}

const STRINGS: &[u8] = b"\0libforeign.so.2\0libneeded.so.7\0/opt\0function\0missing\0";

/// A shared object with a soname, one library needed, a run path and two symbols.
fn shared_object(wide: bool, big: bool, machine: u64) -> Vec<u8> {
    let (head, header, symbol, word) = if wide {
        (64, 56, 24, 8)
    } else {
        (52, 32, 16, 4)
    };
    let dynamic = head + 2 * header;
    let dynamic_size = 9 * 2 * word;
    let symbols = dynamic + dynamic_size;
    let hash = symbols + 3 * symbol;
    let strings = hash + 4 * (2 + 1 + 3);
    let end = strings + STRINGS.len() as u64;
    let mut out = Writer::new(wide, big);
    out.half(3);
    out.half(machine);
    out.int(1);
    for value in [0, head, 0] {
        out.word(value);
    }
    out.int(0);
    for value in [head, header, 2, 0, 0, 0] {
        out.half(value);
    }
    out.segment(1, 0, end);
    out.segment(2, dynamic, dynamic_size);
    let entries = [
        (14, 1),
        (1, 17),
        (29, 32),
        (5, strings),
        (10, STRINGS.len() as u64),
        (6, symbols),
        (11, symbol),
        (4, hash),
        (0, 0),
    ];
    for (tag, value) in entries {
        out.word(tag);
        out.word(value);
    }
    for (name, info, section) in [(0, 0, 0), (37, 0x12, 1), (46, 0x12, 0)] {
        out.symbol(name, info, section);
    }
    for value in [1, 3, 1, 0, 2, 0] {
        out.int(value);
    }
    out.bytes.extend(STRINGS);
    out.bytes
}

#[test]
fn both_word_sizes_and_both_byte_orders_are_read_alike() {
    for (wide, big, machine, architecture) in [
        (true, false, 62, "x86_64"),
        (true, false, 183, "aarch64"),
        (true, true, 21, "ppc64"),
        (true, false, 21, "ppc64le"),
        (true, true, 22, "s390x"),
        (false, true, 8, "mips"),
        (false, false, 8, "mipsel"),
        (false, false, 40, "arm"),
        (false, false, 3, "i686"),
        (true, false, 243, "riscv64"),
        (true, false, 9_999, "em-9999"),
    ] {
        let bytes = shared_object(wide, big, machine);
        let elf = read_elf(&bytes).unwrap().unwrap();
        assert_eq!(elf.architecture.0, architecture);
        assert_eq!(elf.facts.class == ElfClass::Elf64, wide);
        assert_eq!(elf.kind, ElfKind::SharedObject);
        assert_eq!(
            elf.facts.soname.as_deref(),
            Some("libforeign.so.2"),
            "{architecture}"
        );
        assert_eq!(elf.facts.needed, ["libneeded.so.7"]);
        assert_eq!(elf.facts.run_path, ["/opt"]);
        // The words of s390x's hash tables are of another size, and it has no other here.
        if architecture != "s390x" {
            assert!(
                elf.symbols.exported.iter().eq(["function"]),
                "{architecture}"
            );
            assert!(
                elf.symbols.imported.iter().eq(["missing"]),
                "{architecture}"
            );
        }
    }
}

#[test]
fn every_byte_of_them_counts() {
    for (wide, big, machine) in [(true, true, 22), (false, true, 8), (false, false, 40)] {
        let bytes = shared_object(wide, big, machine);
        let wanted = signature(&bytes).unwrap();
        for index in 7..bytes.len() {
            let mut changed = bytes.clone();
            changed[index] ^= 1;
            let fields = if wide {
                [40..48, 58..64]
            } else {
                [32..36, 46..52]
            };
            if !fields.iter().any(|range| range.contains(&index)) {
                assert_ne!(
                    signature(&changed),
                    Ok(wanted),
                    "{wide} {big}: byte {index:#x}"
                );
            }
        }
        for length in 4..bytes.len() {
            assert!(
                read_elf(&bytes[..length]).is_err(),
                "{wide} {big}: cut at {length:#x}"
            );
        }
    }
}
